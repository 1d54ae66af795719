"""From what a crash left to a log that can be relied on. Plain synchronous code, before any task.

Invariant: nothing intact is lost and nothing is changed but the end of the last segment. Only what
follows its last whole operation is cut, and only after it was copied to `damaged/`. The last segment
is then written anew and synced, under its old name: bytes that an earlier sync failed to bring to
the disk look just like all others when they are read, so nothing that could be among them is served
before it was written and synced once more.

A crash in the middle leaves the old segment or the new one, and copies in `damaged/`; the next start
does it again.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING
from zlib import crc32

import attrs

from crosschat.errors import JournalBroken
from crosschat.journal.files import exists, is_directory, sync_directory, write_all
from crosschat.journal.index import Snapshot
from crosschat.journal.scan import Damage, Scan, Segment, chunks, segment_name, segment_numbers

if TYPE_CHECKING:
    from pathlib import Path

    from crosschat.journal.files import Files
    from crosschat.journal.tail import Tail


@attrs.frozen
class Recovery:
    """What a start found. `snapshot` is the given one if it fits: begin with its state."""

    damages: tuple[Damage, ...] = ()
    cut: Damage | None = None
    """The torn tail, normal after a crash: nothing acked was in it unless the disk lost it."""
    shortened: bool = False
    """The log lacks records that were there: an older copy was restored. A new epoch must begin."""
    snapshot: Snapshot | None = None


def scan_log(home: Path, files: Files, snapshot: Snapshot | None) -> tuple[Scan, list[Segment], bool]:
    """Read the log; what follows the snapshot, if it fits. Returns also whether it did.

    The segments are as they are on disk: the torn tail of the last one is still in it.
    """
    numbers, damages = segment_numbers(home, files)
    scan, segments = Scan(damages=damages), []
    lines = _lines_of(snapshot, numbers, home, files) if snapshot else None
    if snapshot and lines is not None:
        scan.offsets.frombytes(snapshot.offsets)
        scan.damages += [damage for damage in snapshot.damages if damage not in damages]
        scan.resume(snapshot.segments[-1], lines)
        numbers = numbers[len(snapshot.segments) :]
        scan.read(chunks(home / segment_name(snapshot.segments[-1].number), files, start=scan.size))
        segments = [*snapshot.segments[:-1], Segment(snapshot.segments[-1].number, scan.size, scan.crc)]
    for number in numbers:
        scan.begin(number)
        scan.read(chunks(home / segment_name(number), files))
        segments.append(Segment(number, scan.size, scan.crc))
    return scan, segments, lines is not None


def _lines_of(snapshot: Snapshot, numbers: list[int], home: Path, files: Files) -> int | None:
    """How many lines of its last segment the snapshot covers; None if the log is not as it says."""
    known = snapshot.segments
    if not known or [segment.number for segment in known] != numbers[: len(known)]:
        return None
    lines = 0
    for segment in known:
        path = home / segment_name(segment.number)
        crc = size = lines = 0
        for chunk in chunks(path, files, end=segment.size):
            crc = crc32(chunk, crc)
            size += len(chunk)
            lines += chunk.count(b"\n")
        longer = segment is not known[-1] and files.lstat(path).st_size != size
        if (size, crc) != (segment.size, segment.crc) or longer:
            return None
    return lines


def rewrite_tail(tail: Tail, scan: Scan, segments: list[Segment]) -> Damage | None:
    """Cut the torn end of the last segment, write the rest anew and sync it; `tail` then has it open.

    Returns what was cut. Raises OSError if that was not possible: nothing was changed, except for
    copies in `damaged/`. Raises JournalBroken if a sync failed.
    """
    number = segments[-1].number
    path = tail.home / segment_name(number)
    files, cut = tail.files, None
    if scan.whole < scan.size:
        copy = set_aside(path, scan.whole, files, tail.home)
        text = f"a torn end of {scan.size - scan.whole} bytes was cut; they are in {copy}"
        cut = Damage(segment_name(number), scan.cut(), text)
    temporary = path.with_name(f"{path.name}.new")
    if exists(files, temporary):
        files.unlink(temporary)
    tail.sealed, tail.number = tuple(segments[:-1]), number
    tail.fd = files.open(temporary, "create")
    try:
        _copy(tail, path, scan.whole)
        _sync(files, tail.fd)
        files.replace(temporary, path)
    except BaseException:
        if exists(files, temporary):
            files.unlink(temporary)
        raise
    directory = files.open(path.parent, "directory")
    try:
        _sync(files, directory)
    finally:
        files.close(directory)
    return cut


def _copy(tail: Tail, source: Path, end: int) -> None:
    last = b"\n"
    with closing(chunks(source, tail.files, end=end)) as data:
        for chunk in data:
            _add(tail, chunk)
            last = chunk[-1:]
    if last != b"\n":  # the newline of the last record was lost
        _add(tail, b"\n")


def _add(tail: Tail, data: bytes) -> None:
    write_all(tail.files, tail.fd, data)
    tail.size += len(data)
    tail.crc = crc32(data, tail.crc)


def _sync(files: Files, fd: int) -> None:
    try:
        files.fsync(fd)
    except OSError as error:
        raise JournalBroken(f"The log could not be made durable: {error}") from error


def set_aside(path: Path, start: int, files: Files, home: Path) -> str:
    """Copy the bytes of `path` from `start` on to a new file in `damaged/`, durably; its name."""
    directory = home / "damaged"
    if not is_directory(files, directory):
        files.mkdir(directory)
        sync_directory(files, home)
    count = 1
    while exists(files, directory / (name := f"{path.stem}-{start}-{count}.jsonl")):
        count += 1
    fd = files.open(directory / name, "create")
    try:
        with closing(chunks(path, files, start=start)) as data:
            for chunk in data:
                write_all(files, fd, chunk)
        files.fsync(fd)
    finally:
        files.close(fd)
    sync_directory(files, directory)
    return f"damaged/{name}"
