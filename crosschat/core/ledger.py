"""For every record that agents see, who wrote it and when, whom it reaches and to which thread it belongs; by `seq`.

Kept as columns of numbers, about 24 bytes a record, so that a million records of history fit beside the rest of
the state without their texts, which stay in the log. Audiences and agents are interned: a record's audience is a
number into a table of the few that exist. Seqs that agents do not see (cursors, receipts) have no kind.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

LATEST_S: Final = (1 << 32) - 1  # what a column holds; a later time is damage or a joke
KINDS: Final = ("", "message", "reply", "badge", "flag", "claim", "progress", "release", "resolve")
_KIND_NUMBERS: Final = {kind: number for number, kind in enumerate(KINDS)}
_MESSAGES: Final = (_KIND_NUMBERS["message"], _KIND_NUMBERS["reply"])


@attrs.frozen(cache_hash=True)
class Audience:
    """`to` is whom a record reaches (`None`: everybody); with `private` nobody else may read it."""

    to: frozenset[str] | None = None
    private: bool = False
    here: bool = False

    def reaches(self, agent: str) -> bool:
        return self.to is None or agent in self.to


@attrs.frozen
class Entry:
    """One line of the ledger. `root` is the seq of the thread's root, or of the record it is about; 0 for neither.
    `at_s` is when it was committed, in whole seconds since the epoch, UTC."""

    seq: int
    kind: str
    author: str
    audience: Audience
    root: int
    at_s: int = 0

    def readable_by(self, agent: str) -> bool:
        return not self.audience.private or agent == self.author or self.audience.reaches(agent)


class Ledger:
    """Append-only. Invariant: the columns have equal length, and index `seq - 1` is the record `seq`."""

    def __init__(self) -> None:
        self._kinds = array("B")
        self._authors = array("I")
        self._audiences = array("I")
        self._roots = array("Q")
        self._times = array("I")
        self.author_table: list[str] = []
        self.audience_table: list[Audience] = []
        self._author_numbers: dict[str, int] = {}
        self._audience_numbers: dict[Audience, int] = {}

    @property
    def columns(self) -> tuple[array[int], array[int], array[int], array[int], array[int]]:
        """Kinds, authors, audiences, roots and times, for who stores or restores them whole."""
        return self._kinds, self._authors, self._audiences, self._roots, self._times

    def intern(self, authors: list[str], audiences: list[Audience]) -> None:
        """Restore the tables that the numbers in the columns point into."""
        self.author_table, self.audience_table = authors, audiences
        self._author_numbers = {author: number for number, author in enumerate(authors)}
        self._audience_numbers = {audience: number for number, audience in enumerate(audiences)}

    def __len__(self) -> int:
        return len(self._kinds)

    def add(self, seq: int, kind: str, author: str, audience: Audience, root: int = 0, *, at_s: int = 0) -> None:
        """Enter a record. Seqs only rise; those left out (lost to damage, or not for agents) stay empty."""
        if seq != len(self._kinds) + 1:
            self._skip_to(seq)
        if author not in self._author_numbers:
            self._author_numbers[author] = len(self.author_table)
            self.author_table.append(author)
        if audience not in self._audience_numbers:
            self._audience_numbers[audience] = len(self.audience_table)
            self.audience_table.append(audience)
        self._kinds.append(_KIND_NUMBERS[kind])
        self._authors.append(self._author_numbers[author])
        self._audiences.append(self._audience_numbers[audience])
        self._roots.append(root)
        self._times.append(at_s if 0 <= at_s <= LATEST_S else LATEST_S if at_s > 0 else 0)

    def _skip_to(self, seq: int) -> None:
        gap = seq - 1 - len(self)
        if gap < 0:
            raise ValueError(f"seq {seq} is not after {len(self)}")
        for column in self.columns:
            if gap == 1:  # nearly always: between two messages somebody has read
                column.append(0)
            else:
                column.frombytes(bytes(gap * column.itemsize))

    def get(self, seq: int) -> Entry | None:
        """The entry of `seq`, or None where there is nothing for agents to see."""
        if not 1 <= seq <= len(self) or not self._kinds[seq - 1]:
            return None
        row = seq - 1
        return Entry(
            seq,
            KINDS[self._kinds[row]],
            self.author_table[self._authors[row]],
            self.audience_table[self._audiences[row]],
            self._roots[row],
            self._times[row],
        )

    def is_message(self, seq: int) -> bool:
        """Whether `seq` is a message or a reply."""
        return 1 <= seq <= len(self._kinds) and self._kinds[seq - 1] in _MESSAGES

    def author(self, seq: int) -> str:
        """Who wrote the record `seq`, which is there."""
        return self.author_table[self._authors[seq - 1]]

    def messages_before(self, seq: int, count: int) -> Iterator[Entry]:
        """The last `count` messages and replies before `seq`, newest first."""
        for row in range(min(seq - 1, len(self)) - 1, -1, -1):
            if self._kinds[row] in _MESSAGES and (entry := self.get(row + 1)) is not None:
                if count <= 0:
                    return
                count -= 1
                yield entry

    def meant_for(self, agent: str, after: int) -> Iterator[int]:
        """Seqs behind `after`, rising, that reach `agent` and that it did not write itself."""
        own = self._author_numbers.get(agent, -1)
        reach = bytes(audience.reaches(agent) for audience in self.audience_table)
        kinds, authors, audiences = self._kinds, self._authors, self._audiences
        for row in range(after, len(kinds)):
            if kinds[row] and authors[row] != own and reach[audiences[row]]:
                yield row + 1
