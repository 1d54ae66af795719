"""Figures: numbers with a name that ends in their unit, as one measurement gives them. Pure.

`/s` is better when it is more, every other unit when it is less.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TypeAlias

Figures: TypeAlias = Mapping[str, float]


def percentile(values: Sequence[float], part: float) -> float:
    """Nearest rank; `part` from 0 to 1."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def percentiles_ms(name: str, times_s: Sequence[float]) -> dict[str, float]:
    """p50 and p99 in ms."""
    return {
        f"{name} p50 ms": statistics.median(times_s) * 1e3,
        f"{name} p99 ms": percentile(times_s, 0.99) * 1e3,
    }


def is_rate(name: str) -> bool:
    """Whether more of it is better."""
    return name.endswith("/s")
