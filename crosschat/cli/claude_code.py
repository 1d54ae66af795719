"""The installed Claude Code, asked whether it loads the plugin: by its own word, whatever its version is.

It is asked about a copy, in a configuration directory of its own, because every run of it writes into the one it uses.
What it does there is bounded by a deadline, and nothing of it stays.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import attrs

from crosschat.cli.plugin import NAME

if TYPE_CHECKING:
    from collections.abc import Iterable

    from crosschat.cli.plugin import File

TESTED_VERSION: Final = "2.1.330"
DEADLINE_S: Final = 20.0
PLUGIN_ID: Final = f"{NAME}@skills-dir"
QUIET: Final = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1"}
# 2.1.156 lists no plugin of a folder, 2.1.158 does. One that a newer client does not list is switched off or forbidden.
KNOWS_FOLDERS: Final = (2, 1, 157)

Loads = Literal["yes", "no", "too old", "not known"]


@attrs.frozen
class Client:
    """`program` None: there is none on the PATH. `version` None: it does not say."""

    program: str | None = None
    version: str | None = None
    loads: Loads = "not known"


def ask_client(files: Iterable[File]) -> Client:
    """Which client is on the PATH and whether it loads the plugin that these files make. Raises nothing."""
    program = shutil.which("claude")
    if program is None:
        return Client()
    try:
        with tempfile.TemporaryDirectory(prefix="crosschat-", ignore_cleanup_errors=True) as directory:
            for file in files:
                path = Path(directory, "skills", NAME, file.path)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(file.content)
            said = _output(directory, program, "--version")
            listed = _output(directory, program, "plugin", "list", "--json")
    except OSError:
        return Client(program)
    version = re.match(r"\d+\.\d+\.\d+", said.stdout if said is not None and said.returncode == 0 else "")
    if version is None or listed is None:
        return Client(program, version[0] if version else None)
    old = tuple(map(int, version[0].split("."))) < KNOWS_FOLDERS
    return Client(program, version[0], _loads(listed, old=old))


def _loads(listed: subprocess.CompletedProcess[str], *, old: bool) -> Loads:
    if listed.returncode != 0:  # so old that it does not know the command, or something else went wrong
        return "too old" if old else "not known"
    try:
        enabled = [entry["enabled"] for entry in json.loads(listed.stdout) if entry["id"] == PLUGIN_ID]
    except (ValueError, TypeError, KeyError):
        return "not known"
    if enabled:
        return "yes" if enabled[0] else "no"
    return "too old" if old else "no"


def _output(directory: str, *command: str) -> subprocess.CompletedProcess[str] | None:
    """What the client prints; None if it cannot be run, or not in time. It does not take itself for a part of the
    session this may run in."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CLAUDE")}
    try:
        return subprocess.run(
            command,
            cwd=directory,
            env={**inherited, **QUIET, "CLAUDE_CONFIG_DIR": directory},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
