"""The kill rig: a hub under load that is killed, stopped, restarted and cut off, again and again, then checked.

One `episode` is one data directory: eight agents that write and read, eight that only read, late joiners, two real
bridges, and a number of deaths of the hub: SIGKILL at a random moment, at a named point (`disk.POINTS`), or with what
was not synced taken back as by a power cut; SIGSTOP; clean restarts with another version. The quotas of these private
hubs are raised. In the end everything that is unanswered is answered, everybody reads up to the end, and the log and
what everybody saw are compared. An episode with fewer than `RATE` acked messages a second proves nothing: it is void.

The lock is held by the rig, too, all the time, so that no bridge starts a hub of its own beside it.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
from collections import deque
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING, Final

import attrs
import trio

from crosschat import lock
from tests.live.rig import START_S, eventually
from tests.prove.agents import Agent
from tests.prove.bridges import Bridge
from tests.prove.disk import POINTS, Death, Durable
from tests.prove.history import TEXTS, History, read_log
from tests.prove.outcome import Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from tests.prove.zygote import Zygote

RATE: Final = 200.0
WRITERS: Final = 8
READERS: Final = 8
BRIDGES: Final = 2
LATE: Final = 3
SETTLE_S: Final = 40.0
QUOTAS: Final = '{"agents": 128, "messages_per_s": 1e6, "messages_burst": 1000000}'
RARE: Final = ("segment", "snapshot", "start", "projection")


@attrs.frozen(kw_only=True)
class Plan:
    """What happens in an episode. `restarts`: clean ones among the deaths."""

    seed: int
    deaths: int = 20
    writers: int = WRITERS
    readers: int = READERS
    bridges: int = BRIDGES
    late: int = LATE
    window: int = 8
    segment_bytes: int = 192 * 1024
    bug: str | None = None
    rate: float = RATE
    quiet_s: tuple[float, float] = (0.1, 0.5)
    """How long a hub lives before it is killed."""


class Hub:
    """One life of a hub process."""

    def __init__(self, zygote: Zygote, plan: Plan, home: Path, lock_fd: int, death: Death | None, version: str) -> None:
        self._zygote = zygote
        self.death = death
        reading, writing = os.pipe()
        self._ready = trio.lowlevel.FdStream(reading)
        with open(home.parent / "stderr", "ab") as errors:
            what: dict[str, object] = {
                "role": "hub",
                "home": str(home),
                "durable": str(home.parent / "durable"),
                "death": attrs.asdict(death) if death else None,
                "version": version,
                "bug": plan.bug,
                "segment_bytes": plan.segment_bytes,
                "options": ["--quotas", QUOTAS],
            }
            self.pid = zygote.start(what, [writing, lock_fd, errors.fileno()])
        os.close(writing)
        self._pidfd = os.pidfd_open(self.pid)

    async def serving(self) -> bool:
        """Wait until it serves; False if it ended before."""
        said = b""
        with trio.fail_after(START_S):
            while not said.endswith(b"\n"):
                part = await self._ready.receive_some(4096)
                if not part:
                    return False
                said += part
        if b'"pid"' not in said:
            raise AssertionError(f"the hub refused to start: {said.decode()}")
        return True

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    async def gone(self, within_s: float) -> bool:
        with trio.move_on_after(within_s):
            await trio.lowlevel.wait_readable(self._pidfd)
            return True
        return False

    async def end(self) -> int:
        """Its status; killed if it is still there."""
        if not await self.gone(0):
            self.signal(signal.SIGKILL)
            self.signal(signal.SIGCONT)
        await self.gone(START_S)
        os.close(self._pidfd)
        await self._ready.aclose()
        return self._zygote.wait(self.pid)


class Episode:
    """See the module. `run` once."""

    def __init__(self, zygote: Zygote, place: Path, plan: Plan) -> None:
        self.plan = plan
        self.random = Random(plan.seed)
        self.home = place / "h"
        self.home.mkdir(mode=0o700)
        self.durable = Durable(place / "durable")
        self.history = History()
        self.outcome = Outcome()
        self.agents: list[Agent] = []
        self.bridges: list[Bridge] = []
        self._zygote = zygote
        self._recent: deque[str] = deque(maxlen=64)
        held = lock.try_hold(self.home / "hub.lock")
        assert held is not None
        self._lock = held
        self._lives = 0
        self._rate = 0.0

    async def run(self) -> Outcome:
        """Never raises because a promise was broken: that is in the outcome."""
        try:
            async with trio.open_nursery() as nursery:
                hub = self._start(None)
                assert await hub.serving()
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
                await self._die_again_and_again(hub)
                sent = self.history.counts["acked message"] + self.history.counts["acked reply"]
                self._rate = sent / (trio.current_time() - began)
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
            os.close(self._lock)
        self.outcome.problems = self.history.problems
        self.outcome.counts += self.history.counts
        if self._rate < self.plan.rate:
            self.outcome.void = f"{self._rate:.0f} messages a second"
        self.outcome.reconnects_s = [took for agent in self.agents for took in agent.rejoins[1:]]
        return self.outcome

    def _add(self, nursery: trio.Nursery, name: str, writing: int) -> None:
        path = self.home / "run" / "agents.sock"
        seed = Random(f"{self.plan.seed} {name}")
        agent = Agent(name, path, self.history, self.durable, seed, self._recent)
        agent.writing = writing
        self.agents.append(agent)
        nursery.start_soon(agent.run)

    def _start(self, death: Death | None) -> Hub:
        self._lives += 1
        version = ("0.1.0", "0.1.1")[self._lives % 2]
        return Hub(self._zygote, self.plan, self.home, self._lock, death, version)

    # --- deaths

    async def _die_again_and_again(self, hub: Hub) -> None:
        for left in reversed(range(self.plan.deaths)):
            await self._die(hub)
            death = self._choose() if left else None  # the last one is to stay
            hub = self._start(death)
            while not await hub.serving():  # it died while it started, as it was told to
                await hub.end()
                self._count_death(death)
                death = None
                hub = self._start(None)
        await trio.sleep(0.3)
        self._last = hub

    def _choose(self) -> Death | None:
        """The death of the next hub, if it is to be at a named point."""
        random = self.random
        if random.random() < 0.3:
            return None
        point = random.choice(POINTS)
        most = 3000 if point == "any call" else 3 if point.startswith(RARE) else 25
        return Death(point, random.randint(1, most), random.random() < 0.5, random.randrange(1 << 30))

    def _count_death(self, death: Death | None) -> None:
        self.outcome.counts["kills"] += 1
        if death is not None:
            self.outcome.counts[f"at {death.point}"] += 1
            self.outcome.counts["simulated power cuts"] += death.power

    async def _die(self, hub: Hub) -> None:
        """Let it live for a while, and end it: as it was told to, by SIGKILL, or cleanly."""
        random = self.random
        death = hub.death
        if await hub.gone(random.uniform(*self.plan.quiet_s) * (2 if death else 1)):
            status = await hub.end()
            if status == -signal.SIGKILL:
                self._count_death(death)
            else:
                self.history.report(f"the hub left with status {status}")
            return
        clean = random.random() < 0.25 or (death is not None and death.point.startswith("snapshot"))
        if clean:
            hub.signal(signal.SIGTERM)
            if not await hub.gone(20):
                self.history.report("a clean stop took more than 20 s")
            status = await hub.end()
            if status == 0:
                self.outcome.counts["restarts"] += 1
            elif status == -signal.SIGKILL:
                self._count_death(death)
            else:
                self.history.report(f"a clean stop ended with status {status}")
            return
        if random.random() < 0.2:
            hub.signal(signal.SIGSTOP)
            self.outcome.counts["stops"] += 1
            await trio.sleep(random.uniform(0.02, 0.15))
            if random.random() < 0.5:
                hub.signal(signal.SIGCONT)
                await trio.sleep(0.05)
        hub.signal(signal.SIGKILL)
        await hub.end()
        self._count_death(None)

    # --- trouble besides

    async def _trouble(self, nursery: trio.Nursery) -> None:
        """Cut sockets, readers that stall, agents that come late; until the writers are told to end."""
        random, late = self.random, 0
        while True:
            await trio.sleep(random.uniform(0.1, 0.5))
            dice = random.random()
            if dice < 0.4:
                random.choice(self.agents).cut()
                self.outcome.counts["cut connections"] += 1
            elif dice < 0.7:
                random.choice(self.agents).stalled_s = random.uniform(0.1, 0.8)
            elif late < self.plan.late:
                late += 1
                self._add(nursery, f"late{late}", 0)

    # --- the end

    async def _finish(self) -> None:
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
        self._last.signal(signal.SIGTERM)
        if not await self._last.gone(START_S):
            self.history.report("the last stop took too long")
        status = await self._last.end()
        if status != 0:
            self.history.report(f"the last hub ended with status {status}")
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
        """The documented files say what the log says, each line once."""
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
            if got != lines:
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
