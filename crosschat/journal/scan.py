"""Reading segments from end to end: which bytes are records, where each is, and what is damaged.

Owns the rules by which a log that is not as it was written is read. They all follow from two:
every record whose bytes are intact stays readable, and everything else is reported.

- A line that fails is searched for whole records (a newline that was damaged, CRLF line ends).
- A record is known by its `seq`, wherever it stands: swapped lines are both read, reported as out
  of order. If a seq occurs twice the first counts, except that a line in its proper place wins
  against one that was inserted before it.
- A line that says which records were taken out (compaction) makes a gap that is no damage.
- Any other seq that no record has is a gap. After it counting goes on from the highest seq seen.

Nothing here writes. Line numbers count from 1 as an editor does.
"""

from __future__ import annotations

import re
from array import array
from typing import TYPE_CHECKING, Final
from zlib import crc32

import attrs

from crosschat.journal.format import START, gone_of, has_more, intact_spans, is_sealed, seq_of

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from crosschat.journal.files import Files

CHUNK_BYTES: Final = 1 << 22
OFFSET_BITS: Final = 40
OFFSET_MASK: Final = (1 << OFFSET_BITS) - 1
# A seq so far beyond the last one is taken for damage: the offsets would not fit into memory.
JUMP_MAX: Final = 1 << 24
_BEGIN: Final = START + b"%d,"
_NAME: Final = re.compile(r"([0-9]{6})\.jsonl")


@attrs.frozen
class Damage:
    """`lines` lines of a file, from `line_number` on, are not as they were written (0: no line)."""

    file: str
    line_number: int
    reason: str
    lines: int = 1


@attrs.frozen
class Segment:
    """The first `size` bytes of the segment `number`, and their CRC-32."""

    number: int
    size: int
    crc: int


def segment_name(number: int) -> str:
    """The path of a segment below the data directory."""
    return f"log/{number:06d}.jsonl"


def segment_numbers(home: Path, files: Files) -> tuple[list[int], list[Damage]]:
    """The segments that are there, in order, and what is wrong with the names in the directory."""
    numbers: list[int] = []
    damages: list[Damage] = []
    for name in sorted(files.listdir(home / "log")):
        found = _NAME.fullmatch(name)
        if found and int(found[1]):
            numbers.append(int(found[1]))
        elif not name.endswith(".new"):  # left by a start that was killed; the next one removes it
            damages.append(Damage("log/" + ascii(name)[1:-1], 0, "not a file of the log; ignored"))
    before = 0
    for number in numbers:
        if missing := number - before - 1:
            damages.append(
                Damage(segment_name(before + 1), 0, "the file is missing", lines=missing)
                if missing == 1
                else Damage(segment_name(before + 1), 0, f"{missing} files from here are missing")
            )
        before = number
    return numbers, damages


def chunks(path: Path, files: Files, start: int = 0, end: int | None = None) -> Generator[bytes]:
    """The bytes of a file, in order, from `start` up to `end` or its end. Raises OSError.

    Holds a descriptor until it is exhausted or closed.
    """
    fd = files.open(path, "read")
    try:
        while chunk := files.pread(fd, CHUNK_BYTES if end is None else min(CHUNK_BYTES, end - start), start):
            yield chunk
            start += len(chunk)
    finally:
        files.close(fd)


@attrs.define(eq=False)
class Scan:
    """What has been found so far. Give it the segments in order; each call continues the last."""

    offsets: array[int] = attrs.Factory(lambda: array("Q"))
    """By seq - 1: segment << OFFSET_BITS | offset; 0 where there is no record."""
    damages: list[Damage] = attrs.Factory(list)
    size: int = 0
    """Bytes of the last segment."""
    crc: int = 0
    """CRC-32 of these bytes."""
    whole: int = 0
    """Offset in the last segment after its last whole operation: what follows is a torn tail.
    One more than `size` if only the newline is missing.
    """
    lines: int = 0
    _file: str = ""
    _base: int = 0
    _previous: int = 0
    _jumped: set[int] = attrs.Factory(set)
    _open: list[int] = attrs.Factory(list)
    _kept_damages: int = 0
    _whole_lines: int = 0

    def resume(self, segment: Segment, lines: int) -> None:
        """Go on after the bytes of `segment`, whose records are already in `offsets`."""
        self._file, self._base = segment_name(segment.number), segment.number << OFFSET_BITS
        self.size = self.whole = segment.size
        self.crc, self.lines, self._whole_lines = segment.crc, lines, lines
        self._previous, self._kept_damages = len(self.offsets), len(self.damages)

    def begin(self, number: int) -> None:
        """Go on with the next segment, from its beginning."""
        if self._open:
            self._report("an operation of several records is not whole")
        if self.whole > self.size:
            self._report("the last line has no newline")
        self._open.clear()
        self._file, self._base = segment_name(number), number << OFFSET_BITS
        self.size = self.whole = self.crc = self.lines = self._whole_lines = 0
        self._kept_damages = len(self.damages)

    def read(self, data: Iterator[bytes]) -> None:
        """All of the rest of the segment."""
        rest = b""
        position = self.size
        for chunk in data:
            self.crc = crc32(chunk, self.crc)
            self.size += len(chunk)
            lines = (rest + chunk if rest else chunk).split(b"\n")
            rest = lines.pop()
            position = self._take(lines, position)
        if rest:
            self._take([rest], position)

    def cut(self) -> int:
        """Forget what comes after `whole`; returns the number of the first line that was cut."""
        for seq in self._open:
            self.offsets[seq - 1] = 0
        self._open.clear()
        while self.offsets and not self.offsets[-1]:
            self.offsets.pop()
        del self.damages[self._kept_damages :]
        return self._whole_lines + 1

    def _take(self, lines: list[bytes], position: int) -> int:
        offsets, base = self.offsets, self._base
        for line in lines:
            self.lines += 1
            end = position + len(line) + 1
            if not is_sealed(line):
                self._salvage(line, position)
            elif line.startswith(_BEGIN % (len(offsets) + 1)):
                offsets.append(base | position)
                self._previous = len(offsets)
                self._close(line, self._previous, end)
            else:
                self._close(line, self._place(line, position), end)
            position = end
        return position

    def _close(self, line: bytes, seq: int | None, end: int) -> None:
        """An operation is whole with the line that has no `more`."""
        if seq is None:
            if self._open:
                return
        elif has_more(line):
            self._open.append(seq)
            return
        self.whole = end
        self._whole_lines = self.lines
        self._kept_damages = len(self.damages)
        if self._open:
            self._open.clear()

    def _salvage(self, line: bytes, position: int) -> None:
        spans = list(intact_spans(line))
        reason = "bytes that are no record, beside one that is" if spans else "checksum missing or wrong"
        # What only follows the last record may be the torn end of the log, and is then cut and no damage.
        follows = bool(spans) and sum(end - start for start, end in spans) == spans[-1][1]
        if not follows:
            self._report(reason)
        for start, end in spans:
            record = line[start:end]
            self._close(record, self._place(record, position + start), position + end)
        if follows:
            self._report(reason)

    def _place(self, line: bytes, position: int) -> int | None:
        """Enter an intact line that is not the next one; None if it is ignored."""
        seq, expected = seq_of(line), len(self.offsets) + 1
        gone = gone_of(line)
        if gone is not None and gone[0] == expected and gone[0] <= gone[1] < expected + JUMP_MAX:
            self.offsets.extend(array("Q", bytes(8 * (gone[1] - expected + 1))))
            self._previous = gone[1]
            return gone[1]
        if seq is None or not 0 < seq < expected + JUMP_MAX:
            self._report("its seq cannot be right")
            return None
        if seq < expected and self.offsets[seq - 1]:
            self._report(f"record {seq} occurs a second time")
            if not (seq in self._jumped and seq == self._previous + 1):
                return None
            self._jumped.discard(seq)
        elif seq < expected:
            self._report(f"record {seq} is out of order")
        elif seq > expected:
            missing = f"record {expected} is" if seq == expected + 1 else (
                f"records {expected} to {seq - 1} are"
            )  # fmt: skip
            self._report(f"{missing} missing before this line")
            self._jumped.add(seq)
            self.offsets.frombytes(bytes(8 * (seq - expected)))
        if seq > len(self.offsets):
            self.offsets.append(self._base | position)
        else:
            self.offsets[seq - 1] = self._base | position
        self._previous = seq
        return seq

    def _report(self, reason: str) -> None:
        last = self.damages[-1] if self.damages else None
        if last and (last.file, last.reason) == (self._file, reason) and last.line_number + last.lines == self.lines:
            self.damages[-1] = attrs.evolve(last, lines=last.lines + 1)
        else:
            self.damages.append(Damage(self._file, self.lines, reason))


def record_at(data: bytes) -> bytes | None:
    """The intact record that begins a line, or None; the line may have more after it."""
    if is_sealed(data):
        return data
    return next((data[start:end] for start, end in intact_spans(data) if start == 0), None)
