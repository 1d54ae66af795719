"""The kill rig: a hub under load that is killed, stopped, restarted and cut off, again and again, then checked.

One `Episode` is one data directory: eight agents that write and read, eight that only read, late joiners, two real
bridges, cut connections, stalled readers, and a hub that dies again and again (`lives`). The quotas of these private
hubs are raised. In the end everything that is unanswered is answered, everybody reads up to the end, and the log and
what everybody saw are compared. An episode with fewer than `RATE` acked messages a second proves nothing: it is void.
"""

from __future__ import annotations

import json
import statistics
import subprocess
from collections import deque
from random import Random
from typing import TYPE_CHECKING, Final

import attrs
import trio

from tests.live.rig import eventually
from tests.prove.agents import Agent
from tests.prove.bridges import Bridge
from tests.prove.history import TEXTS, History, read_log
from tests.prove.lives import Care, Lives
from tests.prove.outcome import Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from tests.prove.zygote import Zygote

RATE: Final = 200.0
PACE: Final = 1.1  # a hub is not ended while the episode is slower than that many times the rate
WRITERS: Final = 8
READERS: Final = 8
BRIDGES: Final = 2
LATE: Final = 3
SETTLE_S: Final = 40.0


@attrs.frozen(kw_only=True)
class Plan:
    """What happens in an episode."""

    care: Care
    writers: int = WRITERS
    readers: int = READERS
    bridges: int = BRIDGES
    late: int = LATE
    window: int = 8
    rate: float = RATE


class Episode:
    """See the module. `run` once."""

    def __init__(self, zygote: Zygote, place: Path, plan: Plan) -> None:
        self.plan = plan
        self.random = Random(f"{plan.care.seed} trouble")
        self.history = History()
        self.outcome = Outcome()
        self._place = place
        self.agents: list[Agent] = []
        self.bridges: list[Bridge] = []
        self._zygote = zygote
        self._recent: deque[str] = deque(maxlen=64)
        self._rate = 0.0
        self._troubled = trio.CancelScope()

    async def run(self) -> Outcome:
        """Never raises because a promise was broken: that is in the outcome."""
        self.lives = Lives(self._zygote, self._place, self.plan.care, self.outcome, self.history.report)
        self.home, self.durable = self.lives.home, self.lives.durable
        try:
            async with trio.open_nursery() as nursery:
                await self.lives.begin()
                for number in range(self.plan.writers):
                    self._add(nursery, f"w{number}", self.plan.window)
                for number in range(self.plan.readers):
                    self._add(nursery, f"r{number}", 0)
                names = [agent.name for agent in self.agents]
                for agent in self.agents:
                    agent.names = names
                for number in range(self.plan.bridges):
                    bridge = Bridge(f"bridge{number}", self.home, self._zygote, self.history)
                    self.bridges.append(bridge)
                    nursery.start_soon(bridge.run)
                began = trio.current_time()
                nursery.start_soon(self._trouble, nursery)
                if self.plan.care.bug is not None:
                    nursery.start_soon(self.history.end_when_found, nursery.cancel_scope)
                self.lives.enough = lambda: self._rate_since(began) > PACE * self.plan.rate
                await self.lives.run()
                self._rate = self._rate_since(began)
                await self._finish()
                nursery.cancel_scope.cancel()
        except* (trio.TooSlowError, AssertionError) as group:
            self.history.report(f"the rig gave up: {_told(group)}; {self._waited_for()}")
            for bridge in self.bridges:
                bridge.tell()
            await trio.sleep(0.5)
        finally:
            for agent in self.agents:
                agent.end()
            for bridge in self.bridges:
                bridge.end()
            await self.lives.close()
        self.outcome.problems = self.history.problems
        self.outcome.counts += self.history.counts
        if self._rate < self.plan.rate:
            self.outcome.void = f"{self._rate:.0f} messages a second"
        self.outcome.reconnects_s = [took for agent in self.agents for took in agent.rejoins[1:]]
        return self.outcome

    def _rate_since(self, began: float) -> float:
        sent = self.history.counts["acked message"] + self.history.counts["acked reply"]
        return sent / max(0.001, trio.current_time() - began)

    def _add(self, nursery: trio.Nursery, name: str, writing: int) -> None:
        path = self.home / "run" / "agents.sock"
        seed = Random(f"{self.plan.care.seed} {name}")
        agent = Agent(name, path, self.history, self.durable, seed, self._recent)
        agent.writing = writing
        self.agents.append(agent)
        nursery.start_soon(agent.run)

    # --- trouble besides

    async def _trouble(self, nursery: trio.Nursery) -> None:
        """Cut sockets, readers that stall, agents that come late; until the writers are told to end."""
        random, late = self.random, 0
        with self._troubled:
            while True:
                await trio.sleep(random.uniform(0.1, 0.5))
                dice = random.random()
                if dice < 0.4:
                    agent = random.choice(self.agents)
                    agent.forgot = random.random() < 0.3
                    agent.cut()
                    self.outcome.counts["cut connections"] += 1
                elif dice < 0.7:
                    random.choice(self.agents).stalled_s = random.uniform(0.1, 0.8)
                elif late < self.plan.late:
                    late += 1
                    self._add(nursery, f"late{late}", 0)

    # --- the end

    async def _finish(self) -> None:
        self._troubled.cancel()  # who forgets what it was told after the end would not be told it again in time
        for agent in self.agents:
            agent.writing = 0
            agent.stalled_s = 0
        for bridge in self.bridges:
            bridge.writing = False
        await eventually(lambda: all(agent.idle for agent in self.agents), SETTLE_S)
        await eventually(lambda: all(bridge.idle for bridge in self.bridges), SETTLE_S)
        final = await self._say_the_end()
        readings = [agent.reading for agent in self.agents]
        await eventually(lambda: all(one is not None and one.told >= final for one in readings), SETTLE_S)
        await eventually(lambda: all(bridge.saw("the end") for bridge in self.bridges), SETTLE_S)
        await self.lives.finish()
        log, damaged = read_log(self.home)
        if damaged and not self.outcome.counts["simulated power cuts"]:
            self.history.report(f"the log has {damaged} damaged lines")
        self.outcome.counts["lines lost unacknowledged inside a batch"] += damaged
        self.history.verify(log, final=final, damaged=damaged > 0)
        for bridge in self.bridges:
            bridge.verify(log)
        self._verify_files(log)
        for line in (self.home / "logs" / "hub.jsonl").read_text().splitlines():
            said = json.loads(line)
            if said["event"] in ("defect", "contained", "the log failed"):
                self.history.report(f"the hub's log says {str(said)[:300]}")

    def _waited_for(self) -> str:
        """What is not as it will be in the end, for whoever looks into a run that hangs."""
        busy = [agent.name for agent in self.agents if not (agent.connected and agent.idle)]
        told = {agent.name: agent.reading.told for agent in self.agents if agent.reading is not None}
        deaf = [bridge.name for bridge in self.bridges if not (bridge.idle and bridge.saw("the end"))]
        return f"busy {busy}, bridges {deaf}, told {told}"

    async def _say_the_end(self) -> int:
        """Two last messages, so that everybody gets at least one; the seq of the first."""
        first = self.agents[0]
        for agent in self.agents[:2]:
            await eventually(lambda agent=agent: agent.connected, SETTLE_S)  # type: ignore[misc]
            await agent.say("the end" if agent is first else "the very end")
        asked = [one for one in self.history.asked.values() if one.text in ("the end", "the very end")]
        await eventually(lambda: all(one.acks for one in asked), SETTLE_S)
        return min(one.seq or 0 for one in asked)

    def _verify_files(self, log: list[dict[str, object]]) -> None:
        """The documented files say what the log says, each line once. They may be behind: a stop waits for them only
        for a moment, and the next start goes on."""
        wanted: dict[str, list[object]] = {}
        for record in log:
            if record["kind"] in TEXTS:
                path = "general.jsonl" if record["kind"] == "message" else f"threads/{record['root']}.jsonl"
                wanted.setdefault(path, []).append((record["seq"], record["content"]))
        for path, lines in wanted.items():
            file = self.home / "messages" / path
            got = []
            if file.exists():
                said = [json.loads(line) for line in file.read_text().splitlines()]
                got = [(line["seq"], line["content"]) for line in said]
            self.outcome.counts["files behind after a stop"] += got != lines
            if got != lines[: len(got)]:
                self.history.report(f"messages/{path} has {len(got)} lines and not the {len(lines)} of the log")
        self.outcome.counts["files compared"] += len(wanted)


def _told(group: BaseExceptionGroup[BaseException]) -> str:
    return "; ".join(repr(error) for error in group.exceptions)[:500]


def commit() -> str:
    """The commit that is proved, with a plus where the tree has changes."""
    say = ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
    return subprocess.run(say, capture_output=True, text=True, check=True).stdout.strip()


def p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98] if len(values) > 1 else max(values, default=0.0)
