"""The results that are published are those of the file with the runs, and a run that found something ends with 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.prove import results
from tests.prove.zygote import ROOT

if TYPE_CHECKING:
    from pathlib import Path

RUN: results.Run = {
    "started": "2026-01-01T00:00:00+00:00", "commit": "abc", "seconds": 60, "seed": 1, "parts": {"kill": 60},
    "counts": {"kills": 3, "deliveries": 1000}, "void": 0, "reconnect_p99_ms": 12, "violations": [], "not_run": [],
}  # fmt: skip


def test_readme_and_page_are_made_from_the_committed_runs() -> None:
    runs = results.load(ROOT / "docs" / "proof.json")
    assert (ROOT / "docs" / "proof.md").read_text() == results.page(runs)
    readme = (ROOT / "README.md").read_text()
    assert readme.split(results.BEGIN)[1].split(results.END)[0] == results.summary(runs)
    assert results.violations(runs) == 0


def test_runs_add_up_and_a_violation_stays(tmp_path: Path) -> None:
    path = tmp_path / "proof.json"
    results.add(path, RUN)
    runs = results.add(path, RUN | {"violations": ["kill, seed 1: lost"], "counts": {"kills": 4}})
    assert results.load(path) == runs
    assert results.total(runs)["kills"] == 7
    assert results.violations(runs) == 1
    assert "7 kills" in results.table(runs)
    assert "**1 violations**" in results.page(runs)
