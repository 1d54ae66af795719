"""What one order explains is not reported, and what none explains is: also around a lease that ended unseen."""

from __future__ import annotations

import math

import pytest

from tests.prove import linear
from tests.prove.linear import Event, Race

FLAGGED = Event("flag", "owner", 0, 1, 1)
A_CLAIMS = Event("claim", "a", 2, 5, 2)
LAPSE = Event("release", "system", 0, math.inf, 3)  # when it ended and was noticed is not known


def found(*events: Event) -> list[str]:
    problems: list[str] = []
    linear.check(Race("m", FLAGGED, list(events)), problems.append)
    return problems


@pytest.mark.parametrize(
    "events",
    [
        (A_CLAIMS, LAPSE, Event("claim", "b", 2, 9, 4)),
        (A_CLAIMS, LAPSE, Event("claim", "b", 2, 9, 4), Event("resolve", "b", 9, 10, 5)),
        (A_CLAIMS, Event("claim", "b", 3, 4, None)),
        (A_CLAIMS, Event("release", "cli", 6, 7, 3), Event("claim", "b", 8, 9, 4), Event("claim", "c", 8, 10, None)),
    ],
)
def test_what_one_order_explains_is_not_reported(events: tuple[Event, ...]) -> None:
    assert found(*events) == []


@pytest.mark.parametrize(
    ("events", "problem"),
    [
        ((A_CLAIMS, Event("claim", "b", 2, 5, 3)), "claimed by b while a held it"),
        ((A_CLAIMS, Event("claim", "b", 2, 9, 4), Event("release", "system", 0, math.inf, 5)), "claimed by b while a"),
        ((A_CLAIMS, LAPSE, Event("claim", "b", 6, 9, 4), Event("claim", "c", 6, 9, 5)), "claimed by c while b held it"),
        ((A_CLAIMS, LAPSE, Event("resolve", "a", 6, 9, 4)), "resolved by a while None held it"),
        ((Event("claim", "b", 2, 3, None), Event("claim", "a", 4, 5, 2)), "b was refused while the task was open"),
        ((A_CLAIMS, Event("release", "cli", 0, 1, 3)), "comes after it"),
    ],
)
def test_what_none_explains_is_reported(events: tuple[Event, ...], problem: str) -> None:
    assert [said for said in found(*events) if problem in said]
