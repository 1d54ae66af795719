"""A reader far behind: it is away, or connected and reads nothing, while thousands of messages are written.

Meanwhile segments change, old threads are taken out of the log (what was written to the absent reader by name must
stay), the channel is cleared, and the hub is killed or restarts. Then the readers come back and get all of it, in
order; the hub is killed once more when the absent one has a third. While they catch up the hub's memory grows by no
more than 20 MB, and how long another agent waits for its acks is measured before and meanwhile.
"""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections import deque
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Final

import trio

from bench.rig import resident_mib
from crosschat.journal.compact import compact_log
from crosschat.journal.files import RealFiles
from tests.live.rig import eventually
from tests.prove.agents import Agent
from tests.prove.history import Asked, History, read_gone, read_log
from tests.prove.lives import Care, Lives
from tests.prove.outcome import Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from tests.prove.outcome import Room

MESSAGES: Final = 15_000
SHORT_MESSAGES: Final = 4000
GROWTH_MIB: Final = 20.0
SETTLE_S: Final = 120.0
WRITERS: Final = 4
UNREAD: Final = 1200  # more than fits into a socket, less than makes the hub close the connection
PULSES: Final = 40  # messages whose acks are timed before the readers come
DAY_MS: Final = 24 * 3600 * 1000


def run(room: Room) -> Outcome:
    """One hub and one reader that many messages wait for."""
    return trio.run(Field(room).run)


class Field:
    """See the module. `run` once."""

    def __init__(self, room: Room) -> None:
        self._messages = SHORT_MESSAGES if room.short else MESSAGES
        self._outcome = Outcome()
        self._history = History()
        care = Care(
            seed=room.seed, deaths=2, bug=room.bug, segment_bytes=512 * 1024, quiet_s=(0.1, 0.2),
            earlier_ms=10 * DAY_MS, options=("--debuggable",),
        )  # fmt: skip
        self._lives = Lives(room.zygote, room.place, care, self._outcome, self._history.report)
        recent: deque[str] = deque(maxlen=64)
        path = self._lives.home / "run" / "agents.sock"
        names = ("absent", "stalled", "slow", *(f"w{number}" for number in range(WRITERS)))
        self._agents = {
            name: Agent(name, path, self._history, self._lives.durable, Random(f"{room.seed} {name}"), recent)
            for name in names
        }
        self._writers = [agent for name, agent in self._agents.items() if name.startswith("w")]
        self._zygote = room.zygote
        self._waits: list[tuple[float, float]] = []  # of the speaker: when an ack came, and how long it took
        self._cleared_upto = 0
        self._final = 0

    async def run(self) -> Outcome:
        history, lives = self._history, self._lives
        try:
            async with trio.open_nursery() as nursery:
                await lives.begin()
                if lives.care.bug is not None:
                    nursery.start_soon(history.end_when_found, nursery.cancel_scope)
                await self._begin(nursery)
                await self._write(self._messages // 4)
                await lives.stop_for(partial(_compact, lives.home))
                await self._clear()
                for writer in self._writers:
                    writer.writing = 24
                lives.enough = lambda: history.counts["acks"] > self._messages / 2
                await lives.run()
                nursery.start_soon(self._read_now_and_then, self._agents["slow"])
                await self._write(self._messages)
                await self._catch_up(nursery)
                nursery.cancel_scope.cancel()
            if lives.care.bug is None or not history.problems:
                await lives.finish()
            log, damaged = read_log(lives.home)
            for text in (str(one.get("content", "")) for one in log):
                if text.startswith("speaker-"):
                    history.ask(text, Asked("", "message", text))
            gone = read_gone(lives.home)
            history.verify(
                log, final=self._final, damaged=damaged > 0, gone=gone, cleared_upto=self._cleared_upto
            )  # fmt: skip
            self._check_compaction(gone)
        except* (trio.TooSlowError, AssertionError) as group:
            history.report(f"the rig gave up: {group.exceptions[0]!r}")
        finally:
            for agent in self._agents.values():
                agent.end()
            await lives.close()
        self._outcome.problems = history.problems
        reading = self._agents["absent"].reading
        self._outcome.counts["messages caught up with"] = len(reading.got) if reading is not None else 0
        return self._outcome

    async def _begin(self, nursery: trio.Nursery) -> None:
        """All join; one leaves again, and one reads no more."""
        absent = trio.CancelScope()

        async def come_and_go() -> None:
            with absent:
                await self._agents["absent"].run()

        nursery.start_soon(come_and_go)
        for name, agent in self._agents.items():
            if name != "absent":
                nursery.start_soon(agent.run)
        await eventually(lambda: all(agent.connected for agent in self._agents.values()), 30)
        absent.cancel()
        self._agents["stalled"].stalled_s = SETTLE_S
        for writer in self._writers:
            writer.names = ["absent"]

    async def _write(self, upto: int) -> None:
        """Write until so many requests were acked, and nothing is under way."""
        for writer in self._writers:
            writer.writing = 24
        await eventually(lambda: self._history.counts["acks"] > upto, SETTLE_S)
        for writer in self._writers:
            writer.writing = 0
        await eventually(lambda: all(writer.idle for writer in self._writers), 30)

    async def _clear(self) -> None:
        writer = self._writers[0]
        await eventually(lambda: all(one.connected for one in self._writers), 30)
        self._cleared_upto = self._lives.durable.seq
        await writer.clear()

    async def _catch_up(self, nursery: trio.Nursery) -> None:
        """The readers come back, while another agent goes on writing."""
        lives, agents = self._lives, self._agents
        self._final = lives.durable.seq
        nursery.start_soon(self._listen)
        await eventually(lambda: len(self._waits) > PULSES, 30)
        began, resident = time.monotonic(), resident_mib(lives.hub.pid)
        agents["stalled"].wake()
        agents["slow"].wake()
        nursery.start_soon(agents["absent"].run)
        worst, killed = resident, False
        with trio.fail_after(SETTLE_S):
            while not all(self._has_caught_up(agent) for agent in agents.values()):
                await trio.sleep(0.01)
                worst = max(worst, resident_mib(lives.hub.pid))
                reading = agents["absent"].reading
                if not killed and reading is not None and reading.told > self._final // 3:
                    self._grew(worst - resident)
                    await lives.kill()
                    resident = worst = resident_mib(lives.hub.pid)
                    killed = True
        self._grew(worst - resident)
        self._outcome.counts["kills while a reader caught up"] += killed
        before, meanwhile = ([took for at, took in self._waits if (at > began) is late] for late in (False, True))
        if meanwhile:
            share = statistics.median(meanwhile) / statistics.median(before)
            self._outcome.counts["others' acks meanwhile, % of before (most)"] = round(share * 100)

    async def _listen(self) -> None:
        """Keep how long the speaker waits: a process of its own, so that it is slowed by the hub alone."""
        reading, writing = os.pipe()
        pid = self._zygote.start({"role": "speaker", "path": str(self._lives.home / "run" / "agents.sock")}, [writing])
        os.close(writing)
        try:
            async with trio.lowlevel.FdStream(reading) as stream:
                rest = b""
                while part := await stream.receive_some(4096):
                    *lines, rest = (rest + part).split(b"\n")
                    self._waits += [(float(at), float(took)) for _, at, took in map(bytes.split, lines)]
        finally:
            os.kill(pid, signal.SIGKILL)
            self._zygote.wait(pid)

    def _has_caught_up(self, agent: Agent) -> bool:
        return agent.reading is not None and agent.reading.told > self._final

    def _grew(self, mib: float) -> None:
        if mib > GROWTH_MIB:
            self._history.report(f"the hub grew by {mib:.1f} MiB while readers caught up")
        name = "catch-up growth KiB (most)"
        self._outcome.counts[name] = max(self._outcome.counts[name], round(mib * 1024))

    async def _read_now_and_then(self, agent: Agent) -> None:
        """Read nothing until the hub cannot write any more, but still holds what is under way; then read all of it."""
        history = self._history
        while history.counts["acks"] < self._messages - UNREAD:
            agent.stalled_s = SETTLE_S
            upto = history.counts["acks"] + UNREAD
            await eventually(lambda upto=upto: history.counts["acks"] > upto, SETTLE_S)  # type: ignore[misc]
            agent.wake()
            await trio.sleep(0.2)

    def _check_compaction(self, gone: set[int]) -> None:
        """Something went, and nothing that was written to the absent reader."""
        asked = [one for one in self._history.asked.values() if one.seq in gone]
        self._outcome.counts["messages taken out by compaction"] += len(asked)
        if not asked:
            self._history.report("the compaction took nothing out")
        for one in asked:
            if one.text.startswith("@absent"):
                self._history.report(f"the compaction took out what the absent reader had not read: {one}")


def _compact(home: Path) -> None:
    now_ms = time.time_ns() // 1_000_000
    compact_log(home, RealFiles(), now_ms - 8 * DAY_MS, now_ms)
