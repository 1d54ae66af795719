"""What an npm CrossChat 2.0.x left in the directory becomes the beginning of the log; once, before anything else.

Its files have neither numbers nor checksums:

    messages/<channel>.jsonl           one message a line, ids are UUIDs; `crosschat.jsonl` is its activity channel
    messages/threads/<id>.jsonl        replies to that message
    messages/badges/<id>.json          badges of one message
    messages/tasks/<id>.json           the task that a message is
    instances.json                     its sessions

They are moved to `imported/` and never changed after that. The log is made from them there and is the same however
often that is done, because all of it, also its epoch, follows from their bytes. `FORMAT` is written last, so a crash
at any moment leaves a directory without it, and the next start makes the log anew.

Read leniently: a line that is none, or a badge of a message that is gone, costs itself and is counted in the notice; an
old field that has no place here goes into the message's metadata, as `imported`.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Final

import attrs

from crosschat.errors import Refused
from crosschat.journal import compose
from crosschat.journal.files import exists, is_directory, read_whole, sync_directory, write_all
from crosschat.journal.format import encode
from crosschat.journal.scan import segment_name
from crosschat.limits import SEGMENT_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from crosschat.journal.files import Files
    from crosschat.model import AnyRecord

KEPT: Final = "imported"
DIRECTORIES: Final = frozenset({"threads", "badges", "tasks"})
MARKS: Final = frozenset({"dashboard.lock", "instances.json"})  # what a 2.0.x hub also leaves
_FILE_BYTES: Final = 1 << 32
_LINES: Final = re.compile(r"[^/]+\.jsonl")


@attrs.frozen
class Imported:
    """What was found, for people."""

    messages: int
    unreadable: int
    homeless: int
    """Badges and tasks of messages that are not there."""

    @property
    def notice(self) -> str:
        left = f"; {self.unreadable} lines or files could not be read" if self.unreadable else ""
        gone = f"; {self.homeless} badges and tasks are of messages that are gone" if self.homeless else ""
        return f"{self.messages} messages of an npm CrossChat were imported{left}{gone}. Its files are in {KEPT}/."


def is_legacy(home: Path, files: Files) -> bool:
    """Whether a directory without a FORMAT was an npm CrossChat's, or its import has begun. Raises OSError."""
    if is_directory(files, home / KEPT):
        return True
    messages = home / "messages"
    if not is_directory(files, messages) or (is_directory(files, home / "log") and files.listdir(home / "log")):
        return False
    names = files.listdir(messages)
    channels = [name for name in names if name not in DIRECTORIES]
    if not channels or not all(_LINES.fullmatch(name) for name in channels):
        return False
    return any(compose.is_message(line) for name in channels for line, _ in _objects(files, messages / name))


def import_directory(home: Path, files: Files) -> Imported:
    """Make the log. Blocks; under the lock. Raises OSError: nothing is lost, and the next start tries again."""
    kept = home / KEPT
    if not exists(files, kept):
        files.mkdir(kept)
        sync_directory(files, home)
    if not exists(files, kept / "messages"):
        for name in ("messages", "instances.json"):  # the messages last: they say that all is there
            if exists(files, home / name) and name != "messages":
                files.replace(home / name, kept / name)
        files.replace(home / "messages", kept / "messages")
        sync_directory(files, kept)
        sync_directory(files, home)
    old = _read(kept, files)
    records, homeless = compose.compose(old)
    _write_log(home, files, [_line(record) for record in records])
    return Imported(len(old.messages), old.unreadable, homeless)


def _line(record: AnyRecord) -> bytes:
    try:
        return encode(record)
    except Refused:  # it was more, or other, than a record can be: the whole of it is in `imported/`
        return encode(compose.cut(record))


def _read(kept: Path, files: Files) -> compose.Old:
    old = compose.Old()
    digest = hashlib.sha256()
    messages = kept / "messages"
    for path in _paths(files, messages):
        found = list(_objects(files, path))
        digest.update(f"{path.relative_to(messages)}\n".encode())
        for value, raw in found:
            digest.update(raw)
            if path.suffix == ".json":
                good = old.take_document(path.parent.name, path.stem, value)
            else:
                thread = path.stem if path.parent.name == "threads" else None
                good = old.take_line(path.stem if thread is None else None, thread, value)
            old.unreadable += not good
    if exists(files, kept / "instances.json"):
        for value, _ in _objects(files, kept / "instances.json", whole=True):
            old.take_instances(value)
    old.epoch = digest.hexdigest()[:12]
    return old


def _paths(files: Files, messages: Path) -> Iterator[Path]:
    """Channels, then threads, then badges and tasks, each in order of their names."""
    for name in sorted(files.listdir(messages)):
        if _LINES.fullmatch(name):
            yield messages / name
    for directory, suffix in (("threads", ".jsonl"), ("badges", ".json"), ("tasks", ".json")):
        if is_directory(files, messages / directory):
            for name in sorted(files.listdir(messages / directory)):
                if name.endswith(suffix):
                    yield messages / directory / name


def _objects(files: Files, path: Path, *, whole: bool = False) -> Iterator[tuple[object, bytes]]:
    """The values of a file, and their bytes; None for a line that is none."""
    data = read_whole(files, path, _FILE_BYTES)
    for line in [data] if whole or path.suffix == ".json" else data.splitlines():
        if not line.strip():
            continue
        try:
            value: object = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        yield value, line


def _write_log(home: Path, files: Files, lines: list[bytes]) -> None:
    """All segments, durable. What an import that was cut off left of them is replaced."""
    directory = home / "log"
    if not exists(files, directory):
        files.mkdir(directory)
        sync_directory(files, home)
    for name in files.listdir(directory):
        files.unlink(directory / name)
    number, rest = 0, lines
    while rest:
        number += 1
        size = count = 0
        for line in rest:
            if count and size + len(line) > SEGMENT_BYTES:
                break
            size, count = size + len(line), count + 1
        fd = files.open(home / segment_name(number), "create")
        try:
            write_all(files, fd, b"".join(rest[:count]))
            files.fsync(fd)
        finally:
            files.close(fd)
        rest = rest[count:]
    sync_directory(files, directory)
