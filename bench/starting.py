"""What a person waits for: a hub that starts, a session's server, a command, a hook that a session runs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from typing import TYPE_CHECKING, Final

from crosschat import version
from crosschat.cli.plugin import Program, stable_files

from .figures import percentiles_ms
from .memory import launched, template
from .rig import private_hub
from .sessions import PLAIN, environment_of, opened

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from crosschat.paths import Home

    from .figures import Figures
    from .rig import PrivateHub
    from .run import Case

PAGE_S: Final = 30.0
PROMPT: Final = b'{"session_id":"bench","hook_event_name":"UserPromptSubmit","prompt":"go on"}'
PERMISSION: Final = (
    b'{"session_id":"bench","hook_event_name":"PermissionRequest","tool_name":"Bash","tool_input":{"command":"ls"}}'
)


def hub(case: Case) -> Figures:
    """From starting the process on an empty directory: both sockets accept; the page is answered."""
    accepting: list[float] = []
    pages: list[float] = []
    for number in range(case.asked.starts):
        with private_hub(case.directory / f"h{number}") as one:
            begun = time.perf_counter() - one.started_s
            accepting.append(one.started_s)
            if _page_answers(one):
                pages.append(time.perf_counter() - begun)
    return {**percentiles_ms("sockets accept", accepting), **(percentiles_ms("page answers", pages) if pages else {})}


def _page_answers(one: PrivateHub) -> bool:
    """Return when the page was answered; False if this installation has none."""
    give_up_at = time.monotonic() + PAGE_S
    while time.monotonic() < give_up_at:
        status = one.ask("inspect")
        if status.get("dashboard"):
            with urllib.request.urlopen(str(status["dashboard"]), timeout=PAGE_S) as answer:
                return bool(answer.read())
        if status.get("dashboard_problem"):
            return False
        time.sleep(0.005)
    raise RuntimeError(f"the hub's page is not up after {PAGE_S:g} s")


def bridge(case: Case) -> Figures:
    """From starting the process to its answer to `tools/list`, while the hub runs: by the template, and plainly."""
    with private_hub(case.directory / "h") as one:
        plain = _starts(PLAIN, one.home, case.asked.starts)
        if sys.platform != "linux":  # where there is no template
            return percentiles_ms("plain", plain)
        with template(one.home):
            command = launched(one.home)
            _starts(command, one.home, 1)
            forked = _starts(command, one.home, case.asked.starts * 4)
    return {**percentiles_ms("by the template", forked), **percentiles_ms("plain", plain)}


def _starts(command: Sequence[str], home: Home, count: int) -> list[float]:
    times: list[float] = []
    for number in range(count):
        with opened(command, environment_of(home, f"s{number}")) as session:
            times.append(session.ready_s)
    return times


def commands(case: Case) -> Figures:
    """Commands that a person types, to their end, beside a Python that does nothing."""
    with private_hub(case.directory / "h") as one:
        environment = {**os.environ, "CROSSCHAT_HOME": str(one.home.root)}
        figures: dict[str, float] = {}
        for name, arguments in (
            ("--help", ["-m", "crosschat", "--help"]),
            ("status", ["-m", "crosschat", "status"]),
            ("python alone", ["-c", "pass"]),
        ):
            command = [sys.executable, *arguments]
            times = [_run(command, environment) for _ in range(case.asked.starts * 2)]
            figures |= percentiles_ms(name, times)
    return figures


def hooks(case: Case) -> Figures:
    """What a session runs, from its start to its end: the hook of a prompt, one of a permission request that the hub
    leaves to the terminal, and a shell that does nothing."""
    with private_hub(case.directory / "h") as one:
        place = case.directory / "hooks"
        _place_hooks(place, one.home)
        figures: dict[str, float] = {}
        for name, command, given in (
            ("prompt", [str(place / "session.sh"), "prompt"], PROMPT),
            ("permission", [str(place / "permission.sh")], PERMISSION),
            ("/bin/sh alone", ["/bin/sh", "-c", ":"], b""),
        ):
            times = [_run(command, os.environ, given) for _ in range(case.asked.rounds)]
            figures |= percentiles_ms(name, times)
    return figures


def _place_hooks(place: Path, home: Home) -> None:
    """As `crosschat install` does."""
    place.mkdir()
    for file in stable_files(Program(python=sys.executable, options=(), home=home), version.installed()):
        path = place / file.path
        path.write_bytes(file.content)
        path.chmod(file.mode)


def _run(command: Sequence[str], environment: Mapping[str, str], given: bytes = b"") -> float:
    """Seconds until it ended. Raises RuntimeError if it fails."""
    begun = time.perf_counter()
    done = subprocess.run(command, env=environment, input=given, capture_output=True, check=False)
    took = time.perf_counter() - begun
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with status {done.returncode}: {done.stderr.decode()[-500:]}")
    return took
