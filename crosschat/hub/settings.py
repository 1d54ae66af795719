"""`settings.json`: what the hub remembers for the person, across starts. Unknown keys are kept.

Read once at the start; written whole, atomically, when something changes. A file that cannot be read is left alone
and reported, and the hub goes on with nothing remembered.
"""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from crosschat.journal.files import Files, exists, read_whole, write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from crosschat.model import JsonObject

MOST_BYTES: Final = 1024 * 1024


class Settings:
    """The file's content and what is wrong with it, if something is."""

    def __init__(self, files: Files, path: Path) -> None:
        self._files = files
        self._path = path
        self._values: JsonObject = {}
        self._turn = threading.Lock()
        self.problem: str | None = None
        try:
            if exists(files, path):
                self._read()
        except (OSError, ValueError, RecursionError) as error:
            self.problem = f"{path.name} cannot be read and is ignored: {error}. Correct or remove it."

    def _read(self) -> None:
        values = json.loads(read_whole(self._files, self._path, MOST_BYTES))
        if not isinstance(values, dict):
            raise ValueError("it is not a JSON object")
        self._values = values

    def get(self, key: str) -> object:
        """What was kept under `key`, whatever it is; None if nothing was."""
        return self._values.get(key)

    def put(self, key: str, value: object) -> None:
        """Keep `value` (JSON) under `key`, None to forget it. Blocks, and may be called from any thread. Raises
        OSError, nothing is changed then: also for a file that could not be read, which would be lost."""
        if self.problem is not None:
            raise OSError(self.problem)
        with self._turn:
            changed = {**self._values, key: value}
            if value is None:
                del changed[key]
            try:
                self._write(changed)
            except OSError:
                with suppress(OSError):  # the new file is in place already if only the sync of its directory failed
                    self._write(self._values)
                raise
            self._values = changed

    def _write(self, values: JsonObject) -> None:
        write_atomically(self._files, self._path, json.dumps(values, indent=1).encode() + b"\n")

    @property
    def dashboard_port(self) -> int | None:
        port = self.get("dashboard_port")
        return port if type(port) is int and 0 < port < 65536 else None

    def remember_port(self, port: int) -> None:
        """Keep the page's address for later starts, once. Raises OSError."""
        if self.dashboard_port is None and self.problem is None:
            self.put("dashboard_port", port)
