"""The committed records as every reader sees them: the newest in memory, all of them on disk.

A reader is a number: the seq up to which it has read. Asking costs the same for the fastest and the
slowest, who only differ in where the answer comes from.

Invariant: what is in memory is without gaps and ends with the last published record. Nothing beyond
that is ever returned, also if it is on the disk already: the state does not have it yet.

Everything here is memory; a crash loses nothing. Cancelling any wait is safe.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol

import trio

from crosschat.journal.store import Gap

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from crosschat.journal.writer import Committed
    from crosschat.model import AnyRecord

FEED_RECORDS: Final = 4096
FEED_BYTES: Final = 4 * 1024 * 1024
READING_THREADS: Final = 4


class Reads(Protocol):
    """The part of `Log` that the feed uses; called in worker threads, except for `last_seq`."""

    @property
    def last_seq(self) -> int: ...
    def read(self, seqs: Iterable[int]) -> list[AnyRecord | Gap]: ...
    def after(self, seq: int, *, upto: int, limit_records: int, limit_bytes: int) -> list[AnyRecord]: ...


class Feed:
    """See the module. Begins after the last record of `log`, whose earlier ones come from disk."""

    def __init__(self, log: Reads) -> None:
        self._log = log
        self._head = log.last_seq
        self._recent: deque[Committed] = deque()
        self._bytes = 0
        self._readers = trio.lowlevel.ParkingLot()
        self._limiter = trio.CapacityLimiter(READING_THREADS)

    @property
    def head(self) -> int:
        """The seq of the last published record."""
        return self._head

    def append(self, committed: Sequence[Committed]) -> None:
        """Publish records, in order of seq and without a gap, and wake whoever waits for them."""
        for item in committed:
            if item.record.seq != self._head + 1:
                raise ValueError(f"record {item.record.seq} published after {self._head}")
            self._head += 1
            self._recent.append(item)
            self._bytes += len(item.line)
        while len(self._recent) > FEED_RECORDS or self._bytes > FEED_BYTES:
            self._bytes -= len(self._recent.popleft().line)
        self._readers.unpark_all()

    async def after(self, seq: int, limit_records: int, limit_bytes: int) -> list[AnyRecord]:
        """Records beyond `seq`, oldest first: none only if none up to `head`, as it was when this
        was called, can be read; go on from there.

        Stops before either limit would be exceeded, but a single record may be larger than
        `limit_bytes` of log. A record that cannot be read is left out, which its seq shows. Raises
        Refused (UNAVAILABLE) on an I/O error, JournalBroken.
        """
        await trio.lowlevel.checkpoint()
        if seq >= self._head:
            return []
        first = self._head - len(self._recent) + 1
        if seq + 1 >= first:
            return self._from_memory(seq + 1 - first, limit_records, limit_bytes)
        upto = self._head

        def read() -> list[AnyRecord]:
            return self._log.after(seq, upto=upto, limit_records=limit_records, limit_bytes=limit_bytes)

        return await trio.to_thread.run_sync(read, limiter=self._limiter)

    async def get(self, seqs: Sequence[int]) -> list[AnyRecord | Gap]:
        """The records of these seqs, in the order asked for. Raises as `after`."""
        first = self._head - len(self._recent) + 1
        if all(first <= seq <= self._head for seq in seqs):
            found: list[AnyRecord | Gap] = [self._recent[seq - first].record for seq in seqs]
            await trio.lowlevel.checkpoint()
            return found
        head = self._head
        found = await trio.to_thread.run_sync(self._log.read, list(seqs), limiter=self._limiter)
        return [record if record.seq <= head else Gap(record.seq, "there is no such record") for record in found]

    async def wait_beyond(self, seq: int) -> int:
        """Wait until there is a record beyond `seq`; returns the last one's seq."""
        await trio.lowlevel.checkpoint()
        while self._head <= seq:
            await self._readers.park()
        return self._head

    def _from_memory(self, start: int, limit_records: int, limit_bytes: int) -> list[AnyRecord]:
        records: list[AnyRecord] = []
        size = 0
        for item in islice(self._recent, start, start + max(1, limit_records)):
            size += len(item.line)
            if records and size > limit_bytes:
                break
            records.append(item.record)
        return records
