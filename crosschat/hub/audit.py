"""The audit of permissions as the hub writes it: one line at a time, in a thread, in the order of the calls.

Read once, when the hub starts: a browser counts as paired if the chain vouches for it. An audit that cannot be opened
does not keep the hub from running: every `write` fails then, and with it every allow and every pairing. One that cannot
be read, or whose chain is broken, vouches for nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from crosschat.journal.audit import AuditFile, read_audit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from crosschat.journal.files import Files
    from crosschat.model import JsonObject

NOBODY: Final = ", and no browser counts as paired"


class Audit:
    """`paired`: the keys that the chain vouched for when the hub started, each with its port; None if it vouches for
    nobody, whoever was paired. `problem` is for people: what is wrong with the file, if something is; no browser can be
    paired then."""

    def __init__(self, home: Path, files: Files, clock_ms: Callable[[], int]) -> None:
        """Open the file; blocks. Never raises OSError."""
        self._clock_ms = clock_ms
        self._turn = trio.Lock()
        self._file: AuditFile | None = None
        self._unusable: OSError | None = None
        self.paired: dict[str, int] | None = None
        try:
            chain = read_audit(home, files)
            self.paired = None if chain.problems else chain.paired
            self._file = AuditFile(home, files, chain)
        except OSError as error:
            self._unusable = error

    @property
    def problem(self) -> str | None:
        if self._file is None:
            done, more = ("used", NOBODY) if self.paired is None else ("written", "")
            return f"audit/permissions.jsonl cannot be {done}, so nothing can be allowed{more}: {self._unusable}."
        if self._file.broken is not None:
            return f"Nothing can be allowed: {self._file.broken}."
        if self._file.problems:
            first = self._file.problems[0]
            return (
                f"audit/permissions.jsonl is not as it was written: line {first.line}, {first.reason}{NOBODY}. Look at "
                "`crosschat audit verify`, move the file away, restart the hub, and pair your browser again."
            )
        return None

    async def write(self, fields: JsonObject) -> None:
        """Returns when the line is durable. Raises OSError. Cancelled, the line may be there or not."""
        if self._file is None:
            raise OSError(str(self._unusable))
        async with self._turn:
            await trio.to_thread.run_sync(self._file.append, self._clock_ms(), fields)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
