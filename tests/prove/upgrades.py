"""Upgrades in a row, under load: each hub is followed by one of a newer version that inherits its lock.

The rig keeps its own descriptor of the lock that the first hub got, so it is held throughout: a hub that was not given
it, and takes it for itself, finds it held and is not there in the end. At each upgrade clients of the next version come
two at once, and after it one of the version before: one of them all is let in. Agents write and read meanwhile, and
real bridges, to whose callers nothing may fail.
"""

from __future__ import annotations

import json
import os
import socket
from collections import deque
from random import Random
from typing import TYPE_CHECKING, Final

import trio

from crosschat import lock
from crosschat.wire import PROTOCOL
from tests.live.rig import START_S, eventually
from tests.prove.agents import Agent
from tests.prove.bridges import Bridge
from tests.prove.disk import Durable
from tests.prove.history import History, read_log
from tests.prove.lives import Care, Hub
from tests.prove.outcome import Outcome

if TYPE_CHECKING:
    from tests.prove.outcome import Room

WRITERS: Final = 4
READERS: Final = 3
BRIDGES: Final = 2
SETTLE_S: Final = 40.0
ANSWER_S: Final = 20.0
ENDS: Final = ("the end", "the very end")


def run(room: Room) -> Outcome:
    return trio.run(Chain(room).run)


def version(number: int) -> str:
    """Newer than that of the bridges, which would otherwise replace the hub themselves."""
    return f"1000.{number}"


class Chain:
    """See the module. `run` once."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.home = room.place / "h"
        self.home.mkdir(mode=0o700)
        self.random = Random(room.seed)
        self.history = History()
        self.outcome = Outcome()
        self.care = Care(seed=room.seed, bug=room.bug)
        self.agents: list[Agent] = []
        self.bridges: list[Bridge] = []
        self.hub: Hub | None = None
        self.held = lock.try_hold(self.home / "hub.lock")

    async def run(self) -> Outcome:
        upgrades = 8 if self.room.short else 40
        try:
            await self._begin()
            async with trio.open_nursery() as nursery:
                self._populate(nursery)
                await eventually(lambda: self.history.counts["acks"] > 50, SETTLE_S)
                for number in range(1, upgrades + 1):
                    await trio.sleep(self.random.uniform(0.02, 0.3))
                    await self._upgrade(number)
                await self._finish()
                nursery.cancel_scope.cancel()
            self._verify(upgrades)
        except* (trio.TooSlowError, AssertionError) as group:
            self.history.report(f"the rig gave up: {group.exceptions[0]!r}; {self._waited_for()}")
        finally:
            for agent in self.agents:
                agent.end()
            for bridge in self.bridges:
                bridge.end()
            if self.hub is not None:
                with trio.CancelScope(shield=True):
                    await self.hub.end()
            if self.held is not None:
                os.close(self.held)
        self.outcome.problems = self.history.problems
        self.outcome.counts += self.history.counts
        self.outcome.reconnects_s = [took for agent in self.agents for took in agent.rejoins[1:]]
        return self.outcome

    async def _begin(self) -> None:
        assert self.held is not None
        self.hub = Hub(self.room.zygote, self.care, self.home, self.held, None, version(0))
        assert await self.hub.serving()

    def _populate(self, nursery: trio.Nursery) -> None:
        durable, recent = Durable(self.room.place / "durable"), deque[str](maxlen=64)
        for number in range(WRITERS + READERS):
            name = f"a{number}"
            seed = Random(f"{self.room.seed} {name}")
            agent = Agent(name, self.home / "run" / "agents.sock", self.history, durable, seed, recent)
            agent.writing = 4 if number < WRITERS else 0
            self.agents.append(agent)
            nursery.start_soon(agent.run)
        for number in range(BRIDGES):
            bridge = Bridge(f"bridge{number}", self.home, self.room.zygote, self.history)
            self.bridges.append(bridge)
            nursery.start_soon(bridge.run)

    # --- one upgrade

    async def _upgrade(self, number: int) -> None:
        """A hub of the next version in the place of the one that serves."""
        old = self.hub
        assert old is not None
        ways = [await self._ask(version(number)) for _ in range(2)]
        let_in = [way for way, answer in ways if answer == "done"]
        if len(let_in) != 1:
            self.history.report(f"of two newer clients were let in {[answer for _, answer in ways]}")
        assert let_in, "nobody was let in"
        heir = Hub(self.room.zygote, self.care, self.home, let_in[0].fileno(), None, version(number), heir=True)
        for way, _ in ways:
            way.close()
        self.hub = heir
        serving = await heir.serving()
        status = await old.end() if await old.gone(START_S) else None
        if not serving or status != 0:
            self.history.report(f"upgrade {number}: serving {serving}, the older hub ended with {status}")
        assert serving, "the next hub did not come"
        for asking in (number - 1, number):
            way, answer = await self._ask(version(asking))
            way.close()
            if answer != "forbidden":
                self.history.report(f"a client of version {asking} was told {answer} by a hub of version {number}")
            self.outcome.counts["clients that were not newer"] += 1
        self.outcome.counts["upgrades"] += 1

    async def _ask(self, newer: str) -> tuple[socket.socket, str]:
        """Ask to succeed the hub, as a client of that version does: the connection, and `done` or why not."""
        frame = {"op": "succeed", "id": "succeed", "protocol": PROTOCOL, "version": newer}
        way = socket.socket(socket.AF_UNIX)
        way.settimeout(ANSWER_S)

        def ask() -> str:
            way.connect(os.fspath(self.home / "run" / "control.sock"))
            way.sendall(json.dumps(frame).encode() + b"\n")
            said = b""
            while not said.endswith(b"\n") and (part := way.recv(4096)):
                said += part
            answer = json.loads(said)
            return str(answer.get("code", answer["type"]))

        return way, await trio.to_thread.run_sync(ask)

    # --- the end

    async def _finish(self) -> None:
        for agent in self.agents:
            agent.writing = 0
        for bridge in self.bridges:
            bridge.writing = False
        await eventually(lambda: all(agent.connected and agent.idle for agent in self.agents), SETTLE_S)
        await eventually(lambda: all(bridge.idle for bridge in self.bridges), SETTLE_S)
        for agent, text in zip(self.agents, ENDS, strict=False):  # an author is not told what it said itself
            await agent.say(text)
            await eventually(lambda agent=agent: agent.idle, SETTLE_S)  # type: ignore[misc]
        self.final = min(one.seq or 0 for one in self.history.asked.values() if one.text in ENDS)
        await eventually(lambda: all(one.reading and one.reading.told >= self.final for one in self.agents), SETTLE_S)
        await eventually(lambda: all(bridge.saw("the end") for bridge in self.bridges), SETTLE_S)

    def _waited_for(self) -> str:
        """What is not as it will be in the end, for whoever looks into a run that hangs."""
        busy = [one.name for one in self.agents if not (one.connected and one.idle)]
        told = {one.name: one.reading.told for one in self.agents if one.reading is not None}
        deaf = [one.name for one in self.bridges if not (one.idle and one.saw("the end"))]
        return f"busy {busy}, bridges {deaf}, told {told}"

    def _verify(self, upgrades: int) -> None:
        log, damaged = read_log(self.home)
        if damaged:
            self.history.report(f"the log has {damaged} damaged lines")
        self.history.verify(log, final=self.final)
        for bridge in self.bridges:
            bridge.verify(log)
        if failed := self.history.counts["calls that a bridge repeated"] + self.history.counts["waits that failed"]:
            self.history.report(f"{failed} calls of bridges failed")
        for agent in self.agents:
            if agent.refusals.keys() - {"conflict", "forbidden"}:  # tasks have one winner
                self.history.report(f"{agent.name} was refused: {agent.refusals}")
        said = [json.loads(line) for line in (self.home / "logs" / "hub.jsonl").read_text().splitlines()]
        hubs = [line["version"] for line in said if line["event"] == "serving"]
        if hubs != [version(number) for number in range(upgrades + 1)]:
            self.history.report(f"the hubs were {hubs}")
        for line in said:
            if line["event"] in ("defect", "contained", "the log failed"):
                self.history.report(f"the hub's log says {str(line)[:300]}")
