"""Which records make a page of history: a choice of seqs, made from the ledger alone; the texts are read after it.

A page is the newest `limit` of a series, or the ones next to an anchor. Every series is filtered by what the reader may
read; the person reads everything. An anchor that does not exist is an error, never "everything".
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

import attrs

from crosschat.core.requests import readable
from crosschat.core.unread import unread
from crosschat.core.views import badges_of
from crosschat.errors import Code, Refused
from crosschat.limits import PAGE_ITEMS_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from crosschat.core.state import State
    from crosschat.model import Actor
    from crosschat.wire import Read


@attrs.frozen
class Selection:
    """Seqs of a page, rising. `earlier` and `later`: the series goes on there. `from_start`: if the page is too large
    to send, its end is cut, else its beginning."""

    seqs: tuple[int, ...]
    earlier: bool = False
    later: bool = False
    from_start: bool = False


def select(state: State, who: Actor, read: Read) -> Selection:
    """The page that `read` asks for. Raises Refused for an unknown id or a value out of range."""
    if not 1 <= read.limit <= PAGE_ITEMS_MAX:
        raise Refused(Code.INVALID, f"limit is {read.limit}; it goes from 1 to {PAGE_ITEMS_MAX}.", path="limit")
    if read.before is not None and read.after is not None:
        raise Refused(Code.INVALID, "Give before or after, not both.", path="before")
    if read.offset < 0:
        raise Refused(Code.INVALID, "offset is negative.", path="offset")
    if read.message is not None:
        return Selection((readable(state, who, read.message, path="messageId").seq,))
    anchor = _anchor(state, who, read)
    if read.unread:
        agent = state.agents.get(who.id)
        series: Sequence[int] = tuple(unread(state, agent)) if agent is not None else ()
        return _page(series, _all, anchor, read, from_start=read.before is None)

    def may_read(seq: int) -> bool:
        entry = state.ledger.get(seq)
        return entry is not None and (who.source != "agent" or entry.readable_by(who.id))

    if read.thread is not None:
        root = state.root_of(readable(state, who, read.thread, path="threadId"))
        thread = state.threads.get(root.seq)
        return _page((root.seq, *(thread.seqs if thread is not None else ())), may_read, anchor, read)
    if read.badge is not None:
        return _page(_with_badge(state, read.badge), may_read, anchor, read)
    channel = state.channel
    if anchor is None or anchor > state.cleared_upto:
        return _page(channel, may_read, anchor, read, first=bisect_right(channel, state.cleared_upto))
    return _page(channel, may_read, anchor, read)


def _all(_: int) -> bool:
    return True


def _anchor(state: State, who: Actor, read: Read) -> int | None:
    if read.before is not None:
        return readable(state, who, read.before, path="before").seq
    if read.after is not None:
        return readable(state, who, read.after, path="after").seq
    return None


def _with_badge(state: State, badge: str) -> Sequence[int]:
    kind, colon, value = badge.partition(":")
    if not kind:
        raise Refused(Code.INVALID, "badge is `type` or `type:value`, such as task:open.", path="badge")
    marked: Iterable[int] = state.tasks if kind == "task" else state.badges
    return sorted(
        seq
        for seq in marked
        if any(found.type == kind and (not colon or found.value == value) for found in badges_of(state, seq))
    )


def _page(
    series: Sequence[int],
    wanted: Callable[[int], bool],
    anchor: int | None,
    read: Read,
    *,
    first: int = 0,
    from_start: bool = False,
) -> Selection:
    """`limit` wanted seqs of the rising `series`, from index `first` on."""
    if read.after is not None and anchor is not None:
        begin, from_start = max(first, bisect_right(series, anchor)), True
        end = len(series)
    else:
        begin = first
        end = bisect_left(series, anchor) if anchor is not None else len(series)
    forwards = (series[row] for row in range(begin, end))
    backwards = (series[row] for row in range(end - 1, begin - 1, -1))
    found = _take(filter(wanted, forwards if from_start else backwards), read.limit + 1)
    more = len(found) > read.limit
    page = found[: read.limit] if from_start else found[: read.limit][::-1]
    return Selection(
        tuple(page),
        earlier=(read.after is not None) if from_start else more,
        later=more if from_start else anchor is not None,
        from_start=from_start,
    )


def _take(seqs: Iterator[int], count: int) -> list[int]:
    return [seq for _, seq in zip(range(count), seqs, strict=False)]
