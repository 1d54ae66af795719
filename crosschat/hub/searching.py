"""Search: an index that follows the log, and pages of what is found in it.

One task fills the index in rounds, behind the log and never in its way; searches and rounds take turns at the one
connection, so a round is small. An index that is damaged, or is of another log, is deleted and made again; meanwhile
a page says how many of the newest records it has not seen. Losing the index costs time and nothing else: every
candidate is asked of the state before it is shown, and its text is read from the log.
"""

from __future__ import annotations

import sqlite3
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar
from zlib import crc32

import attrs
import trio

from crosschat.core import search as rules
from crosschat.core import views
from crosschat.errors import Code, Refused
from crosschat.hub.pages import size_of, whole_text, window
from crosschat.journal.format import encode
from crosschat.journal.store import Gap
from crosschat.journal.textindex import Rewrite, Row, Version, is_damage, open_index, remove_index
from crosschat.limits import PAGE_CHARS
from crosschat.model import USER, About, Message, Reply, Resolve
from crosschat.wire import Item, Page

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from pathlib import Path

    from crosschat.core.search import Sought
    from crosschat.hub.log import Logger
    from crosschat.hub.router import Router
    from crosschat.journal.files import Files
    from crosschat.journal.textindex import TextIndex
    from crosschat.model import Actor, AnyRecord
    from crosschat.wire import Search

ROUND_RECORDS: Final = 512
ROUND_BYTES: Final = 256 * 1024
REWRITTEN: Final = 64  # rows that are changed together; each may have texts of the largest size
PAUSE_S: Final = 0.5  # between two rounds, unless somebody searches or a whole round waits
BACKOFF_S: Final = (1.0, 60.0)
FRESH_S: Final = 0.5  # so long a search waits for what was written just before it
FIND_S: Final = 5.0
WINDOW: Final = 100_000  # seqs that are looked through in one turn
CANDIDATES: Final = (64, 4096)  # looked up at once: at first, at most

Result = TypeVar("Result")


class Searching:
    """`upto`: the index has everything up to this seq. `trouble`: why it does not get on, if it does not."""

    def __init__(self, router: Router, directory: Path, files: Files, log: Logger) -> None:
        self._router = router
        self._directory = directory
        self._files = files
        self._log = log
        self._index: TextIndex | None = None
        self._turn = trio.CapacityLimiter(1)
        self._progress = trio.Event()
        self._wanted = trio.Event()
        self._spoilt = trio.Event()  # a search met damage
        self._waiting = 0  # searches that wait for a round
        self.upto = 0
        self.trouble: str | None = None

    @property
    def behind(self) -> int:
        """How many records the index has not seen yet."""
        return max(0, self._router.feed.head - self.upto)

    # --- filling

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the index up to date until cancelled; it goes on there at the next start."""
        task_status.started()
        delay = BACKOFF_S[0]
        try:
            while True:
                try:
                    if self._spoilt.is_set():
                        self._spoilt = trio.Event()
                        await self._discard()
                    written = await self._round(self._index or await self._open())
                    self.trouble, delay = None, BACKOFF_S[0]
                except (sqlite3.Error, OSError, Refused) as error:
                    await self._recover(error, delay)
                    delay = min(2 * delay, BACKOFF_S[1])
                else:
                    self._tell_progress()
                    if written < ROUND_RECORDS:
                        await self._pause()
        finally:
            with trio.CancelScope(shield=True):
                await self._close()

    async def _open(self) -> TextIndex:
        epoch = self._router.state.epoch
        index = await self._in_turn(lambda: open_index(self._directory, self._files, epoch))
        self._index = index
        if index.about.seq and await self._seal(index.about.seq) != index.about.seal:
            self._log.info("search index is of another log")
            await self._discard()
            return await self._open()
        self.upto = index.about.seq
        return index

    async def _seal(self, seq: int) -> str | None:
        """What the record `seq` of this log is known by; empty if it cannot be read, None beyond the end."""
        if seq > self._router.feed.head:
            return None
        (record,) = await self._router.feed.get([seq])
        return _seal_of(record)

    async def _recover(self, error: Exception, delay_s: float) -> None:
        self.trouble = f"{error.message if isinstance(error, Refused) else error}"
        self._log.warning("search index is behind", error=repr(error))
        self._tell_progress()  # who waits for it need not any more
        await self._close()
        if isinstance(error, sqlite3.Error) and is_damage(error):
            try:
                await self._discard()
            except OSError as stuck:
                self._log.warning("search index cannot be removed", error=repr(stuck))
            else:
                self._log.warning("search index was damaged and is made again")
                return
        await trio.sleep(delay_s)

    async def _discard(self) -> None:
        await self._close()
        self.upto = 0
        await self._in_turn(lambda: remove_index(self._directory, self._files))

    async def _close(self) -> None:
        if (index := self._index) is not None:
            self._index = None
            await self._in_turn(index.close)

    async def _pause(self) -> None:
        if not (self._waiting and self.behind):
            self._wanted = trio.Event()
            with trio.move_on_after(PAUSE_S):
                await self._wanted.wait()
        async with trio.open_nursery() as nursery:

            async def until(waiting: Callable[[], Awaitable[object]]) -> None:
                await waiting()
                nursery.cancel_scope.cancel()

            nursery.start_soon(until, partial(self._router.feed.wait_beyond, self.upto))
            nursery.start_soon(until, self._spoilt.wait)

    def _tell_progress(self) -> None:
        self._progress.set()
        self._progress = trio.Event()

    async def _round(self, index: TextIndex) -> int:
        """Take in what comes next; returns how many records that was."""
        router = self._router
        head = router.feed.head
        records = await router.feed.after(index.about.seq, ROUND_RECORDS, ROUND_BYTES)
        about = attrs.evolve(
            index.about,
            seq=records[-1].seq if records else max(head, index.about.seq),  # no record: the rest of the log is a gap
            seal=_seal_of(records[-1]) if records else "",
        )
        messages = {record.seq: record for record in records if isinstance(record, Message)}
        touched = sorted(self._touched(records) - messages.keys())
        for first in range(0, len(touched), REWRITTEN):
            await self._rewrite(index, touched[first : first + REWRITTEN])
        rows = await self._rows(messages)
        await self._in_turn(lambda: index.write(about, rows, ()))
        self.upto = about.seq
        return len(records)

    def _touched(self, records: Iterable[AnyRecord]) -> set[int]:
        """The messages whose badges or result may be others now."""
        state = self._router.state
        found: set[int] = set()
        for record in records:
            if isinstance(record, About) and (entry := state.message(record.target)) is not None:
                found.add(entry.seq)
            elif isinstance(record, Reply) and record.by == USER:
                questions = (state.message(asked) for asked in views.questions_in(state, record.root))
                found.update(entry.seq for entry in questions if entry is not None)
        return found

    async def _rows(self, messages: dict[int, Message]) -> list[Row]:
        added = {seq: task.outcome for seq in messages if (task := self._router.state.tasks.get(seq)) is not None}
        texts = await self._texts(outcome for outcome in added.values() if outcome)
        return [
            self._row(record, added.get(seq) or 0, texts.get(added.get(seq) or 0, ""))
            for seq, record in messages.items()
        ]

    async def _rewrite(self, index: TextIndex, seqs: Sequence[int]) -> None:
        state = self._router.state
        known = await self._in_turn(lambda: index.versions(seqs))
        before = {seq: known.get(seq, Version()) for seq in seqs}
        now: dict[int, Version] = {}
        for seq in seqs:
            task = state.tasks.get(seq)
            version = Version(rules.badge_marks(state, seq), (task.outcome if task is not None else None) or 0)
            if version != before[seq]:
                now[seq] = version
        outcomes = await self._texts({one.added for seq in now for one in (before[seq], now[seq]) if one.added})
        rewrites: list[Rewrite] = []
        for seq, record in zip(now, await self._router.feed.get(list(now)), strict=True):
            if isinstance(record, Message):  # and not a gap, where the log is damaged
                old, new = before[seq], now[seq]
                row = self._row(record, new.added, outcomes.get(new.added, ""))
                was = attrs.evolve(row, version=old, text=record.content + outcomes.get(old.added, ""))
                rewrites.append(Rewrite(was, row))
        await self._in_turn(lambda: index.write(index.about, (), rewrites))

    def _row(self, record: Message, added: int, more: str) -> Row:
        state = self._router.state
        entry = state.ledger.get(record.seq)
        lasting = rules.lasting_marks(entry) if entry is not None else ()
        version = Version(rules.badge_marks(state, record.seq), added)
        return Row(record.seq, record.content + more, lasting, version, record.ts // 1000)

    async def _texts(self, outcomes: Iterable[int]) -> dict[int, str]:
        """What tasks ended with, by the seq of the record that says so."""
        seqs = list(outcomes)
        records = await self._router.feed.get(seqs) if seqs else []
        return {
            record.seq: f"\n{record.result}\n{record.error or ''}" for record in records if isinstance(record, Resolve)
        }

    async def _in_turn(self, work: Callable[[], Result]) -> Result:
        return await trio.to_thread.run_sync(work, limiter=self._turn)

    # --- finding

    async def find(self, who: Actor, search: Search) -> Page:
        """Answer a search, newest first. Raises Refused: a value out of range, or no index for the moment."""
        wanted = rules.sought(self._router.state, who, search)
        head = self._router.feed.head
        await self._catch_up(head)
        found: list[int] = []
        with trio.move_on_after(FIND_S) as scope:
            found = await self._seqs(who, wanted)
        if scope.cancelled_caught:
            raise Refused(Code.UNAVAILABLE, "This search takes too long: name more words, a sender or shorter times.")
        items = await self._items(found[: wanted.limit], wanted)
        kept = _fitting(items)
        return Page(
            id=search.id,
            items=tuple(kept),
            earlier=len(found) > wanted.limit or len(kept) < len(items),
            behind=max(0, head - self.upto),
        )

    async def _catch_up(self, head: int) -> None:
        """Have what was just written searched, too, if that is soon."""
        self._wanted.set()
        self._waiting += 1
        try:
            with trio.move_on_after(FRESH_S):
                while self.upto < head and self.trouble is None:
                    await self._progress.wait()
        finally:
            self._waiting -= 1

    async def _seqs(self, who: Actor, wanted: Sought) -> list[int]:
        """One more than asked for, if there are so many.

        Looks at `WINDOW` seqs at a time: however common the words, a turn at the index is short, and this can be
        cancelled between two.
        """
        state, found = self._router.state, list[int]()
        first, end = await self._ask_index(lambda index: index.bounds(wanted.since_s, wanted.until_s))
        below, size = min(wanted.below, end, state.head + 1), CANDIDATES[0]
        while below > first:
            window = (max(first, below - WINDOW), below)
            candidates = await self._candidates(wanted, window, size)
            for seq in candidates:
                if rules.fits(state, who, wanted, seq):
                    found.append(seq)
                    if len(found) > wanted.limit:
                        return found
            below = candidates[-1] if len(candidates) == size else window[0]
            size = min(4 * size, CANDIDATES[1])
        return found

    async def _candidates(self, wanted: Sought, window: tuple[int, int], size: int) -> list[int]:
        first, below = window
        return await self._ask_index(
            lambda index: index.find(wanted.phrases, wanted.marks, first=first, below=below, limit=size)
        )

    async def _ask_index(self, question: Callable[[TextIndex], Result]) -> Result:
        index = self._index
        if index is None:
            why = f": {self.trouble}" if self.trouble else "; its index is being opened"
            raise Refused(Code.UNAVAILABLE, f"Search is not possible at the moment{why}.", retry_after_ms=1000)
        try:
            return await self._in_turn(lambda: question(index))
        except sqlite3.Error as error:
            self._log.warning("search failed", error=repr(error))
            if is_damage(error):
                self._spoilt.set()
            self._wanted.set()
            raise Refused(
                Code.UNAVAILABLE, f"The search index cannot be read ({error}).", retry_after_ms=1000
            ) from None

    async def _items(self, seqs: Sequence[int], wanted: Sought) -> list[Item]:
        """The messages as results: with the part of the text where the words are."""
        state = self._router.state
        records = await self._router.feed.get(seqs)
        tasks = {seq: task.outcome for seq in seqs if (task := state.tasks.get(seq)) is not None and task.outcome}
        outcomes = dict(zip(tasks, await self._router.feed.get(list(tasks.values())), strict=True))
        items: list[Item] = []
        for record in records:
            item = None if isinstance(record, Gap) else views.item_of(state, record)
            if item is None:
                continue
            outcome = outcomes.get(item.seq)
            if isinstance(outcome, Resolve):
                item = attrs.evolve(item, task=views.task_of(state, item.seq, outcome))
            items.append(window(item, *rules.excerpt(whole_text(item), wanted.phrases)))
        return items


def _fitting(items: Sequence[Item]) -> list[Item]:
    """As many as a page has room for; at least one, which is short enough."""
    kept: list[Item] = []
    room = PAGE_CHARS
    for item in items:
        room -= size_of(item)
        if kept and room < 0:
            break
        kept.append(item)
    return kept


def _seal_of(record: AnyRecord | Gap) -> str:
    """What a record is known by: another history has another one at its place."""
    return "" if isinstance(record, Gap) else f"{record.id} {crc32(encode(record)):08x}"
