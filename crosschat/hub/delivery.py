"""Delivery to one connected agent: a cursor into the one log, live when it can be and catching up when it cannot.

`covered` is what was looked through for the agent, `told` what it knows it was told; between them lies only what does
not concern it. A live reader gets each fresh frame posted as it is committed. One that reads slowly, or that was
away, is behind: its task waits until its bytes have left, and goes on from the feed. Both are the same cursor, so
nothing is left out or repeated at the seam, and a slow reader costs one integer and a bounded buffer. No frame is
larger than the protocol allows: what was committed at once and does not fit is caught up with in parts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

import trio

from crosschat.hub.router import Fresh, Router, concerns
from crosschat.limits import FRAME_BYTES
from crosschat.websocket import Closed, Connection, text_frame
from crosschat.wire import encode_batch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from crosschat.core.ledger import Entry

CATCH_UP_RECORDS: Final = 32  # some milliseconds of work: whoever waits for an ack waits for it, too
CATCH_UP_BYTES: Final = 128 * 1024
ITEMS_BYTES: Final = FRAME_BYTES - 1024  # beside them a batch has some 100 bytes


async def next_items(router: Router, after: int, wanted: Callable[[Entry], bool]) -> tuple[int, list[bytes]]:
    """What follows `after` in the log: up to which seq was looked, and the encoded items that were wanted, which fit
    one frame together. Raises Refused while the log cannot be read. Cancel-safe."""
    upto = router.feed.head  # from before the wait: what is published meanwhile was not looked at
    records = await router.feed.after(after, CATCH_UP_RECORDS, CATCH_UP_BYTES)
    items: list[bytes] = []
    size = 0
    for record in records:
        piece = router.piece(record)
        if piece is not None and wanted(piece.entry):
            size += len(piece.json) + 1
            if items and size > ITEMS_BYTES:
                return record.seq - 1, items
            items.append(piece.json)
    return records[-1].seq if records else upto, items


async def follow(router: Router, seq: int, send: Callable[[bytes, int], Awaitable[None]]) -> NoReturn:
    """Give `send` a batch of everything that readers may see, from behind `seq` on, and up to where it goes; also one
    without items, so that who follows sees how far it is. Ends with what `send` or the log raises."""
    while True:
        await router.feed.wait_beyond(seq)
        upto, items = await next_items(router, seq, _everything)
        await send(encode_batch(seq + 1, upto, items), upto)
        seq = upto


def _everything(_: Entry) -> bool:
    return True


class Delivery:
    """What `agent` still has to be told over `connection`, from `after_seq` on."""

    def __init__(self, router: Router, connection: Connection, agent: str, after_seq: int) -> None:
        self._router = router
        self._connection = connection
        self._agent = agent
        self.covered = after_seq
        self.told = after_seq
        self._behind = trio.Event()

    @property
    def unsent_bytes(self) -> int:
        return self._connection.unsent_bytes

    def offer(self, fresh: Fresh) -> None:
        """Called by the router with what was just committed. Never waits, never raises."""
        if self.covered != fresh.first - 1 or not self._connection.idle:
            self._behind.set()
            return
        frame = fresh.frame(self.told + 1, self._agent)
        if frame is not None and len(frame) > FRAME_BYTES:
            self._behind.set()
            return
        self.covered = fresh.last
        if frame is not None:
            try:
                self._connection.post(frame)
            except Closed:
                return  # the peer's own tasks notice and end it
            self._told(fresh.last)

    def _told(self, upto: int) -> None:
        self._router.counts["frames"] += 1
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
        upto, wanted = await next_items(self._router, self.covered, self._is_due)
        self.covered = upto
        if wanted:
            self._connection.post(text_frame(encode_batch(self.told + 1, upto, wanted)))
            self._told(upto)

    def _is_due(self, entry: Entry) -> bool:
        """Whether what is caught up with is still unread: not shown on a page meanwhile, not cleared."""
        state = self._router.state
        agent = state.agents[self._agent]
        return concerns(entry, self._agent) and entry.seq not in agent.shown and not state.cleared(entry)
