"""What the hub delivered and the agent's model has not been shown, in order. Pure: no task, no clock, no socket.

Invariants
    kept       while `complete`, `unread` is every delivered item behind `cursor` that was not shown singly. The
               buffer is bounded; what overflows is dropped here and stays in the hub, and until a page of unread
               items has caught up, `complete` is false and the hub has to be asked.
    order      batches follow each other without a hole: `from_seq` is always the next expected number. A hole is
               reported, never skipped, and the connection resumes behind the last good number.
    shown      a result that left for the client is only *offered*. The next call proves that it was read and
               confirms it, and so does the end of the turn, unless the call may have ended in the background: then
               the end of the next one. A call that the client cancelled is withdrawn, so its items come again.

A crash loses nothing: the hub has the items, and its own cursor moves only by confirmed marks.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from crosschat.wire import Batch, Confirm, Item, Mark, Page, Welcome

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

INBOX_ITEMS: Final = 500
INBOX_CHARS: Final = 512 * 1024
SINGLES_KEPT: Final = 256  # single confirmations that are repeated after a lost connection
OFFERS_KEPT: Final = 64  # results that no later call has confirmed yet

CallId = str | int


class Inbox:
    """See the module. `agent` is our id, once the hub has said it."""

    def __init__(self, *, items_max: int = INBOX_ITEMS, chars_max: int = INBOX_CHARS) -> None:
        self.agent = ""
        self.epoch: str | None = None
        self.cursor = 0
        self.last_seq = 0  # all up to it was delivered, or does not concern us
        self.last_item: tuple[int, str] | None = None  # number and time of the last delivered item, as the hub said
        self._items: deque[tuple[Item, int]] = deque()  # with its share of the frame, in characters
        self._chars = 0
        self._items_max, self._chars_max = items_max, chars_max
        self._dropped = 0  # counts overflows
        self._caught_up = 0  # the overflows that a page has made good
        self._singles: deque[int] = deque(maxlen=SINGLES_KEPT)
        self._offers: dict[CallId, Confirm] = {}
        self._made_good: set[CallId] = set()  # the calls of them whose page made overflows good
        self._late: set[CallId] = set()  # those of them that the end of this turn does not prove
        self._cancelled: deque[CallId] = deque(maxlen=OFFERS_KEPT)

    # --- deliveries

    @property
    def complete(self) -> bool:
        return self._caught_up == self._dropped

    @property
    def dropped(self) -> int:
        """To be taken before the hub is asked for unread items, and given to `offer_page`."""
        return self._dropped

    @property
    def unread(self) -> Sequence[Item]:
        return [item for item, _ in self._items]

    @property
    def unseen(self) -> Sequence[Item]:
        """What is unread and not in the result of a call either, as far as it is kept here."""
        upto = max((offer.upto or 0 for offer in self._offers.values()), default=0)
        singles = {seq for offer in self._offers.values() for seq in offer.seqs}
        return [item for item, _ in self._items if item.seq > upto and item.seq not in singles]

    def is_direct(self, item: Item) -> bool:
        """It is meant for us by name, or is about a task or message of ours; not one for everybody."""
        if item.kind not in ("message", "reply"):
            return True
        return not item.here and item.to is not None and self.agent in item.to

    def add(self, batch: Batch, chars: int) -> bool:
        """Take a batch that came in a frame of so many characters. False: there is a hole before it."""
        if batch.from_seq > self.last_seq + 1:
            return False
        shown = set(self._singles)
        share = chars // max(1, len(batch.items))
        if batch.items:
            self.last_item = (batch.items[-1].seq, batch.items[-1].ts)
        for item in batch.items:
            if item.seq > max(self.cursor, self.last_seq) and item.seq not in shown:
                self._items.append((item, share))
                self._chars += share
        self.last_seq = max(self.last_seq, batch.to_seq)
        if len(self._items) > self._items_max or self._chars > self._chars_max:
            self._overflow()
        return True

    def _overflow(self) -> None:
        """Keep nothing rather than the oldest: one page from the hub has them in order, without a seam."""
        self._dropped += 1
        self._keep(lambda item: False)

    def resume(self, welcome: Welcome) -> Mark | None:
        """Begin, or continue on a new connection; returns what that hub may not have heard about."""
        known = self.epoch == welcome.epoch and self.agent == welcome.agent
        if not known:  # another log or another agent: numbers mean something else
            self._items.clear()
            self._offers.clear()
            self._made_good.clear()
            self._late.clear()
            self._singles.clear()
            self.last_item = None
            self._chars = self.cursor = 0
            self._caught_up = self._dropped
        confirmed = self.cursor
        self.cursor = max(self.cursor, welcome.cursor)
        gap = welcome.after_seq > max(self.last_seq if known else 0, self.cursor)
        self.agent, self.epoch, self.last_seq = welcome.agent, welcome.epoch, welcome.after_seq
        if gap:
            self._overflow()
        self._keep(lambda item: self.cursor < item.seq <= welcome.after_seq)
        self.clear(welcome.cleared)
        singles = tuple(seq for seq in self._singles if seq > welcome.cursor)
        if confirmed > welcome.cursor or singles:
            return Mark(upto=confirmed if confirmed > welcome.cursor else None, seqs=singles)
        return None

    def clear(self, upto: int) -> None:
        """Messages to everybody up to `upto` left the default reads; what is meant for us stays."""
        self._keep(lambda item: item.seq > upto or item.kind != "message" or (item.to is not None and not item.here))

    # --- what was shown

    def offer(self, call: CallId, count: int, *, late: bool = False) -> None:
        """The first `count` unread items are in the result of `call`. Only while `complete`. `late`: the call may have
        been moved to the background, so that its result comes after this turn."""
        rest = self.unread[count:]
        self._offer(call, Confirm(upto=rest[0].seq - 1 if rest else self.last_seq), late=late)

    def offer_page(self, call: CallId, page: Page, *, dropped: int | None = None, late: bool = False) -> None:
        """The page is in the result of `call`. With `dropped`: it is one of unread items, asked for when that many
        overflows had happened; if it leaves none unread, it makes them good. `late` as for `offer`."""
        if dropped is not None and page.unread == 0 and call not in self._cancelled:
            self._caught_up = max(self._caught_up, dropped)
            self._made_good.add(call)
        if page.confirm is not None:
            self._offer(call, page.confirm, late=late)

    def _offer(self, call: CallId, confirm: Confirm, *, late: bool) -> None:
        if call not in self._cancelled:
            self._offers[call] = confirm
            self._late.update([call] if late else [])
        if len(self._offers) > OFFERS_KEPT:
            self._retract(next(iter(self._offers)))  # not confirmed, so it comes again

    def withdraw(self, call: CallId) -> None:
        """The client cancelled `call`: if it has been answered already, nobody reads the answer."""
        self._cancelled.append(call)
        self._retract(call)

    def _retract(self, call: CallId) -> None:
        self._offers.pop(call, None)
        self._late.discard(call)
        if call in self._made_good:  # what that page showed is not kept here: ask again
            self._made_good.remove(call)
            self._dropped += 1

    def confirm(self, *, turn_ended: bool = False) -> Mark | None:
        """Another call came in, or the turn ended, so the answers before that were read. The mark tells the hub."""
        kept = {call: offer for call, offer in self._offers.items() if turn_ended and call in self._late}
        proven = [offer for call, offer in self._offers.items() if call not in kept]
        upto = max((offer.upto or 0 for offer in proven), default=0)
        cursor = max(self.cursor, upto)
        seqs = {seq for offer in proven for seq in offer.seqs if seq > cursor}
        self._offers = kept
        self._made_good.intersection_update(kept)
        self._late.clear()
        if upto <= self.cursor and not seqs:
            return None
        news, self.cursor = cursor > self.cursor, cursor
        self._singles.extend(sorted(seqs))
        self._keep(lambda item: item.seq > cursor and item.seq not in seqs)
        return Mark(upto=cursor if news else None, seqs=tuple(sorted(seqs)))

    def _keep(self, wanted: Callable[[Item], bool]) -> None:
        self._items = deque(entry for entry in self._items if wanted(entry[0]))
        self._chars = sum(share for _, share in self._items)
