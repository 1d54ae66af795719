"""Delivery to one connected agent: a cursor into the one log, live when it can be and catching up when it cannot.

`covered` is what was looked through for the agent, `told` what it knows it was told; between them lies only what does
not concern it. A live reader gets each fresh frame posted as it is committed. One that reads slowly, or that was
away, is behind: its task waits until its bytes have left, and goes on from the feed. Both are the same cursor, so
nothing is left out or repeated at the seam, and a slow reader costs one integer and a bounded buffer.
"""

from __future__ import annotations

from typing import Final

import trio

from crosschat.hub.router import Fresh, Router, concerns
from crosschat.websocket import Closed, Connection, text_frame
from crosschat.wire import encode_batch

CATCH_UP_RECORDS: Final = 512
CATCH_UP_BYTES: Final = 128 * 1024


class Delivery:
    """What `agent` still has to be told over `connection`, from `after_seq` on."""

    def __init__(self, router: Router, connection: Connection, agent: str, after_seq: int) -> None:
        self._router = router
        self._connection = connection
        self._agent = agent
        self.covered = after_seq
        self.told = after_seq
        self._behind = trio.Event()

    def offer(self, fresh: Fresh) -> None:
        """Called by the router with what was just committed. Never waits, never raises."""
        if self.covered != fresh.first - 1 or not self._connection.idle:
            self._behind.set()
            return
        frame = fresh.frame(self.told + 1, self._agent)
        self.covered = fresh.last
        if frame is not None:
            try:
                self._connection.post(frame)
            except Closed:
                return  # the peer's own tasks notice and end it
            self._told(fresh.last)

    def _told(self, upto: int) -> None:
        self.told = upto
        self._router.presence.offer(self._agent, upto)

    async def run(self) -> None:
        """Catch up whenever behind, until cancelled or closed. Raises Closed."""
        while True:
            while self.covered < self._router.feed.head:
                await self._connection.drained()
                if self._connection.closed:
                    raise Closed
                await self._catch_up()
            self._behind = trio.Event()
            if self.covered >= self._router.feed.head:
                await self._behind.wait()

    async def _catch_up(self) -> None:
        records = await self._router.feed.after(self.covered, CATCH_UP_RECORDS, CATCH_UP_BYTES)
        upto = records[-1].seq if records else self._router.feed.head
        pieces = [piece for record in records if (piece := self._router.piece(record)) is not None]
        wanted = [piece.json for piece in pieces if concerns(piece.entry, self._agent)]
        self.covered = upto
        if wanted:
            self._connection.post(text_frame(encode_batch(self.told + 1, upto, wanted)))
            self._told(upto)
