"""What the supervisor watches, and when it ends the hub."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from crosschat import lock
from crosschat.errors import Displaced
from crosschat.hub import supervisor as supervisor_module
from crosschat.hub.lock import HubNote, read_note_pid
from crosschat.hub.supervisor import FencedLog
from crosschat.journal.files import RealFiles
from crosschat.processes import Process
from tests.hub.rig import Middle, RecordingLog, supervise

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence
    from pathlib import Path

    from crosschat.hub.supervisor import Supervisor


async def test_a_hub_that_nobody_needs_ends_after_the_idle_time_and_not_before(
    tmp_path: Path, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    reasons: list[str] = []
    router = Middle("a1").router
    supervisor = supervise(router, reasons.append, tmp_path, idle_s=300)
    await nursery.start(supervisor.run)
    await trio.sleep(299)
    assert reasons == []
    router.enter()
    await trio.sleep(1000)
    assert reasons == []
    router.leave()
    await trio.sleep(299)
    assert reasons == []
    await trio.sleep(2)
    assert len(reasons) == 1
    os.close(supervisor.lock_fd)
    nursery.cancel_scope.cancel()


async def test_a_lock_file_that_was_replaced_or_cannot_be_seen_ends_the_hub(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    for spoil in (_replace_file, _remove_directory, _file_for_directory):
        home = tmp_path / spoil.__name__
        home.mkdir()
        reasons: list[str] = []
        supervisor = supervise(Middle("a1").router, reasons.append, home)
        async with trio.open_nursery() as nursery:
            await nursery.start(supervisor.run)
            await trio.sleep(3)
            assert reasons == []
            spoil(home)
            await trio.sleep(3)
            nursery.cancel_scope.cancel()
        assert len(reasons) == 1
        os.close(supervisor.lock_fd)


def _replace_file(home: Path) -> None:
    (home / "new").touch()
    (home / "new").rename(home / "hub.lock")


def _remove_directory(home: Path) -> None:
    home.rename(home.with_name(f"{home.name}-moved"))


def _file_for_directory(home: Path) -> None:
    _remove_directory(home)
    home.touch()


NOTE = HubNote(
    hub_pid=42, start_ticks=7, boot_id="b", port=8123, hub_version="1", protocol=1, started_at="2026-01-02T03:04:05Z"
)  # fmt: skip


@pytest.fixture
def kept(tmp_path: Path, nursery: trio.Nursery) -> Iterator[Callable[[], Awaitable[Supervisor]]]:
    """Its tests name the clock themselves: only what a test names is what it runs with."""
    held: list[int] = []

    async def start() -> Supervisor:
        supervisor = supervise(Middle("a1").router, pytest.fail, tmp_path)
        held.append(supervisor.lock_fd)
        await nursery.start(supervisor.run)
        supervisor.note.publish(NOTE)
        return supervisor

    yield start
    nursery.cancel_scope.cancel()
    for descriptor in held:
        os.close(descriptor)


def _write_over(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"42", b"43"))


def _link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("elsewhere"))


def _replace(path: Path) -> None:
    path.with_name("new").write_bytes(b"\x00garbage")
    path.with_name("new").rename(path)


@pytest.mark.parametrize(
    "spoil", [os.unlink, _write_over, _link, _replace], ids=["deleted", "changed", "link", "other"]
)
async def test_the_note_is_repaired_whatever_happens_to_it_and_nothing_else_is_touched(
    kept: Callable[[], Awaitable[Supervisor]], autojump_clock: MockClock, spoil: Callable[[Path], None]
) -> None:
    supervisor = await kept()
    path = supervisor.note.path
    before = path.read_bytes()
    for _ in range(2):
        spoil(path)
        await trio.sleep(3)
        assert path.read_bytes() == before
        assert not path.is_symlink()
    assert not path.with_name("elsewhere").exists()
    supervisor.note.withdraw()
    await trio.sleep(3)
    assert not path.exists()


async def test_a_note_that_cannot_be_repaired_costs_one_line_in_the_log_and_comes_back_when_it_can(
    kept: Callable[[], Awaitable[Supervisor]], autojump_clock: MockClock
) -> None:
    supervisor = await kept()
    path = supervisor.note.path
    path.unlink()
    path.mkdir()
    log = RecordingLog()
    supervisor.log = log  # type: ignore[assignment]
    await trio.sleep(10)
    assert len(log.events) == 1
    path.rmdir()
    await trio.sleep(3)
    assert read_note_pid(RealFiles(), path) == 42


async def test_the_note_of_a_living_npm_hub_is_left_to_it(
    kept: Callable[[], Awaitable[Supervisor]], autojump_clock: MockClock
) -> None:
    supervisor = await kept()
    path = supervisor.note.path
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)  # noqa: ASYNC220
    try:
        theirs = json.dumps({"pid": other.pid, "version": "2.0.3", "port": 3000})
        path.write_text(theirs)
        await trio.sleep(5)
        assert path.read_text() == theirs
    finally:
        other.communicate()
    await trio.sleep(5)
    assert read_note_pid(RealFiles(), path) == 42


class KeptLines:
    """The part of a log that is appended to."""

    next_seq = 1

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def append(self, lines: Sequence[bytes]) -> None:
        self.lines += lines


def test_what_was_written_after_the_lock_was_lost_is_not_reported_as_stored(tmp_path: Path) -> None:
    path = tmp_path / "hub.lock"
    held = lock.try_hold(path)
    assert held is not None
    log = FencedLog(KeptLines(), held, path)
    log.append([b"one"])
    path.unlink()
    another = lock.try_hold(path)
    assert another is not None
    with pytest.raises(Displaced):
        log.append([b"two"])
    os.close(held)
    os.close(another)


async def test_a_process_that_cannot_be_watched_for_want_of_a_descriptor_is_watched_later(
    tmp_path: Path, autojump_clock: MockClock, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []
    gone = trio.Event()

    async def wait_gone(process: Process) -> None:
        await trio.lowlevel.checkpoint()
        tries.append(process.pid)
        if len(tries) < 3:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(supervisor_module, "wait_gone", wait_gone)
    supervisor = supervise(Middle("a1").router, pytest.fail, tmp_path)
    await nursery.start(supervisor.run)
    supervisor.watch(Process(1, 2, 3, "x"), gone.set)
    with trio.fail_after(60):
        await gone.wait()
    assert tries == [1, 1, 1]
    os.close(supervisor.lock_fd)
    nursery.cancel_scope.cancel()


async def test_a_watch_that_was_cancelled_never_calls(
    tmp_path: Path, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = trio.Event()
    calls: list[None] = []

    async def wait_gone(_: Process) -> None:
        await ended.wait()

    monkeypatch.setattr(supervisor_module, "wait_gone", wait_gone)
    supervisor = supervise(Middle("a1").router, pytest.fail, tmp_path)
    await nursery.start(supervisor.run)
    supervisor.watch(Process(1, 2, 3, "x"), lambda: calls.append(None)).cancel()
    ended.set()
    await wait_all_tasks_blocked()
    assert calls == []
    os.close(supervisor.lock_fd)
    nursery.cancel_scope.cancel()


def test_the_lock_is_free_again_when_its_descriptor_is_closed_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "hub.lock"
    held = lock.try_hold(path)
    assert held is not None
    assert lock.try_hold(path) is None
    assert fcntl.fcntl(held, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    os.close(held)
    again = lock.try_hold(path)
    assert again is not None
    os.close(again)
