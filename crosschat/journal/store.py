"""The log: segments `log/000001.jsonl`, … of records in order, and where in them each record is.

Invariant: `last_seq` is the highest record that is on the disk and synced, and nothing is read from
beyond it. The segments are only ever appended to (by `tail`) and, before anything is served, the
last one is written anew (by `recovery`).

A crash loses at most what `append` has not returned from.

Threads: one at a time may append; any number may read meanwhile.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Self

import attrs

from crosschat.errors import Code, DataDirectoryError, JournalBroken, Refused
from crosschat.journal.directory import check_format, open_directory
from crosschat.journal.format import START, BadLine, decode
from crosschat.journal.index import Snapshot
from crosschat.journal.reader import line_number, read_lines
from crosschat.journal.recovery import Recovery, rewrite_tail, scan_log
from crosschat.journal.scan import OFFSET_BITS, Damage, Segment, segment_name
from crosschat.journal.skim import skim
from crosschat.journal.tail import NotWritten, Tail
from crosschat.limits import SEGMENT_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from crosschat.journal.files import Files
    from crosschat.model import AnyRecord, Glance

__all__ = ["Damage", "Gap", "Log", "NotWritten", "Recovery", "check_format", "open_directory"]


@attrs.frozen
class Gap:
    """There is no record of this seq that could be read."""

    seq: int
    reason: str


@attrs.frozen
class _Mark:
    """The log right after an append."""

    seq: int
    segments: tuple[Segment, ...]
    seal: str


class Log:
    """See the module. Made by `recover`; `close` it in the end."""

    def __init__(self, tail: Tail, offsets: array[int], damages: Iterable[Damage]) -> None:
        self._home = tail.home
        self._files = tail.files
        self._tail = tail
        self._offsets = offsets
        self._damages = list(damages)
        self._unreadable: set[int] = set()
        seal = self._seal_of(len(offsets)) if offsets else None
        self._marks: tuple[_Mark, ...] = (_Mark(len(offsets), tail.segments, seal or ""),)

    @classmethod
    def recover(
        cls,
        home: Path,
        files: Files,
        snapshot: Snapshot | None = None,
        *,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> tuple[Self, Recovery]:
        """Open the log in a directory that `open_directory` accepted. Blocks; under the lock.

        A `snapshot` that fits saves reading what it covers record by record; one that does not is
        ignored. Raises JournalBroken if a sync failed, and DataDirectoryError if the log cannot be
        read or its end not be rewritten; it is then as it was.
        """
        tail = Tail(home, files, segment_bytes)
        try:
            scan, segments, fits = scan_log(home, files, snapshot)
            cut = rewrite_tail(tail, scan, segments) if segments else None
            log = cls(tail, scan.offsets, scan.damages)
            shortened = snapshot is not None and not fits and log._lacks(snapshot)
        except JournalBroken:
            tail.close()
            raise
        except OSError as error:
            tail.close()
            raise DataDirectoryError(
                f"The log in {home} cannot be opened: {error}. It was left as it was; free space "
                "or correct the permissions, then start again."
            ) from error
        used = snapshot if fits else None
        return log, Recovery(tuple(scan.damages), cut, shortened, used)

    @property
    def last_seq(self) -> int:
        """The seq of the last durable record, 0 if there is none."""
        return len(self._offsets)

    @property
    def next_seq(self) -> int:
        return len(self._offsets) + 1

    @property
    def damages(self) -> tuple[Damage, ...]:
        """What was found when the log was opened, and whatever reading met since."""
        return tuple(self._damages)

    def append(self, lines: Sequence[bytes]) -> None:
        """Write lines made by `encode`, of `next_seq` and those after it, and sync them. Blocks.

        They are all durable when it returns. Raises NotWritten: none is in the log and the next
        call may succeed. Raises JournalBroken: whether they are durable is unknown; for ever.
        """
        self._tail.check()
        if not lines:
            return
        seq = self.next_seq
        for number, line in enumerate(lines, seq):
            if not line.startswith(b"%b%d," % (START, number)):
                raise ValueError(f"the line for seq {number} has another seq")
        place = self._tail.append(b"".join(lines))
        places = array("Q")
        for line in lines:
            places.append(place)
            place += len(line)
        mark = _Mark(seq + len(lines) - 1, self._tail.segments, lines[-1][-11:-3].decode())
        self._marks = (*self._marks[-1:], mark)
        self._offsets.extend(places)

    def read(self, seqs: Iterable[int]) -> list[AnyRecord | Gap]:
        """The records, in the order asked for. Blocks. Raises Refused (UNAVAILABLE) on an I/O error."""
        return [record for record, _ in self._read(list(seqs))]

    def after(self, seq: int, *, upto: int, limit_records: int, limit_bytes: int) -> list[AnyRecord]:
        """Records beyond `seq` up to `upto`, gaps left out; at least one, if there is one. Blocks.

        Ends at either limit; only a first record may be larger than `limit_bytes`. Raises Refused
        (UNAVAILABLE) on an I/O error.
        """
        records: list[AnyRecord] = []
        size = 0
        for record, length in self._read(range(seq + 1, min(upto, self.last_seq) + 1)):
            if isinstance(record, Gap):
                continue
            if records and (len(records) >= limit_records or size + length > limit_bytes):
                break
            records.append(record)
            size += length
        return records

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """The line of every record as it is in the log, with its newline, in order of seq. Raises OSError."""
        for seq, line in enumerate(read_lines(self._home, self._files, self._offsets), 1):
            if line is not None:
                yield seq, line + b"\n"

    def replay(self, after: int = 0) -> Iterator[AnyRecord]:
        """Every record beyond `after`, in order of seq; gaps are left out. Raises as `read`."""
        for record, _ in self._read(range(after + 1, self.next_seq)):
            if not isinstance(record, Gap):
                yield record

    def glances(self, after: int = 0) -> Iterator[AnyRecord | Glance]:
        """The same as `replay`, in a third of the time: of most records only what a state keeps."""
        for seqs, places, lines in self._batches(range(after + 1, self.next_seq)):
            glances = skim([line or b"" for line in lines])
            for seq, place, line, glance in zip(seqs, places, lines, glances, strict=True):
                if glance is not None and glance.seq == seq:
                    yield glance
                elif not isinstance(record := self._parse(seq, place, line), Gap):
                    yield record

    def snapshot(self, seq: int, *, epoch: str, state: bytes) -> Snapshot | None:
        """The index of the log up to `seq`, for `index.save`, with the state that belongs to it.

        None if `seq` is not where one of the last two appends ended, or there is no record.
        """
        mark = next((mark for mark in self._marks if mark.seq == seq), None)
        if mark is None or not mark.seal:
            return None
        return Snapshot(
            epoch=epoch,
            seq=seq,
            seal=mark.seal,
            segments=mark.segments,
            damages=self.damages,
            offsets=memoryview(self._offsets[:seq]).cast("B"),
            state=state,
        )

    def close(self) -> None:
        """Everything durable is so already; whatever is called after this raises JournalBroken."""
        self._tail.close()

    def _lacks(self, snapshot: Snapshot) -> bool:
        """Whether records that the snapshot has seen are not in the log, or are others there."""
        if snapshot.seq > self.last_seq:
            return True
        seal = self._seal_of(snapshot.seq)
        return seal is not None and seal != snapshot.seal  # None: that line is damaged

    def _seal_of(self, seq: int) -> str | None:
        """The crc of a record's line, None if it cannot be read as one. Raises OSError."""
        line = next(read_lines(self._home, self._files, self._offsets[seq - 1 : seq]))
        return line[-10:-2].decode() if line else None

    def _read(self, seqs: Sequence[int]) -> Iterator[tuple[AnyRecord | Gap, int]]:
        """Each record with the bytes of its line; what is damaged is remembered."""
        for some, places, lines in self._batches(seqs):
            for seq, place, line in zip(some, places, lines, strict=True):
                yield self._parse(seq, place, line), len(line or b"") + 1

    def _batches(self, seqs: Sequence[int]) -> Iterator[tuple[Sequence[int], Sequence[int], list[bytes | None]]]:
        """Some seqs, with the place and the intact line of each; then the next."""
        for start in range(0, len(seqs), 1024):
            self._tail.check()
            some = seqs[start : start + 1024]
            count = self.last_seq
            places = [self._offsets[seq - 1] if 0 < seq <= count else 0 for seq in some]
            try:
                yield some, places, list(read_lines(self._home, self._files, places))
            except OSError as error:
                raise Refused(Code.UNAVAILABLE, f"The log cannot be read at the moment ({error.strerror}).") from error

    def _parse(self, seq: int, place: int, line: bytes | None) -> AnyRecord | Gap:
        if not place:
            return Gap(seq, "there is no such record")
        try:
            record = decode(line or b"")
            if record.seq == seq:
                return record
            reason = "another record is in its place"
        except BadLine as bad:
            reason = bad.reason
        if seq not in self._unreadable:
            self._unreadable.add(seq)
            number = line_number(self._home, self._files, place)
            self._damages.append(Damage(segment_name(place >> OFFSET_BITS), number, reason))
        return Gap(seq, reason)
