"""What one round of a part of the proof found, and what a part is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

import attrs

from tests.prove.zygote import Zygote

MOST: Final = " (most)"
MISSING: Final = " is missing"  # so ends what is said of a program that could be installed


def added(one: Counter[str], other: Counter[str]) -> Counter[str]:
    """Sums, but of what ends in `MOST` the larger one."""
    found = Counter({**one, **other})
    for name in one.keys() & other.keys():
        found[name] = max(one[name], other[name]) if name.endswith(MOST) else one[name] + other[name]
    return found


@attrs.define
class Outcome:
    """`problems` are violations in words; `counts` what was looked at; `void`: it proves nothing, and says why."""

    problems: list[str] = attrs.Factory(list)
    counts: Counter[str] = attrs.Factory(Counter)
    void: str | None = None
    reconnects_s: list[float] = attrs.Factory(list)

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(
            self.problems + other.problems,
            added(self.counts, other.counts),
            self.void or other.void,
            self.reconnects_s + other.reconnects_s,
        )


@attrs.frozen
class Room:
    """What a round is given: an empty directory with a short path, the process that forks hubs, and its seed.

    `short`: it is one of the short form. `bug`: a seeded bug is switched on in it, which it is to find.
    """

    place: Path
    zygote: Zygote
    seed: int
    short: bool = False
    bug: str | None = None


@attrs.frozen
class Part:
    """`weight`: its share of the time. `short`: rounds in the short form. `obstacle`: why it cannot run here."""

    name: str
    weight: float
    run: Callable[[Room], Outcome]
    short: int = 1
    obstacle: Callable[[], str | None] = lambda: None
