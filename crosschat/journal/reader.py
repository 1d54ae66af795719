"""Lines of the log by their places, with few system calls: neighbours are read together.

Opens a segment for every read and closes it again (some 10 µs): readers then share nothing, and a
descriptor can never be closed, and its number used again, under another reader.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from crosschat.journal.scan import OFFSET_BITS, OFFSET_MASK, chunks, record_at, segment_name
from crosschat.limits import RECORD_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from crosschat.journal.files import Files

_SPAN_BYTES: Final = 256 * 1024
_LINE_BYTES: Final = 4096  # most lines are shorter; a longer one costs a second read


def read_lines(home: Path, files: Files, places: Sequence[int]) -> Iterator[bytes | None]:
    """For each place (0: nowhere) the line that begins there, without newline.

    None where nothing intact begins. No descriptor is open while it is suspended. Raises OSError.
    """
    index = 0
    while index < len(places):
        end = _run(places, index)
        if places[index]:
            yield from _read_run(home, files, places[index:end])
        else:
            yield from (None for _ in range(index, end))
        index = end


def _run(places: Sequence[int], index: int) -> int:
    """The end of the places from `index` on that one read can serve."""
    first = before = places[index]
    limit = first + _SPAN_BYTES if first else 1
    index += 1
    while index < len(places) and before <= places[index] < limit:
        before = places[index]
        index += 1
    return index


def _read_run(home: Path, files: Files, places: Sequence[int]) -> list[bytes | None]:
    start = places[0] & OFFSET_MASK
    lines: list[bytes | None] = []
    fd = files.open(home / segment_name(places[0] >> OFFSET_BITS), "read")
    try:
        data = files.pread(fd, places[-1] - places[0] + _LINE_BYTES, start)
        for place in places:
            offset = place - places[0]
            end = data.find(b"\n", offset)
            if end < 0:  # longer than what was read, or the file ends without a newline
                piece = files.pread(fd, RECORD_BYTES, start + offset)
                lines.append(record_at(piece.partition(b"\n")[0]))
            else:
                lines.append(record_at(data[offset:end]))
    finally:
        files.close(fd)
    return lines


def line_number(home: Path, files: Files, place: int) -> int:
    """Which line of its segment, from 1, begins at a place. Raises OSError."""
    path = home / segment_name(place >> OFFSET_BITS)
    return 1 + sum(chunk.count(b"\n") for chunk in chunks(path, files, end=place & OFFSET_MASK))
