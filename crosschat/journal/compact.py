"""Taking old threads out of the log, by copy and swap.

What goes: threads (a message, its replies, and all that happened to them) of which everything is older than a given
time, that hold no unfinished task, and of which nothing that was sent to a known agent by name is unread to it; and
marks of what was read that a later mark covers. Everything else stays, byte for byte, under its seq and id. Where
something was, a line says so (`format`), so that it is no damage. A log that is damaged is refused: it must not be
copied as if it were not.

The new log is written to `log.new/` and synced, `log` becomes `log.old`, `log.new` becomes `log`, and then the old one
is deleted; each name is durable before the next changes. The index and the documented files are made from the new log.
A crash at any moment leaves the whole old log or the whole new one, and `finish`, which every start calls first,
completes or takes back what was begun.

Times are ms since the epoch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from crosschat.errors import DataDirectoryError
from crosschat.journal.files import exists, is_directory, sync_directory, write_all
from crosschat.journal.format import decode, encode_gone, has_more
from crosschat.limits import SEGMENT_BYTES
from crosschat.model import About, AgentJoined, Claim, Cursor, Flag, Message, Receipt, Release, Reply, Resolve

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from crosschat.journal.files import Files
    from crosschat.model import AnyRecord, Record

NEW: Final = "log.new"
OLD: Final = "log.old"
YOUNGEST_MS: Final = 7 * 24 * 3600 * 1000  # a retried request is recognised for so long


@attrs.frozen
class Compacted:
    """How many messages and other records went, and what the log had and has."""

    messages: int
    records: int
    kept: int
    bytes_before: int
    bytes_after: int


def finish(home: Path, files: Files) -> None:
    """Complete or take back a swap that was interrupted. Under the lock, before the log is read. Raises OSError."""
    if exists(files, home / OLD):
        if not exists(files, home / "log"):
            files.replace(home / OLD, home / "log")
            sync_directory(files, home)
        else:
            _remove(home / OLD, files)
    if exists(files, home / NEW):
        _remove(home / NEW, files)


def compact_log(home: Path, files: Files, before_ms: int, now_ms: int) -> Compacted:
    """Take out what is older. Blocks; under the lock, without a hub. Raises DataDirectoryError: nothing was changed."""
    from crosschat.journal.directory import check_format  # which itself needs `finish`
    from crosschat.journal.store import Log

    if before_ms > now_ms - YOUNGEST_MS:
        raise DataDirectoryError(
            "Only what is older than a week can be taken out: until then a repeated request is recognised by it. "
            "Choose an earlier date."
        )
    try:
        check_format(home, files)
        finish(home, files)
        log, recovery = Log.recover(home, files)
        try:
            if recovery.damages:
                raise DataDirectoryError(
                    f"The log in {home} is damaged and was left as it is: `crosschat doctor` says where. Export what "
                    "is readable before anything else."
                )
            reading = _Reading(log.lines())
            gone = reading.gone(before_ms)
            after = _write(home, files, log.lines(), gone) if gone else reading.bytes
        finally:
            log.close()
        if gone:
            _swap(home, files)
    except OSError as error:
        raise DataDirectoryError(f"The log in {home} cannot be compacted: {error}. Nothing was lost.") from error
    messages = len(gone & reading.messages)
    return Compacted(messages, len(gone) - messages, reading.count - len(gone), reading.bytes, after)


@attrs.define
class _Thread:
    """`direct`: seqs of messages by the agents they name."""

    newest: int = 0
    seqs: list[int] = attrs.Factory(list)
    open_tasks: set[str] = attrs.Factory(set)
    direct: list[tuple[int, str]] = attrs.Factory(list)


class _Reading:
    """What the log says about its threads and readers, as far as it matters here."""

    def __init__(self, lines: Iterable[tuple[int, bytes]]) -> None:
        self.bytes = self.count = 0
        self.messages: set[int] = set()
        self._operations: list[list[int]] = [[]]
        self._threads: dict[str, _Thread] = {}
        self._roots: dict[str, str] = {}  # of replies
        self._cursors: dict[str, int] = {}
        self._offered: dict[str, int] = {}
        self._shown: dict[str, set[int]] = {}
        self._agents: set[str] = set()
        self._marks: list[Cursor | Receipt] = []
        for seq, line in lines:
            self.bytes, self.count = self.bytes + len(line), self.count + 1
            self._operations[-1].append(seq)
            if not has_more(line[:-1]):
                self._operations.append([])
            self._take(decode(line))

    def _take(self, record: AnyRecord) -> None:
        match record:
            case Message():
                self._take_message(record)
            case About():
                self._take_about(record)
            case AgentJoined():
                self._agents.add(record.agent)
                self._cursors.setdefault(record.agent, record.seq)
            case Cursor():
                self._marks.append(record)
                self._cursors[record.agent] = max(record.upto, self._cursors.get(record.agent, 0))
            case Receipt():
                self._marks.append(record)
                if record.state == "offered":
                    self._offered[record.agent] = max(*record.seqs, self._offered.get(record.agent, 0))
                else:
                    self._shown.setdefault(record.agent, set()).update(record.seqs)
            case _:
                pass

    def _thread_of(self, message: str) -> _Thread:
        return self._threads.setdefault(self._roots.get(message, message), _Thread())

    def _take_message(self, record: Message) -> None:
        if isinstance(record, Reply):
            self._roots[record.id] = self._roots.get(record.root, record.root)
        thread = self._thread_of(record.id)
        self._note(thread, record)
        self.messages.add(record.seq)
        if not record.here:
            thread.direct += [(record.seq, agent) for agent in record.to or ()]

    def _take_about(self, record: About) -> None:
        thread = self._thread_of(record.target)
        self._note(thread, record)
        if isinstance(record, Resolve):
            thread.open_tasks.discard(record.target)
        elif isinstance(record, Flag | Claim | Release):
            thread.open_tasks.add(record.target)
        thread.direct += [(record.seq, agent) for agent in record.to]

    def _note(self, thread: _Thread, record: Record) -> None:
        thread.newest = max(thread.newest, record.ts)
        thread.seqs.append(record.seq)

    def gone(self, before_ms: int) -> set[int]:
        """The seqs to take out: whole operations, and never the last one."""
        gone = {
            seq
            for thread in self._threads.values()
            if thread.newest < before_ms and not thread.open_tasks and not self._unread(thread)
            for seq in thread.seqs
        }
        gone |= {mark.seq for mark in self._marks if mark.ts < before_ms and self._is_covered(mark)}
        operations = [operation for operation in self._operations if operation]
        for operation in operations:
            if operation is operations[-1] or not gone.issuperset(operation):
                gone.difference_update(operation)
        return gone

    def _unread(self, thread: _Thread) -> bool:
        return any(
            agent in self._agents and seq > self._cursors[agent] and seq not in self._shown.get(agent, ())
            for seq, agent in thread.direct
        )

    def _is_covered(self, mark: Cursor | Receipt) -> bool:
        if isinstance(mark, Cursor):
            return mark.upto < self._cursors[mark.agent]
        cursor = self._cursors.get(mark.agent, 0)
        beyond = max(cursor, self._offered.get(mark.agent, 0) if mark.state == "offered" else 0)
        return max(mark.seqs) <= cursor or (mark.state == "offered" and max(mark.seqs) < beyond)


def _write(home: Path, files: Files, lines: Iterable[tuple[int, bytes]], gone: set[int]) -> int:
    """The new log, durable, in `log.new`; its size."""
    new = home / NEW
    files.mkdir(new)
    number = size = total = 0
    fd = -1
    try:
        for piece in _pieces(lines, gone):
            if fd < 0 or size + len(piece) > SEGMENT_BYTES:
                if fd >= 0:
                    _close(files, fd)
                number, size = number + 1, 0
                fd = files.open(new / f"{number:06d}.jsonl", "create")
            write_all(files, fd, piece)
            size, total = size + len(piece), total + len(piece)
    finally:
        if fd >= 0:
            _close(files, fd)
    sync_directory(files, new)
    sync_directory(files, home)
    return total


def _close(files: Files, fd: int) -> None:
    try:
        files.fsync(fd)
    finally:
        files.close(fd)


def _pieces(lines: Iterable[tuple[int, bytes]], gone: set[int]) -> Iterator[bytes]:
    """The lines that stay, and one for each run of seqs that are not there: taken out now or before."""
    expected = 1
    for seq, line in lines:
        if seq in gone:
            continue
        if seq > expected:
            yield encode_gone(expected, seq - 1)
        yield line
        expected = seq + 1


def _swap(home: Path, files: Files) -> None:
    for name in files.listdir(home / "index"):  # what was made from the old log; first, so it never meets the new one
        files.unlink(home / "index" / name)
    sync_directory(files, home / "index")
    files.replace(home / "log", home / OLD)
    sync_directory(files, home)
    files.replace(home / NEW, home / "log")
    sync_directory(files, home)
    _remove(home / OLD, files)


def _remove(path: Path, files: Files) -> None:
    if is_directory(files, path):
        for name in files.listdir(path):
            files.unlink(path / name)
        files.rmdir(path)
    else:
        files.unlink(path)
    sync_directory(files, path.parent)
