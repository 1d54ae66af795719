"""How what the hub knows looks to its readers: items, tasks, peers, receipts, and answers to requests. Pure.

Views are made from the record and the state of the moment. They carry names beside ids, because names are for people
and models, and ids are what the next request needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import attrs

from crosschat.core.addressing import find_mentions
from crosschat.core.unread import tally_unread
from crosschat.limits import LOOP_GUARD_MESSAGES, PEERS, PEERS_AWAY, PEERS_BYTES
from crosschat.model import (
    CLI,
    SYSTEM,
    USER,
    About,
    AnyRecord,
    Badge,
    JsonObject,
    Message,
    Release,
    Reply,
    Resolve,
    Source,
    iso,
)
from crosschat.wire import (
    BadgeView,
    CostView,
    Done,
    GuardView,
    Item,
    PeerView,
    RecipientView,
    Send,
    Sent,
    TaskView,
    to_json,
)

if TYPE_CHECKING:
    from crosschat.core.ledger import Entry
    from crosschat.core.presence import Presence
    from crosschat.core.requests import Request
    from crosschat.core.state import Agent, State

AWAY_NAMED: Final = 10  # the newest; the counts have all of them
SHOWN_NAMED: Final = 100  # of what was shown beyond the cursor, the newest
GUARDED_SHOWN: Final = 20
DeliveryState = Literal["stored", "offered", "shown", "answered"]


def item_of(state: State, record: AnyRecord) -> Item | None:
    """The record as its readers see it, or None if it is not for readers."""
    if isinstance(record, Message):
        return _message(state, record)
    if isinstance(record, About):
        return _about(state, record)
    return None


def _message(state: State, record: Message) -> Item:
    entry = state.ledger.get(record.seq)
    root = state.root_of(entry).seq if entry is not None else record.seq
    return Item(
        seq=record.seq,
        kind="reply" if isinstance(record, Reply) else "message",
        message=record.id,
        from_id=record.by,
        from_name=state.name_of(record.by),
        source=record.source,
        ts=iso(record.ts),
        content=record.content,
        thread=state.message_id(root) if root != record.seq else None,
        to=record.to,
        here=record.here,
        private=record.private,
        importance=record.importance,
        metadata=record.metadata,
        badges=badges_of(state, record.seq),
        task=task_of(state, record.seq),
        replies=state.threads.count(record.seq),
        quiet=_is_held_back(state, record, root),
    )


def _is_held_back(state: State, record: Message, root: int) -> bool:
    """The loop guard: agents that only answer each other wake nobody any more, from the reply on that is one too many.
    What is asked of the person, or comes from it, is exempt; delivery is never held back."""
    threads = state.threads
    if root not in threads.guarded or record.source == "user" or USER in record.mentions:
        return False
    return threads.place(record.seq) > threads.count(root) - threads.run(root) + LOOP_GUARD_MESSAGES


def _about(state: State, record: About) -> Item:
    target = state.message(record.target)
    root = state.root_of(target) if target is not None else None
    content = ""
    if isinstance(record, Resolve):
        content = record.result if record.error is None else f"{record.result}\n\nError: {record.error}".strip()
    elif isinstance(record, Release):
        content = record.reason
    elif isinstance(record, Badge):
        content = f"{record.badge_type}={record.value}"
    return Item(
        seq=record.seq,
        kind=record.kind,  # type: ignore[arg-type]  # the kinds of About are all item kinds
        message=record.target,
        from_id=record.by,
        from_name=state.name_of(record.by),
        source=_source(record.by),
        ts=iso(record.ts),
        content=content,
        thread=state.message_id(root.seq) if root is not None and target is not None and root != target else None,
        to=record.to,
        private=record.private,
        badges=badges_of(state, target.seq) if target is not None else (),
        task=task_of(state, target.seq) if target is not None else None,
    )


def _source(who: str) -> Source:
    return who if who in (USER, CLI, SYSTEM) else "agent"  # type: ignore[return-value]  # narrowed by the test


def badges_of(state: State, seq: int) -> tuple[BadgeView, ...]:
    """The badges of a message; the task badge is computed from the task."""
    task = state.tasks.get(seq)
    own = state.badges.get(seq, ())
    return (BadgeView(type="task", value=task.status), *own) if task is not None else own


def task_of(state: State, seq: int, outcome: Resolve | None = None) -> TaskView | None:
    """The task of a message, with the texts of its `outcome` where that was read."""
    task = state.tasks.get(seq)
    if task is None:
        return None
    return TaskView(
        status=task.status,
        owner=state.name_of(task.owner),
        claimant=state.name_of(task.claimant) if task.claimant is not None else None,
        claimant_id=task.claimant,
        claims=task.claims,
        filter=task.filter,
        flagged_at=iso(task.flagged_at),
        claimed_at=iso(task.claimed_at) if task.claimed_at is not None else None,
        finished_at=iso(task.finished_at) if task.finished_at is not None else None,
        result=outcome.result if outcome is not None else None,
        error=outcome.error if outcome is not None else None,
    )


def recipients_of(state: State, presence: Presence, entry: Entry) -> list[tuple[Agent, DeliveryState]]:
    """The agents a message was for, and how far it got with each.

    For a message to everybody those count that were connected since the hub started, and those that saw it; not every
    session there ever was.
    """
    seq, to = entry.seq, entry.audience.to
    repliers = state.repliers(state.root_of(entry).seq, seq)
    found: list[tuple[Agent, DeliveryState]] = []
    for agent in state.agents.values():
        name = agent.id
        if name == entry.author or agent.given_up or not (to is None or name in to):
            continue
        reached: DeliveryState
        if name in repliers:
            reached = "answered"
        elif agent.cursor >= seq or seq in agent.shown:
            reached = "shown"
        elif agent.offered >= seq or presence.of(name).offered >= seq:
            reached = "offered"
        else:
            reached = "stored"
        if to is None and (agent.joined > seq or (reached == "stored" and not presence.seen(name))):
            continue
        found.append((agent, reached))
    return found


def recipient_views(state: State, presence: Presence, entry: Entry) -> tuple[RecipientView, ...]:
    return tuple(
        RecipientView(name=agent.name, state=reached, away=agent.id not in presence.connected)
        for agent, reached in recipients_of(state, presence, entry)
    )


def answer(state: State, presence: Presence, frame: Request, seq: int | None) -> Sent | Done:
    """The answer to a request whose record is `seq`; None if it changed nothing. Made after the record is applied."""
    if isinstance(frame, Send) and seq is not None and (entry := state.ledger.get(seq)) is not None:
        return _sent(state, presence, frame, entry)
    target = getattr(frame, "message", None) or getattr(frame, "task", None)
    entry = state.message(target) if isinstance(target, str) else None
    task = task_of(state, entry.seq) if entry is not None else None
    return Done(id=frame.id, seq=seq, message=target, task=task)


def _sent(state: State, presence: Presence, frame: Send, entry: Entry) -> Sent:
    counts: dict[str, int] = {}
    away: list[str] = []
    for agent, reached in recipients_of(state, presence, entry):
        counts[reached] = counts.get(reached, 0) + 1
        if agent.id not in presence.connected and reached == "stored":
            away.append(agent.name)
    root = state.root_of(entry)
    return Sent(
        id=frame.id,
        message=state.message_id(entry.seq),
        seq=entry.seq,
        thread=state.message_id(root.seq) if root.seq != entry.seq else None,
        states=counts,
        away=tuple(away[-AWAY_NAMED:]),
        unresolved=find_mentions(frame.content, state.directory, entry.author).unresolved,
    )


def peer_view(state: State, presence: Presence, agent: Agent, now_ms: int) -> PeerView:
    live = presence.of(agent.id)
    held = state.held.get(agent.id, set())
    waits = tally_unread(state, agent)
    return PeerView(
        id=agent.id,
        name=agent.name,
        connected=live.connected,
        status=live.status if live.connected else "away",
        cwd=agent.cwd,
        detail=live.detail,
        project=agent.project,
        task=_task_in_hand(state, agent, live.task),
        silent_s=None if live.heard_ms is None else max(0, now_ms - live.heard_ms) // 1000,
        unread=waits.count,
        unread_since=_time_of(state, waits.oldest),
        claims=tuple(state.message_id(target) for target in sorted(held)),
        activity=presence.activity_of(agent.id, now_ms) if live.connected else None,
        mode=live.mode,
        paused=agent.paused,
        since=iso(live.since_ms) if live.since_ms is not None else None,
        cursor=agent.cursor,
        offered=max(live.offered, agent.offered, agent.cursor),
        shown=tuple(sorted(agent.shown)[-SHOWN_NAMED:]),
        wake=live.wake,
        way=live.way if live.connected else None,
        budget_s=-(-(live.budget_until_ms - now_ms) // 1000) if live.budget_until_ms > now_ms else None,
    )


def cost_views(state: State, presence: Presence) -> tuple[CostView, ...]:
    """What each agent that was connected since the hub started cost."""
    return tuple(
        CostView(
            id=agent.id,
            name=agent.name,
            connected=agent.id in presence.connected,
            since=iso(presence.started_ms),
            **attrs.asdict(presence.of(agent.id).spent),
        )
        for agent in state.agents.values()
        if presence.seen(agent.id)
    )


def guard_views(state: State) -> tuple[GuardView, ...]:
    """The threads that the loop guard holds, by their last reply, the newest first."""
    threads = state.threads
    held = sorted(threads.guarded, key=lambda root: next(threads.newest_first(root)), reverse=True)
    found = [(root, state.ledger.get(root)) for root in held[:GUARDED_SHOWN]]
    return tuple(
        GuardView(message=state.message_id(root), author=state.name_of(entry.author), replies=threads.run(root))
        for root, entry in found
        if entry is not None
    )


def _time_of(state: State, seq: int | None) -> str | None:
    entry = state.ledger.get(seq) if seq is not None else None
    return iso(entry.at_s * 1000) if entry is not None else None


def _task_in_hand(state: State, agent: Agent, said: str | None) -> str | None:
    """The task an agent said it works on, while it holds it."""
    entry = state.message(said) if said is not None else None
    return said if entry is not None and entry.seq in state.held.get(agent.id, ()) else None


def peer_views(state: State, presence: Presence, now_ms: int, *, without: str | None = None) -> tuple[PeerView, ...]:
    """Agents that are connected, were so since the hub started, or hold a task, and of the others those of whom there
    was a sign last: what is sent to them waits, too. The newest, if they are too many."""
    others = [agent for agent in state.agents.values() if agent.id != without and not agent.given_up]
    listed = [agent for agent in others if presence.seen(agent.id) or state.held.get(agent.id)]
    known = {agent.id for agent in listed}
    listed += sorted((agent for agent in others if agent.id not in known), key=_last_sign, reverse=True)[:PEERS_AWAY]
    listed.sort(key=lambda agent: (agent.id not in presence.connected, -_last_sign(agent)))
    found: list[tuple[int, PeerView]] = []
    room = PEERS_BYTES
    for agent in listed[:PEERS]:
        view = peer_view(state, presence, agent, now_ms)
        room -= len(to_json(view))
        if room < 0:
            break
        found.append((agent.joined, view))
    return tuple(view for _, view in sorted(found, key=lambda one: one[0]))


def _last_sign(agent: Agent) -> int:
    """How far the log was when there was a sign of the agent last, as far as it is known after a restart."""
    return max(agent.joined, agent.cursor, agent.offered)


def badge_document(state: State, message: str) -> JsonObject | None:
    """The documented file of a message's badges; None without any."""
    entry = state.message(message)
    badges = badges_of(state, entry.seq) if entry is not None else ()
    if not badges:
        return None
    return {"messageId": message, "badges": [_plain(badge) for badge in badges]}


def task_document(state: State, message: str) -> JsonObject | None:
    """The documented file of a message's task; None without one. In the place of its result and error, which their
    record has, stands the seq of that as `outcome`."""
    entry = state.message(message)
    task = task_of(state, entry.seq) if entry is not None else None
    if entry is None or task is None:
        return None
    outcome = state.tasks[entry.seq].outcome
    return {"messageId": message, **_plain(task)} | ({} if outcome is None else {"outcome": outcome})


def questions_in(state: State, message: str) -> tuple[str, ...]:
    """The ids of the questions to the person, answered or not, in the thread of a message, itself included."""
    root = state.message(message)
    seqs = () if root is None else (root.seq, *state.threads.seqs(root.seq))
    return tuple(
        state.message_id(seq) for seq in seqs if any(badge.type == "question" for badge in state.badges.get(seq, ()))
    )


def _plain(value: BadgeView | TaskView) -> JsonObject:
    return attrs.asdict(value, filter=lambda _, field: field is not None)
