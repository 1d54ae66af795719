"""The threads: which replies each message has, and who took part in them; the texts stay in the log.

Kept as columns of numbers, one row a reply: its seq, the row of the reply before it in its thread, how many there are
up to it, how many of them were written since the person wrote or a task in the thread changed (its *run*), and who took
part until then, as a number into a table of the few such circles that exist. `_newest` has the last row of each thread,
by the seq of its root. Rows count from 1; 0 is none. So a million replies take 28 MB and a snapshot of them is as
quick as their bytes; what is asked of a thread's end costs the same however long it is, and only a list walks.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING

from crosschat.limits import LOOP_GUARD_MESSAGES

if TYPE_CHECKING:
    from collections.abc import Iterator

_NOBODY: frozenset[str] = frozenset()


class Threads:
    """Append-only. Invariant: all columns but `_newest` have equal length; seqs rise."""

    def __init__(self) -> None:
        self._seqs = array("Q", [0])
        self._before = array("I", [0])
        self._counts = array("I", [0])
        self._runs = array("I", [0])
        self._circles = array("I", [0])
        self._newest = array("I")  # index: the root's seq
        self.circle_table: list[frozenset[str]] = [_NOBODY]
        self._circle_numbers: dict[frozenset[str], int] = {_NOBODY: 0}
        self.guarded: set[int] = set()
        """The roots of threads whose run is longer than the loop guard allows."""

    @property
    def columns(self) -> tuple[array[int], ...]:
        """For who stores or restores them whole, with the table and `guarded`."""
        return self._seqs, self._before, self._counts, self._runs, self._circles, self._newest

    def intern(self, circles: list[frozenset[str]]) -> None:
        """Restore the table that the numbers in the columns point into."""
        self.circle_table = circles
        self._circle_numbers = {circle: number for number, circle in enumerate(circles)}

    def add(self, root: int, seq: int, author: str, mentions: tuple[str, ...], *, by_person: bool) -> None:
        """Enter a reply to the message `root`, which is before it. Seqs only rise."""
        if root >= len(self._newest):
            self._newest.frombytes(bytes(self._newest.itemsize * (root + 1 - len(self._newest))))
        before = self._newest[root]
        circle = self.circle_table[self._circles[before]]
        if author not in circle or not circle.issuperset(mentions):
            circle = circle.union((author, *mentions))
        self._newest[root] = len(self._seqs)
        self._seqs.append(seq)
        self._before.append(before)
        self._counts.append(self._counts[before] + 1)
        self._runs.append(0 if by_person else self._runs[before] + 1)
        self._circles.append(self._number(circle))
        self._guard(root)

    def _number(self, circle: frozenset[str]) -> int:
        number = self._circle_numbers.setdefault(circle, len(self.circle_table))
        if number == len(self.circle_table):
            self.circle_table.append(circle)
        return number

    def end_run(self, root: int) -> None:
        """A task in the thread changed: what agents reply from here on is counted anew."""
        if newest := self._last(root):
            self._runs[newest] = 0
            self._guard(root)

    def _guard(self, root: int) -> None:
        if self._runs[self._newest[root]] > LOOP_GUARD_MESSAGES:
            self.guarded.add(root)
        elif self.guarded:
            self.guarded.discard(root)

    def _last(self, root: int) -> int:
        return self._newest[root] if root < len(self._newest) else 0

    # --- asking: of a message without replies everything is empty

    def __len__(self) -> int:
        """How many replies there are in all."""
        return len(self._seqs) - 1

    def count(self, root: int) -> int:
        return self._counts[self._last(root)]

    def run(self, root: int) -> int:
        """How many replies there are since the person wrote, or a task in the thread changed."""
        return self._runs[self._last(root)]

    def circle(self, root: int) -> frozenset[str]:
        """Who replied, and who was mentioned in a reply."""
        return self.circle_table[self._circles[self._last(root)]]

    def place(self, seq: int) -> int:
        """The how-manieth reply of its thread this is, from 1; 0 if it is none."""
        row = bisect_left(self._seqs, seq)
        return self._counts[row] if row < len(self._seqs) and self._seqs[row] == seq else 0

    def newest_first(self, root: int) -> Iterator[int]:
        """The seqs of the replies, falling."""
        row = self._last(root)
        while row:
            yield self._seqs[row]
            row = self._before[row]

    def seqs(self, root: int) -> list[int]:
        """The seqs of the replies, rising."""
        return [*self.newest_first(root)][::-1]
