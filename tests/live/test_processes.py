"""What the kernel says about real processes: ancestors, names, starts and ends, and who is at a socket's other end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
import trio

from crosschat import processes
from crosschat.processes import (
    Grip,
    Process,
    ancestors,
    are_orphaned,
    find,
    find_agent_process,
    peer_credentials,
    wait_gone,
)
from tests.live.rig import ROOT, START_S, HubProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
# A process that gives itself a name (PR_SET_NAME), starts the rest of its arguments, says both pids, and waits.
NAMED = """
import ctypes, os, subprocess, sys
ctypes.CDLL(None).prctl(15, sys.argv[1].encode(), 0, 0, 0)
child = subprocess.Popen(sys.argv[2:]) if sys.argv[2:] else None
print(os.getpid(), child.pid if child else 0, flush=True)
sys.stdin.read()
if child: child.kill(); child.wait()
"""


def named(name: str, *command: str) -> list[str]:
    return [sys.executable, "-S", "-c", NAMED, name, *command]


@contextmanager
def running(*command: str) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """The process, and the pids that it prints."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, [int(word) for word in process.stdout.readline().split()]
        finally:
            process.kill()


def test_the_ancestors_of_a_process_lead_over_ourselves_to_the_first_one() -> None:
    with running(*named("child")) as (process, _):
        line = ancestors(process.pid)
    assert [found.pid for found in line[:2]] == [process.pid, os.getpid()]
    assert all(below.parent == above.pid for below, above in pairwise(line))
    assert all(below.start >= above.start for below, above in pairwise(line))


@LINUX
@pytest.mark.parametrize("name", [") R 1 1 1 0", "a (b) c", "((", "))", "two words", "x" * 15, "new\nline"])
def test_a_process_may_be_called_anything(name: str) -> None:
    with running(*named(name)) as (process, (pid, _)):
        found = find(pid)
        assert found is not None
        assert found.name == name
        assert found.pid == process.pid
        assert found.parent == os.getpid()
        assert found.start > 0
        assert found.exe is not None
        assert found.exe.startswith("python")


def process(name: str, pid: int = 7) -> Process:
    return Process(pid=pid, start=1, parent=1, name=name)


@pytest.mark.parametrize(
    ("above", "orphaned"),
    [
        ([process("init", 1)], True),
        ([process("sh"), process("init", 1)], True),
        ([process("uvx"), process("sh"), process("systemd")], True),
        ([process("npm exec cross"), process("bash", 1)], True),
        ([process("node"), process("init", 1)], False),
        ([process("sh"), process("tmux: server"), process("init", 1)], False),
        ([process("sh")], False),
        ([], False),
    ],
)
def test_below_wrappers_alone_is_an_orphan(above: list[Process], orphaned: bool) -> None:
    assert are_orphaned(above) is orphaned


@LINUX
def test_an_orphan_is_known_where_foreign_processes_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def hidden(path: Path) -> bytes:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_bytes", hidden)
    assert find(1) == Process(pid=1, start=0, parent=0, name="init")
    assert find(2) is None
    child = {2: Process(pid=2, start=5, parent=1, name="sh")}
    assert are_orphaned(ancestors(2, lambda pid: child.get(pid) or find(pid)))


@pytest.mark.parametrize("hidden", [False, True], ids=["seen", "hidden by /proc"])
def test_a_signal_reaches_the_process_that_is_meant_and_nobody_once_it_has_ended(
    monkeypatch: pytest.MonkeyPatch, hidden: bool
) -> None:
    if hidden and sys.platform != "linux":
        pytest.skip("Linux can hide processes in /proc")
    with running(*named("child")) as (process, _):
        if hidden:
            monkeypatch.setattr(processes, "find", lambda _: None)
        with Grip(process.pid) as grip:
            assert grip.send(signal.SIGKILL)
            assert process.wait(5) == -signal.SIGKILL
            assert not grip.send(signal.SIGKILL)
        with Grip(process.pid) as grip:
            assert not grip.send(signal.SIGKILL)


def test_there_is_no_process_that_has_ended_or_waits_to_be_reaped() -> None:
    process = subprocess.Popen([sys.executable, "-S", "-c", ""], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read()  # its end
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert find(process.pid) is None
    process.wait()
    process.stdout.close()
    assert find(process.pid) is None
    assert ancestors(process.pid) == []
    assert ancestors(0) == []


def test_a_process_is_named_by_its_boot_pid_and_start() -> None:
    with running(*named("child")) as (process, _):
        found = find(process.pid)
        again = find(process.pid)
        assert found is not None
        assert again is not None
        assert found.key == again.key
        assert str(process.pid) in found.key
        assert found.key != attrs.evolve(found, start=found.start + 1).key
        own = find(os.getpid())
        assert own is not None
        assert own.key != found.key


@LINUX
def test_claude_is_found_through_its_wrappers() -> None:
    # claude -> env -> sh -> the bridge; each waits for the next
    bridge = [sys.executable, "-S", "-c", "import os, sys; print(os.getpid(), flush=True); sys.stdin.read()"]
    script = 'read line < /dev/null; "$@"; exit $?'
    claude = [sys.executable, "-S", "-c", NAMED.replace("stdin.read()", "stdin.read(0); child.wait()"), "claude"]
    with running(*claude, "env", "sh", "-c", script, "sh", *bridge) as (process, first):
        assert process.stdout is not None
        second = [int(word) for word in process.stdout.readline().split()]
        (pid,) = first if len(first) == 1 else second
        found = find_agent_process(pid)
        line = [found.name for found in ancestors(pid)]
        assert process.stdin is not None
        process.stdin.close()  # the bridge leaves, and its wrappers with it
        process.wait(5)
    assert found is not None, line
    assert (found.pid, found.name) == (process.pid, "claude")
    assert line[1] == "sh"


@LINUX
def test_claude_itself_is_not_its_own_client() -> None:
    with running(*named("claude")) as (process, _):
        found = find_agent_process(process.pid)
    assert found is None or found.pid != process.pid


def table(*names: str, **changes: object) -> Callable[[int], Process | None]:
    """A made-up line of processes: pid 1 is the first, each the parent of the next."""
    line = {
        pid: Process(pid=pid, start=pid, parent=pid - 1, name=name, exe=None) for pid, name in enumerate(names, start=1)
    }
    return lambda pid: line.get(pid)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("init", "claude", "python"), 2),
        (("init", "claude", "sh", "python"), 2),
        (("init", "claude", "sh", "env", "uv", "uvx", "python"), 2),
        (("init", "claude", "npm exec crosscha", "sh", "python"), 2),
        (("init", "claude", "npx", "crosschat-launch", "python"), 2),
        (("init", "claude", "bash", "claude", "sh", "python"), 4),  # the nearest one
        (("init", "claude", "vim", "sh", "python"), None),  # a foreign program stands between
        (("init", "claude", "python", "python"), None),
        (("init", "claude", "make", "python"), None),
        (("init", "tmux", "sh", "python"), None),
        (("init", "claudette", "python"), None),
        (("init", "sh", "python"), None),
        (("python",), None),
        (("sh",) * 63 + ("python",), None),
    ],
)
def test_only_known_wrappers_may_stand_between_claude_and_its_bridge(
    names: tuple[str, ...], expected: int | None
) -> None:
    found = find_agent_process(len(names), table(*names))
    assert (found.pid if found is not None else None) == expected


def test_claude_is_known_by_its_executable_too() -> None:
    line = {1: Process(pid=1, start=1, parent=0, name="node", exe="claude"), 2: Process(2, 2, 1, "python")}
    found = find_agent_process(2, line.get)
    assert found == line[1]


def test_a_parent_that_is_younger_than_its_child_is_none() -> None:
    """The real parent is gone and its pid was used again."""
    line = {1: Process(pid=1, start=9, parent=0, name="claude"), 2: Process(pid=2, start=5, parent=1, name="python")}
    assert ancestors(2, line.get) == [line[2]]
    assert find_agent_process(2, line.get) is None


def test_a_circle_of_parents_ends() -> None:
    line = {1: Process(pid=1, start=1, parent=2, name="sh"), 2: Process(pid=2, start=1, parent=1, name="python")}
    assert [found.pid for found in ancestors(2, line.get)] == [2, 1]


def test_a_line_of_ancestors_has_an_end() -> None:
    assert len(ancestors(10**6, lambda pid: Process(pid, pid, pid - 1, "sh"))) == processes.MAX_ANCESTORS


async def test_waiting_for_a_process_ends_when_it_is_killed() -> None:
    with running(*named("child")) as (process, _):
        found = find(process.pid)
        assert found is not None
        gone = trio.Event()

        async def watch() -> None:
            await wait_gone(found)
            gone.set()

        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch)
                await trio.testing.wait_all_tasks_blocked()
                assert not gone.is_set()
                os.kill(process.pid, signal.SIGKILL)
                await gone.wait()


async def test_waiting_for_a_process_that_is_not_there_ends_at_once() -> None:
    with running(*named("child")) as (process, _):
        found = find(process.pid)
        assert found is not None
        with trio.fail_after(5):
            await wait_gone(attrs.evolve(found, start=found.start + 1))  # the pid was used again
        process.kill()
        await trio.to_thread.run_sync(os.waitid, os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with trio.fail_after(5):
            await wait_gone(found)  # ended, and not reaped
    with trio.fail_after(5):
        await wait_gone(found)


async def test_a_cancelled_wait_closes_its_handle() -> None:
    found = find(os.getpid())
    assert found is not None
    before = len(os.listdir("/dev/fd"))
    with trio.CancelScope() as scope:
        scope.cancel()
        await wait_gone(found)
    assert scope.cancelled_caught
    assert len(os.listdir("/dev/fd")) == before


def test_the_kernel_says_who_is_at_the_other_end() -> None:
    left, right = socket.socketpair(socket.AF_UNIX)
    with left, right:
        found = peer_credentials(left)
        assert (found.pid, found.uid) == (os.getpid(), os.getuid())
    with pytest.raises(OSError, match=r".+"):
        peer_credentials(left)


def test_this_process_has_a_size() -> None:
    size = processes.resident_bytes()
    assert size is not None
    assert size > 1_000_000
    assert processes.boot_id() == processes.boot_id() != ""


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel with a call of Linux")
def test_a_process_that_keeps_others_out_is_not_dumpable() -> None:
    script = (
        "import ctypes; from crosschat import processes; get = ctypes.CDLL(None).prctl; before = get(3, 0, 0, 0, 0); "
        "processes.keep_others_out(); print(before, get(3, 0, 0, 0, 0))"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert said.stdout == "1 0\n"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_nobody_but_root_may_look_into_a_hub_unless_it_is_told_otherwise(place: Path) -> None:
    """What a process keeps to itself belongs to root in /proc; for a test that runs as root it always does."""
    with HubProcess(place / "home", "--stay") as open_one:
        open_one.started()
        assert os.stat(f"/proc/{open_one.process.pid}/environ").st_uid == os.geteuid()
    command = [sys.executable, "-m", "crosschat.hub", "--home", str(place / "other"), "--stay"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as hub:
        try:
            deadline = time.monotonic() + START_S
            while not (place / "other" / "dashboard.lock").exists() and time.monotonic() < deadline:
                time.sleep(0.02)
            assert (place / "other" / "dashboard.lock").exists()
            with suppress(FileNotFoundError):  # or it is not to be seen at all
                assert os.stat(f"/proc/{hub.pid}/environ").st_uid == 0
        finally:
            hub.kill()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-p", "do it"], True),
        (["do it", "--print"], True),
        (["-cp", "do it"], True),
        ([], False),
        (["-c"], False),
        (["--permission-mode", "plan"], False),
        (["please-stop"], False),
        (["-prompting"], False),
    ],
)
def test_a_session_that_prints_is_unattended(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], expected: bool
) -> None:
    monkeypatch.setattr(processes, "_arguments", lambda _: arguments)
    process = Process(pid=2, start=2, parent=1, name="claude", has_terminal=True)
    assert processes.is_unattended(process) is expected
    assert processes.is_unattended(attrs.evolve(process, has_terminal=False))


@LINUX
def test_the_arguments_of_a_process_are_read_from_the_kernel() -> None:
    with running(*named("child")) as (process, _):
        assert processes._arguments(process.pid)[-1] == "child"
    assert processes._arguments(process.pid) == []
