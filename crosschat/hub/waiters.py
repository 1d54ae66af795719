"""The hooks that wait: processes of a session, held at the control door until there is something to wake it with.

Where a session has no inbox that takes rings, one of its hooks waits in the background, and its end wakes the session.
Invariant: at most one waits for each agent; a newer one takes the place of the older, which is let go. What is handed
over is gone from here, whether the hook lives to say it or not: a ring only announces, and is repeated by who rang.
A crash of the hub breaks the connections, and the hooks come again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio

if TYPE_CHECKING:
    from collections.abc import Callable


@attrs.define(eq=False)
class _Waiter:
    done: trio.Event = attrs.Factory(trio.Event)
    text: str | None = None

    def end(self, text: str | None) -> None:
        self.text = text
        self.done.set()


class Waiters:
    """By agent id. `changed` is called with it when a hook has begun to wait or does so no more."""

    def __init__(self, changed: Callable[[str], None]) -> None:
        self._waiting: dict[str, _Waiter] = {}
        self._changed = changed

    def __contains__(self, agent: str) -> bool:
        return agent in self._waiting

    async def wait(self, agent: str) -> str | None:
        """The text to wake the agent's session with, or None: another hook waits instead, or none is wanted any more.

        Cancel-safe: a cancelled wait is forgotten, and no ring goes to it."""
        older = self._waiting.get(agent)
        waiter = self._waiting[agent] = _Waiter()
        if older is not None:
            older.end(None)
        self._changed(agent)
        try:
            await waiter.done.wait()
        finally:
            if self._waiting.get(agent) is waiter:
                self._take(agent)
        return waiter.text

    def ring(self, agent: str, text: str) -> bool:
        """Hand the text to the hook that waits. False if none does."""
        waiter = self._take(agent)
        if waiter is not None:
            waiter.end(text)
        return waiter is not None

    def dismiss(self, agent: str) -> None:
        """Let go of the hook that waits, if one does."""
        waiter = self._take(agent)
        if waiter is not None:
            waiter.end(None)

    def _take(self, agent: str) -> _Waiter | None:
        waiter = self._waiting.pop(agent, None)
        if waiter is not None:
            self._changed(agent)
        return waiter
