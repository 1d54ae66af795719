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
from typing import Final

import attrs

TESTED_VERSION: Final = "2.1.330"
DEADLINE_S: Final = 20.0
PLUGIN_ID: Final = "crosschat@skills-dir"
QUIET: Final = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1"}


@attrs.frozen
class Client:
    """`version` None: there is no client, or it does not say. `loads` None: it cannot be asked."""

    version: str | None = None
    loads: bool | None = None


def ask_client(folder: Path) -> Client:
    """Which client is on the PATH and whether it loads the plugin in `folder`. Raises nothing."""
    program = shutil.which("claude")
    if program is None:
        return Client()
    try:
        with tempfile.TemporaryDirectory(prefix="crosschat-", ignore_cleanup_errors=True) as directory:
            shutil.copytree(folder, Path(directory, "skills", folder.name))
            version = re.match(r"\d+\.\d+\.\d+", _output(directory, program, "--version") or "")
            listed = _output(directory, program, "plugin", "list", "--json")
    except OSError:
        return Client()
    return Client(version[0] if version else None, _loads(listed))


def _loads(listed: str | None) -> bool | None:
    if listed is None:
        return None
    try:
        return any(entry["id"] == PLUGIN_ID and entry["enabled"] for entry in json.loads(listed))
    except (ValueError, TypeError, KeyError):
        return None


def _output(directory: str, *command: str) -> str | None:
    """What the client prints if it succeeds. It does not take itself for a part of the session this may run in."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CLAUDE")}
    try:
        done = subprocess.run(
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
    return done.stdout if done.returncode == 0 else None
