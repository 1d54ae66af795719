"""`dashboard.lock`: what the running hub says of itself, for people and for clients that look for its page.

Information only: nothing is decided by it, and no process is signalled because of it. Written last and removed first,
so while it is there the hub serves. It has no keys `pid` and `version`, because an npm CrossChat 2.0.x that starts
would signal the process it finds under them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import attrs

from crosschat.journal.files import Files, exists, read_whole, write_atomically

if TYPE_CHECKING:
    from pathlib import Path

MOST_BYTES: Final = 64 * 1024


@attrs.frozen(kw_only=True)
class HubNote:
    """`start_ticks` and `boot_id` make the pid unmistakable; `port` is the page's, None while it is off."""

    hub_pid: int
    start_ticks: int
    boot_id: str
    port: int | None
    hub_version: str
    protocol: int
    started_at: str


def write_note(files: Files, path: Path, note: HubNote) -> None:
    """Raises OSError."""
    write_atomically(files, path, json.dumps(attrs.asdict(note)).encode() + b"\n")


def read_note_pid(files: Files, path: Path) -> int | None:
    """The pid somebody wrote there, to name it to a person; never to be signalled."""
    try:
        if not exists(files, path):
            return None
        pid = json.loads(read_whole(files, path, MOST_BYTES)).get("hub_pid")
    except (OSError, ValueError, AttributeError):
        return None
    return pid if isinstance(pid, int) else None


def remove_note(files: Files, path: Path) -> None:
    if exists(files, path):
        files.unlink(path)
