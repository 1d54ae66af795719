"""Pages of history: the seqs chosen by the rules, read from memory or the log, cut to what fits a reply."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from crosschat.core import views
from crosschat.core.history import Selection, select
from crosschat.core.unread import confirmation
from crosschat.journal.store import Gap
from crosschat.limits import PAGE_CHARS
from crosschat.model import Actor, Resolve
from crosschat.wire import Item, Page, Read, to_json

if TYPE_CHECKING:
    from crosschat.hub.router import Router


async def read_page(router: Router, who: Actor, read: Read) -> Page:
    """Answer `read`. Raises Refused for an unknown id or a value out of range; changes nothing."""
    selection = select(router.state, who, read)
    records = await router.feed.get(selection.seqs)
    items = [
        item for record in records if not isinstance(record, Gap) and (item := views.item_of(router.state, record))
    ]
    if read.message is not None:
        items = [await _whole(router, who, item) for item in items]
    kept = _cut(items, read, selection)
    agent = router.state.agents.get(who.id) if who.source == "agent" else None
    confirm, left = None, 0
    if agent is not None:
        confirm, left = confirmation(router.state, agent, [item.seq for item in kept])
    return Page(
        id=read.id,
        items=tuple(kept),
        earlier=selection.earlier or (not selection.from_start and len(kept) < len(items)),
        later=selection.later or (selection.from_start and len(kept) < len(items)),
        unread=left,
        confirm=confirm,
    )


async def _whole(router: Router, who: Actor, item: Item) -> Item:
    """A single message with what only its own page shows: the result of its task, and for its author the receipts."""
    state = router.state
    task = state.tasks.get(item.seq)
    if task is not None and task.outcome is not None:
        (outcome,) = await router.feed.get([task.outcome])
        if isinstance(outcome, Resolve):
            item = attrs.evolve(item, task=views.task_of(state, item.seq, outcome))
    entry = state.ledger.get(item.seq)
    if entry is not None and (who.source != "agent" or entry.author == who.id):
        item = attrs.evolve(item, recipients=views.recipient_views(state, router.presence, entry))
    return item


def _cut(items: list[Item], read: Read, selection: Selection) -> list[Item]:
    """As many items as fit `PAGE_CHARS`, from the end the page is read from; always one, cut if it must be."""
    if read.offset and items:
        return [_clip(items[0], read.offset, PAGE_CHARS)]
    kept: list[Item] = []
    room = PAGE_CHARS
    for item in items if selection.from_start else reversed(items):
        size = size_of(item)
        if size > room:
            if not kept:
                kept.append(_clip(item, 0, PAGE_CHARS))
            break
        kept.append(item)
        room -= size
    return kept if selection.from_start else kept[::-1]


def _clip(item: Item, offset: int, room: int) -> Item:
    """The item with the part of its texts from `offset` on that fits.

    The texts of an item are its content and, where they were asked for, its task's result and error, one after the
    other; `offset` and `more` count through all of them. A change to a message is cut without that: its text is read
    with the message, from the beginning.
    """
    length = max(0, len(whole_text(item)) - offset)
    while True:
        clipped = window(item, offset, offset + length)
        if length == 0 or size_of(clipped) <= room:
            return clipped
        length = length * 3 // 4


def size_of(item: Item) -> int:
    """In characters of its JSON, which is what a page counts."""
    return len(to_json(item).decode())


def whole_text(item: Item) -> str:
    """Its texts, one after the other: what `offset` and `more` count through."""
    return "".join(_texts(item))


def window(item: Item, start: int, end: int) -> Item:
    """The item with the part of its texts from `start` to `end`."""
    texts = _texts(item)
    content, result, error = _slices(texts, start, end)
    more = end if end < sum(map(len, texts)) else None
    return attrs.evolve(
        item,
        content=content,
        task=attrs.evolve(item.task, result=result or None, error=error or None) if item.task is not None else None,
        offset=start,
        more=0 if more is not None and item.kind not in ("message", "reply") else more,
    )


def _texts(item: Item) -> tuple[str, str, str]:
    task = item.task
    return item.content, (task.result if task is not None else None) or "", (task.error if task else None) or ""


def _slices(texts: tuple[str, ...], start: int, end: int) -> tuple[str, ...]:
    """What of each text lies between the two positions of all of them in a row."""
    found: list[str] = []
    for text in texts:
        found.append(text[max(0, start) : max(0, end)])
        start, end = start - len(text), end - len(text)
    return tuple(found)
