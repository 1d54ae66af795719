"""`crosschat compact` with a hub that runs: it stops for it, and what is left is served by the next one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.journal.records import lines
from tests.live.rig import ROOT, HubProcess

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.process


def crosschat(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "crosschat", "--home", str(home), *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(home.parent)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_hub_stops_old_messages_go_and_the_next_hub_serves_the_rest(place: Path) -> None:
    home = place / "home"
    with HubProcess(home, "--stay") as hub:
        hub.started()
        assert hub.stop() == 0
    log = home / "log" / "000001.jsonl"
    log.write_bytes(b"".join(lines(1, 40)))  # of October 2025
    (home / "index" / "snapshot").unlink(missing_ok=True)
    with HubProcess(home, "--stay") as hub:
        hub.started()
        early = crosschat(home, "compact", "--before", "1h")
        assert early.returncode == 1
        assert "older than a week" in early.stderr
        hub.wait()
    with HubProcess(home, "--stay") as hub:
        hub.started()
        done = crosschat(home, "compact", "--before", "2025-12-01", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["messages"] >= 39
        assert hub.wait() == 0
    with HubProcess(home, "--stay") as hub:
        hub.started()
        status = json.loads(crosschat(home, "status", "--json").stdout)
        assert not status["damage"]
        assert status["head"] >= 40


def test_a_directory_without_messages_is_refused(place: Path) -> None:
    done = crosschat(place / "none", "compact", "--before", "30d")
    assert done.returncode == 1
    assert "has no messages" in done.stderr
    assert not (place / "none").exists()
