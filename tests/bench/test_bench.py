"""The benchmarks run and count right; what they measure is for people, so no time is asserted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench.scenarios import SCENARIOS
from crosschat import wire
from crosschat.cli.control import Control
from crosschat.processes import find

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tests.live.rig import HubProcess

CHECKOUT = Path(__file__).parents[2]
SMALL = ("--agents", "3", "--messages", "50", "--rounds", "3", "--repeat", "1")
QUICK = ("latency", "claims", "catch-up", "hooks")


def bench(
    *arguments: str, path: Path | None = None, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """`path`: where the package is found before anywhere else."""
    environment = {**os.environ, **(environment or {}), **({} if path is None else {"PYTHONPATH": os.fspath(path)})}
    command = ["bench"] if path is None else ["crosschat", "bench"]
    return subprocess.run(
        [sys.executable, "-m", *command, *arguments], cwd=path or CHECKOUT, env=environment, capture_output=True,
        text=True, timeout=100, check=False,
    )  # fmt: skip


def check(document: dict[str, Any], scenarios: Iterable[str]) -> dict[str, dict[str, list[float]]]:
    """The figures by scenario, if they make sense."""
    found: dict[str, dict[str, list[float]]] = {}
    for table in document["tables"]:
        assert 0 < table["fdatasync_p50_ms"] <= table["fdatasync_p99_ms"]
        for result in table["results"]:
            assert result["system"] == "crosschat"
            assert all(len(values) == 1 and 0 <= values[0] < 1e6 for values in result["figures"].values()), result
            found[result["scenario"]] = result["figures"]
            for name, (value,) in result["figures"].items():
                if "p50" in name:
                    assert 0 < value <= result["figures"][name.replace("p50", "p99")][0], result
    assert set(found) == set(scenarios)
    return found


@pytest.mark.process
@pytest.mark.slow
def test_a_small_run_measures_from_an_installation_and_leaves_nothing(tmp_path: Path) -> None:
    package, disk = tmp_path / "crosschat", tmp_path / "disk"
    package.mkdir()
    disk.mkdir()
    for part in (CHECKOUT / "crosschat").iterdir():
        (package / part.name).symlink_to(part)
    for name in ("bench", "hooks"):  # where the wheel has them
        (package / f"_{name}").symlink_to(CHECKOUT / name)
    done = bench(*QUICK, *SMALL, "--json", "--directory", str(disk), path=tmp_path)
    assert done.returncode == 0, done.stderr
    figures = check(json.loads(done.stdout), QUICK)
    assert figures["latency"]["first reader p50 ms"][0] <= figures["latency"]["last reader p50 ms"][0]
    assert figures["catch-up"]["first message ms"][0] <= figures["catch-up"]["everything ms"][0]
    assert list(disk.iterdir()) == []


@pytest.mark.process
@pytest.mark.slow
def test_a_run_that_is_ended_leaves_no_hub_and_no_file(place: Path) -> None:
    command = [sys.executable, "-m", "bench", "latency", "--directory", os.fspath(place), "--rounds", "100000"]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            notes = until(lambda: list(place.glob("*/h/dashboard.lock")), process)
            hub = json.loads(notes[0].read_text())["hub_pid"]
        finally:
            process.terminate()
        assert process.wait(60) == 128 + signal.SIGTERM
    assert find(hub) is None
    assert list(place.iterdir()) == []


def until(look: Callable[[], list[Path]], process: subprocess.Popen[bytes]) -> list[Path]:
    """What it finds, once it finds something."""
    give_up_at = time.monotonic() + 60
    while not (found := look()):
        assert process.poll() is None
        assert time.monotonic() < give_up_at
        time.sleep(0.02)
    return found


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.parametrize(
    ("scenario", "threads"), [("latency", 2), pytest.param("wake", 1, marks=pytest.mark.only_long)]
)
def test_a_live_run_is_seen_by_nobody_and_leaves_nothing_unread(
    running_hub: HubProcess, place: Path, scenario: str, threads: int
) -> None:
    home = running_hub.home
    environment = {"CROSSCHAT_HOME": os.fspath(home.root)}
    done = bench(
        scenario, "--live", "--agents", "2", "--rounds", "25", "--repeat", "1", "--json", environment=environment
    )
    assert done.returncode == 0, done.stderr
    assert "go to agents of the bench alone" in done.stderr
    check(json.loads(done.stdout), [scenario])
    with Control.open(home) as control:
        status = control.status()
        assert status.needs == {}
        assert not status.guarded
        assert [(agent.name, agent.unread) for agent in status.agents if agent.connected or agent.unread] == []
        page = control.ask(wire.Search(id="s", badge="bench", limit=200), wire.Page)
    assert len(page.items) == threads  # none has more messages than the loop guard lets pass
    for item in page.items:
        assert item.private
        assert item.to is not None
        assert item.from_name.startswith("bench-")


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.only_long
def test_a_small_run_of_every_scenario_makes_sense() -> None:
    done = bench(*SMALL, "--json")
    assert done.returncode == 0, done.stderr
    figures = check(json.loads(done.stdout), SCENARIOS)
    assert figures["throughput"]["deliveries /s"][0] == pytest.approx(3 * figures["throughput"]["messages /s"][0])
    assert figures["sessions"]["each of ten sessions, shares MiB"][0] > 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("sideways",), "there is no scenario 'sideways': use one of latency, "),
        (("--live", "memory"), "there is no scenario 'memory' with --live: use one of latency, wake"),
        (("--agents", "0"), "'0': write whole numbers from 1 to 500 with commas between"),
        (("--agents", "1,x"), "'1,x': write whole numbers"),
        (("--size", "1000000"), "--size"),
        (("--url", "ws://127.0.0.1:x/ws/agent"), "write it as ws://127.0.0.1:1234/ws/agent"),
        (("--url", "ws://"), "write it as ws://"),
        (("--live", "--directory", "/tmp"), "leave --versus, --targets, --url and --directory out"),
        (("--save", "/no/such/x.json"), "nothing can be written to the directory /no/such"),
        (("--directory", "/no/such"), "'/no/such' does not exist"),
        (("--compare", "pyproject.toml"), "pyproject.toml holds no run of `crosschat bench --save`"),
    ],
)
def test_a_wrong_option_ends_with_status_2_before_anything_is_measured(
    arguments: tuple[str, ...], complaint: str
) -> None:
    done = bench(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert complaint in done.stderr


def test_a_live_run_needs_a_hub(place: Path) -> None:
    done = bench("--live", environment={"CROSSCHAT_HOME": os.fspath(place / "nowhere")})
    assert (done.returncode, done.stdout) == (3, "")
    assert "no hub runs" in done.stderr
    assert list(place.iterdir()) == []
