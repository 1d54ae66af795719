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
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from bench.herd import connected
from crosschat import processes
from crosschat.cli.control import Control
from crosschat.cli.lifecycle import stop_hub
from crosschat.paths import Home
from tests.claude.client import give_up
from tests.live.rig import START_S
from tests.process.bridges import ROOT, environment
from tests.process.claudes import SERVE, bridge_of, claude, gone_after_s, wrapped
from tests.prove.orphans import COUNT, one_round

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform != "linux", reason="the name of a process is set with prctl, which Linux has"),
]
ENDS: Final = [
    *((wrapper, signal.SIGKILL) for wrapper in ("none", "sh", "sh in sh", "env", "uv", "uvx", "npx")),
    *((wrapper, number) for wrapper in ("none", "sh") for number in (signal.SIGTERM, signal.SIGSEGV)),
]


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
    """A thousand in the long form; `make prove` adds up more."""
    seed = random.randrange(1 << 32)
    rounds = -(-1000 // COUNT) if long_form else 1
    gone = 0
    for row in range(rounds):
        room = place / str(row)
        room.mkdir()
        outcome = one_round(room, seed + row)
        again = f"python -m tests.prove --part orphans --rounds 1 --seed {seed + row}"
        assert outcome.problems == [], again
        gone += outcome.counts["orphans gone within 5 s"]
    print(f"{gone} of {rounds * COUNT} bridges gone within 5 s, seed {seed}")


def test_a_bridge_behind_the_real_uvx_goes_with_claude_and_the_hub_it_started_stays(place: Path) -> None:
    """As `uvx --from WHEEL crosschat serve`, with the wheel of this checkout in an environment that uvx makes."""
    home = Home(place / "home")
    command, variables = uvx(place, home)
    with claude(place, [*command, "serve"], variables) as parent:
        until(lambda: connected(home) == 1)
        with Control.open(home) as control:
            hub = control.pid
        bridge = last_descendant(parent.pid, without="sleep")
        assert bridge.parent != parent.pid, "uvx is not between the two"
        parent.kill()
        gone_after_s(bridge)
    until(lambda: connected(home) == 0)
    with Control.open(home) as control:
        assert control.pid == hub
    stop_hub(home, force=True)


def uvx(place: Path, home: Home) -> tuple[list[str], dict[str, str]]:
    """The command line of `crosschat` in there, and its variables. Skips the test where uvx is not installed or its
    package index cannot be reached; not in CI."""
    if not (program := Path(sys.executable).with_name("uvx")).exists():
        give_up("needs uvx: run `make setup`")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(place / "wheel")]
    subprocess.run(
        build, cwd=ROOT, env={**os.environ, "CROSSCHAT_SKIP_DASHBOARD": "1"}, check=True, capture_output=True
    )
    (wheel,) = (place / "wheel").iterdir()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("CROSSCHAT", "CLAUDE"))}
    own = {"UV_CACHE_DIR": str(place / "cache"), "CROSSCHAT_HOME": str(home.root), "CLAUDE_CODE_SESSION_ID": "s"}
    variables = {**inherited, **own}
    command = [str(program), "--python", sys.executable, "--constraints", str(ROOT / "constraints.txt")]
    command += ["--from", str(wheel), "crosschat"]
    first = subprocess.run([*command, "--version"], env=variables, capture_output=True, text=True, check=False)
    if first.returncode != 0:
        give_up(f"uvx cannot install what the wheel needs: {first.stderr[-500:]}")
    return command, variables


def last_descendant(pid: int, *, without: str) -> processes.Process:
    """The process at the end of the chain of those that started each other."""
    found = None
    while True:
        numbers = [
            number for task in Path(f"/proc/{pid}/task").glob("*/children") for number in task.read_text().split()
        ]
        children = [child for number in numbers if (child := processes.find(int(number))) and child.name != without]
        if not children:
            assert found is not None, "it has no child"
            return found
        found, pid = children[0], children[0].pid


def until(happened: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + START_S
    while not happened():
        assert time.monotonic() < give_up_at
        time.sleep(0.02)


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
            hub = control.pid
        termios.tcflush(outside, termios.TCIOFLUSH)
        os.close(inside)
        os.close(outside)  # the terminal is closed: everybody in the session gets SIGHUP
        os.killpg(session.pid, signal.SIGKILL)
        session.wait()
        gone_after_s(bridge)
        with Control.open(home) as control:
            assert control.pid == hub
            assert control.status().pid == hub
        if os.geteuid() == 0:  # nobody else may look into a hub
            fields = Path(f"/proc/{hub}/stat").read_text().rpartition(")")[2].split()
            _, parent, group, in_session, terminal = fields[:5]
            assert terminal == "0"
            assert str(session.pid) not in (parent, group, in_session)
            assert os.readlink(f"/proc/{hub}/cwd") == "/"
            assert not [name for name in open_files(hub) if "pts" in name or name.startswith("pipe:")]
        assert json.loads(home.dashboard_lock.read_text())["hub_pid"] == hub
    finally:
        session.kill()
        session.wait()
        stop_hub(home, force=True)
