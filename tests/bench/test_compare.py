"""A run is read back as it was written, and what is said of two of them is right."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import attrs
import pytest
from rich.console import Console

from bench import compare
from bench.compare import Change, changes, differences, draw, in_common
from bench.run import Asked, Result, Run, Table
from bench.run_file import NotARun, load, to_document
from bench.show import how_good
from bench.targets import judge

if TYPE_CHECKING:
    from pathlib import Path


def run(rates: tuple[float, ...], times_ms: tuple[float, ...], *, rounds: int = 100) -> Run:
    figures = {"messages /s": rates, "last reader p50 ms": times_ms}
    result = Result(scenario="latency", agents=50, system="crosschat", figures=figures)
    table = Table(
        scenario="latency", title="fan-out", agents=50, results=(result,), fdatasync_p50_ms=0.1, fdatasync_p99_ms=0.9,
        load=1.0,
    )  # fmt: skip
    return Run(about={"system": "Linux", "date": "2026-11-24"}, asked=Asked(rounds=rounds), tables=(table,))


def shown(before: Run, now: Run) -> str:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(draw(before, now))
    return captured.get()


def test_a_run_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    written = run((1000.0, 1100.0), (0.5, 0.6))
    (tmp_path / "run.json").write_text(json.dumps(to_document(written)))
    assert load(tmp_path / "run.json") == written


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": 1}', '{"format": 2, "tables": []}', '{"format": 1, "x": 1}']
)
def test_a_file_that_holds_no_run_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(NotARun, match=r"x\.json holds no run"):
        load(tmp_path / "x.json")
    with pytest.raises(NotARun, match=r"y\.json cannot be read"):
        load(tmp_path / "y.json")


def test_more_of_a_rate_and_less_of_a_time_are_better() -> None:
    assert how_good("messages /s", 200, 100) == 2
    assert how_good("last reader p50 ms", 200, 100) == 0.5


@pytest.mark.parametrize(
    ("figure", "before", "now", "verdict"),
    [
        ("x ms", (1.0, 2.0), (2.1, 3.0), "worse"),
        ("x ms", (1.0, 2.0), (0.5, 0.9), "better"),
        ("x ms", (1.0, 2.0), (2.0, 3.0), "within the spread"),
        ("x /s", (1.0, 2.0), (2.1, 3.0), "better"),
        ("x /s", (1.0, 2.0), (0.1, 0.2), "worse"),
        ("x /s", (1.0, 9.0), (3.0, 4.0), "within the spread"),
    ],
)
def test_a_figure_has_changed_only_beyond_the_spread(
    figure: str, before: tuple[float, ...], now: tuple[float, ...], verdict: str
) -> None:
    assert Change("crosschat", figure, before, now).verdict == verdict


def test_what_else_differs_is_said_but_not_the_date() -> None:
    before, now = run((1.0,), (1.0,)), run((1.0,), (1.0,), rounds=50)
    now = attrs.evolve(now, about={"system": "macOS", "date": "2026-11-25"})
    assert differences(before, now) == ["system: Linux before, macOS now", "rounds: 100 before, 50 now"]


def test_both_runs_are_shown_side_by_side() -> None:
    before, now = run((1000.0,), (0.5,)), run((2000.0,), (0.5,))
    (pair,) = in_common(before, now)
    assert [one.times for one in changes(*pair)] == [2.0, 1.0]
    text = shown(before, now)
    assert "2.00×" in text
    assert "better" in text
    assert "1,000" in text
    assert "2,000" in text


def test_what_is_concluded_is_in_the_json_and_is_no_part_of_the_run(tmp_path: Path) -> None:
    before, now = run((1000.0,), (0.5,)), run((2000.0,), (0.5,), rounds=50)
    compared = json.loads(json.dumps(compare.to_document(before, now)))
    assert compared["differences"] == ["rounds: 100 before, 50 now"]
    assert [(one["figure"], one["verdict"]) for one in compared["figures"]] == [
        ("messages /s", "better"),
        ("last reader p50 ms", "within the spread"),
    ]
    judged = [attrs.asdict(one) for one in judge(now.tables)]
    assert {one["met"] for one in judged} == {None}
    (tmp_path / "run.json").write_text(json.dumps({**to_document(now), "compared": compared, "targets": judged}))
    assert load(tmp_path / "run.json") == now


def test_runs_with_nothing_in_common_say_so() -> None:
    assert "no scenario in common" in shown(run((1.0,), (1.0,)), attrs.evolve(run((1.0,), (1.0,)), tables=()))
