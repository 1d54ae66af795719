"""Waits that are cancelled around the moment that messages come: the next calls get all of them, once and in order.

Each is a bridge's own link, inbox and wait against a hub of the rig in memory, with a clock that only jumps. The step
at which the messages come and the step at which the client cancels are swept past each other; the order in which tasks
run within a step is the scheduler's, another each time.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Final

import trio
import trio.testing

from tests.bridge.test_waiting import cancelled_at
from tests.prove.outcome import Outcome

if TYPE_CHECKING:
    from tests.prove.outcome import Room

PER_ROUND: Final = 500
STEPS: Final = 30
REPORTED: Final = 10


def run(room: Room) -> Outcome:
    """Many cancelled waits."""
    random, outcome = Random(room.seed), Outcome()
    for _ in range(PER_ROUND):
        arrival = random.randrange(STEPS)
        step = max(0, arrival + random.randint(-8, 16))
        kept = random.choice([2, 100])
        try:
            trio.run(_cancel, step, kept, arrival, clock=trio.testing.MockClock(autojump_threshold=0))
        except* (AssertionError, trio.TooSlowError) as group:
            if len(outcome.problems) < REPORTED:
                where = f"messages with step {arrival}, cancelled with step {step}, {kept} kept"
                outcome.problems.append(f"{where}: {group.exceptions[0]!r}")
        outcome.counts["cancelled waits"] += 1
    return outcome


async def _cancel(step: int, kept: int, arrival: int) -> None:
    with trio.fail_after(60):
        await cancelled_at(step, kept, arrival=arrival)
