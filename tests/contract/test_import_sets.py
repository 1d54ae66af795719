"""What importing a module pulls in: what starts often or must start fast does not pay for what it does not use."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {"trio", "trio_websocket", "mcp", "mcp_types", "pydantic", "anyio", "rich", "click", "hypercorn", "quart",
         "quart_trio", "structlog", "psutil", "asyncio"}  # fmt: skip
ROWS: list[tuple[str, set[str]]] = [
    # module, and what of the heavy ones it may import
    ("crosschat", set()),
    ("crosschat.model", set()),
    ("crosschat.limits", set()),
    ("crosschat.errors", set()),
    ("crosschat.lock", set()),
    ("crosschat.paths", set()),
    ("crosschat.wire", set()),
    ("crosschat.core.handle", set()),
    ("crosschat.core.history", set()),
    ("crosschat.journal.format", set()),
    ("crosschat.bridge.launch", set()),
    ("crosschat.processes", set()),
    ("crosschat.websocket", {"trio", "trio_websocket"}),
    ("crosschat.bridge.main", {"trio", "trio_websocket"}),  # mcp comes while the hub is dialled
    ("crosschat.journal.writer", {"trio"}),
    # The page comes after the hub is up; asyncio and rich are what structlog brings along.
    ("crosschat.hub.main", {"trio", "trio_websocket", "structlog", "asyncio", "rich"}),
    ("crosschat.cli.main", {"click"}),
]


@pytest.mark.parametrize(("module", "allowed"), ROWS)
def test_a_module_imports_only_what_it_needs(module: str, allowed: set[str]) -> None:
    script = f"import sys, json, {module}\nprint(json.dumps([name for name in sys.modules if '.' not in name]))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stdout)) & HEAVY
    assert loaded <= allowed
