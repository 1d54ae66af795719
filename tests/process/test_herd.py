"""Sixty-four starters at once: whatever the directory is like, one hub is there in the end, and all are connected.

Starters are threads in four processes, so that what is measured is the hub's start and not that of sixty-four
interpreters; the long form also starts sixty-four real bridges.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import attrs
import pytest

from crosschat import wire
from crosschat.cli.control import Control, new_id
from crosschat.cli.lifecycle import stop_hub
from crosschat.paths import Home
from tests.live.rig import START_S
from tests.process.bridges import environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.process, pytest.mark.slow]
PROCESSES: Final = 4
THREADS: Final = 16
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes and descriptors in /proc")

STARTERS: Final = """
import json, sys, threading, time
from pathlib import Path
from crosschat import wire
from crosschat.cli.control import new_id, running_hub
from crosschat.paths import Configuration, Home

def start(home, found):
    began = time.monotonic()
    try:
        with running_hub(Configuration(home=home)) as control:
            connected_s = time.monotonic() - began
            status = control.ask(wire.Inspect(id=new_id()), wire.HubStatus)
        found.append({"pid": status.pid, "took_s": connected_s})
    except Exception as error:
        found.append({"error": repr(error)})

print("ready", flush=True)
for line in sys.stdin:
    home, found = Home(Path(line.strip())), []
    threads = [threading.Thread(target=start, args=[home, found]) for _ in range(int(sys.argv[1]))]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    print(json.dumps(found), flush=True)
"""


@attrs.frozen
class Started:
    pids: set[int]
    took_s: list[float]
    errors: list[str]


class Starters:
    """One process of starters, which start whenever they are told a directory."""

    def __init__(self, place: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", STARTERS, str(THREADS)],
            env=environment(Home(place / "unused")),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        assert self._line() == b"ready\n"
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def _line(self) -> bytes:
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], 2 * START_S)
        assert readable, "the starters say nothing"
        return self.process.stdout.readline()

    def go(self, home: Home) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{home.root}\n".encode())
        self.process.stdin.flush()

    def results(self) -> list[dict[str, object]]:
        found: list[dict[str, object]] = json.loads(self._line())
        return found


@pytest.fixture
def herd(place: Path) -> Iterator[list[Starters]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Starters(place)) for _ in range(PROCESSES)]


def start_all(herd: list[Starters], home: Home) -> Started:
    for starters in herd:
        starters.go(home)
    results = [result for starters in herd for result in starters.results()]
    errors = [str(result["error"]) for result in results if "error" in result]
    done = [result for result in results if "error" not in result]
    return Started({int(str(one["pid"])) for one in done}, [float(str(one["took_s"])) for one in done], errors)


def hub_processes(home: Home) -> set[int]:
    """Whoever runs as a hub of that directory, seen from the outside."""
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
        except OSError:
            continue
        if b"crosschat.hub" in words and os.fsencode(home.root) in words:
            found.add(int(entry.name))
    return found


def holders_of_lock(home: Home) -> set[int]:
    found = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(link) == str(home.hub_lock):
                found.add(int(link.parts[2]))
        except OSError:
            continue
    return found


# --- what the directory is like


def empty(home: Home) -> None:
    """It does not exist."""


def stale(home: Home) -> None:
    """A hub was killed, and its pid is another process's by now."""
    with Control.open(started(home)) as control:
        os.kill(control.pid, signal.SIGKILL)
    while hub_processes(home):
        time.sleep(0.01)
    note = json.loads(home.dashboard_lock.read_text()) if home.dashboard_lock.exists() else {}
    home.dashboard_lock.write_text(json.dumps({**note, "hub_pid": os.getpid()}))


def garbage(home: Home) -> None:
    """Lock and note hold what nobody wrote there."""
    stop_hub(started(home))
    home.hub_lock.write_bytes(b"\x00\xff" * 500)
    home.dashboard_lock.write_bytes(b'{"hub_pid": ')
    (home.root / "settings.json").write_bytes(b"\xfe")


def idle(home: Home) -> None:
    """The hub is there and about to stop, because nobody needed it."""
    started(home, "--idle-stop-s", "0.2")


def started(home: Home, *options: str) -> Home:
    ready, report = os.pipe()
    command = [sys.executable, "-m", "crosschat.hub", "--home", str(home.root), "--ready-fd", str(report), *options]
    subprocess.Popen(
        ["/bin/sh", "-c", '"$@" &', "sh", *command], env=environment(home), pass_fds=[report], start_new_session=True
    ).wait()
    os.close(report)
    assert b"pid" in os.read(ready, 4096)
    os.close(ready)
    return home


@contextmanager
def contested(home: Home) -> Iterator[None]:
    """Somebody holds the lock and starts no hub."""
    home.root.mkdir(mode=0o700)
    with open(home.hub_lock, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        holder = subprocess.Popen(["sleep", "0.3"], pass_fds=[file.fileno()])  # a copy of the descriptor is the lock
    try:
        yield
    finally:
        holder.wait()


def check(home: Home, found: Started, what: str) -> None:
    assert found.errors == [], what
    assert len(found.took_s) == PROCESSES * THREADS, what
    assert len(found.pids) == 1, what
    assert hub_processes(home) == found.pids, what
    assert holders_of_lock(home) == found.pids, what
    lines = [json.loads(line) for line in (home.root / "log" / "000001.jsonl").read_bytes().splitlines()]
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1)), what


def quantile(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


@LINUX
def test_there_is_one_hub_in_the_end_and_all_are_connected_to_it(
    place: Path, herd: list[Starters], long_form: bool
) -> None:
    took_s: list[float] = []
    states: list[Callable[[Home], None] | None] = [empty, stale, garbage, idle, None]
    rounds = 100 if long_form else 1
    for row in range(rounds):
        for state in states:
            what = "contested" if state is None else state.__name__
            home = Home(place / f"{what}{row}")
            with ExitStack() as stack:
                if state is None:
                    stack.enter_context(contested(home))
                else:
                    state(home)
                found = start_all(herd, home)
            check(home, found, what)
            took_s += found.took_s
            stop_hub(home, force=True)
    print(
        f"{rounds * len(states)} rounds: from the first attempt to connected p50 {quantile(took_s, 0.5):.2f} s, "
        f"p99 {quantile(took_s, 0.99):.2f} s, slowest {max(took_s):.2f} s"
    )


@LINUX
def test_starters_that_are_killed_half_way_leave_nothing_in_the_way(
    place: Path, herd: list[Starters], long_form: bool
) -> None:
    seed = random.randrange(1 << 32)
    dice = random.Random(seed)
    for row in range(30 if long_form else 2):
        home = Home(place / f"killed{row}")
        with Starters(place) as one, Starters(place) as two:
            one.go(home)
            time.sleep(dice.uniform(0, 0.1))
            two.go(home)
            time.sleep(dice.uniform(0, 0.2))
            one.process.kill()
            two.process.kill()
        found = start_all(herd, home)
        check(home, found, f"seed {seed}, row {row}")
        stop_hub(home, force=True)


@LINUX
@pytest.mark.only_long
def test_sixty_four_real_bridges_find_one_hub(place: Path) -> None:
    """Also as a ratio to as many interpreters that import the same and do nothing else."""
    count = PROCESSES * THREADS
    home = Home(place / "home")
    serve = [sys.executable, "-m", "crosschat", "serve"]
    began = time.monotonic()
    bridges = [
        subprocess.Popen(serve, env=environment(home), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(count)
    ]
    try:
        while connected(home) < count and time.monotonic() < began + 300:
            time.sleep(0.2)
        assert connected(home) == count
        bridges_s = time.monotonic() - began
        assert len(hub_processes(home)) == 1
    finally:
        for bridge in bridges:
            bridge.communicate()
        stop_hub(home, force=True)
    began = time.monotonic()
    imports = "from crosschat.bridge import main, server"
    others = [subprocess.Popen([sys.executable, "-c", imports], env=environment(home)) for _ in range(count)]
    for other in others:
        assert other.wait(300) == 0
    nothing_s = time.monotonic() - began
    print(f"{count} bridges {bridges_s:.1f} s, {count} imports {nothing_s:.1f} s: {bridges_s / nothing_s:.2f}")


def connected(home: Home) -> int:
    try:
        with Control.open(home) as control:
            status = control.ask(wire.Inspect(id=new_id()), wire.HubStatus)
    except Exception:
        return 0
    return sum(agent.connected for agent in status.agents)
