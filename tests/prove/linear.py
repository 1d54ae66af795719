"""Whether what was asked of one task and answered can have happened one after the other. Pure.

One claim wins each epoch; a refused claim overlaps a time at which the task was held or finished; what was answered
before another was asked comes before it. Times are any numbers that rise.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable


@attrs.frozen
class Event:
    """One request about a task: when it was asked first and answered, and `seq` if it was done, None if refused."""

    what: str
    agent: str
    asked: float
    answered: float
    seq: int | None


@attrs.define(eq=False)
class Race:
    """All that happened to the task of one message."""

    message: str
    flagged: Event
    events: list[Event] = attrs.Factory(list)


def check(race: Race, report: Callable[[str], None]) -> None:
    """Report what no order explains."""
    done = sorted((event for event in race.events if event.seq is not None), key=lambda one: one.seq or 0)
    for earlier, later in pairwise(done):
        if later.answered < earlier.asked:
            report(f"{race.message}: {later} was answered before {earlier} was asked, and comes after it")
    held_by: str | None = None
    for event in done:
        if event.what == "claim":
            if held_by is not None:
                report(f"{race.message}: claimed by {event.agent} while {held_by} held it")
            held_by = event.agent
        elif event.what == "release":
            held_by = None
        elif event.what == "resolve" and held_by != event.agent:
            report(f"{race.message}: resolved by {event.agent} while {held_by} held it")
    opened = [race.flagged, *(event for event in done if event.what == "release")]
    taken = [event for event in done if event.what == "claim"]
    for event in race.events:
        if event.what == "claim" and event.seq is None:
            _check_refused(race, event, opened, taken, report)


def _check_refused(
    race: Race, event: Event, opened: list[Event], taken: list[Event], report: Callable[[str], None]
) -> None:
    """Not if the task was open all the time between asking and answer."""
    for index, opening in enumerate(opened):
        next_taken = taken[index] if index < len(taken) else None
        if opening.answered < event.asked and (next_taken is None or next_taken.asked > event.answered):
            report(f"{race.message}: {event.agent} was refused while the task was open")


def check_log(races: list[Race], log: list[dict[str, object]], report: Callable[[str], None]) -> None:
    """The log has exactly the claims that won, each with the next number."""
    claims: dict[object, list[dict[str, object]]] = {}
    for record in log:
        if record["kind"] == "claim":
            claims.setdefault(record["target"], []).append(record)
    for race in races:
        found = claims.get(race.message, [])
        won = sorted(event.seq or 0 for event in race.events if event.what == "claim" and event.seq is not None)
        if [record["seq"] for record in found] != won:
            report(f"{race.message}: the log has claims {[record['seq'] for record in found]}, won were {won}")
        if [record["claim_epoch"] for record in found] != list(range(1, len(found) + 1)):
            report(f"{race.message}: the claims are not numbered from 1")
