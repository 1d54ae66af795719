"""Bridges whose Claude Code is killed, through every wrapper and at any moment, while a sibling keeps their pipe open.

A round kills a few, two at a time. One that is still there long after is a violation; the promise is five seconds, and
how many kept it is counted beside, because on a loaded machine an interpreter alone may take that long to end.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import TYPE_CHECKING, Final

import trio

from tests.process.claudes import bridge_of, claude, gone_after_s, wrapped
from tests.prove.outcome import Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from tests.prove.outcome import Room

WRAPPERS: Final = ("none", "sh", "sh in sh", "env", "uv", "uvx")
COUNT: Final = 8
AT_ONCE: Final = 2
PROMISE_S: Final = 5.0


def run(room: Room) -> Outcome:
    return one_round(room.place, room.seed)


def one_round(place: Path, seed: int) -> Outcome:
    outcome = Outcome()
    dice = Random(seed)
    plans = [(dice.choice(WRAPPERS), dice.uniform(0, 1.0) ** 2) for _ in range(COUNT)]
    rooms = [place / str(row) for row in range(COUNT)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for plan, took_s in zip(plans, pool.map(orphan, rooms, plans), strict=True):
            outcome.counts["orphans"] += 1
            if took_s is None:
                outcome.problems.append(f"a bridge behind {plan[0]}, killed after {plan[1]:.2f} s, is still there")
            elif took_s <= PROMISE_S:
                outcome.counts["orphans gone within 5 s"] += 1
    return outcome


def obstacle() -> str | None:
    return None if sys.platform == "linux" else "it takes Claude's name with prctl"


def orphan(place: Path, plan: tuple[str, float]) -> float | None:
    """Kill a Claude so long after its bridge's interpreter began, also before that looked who is above it. Seconds
    until the bridge was gone; None if it was not."""
    wrapper, after_s = plan
    place.mkdir()
    with claude(place, wrapped(wrapper, place)) as parent:
        bridge = bridge_of(place)
        time.sleep(after_s)
        parent.kill()
        try:
            return gone_after_s(bridge)
        except trio.TooSlowError:
            return None
