"""Nothing is left running: a bridge goes with its Claude Code process, however that ends, and its hub stays."""

from __future__ import annotations

import json
import os
import pty
import random
import signal
import subprocess
import sys
import termios
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
import trio

from crosschat import processes
from crosschat.cli.control import Control
from crosschat.cli.lifecycle import stop_hub
from crosschat.paths import Home
from tests.claude.client import needed
from tests.live.rig import START_S
from tests.process.bridges import environment

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform != "linux", reason="the name of a process is set with prctl, which Linux has"),
]
# The promise is five seconds. On a loaded machine an interpreter alone may take that long to start and to end.
GONE_S: Final = START_S

# Stands in for Claude Code: has its name, and starts the server with a pipe whose writing end a sibling has, too.
CLAUDE: Final = """
import ctypes, os, subprocess, sys
ctypes.CDLL(None).prctl(15, b"claude")
reading, writing = os.pipe()
sibling = subprocess.Popen(["sleep", "120"], pass_fds=[writing], start_new_session=True)
server = subprocess.Popen(sys.argv[1:], stdin=reading, stdout=subprocess.DEVNULL)
print(sibling.pid, flush=True)
os.close(reading)
server.wait()
"""
# Stands in for a wrapper with that name, which waits for what it started.
NAMED: Final = """
import ctypes, subprocess, sys
ctypes.CDLL(None).prctl(15, sys.argv[1].encode())
sys.exit(subprocess.call(sys.argv[2:]))
"""
SERVE: Final = """
import os, sys
with open(os.environ["PID_FILE"], "w") as file:
    file.write(str(os.getpid()))
from crosschat.bridge.main import main
sys.exit(main())
"""
ENDS: Final = [
    *((wrapper, signal.SIGKILL) for wrapper in ("none", "sh", "sh in sh", "env", "uv", "uvx", "npx")),
    *((wrapper, number) for wrapper in ("none", "sh") for number in (signal.SIGTERM, signal.SIGSEGV)),
]


def wrapped(wrapper: str, place: Path) -> list[str]:
    """The server's command line behind that wrapper."""
    program = place / "serve.py"
    program.write_text(SERVE)
    serve = [sys.executable, str(program)]
    match wrapper:
        case "none":
            return serve
        case "sh":
            return ["/bin/sh", "-c", '"$@"; exit $?', "sh", *serve]
        case "sh in sh":
            return ["/bin/sh", "-c", '/bin/sh -c "$*; exit" sh; exit', "sh", *serve]
        case "env":
            return ["/usr/bin/env", "A=b", *serve]
        case "npx":
            return npx(place, serve)
        case _:
            return [sys.executable, "-c", NAMED, wrapper, *serve]


def npx(place: Path, serve: list[str]) -> list[str]:
    """The real one, with a package that is a directory here."""
    needed("npx")
    package = place / "package"
    package.mkdir()
    (package / "package.json").write_text('{"name":"cc-serve","version":"1.0.0","bin":{"cc-serve":"serve.sh"}}')
    script = package / "serve.sh"
    script.write_text("#!/bin/sh\n" + " ".join(f"'{word}'" for word in serve) + "\n")
    script.chmod(0o755)
    cache = ["--cache", str(place / "npm")]
    return ["npx", "--offline", "--yes", *cache, f"--package=file:{package}", "cc-serve"]


@contextmanager
def claude(place: Path, command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """The stand-in with that server. The data directory is a file, so the bridge runs without a hub."""
    nowhere = place / "file"
    nowhere.touch()
    process = subprocess.Popen(
        [sys.executable, "-c", CLAUDE, *command],
        env=environment(Home(nowhere), PID_FILE=str(place / "pid"), CLAUDE_CODE_SESSION_ID="s"),
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    sibling = int(process.stdout.readline())
    try:
        yield process
        assert processes.find(sibling) is not None, "the sibling that keeps the pipe open is gone"
    finally:
        process.kill()
        process.wait()
        os.kill(sibling, signal.SIGKILL)
        process.stdout.close()


def bridge_of(place: Path, *, timeout_s: float = START_S) -> processes.Process:
    """The bridge, as soon as its interpreter runs."""
    give_up_at = time.monotonic() + timeout_s
    while time.monotonic() < give_up_at:
        try:
            found = processes.find(int((place / "pid").read_text()))
        except (FileNotFoundError, ValueError):
            found = None
        if found is not None:
            return found
        time.sleep(0.005)
    raise AssertionError("no bridge came")


def gone_after_s(process: processes.Process) -> float:
    began = time.monotonic()

    async def gone() -> None:
        with trio.fail_after(GONE_S):
            await processes.wait_gone(process)

    trio.run(gone)
    return time.monotonic() - began


def watched_by(bridge: processes.Process) -> bool:
    """Whether it has a handle on some process, which it has from the moment it watches Claude's."""
    return any("pidfd" in name for name in open_files(bridge.pid))


def open_files(pid: int) -> list[str]:
    """What its descriptors are; one that is closed while we look may be missing."""
    found: list[str] = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(os.readlink(link))
    return found


@pytest.mark.parametrize(("wrapper", "number"), ENDS, ids=[f"{wrapper}, {number.name}" for wrapper, number in ENDS])
def test_a_bridge_goes_with_claude_through_every_wrapper_though_a_sibling_keeps_its_pipe_open(
    place: Path, wrapper: str, number: signal.Signals
) -> None:
    with claude(place, wrapped(wrapper, place)) as parent:
        bridge = bridge_of(place)
        while not watched_by(bridge):
            time.sleep(0.01)
        parent.send_signal(number)
        parent.wait()
        gone_after_s(bridge)


@pytest.mark.slow
def test_a_bridge_goes_with_claude_whatever_it_was_just_doing(place: Path, long_form: bool) -> None:
    """Claude is killed at any moment from the first of the bridge on, also before it looked who is above it."""
    seed = random.randrange(1 << 32)
    dice = random.Random(seed)
    took_s: list[float] = []
    for row in range(300 if long_form else 8):
        room = place / str(row)
        room.mkdir()
        wrapper = dice.choice(["none", "sh", "env", "uvx"])
        with claude(room, wrapped(wrapper, room)) as parent:
            bridge = bridge_of(room)
            time.sleep(dice.uniform(0, 1.0) ** 2)
            parent.kill()
            try:
                took_s.append(gone_after_s(bridge))
            except trio.TooSlowError:
                raise AssertionError(f"seed {seed}, row {row}, {wrapper}: the bridge is still there") from None
    print(f"{len(took_s)} bridges gone, the last one {max(took_s):.2f} s after Claude")


ON_A_TERMINAL: Final = """
import fcntl, os, subprocess, sys, termios
fcntl.ioctl(int(sys.argv[1]), termios.TIOCSCTTY, 0)
subprocess.call(sys.argv[2:])
"""


def test_a_hub_that_a_bridge_started_survives_that_bridge_its_terminal_and_its_process_group(place: Path) -> None:
    home = Home(place / "home")
    program = place / "serve.py"
    program.write_text(SERVE)
    outside, inside = pty.openpty()
    session = subprocess.Popen(
        [sys.executable, "-c", ON_A_TERMINAL, str(inside), sys.executable, str(program)],
        env=environment(home, PID_FILE=str(place / "pid")),
        stdin=inside,
        stdout=inside,
        stderr=inside,
        pass_fds=[inside],
        start_new_session=True,
    )
    try:
        bridge = bridge_of(place)
        give_up_at = time.monotonic() + START_S
        while not home.dashboard_lock.exists() and time.monotonic() < give_up_at:
            time.sleep(0.02)
        with Control.open(home) as control:
            hub = processes.find(control.pid)
        assert hub is not None
        termios.tcflush(outside, termios.TCIOFLUSH)
        os.close(inside)
        os.close(outside)  # the terminal is closed: everybody in the session gets SIGHUP
        os.killpg(session.pid, signal.SIGKILL)
        session.wait()
        gone_after_s(bridge)
        with Control.open(home) as control:
            assert control.pid == hub.pid
            assert control.status().pid == hub.pid
        fields = Path(f"/proc/{hub.pid}/stat").read_text().rpartition(")")[2].split()
        _, parent, group, in_session, terminal = fields[:5]
        assert terminal == "0"
        assert str(session.pid) not in (parent, group, in_session)
        if os.geteuid() == 0:  # nobody else may look into a hub
            assert os.readlink(f"/proc/{hub.pid}/cwd") == "/"
            assert not [name for name in open_files(hub.pid) if "pts" in name or name.startswith("pipe:")]
        assert json.loads(home.dashboard_lock.read_text())["hub_pid"] == hub.pid
    finally:
        session.kill()
        session.wait()
        stop_hub(home, force=True)
