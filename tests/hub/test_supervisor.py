"""What the supervisor watches, and when it ends the hub."""

from __future__ import annotations

import errno
import fcntl
import os
from typing import TYPE_CHECKING

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from crosschat import lock
from crosschat.hub import supervisor as supervisor_module
from crosschat.hub.supervisor import Supervisor
from crosschat.processes import Process
from tests.hub.rig import Middle, silent_log

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from crosschat.hub.router import Router


def supervise(router: Router, reasons: list[str], home: Path, idle_s: float | None = None) -> Supervisor:
    held = lock.try_hold(home / "hub.lock")
    assert held is not None
    return Supervisor(router, reasons.append, silent_log(), home / "hub.lock", held, (), idle_s, 600.0)


async def test_a_hub_that_nobody_needs_ends_after_the_idle_time_and_not_before(
    tmp_path: Path, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    reasons: list[str] = []
    router = Middle("a1").router
    supervisor = supervise(router, reasons, tmp_path, idle_s=300)
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
        supervisor = supervise(Middle("a1").router, reasons, home)
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
    supervisor = supervise(Middle("a1").router, [], tmp_path)
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
    supervisor = supervise(Middle("a1").router, [], tmp_path)
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
