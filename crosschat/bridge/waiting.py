"""`wait_for_messages`: one waiting call at a time, ended by what is unread, by a newer call, or by its time.

A call takes nothing away: what it returns stays unread until the next call confirms it (see `inbox`), so a cancel at
any point repeats and never loses. While the hub is away it goes on waiting; the link comes back by itself.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final, Literal

import attrs
import trio

from crosschat import wire
from crosschat.bridge.inbox import CallId, Inbox
from crosschat.errors import Code, Refused
from crosschat.limits import PAGE_ITEMS_MAX

if TYPE_CHECKING:
    from crosschat.bridge.client import Link

PROGRESS_INTERVAL_S: Final = 15.0
FOREGROUND_S: Final = 10.0  # no client moves a call to the background before; Claude Code does after 120 s

Progress = Callable[[float, float | None, str | None], Awaitable[None]]


@attrs.frozen
class Call:
    """One call of a tool: the client's id for it, and where its progress goes (nowhere if it did not ask)."""

    id: CallId
    progress: Progress


@attrs.frozen
class Waited:
    """`items` if there were any, else why there are none."""

    items: Sequence[wire.Item] = ()
    reason: Literal["timeout", "superseded"] | None = None


class Waiting:
    """`fitting` says how many of the items go into one reply."""

    def __init__(self, link: Link, inbox: Inbox, *, fitting: Callable[[Sequence[wire.Item]], int] = len) -> None:
        self._link, self._inbox, self._fitting = link, inbox, fitting
        self._news = trio.Event()
        self._turn: object = None
        self._waits = 0

    @property
    def pending(self) -> bool:
        """Whether a call is waiting, which gets what comes."""
        return self._waits > 0

    def notify(self) -> None:
        """Something was delivered, or the link changed."""
        self._news.set()

    async def wait(self, call: Call, *, timeout_s: float, cooldown_s: float = 0.0) -> Waited:
        """Everything unread, as far as it fits, as soon as there is something; nothing after `timeout_s`.

        With `cooldown_s`, what is meant for everybody is held back for so long, from when it was first seen, and then
        returned with all that came meanwhile; what is meant for us ends the wait at once. Cancel-safe.
        """
        turn = self._turn = object()
        self.notify()  # the wait before this one sees that its turn is over
        self._waits += 1
        failed: Refused | None = None
        waited = Waited()
        try:
            # The progress reports end with the wait.
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_report_progress, call, timeout_s)
                try:
                    waited = await self._gather(turn, call, trio.current_time() + timeout_s, cooldown_s)
                except Refused as refused:  # which the nursery would wrap
                    failed = refused
                nursery.cancel_scope.cancel()
        finally:
            self._waits -= 1
            self._link.news()  # what this call leaves waits for another way to be noticed
        if failed is not None:
            raise failed
        return waited

    async def _gather(self, turn: object, call: Call, give_up_at: float, cooldown_s: float) -> Waited:
        hold_until = math.inf
        foreground_until = trio.current_time() + FOREGROUND_S
        while True:
            self._news = trio.Event() if self._news.is_set() else self._news
            news = self._news
            if turn is not self._turn or self._link.superseded:
                return Waited(reason="superseded")
            if not self._inbox.complete:
                if items := await self._ask(call, turn, give_up_at, foreground_until):
                    return Waited(items)
                if self._inbox.complete:
                    continue
            elif items := self._inbox.unread:
                now = trio.current_time()
                hold_until = min(hold_until, now + cooldown_s, give_up_at)
                if now >= hold_until or any(map(self._inbox.is_direct, items)):
                    count = min(self._fitting(items), PAGE_ITEMS_MAX)
                    self._inbox.offer(call.id, count, late=now > foreground_until)
                    return Waited(items[:count])
            if trio.current_time() >= give_up_at:
                return Waited(reason="timeout")
            with trio.move_on_at(min(hold_until, give_up_at)):
                await news.wait()

    async def _ask(self, call: Call, turn: object, give_up_at: float, foreground_until: float) -> Sequence[wire.Item]:
        """Too much is unread to keep it here: the first page of it from the hub. Empty while the hub is away."""
        dropped = self._inbox.dropped
        read = wire.Read(id=self._link.new_id(), unread=True, limit=PAGE_ITEMS_MAX)
        try:
            page = await self._link.read(read, deadline=give_up_at)
        except Refused as refused:
            if refused.code is Code.UNAVAILABLE:
                return ()
            raise
        if turn is not self._turn:
            return ()
        self._inbox.offer_page(call.id, page, dropped=dropped, late=trio.current_time() > foreground_until)
        return page.items


async def _report_progress(call: Call, timeout_s: float) -> None:
    """Now and then, so that a client with an idle limit knows that the call lives. Ends by cancel."""
    began = trio.current_time()
    while True:
        await call.progress(round(trio.current_time() - began, 1), timeout_s, "waiting for messages")
        await trio.sleep(PROGRESS_INTERVAL_S)
