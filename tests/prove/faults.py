"""Every call of a scripted run fails in every way, once and from then on: the run of `tests/journal/test_faults.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.journal.faulty import KINDS, Fault, FaultyFiles
from tests.journal.test_faults import run as scripted
from tests.journal.test_faults import verify
from tests.prove.outcome import Outcome

if TYPE_CHECKING:
    from tests.prove.outcome import Room

REPORTED: Final = 20


def run(room: Room) -> Outcome:
    """The whole table: calls × kinds × once or for ever."""
    outcome = Outcome()
    files = FaultyFiles()
    scripted(room.place / "plain", files)
    calls = len(files.calls)
    for at in range(calls):
        if len(outcome.problems) >= REPORTED:
            break  # it is clear enough
        for kind in KINDS:
            for forever in (False, True):
                home = room.place / f"{at}{kind}{forever}"
                files = FaultyFiles(Fault(at, kind, forever))
                acked = scripted(home, files)
                for problem in verify(home, files, acked):
                    if len(outcome.problems) < REPORTED:
                        outcome.problems.append(
                            f"{kind} at call {at}, {'from then on' if forever else 'once'}: {problem}"
                        )
    outcome.counts["failed calls"] = calls
    return outcome
