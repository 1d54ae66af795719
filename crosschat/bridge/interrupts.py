"""Notices that a turn was broken off. No hook of the client tells that, so a session would be taken to work for ever.

While the hub believes that the session works, the client's own note of it is read now and then: the file
`sessions/PID.json` in the client's directory, where `claude agents` finds the status, too. It is not documented: what
does not look as expected says nothing, and then only time makes the activity unknown.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from crosschat.processes import Process

LOOK_S: Final = 3.0
NOTE_BYTES: Final = 64 * 1024


def note_of(process: Process, environment: Mapping[str, str] = os.environ) -> Path:
    """Where the client keeps its note of that session."""
    directory = environment.get("CLAUDE_CONFIG_DIR")
    place = Path(directory) if directory else Path(environment.get("HOME") or "/") / ".claude"
    return place / "sessions" / f"{process.pid}.json"


def is_idle(note: Path, process: Process) -> bool:
    """Whether the client says that nothing goes on in the session of this process."""
    try:
        with note.open("rb") as file:
            said = json.loads(file.read(NOTE_BYTES))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(said, dict) and said.get("status") == "idle" and said.get("procStart") == str(process.start)


async def watch_for_idle(
    note: Path, process: Process, is_working: Callable[[], bool], tell: Callable[[], None]
) -> None:
    """Call `tell` when the session is taken to work and its client said twice in a row that it does not. For ever."""
    idle_before = False
    while True:
        await trio.sleep(LOOK_S)
        idle = is_working() and is_idle(note, process)
        if idle and idle_before:
            tell()
        idle_before = idle and not idle_before
