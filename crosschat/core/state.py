"""Everything the hub knows that is durable, and `apply`, the only thing that changes it.

`apply` takes one committed record. A running hub applies what it has just made durable, a starting one what it reads
from the log: the same function, so a restarted hub cannot disagree with a running one. It never refuses: what is in
the log was decided before. A record that names something unknown (its line was lost to damage) is applied as far
as it makes sense, so that one damaged line costs no more than itself.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from functools import lru_cache
from itertools import groupby, takewhile
from typing import TYPE_CHECKING, Final, cast

import attrs

from crosschat.core.addressing import Directory
from crosschat.core.ids import make_id, seq_of
from crosschat.core.ledger import Audience, Entry, Ledger
from crosschat.core.remembered import Remembered
from crosschat.core.threads import Threads
from crosschat.model import (
    NO_PROCESS,
    SYSTEM,
    USER,
    About,
    AgentJoined,
    AnyRecord,
    Badge,
    Claim,
    Clear,
    Cursor,
    Epoch,
    Flag,
    Glance,
    Headline,
    Message,
    Pause,
    Progress,
    Receipt,
    Release,
    ReleaseReason,
    Resolve,
    Seen,
    TaskFilter,
    TaskStatus,
    headline_of,
)
from crosschat.wire import BadgeView

if TYPE_CHECKING:
    from collections.abc import Iterable

    from crosschat.core.unread import Tally

_IMPORTANCE: Final = {"important": "high", "comment": "normal", "chitchat": "low"}
SEVERAL_VALUES: Final = frozenset({"git-commit"})  # badge types of which a message may carry more than one


@attrs.define
class Agent:
    """A known agent. `cursor`: everything meant for it up to there was shown; `shown`: what was shown beyond.
    `offered`: everything up to there left the hub for it, as of the end of its last connection. `told_upto`: what it
    wrote up to there and nobody read it was told of, the last time with the record `told_in`."""

    id: str
    name: str
    cwd: str
    project: str | None
    session: str | None
    process: str | None
    explicit: bool
    joined: int
    cursor: int
    shown: set[int] = attrs.Factory(set)
    paused: bool = False
    offered: int = 0
    told_upto: int = 0
    told_in: int = 0

    @property
    def given_up(self) -> bool:
        """Its process goes on as an earlier agent: nothing is sent to it, nobody sees it."""
        return self.process == NO_PROCESS


@attrs.frozen
class Task:
    """A message that is a task. `outcome` is the seq of the record with its result. `freed` says why and when a task
    that is open lost its claimant or its result."""

    target: int
    owner: str
    flagged_at: int
    status: TaskStatus = "open"
    filter: TaskFilter | None = None
    claimant: str | None = None
    claims: int = 0
    claimed_at: int | None = None
    finished_at: int | None = None
    outcome: int | None = None
    freed: tuple[ReleaseReason, int] | None = None

    @property
    def held(self) -> bool:
        return self.status in ("claimed", "in_progress")

    @property
    def finished(self) -> bool:
        return self.status in ("completed", "failed")


class State:
    """Invariant: a function of the applied records alone."""

    def __init__(self) -> None:
        self.head = 0
        self.epochs: list[tuple[int, str]] = []  # (first seq, epoch), rising
        self.ledger = Ledger()
        self.channel = array("Q")  # seqs of channel messages
        self.threads = Threads()
        self.badges: dict[int, tuple[BadgeView, ...]] = {}
        self.questions: set[int] = set()  # seqs of the messages that ask the person something, unanswered
        self.tasks: dict[int, Task] = {}
        self.held: dict[str, set[int]] = {}  # targets of the tasks each agent holds
        self.agents: dict[str, Agent] = {}
        self.directory = Directory({})
        self.clears: list[int] = []
        self.requests = Remembered()
        self.tallies: dict[str, Tally] = {}  # what was counted last; may be emptied at any time
        self.foreign_ids: dict[str, int] = {}  # ids that another product made, imported
        self.foreign_seqs: dict[int, str] = {}

    # --- asking

    @property
    def epoch(self) -> str:
        return self.epochs[-1][1] if self.epochs else ""

    @property
    def cleared_upto(self) -> int:
        return self.clears[-1] if self.clears else 0

    def message_id(self, seq: int) -> str:
        """The id of the message that record `seq` is."""
        return self.foreign_seqs.get(seq) or make_id("m", self._epoch_of(seq), seq)

    def message(self, identifier: str) -> Entry | None:
        """The message or reply with this id, or None. Anything a client may write is allowed."""
        return self.ledger.get(self._message_seq(identifier))

    def _message_seq(self, identifier: str) -> int:
        """The seq of the message or reply with this id, 0 if there is none."""
        seq = self.foreign_ids.get(identifier) or seq_of(identifier, "m") or 0
        return seq if self.ledger.is_message(seq) and self.message_id(seq) == identifier else 0

    def _epoch_of(self, seq: int) -> str:
        if not self.epochs or seq >= self.epochs[-1][0]:
            return self.epoch
        return self.epochs[max(bisect_right(self.epochs, (seq, "\x7f")) - 1, 0)][1]

    def root_of(self, entry: Entry) -> Entry:
        """The message that begins the thread `entry` belongs to: itself, if it is not a reply."""
        root = self.ledger.get(entry.root) if entry.kind == "reply" else None
        return root or entry

    def participants(self, root: Entry) -> frozenset[str]:
        """Whom replies to `root` reach: its author, whom it named, who replied, who was named there, the claimant."""
        members = {root.author, *self.threads.circle(root.seq)}
        if root.audience.to is not None and not root.audience.here:
            members |= root.audience.to
        if (task := self.tasks.get(root.seq)) is not None and task.claimant is not None:
            members.add(task.claimant)
        return frozenset(members)

    def repliers(self, root: int, after: int) -> dict[str, int]:
        """Who replied in the thread of `root` after the record `after`, with the seq of the last reply of each."""
        found: dict[str, int] = {}
        for seq in takewhile(after.__lt__, self.threads.newest_first(root)):
            found.setdefault(self.ledger.author(seq), seq)
        return found

    def name_of(self, who: str) -> str:
        agent = self.agents.get(who)
        return agent.name if agent is not None else who

    def cleared(self, entry: Entry) -> bool:
        """Whether a clear took this out of the default reads: broadcast channel messages only."""
        broadcast = entry.audience.to is None or entry.audience.here
        return entry.kind == "message" and broadcast and entry.seq <= self.cleared_upto

    # --- changing

    def apply_all(self, records: Iterable[AnyRecord | Glance]) -> None:
        """Take in committed records. Of the most frequent kinds a glance is enough."""
        for kind, some in groupby(records, type):
            if kind is Headline:
                self._apply_messages(cast("Iterable[Headline]", some))
            elif kind is Seen:
                self._apply_cursors(cast("Iterable[Seen]", some))
            else:
                for record in some:
                    self.apply(cast("AnyRecord", record))

    def apply(self, record: AnyRecord) -> None:
        """Take in one committed record. Records come in rising order of seq."""
        if isinstance(record, Message):
            self._apply_messages((headline_of(record),))
            if record.by == SYSTEM and record.to is not None:
                self._note_told(record, record.to)
            return
        self.head = record.seq
        if record.cid is not None and record.digest is not None:
            self.requests.add(record.by, record.cid, record.digest, record.seq)
        match record:
            case About():
                self._apply_about(record)
            case AgentJoined():
                self._apply_joined(record)
            case Cursor():
                self._apply_cursors((Seen(record.seq, record.agent, record.upto),))
            case Receipt():
                self._apply_receipt(record)
            case Clear():
                self._apply_clear(record)
            case Epoch():
                self.epochs.append((record.seq, record.epoch))
            case Pause():
                if (agent := self.agents.get(record.agent)) is not None:
                    agent.paused = record.paused

    def _apply_messages(self, headlines: Iterable[Headline]) -> None:
        """Many at once, because a start has a million of them."""
        remember, enter, epoch_of = self.requests.add, self.ledger.add, self._epoch_of
        for seq, name, at_s, by, cid, digest, to, mentions, private, here, importance, thread in headlines:
            self.head = seq
            if cid is not None and digest is not None:
                remember(by, cid, digest, seq)
            root = self._message_seq(thread) if thread else 0
            enter(seq, "reply" if thread else "message", by, _audience(to, private, here), root, at_s=at_s)
            if name != make_id("m", epoch_of(seq), seq):
                self.foreign_ids[name] = seq
                self.foreign_seqs[seq] = name
            if importance is not None:
                self._add_badge(seq, BadgeView(type="importance", value=_IMPORTANCE[importance]))
            if USER in mentions:
                self._add_badge(seq, BadgeView(type="question", value="true"))
            if not thread:
                self.channel.append(seq)
            elif root:
                if by == USER:
                    self._answer_questions(root)
                self.threads.add(root, seq, by, mentions, by_person=by == USER)

    def _note_told(self, record: Message, to: tuple[str, ...]) -> None:
        """The notice that what somebody wrote is unread (`silence`) is not given again."""
        unread = (record.metadata or {}).get("unreadUpto")
        for agent in filter(None, map(self.agents.get, to)):
            if type(unread) is int:
                agent.told_upto, agent.told_in = max(agent.told_upto, unread), record.seq

    def _add_badge(self, seq: int, badge: BadgeView) -> None:
        self.badges[seq] = with_badge(self.badges.get(seq, ()), badge)
        if badge.type == "question":
            (self.questions.add if badge.value == "true" else self.questions.discard)(seq)

    def _answer_questions(self, root: int) -> None:
        """The person replied: the questions asked of it in that thread are answered."""
        for seq in (root, *self.threads.seqs(root)):
            if any(badge.type == "question" for badge in self.badges.get(seq, ())):
                self._add_badge(seq, BadgeView(type="question", value="answered"))

    def _apply_about(self, record: About) -> None:
        target = self.message(record.target)
        audience = _audience(record.to, record.private, False)
        about = target.seq if target is not None else 0
        self.ledger.add(record.seq, record.kind, record.by, audience, about, at_s=record.ts // 1000)
        if target is None:
            return
        if not isinstance(record, Badge):
            self.threads.end_run(self.root_of(target).seq)
        if isinstance(record, Badge):
            self._add_badge(target.seq, BadgeView(type=record.badge_type, value=record.value, label=record.label))
        elif isinstance(record, Flag):
            self.put_task(Task(target.seq, target.author, record.ts, filter=record.filter))
        elif (task := self.tasks.get(target.seq)) is not None:
            self.put_task(_advanced(task, record))

    def put_task(self, task: Task) -> None:
        """Enter a task as it is now, and who holds it. For `apply`, and for restoring a state."""
        before = self.tasks.get(task.target)
        if before is not None and before.claimant is not None:
            self.held.get(before.claimant, set()).discard(task.target)
        self.tasks[task.target] = task
        if task.held and task.claimant is not None:
            self.held.setdefault(task.claimant, set()).add(task.target)

    def _apply_joined(self, record: AgentJoined) -> None:
        known = self.agents.get(record.agent)
        agent = Agent(
            id=record.agent,
            name=record.name,
            cwd=record.cwd,
            project=record.project,
            session=record.session,
            process=record.process,
            explicit=record.explicit,
            joined=known.joined if known else record.seq,
            cursor=known.cursor if known else record.seq,
            shown=known.shown if known else set(),
            paused=known.paused if known else False,
            offered=known.offered if known else 0,
            told_upto=known.told_upto if known else 0,
            told_in=known.told_in if known else 0,
        )
        self.put_agents((agent,))

    def put_agents(self, agents: Iterable[Agent]) -> None:
        """Enter agents as they are now, and who is called what. For `apply`, and for restoring a state."""
        self.agents.update((agent.id, agent) for agent in agents)
        self.directory = Directory({agent.name: agent.id for agent in self.agents.values() if not agent.given_up})

    def _apply_cursors(self, cursors: Iterable[Seen]) -> None:
        for seq, who, upto in cursors:
            self.head = seq
            agent = self.agents.get(who)
            if agent is not None and upto > agent.cursor:
                agent.cursor = upto
                if agent.shown:
                    agent.shown = {shown for shown in agent.shown if shown > upto}

    def _apply_receipt(self, record: Receipt) -> None:
        agent = self.agents.get(record.agent)
        if agent is not None and record.state == "shown":
            agent.shown.update(seq for seq in record.seqs if seq > agent.cursor)
        elif agent is not None and record.state == "offered":
            agent.offered = max(agent.offered, *record.seqs)

    def _apply_clear(self, record: Clear) -> None:
        if not record.undo:
            self.clears.append(record.upto)
        elif self.clears:
            self.clears.pop()


@lru_cache(maxsize=1024)
def _audience(to: tuple[str, ...] | None, private: bool, here: bool) -> Audience:
    return Audience(None if to is None else frozenset(to), private, here)


def with_badge(badges: tuple[BadgeView, ...], new: BadgeView) -> tuple[BadgeView, ...]:
    """The badges of a message with one more, which takes the place of the one of its type, or of its type and value."""
    kept = [old for old in badges if old.type != new.type or (new.type in SEVERAL_VALUES and old.value != new.value)]
    return (*kept, new)


def _advanced(task: Task, record: About) -> Task:
    match record:
        case Claim():
            return attrs.evolve(
                task,
                status="claimed",
                claimant=record.agent,
                claims=record.claim_epoch,
                claimed_at=record.ts,
                freed=None,
            )
        case Progress():
            return attrs.evolve(task, status="in_progress")
        case Release():
            return attrs.evolve(
                task,
                status="open",
                claimant=None,
                claimed_at=None,
                finished_at=None,
                outcome=None,
                freed=(record.reason, record.ts),
            )
        case Resolve():
            return attrs.evolve(task, status=record.status, finished_at=record.ts, outcome=record.seq)
        case _:
            return task
