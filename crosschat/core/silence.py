"""Tells senders that what they wrote is not read: a message of the system to them, once for each message. Pure.

The same patience as of "Needs you" decides when (`attention.Patience`). One notice names all that is overdue by then,
and the next one comes no sooner than after as long a time again, so a session that goes on writing to one that is gone
is not told all the time. A notice is chitchat: it is in the sender's next read or wait, and rings no bell. What it
covers is in the log (`unreadUpto`), so a restart does not repeat it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from crosschat.core.attention import Readers, overdue
from crosschat.core.ids import make_id
from crosschat.model import SYSTEM, Message

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crosschat.core.ledger import Entry
    from crosschat.core.presence import Presence
    from crosschat.core.state import Agent, State
    from crosschat.model import Slot

MESSAGES_NAMED: Final = 10
READERS_NAMED: Final = 5


@attrs.frozen
class ReportSilence:
    """Tell `agent` what of its messages was not read for so long."""

    agent: str
    unread_s: float


def uninformed(state: State, presence: Presence, now_ms: int, unread_s: float) -> Iterator[str]:
    """Agents that are there and have to be told; who is away is told when it is back, if it is still so then."""
    writers = {agent: state.agents[agent] for agent in presence.connected if agent in state.agents}
    late = {
        agent.id for agent in writers.values() if not agent.given_up and not _was_told(state, agent, now_ms, unread_s)
    }
    if not late:
        return
    readers = Readers(state)
    for entry in overdue(state, now_ms, unread_s):
        if entry.author in late and entry.seq > writers[entry.author].told_upto and readers.silent(entry):
            late.discard(entry.author)
            yield entry.author


def _was_told(state: State, agent: Agent, now_ms: int, unread_s: float) -> bool:
    """Whether that was less than `unread_s` ago."""
    notice = state.ledger.get(agent.told_in)
    return notice is not None and now_ms / 1000 - notice.at_s <= unread_s


def report(state: State, presence: Presence, frame: ReportSilence, slot: Slot) -> tuple[Message, ...]:
    """The notice, or nothing if there is nothing to tell any more."""
    agent = state.agents.get(frame.agent)
    if agent is None or _was_told(state, agent, slot.now_ms, frame.unread_s):
        return ()
    readers = Readers(state)
    found = [
        (entry, silent)
        for entry in overdue(state, slot.now_ms, frame.unread_s)
        if entry.author == agent.id and entry.seq > agent.told_upto and (silent := readers.silent(entry))
    ]
    if not found:
        return ()
    lines = [_line(state, presence, entry, silent) for entry, silent in reversed(found)]
    more = [f"and {len(lines) - MESSAGES_NAMED} more"] if len(lines) > MESSAGES_NAMED else []
    since = f"{frame.unread_s / 60:g} min" if frame.unread_s >= 60 else f"{frame.unread_s:g} s"
    text = "\n".join([f"Not read for more than {since}:", *lines[:MESSAGES_NAMED], *more])
    return (
        Message(
            seq=slot.seq,
            id=make_id("m", state.epoch, slot.seq),
            ts=slot.now_ms,
            by=SYSTEM,
            content=text,
            source="system",
            to=(agent.id,),
            private=True,
            importance="chitchat",
            metadata={"unreadUpto": found[0][0].seq},
        ),
    )


def _line(state: State, presence: Presence, entry: Entry, silent: list[Agent]) -> str:
    names = [f"{one.name} ({'here' if one.id in presence.connected else 'away'})" for one in silent[:READERS_NAMED]]
    if len(silent) > READERS_NAMED:
        names.append(f"{len(silent) - READERS_NAMED} more")
    return f"{state.message_id(entry.seq)} by {', '.join(names)}"
