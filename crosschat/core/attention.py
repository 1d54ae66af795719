"""What needs the person, beside permissions: questions, messages that nobody reads, tasks that nobody moves. Pure.

A view of the moment, made from state, presence and clock; nothing is remembered, so a restart shows the same. Only
the last `LOOKED_AT` messages of the last `UNREAD_WINDOW_S` can be unread for long: what is older, or is for sessions
that never come back, would stay in the list for ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from crosschat.limits import SILENCE_S, STUCK_S
from crosschat.model import SYSTEM, iso
from crosschat.wire import Need

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crosschat.core.ledger import Entry
    from crosschat.core.presence import Presence
    from crosschat.core.state import Agent, State, Task
    from crosschat.model import ReleaseReason

LOOKED_AT: Final = 2000
UNREAD_WINDOW_S: Final = 24 * 3600
NEEDS: Final = 100  # the oldest of each kind are listed first; more than these nobody works off
UNEXPECTED: Final[tuple[ReleaseReason, ...]] = ("lease_expired", "reopened")


@attrs.frozen
class Patience:
    """How long a message may be unread, and a claimed task silent, before the person is told."""

    unread_s: float = SILENCE_S
    stuck_s: float = STUCK_S


def needs(state: State, presence: Presence, now_ms: int, patience: Patience) -> tuple[Need, ...]:
    """What needs the person now: questions, stuck tasks, reopened tasks, unread messages; of each the oldest first."""
    found = [
        *_questions(state),
        *_stuck(state, presence, now_ms, patience.stuck_s),
        *_reopened(state),
        *sorted(_unread(state, now_ms, patience.unread_s), key=lambda need: need.seq),
    ]
    return tuple(found[:NEEDS])


def _questions(state: State) -> Iterator[Need]:
    for seq in sorted(state.questions):
        if (entry := state.ledger.get(seq)) is not None:
            yield _need(state, "question", entry, entry.at_s * 1000, entry.author)


def _stuck(state: State, presence: Presence, now_ms: int, patience_s: float) -> Iterator[Need]:
    """Held tasks whose claimant has said nothing in their thread, nor asked the hub for anything, for so long."""
    for task in sorted((task for task in state.tasks.values() if task.held), key=lambda task: task.target):
        entry = state.ledger.get(task.target)
        if entry is None or task.claimant is None:
            continue
        since_ms = max(_last_sign_ms(state, entry, task), presence.of(task.claimant).heard_ms or 0)
        if now_ms - since_ms > patience_s * 1000:
            yield _need(state, "stuck", entry, since_ms, task.claimant)


def _last_sign_ms(state: State, entry: Entry, task: Task) -> int:
    replies = state.threads.newest_first(state.root_of(entry).seq)
    reply = state.ledger.get(next((seq for seq in replies if state.ledger.author(seq) == task.claimant), 0))
    return max(task.claimed_at or 0, reply.at_s * 1000 if reply is not None else 0)


def _reopened(state: State) -> Iterator[Need]:
    """Tasks that are open because their claimant was lost or their result was not accepted."""
    for task in state.tasks.values():
        entry = state.ledger.get(task.target) if task.freed is not None else None
        if entry is not None and task.freed is not None and task.freed[0] in UNEXPECTED:
            yield _need(state, "reopened", entry, task.freed[1], task.owner)


def _unread(state: State, now_ms: int, patience_s: float) -> Iterator[Need]:
    """Messages that were for some agents and that none of these has been shown for so long."""
    readers = Readers(state)
    for entry in overdue(state, now_ms, patience_s):
        if readers.left_unread(entry):
            yield _need(state, "unread", entry, entry.at_s * 1000, entry.author)


def overdue(state: State, now_ms: int, patience_s: float) -> Iterator[Entry]:
    """Messages older than that, newest first, that somebody is to read: no notices, no chitchat, nothing cleared."""
    for entry in state.ledger.messages_before(state.head + 1, LOOKED_AT):
        age_s = now_ms / 1000 - entry.at_s
        if age_s > UNREAD_WINDOW_S:
            return
        if age_s <= patience_s or entry.author == SYSTEM or state.cleared(entry) or _is_chitchat(state, entry):
            continue
        yield entry


class Readers:
    """All agents, in orders in which few of them have to be asked: there may be many that never come back."""

    def __init__(self, state: State) -> None:
        everybody = state.agents.values()
        self._agents = state.agents
        self._by_cursor = sorted(everybody, key=lambda agent: -agent.cursor)
        self._ahead = [agent for agent in everybody if agent.shown]  # were shown something beyond their cursor
        self._first = sorted(everybody, key=lambda agent: agent.joined)[:2]

    def left_unread(self, entry: Entry) -> bool:
        """Whether the message had recipients, and none of them was shown it."""
        if entry.audience.to is not None:
            named = (self._agents.get(agent) for agent in entry.audience.to - {entry.author})
            recipients = [agent for agent in named if agent is not None]
            return bool(recipients) and not any(_was_shown(agent, entry) for agent in recipients)
        if not any(_is_recipient(agent, entry) for agent in self._first):
            return False
        for agent in self._by_cursor:
            if agent.cursor < entry.seq:
                break  # nor has anybody after it
            if _is_recipient(agent, entry):
                return False
        return not any(_is_recipient(agent, entry) and entry.seq in agent.shown for agent in self._ahead)

    def silent(self, entry: Entry) -> list[Agent]:
        """Who was not shown a message that is for them: of those it names each, otherwise all if nobody was."""
        named = entry.kind == "message" and entry.audience.to is not None and not entry.audience.here
        if not named and not self.left_unread(entry):
            return []
        recipients = (
            agent
            for agent in self._agents.values()
            if entry.audience.reaches(agent.id) and _is_recipient(agent, entry) and not agent.given_up
        )
        return [agent for agent in recipients if not _was_shown(agent, entry)]


def _is_recipient(agent: Agent, entry: Entry) -> bool:
    """Of a message to everybody: who was there before."""
    return agent.id != entry.author and agent.joined <= entry.seq


def _was_shown(agent: Agent, entry: Entry) -> bool:
    return agent.cursor >= entry.seq or entry.seq in agent.shown


def _is_chitchat(state: State, entry: Entry) -> bool:
    return any(badge.type == "importance" and badge.value == "low" for badge in state.badges.get(entry.seq, ()))


def _need(state: State, kind: str, entry: Entry, since_ms: int, agent: str) -> Need:
    return Need(
        kind=kind,  # type: ignore[arg-type]  # the callers' literals
        message=state.message_id(entry.seq),
        seq=entry.seq,
        agent=agent,
        name=state.name_of(agent),
        since=iso(since_ms),
    )
