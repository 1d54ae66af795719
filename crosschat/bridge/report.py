"""What the hub is told of the waking: the way it goes, what was announced, and what it all cost.

One frame says it; it is sent when something in it is new, and again on every new connection, but not before the client
has said what it is: hooks that came early wait for this word. Counts that were not sent stay until they are. Nothing
here waits, and nothing depends on it but what people and hooks are shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from crosschat import wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from crosschat.bridge.bells import Bells
    from crosschat.bridge.client import Link
    from crosschat.bridge.doorbell import Ring


class Report:
    """`budget_s` says for how long the wake budget is used up, if it is."""

    def __init__(self, link: Link, bells: Bells, *, budget_s: Callable[[], int | None] = lambda: None) -> None:
        self._announced = self._earlier = 0
        self._link, self._bells, self._budget_s = link, bells, budget_s
        self._unsent = wire.Waking(wake=bells.mode, way=bells.way)  # its counts
        self._sent: wire.Waking | None = None  # without counts
        self._connection: wire.Welcome | None = None  # on which that was said

    def count(self, *, rings: int = 0, ring_bytes: int = 0, replies: int = 0, reply_bytes: int = 0) -> None:
        """The session was told something."""
        known = self._unsent
        self._unsent = attrs.evolve(
            known,
            rings=known.rings + rings,
            ring_bytes=known.ring_bytes + ring_bytes,
            replies=known.replies + replies,
            reply_bytes=known.reply_bytes + reply_bytes,
        )
        self.post()

    def ringing(self, upto: int) -> None:
        """A ring is about to tell of what is unread up to there. It is said now: the hook of the turn that the ring
        begins must not tell it again."""
        self._earlier, self._announced = self._announced, upto
        self.post()

    def rung(self, ring: Ring | None) -> None:
        """The ring was taken, or (None) was not."""
        if ring is not None:
            self.count(rings=1, ring_bytes=len(ring.content.encode()))
        else:
            self._announced = self._earlier
            self.post()

    def post(self, *, idle: bool = False) -> None:
        """Say what is new. `idle`: nothing goes on in the session, whatever its hooks said last."""
        link, bells = self._link, self._bells
        if not link.connected or not bells.met:
            return
        if self._connection is not link.welcome:
            self._connection, self._sent = link.welcome, None
        said = wire.Waking(
            wake=bells.mode, way=bells.way, hooks=bells.hooks, announced=self._announced, budget_s=self._budget_s()
        )
        counted = self._unsent.rings or self._unsent.replies
        if said == self._sent and not counted and not idle:
            return
        self._sent = said
        link.post(
            attrs.evolve(
                said,
                idle=idle,
                rings=self._unsent.rings,
                ring_bytes=self._unsent.ring_bytes,
                replies=self._unsent.replies,
                reply_bytes=self._unsent.reply_bytes,
            )
        )
        self._unsent = wire.Waking(wake=bells.mode, way=bells.way)
