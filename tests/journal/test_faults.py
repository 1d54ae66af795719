"""Every call of a scripted run fails in every way, once and from then on.

Whatever happens: nothing is acked that a later start cannot read, no two records share a line, no
descriptor is synced after a sync of it failed, and no descriptor stays open.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from crosschat.errors import Code, DataDirectoryError, JournalBroken, Refused
from crosschat.journal import index
from crosschat.journal.files import RealFiles, write_atomically
from crosschat.journal.store import Log, NotWritten, open_directory
from crosschat.model import Message
from tests.journal.faulty import KINDS, Fault, FaultyFiles
from tests.journal.records import lines

if TYPE_CHECKING:
    from pathlib import Path

    from tests.journal.faulty import Kind

SEGMENT = 700  # some four records: the run crosses several segments


def run(home: Path, files: FaultyFiles) -> set[int]:
    """Start, write, restart, write, read, until something gives up; returns the acked seqs."""
    acked: set[int] = set()
    try:
        open_directory(home, files)
        snapshot = None
        for first in (1, 9):
            log, _ = Log.recover(home, files, snapshot, segment_bytes=SEGMENT)
            try:
                for _ in range(first, first + 8, 2):
                    seqs = (log.next_seq, log.next_seq + 1)
                    try:
                        log.append(lines(*seqs))
                    except NotWritten:
                        continue
                    acked.update(seqs)
                    log.read(seqs)
                snapshot = log.snapshot(log.last_seq, epoch="e", state=b"")
                if snapshot:
                    index.save(files, home, snapshot)
                    index.load(files, home)
            finally:
                log.close()
    except (JournalBroken, DataDirectoryError, Refused, OSError):
        pass  # the hub has gone; OSError is what saving the index may raise
    return acked


def count_calls(tmp_path: Path) -> list[str]:
    files = FaultyFiles()
    assert run(tmp_path / "plain", files) == set(range(1, 17))
    return files.calls


def verify(home: Path, files: FaultyFiles, acked: set[int]) -> list[str]:
    """What of the promises does not hold after a run."""
    problems = [f"second {name} on a descriptor" for name in files.sync_after_failure]
    if files.open_fds:
        problems.append(f"descriptors left open: {files.open_fds}")
    try:
        open_directory(home, RealFiles())
        log, recovery = Log.recover(home, RealFiles())
    except DataDirectoryError as error:
        return [*problems, str(error)]
    found = {record.seq for record in log.replay() if isinstance(record, Message)}
    problems += [f"acked {seq} is gone" for seq in acked - found]
    problems += [str(damage) for damage in recovery.damages]
    log.append(lines(log.next_seq, log.next_seq))
    log.close()
    return problems


@pytest.mark.parametrize("forever", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_no_failing_call_makes_a_false_ack(tmp_path: Path, kind: Kind, forever: bool) -> None:
    calls = count_calls(tmp_path)
    assert {"fdatasync", "fsync", "write", "replace", "mkdir", "pread"} <= set(calls)
    acks = 0
    for at in range(len(calls)):
        home = tmp_path / f"run{at}"
        files = FaultyFiles(Fault(at, kind, forever))
        acked = run(home, files)
        acks += len(acked)
        assert verify(home, files, acked) == [], f"{kind} at call {at}, {calls[at]}"
    assert acks > len(calls) * 2  # the run gets somewhere


def test_a_short_write_is_continued_and_no_line_is_torn(tmp_path: Path) -> None:
    files = FaultyFiles(Fault(0, "short", forever=True))
    assert run(tmp_path / "data", files) == set(range(1, 17))
    assert files.calls.count("write") > 50


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("ENOSPC", Code.STORAGE_FULL),
        ("EROFS", Code.STORAGE_FULL),
        ("EIO", Code.INTERNAL),
        ("EMFILE", Code.INTERNAL),
    ],
)
def test_a_failed_write_is_undone_and_the_next_one_succeeds(tmp_path: Path, kind: Kind, code: Code) -> None:
    files = FaultyFiles()
    open_directory(tmp_path / "data", files)
    log, _ = Log.recover(tmp_path / "data", files)
    log.append(lines(1, 1))
    files.fault = Fault(len(files.calls), kind)
    with pytest.raises(NotWritten) as caught:
        log.append(lines(2, 3))
    assert caught.value.refusal.code is code
    assert files.calls[-2:] == ["write", "truncate"]
    log.append(lines(2, 2))
    assert (tmp_path / "data/log/000001.jsonl").read_bytes() == b"".join(lines(1, 2))
    log.close()


def test_a_failed_sync_breaks_the_log_for_ever(tmp_path: Path) -> None:
    files = FaultyFiles()
    open_directory(tmp_path / "data", files)
    log, _ = Log.recover(tmp_path / "data", files)
    log.append(lines(1, 1))
    files.fault = Fault(len(files.calls) + 1, "EIO")
    with pytest.raises(JournalBroken):
        log.append(lines(2, 2))
    assert files.calls[-1] == "fdatasync"
    count = len(files.calls)
    for attempt in (lambda: log.append(lines(2, 2)), lambda: log.read([1]), lambda: log.append([])):
        with pytest.raises(JournalBroken):
            attempt()
    assert len(files.calls) == count
    log.close()


def test_a_write_that_cannot_be_undone_breaks_the_log(tmp_path: Path) -> None:
    files = FaultyFiles()
    open_directory(tmp_path / "data", files)
    log, _ = Log.recover(tmp_path / "data", files)
    log.append(lines(1, 1))
    files.fault = Fault(len(files.calls), "ENOSPC", forever=True)
    with pytest.raises(JournalBroken):
        log.append(lines(2, 2))
    files.fault = None
    with pytest.raises(JournalBroken):
        log.append(lines(2, 2))
    log.close()


def test_the_unsealed_segment_is_synced_anew_before_a_start_is_over(tmp_path: Path) -> None:
    files = FaultyFiles()
    open_directory(tmp_path / "data", files)
    log, _ = Log.recover(tmp_path / "data", files)
    log.append(lines(1, 2))
    log.close()
    inode = (tmp_path / "data/log/000001.jsonl").stat().st_ino
    files.calls.clear()
    log, _ = Log.recover(tmp_path / "data", files)
    log.close()
    calls = [name for name in files.calls if "sync" in name or name == "replace"]
    assert calls == ["fsync", "replace", "fsync"]
    assert (tmp_path / "data/log/000001.jsonl").stat().st_ino != inode


def test_a_new_segment_is_named_durably_before_anything_is_in_it(tmp_path: Path) -> None:
    files = FaultyFiles()
    open_directory(tmp_path / "data", files)
    log, _ = Log.recover(tmp_path / "data", files)
    files.calls.clear()
    log.append(lines(1, 1))
    assert [name for name in files.calls if name != "close"] == [
        "open directory", "open create", "fsync", "write", "fdatasync"
    ]  # fmt: skip
    log.close()


@pytest.mark.parametrize("kind", KINDS)
def test_an_atomic_write_leaves_the_old_bytes_or_the_new(tmp_path: Path, kind: Kind) -> None:
    path = tmp_path / "settings.json"
    for at in itertools.count():
        path.write_bytes(b"old")
        files = FaultyFiles(Fault(at, kind))
        try:
            write_atomically(files, path, b"new content")
            done = True
        except OSError:
            done = False
        assert path.read_bytes() in ((b"new content",) if done else (b"old", b"new content"))
        assert not files.open_fds
        assert not files.sync_after_failure
        if at >= len(files.calls):
            break
    assert path.stat().st_mode & 0o777 == 0o600


# The checks above must be able to fail: a handful of defects, each of which they must find.


class NoTruncate(FaultyFiles):
    """Leaves a failed write where it is."""

    def truncate(self, fd: int, size: int) -> None:
        pass


class OnlyOnce(FaultyFiles):
    """Does not go on after a short write, but says that all was written."""

    def write(self, fd: int, data: bytes | memoryview) -> int:
        super().write(fd, data)
        return len(data)


def retry_sync(self: FaultyFiles, fd: int) -> None:
    try:
        self._sync("fdatasync", fd)
    except OSError:
        self._sync("fdatasync", fd)


class RetriesSync(FaultyFiles):
    fdatasync = retry_sync


@pytest.mark.parametrize(("defect", "kind"), [(NoTruncate, "ENOSPC"), (OnlyOnce, "short"), (RetriesSync, "EIO")])
def test_these_checks_find_defects_that_were_put_in(tmp_path: Path, defect: type[FaultyFiles], kind: Kind) -> None:
    found = []
    for at in range(len(count_calls(tmp_path))):
        files = defect(Fault(at, kind))
        acked = run(tmp_path / f"run{at}", files)
        found += verify(tmp_path / f"run{at}", files, acked)
    assert found


class SkipsSync(FaultyFiles):
    """Says that everything is durable."""

    def fdatasync(self, fd: int) -> None:
        pass


@pytest.mark.parametrize(("files", "fine"), [(FaultyFiles(), True), (SkipsSync(), False)])
def test_whatever_is_acked_was_synced(tmp_path: Path, files: FaultyFiles, fine: bool) -> None:
    open_directory(tmp_path / "data", files)
    log, _ = Log.recover(tmp_path / "data", files, segment_bytes=SEGMENT)
    unsynced = []
    for seq in range(1, 10):
        log.append(lines(seq, seq))
        unsynced += [files.unsynced[fd] for fd in files.open_fds]
    assert fine is not any(unsynced)
    log.close()
