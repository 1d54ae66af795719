"""The requests that were carried out, so that asking again is not doing again: by who asked and its cid.

The last `REMEMBERED_CIDS` of them are kept, as numbers: 64 bits that stand for asker and cid, 64 for what was asked,
and the seq, in rows that are used again in turn, and a table that finds them (open addressing, linear probing). That
is 32 MB for a million, a tenth of what a dict of texts takes. A new request has the 64 bits of one of a million others
with a chance of 1 in 10^13; then it would be taken for a conflict and refused, and nothing be lost.

Invariant: `_table` has, from the place where a row belongs up to the first empty place, that row; 0 is empty, else it
is the number of a row plus one.
"""

from __future__ import annotations

from array import array
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

REMEMBERED_CIDS: Final = 1_000_000
_SMALLEST: Final = 1 << 10
_PRIME: Final = (1 << 64) - 59  # the largest of 64 bits


def content_of(digest: str) -> int:
    """The number that stands for what a request asked. A digest is a hash already: as a number it only has to fit."""
    return int.from_bytes(digest.encode("utf-8", "surrogatepass"), "big") % _PRIME


def _key(by: str, cid: str) -> int:
    return int.from_bytes(blake2b(f"{by} {cid}".encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


class Remembered:
    """See the module."""

    def __init__(self, most: int = REMEMBERED_CIDS) -> None:
        self._most = most
        self._keys = array("Q")
        self._contents = array("Q")
        self._seqs = array("Q")
        self.oldest = 0  # row that is used next, once there are as many as are kept
        self._table = array("I", bytes(4 * _SMALLEST))

    @property
    def columns(self) -> tuple[array[int], ...]:
        """Keys, contents, seqs and the table, for who stores or restores them whole, with `oldest`."""
        return self._keys, self._contents, self._seqs, self._table

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, by: str, cid: str) -> tuple[int, int] | None:
        """What was asked, as `content_of` its digest, and the seq it became; None if it is not remembered."""
        row = self._table[self._place(_key(by, cid))]
        return (self._contents[row - 1], self._seqs[row - 1]) if row else None

    def add(self, by: str, cid: str, digest: str, seq: int) -> None:
        """Remember one more; the oldest is forgotten, if they are too many."""
        key, content = _key(by, cid), content_of(digest)
        place, count = self._place(key), len(self._keys)
        row = self._table[place]
        if row:
            self._contents[row - 1], self._seqs[row - 1] = content, seq
        elif count < self._most:
            self._table[place] = count + 1
            self._keys.append(key)
            self._contents.append(content)
            self._seqs.append(seq)
            if count * 3 >= len(self._table) * 2:
                self._grow()
        else:
            row = self.oldest
            self.oldest = (row + 1) % self._most
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
            row = (self.oldest + number) % count
            yield self._keys[row], self._contents[row], self._seqs[row]
