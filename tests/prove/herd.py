"""Sixty-four starters at once: whatever the directory is like, one hub is there in the end, and all are connected.

A round is one herd (`bench.herd`) on each kind of directory, and one after starters that were killed half-way. Who
runs as a hub and who holds the lock is seen from the outside, in /proc.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from bench.herd import PROCESSES, STATES, TASKS, Started, Starters, herd, start_all
from crosschat.cli.lifecycle import stop_hub
from crosschat.paths import Home
from tests.prove.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.prove.outcome import Room

KINDS = len(STATES) + 1  # herds of a round


def run(room: Room) -> Outcome:
    outcome = Outcome()
    with herd() as starters:
        for what, started in one_round(starters, room.place, Random(room.seed)):
            outcome.counts["herd rounds"] += 1
            outcome.problems += [f"{what}: {problem}" for problem in started]
    return outcome


def obstacle() -> str | None:
    return None if sys.platform == "linux" else "it looks for hubs and locks in /proc"


def one_round(starters: list[Starters], place: Path, dice: Random) -> Iterator[tuple[str, list[str]]]:
    """For each herd what the directory was like, and what was wrong in the end."""
    for state in STATES:
        yield state.__name__, _start(starters, Home(place / state.__name__), state)
    yield "starters that were killed", _start_after_killed(starters, Home(place / "killed"), dice)


def _start(starters: list[Starters], home: Home, state: Callable[[Home], AbstractContextManager[None]]) -> list[str]:
    with _ended(home):
        with state(home):
            found = start_all(starters, home)
        return list(_problems(home, found))


def _start_after_killed(starters: list[Starters], home: Home, dice: Random) -> list[str]:
    with _ended(home):
        with Starters() as one, Starters() as two:
            one.go(home)
            time.sleep(dice.uniform(0, 0.1))
            two.go(home)
            time.sleep(dice.uniform(0, 0.3))
            one.process.kill()
            two.process.kill()
        return list(_problems(home, start_all(starters, home)))


@contextmanager
def _ended(home: Home) -> Iterator[None]:
    """Whatever happens, no hub is left there."""
    try:
        yield
    finally:
        stop_hub(home, force=True)


def _problems(home: Home, found: Started) -> Iterator[str]:
    yield from found.errors
    if len(found.took_s) != PROCESSES * TASKS:
        yield f"{len(found.took_s)} starters were connected"
    if len(found.pids) != 1:
        yield f"they saw the hubs {found.pids}"
    if os.geteuid() == 0:  # who else may look into a hub, or even see it
        if (hubs := _hubs(home)) != found.pids:
            yield f"the hubs that run are {hubs}, they saw {found.pids}"
        if (holders := _holders_of_lock(home)) != found.pids:
            yield f"the lock is held by {holders}, they saw {found.pids}"
    log = home.root / "log" / "000001.jsonl"
    lines = [json.loads(line) for line in log.read_bytes().splitlines()] if log.exists() else []
    if not lines:
        yield "there is no log"
    if [line["seq"] for line in lines] != list(range(1, len(lines) + 1)):
        yield "the log's numbers are not in order"


def _hubs(home: Home) -> set[int]:
    """Whoever runs as a hub of that directory."""
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
        except OSError:
            continue
        if b"crosschat.hub" in words and os.fsencode(home.root) in words:
            found.add(int(entry.name))
    return found


def _holders_of_lock(home: Home) -> set[int]:
    """Whoever has the file open."""
    found = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(link) == str(home.hub_lock):
                found.add(int(link.parts[2]))
        except OSError:
            continue
    return found
