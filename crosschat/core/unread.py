"""What an agent has not been shown yet, and what a page that was shown confirms. Pure.

There is one cursor: everything meant for the agent up to it was shown. What was shown beyond it is remembered singly,
so reading the newest page never skips what is older, and reading it later never repeats what was seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from crosschat.wire import Confirm

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from crosschat.core.state import Agent, State

FEW: Final = 256  # so many records are looked at one by one; for more, a table of whom each audience reaches is made
CURSOR_STEP: Final = 256  # records without anything unread, after which a read moves the cursor anyway


@attrs.frozen
class Tally:
    """How much was unread to an agent up to the record `upto`, and the seq of the oldest; good while `basis` is."""

    basis: tuple[int, int, int]
    upto: int
    count: int = 0
    oldest: int | None = None


def unread(state: State, agent: Agent, after: int | None = None) -> Iterator[int]:
    """Seqs, rising, of what is meant for the agent and was not shown; without broadcasts that were cleared. Those
    behind `after`, if that is beyond its cursor."""
    for seq in _meant(state, agent, agent.cursor if after is None else max(after, agent.cursor)):
        if seq in agent.shown:
            continue
        if seq <= state.cleared_upto and (entry := state.ledger.get(seq)) is not None and state.cleared(entry):
            continue
        yield seq


def _meant(state: State, agent: Agent, after: int) -> Iterator[int]:
    if state.head - after > FEW:
        return state.ledger.meant_for(agent.id, after)
    entries = filter(None, map(state.ledger.get, range(after + 1, state.head + 1)))
    return (entry.seq for entry in entries if entry.author != agent.id and entry.audience.reaches(agent.id))


def tally_unread(state: State, agent: Agent) -> Tally:
    """How much is unread to the agent. Goes on from what was counted last: an agent that stays away must not cost a
    walk through all that waits for it each time that somebody looks."""
    basis = (agent.cursor, len(agent.shown), state.cleared_upto)
    kept = state.tallies.get(agent.id)
    if kept is None or kept.basis != basis:
        kept = Tally(basis, agent.cursor)
    count, oldest = kept.count, kept.oldest
    for seq in unread(state, agent, kept.upto):
        count += 1
        oldest = oldest or seq
    state.tallies[agent.id] = found = Tally(basis, state.head, count, oldest)
    return found


def confirmation(state: State, agent: Agent, page: Collection[int]) -> tuple[Confirm | None, int]:
    """What the agent should confirm once it was shown `page` (seqs), and how much stays unread after that.

    A page without anything unread confirms nothing: the receipt would be a record, and the next read would confirm
    that. Only a cursor that fell far behind is moved, because finding what is unread begins there.
    """
    shown, left, news = set(page), 0, False
    upto, beyond, open_yet = state.head, [], True
    for seq in unread(state, agent):
        if seq not in shown:
            if open_yet:
                upto, open_yet = seq - 1, False
            left += 1
            continue
        news = True
        if not open_yet:
            beyond.append(seq)
    if not news and upto - agent.cursor < CURSOR_STEP:
        return None, left
    return Confirm(upto=upto if upto > agent.cursor else None, seqs=tuple(beyond)), left
