"""`run/watch/<pid>`: which Claude Code processes have something outstanding, for a hook that tests for it in the shell.

A file exists while its process has a request that waits, or an approval whose tool was not seen to run. One that is
missing costs a notice, one that is left over (from a hub that was killed) costs its session a few interpreters until
the next hub removes it: they are information and never the truth.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from crosschat.journal.files import exists, is_directory

if TYPE_CHECKING:
    from pathlib import Path

    from crosschat.hub.log import Logger
    from crosschat.journal.files import Files


class WatchFiles:
    """The directory, for a hub that holds the lock."""

    def __init__(self, directory: Path, files: Files, log: Logger) -> None:
        self._directory = directory
        self._files = files
        self._log = log
        self._needs: Counter[int] = Counter()

    def clear(self) -> None:
        """Make the directory, empty. Never raises OSError."""
        try:
            if not is_directory(self._files, self._directory):
                self._files.mkdir(self._directory)
            for name in self._files.listdir(self._directory):
                self._files.unlink(self._directory / name)
        except OSError as error:
            self._log.warning("watch files not cleared", error=repr(error))

    def remove(self) -> None:
        """Clear it and take it away: nothing is outstanding where no hub is. Never raises OSError."""
        self.clear()
        try:
            self._files.rmdir(self._directory)
        except OSError as error:
            self._log.warning("watch files not removed", error=repr(error))

    def need(self, pid: int) -> None:
        """One thing more is outstanding."""
        self._needs[pid] += 1
        if self._needs[pid] == 1:
            path = self._directory / str(pid)
            try:
                if not exists(self._files, path):
                    self._files.close(self._files.open(path, "create"))
            except OSError as error:
                self._log.warning("watch file not written", error=repr(error))

    def release(self, pid: int) -> None:
        """One thing less."""
        self._needs[pid] -= 1
        if self._needs[pid] <= 0:
            del self._needs[pid]
            try:
                if exists(self._files, self._directory / str(pid)):
                    self._files.unlink(self._directory / str(pid))
            except OSError as error:
                self._log.warning("watch file not removed", error=repr(error))
