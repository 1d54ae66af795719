"""The ask-list of this hub: in `settings.json` for the hub, in `ask/` for the hooks of the sessions.

Invariant: after a change and after every start, `ask/` has exactly the files that follow from the list. The files are
replaced one by one, each whole: a hook that reads them meanwhile finds the old or the new rules of its tools. The list
in `settings.json` is written last and decides: a change that fails before that is taken back, and one that a crash
leaves halfway is taken back by the next start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from crosschat.core import asklist
from crosschat.errors import Code, Refused
from crosschat.journal.files import exists, is_directory, read_whole, write_atomically
from crosschat.wire import PresetView

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from crosschat.hub.log import Logger
    from crosschat.hub.settings import Settings
    from crosschat.journal.files import Files

KEY: Final = "ask"
MOST_BYTES: Final = 1 << 20
PRESETS: Final = tuple(PresetView(name=name, rules=rules) for name, rules in asklist.PRESETS.items())


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
        """Ask for what the rule says from now on. Raises Refused; the list is then as it was, also after a restart."""
        await self._change(lambda rules: asklist.with_rule(rules, rule))

    async def remove(self, rule: str) -> None:
        """The opposite. Raises Refused."""
        await self._change(lambda rules: asklist.without_rule(rules, rule))

    async def _change(self, change: Callable[[tuple[str, ...]], tuple[str, ...]]) -> None:
        async with self._turn:
            rules = change(self.rules)
            if rules == self.rules:
                return
            if self._settings.problem is not None:  # the list is not known, and the hooks' files may have it
                raise Refused(Code.STORAGE_FULL, f"The list is as it was: {self._settings.problem}")
            try:
                await trio.to_thread.run_sync(self._keep, rules)
            except OSError as error:
                with trio.CancelScope(shield=True):  # also if who asked for the change has gone
                    left = await trio.to_thread.run_sync(self._take_back)
                raise Refused(
                    Code.STORAGE_FULL, f"The list is as it was: the new one could not be written ({error}).{left}"
                ) from None
            self.rules = rules
            for tell in tuple(self.changed):
                tell()

    def _keep(self, rules: tuple[str, ...]) -> None:
        self._write(rules)
        self._settings.put(KEY, list(rules))

    def _take_back(self) -> str:
        """What people should know of a change that could not be made whole."""
        try:
            self._write(self.rules)
        except OSError:
            return " Until the hub starts again or the list is changed, hooks may follow a part of the new one."
        return ""

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
