"""What an agent has not been shown yet, and what a page that was shown confirms. Pure.

There is one cursor: everything meant for the agent up to it was shown. What was shown beyond it is remembered singly,
so reading the newest page never skips what is older, and reading it later never repeats what was seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from crosschat.wire import Confirm

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from crosschat.core.state import Agent, State

CURSOR_STEP: Final = 256  # records without anything unread, after which a read moves the cursor anyway


def unread(state: State, agent: Agent) -> Iterator[int]:
    """Seqs, rising, of what is meant for the agent and was not shown; without broadcasts that were cleared."""
    for seq in state.ledger.meant_for(agent.id, agent.cursor):
        if seq in agent.shown:
            continue
        if seq <= state.cleared_upto and (entry := state.ledger.get(seq)) is not None and state.cleared(entry):
            continue
        yield seq


def count_unread(state: State, agent: Agent) -> int:
    return sum(1 for _ in unread(state, agent))


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
