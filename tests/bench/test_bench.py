"""The benchmarks run and count right; what they measure is for people, so no time is asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


@pytest.mark.process
@pytest.mark.slow
def test_a_small_run_of_every_scenario_prints_its_figures_as_json() -> None:
    command = [sys.executable, "-m", "bench", "--agents", "3", "--messages", "50", "--rounds", "3", "--starts", "1"]
    done = subprocess.run([*command, "--json"], cwd=CHECKOUT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    figures = {one["scenario"]: one for one in json.loads(done.stdout)}
    assert set(figures) == {"hub start", "wake-up, tool to tool", "fan-out to 3"}
    fan_out = figures["fan-out to 3"]["values"]
    assert fan_out["deliveries/s"] == pytest.approx(3 * fan_out["messages/s"])
    for one in figures.values():
        assert one["samples"] > 0
        assert all(value > 0 for value in one["values"].values()), one
