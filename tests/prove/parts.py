"""The parts of the proof, with their share of a long run and their rounds in the short form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from tests.prove import approvals, behind, claims, crash, damage, faults, image, inputs, retries
from tests.prove.kill import Episode, Plan
from tests.prove.lives import Care
from tests.prove.outcome import Outcome, Part

if TYPE_CHECKING:
    from tests.prove.outcome import Room


def kill(room: Room) -> Outcome:
    return trio.run(
        Episode(
            room.zygote, room.place, Plan(care=Care(seed=room.seed, bug=room.bug, deaths=10 if room.short else 20))
        ).run
    )


PARTS: Final = (
    Part("kill", 5, kill, short=3),
    Part("crash", 2, crash.run, short=24),
    Part("retries", 1, retries.run, short=2),
    Part("claims", 1, claims.run),
    Part("damage", 1, damage.run, short=10),
    Part("behind", 0.5, behind.run),
    Part("faults", 0.3, faults.run, short=0),  # among the tests it has a place of its own
    Part("inputs", 1, inputs.run, short=4),
    Part("approval faults", 1, approvals.run),
    Part("image", 1, image.run, short=2, obstacle=image.obstacle),
)
