"""`python -m bench.herd`: sixty-four starters at once: how long each takes from its first attempt to its connection.

Every second one is a command, the others are links of a bridge. They are tasks in four processes that have imported
everything before, so that what is measured is the start of one hub under the eyes of sixty-four, and not the start of
sixty-four interpreters. The directory is new, left by a killed hub, full of garbage, left by its hub just now, or its
lock is another program's for a while. One start alone is measured beside it: on a busy machine the ratio says more.

`--bridges` starts as many real bridges instead, and as many interpreters that only import the MCP library.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import attrs
import trio

from crosschat import lock, wire
from crosschat.bridge.launch import ensure_hub
from crosschat.bridge.main import open_session
from crosschat.cli.control import Control, new_id, running_hub
from crosschat.cli.failure import Failure
from crosschat.cli.lifecycle import stop_hub
from crosschat.paths import Configuration, Home

from .figures import percentile
from .rig import unwind_on_signals

if TYPE_CHECKING:
    from collections.abc import Iterator

PROCESSES: Final = 4
TASKS: Final = 16
PATIENCE_S: Final = 300.0
SAID_WITHIN_S: Final = PATIENCE_S + 30.0  # each starter gives up before that, and says so
CONTESTED_S: Final = 0.3
MODULE: Final = __spec__.name if __spec__ is not None else __name__
PATH: Final = Path(__file__).resolve().parents[MODULE.count(".")]  # where a starter finds this module


# --- what a process of starters does


async def start_one(home: Home, number: int, found: list[dict[str, object]]) -> None:
    """Get connected, note when, and which hub it is."""
    began = time.monotonic()
    how = start_as_command if number % 2 else start_as_bridge
    try:
        with trio.fail_after(PATIENCE_S):
            connected_at, pid = await how(Configuration(home=home))
        found.append({"pid": pid, "took_s": connected_at - began})
    except (Failure, trio.TooSlowError) as error:
        found.append({"error": repr(error)})


async def start_as_command(chosen: Configuration) -> tuple[float, int]:
    def connect() -> tuple[float, int]:
        with running_hub(chosen) as control:
            return time.monotonic(), control.ask(wire.Inspect(id=new_id()), wire.HubStatus).pid

    return await trio.to_thread.run_sync(connect)


async def start_as_bridge(chosen: Configuration) -> tuple[float, int]:
    """Those of one process supersede each other, once they have joined."""
    session = open_session(chosen, Path("/"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.link.run)
        await session.link.joined.wait()
        connected_at = time.monotonic()
        pid = await trio.to_thread.run_sync(lambda: hub_pid(chosen.home))
        nursery.cancel_scope.cancel()
    return connected_at, pid


def hub_pid(home: Home) -> int:
    with Control.open(home) as control:
        return control.ask(wire.Inspect(id=new_id()), wire.HubStatus).pid


async def start_tasks(home: Home) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    async with trio.open_nursery() as nursery:
        for number in range(TASKS):
            nursery.start_soon(start_one, home, number, found)
    return found


def be_starters() -> None:
    """For each directory that standard input names, one line with what became of the starters."""
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(trio.run(start_tasks, Home(Path(line.strip())))), flush=True)


# --- the herd


@attrs.frozen
class Started:
    """`took_s`: seconds from the first attempt to the connection, of each that got one."""

    pids: set[int]
    took_s: list[float]
    errors: list[str]


class Starters:
    """One process of starters, which start whenever they are told a directory."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"from {MODULE} import be_starters; be_starters()"],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        if self._line() != b"ready\n":
            raise RuntimeError("the starters did not start")
        return self

    def __exit__(self, *_: object) -> None:
        with self.process:  # which closes its pipes and waits for it
            self.process.kill()

    def _line(self) -> bytes:
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], SAID_WITHIN_S)
        if not readable:
            raise RuntimeError("the starters say nothing")
        return self.process.stdout.readline()

    def go(self, home: Home) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{home.root}\n".encode())
        self.process.stdin.flush()

    def results(self) -> list[dict[str, object]]:
        found: list[dict[str, object]] = json.loads(self._line())
        return found


@contextmanager
def herd() -> Iterator[list[Starters]]:
    with ExitStack() as stack:
        yield [stack.enter_context(one) for one in [Starters() for _ in range(PROCESSES)]]


def start_all(herd: list[Starters], home: Home) -> Started:
    for starters in herd:
        starters.go(home)
    results = [result for starters in herd for result in starters.results()]
    errors = [str(result["error"]) for result in results if "error" in result]
    done = [result for result in results if "error" not in result]
    return Started({int(str(one["pid"])) for one in done}, [float(str(one["took_s"])) for one in done], errors)


def environment(home: Home | None = None) -> dict[str, str]:
    """Nothing of a session that measures this; `home` is for programs that are not told it otherwise."""
    chosen = {"CROSSCHAT_HOME": os.fspath(home.root)} if home is not None else {}
    return {"PATH": os.environ["PATH"], "HOME": "/tmp", "PYTHONPATH": os.fspath(PATH), **chosen}


# --- what the directory is like


@contextmanager
def empty(home: Home) -> Iterator[None]:
    """It does not exist."""
    yield


@contextmanager
def stale(home: Home) -> Iterator[None]:
    """A hub was killed, and its pid is another process's by now."""
    ensure_hub(home)
    with Control.open(home) as control:
        os.kill(control.pid, signal.SIGKILL)
    while (descriptor := lock.try_hold(home.hub_lock)) is None:
        time.sleep(0.01)
    os.close(descriptor)
    note = json.loads(home.dashboard_lock.read_text()) if home.dashboard_lock.exists() else {}
    home.dashboard_lock.write_text(json.dumps({**note, "hub_pid": os.getpid()}))
    yield


@contextmanager
def garbage(home: Home) -> Iterator[None]:
    """Lock, note and settings hold what nobody wrote there."""
    ensure_hub(home)
    stop_hub(home)
    home.hub_lock.write_bytes(b"\x00\xff" * 500)
    home.dashboard_lock.write_bytes(b'{"hub_pid": ')
    home.settings.write_bytes(b"\xfe")
    yield


@contextmanager
def leaving(home: Home) -> Iterator[None]:
    """The hub is there and about to stop, because nobody needed it."""
    ensure_hub(home, idle_stop_s=0.2)
    yield


@contextmanager
def contested(home: Home) -> Iterator[None]:
    """Somebody holds the lock for a while and starts no hub."""
    home.root.mkdir(mode=0o700)
    with open(home.hub_lock, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        holder = subprocess.Popen(["sleep", str(CONTESTED_S)], pass_fds=[file.fileno()])  # its copy is the lock
    try:
        yield
    finally:
        holder.wait()


STATES: Final = (empty, stale, garbage, leaving, contested)


# --- measuring


def measure_alone(place: Path, rounds: int) -> float:
    """The median of as many starts with one starter."""
    took_s: list[float] = []
    for row in range(rounds):
        home = Home(place / f"alone{row}")
        began = time.monotonic()
        try:
            running_hub(Configuration(home=home)).close()
            took_s.append(time.monotonic() - began)
        finally:
            stop_hub(home, force=True)
    return statistics.median(took_s)


def measure_herd(place: Path, rounds: int) -> dict[str, list[float]]:
    """By state of the directory, how long each starter took. Raises RuntimeError if one failed, or saw another hub."""
    took_s: dict[str, list[float]] = {state.__name__: [] for state in STATES}
    with herd() as starters:
        for row in range(rounds):
            for state in STATES:
                home = Home(place / f"{state.__name__}{row}")
                try:
                    with state(home):
                        found = start_all(starters, home)
                finally:
                    stop_hub(home, force=True)
                if found.errors or len(found.pids) != 1:
                    raise RuntimeError(f"{state.__name__}: {found.errors or found.pids}")
                took_s[state.__name__] += found.took_s
    return took_s


def measure_bridges(place: Path, count: int = PROCESSES * TASKS) -> tuple[float, float]:
    """Seconds until so many real bridges are connected, and until as many interpreters have imported what they do."""
    home = Home(place / "bridges")
    command = [sys.executable, "-m", "crosschat", "serve"]
    began = time.monotonic()
    bridges = [
        subprocess.Popen(command, env=environment(home), cwd="/", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(count)
    ]
    try:
        while connected(home) < count:
            if time.monotonic() > began + PATIENCE_S:
                raise RuntimeError(f"{connected(home)} of {count} bridges are connected")
            time.sleep(0.1)
        bridges_s = time.monotonic() - began
    finally:
        for bridge in bridges:
            bridge.kill()
            bridge.communicate()
        stop_hub(home, force=True)
    began = time.monotonic()
    others = [subprocess.Popen([sys.executable, "-c", "import mcp"], env=environment()) for _ in range(count)]
    for other in others:
        other.wait(PATIENCE_S)
    return bridges_s, time.monotonic() - began


def connected(home: Home) -> int:
    with suppress(Failure), Control.open(home) as control:
        status = control.ask(wire.Inspect(id=new_id()), wire.HubStatus)
        return sum(agent.connected for agent in status.agents)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.herd", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of each kind of directory (default 5)")
    parser.add_argument("--bridges", action="store_true", help="one round with real bridges instead")
    parser.add_argument("--json", action="store_true", help="print JSON")
    asked = parser.parse_args()
    unwind_on_signals()
    with tempfile.TemporaryDirectory(prefix="herd-", dir="/tmp") as directory:
        figures = bridge_figures(Path(directory)) if asked.bridges else herd_figures(Path(directory), asked.rounds)
    figures["load"] = os.getloadavg()[0]
    if asked.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:32} {value:.2f}")
    return 0


def herd_figures(place: Path, rounds: int) -> dict[str, float]:
    alone_s = measure_alone(place, rounds)
    by_state = measure_herd(place, rounds)
    everything = [took for values in by_state.values() for took in values]
    figures = {"one starter alone, s": alone_s}
    for name, values in (*by_state.items(), ("all", everything)):
        figures[f"{name}, p50 s"], figures[f"{name}, p99 s"] = statistics.median(values), percentile(values, 0.99)
    figures["all, p99 to one alone"] = figures["all, p99 s"] / alone_s
    return figures


def bridge_figures(place: Path) -> dict[str, float]:
    bridges_s, imports_s = measure_bridges(place)
    return {"64 bridges, s": bridges_s, "64 imports of mcp, s": imports_s, "ratio": bridges_s / imports_s}


if __name__ == "__main__":
    sys.exit(main())
