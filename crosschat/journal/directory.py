"""The data directory: ours, private, of a format that this program reads; or refused, untouched.

Invariant: `FORMAT` is durable before anything else of ours but the lock is in the directory, so a
directory that has messages or a log but no `FORMAT` was written by something else: an npm CrossChat,
whose messages are imported first (`legacy`), or it is refused. One without `FORMAT` that holds any
name that is not ours is somebody's directory, named by mistake. Every check
comes before the first change.

An npm CrossChat 2.0.x hub keeps no lock that we could try. It is known by its `dashboard.lock`, which
has the keys `pid` and `version`; while that process lives, the directory is refused.

A crash while the directory is made leaves it without `FORMAT`, or with `FORMAT` and some
subdirectories missing; the next start completes either.
"""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING, Final

from crosschat import processes
from crosschat.errors import DataDirectoryError
from crosschat.journal import compact, legacy
from crosschat.journal.files import (
    DIRECTORY_MODE,
    exists,
    is_directory,
    read_whole,
    sync_directory,
    write_atomically,
)
from crosschat.model import FORMAT

if TYPE_CHECKING:
    from pathlib import Path

    from crosschat.journal.files import Files

DIRECTORIES: Final = (
    "log", "messages", "messages/threads", "messages/badges", "messages/tasks", "index",
)  # fmt: skip
# What a hub, its starter or an installer makes in the directory itself.
NAMES: Final = frozenset(
    {
        "FORMAT", "hub.lock", "dashboard.lock", "run", "log", "logs", "messages", "index", "damaged", "audit", "hooks",
        "ask", legacy.KEPT, compact.NEW, compact.OLD, "instances.json", "settings.json",
    }
)  # fmt: skip
_FORMAT_BYTES: Final = 4096
_NOTE_BYTES: Final = 64 * 1024
_PIDS: Final = range(1, 1 << 31)


def open_directory(home: Path, files: Files) -> tuple[str, ...]:
    """Check or create the data directory; afterwards it is private and has all of `DIRECTORIES`.

    Returns notes for people about what had to be put right. Call it under the hub's lock. Raises
    DataDirectoryError, which names the remedy; whatever was there is then as it was.
    """
    try:
        if exists(files, home):
            new = _check(home, files)
        else:
            _make(home, files)
            new = True
        notes = _tighten(home, files)
        compact.finish(home, files)
        if new and exists(files, home) and legacy.is_legacy(home, files):
            notes.append(legacy.import_directory(home, files).notice)
        if new:
            text = json.dumps({"format": FORMAT, "min_reader": FORMAT}, separators=(",", ":"))
            write_atomically(files, home / "FORMAT", text.encode() + b"\n")
        return (*notes, *_subdirectories(home, files))
    except OSError as error:
        raise _unusable(home, error) from error


def check_directory(home: Path, files: Files) -> None:
    """Raise DataDirectoryError where `open_directory` would refuse; nothing is changed, and nothing is made."""
    try:
        if exists(files, home):
            _check(home, files)
    except OSError as error:
        raise _unusable(home, error) from error


def _unusable(home: Path, error: OSError) -> DataDirectoryError:
    return DataDirectoryError(
        f"The data directory {home} cannot be used: {error}. Correct that, or set CROSSCHAT_HOME to another directory."
    )


def check_format(home: Path, files: Files) -> None:
    """Raise DataDirectoryError unless `FORMAT` says that this program can read the directory.

    A missing file raises FileNotFoundError. Changes nothing.
    """
    try:
        stated = json.loads(read_whole(files, home / "FORMAT", _FORMAT_BYTES))
        minimum = stated["min_reader"]
        readable = type(stated["format"]) is int and type(minimum) is int
    except (ValueError, KeyError, TypeError, RecursionError):
        readable = False
    if not readable:
        raise DataDirectoryError(
            f"{home}/FORMAT is not readable. Restore it from a backup; for data of this version "
            f'its content is {{"format":{FORMAT},"min_reader":{FORMAT}}}.'
        )
    if minimum > FORMAT:
        raise DataDirectoryError(
            f"{home} was written by a newer CrossChat (format {stated['format']}); this one reads "
            f"format {FORMAT}. Upgrade CrossChat, or set CROSSCHAT_HOME to another directory."
        )


def _check(home: Path, files: Files) -> bool:
    """Refuse what is not ours; True if the directory is still without a FORMAT, and may get one."""
    found = files.lstat(home)
    if stat.S_ISLNK(found.st_mode) or not stat.S_ISDIR(found.st_mode):
        raise DataDirectoryError(f"{home} is not a directory but a link or file. Set CROSSCHAT_HOME to the directory.")
    if found.st_uid != os.geteuid():
        raise DataDirectoryError(
            f"{home} belongs to the user with the id {found.st_uid}. Set CROSSCHAT_HOME to a directory of your own."
        )
    for name in ("FORMAT", *DIRECTORIES):
        if exists(files, home / name) and stat.S_ISLNK(files.lstat(home / name).st_mode):
            raise DataDirectoryError(f"{home / name} is a symbolic link. Put the real file or directory in its place.")
    _refuse_beside_an_npm_hub(home, files)
    if exists(files, home / "FORMAT"):
        check_format(home, files)
        return False
    foreign = sorted(name for name in files.listdir(home) if not _is_ours(name))
    if legacy.is_legacy(home, files) and (not foreign or not legacy.MARKS.isdisjoint(files.listdir(home))):
        return True
    if _has_files(home / "log", files):
        raise DataDirectoryError(
            f"{home} has a log but its FORMAT file is missing. Restore it from a backup; for data "
            f'of this version its content is {{"format":{FORMAT},"min_reader":{FORMAT}}}.'
        )
    if _has_files(home / "messages", files):
        raise DataDirectoryError(
            f"{home} holds messages of another product or version, which this one does not know. "
            "Move the directory away, or set CROSSCHAT_HOME to another one."
        )
    if foreign:
        raise DataDirectoryError(
            f"{home} is no data directory of CrossChat: it holds {foreign[0]!r}, which is not ours. For CROSSCHAT_HOME "
            "choose an empty or new directory."
        )
    return True


def _is_ours(name: str) -> bool:
    """One of our names, or what `write_atomically` left of one."""
    return name in NAMES or (name.startswith(".") and name.endswith(".new") and name[1:-4] in NAMES)


def _refuse_beside_an_npm_hub(home: Path, files: Files) -> None:
    path = home / "dashboard.lock"
    pid = npm_hub(path, files)
    if pid is not None:
        raise DataDirectoryError(
            f"A hub of the npm CrossChat runs on {home}, with pid {pid}. Stop it first: `kill {pid}`. If that process "
            f"is something else, delete {path}."
        )


def npm_hub(path: Path, files: Files) -> int | None:
    """The pid that the `dashboard.lock` of an npm hub names, if a process with it lives. Raises OSError."""
    try:
        found = files.lstat(path)
        if not stat.S_ISREG(found.st_mode) or found.st_size > _NOTE_BYTES:
            return None
        note = json.loads(read_whole(files, path, _NOTE_BYTES))
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    if not isinstance(note, dict) or not {"pid", "version"} <= note.keys():
        return None
    pid = note["pid"]
    if type(pid) is not int or pid not in _PIDS or pid == os.getpid() or processes.find(pid) is None:
        return None
    return pid


def _has_files(path: Path, files: Files) -> bool:
    if not is_directory(files, path):
        return exists(files, path)
    return any(_has_files(path / name, files) for name in files.listdir(path))


def _make(home: Path, files: Files) -> None:
    if not exists(files, home.parent):
        _make(home.parent, files)
    files.mkdir(home)
    sync_directory(files, home.parent)


def _tighten(home: Path, files: Files) -> list[str]:
    mode = stat.S_IMODE(files.lstat(home).st_mode)
    if mode == DIRECTORY_MODE:
        return []
    fd = files.open(home, "directory")
    try:
        files.chmod(fd, DIRECTORY_MODE)
    finally:
        files.close(fd)
    return [f"{home} could be used by others (mode {mode:04o}); it is private now."]


def _subdirectories(home: Path, files: Files) -> list[str]:
    notes = []
    for name in DIRECTORIES:
        path = home / name
        if exists(files, path):
            notes += _tighten(path, files)
        else:
            files.mkdir(path)
            sync_directory(files, path.parent)
    return notes
