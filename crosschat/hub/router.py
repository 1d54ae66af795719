"""Brings operations to the writer and what it committed to the readers.

Owns the state, the presence table and the list of who reads. Invariant: the state changes only in `apply`, called by
the writer with what is durable, and nobody is told of a record before. Nothing here waits for a reader: each has its
own delivery, which is offered what was just committed and otherwise catches up from the feed by itself. A crash loses
presence and nothing else.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Protocol

import attrs
import trio

from crosschat.core import views
from crosschat.core.handle import Effects, Operation, conflict_keys, handle
from crosschat.core.ledger import Entry
from crosschat.core.presence import Spent
from crosschat.errors import Code, Refused
from crosschat.hub.resuming import Told
from crosschat.hub.waiters import Waiters
from crosschat.journal import writer
from crosschat.model import Clear, Pause
from crosschat.websocket import text_frame
from crosschat.wire import Activity, Cleared, Done, Error, HubFrame, Sent, Waking, encode, encode_batch, to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from crosschat.core.presence import Presence
    from crosschat.core.requests import Request
    from crosschat.core.state import State
    from crosschat.hub.events import EventLog
    from crosschat.hub.log import Logger
    from crosschat.journal.feed import Feed
    from crosschat.model import Actor, AnyRecord, Slot
    from crosschat.pagewire import EventKind
    from crosschat.wire import Page, Search


@attrs.frozen
class Piece:
    """A committed record that readers may see, encoded once for all of them."""

    entry: Entry
    json: bytes


class Fresh:
    """What one sync committed: seqs `first`..`last`. Its frames are built once for readers that get the same items."""

    def __init__(self, first: int, last: int, pieces: Sequence[Piece]) -> None:
        self.first = first
        self.last = last
        self.pieces = pieces
        self._all = tuple(range(len(pieces)))
        self._authors = {piece.entry.author for piece in pieces}
        self._for_all = all(piece.entry.audience.to is None for piece in pieces)
        self._frames: dict[tuple[int, tuple[int, ...]], bytes] = {}

    def frame(self, from_seq: int, agent: str) -> bytes | None:
        """The frame for `agent`, who was told everything before `from_seq`; None if nothing concerns it."""
        if self._for_all and agent not in self._authors:  # most often
            wanted = self._all
        else:
            wanted = tuple(row for row, piece in enumerate(self.pieces) if concerns(piece.entry, agent))
        if not wanted:
            return None
        frame = self._frames.get((from_seq, wanted))
        if frame is None:
            frame = text_frame(encode_batch(from_seq, self.last, (self.pieces[row].json for row in wanted)))
            self._frames[from_seq, wanted] = frame
        return frame


def concerns(entry: Entry, agent: str) -> bool:
    """Whether a record is delivered to `agent`: it is meant for it and not its own."""
    return entry.author != agent and entry.audience.reaches(agent)


class Reader(Protocol):
    """Somebody who gets what is committed."""

    def offer(self, fresh: Fresh) -> None:
        """Take it without waiting, or catch up later. Never raises."""

    def note(self, frame: bytes) -> None:
        """Take a ready frame beside the deliveries, if there is room. Never waits, never raises."""


class Finder(Protocol):
    """`Searching`."""

    @property
    def behind(self) -> int: ...
    @property
    def trouble(self) -> str | None: ...
    async def find(self, who: Actor, search: Search) -> Page: ...


class Router:
    """The hub's middle. All methods run in the trio thread; none of them waits except `submit` and `ask`."""

    def __init__(
        self,
        *,
        state: State,
        presence: Presence,
        feed: Feed,
        operations: trio.MemorySendChannel[writer.Operation],
        clock_ms: Callable[[], int],
        log: Logger,
        events: EventLog | None = None,
    ) -> None:
        self.state = state
        self.presence = presence
        self.feed = feed
        self.clock_ms = clock_ms
        self._operations = operations
        self._log = log
        self.finder: Finder | None = None  # who looks for words; None: this Python has no SQLite
        self._events = events
        self.waiters = Waiters(self.tell_activity)
        self.told = Told()
        self._readers: dict[object, Reader] = {}
        self._said = trio.Event()
        self.counts: Counter[str] = Counter()  # since the start, for people; see `metrics`
        self._busy = 0
        self._activity = trio.Event()

    # --- for the writer

    def decide(self, who: Actor, frame: object, slot: Slot) -> Effects:
        return handle(self.state, self.presence, who, frame, slot)  # type: ignore[arg-type]  # only ours are submitted

    def keys(self, who: Actor, frame: object) -> frozenset[str]:
        return conflict_keys(self.state, who, frame)  # type: ignore[arg-type]

    def apply(self, record: AnyRecord) -> None:
        self.state.apply(record)
        if isinstance(record, Pause):
            self.tell_activity(record.agent)
        elif isinstance(record, Clear):
            self._tell_all(Cleared(upto=self.state.cleared_upto))
        self._note_event(record)

    def publish(self, committed: Sequence[writer.Committed]) -> None:
        """Wake the readers. Called by the writer after what it committed was applied and acked."""
        if not committed:
            return
        self.feed.append(committed)
        pieces = [piece for one in committed if (piece := self.piece(one.record)) is not None]
        fresh = Fresh(committed[0].record.seq, committed[-1].record.seq, pieces)
        for reader in tuple(self._readers.values()):
            reader.offer(fresh)

    def event(self, kind: EventKind, text: str, *, agent: str | None = None, name: str | None = None) -> None:
        """Enter something into the activity log, if there is one."""
        if self._events is not None:
            self._events.add(kind, text, agent=agent, name=name)

    def _note_event(self, record: AnyRecord) -> None:
        """What of the log belongs into the activity log as well: what nobody gets as a message."""
        by = self.state.name_of(record.by)
        if isinstance(record, Pause):
            kind: EventKind = "paused" if record.paused else "resumed"
            name = self.state.name_of(record.agent)
            self.event(kind, f"{name} is {kind}, by {by}", agent=record.agent, name=name)
        elif isinstance(record, Clear) and record.undo:
            self.event("restored", f"earlier messages are back in the channel, by {by}")
        elif isinstance(record, Clear):
            self.event("cleared", f"earlier messages left the channel, by {by}")

    def defect(self, error: BaseException) -> None:
        self.counts["defects"] += 1
        self._log.error("defect", error=repr(error), exc_info=error)

    # --- for the doors

    def piece(self, record: AnyRecord) -> Piece | None:
        """The record for readers, or None if it is not for them."""
        entry = self.state.ledger.get(record.seq)
        item = views.item_of(self.state, record) if entry is not None else None
        return Piece(entry, to_json(item)) if entry is not None and item is not None else None

    async def submit(self, who: Actor, frame: Operation, settle: Callable[[Effects | Refused], None]) -> None:
        """Queue an operation; `settle` is called once, when it is durable or refused. Waits while the queue is full."""
        operation = writer.Operation(who, frame, settle)  # type: ignore[arg-type]
        try:
            try:
                self._operations.send_nowait(operation)
            except trio.WouldBlock:
                await self._operations.send(operation)
        except (trio.BrokenResourceError, trio.ClosedResourceError):  # the writer has ended, and the hub with it
            settle(unavailable())

    async def ask(self, who: Actor, frame: Operation) -> Effects:
        """Have an operation carried out. Raises Refused. Cancelled, it may have been carried out or not."""
        done = trio.Event()
        outcomes: list[Effects | Refused] = []

        def settle(outcome: Effects | Refused) -> None:
            outcomes.append(outcome)
            done.set()

        await self.submit(who, frame, settle)
        await done.wait()
        if isinstance(outcomes[0], Refused):
            raise outcomes[0]
        return outcomes[0]

    async def find(self, who: Actor, search: Search) -> Page:
        """A page of search results. Raises Refused. Cancel-safe."""
        if self.finder is None:
            raise Refused(Code.UNAVAILABLE, "Search is off: the Python that the hub runs on has no module sqlite3.")
        return await self.finder.find(who, search)

    def answer(self, frame: Request, outcome: Effects | Refused) -> Sent | Done | Error:
        """The frame that tells the asker."""
        if isinstance(outcome, Refused):
            return error_frame(frame.id, outcome)
        return views.answer(self.state, self.presence, frame, outcome.seq)

    @property
    def queued(self) -> int:
        return self._operations.statistics().current_buffer_used

    def attach(self, key: object, reader: Reader) -> Reader | None:
        """Have `reader` offered what is committed; returns the one it takes the place of."""
        before = self._readers.get(key)
        self._readers[key] = reader
        return before

    def detach(self, key: object, reader: Reader) -> bool:
        """The opposite; False if another has taken its place already."""
        if self._readers.get(key) is not reader:
            return False
        del self._readers[key]
        return True

    def tell_activity(self, agent: str, *, turn_ended: bool = False) -> None:
        """Let the bridge of `agent` know what its hooks said."""
        reader = self._readers.get(agent)
        live = self.presence.of(agent)
        if reader is not None:
            said = Activity(
                state=live.activity,
                mode=live.mode,
                paused=self._is_paused(agent),
                hook=agent in self.waiters,
                turn_ended=turn_ended,
                announced=live.announced,
            )
            reader.note(text_frame(encode(said)))

    def take_waking(self, agent: str, said: Waking) -> None:
        """The bridge of `agent` said how its session is woken, and what it was told."""
        now_ms = self.clock_ms()
        self.presence.reach(
            agent,
            wake=said.wake,
            way=said.way,
            hooks=said.hooks,
            rung=said.announced,
            budget_until_ms=0 if said.budget_s is None else now_ms + said.budget_s * 1000,
        )
        self.presence.spend(
            agent,
            Spent(rings=said.rings, ring_bytes=said.ring_bytes, replies=said.replies, reply_bytes=said.reply_bytes),
        )
        if not said.hooks:
            self.waiters.dismiss(agent)
        if said.idle and self.presence.activity_of(agent, now_ms) == "working":
            self.presence.act(agent, activity="idle", now_ms=now_ms)
            self.tell_activity(agent)
        self._said.set()
        self._said = trio.Event()

    async def next_waking(self) -> None:
        """Return when a bridge said something of that kind."""
        await self._said.wait()

    def tell(self, agent: str, frame: bytes) -> None:
        """Give the bridge of `agent` a frame beside the deliveries."""
        if (reader := self._readers.get(agent)) is not None:
            reader.note(frame)

    def _is_paused(self, agent: str) -> bool:
        known = self.state.agents.get(agent)
        return known is not None and known.paused

    def _tell_all(self, frame: HubFrame) -> None:
        self.farewell(text_frame(encode(frame)))

    def farewell(self, frame: bytes) -> None:
        """Give every reader a frame beside the deliveries."""
        for reader in tuple(self._readers.values()):
            reader.note(frame)

    # --- for the idle stop

    def enter(self) -> None:
        """Somebody needs the hub from here on, until `leave`."""
        self._busy += 1
        self._stir()

    def leave(self) -> None:
        self._busy -= 1
        self._stir()

    def _stir(self) -> None:
        self._activity.set()
        self._activity = trio.Event()

    @property
    def busy(self) -> bool:
        return self._busy > 0

    async def next_activity(self) -> None:
        """Return when somebody came or went."""
        await self._activity.wait()


def error_frame(request: str | None, refused: Refused) -> Error:
    return Error(
        id=request,
        code=refused.code,
        message=refused.message,
        path=refused.path,
        retry_after_ms=refused.retry_after_ms,
    )


def unavailable() -> Refused:
    return Refused(Code.UNAVAILABLE, "The hub is stopping; it starts again with the next request.", retry_after_ms=500)
