"""What an operation does: `handle(state, presence, who, frame, slot)` decides, and returns it as values.

Called by the writer for each operation of a batch, on committed state. The result's records are written, synced and
applied before its reply leaves; nothing is changed here. Refusals are raised and cost only the asker. `conflict_keys`
names what a decision must see committed: two operations with a key in common never share a batch.

A request is remembered by who asked and its `cid`. Asked again with the same content it is answered as before and
changes nothing; with other content it is a conflict.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs

from crosschat.core import requests
from crosschat.core.identity import Join, Joined, change_session, join, take_up
from crosschat.core.ids import make_id
from crosschat.core.remembered import content_of
from crosschat.core.requests import Request
from crosschat.core.silence import ReportSilence, report
from crosschat.core.tasks import lease_ended
from crosschat.errors import Code, Refused
from crosschat.model import (
    SYSTEM,
    Actor,
    AnyRecord,
    Cursor,
    Epoch,
    Receipt,
    ReceiptState,
    Release,
    Reply,
    Slot,
)
from crosschat.pagewire import ReassignTask, Restore
from crosschat.wire import (
    AddBadge,
    ClaimTask,
    ClearChannel,
    FlagTask,
    Mark,
    ReleaseTask,
    ResolveTask,
    Send,
    SetStatus,
    to_json,
)

if TYPE_CHECKING:
    from crosschat.core.presence import Presence
    from crosschat.core.state import State

CID_CHARS: Final = 64
MARKED_SEQS: Final = 1024  # single receipts in one frame; a bridge never has more


@attrs.frozen
class BeginEpoch:
    """The log is new, or continues after an older copy of it was restored. `instead_of`: the epoch that ends; of many
    who noticed only the first begins a new one."""

    epoch: str
    instead_of: str | None = None


@attrs.frozen
class EndLease:
    """The claimant of the task at `target` seems to be gone for good."""

    target: int
    grace_ms: int


@attrs.frozen
class Receive:
    """Receipts of `agent` that came from its connection: what was offered to it, or shown beyond its cursor."""

    agent: str
    state: ReceiptState
    seqs: tuple[int, ...]


@attrs.frozen
class SessionChanged:
    """`agent`'s Claude Code process goes on with another session: after /clear, or a resume inside it."""

    agent: str
    session: str


@attrs.frozen
class TakeUp:
    """The process of `agent` goes on with the conversation of `earlier`, which is away."""

    agent: str
    earlier: str


Operation: TypeAlias = Request | Mark | Join | BeginEpoch | EndLease | Receive | ReportSilence | SessionChanged | TakeUp


@attrs.frozen
class Effects:
    """Records to commit, all or none. `seq` is the record the answer speaks of, now or when it was first asked;
    the answer itself is made after they are applied (`views.answer`), except to a Join."""

    records: tuple[AnyRecord, ...] = ()
    seq: int | None = None
    joined: Joined | None = None


def conflict_keys(state: State, who: Actor, frame: Operation) -> frozenset[str]:
    """What the decision on `frame` depends on and another operation might change."""
    keys: set[str] = set()
    if isinstance(frame, Request):
        keys.add(f"cid:{who.id}:{frame.cid}")
    match frame:
        case FlagTask() | ClaimTask() | ResolveTask() | AddBadge() | ReleaseTask() | ReassignTask():
            keys.add(f"message:{frame.message}")
        case SetStatus(task=str() as target):
            keys.add(f"message:{target}")
        case Send(thread=str() as thread):
            if (entry := state.message(thread)) is not None:  # who takes part there decides whom it reaches
                keys.add(f"message:{state.message_id(state.root_of(entry).seq)}")
            for task in requests.begun_by_reply(state, who, thread):
                keys.add(f"message:{state.message_id(task.target)}")
        case EndLease():
            keys.add(f"message:{state.message_id(frame.target)}")
        case ReportSilence():
            keys.add(f"told:{frame.agent}")
        case Join() | BeginEpoch() | SessionChanged() | TakeUp():
            keys.add("agents")
        case ClearChannel() | Restore():
            keys.add("clears")
        case _:
            pass
    return frozenset(keys)


def handle(state: State, presence: Presence, who: Actor, frame: Operation, slot: Slot) -> Effects:
    """Decide `frame`, asked by `who`, for the free place `slot` of the log. Raises Refused."""
    match frame:
        case Join():
            records, joined = join(state, presence, frame, slot)
            return Effects(records, joined=joined)
        case Mark():
            return _mark(state, who, frame, slot)
        case BeginEpoch() if frame.instead_of not in (None, state.epoch):
            return Effects()
        case BeginEpoch():
            identifier = make_id("r", frame.epoch, slot.seq)
            return Effects((Epoch(seq=slot.seq, id=identifier, ts=slot.now_ms, by=SYSTEM, epoch=frame.epoch),))
        case EndLease():
            return _end_lease(state, presence, frame, slot)
        case Receive():
            return _receive(state, frame, slot)
        case ReportSilence():
            return Effects(report(state, presence, frame, slot))
        case SessionChanged():
            return Effects(change_session(state, frame.agent, frame.session, slot))
        case TakeUp():
            return Effects(take_up(state, presence, frame.agent, frame.earlier, slot))
        case _:
            return _request(state, presence, who, frame, slot)


def _request(state: State, presence: Presence, who: Actor, frame: Request, slot: Slot) -> Effects:
    if not 0 < len(frame.cid) <= CID_CHARS:
        raise Refused(Code.INVALID, f"a cid has 1 to {CID_CHARS} characters", path="cid")
    digest = f"{frame.type}:{hashlib.sha256(to_json(attrs.evolve(frame, id='', cid=''))).hexdigest()[:16]}"
    remembered = state.requests.find(who.id, frame.cid)
    if remembered is not None:
        content, seq = remembered
        if content != content_of(digest):
            raise Refused(Code.CONFLICT, "This cid was used for another request; use a new one.", path="cid")
        return Effects(seq=seq)
    records = requests.decide(state, presence, who, frame, slot)
    if not records:
        return Effects()
    first = attrs.evolve(records[0], cid=frame.cid, digest=digest)
    return Effects((first, *records[1:]), first.seq)


def _mark(state: State, who: Actor, frame: Mark, slot: Slot) -> Effects:
    """Receipts only rise, and never beyond what exists; whatever else a bridge claims is left out."""
    agent = state.agents.get(who.id)
    if agent is None:
        return Effects()
    records: list[AnyRecord] = []
    upto = min(frame.upto or 0, state.head)
    identifier = make_id("r", state.epoch, slot.seq)
    if upto > agent.cursor:
        records.append(Cursor(seq=slot.seq, id=identifier, ts=slot.now_ms, by=SYSTEM, agent=agent.id, upto=upto))
    shown = tuple(
        seq
        for seq in frame.seqs[:MARKED_SEQS]
        if max(upto, agent.cursor) < seq <= state.head and seq not in agent.shown
    )
    if shown:
        seq = slot.seq + len(records)
        records.append(
            Receipt(
                seq=seq,
                id=make_id("r", state.epoch, seq),
                ts=slot.now_ms,
                by=SYSTEM,
                agent=agent.id,
                state="shown",
                seqs=shown,
            )
        )
    return Effects(tuple(records))


def _receive(state: State, frame: Receive, slot: Slot) -> Effects:
    agent = state.agents.get(frame.agent)
    if agent is None or not frame.seqs:
        return Effects()
    if frame.state == "offered" and max(frame.seqs) <= max(agent.offered, agent.cursor):
        return Effects()  # nothing new: a session that only comes and goes leaves no records
    identifier = make_id("r", state.epoch, slot.seq)
    return Effects(
        (
            Receipt(
                seq=slot.seq,
                id=identifier,
                ts=slot.now_ms,
                by=SYSTEM,
                agent=frame.agent,
                state=frame.state,
                seqs=frame.seqs,
            ),
        )
    )


def _end_lease(state: State, presence: Presence, frame: EndLease, slot: Slot) -> Effects:
    """Free the task and say so in its thread; nothing if the claimant returned or the task moved on meanwhile."""
    task = state.tasks.get(frame.target)
    entry = state.ledger.get(frame.target)
    if task is None or entry is None or not lease_ended(task, presence, slot.now_ms, frame.grace_ms):
        return Effects()
    root = state.root_of(entry)
    away = state.name_of(task.claimant or "")
    release = Release(
        seq=slot.seq,
        id=make_id("r", state.epoch, slot.seq),
        ts=slot.now_ms,
        by=SYSTEM,
        target=state.message_id(frame.target),
        to=requests.concerned(state, entry, SYSTEM),
        reason="lease_expired",
    )
    notice = Reply(
        seq=slot.seq + 1,
        id=make_id("m", state.epoch, slot.seq + 1),
        ts=slot.now_ms,
        by=SYSTEM,
        content=f"{away} has been away for more than {frame.grace_ms // 60_000} min; this task is open again.",
        source="system",
        to=tuple(sorted(state.participants(root))),
        private=root.audience.private,
        root=state.message_id(root.seq),
    )
    return Effects((release, notice))
