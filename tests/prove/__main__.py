"""`python -m tests.prove`: run the parts of the proof for a while, or each of them shortly; see `--help`.

The parts take turns by their share of the time, each round in a directory of its own with a seed of its own. A round
that finds a violation says its part, seed and commit, and its directory is kept. `--part NAME --seed N --rounds 1`
plays it again.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Final

from tests.prove import results
from tests.prove.kill import commit, p99
from tests.prove.outcome import Outcome, Part, Room, added
from tests.prove.parts import PARTS
from tests.prove.zygote import ROOT, Zygote

RESULTS: Final = ROOT / "docs" / "proof.json"


def main() -> int:
    """The exit status: 0, or 1 after a violation."""
    asked = _parse()
    parts = [part for part in PARTS if not asked.part or part.name in asked.part]
    obstacles = {part.name: part.obstacle() for part in parts}
    not_run = [f"{name}: {why}" for name, why in obstacles.items() if why]
    for line in not_run:
        print(f"not run: {line}")
    parts = [part for part in parts if not obstacles[part.name]]
    runner = _Runner(asked.seed, asked.commit or commit())
    began = time.monotonic()
    started = datetime.now(UTC).isoformat(timespec="seconds")
    with Zygote() as zygote:
        if asked.minutes:
            runner.take_turns(parts, zygote, began + asked.minutes * 60)
        else:
            for part in parts:
                for _ in range(asked.rounds or part.short):
                    runner.round(part, zygote, short=not asked.rounds)
    run = runner.result(started, time.monotonic() - began, not_run)
    if asked.minutes:
        runs = results.add(asked.results, run)
        if asked.results == RESULTS:
            results.publish(runs, RESULTS.parent, ROOT / "README.md")
    else:
        runs = [run]
    print(results.table(runs))
    print(f"seed {run['seed']}, commit {run['commit']}, {run['seconds']} s: {run['parts']}, void rounds: {run['void']}")
    print(f"{len(run['violations'])} violations")
    return 1 if run["violations"] else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.prove", description=__doc__)
    parser.add_argument("--minutes", type=float, default=0.0, help="run for so long and add to the results")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4)), help="of the first round")
    parser.add_argument("--part", action="append", choices=[part.name for part in PARTS], help="only this one")
    parser.add_argument("--rounds", type=int, default=0, help="so many of each part, instead of the short form")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the cumulative result file")
    parser.add_argument("--commit", help="the commit, where git cannot say it")
    return parser.parse_args()


class _Runner:
    def __init__(self, seed: int, commit: str) -> None:
        self._seed = seed
        self._next = seed
        self._commit = commit
        self._spent: Counter[str] = Counter()
        self._total = Outcome()
        self._void = 0

    def take_turns(self, parts: list[Part], zygote: Zygote, until: float) -> None:
        spent = {part.name: 0.0 for part in parts}
        while time.monotonic() < until:
            part = min(parts, key=lambda one: spent[one.name] / one.weight)
            began = time.monotonic()
            self.round(part, zygote)
            spent[part.name] += time.monotonic() - began

    def round(self, part: Part, zygote: Zygote, *, short: bool = False) -> None:
        seed, self._next = self._next, Random(self._next).getrandbits(32)
        place = Path(tempfile.mkdtemp(prefix="prove-", dir="/tmp"))
        began = time.monotonic()
        try:
            found = part.run(Room(place, zygote, seed, short))
        except Exception as error:  # it is a finding like others, and what was reached before it stays
            traceback.print_exc()
            found = Outcome([f"the rig failed: {error!r}"])
        self._spent[part.name] += round((time.monotonic() - began) * 1000)
        if found.void:
            self._void += 1
            print(f"void: {part.name}, seed {seed}: {found.void}", flush=True)
        else:
            self._total.counts = added(self._total.counts, found.counts)
            self._total.reconnects_s += found.reconnects_s
        if not found.problems:
            shutil.rmtree(place, ignore_errors=True)
            return
        print(f"VIOLATION in {part.name}: seed {seed}, commit {self._commit}, data kept in {place}")
        print(f"  again: python -m tests.prove --part {part.name} --seed {seed} --rounds 1")
        for problem in found.problems:
            print(f"  {problem}", flush=True)
        self._total.problems += [f"{part.name}, seed {seed}: {problem}" for problem in found.problems]

    def result(self, started: str, seconds: float, not_run: list[str]) -> results.Run:
        return {
            "started": started,
            "commit": self._commit,
            "seconds": round(seconds),
            "seed": self._seed,
            "parts": {name: round(spent / 1000) for name, spent in self._spent.items()},
            "counts": dict(sorted(self._total.counts.items())),
            "void": self._void,
            "reconnect_p99_ms": round(p99(self._total.reconnects_s) * 1000),
            "violations": self._total.problems,
            "not_run": not_run,
        }


if __name__ == "__main__":
    sys.exit(main())
