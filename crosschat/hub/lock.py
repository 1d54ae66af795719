"""`dashboard.lock`: what the running hub says of itself, for people and for clients that look for its page.

Information only: nothing is decided by it, and no process is signalled because of it. Written last and removed first,
so while it is there the hub serves; whoever deletes, replaces or spoils it gets it back. It has no keys `pid` and
`version`, because an npm CrossChat 2.0.x that starts would signal the process it finds under them. Nor is the note of
such a hub overwritten while that hub lives: two products must not fight over a file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import attrs

from crosschat.journal.directory import npm_hub
from crosschat.journal.files import Files, exists, read_whole, write_atomically

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

    def to_bytes(self) -> bytes:
        return json.dumps(attrs.asdict(self)).encode() + b"\n"


@attrs.define(eq=False)
class NoteFile:
    """The file while this hub serves. `publish` begins, `keep` repairs, `withdraw` ends; before and after it is not
    touched. The hub's lock must be held."""

    files: Files
    path: Path
    _note: HubNote | None = None
    _written: tuple[int, ...] = ()

    def publish(self, note: HubNote) -> None:
        """Raises OSError."""
        self._note = note
        self._write(note)

    def keep(self) -> str | None:
        """Write the file anew if it is not as it was written; what had happened to it. Raises OSError."""
        if self._note is None or (found := self._identity()) == self._written:
            return None
        if (pid := npm_hub(self.path, self.files)) is not None:
            return f"left to the npm CrossChat hub with pid {pid}"
        self._write(self._note)
        return "written again" if found is None else "repaired"

    def withdraw(self) -> None:
        """Raises OSError."""
        self._note = None
        if exists(self.files, self.path):
            self.files.unlink(self.path)

    def _write(self, note: HubNote) -> None:
        write_atomically(self.files, self.path, note.to_bytes())
        self._written = self._identity() or ()

    def _identity(self) -> tuple[int, ...] | None:
        """Changes whenever somebody replaces the file or writes to it."""
        try:
            found = self.files.lstat(self.path)
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino, found.st_mode, found.st_size, found.st_mtime_ns


def read_note_pid(files: Files, path: Path) -> int | None:
    """The pid somebody wrote there, to name it to a person; never to be signalled."""
    try:
        if not exists(files, path):
            return None
        pid = json.loads(read_whole(files, path, MOST_BYTES)).get("hub_pid")
    except (OSError, ValueError, AttributeError):
        return None
    return pid if isinstance(pid, int) else None
