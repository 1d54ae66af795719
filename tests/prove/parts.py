"""The parts of the proof, with their share of a long run and their rounds in the short form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from tests.prove import (
    approvals,
    behind,
    claims,
    crash,
    damage,
    door,
    ends,
    faults,
    herd,
    image,
    inputs,
    lastwords,
    matrix,
    orphans,
    parsers,
    races,
    retries,
    upgrades,
    waits,
)
from tests.prove.kill import Episode, Plan
from tests.prove.lives import Care
from tests.prove.outcome import Outcome, Part

if TYPE_CHECKING:
    from tests.prove.outcome import Room

BESIDE: Final = 3


def kill(room: Room) -> Outcome:
    return trio.run(
        Episode(
            room.zygote, room.place, Plan(care=Care(seed=room.seed, bug=room.bug, deaths=10 if room.short else 20))
        ).run
    )


def deaths(room: Room) -> Outcome:
    """Small hubs beside each other that hardly live: many kills, with little under way at each."""
    return trio.run(_many_deaths, room)


async def _many_deaths(room: Room) -> Outcome:
    found: list[Outcome] = []

    async def live(number: int) -> None:
        care = Care(
            seed=room.seed + number, bug=room.bug, deaths=12 if room.short else 60, quiet_s=(0.0, 0.08), clean=0.1,
            soon=True,
        )  # fmt: skip
        place = room.place / str(number)
        place.mkdir()
        plan = Plan(care=care, writers=3, readers=2, bridges=0, late=0, rate=1.0)
        found.append(await Episode(room.zygote, place, plan).run())

    async with trio.open_nursery() as nursery:
        for number in range(BESIDE):
            nursery.start_soon(live, number)
    return sum(found, Outcome())


# The shares are about what each needs to reach its goal.
PARTS: Final = (
    Part("kill", 2, kill, short=3),
    Part("deaths", 5, deaths, short=2),
    Part("crash", 4, crash.run, short=24),
    Part("retries", 1.2, retries.run, short=3),
    Part("claims", 0.7, claims.run),
    Part("races", 1, races.run, short=17),
    Part("damage", 0.5, damage.run, short=10),
    Part("behind", 0.5, behind.run),
    Part("ends", 0.2, ends.run),
    Part("waits", 0.1, waits.run, short=4),
    Part("faults", 0.3, faults.run, short=0),  # among the tests it has a place of its own
    Part("parsers", 2, parsers.run, short=2),
    Part("matrix", 0.2, matrix.run),
    Part("inputs", 2, inputs.run, short=4),
    Part("approval faults", 0.4, approvals.run),
    Part("approval kills", 1.3, lastwords.run),
    Part("door requests", 0.4, door.run),
    Part("upgrades", 0.5, upgrades.run),
    Part("herd", 1, herd.run, short=0, obstacle=herd.obstacle),  # so have these
    Part("orphans", 0.5, orphans.run, short=0, obstacle=orphans.obstacle),
    Part("image", 1, image.run, short=2, obstacle=image.obstacle),
)
