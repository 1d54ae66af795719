"""A look at the whole log that changes nothing: every line is read and decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import attrs

from crosschat.errors import DataDirectoryError
from crosschat.journal.directory import check_format
from crosschat.journal.format import BadLine, decode
from crosschat.journal.index import peek
from crosschat.journal.reader import line_number, read_lines
from crosschat.journal.recovery import scan_log
from crosschat.journal.scan import OFFSET_BITS, Damage, segment_name

if TYPE_CHECKING:
    from pathlib import Path

    from crosschat.journal.files import Files


@attrs.frozen
class Report:
    """What is in a log. `torn`: the end that the next start will cut, if there is one. `index`: whether the snapshot
    beside the log belongs to it, and how many records it is behind. `last_ts`: the time of the newest record."""

    records: int
    last_seq: int
    bytes: int
    damages: tuple[Damage, ...]
    torn: Damage | None
    index: Literal["current", "missing", "unreadable", "foreign"] = "missing"
    index_behind: int = 0
    last_ts: int | None = None


def check_log(home: Path, files: Files) -> Report:
    """Read every segment. Blocks; changes nothing. Raises DataDirectoryError if that cannot be done."""
    try:
        check_format(home, files)
        scan, segments, _ = scan_log(home, files, None)
        torn = None
        if segments and scan.whole < scan.size:
            size = scan.size - scan.whole
            line = scan.cut()
            torn = Damage(segment_name(segments[-1].number), line, f"{size} bytes at the end are torn")
        damages = list(scan.damages)
        records, last_ts = 0, None
        for place, line_bytes in zip(scan.offsets, read_lines(home, files, scan.offsets), strict=True):
            if not place:
                continue
            records += 1
            try:
                last_ts = decode(line_bytes or b"").ts
            except BadLine as bad:
                number = line_number(home, files, place)
                damages.append(Damage(segment_name(place >> OFFSET_BITS), number, bad.reason))
                records -= 1
    except OSError as error:
        raise DataDirectoryError(f"The log in {home} cannot be read: {error}.") from error
    size = sum(segment.size for segment in segments)
    state, behind = _index(home, files, len(scan.offsets))
    return Report(records, len(scan.offsets), size, tuple(damages), torn, state, behind, last_ts)


def _index(
    home: Path, files: Files, last_seq: int
) -> tuple[Literal["current", "missing", "unreadable", "foreign"], int]:
    found = peek(files, home)
    if isinstance(found, str):
        return found, last_seq
    _, _, fits = scan_log(home, files, found)
    return ("current" if fits else "foreign"), max(0, last_seq - found.seq)
