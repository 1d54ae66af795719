"""The requests that were carried out, so that asking again is not doing again: by who asked and its cid.

The last `REMEMBERED_CIDS` of them are kept, as numbers: 64 bits that stand for asker and cid, 64 for what was asked,
and the seq, in rows that are used again in turn, and a table that finds them (open addressing, linear probing). That
is 32 MB for a million, a tenth of what a dict of texts takes. A new request has the 64 bits of one of a million others
with a chance of 1 in 10^13; then it would be taken for a conflict and refused, and nothing be lost.

Invariant: `_table` has, from the place where a row belongs up to the first empty place, that row; 0 is empty, else it
is the number of a row plus one.
"""

from __future__ import annotations

import base64
from array import array
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

REMEMBERED_CIDS: Final = 1_000_000
_SMALLEST: Final = 1 << 10


@attrs.frozen
class Stored:
    """The columns in base64, oldest row first; for a snapshot."""

    keys: str
    contents: str
    seqs: str


def content_of(digest: str) -> int:
    """The number that stands for what a request asked."""
    return _number(digest)


def _number(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest(), "little")


class Remembered:
    """See the module."""

    def __init__(self, most: int = REMEMBERED_CIDS) -> None:
        self._most = most
        self._keys = array("Q")
        self._contents = array("Q")
        self._seqs = array("Q")
        self._oldest = 0  # row that is used next, once there are as many as are kept
        self._table = array("I", bytes(4 * _SMALLEST))

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, by: str, cid: str) -> tuple[int, int] | None:
        """What was asked, as `content_of` its digest, and the seq it became; None if it is not remembered."""
        row = self._table[self._place(_number(f"{by} {cid}"))]
        return (self._contents[row - 1], self._seqs[row - 1]) if row else None

    def add(self, by: str, cid: str, digest: str, seq: int) -> None:
        """Remember one more; the oldest is forgotten, if they are too many."""
        self._put(_number(f"{by} {cid}"), content_of(digest), seq)

    def _put(self, key: int, content: int, seq: int) -> None:
        place = self._place(key)
        row = self._table[place]
        if row:
            self._contents[row - 1], self._seqs[row - 1] = content, seq
        elif len(self._keys) < self._most:
            self._keys.append(key)
            self._contents.append(content)
            self._seqs.append(seq)
            self._table[place] = len(self._keys)
            if len(self._keys) * 3 > len(self._table) * 2:
                self._grow()
        else:
            row = self._oldest
            self._oldest = (row + 1) % self._most
            self._forget(self._place(self._keys[row]))
            self._keys[row], self._contents[row], self._seqs[row] = key, content, seq
            self._table[self._place(key)] = row + 1

    def _place(self, key: int) -> int:
        """Where this key is in the table, or would be."""
        table, keys = self._table, self._keys
        mask = len(table) - 1
        place = key & mask
        while (row := table[place]) and keys[row - 1] != key:
            place = (place + 1) & mask
        return place

    def _forget(self, hole: int) -> None:
        """Empty a place, and move up what is behind it and belongs before."""
        table, keys = self._table, self._keys
        mask = len(table) - 1
        place = hole
        while True:
            place = (place + 1) & mask
            row = table[place]
            if not row:
                break
            home = keys[row - 1] & mask
            if (place - home) & mask >= (place - hole) & mask:
                table[hole] = row
                hole = place
        table[hole] = 0

    def _grow(self) -> None:
        size = len(self._table) * 2
        while len(self._keys) * 3 > size * 2:
            size *= 2
        self._table = table = array("I", bytes(4 * size))
        mask = size - 1
        for row, key in enumerate(self._keys, 1):
            place = key & mask
            while table[place]:
                place = (place + 1) & mask
            table[place] = row

    def rows(self) -> Iterator[tuple[int, int, int]]:
        """Key, content and seq of each, oldest first."""
        count = len(self._keys)
        for number in range(count):
            row = (self._oldest + number) % count
            yield self._keys[row], self._contents[row], self._seqs[row]

    def store(self) -> Stored:
        def text(column: array[int]) -> str:
            turned = column[self._oldest :] + column[: self._oldest]
            return base64.b64encode(turned.tobytes()).decode()

        return Stored(text(self._keys), text(self._contents), text(self._seqs))

    @classmethod
    def restore(cls, stored: Stored) -> Remembered:
        """What `store` gave. Raises ValueError."""
        found = cls()
        for column, text in (
            (found._keys, stored.keys),
            (found._contents, stored.contents),
            (found._seqs, stored.seqs),
        ):
            column.frombytes(base64.b64decode(text, validate=True))
        if len({len(found._keys), len(found._contents), len(found._seqs)}) != 1 or len(found) > found._most:
            raise ValueError("columns of different length")
        found._grow()
        return found
