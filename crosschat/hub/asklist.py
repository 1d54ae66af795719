"""The ask-list of this hub: in `settings.json` for the hub, in `ask/` for the hooks of the sessions.

Invariant: after a change and after every start, `ask/` has exactly the files that follow from the list. The files are
replaced one by one, each whole: a hook that reads them meanwhile finds the old or the new rules of its tools.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from crosschat.core import asklist
from crosschat.errors import Code, Refused
from crosschat.journal.files import exists, is_directory, read_whole, write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from crosschat.hub.log import Logger
    from crosschat.hub.settings import Settings
    from crosschat.journal.files import Files

KEY = "ask"
MOST_BYTES = 1 << 20


class AskList:
    """`changed` are called after each change, without waiting."""

    def __init__(self, directory: Path, files: Files, settings: Settings, log: Logger) -> None:
        """Take up what was kept, and bring the files up to date. Blocks; never raises OSError."""
        self._directory = directory
        self._files = files
        self._settings = settings
        self._turn = trio.Lock()
        self.changed: list[Callable[[], None]] = []
        self.rules = asklist.kept(settings.get(KEY))
        try:
            if settings.problem is None:  # else the files know more than this does
                self._write(self.rules)
        except OSError as error:
            log.error("ask-list not written", error=repr(error))

    async def add(self, rule: str) -> None:
        """Ask for what the rule says from now on. Raises Refused; the list is then as it was."""
        await self._change(lambda rules: asklist.with_rule(rules, rule))

    async def remove(self, rule: str) -> None:
        """The opposite. Raises Refused."""
        await self._change(lambda rules: asklist.without_rule(rules, rule))

    async def _change(self, change: Callable[[tuple[str, ...]], tuple[str, ...]]) -> None:
        async with self._turn:
            rules = change(self.rules)
            if rules == self.rules:
                return
            try:
                await trio.to_thread.run_sync(self._keep, rules)
            except OSError as error:
                raise Refused(
                    Code.STORAGE_FULL, f"The list could not be kept: {error}. Nothing has changed for the hub."
                ) from None
            self.rules = rules
            for tell in tuple(self.changed):
                tell()

    def _keep(self, rules: tuple[str, ...]) -> None:
        self._settings.put(KEY, list(rules))
        self._write(rules)

    def _write(self, rules: tuple[str, ...]) -> None:
        wanted = asklist.files_for(rules)
        if not is_directory(self._files, self._directory):
            if not wanted:
                return
            self._files.mkdir(self._directory)
        for name, content in wanted.items():
            path = self._directory / name
            if not exists(self._files, path) or read_whole(self._files, path, MOST_BYTES) != content:
                write_atomically(self._files, path, content)
        for name in self._files.listdir(self._directory):
            if name not in wanted:
                self._files.unlink(self._directory / name)
