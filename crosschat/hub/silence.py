"""Looks now and then whether senders have to be told that nobody reads what they wrote (`core.silence`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from crosschat.core.silence import ReportSilence, uninformed
from crosschat.errors import Refused
from crosschat.model import THE_SYSTEM

if TYPE_CHECKING:
    from collections.abc import Callable

    from crosschat.hub.log import Logger
    from crosschat.hub.router import Router

LOOK_S: Final = 15.0


class Silence:
    """`unread_s`: what the person's patience is at the moment."""

    def __init__(self, router: Router, unread_s: Callable[[], float], log: Logger) -> None:
        self._router, self._unread_s, self._log = router, unread_s, log

    async def run(self) -> None:
        """Until cancelled. A notice that cannot be written now is tried again with the next look."""
        while True:
            await trio.sleep(min(LOOK_S, max(0.05, self._unread_s() / 10)))
            router, unread_s = self._router, self._unread_s()
            for agent in tuple(uninformed(router.state, router.presence, router.clock_ms(), unread_s)):
                try:
                    await router.ask(THE_SYSTEM, ReportSilence(agent, unread_s))
                except Refused as refused:
                    self._log.warning("sender not told", why=refused.message)
