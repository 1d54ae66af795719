"""The soak says when something did not stay as it was, and a short one runs through with all that happens in it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from bench.soak import BEGIN, END, note
from bench.soak_result import Sample, problems

CHECKOUT = Path(__file__).parents[2]
FLAT = Sample(at_s=10, hub_mib=70, hub_files=30, session_mib=70, session_files=40, acknowledged=500, p50_ms=1, p99_ms=5)


def grown(name: str, more: float) -> list[Sample]:
    """Eight samples, the last two of which have more of something."""
    return [FLAT] * 6 + [attrs.evolve(FLAT, **{name: getattr(FLAT, name) + more})] * 2


def test_what_stays_as_it_is_is_no_problem() -> None:
    assert list(problems([FLAT] * 8, holes=0)) == []
    assert list(problems(grown("hub_mib", 5), holes=0)) == []
    assert list(problems(grown("hub_files", 1), holes=0)) == []


@pytest.mark.parametrize(
    ("name", "more"), [("hub_mib", 40), ("session_mib", 40), ("hub_files", 3), ("session_files", 3)]
)
def test_what_grows_is_named(name: str, more: float) -> None:
    (problem,) = problems(grown(name, more), holes=0)
    assert problem.startswith(f"{name} grew")


def test_the_last_result_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    for words in ("first", "second"):
        note(words, readme)
    assert readme.read_text() == f"before\n{BEGIN}\nsecond\n{END}\nafter\n"
    note("third", tmp_path / "nowhere.md")
    assert BEGIN in (CHECKOUT / "bench" / "README.md").read_text()


def test_a_hole_is_a_problem() -> None:
    assert list(problems([], holes=1)) == ["readers saw 1 holes"]


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.only_long
@pytest.mark.skipif(sys.platform != "linux", reason="memory and open files are read from /proc")
def test_a_short_soak_sees_restarts_and_no_holes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.soak", "--minutes", "1.2", "--save", str(tmp_path / "soak.json")]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "soak.json").read_text())
    assert found["restarts"] == 2
    assert found["leaves"] > 0
    assert found["holes"] == 0
    assert found["deliveries"] > found["messages"] * 10
    assert found["tool_calls"] > 0
