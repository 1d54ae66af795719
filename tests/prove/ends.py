"""Syncs that fail: the hub acks nothing of it and leaves with a status of its own; the next one has all that was acked.

Real hubs on files of which one sync of the log fails, under three agents that write. How long a hub needs from the
failing call until its process is gone is measured and reported, not judged: that is the machine's as well.
"""

from __future__ import annotations

import time
from collections import deque
from random import Random
from typing import TYPE_CHECKING, Final

import trio

from crosschat.hub.main import EXIT_JOURNAL
from tests.live.rig import eventually
from tests.prove.agents import Agent
from tests.prove.disk import FAILED
from tests.prove.history import History, read_log
from tests.prove.lives import Care, Lives
from tests.prove.outcome import MOST, Outcome

if TYPE_CHECKING:
    from tests.prove.outcome import Room

ENDS: Final = 10
WRITERS: Final = 3
SYNCS: Final = (8, 60)  # which one fails: the first are those of who joins
SLOWEST: Final = f"ms from a failed sync to the end of the process{MOST}"


def run(room: Room) -> Outcome:
    """One data directory whose hubs fail one after the other."""
    return trio.run(_run, room)


async def _run(room: Room) -> Outcome:
    outcome, history, random = Outcome(), History(), Random(room.seed)
    care = Care(seed=room.seed, bug=room.bug, failing=random.randint(*SYNCS))
    lives = Lives(room.zygote, room.place, care, outcome, history.report)
    recent: deque[str] = deque(maxlen=64)
    agents = [
        Agent(f"w{number}", lives.home / "run" / "agents.sock", history, lives.durable, Random(number), recent)
        for number in range(WRITERS)
    ]
    try:
        async with trio.open_nursery() as nursery:
            await lives.begin()
            for agent in agents:
                agent.writing = 4
                nursery.start_soon(agent.run)
            for left in reversed(range(ENDS)):
                await lives.hub.gone(30)
                took_s = time.monotonic() - float((room.place / FAILED).read_text())
                status = await lives.failed(random.randint(*SYNCS) if left else 0)
                if status != EXIT_JOURNAL:
                    history.report(f"after a failed sync the hub left with status {status}")
                outcome.counts["failed syncs"] += 1
                outcome.counts["gone within a second of a failed sync"] += took_s < 1
                outcome.counts[SLOWEST] = max(outcome.counts[SLOWEST], round(took_s * 1000))
            for agent in agents:
                agent.writing = 0
            await eventually(lambda: all(agent.connected and agent.idle for agent in agents), 30)
            nursery.cancel_scope.cancel()
        await lives.finish()
        log, damaged = read_log(lives.home)
        history.verify(log, final=0, damaged=damaged > 0)
    except* (trio.TooSlowError, AssertionError, FileNotFoundError) as group:
        history.report(f"the rig gave up: {group.exceptions[0]!r}")
    finally:
        for agent in agents:
            agent.end()
        await lives.close()
    outcome.problems = history.problems
    return outcome
