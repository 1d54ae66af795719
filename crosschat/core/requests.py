"""What each request that changes something becomes in the log: one function a request, all rules of who may what.

Every function takes committed state and the free slot, and returns the records to write, none if there is nothing to
change; it raises Refused for what is not allowed. Nothing is changed here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeAlias, TypedDict, assert_never

from crosschat.codec import json_depth
from crosschat.core import tasks
from crosschat.core.addressing import Mentions, audience_of, find_mentions, refuse_unknown
from crosschat.core.ids import make_id
from crosschat.core.ledger import Audience, Entry
from crosschat.core.state import with_badge
from crosschat.errors import Code, Refused
from crosschat.lengths import check_length
from crosschat.limits import BADGES, METADATA_DEPTH
from crosschat.model import (
    CLI,
    SYSTEM,
    USER,
    Actor,
    AnyRecord,
    Badge,
    Claim,
    Clear,
    Flag,
    Message,
    Pause,
    Progress,
    Release,
    Reply,
    Resolve,
    Slot,
    TaskFilter,
)
from crosschat.pagewire import ReassignTask, Restore
from crosschat.wire import (
    AddBadge,
    BadgeView,
    ClaimTask,
    ClearChannel,
    FlagTask,
    PauseAgent,
    Probe,
    ReleaseTask,
    ResolveTask,
    Send,
    SetStatus,
    to_json,
)

if TYPE_CHECKING:
    from crosschat.core.presence import Presence
    from crosschat.core.state import Agent, State, Task

Request: TypeAlias = (
    Send | FlagTask | ClaimTask | ResolveTask | AddBadge | ClearChannel | SetStatus | ReleaseTask | PauseAgent
    | ReassignTask | Restore | Probe
)  # fmt: skip

_BADGE_TYPE: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")
_COMMIT: Final = re.compile(r"[0-9a-f]{7,40}")
_BADGE_VALUES: Final = {"importance": ("high", "normal", "low"), "question": ("true", "answered")}


class _Head(TypedDict):
    seq: int
    id: str
    ts: int
    by: str


def decide(state: State, presence: Presence, who: Actor, frame: Request, slot: Slot) -> tuple[AnyRecord, ...]:
    """The records that carry out `frame`. Raises Refused."""
    match frame:
        case Send():
            return _send(state, presence, who, frame, slot)
        case FlagTask():
            return _flag(state, who, frame, slot)
        case ClaimTask():
            return _claim(state, who, frame, slot)
        case ResolveTask():
            return _resolve(state, who, frame, slot)
        case ReleaseTask():
            return _release(state, who, frame, slot)
        case AddBadge():
            return _badge(state, who, frame, slot)
        case SetStatus():
            return _status(state, who, frame, slot)
        case PauseAgent():
            return _pause(state, who, frame, slot)
        case ReassignTask():
            return _reassign(state, presence, who, frame, slot)
        case Restore():
            return _restore(state, who, slot)
        case Probe():
            return (_probe(state, who, frame, slot),)
        case ClearChannel():
            return (Clear(**_head(state, who, slot), upto=state.head),)
        case _:
            assert_never(frame)


def readable(state: State, who: Actor, identifier: str, *, path: str) -> Entry:
    """The message with this id, if `who` may read it. Raises Refused NOT_FOUND, the same for both reasons."""
    entry = state.message(identifier)
    if entry is None or (who.source == "agent" and not entry.readable_by(who.id)):
        raise Refused(
            Code.NOT_FOUND,
            f"There is no message {identifier[:64]!r} that you can read. Take its id from a message you were shown.",
            path=path,
        )
    return entry


def thread_root(state: State, who: Actor, identifier: str, *, path: str) -> Entry:
    """The root of the thread of this message. Who takes part may name the root also where it cannot read it: one that
    was drawn into a private thread reads from there on. Raises Refused NOT_FOUND."""
    entry = state.message(identifier)
    if entry is not None and who.id in state.participants(root := state.root_of(entry)):
        return root
    return state.root_of(readable(state, who, identifier, path=path))


def concerned(state: State, entry: Entry, by: str) -> tuple[str, ...]:
    """Whom a change to the message `entry` reaches: author, claimant, those it named, without who made it."""
    members = {entry.author}
    if entry.audience.to is not None and not entry.audience.here:
        members |= entry.audience.to
    task = state.tasks.get(entry.seq)
    if task is not None and task.claimant is not None:
        members.add(task.claimant)
    return tuple(sorted(members - {by, CLI, SYSTEM}))


def begun_by_reply(state: State, who: Actor, thread: str) -> list[Task]:
    """Tasks of that thread which `who` has claimed and not begun: its reply there begins them."""
    entry = state.message(thread)
    if entry is None:
        return []
    root = state.root_of(entry).seq
    held = (state.tasks[target] for target in sorted(state.held.get(who.id, ())))
    return [task for task in held if task.status == "claimed" and _root_seq(state, task) == root]


def _root_seq(state: State, task: Task) -> int:
    entry = state.ledger.get(task.target)
    return state.root_of(entry).seq if entry is not None else task.target


def _head(state: State, who: Actor, slot: Slot, offset: int = 0) -> _Head:
    seq = slot.seq + offset
    return {"seq": seq, "id": make_id("r", state.epoch, seq), "ts": slot.now_ms, "by": who.id}


def _send(state: State, presence: Presence, who: Actor, frame: Send, slot: Slot) -> tuple[AnyRecord, ...]:
    if not frame.content.strip():
        raise Refused(Code.INVALID, "content is empty.", path="content")
    check_length("content", frame.content)
    check_length("metadata", None if frame.metadata is None else to_json(frame.metadata).decode())
    if frame.metadata is not None and json_depth(frame.metadata) > METADATA_DEPTH:
        raise Refused(Code.INVALID, f"metadata is nested more than {METADATA_DEPTH} levels deep.", path="metadata")
    mentions = find_mentions(frame.content, state.directory, who.id)
    refuse_unknown(mentions, state.directory)
    named = (*mentions.agents, *((USER,) if mentions.user else ()))
    head = _head(state, who, slot)
    head["id"] = make_id("m", state.epoch, slot.seq)
    if frame.thread is None:
        audience = audience_of(mentions, presence.connected, who.id)
        return (
            Message(
                **head,
                content=frame.content,
                source=who.source,
                to=None if audience.to is None else tuple(sorted(audience.to)),
                mentions=named,
                private=audience.private,
                here=audience.here,
                importance=frame.importance,
                metadata=frame.metadata,
            ),
        )
    root = thread_root(state, who, frame.thread, path="threadId")
    audience = _reply_audience(state, presence, who, root, mentions)
    reply = Reply(
        **head,
        content=frame.content,
        source=who.source,
        to=tuple(sorted(audience.to or ())),
        mentions=named,
        private=audience.private,
        importance=frame.importance,
        metadata=frame.metadata,
        root=state.message_id(root.seq),
    )
    return (reply, *_begin(state, who, begun_by_reply(state, who, frame.thread), slot, offset=1))


def _reply_audience(state: State, presence: Presence, who: Actor, root: Entry, mentions: Mentions) -> Audience:
    reached = state.participants(root) | set(mentions.agents)
    if mentions.here:
        reached |= presence.connected
    if mentions.user:
        reached |= {USER}
    return Audience(to=frozenset(reached - {who.id, CLI, SYSTEM}), private=root.audience.private)


def _begin(state: State, who: Actor, begun: list[Task], slot: Slot, *, offset: int) -> tuple[AnyRecord, ...]:
    records: list[AnyRecord] = []
    for task in begun:
        entry = state.ledger.get(task.target)
        if entry is not None:
            records.append(
                Progress(
                    **_head(state, who, slot, offset + len(records)),
                    target=state.message_id(task.target),
                    to=concerned(state, entry, who.id),
                    agent=who.id,
                    claim_epoch=task.claims,
                )
            )
    return tuple(records)


def _flag(state: State, who: Actor, frame: FlagTask, slot: Slot) -> tuple[AnyRecord, ...]:
    entry = readable(state, who, frame.message, path="messageId")
    wanted = _check_filter(state, entry, frame.filter) if frame.filter is not None else None
    task = state.tasks.get(entry.seq)
    if task is not None:
        if task.filter == frame.filter:
            return ()  # it is what was asked for
        raise Refused(Code.CONFLICT, f"This message is already a task ({task.status}) with another filter.")
    told = {*concerned(state, entry, who.id), *((wanted,) if wanted else ())} - {who.id}
    return (Flag(**_head(state, who, slot), target=frame.message, to=tuple(sorted(told)), filter=frame.filter),)


def _check_filter(state: State, entry: Entry, wanted: TaskFilter) -> str | None:
    """The agent that the filter names, if it names one. Raises Refused for a filter that nobody can fit."""
    check_length("filter.agentId", wanted.agent)
    check_length("filter.gitProject", wanted.project)
    check_length("filter.workingDirReq", wanted.working_dir)
    agent = agent_called(state, wanted.agent, path="filter.agentId").id if wanted.agent is not None else None
    if wanted.working_dir is not None and not wanted.working_dir.startswith("/"):
        raise Refused(Code.INVALID, "filter.workingDirReq is an absolute path.", path="filter.workingDirReq")
    if agent is not None and not entry.readable_by(agent):
        raise Refused(
            Code.INVALID,
            f"{state.name_of(agent)} cannot read this message, so it cannot take the task; send it one of its own.",
            path="filter.agentId",
        )
    return agent


def _claim(state: State, who: Actor, frame: ClaimTask, slot: Slot) -> tuple[AnyRecord, ...]:
    entry = readable(state, who, frame.message, path="messageId")
    task = state.tasks.get(entry.seq)
    if task is not None and task.held and task.claimant == who.id:
        return ()  # it is yours already
    tasks.refuse_claim(state, task, frame.message, who)
    claims = task.claims + 1 if task is not None else 1
    return (
        Claim(
            **_head(state, who, slot),
            target=frame.message,
            to=concerned(state, entry, who.id),
            agent=who.id,
            claim_epoch=claims,
        ),
    )


def _resolve(state: State, who: Actor, frame: ResolveTask, slot: Slot) -> tuple[AnyRecord, ...]:
    entry = readable(state, who, frame.message, path="messageId")
    check_length("result", frame.result)
    check_length("error", frame.error)
    tasks.refuse_resolve(state, state.tasks.get(entry.seq), frame.message, who)
    return (
        Resolve(
            **_head(state, who, slot),
            target=frame.message,
            to=concerned(state, entry, who.id),
            status=frame.status,
            result=frame.result,
            error=frame.error,
        ),
    )


def _release(state: State, who: Actor, frame: ReleaseTask, slot: Slot) -> tuple[AnyRecord, ...]:
    entry = readable(state, who, frame.message, path="message")
    tasks.refuse_release(state.tasks.get(entry.seq), frame.message, reopen=frame.reopen)
    return (
        Release(
            **_head(state, who, slot),
            target=frame.message,
            to=concerned(state, entry, who.id),
            reason="reopened" if frame.reopen else "released",
        ),
    )


def _reassign(state: State, presence: Presence, who: Actor, frame: ReassignTask, slot: Slot) -> tuple[AnyRecord, ...]:
    """The person's word overrides the task's filter, and takes it from whoever holds it."""
    entry = readable(state, who, frame.message, path="message")
    agent = agent_called(state, frame.agent, path="agent")
    task = state.tasks.get(entry.seq)
    tasks.refuse_reassign(state, presence, task, frame.message, agent)
    if not entry.readable_by(agent.id):
        raise Refused(
            Code.INVALID,
            f"{agent.name} cannot read this message, so it cannot take the task; send it one of its own.",
            path="agent",
        )
    if task is not None and task.held and task.claimant == agent.id:
        return ()
    told = concerned(state, entry, who.id)
    records: list[AnyRecord] = []
    if task is not None and task.held:
        records.append(Release(**_head(state, who, slot), target=frame.message, to=told, reason="reassigned"))
    records.append(
        Claim(
            **_head(state, who, slot, len(records)),
            target=frame.message,
            to=tuple(sorted({*told, agent.id})),
            agent=agent.id,
            claim_epoch=task.claims + 1 if task is not None else 1,
        )
    )
    return tuple(records)


def _restore(state: State, who: Actor, slot: Slot) -> tuple[AnyRecord, ...]:
    if not state.clears:
        raise Refused(Code.CONFLICT, "No clear is left to take back.")
    return (Clear(**_head(state, who, slot), upto=state.clears[-1], undo=True),)


def _badge(state: State, who: Actor, frame: AddBadge, slot: Slot) -> tuple[AnyRecord, ...]:
    entry = readable(state, who, frame.message, path="messageId")
    if frame.badge_type == "task":
        raise Refused(
            Code.FORBIDDEN,
            "The task badge follows the task: use flag_as_task, claim_task, resolve_task.",
            path="badgeType",
        )
    if not _BADGE_TYPE.fullmatch(frame.badge_type):
        raise Refused(
            Code.INVALID,
            "badgeType is 1 to 32 lower-case letters, digits and '-', beginning with a letter.",
            path="badgeType",
        )
    if not frame.value.strip():
        raise Refused(Code.INVALID, "badgeValue is empty.", path="badgeValue")
    check_length("badgeValue", frame.value)
    check_length("label", frame.label)
    allowed = _BADGE_VALUES.get(frame.badge_type)
    if allowed is not None and frame.value not in allowed:
        raise Refused(
            Code.INVALID, f"A badge of type {frame.badge_type} is one of {', '.join(allowed)}.", path="badgeValue"
        )
    if frame.badge_type == "git-commit" and not _COMMIT.fullmatch(frame.value):
        raise Refused(Code.INVALID, "A git-commit badge is 7 to 40 hexadecimal digits.", path="badgeValue")
    badge = BadgeView(type=frame.badge_type, value=frame.value)
    if len(with_badge(state.badges.get(entry.seq, ()), badge)) > BADGES:
        raise Refused(Code.CONFLICT, f"This message has {BADGES} badges, which is the most.", path="badgeType")
    return (
        Badge(
            **_head(state, who, slot),
            target=frame.message,
            to=concerned(state, entry, who.id),
            badge_type=frame.badge_type,
            value=frame.value,
            label=frame.label,
        ),
    )


def agent_called(state: State, named: str, path: str) -> Agent:
    """The agent with this id or name. Raises Refused, with the names that may be meant."""
    agent = state.agents.get(named) or state.agents.get(state.directory.find(named) or "")
    if agent is None:
        known = state.directory.candidates(named)
        hint = f"Did you mean {', '.join(known)}?" if known else "list_peers, or `crosschat peers`, shows all names."
        raise Refused(Code.NOT_FOUND, f"No agent is called {named[:64]!r}. {hint}", path=path)
    return agent


def _probe(state: State, who: Actor, frame: Probe, slot: Slot) -> Message:
    check_length("probe", frame.content)
    return Message(**_head(state, who, slot), content=frame.content, source=who.source, to=(), private=True)


def _pause(state: State, who: Actor, frame: PauseAgent, slot: Slot) -> tuple[AnyRecord, ...]:
    agent = agent_called(state, frame.agent, path="agent")
    if agent.paused == frame.paused:
        return ()
    return (Pause(**_head(state, who, slot), agent=agent.id, paused=frame.paused),)


def _status(state: State, who: Actor, frame: SetStatus, slot: Slot) -> tuple[AnyRecord, ...]:
    check_length("detail", frame.detail)
    if frame.task is None:
        return ()
    entry = readable(state, who, frame.task, path="taskMessageId")
    task = state.tasks.get(entry.seq)
    if task is None or not task.held or task.claimant != who.id:
        raise Refused(
            Code.FORBIDDEN, "You do not hold this task; claim it with claim_task first.", path="taskMessageId"
        )
    return _begin(state, who, [task] if task.status == "claimed" else [], slot, offset=0)
