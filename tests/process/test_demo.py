"""The demo, for real: it succeeds, leaves nothing behind, and does not mind Claude Code above it or Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from crosschat import processes
from crosschat.cli.demo_session import children

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(240)]

DEADLINE_S = 200
DEMO = [sys.executable, "-m", "crosschat", "demo"]
# Becomes a process called `claude` and runs the shell that runs the demo; a shell with two commands stays.
AS_CLAUDE = """
import ctypes, subprocess, sys
if ctypes.CDLL(None).prctl(15, b"claude", 0, 0, 0) != 0:
    sys.exit("cannot be renamed")
sys.exit(subprocess.run(["sh", "-c", '"$@"; exit $?', "sh", *sys.argv[1:]]).returncode)
"""
FOREIGN = {
    "CLAUDECODE": "1",
    "CLAUDE_CODE_SESSION_ID": "00000000-0000-4000-8000-000000000000",
    "CROSSCHAT_NAME": "not valid for two",
    "CROSSCHAT_HUB_URL": "ftp://nonsense",
    "CROSSCHAT_DASHBOARD_PORT": "0",
    "CROSSCHAT_HOME": "/nonexistent/home",
}


@pytest.fixture
def temporary() -> Iterator[Path]:
    """Where the demo makes its directory; short, and empty again when it is done."""
    with tempfile.TemporaryDirectory(prefix="cc-") as directory:
        yield Path(directory)


def environment(temporary: Path, **more: str) -> dict[str, str]:
    # The checkout is found from anywhere, also where it is not installed.
    root = str(Path(__file__).parents[2])
    return {**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": root, **more}


def run_demo(temporary: Path, *command: str, **more: str) -> dict[str, Any]:
    done = subprocess.run(
        command, env=environment(temporary, **more), cwd=temporary, capture_output=True, text=True, timeout=DEADLINE_S
    )
    assert done.returncode == 0, done.stdout + done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def left_over(temporary: Path) -> list[str]:
    """Processes whose command line or working directory names the directory."""
    if sys.platform != "linux":
        return []
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace")
                place = os.readlink(entry / "cwd")
            except OSError:
                continue
            if str(temporary) in words + place and int(entry.name) != os.getpid():
                found.append(words)
    return found


def test_the_demo_succeeds_and_leaves_nothing_behind(temporary: Path) -> None:
    shown = run_demo(temporary, *DEMO, "--json")
    assert shown["ok"] is True
    assert len(shown["steps"]) == 10
    assert all(step["ok"] for step in shown["steps"])
    assert shown["figures"].keys() >= {
        "hub_start_ms", "bridge_start_ms", "wake_up_p50_ms", "wake_up_p99_ms", "send_ack_p50_ms", "recovery_ada_ms",
        "recovery_ben_ms", "hub_rss_mb", "bridge_rss_ada_mb", "bridge_rss_ben_mb", "acked_messages",
    }  # fmt: skip
    assert shown["figures"]["acked_messages"]["value"] >= 70
    assert shown["dashboard"].startswith("http://127.0.0.1:")
    assert list(temporary.iterdir()) == []
    assert left_over(temporary) == []


def test_the_demo_tells_what_happens_and_can_keep_its_directory(temporary: Path) -> None:
    done = subprocess.run(
        [*DEMO, "--keep"], env=environment(temporary), capture_output=True, text=True, timeout=DEADLINE_S
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for expected in ("http://127.0.0.1:", "claims it", "is woken out of wait_for_messages", "SIGKILL", "all 10 steps"):
        assert expected in done.stdout
    (kept,) = temporary.iterdir()
    assert f"kept: {kept}" in done.stdout
    assert (kept / "home" / "messages" / "general.jsonl").read_text().count("counts") >= 70
    assert left_over(temporary) == []


@pytest.mark.skipif(sys.platform != "linux", reason="renames a process with prctl")
def test_the_demo_runs_below_claude_code(temporary: Path) -> None:
    shown = run_demo(temporary, sys.executable, "-c", AS_CLAUDE, *DEMO, "--json", **FOREIGN)
    assert shown["ok"] is True
    assert list(temporary.iterdir()) == []
    assert left_over(temporary) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_cleans_up_and_says_by_its_status_what_ended_it(
    temporary: Path, number: signal.Signals
) -> None:
    before = children()
    with subprocess.Popen(
        DEMO, env=environment(temporary), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("They discover each other"):
                break
        process.send_signal(number)
        rest, said = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 128 + number, rest + said
    assert "Traceback" not in said
    assert "failed" in rest
    assert list(temporary.iterdir()) == []
    assert left_over(temporary) == []
    assert children() == before
    assert processes.find(process.pid) is None
