"""Which records make a page of history: a choice of seqs, made from the ledger alone; the texts are read after it.

A page is the newest `limit` of a series, or the ones next to an anchor; of what is unread it is the oldest. Conditions
add up: what is unread in a thread, or what has a badge there. Every series is filtered by what the reader may read;
the person reads everything. An anchor that does not exist is an error, never "everything".
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

import attrs

from crosschat.core.requests import readable, thread_root
from crosschat.core.unread import unread
from crosschat.core.views import badges_of
from crosschat.errors import Code, Refused
from crosschat.limits import PAGE_ITEMS_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from crosschat.core.ledger import Entry
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
    root = thread_root(state, who, read.thread, path="threadId").seq if read.thread is not None else None
    badge = parse_badge(read.badge) if read.badge is not None else None
    series, first = _series(state, who, read, root, anchor)

    def wanted(seq: int) -> bool:
        entry = state.ledger.get(seq)
        if entry is None or (who.source == "agent" and not entry.readable_by(who.id)):
            return False
        if root is not None and root not in (entry.seq, entry.root):
            return False
        return badge is None or _has_badge(state, entry, *badge)

    return _page(series, wanted, anchor, read, first=first, from_start=read.unread and read.before is None)


def _series(state: State, who: Actor, read: Read, root: int | None, anchor: int | None) -> tuple[Sequence[int], int]:
    """The rising seqs to choose from, and the index of the first that counts."""
    if read.unread:
        agent = state.agents.get(who.id)
        return tuple(unread(state, agent)) if agent is not None else (), 0
    if root is not None:
        return (root, *state.threads.seqs(root)), 0
    if read.badge is not None:
        return sorted(state.tasks.keys() | state.badges.keys()), 0
    if anchor is None or anchor > state.cleared_upto:
        return state.channel, bisect_right(state.channel, state.cleared_upto)
    return state.channel, 0


def _anchor(state: State, who: Actor, read: Read) -> int | None:
    if read.before is not None:
        return readable(state, who, read.before, path="before").seq
    if read.after is not None:
        return readable(state, who, read.after, path="after").seq
    return None


def parse_badge(badge: str) -> tuple[str, str | None]:
    """Type and value of `type` or `type:value`. Raises Refused."""
    kind, colon, value = badge.partition(":")
    if not kind:
        raise Refused(Code.INVALID, "badge is `type` or `type:value`, such as task:open.", path="badge")
    return kind, value if colon else None


def _has_badge(state: State, entry: Entry, kind: str, value: str | None) -> bool:
    """Whether the message that the entry is, or is about, has such a badge."""
    message = entry.seq if entry.kind in ("message", "reply") else entry.root
    return any(found.type == kind and value in (None, found.value) for found in badges_of(state, message))


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
