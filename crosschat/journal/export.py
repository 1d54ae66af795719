"""Everything that readers see of a log, as one JSON object a line, oldest first: for `crosschat export` without a hub.

Reads the log twice, the first time for the names that agents have at its end, and holds one batch of lines at a time.
Changes nothing. A record that cannot be read is left out and counted: what is intact is exported, damage is told.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import attrs

from crosschat.errors import DataDirectoryError
from crosschat.journal.directory import check_format
from crosschat.journal.format import BadLine, decode
from crosschat.journal.reader import read_lines
from crosschat.journal.recovery import scan_log
from crosschat.model import (
    CLI,
    SYSTEM,
    USER,
    About,
    AgentJoined,
    Badge,
    Message,
    Release,
    Reply,
    Resolve,
    from_iso,
    iso,
)

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from crosschat.journal.files import Files
    from crosschat.model import AnyRecord, JsonObject

_IS_AGENT = b'"kind":"agent"'


@attrs.frozen(kw_only=True)
class Wanted:
    """Times are ISO and include both ends; `thread` is the id of the message that begins it."""

    since: str | None = None
    until: str | None = None
    thread: str | None = None


@attrs.frozen
class Exported:
    """How many lines were written, and how many places of the log could not be read."""

    lines: int
    damaged: int


def export_log(home: Path, files: Files, wanted: Wanted, write: Callable[[str], object]) -> Exported:
    """Give every line to `write`. Blocks. Raises DataDirectoryError if the log cannot be read, ValueError for a time
    that is none."""
    since, until = (None if time is None else from_iso(time) for time in (wanted.since, wanted.until))
    try:
        check_format(home, files)
        scan, segments, _ = scan_log(home, files, None)
        if segments and scan.whole < scan.size:
            scan.cut()  # the next start cuts it, too: nobody was told of it
        places, damaged = scan.offsets, len(scan.damages)
        names = _names(home, files, places)
        lines, in_thread = 0, {wanted.thread}
        for record in _records(home, files, places):
            if record is None:
                damaged += 1
                continue
            if isinstance(record, Reply) and record.root in in_thread:
                in_thread.add(record.id)  # what is about a reply belongs to the thread, too
            if (since is not None and record.ts < since) or (until is not None and record.ts > until):
                continue
            document = _document(record, names)
            if document is not None and (wanted.thread is None or document["messageId"] in in_thread):
                write(json.dumps(document, separators=(",", ":")))
                lines += 1
    except OSError as error:
        raise DataDirectoryError(f"The log in {home} cannot be read: {error}.") from error
    return Exported(lines, damaged)


def _records(home: Path, files: Files, places: array[int]) -> Iterator[AnyRecord | None]:
    """In order of seq; None for what is there and cannot be read. What is missing was told by the scan."""
    for place, line in zip(places, read_lines(home, files, places), strict=True):
        if place:
            try:
                yield decode(line or b"")
            except BadLine:
                yield None


def _names(home: Path, files: Files, places: array[int]) -> dict[str, str]:
    names: dict[str, str] = {}
    for line in read_lines(home, files, places):
        if line is not None and _IS_AGENT in line:
            try:
                record = decode(line)
            except BadLine:
                continue
            if isinstance(record, AgentJoined):
                names[record.agent] = record.name
    return names


def _document(record: AnyRecord, names: dict[str, str]) -> JsonObject | None:
    """A message or an event about one; None for what readers do not see."""
    if not isinstance(record, Message | About):
        return None
    document: JsonObject = {
        "seq": record.seq,
        "kind": record.kind,
        "messageId": record.id if isinstance(record, Message) else record.target,
        "timestamp": iso(record.ts),
        "from": record.by,
        "fromName": names.get(record.by, record.by),
        "source": record.source if isinstance(record, Message) else _source(record.by),
        "content": record.content if isinstance(record, Message) else _about(record),
    }
    if isinstance(record, Reply):
        document["threadId"] = record.root
    if isinstance(record, Message):
        more = {
            "to": None if record.to is None else list(record.to),
            "here": record.here or None,
            "private": record.private or None,
            "importance": record.importance,
            "metadata": record.metadata,
        }
        document |= {name: value for name, value in more.items() if value is not None}
    return document


def _source(who: str) -> str:
    return who if who in (USER, CLI, SYSTEM) else "agent"


def _about(record: About) -> str:
    if isinstance(record, Resolve):
        return record.result if record.error is None else f"{record.result}\n\nError: {record.error}".strip()
    if isinstance(record, Release):
        return record.reason
    return f"{record.badge_type}={record.value}" if isinstance(record, Badge) else ""
