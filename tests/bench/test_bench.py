"""The benchmarks run and count right; what they measure is for people, so no time is asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
SMALL = ("--agents", "3", "--messages", "50", "--rounds", "3", "--repeat", "1")


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments], cwd=CHECKOUT, capture_output=True, text=True, timeout=100,
        check=False,
    )  # fmt: skip


@pytest.mark.process
@pytest.mark.slow
def test_a_small_run_of_every_scenario_prints_its_figures_as_json() -> None:
    done = bench(*SMALL, "--json")
    assert done.returncode == 0, done.stderr
    tables = {one["scenario"]: one for one in json.loads(done.stdout)["tables"]}
    assert set(tables) == {"latency", "throughput", "wake"}
    for table in tables.values():
        assert 0 < table["fdatasync_p50_ms"] <= table["fdatasync_p99_ms"]
        (result,) = table["results"]
        assert result["system"] == "crosschat"
        assert all(len(values) == 1 and values[0] > 0 for values in result["figures"].values()), result
    fan_out = tables["throughput"]["results"][0]["figures"]
    assert fan_out["deliveries /s"][0] == pytest.approx(3 * fan_out["messages /s"][0])


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("sideways",), "there is no scenario 'sideways': use one of latency, "),
        (("--agents", "0"), "'0': write whole numbers from 1 to 500 with commas between"),
        (("--agents", "1,x"), "'1,x': write whole numbers"),
        (("--size", "1000000"), "--size"),
        (("--directory", "/no/such"), "'/no/such' does not exist"),
    ],
)
def test_a_wrong_option_ends_with_status_2_before_anything_is_measured(
    arguments: tuple[str, ...], complaint: str
) -> None:
    done = bench(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert complaint in done.stderr
