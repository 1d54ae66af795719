"""A reader far behind: it is away, or connected and reads nothing, while thousands of messages are written.

Meanwhile segments change and the hub is killed or restarts; then the reader comes back and gets all of it, in
order. While it catches up, the hub's memory grows by no more than 20 MB and the others go on being answered.
"""

from __future__ import annotations

from collections import deque
from random import Random
from typing import TYPE_CHECKING, Final

import trio

from bench.rig import resident_mib
from tests.live.rig import eventually
from tests.prove.agents import Agent
from tests.prove.history import History, read_log
from tests.prove.lives import Care, Lives
from tests.prove.outcome import Outcome

if TYPE_CHECKING:
    from tests.prove.outcome import Room

MESSAGES: Final = 10_000
SHORT_MESSAGES: Final = 4000
GROWTH_MIB: Final = 20.0
SETTLE_S: Final = 120.0
WRITERS: Final = 4
UNREAD: Final = 1200  # more than fits into a socket, less than makes the hub close the connection


def run(room: Room) -> Outcome:
    """One hub and one reader that many messages wait for."""
    return trio.run(_run, room)


async def _run(room: Room) -> Outcome:
    messages = SHORT_MESSAGES if room.short else MESSAGES
    outcome, history = Outcome(), History()
    care = Care(
        seed=room.seed, deaths=2, bug=room.bug, segment_bytes=512 * 1024, quiet_s=(0.1, 0.2), options=("--debuggable",)
    )
    lives = Lives(room.zygote, room.place, care, outcome, history.report)
    recent: deque[str] = deque(maxlen=64)
    path = lives.home / "run" / "agents.sock"
    agents = {
        name: Agent(name, path, history, lives.durable, Random(f"{room.seed} {name}"), recent)
        for name in ("absent", "stalled", "slow", *(f"w{number}" for number in range(WRITERS)))
    }
    final = 0
    try:
        async with trio.open_nursery() as nursery:
            await lives.begin()
            absent = trio.CancelScope()

            async def come_and_go() -> None:
                with absent:
                    await agents["absent"].run()

            nursery.start_soon(come_and_go)
            for name, agent in agents.items():
                if name != "absent":
                    nursery.start_soon(agent.run)
            await eventually(lambda: all(agent.connected for agent in agents.values()), 30)
            absent.cancel()
            agents["stalled"].stalled_s = SETTLE_S
            for name, agent in agents.items():
                if name.startswith("w"):
                    agent.writing = 24
            nursery.start_soon(_read_now_and_then, agents["slow"], history, messages)
            lives.enough = lambda: history.counts["acks"] > messages / 3
            await lives.run()
            await eventually(lambda: history.counts["acks"] > messages, SETTLE_S)
            before = resident_mib(lives.hub.pid)
            for agent in agents.values():
                agent.writing = 0
            await eventually(lambda: all(agent.idle for agent in agents.values()), 30)
            agents["stalled"].wake()
            agents["slow"].wake()
            nursery.start_soon(agents["absent"].run)
            worst = before
            final = lives.durable.seq
            await agents["w0"].say("the end")
            await agents["w1"].say("the very end")
            with trio.fail_after(SETTLE_S):
                while not all(agent.reading and agent.reading.told > final for agent in agents.values()):
                    worst = max(worst, resident_mib(lives.hub.pid))
                    await trio.sleep(0.01)
            if worst - before > GROWTH_MIB:
                history.report(f"the hub grew by {worst - before:.1f} MiB while readers caught up")
            outcome.counts["catch-up growth KiB"] = round((worst - before) * 1024)
            nursery.cancel_scope.cancel()
        await lives.finish()
        log, damaged = read_log(lives.home)
        history.verify(log, final=final, damaged=damaged > 0)
    except* (trio.TooSlowError, AssertionError) as group:
        history.report(f"the rig gave up: {group.exceptions[0]!r}")
    finally:
        for agent in agents.values():
            agent.end()
        await lives.close()
    outcome.problems = history.problems
    reading = agents["absent"].reading
    outcome.counts["messages caught up with"] = len(reading.got) if reading is not None else 0
    return outcome


async def _read_now_and_then(agent: Agent, history: History, messages: int) -> None:
    """Read nothing until the hub cannot write any more, but still holds what is under way; then read all of it."""
    while history.counts["acks"] < messages - UNREAD:
        agent.stalled_s = SETTLE_S
        upto = history.counts["acks"] + UNREAD
        await eventually(lambda upto=upto: history.counts["acks"] > upto, SETTLE_S)  # type: ignore[misc]
        agent.wake()
        await trio.sleep(0.2)
