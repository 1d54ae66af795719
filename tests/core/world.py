"""A hub without doors or disk: decide, then apply, with a clock that only the test moves."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import pytest

from crosschat import wire
from crosschat.core import history, unread, views
from crosschat.core.handle import BeginEpoch, Effects, EndLease, Operation, handle
from crosschat.core.identity import Join, Joined
from crosschat.core.presence import Presence
from crosschat.core.state import State
from crosschat.errors import Code, Refused
from crosschat.model import THE_SYSTEM, Actor, AnyRecord, Importance, JsonObject, Slot, Status, TaskFilter

if TYPE_CHECKING:
    from collections.abc import Iterator

START_MS = 1_760_000_000_000
GRACE_MS = 600_000
R = TypeVar("R")


class World:
    """Its records are what a log would hold. `cid()` makes a new one; requests have new ones unless they are given."""

    def __init__(self, epoch: str = "e1") -> None:
        self.state = State()
        self.now = START_MS
        self.presence = Presence(self.now)
        self.records: list[AnyRecord] = []
        self._cids = 0
        self.do(THE_SYSTEM, BeginEpoch(epoch))

    def cid(self) -> str:
        self._cids += 1
        return f"c{self._cids}"

    def do(self, who: Actor, operation: Operation) -> Effects:
        effects = handle(self.state, self.presence, who, operation, Slot(self.state.head + 1, self.now))
        for record in effects.records:
            self.state.apply(record)
            self.records.append(record)
        return effects

    def last(self, kind: type[R]) -> R:
        """The last record of that kind."""
        return next(record for record in reversed(self.records) if isinstance(record, kind))

    # --- agents

    def ask_join(
        self,
        name: str | None = None,
        *,
        process: str | None = None,
        cwd: str = "/srv/app",
        project: str | None = None,
        session: str | None = None,
    ) -> Joined:
        """As `join`, with the whole answer."""
        process = process or f"process of {name or self.cid()}"
        joined = self.do(THE_SYSTEM, Join(process=process, cwd=cwd, name=name, project=project, session=session)).joined
        assert joined is not None
        self.presence.arrive(joined.agent, status="available", detail=None, offered=self.state.head, now_ms=self.now)
        return joined

    def join(
        self,
        name: str | None = None,
        *,
        process: str | None = None,
        cwd: str = "/srv/app",
        project: str | None = None,
        session: str | None = None,
    ) -> Actor:
        return Actor(self.ask_join(name, process=process, cwd=cwd, project=project, session=session).agent)

    def leave(self, who: Actor) -> None:
        self.presence.leave(who.id, now_ms=self.now)

    def name(self, who: Actor) -> str:
        return self.state.agents[who.id].name

    # --- requests

    def send(
        self,
        who: Actor,
        content: str,
        thread: str | None = None,
        *,
        importance: Importance | None = None,
        metadata: JsonObject | None = None,
        cid: str | None = None,
    ) -> str:
        """The id of the new message."""
        frame = wire.Send(
            id="1", cid=cid or self.cid(), content=content, thread=thread, importance=importance, metadata=metadata
        )
        seq = self.do(who, frame).seq
        assert seq is not None
        return self.state.message_id(seq)

    def flag(self, who: Actor, message: str, wanted: TaskFilter | None = None, *, cid: str | None = None) -> Effects:
        return self.do(who, wire.FlagTask(id="1", cid=cid or self.cid(), message=message, filter=wanted))

    def claim(self, who: Actor, message: str, *, cid: str | None = None) -> Effects:
        return self.do(who, wire.ClaimTask(id="1", cid=cid or self.cid(), message=message))

    def begin(self, who: Actor, message: str, status: Status = "busy") -> Effects:
        return self.do(who, wire.SetStatus(id="1", cid=self.cid(), status=status, task=message))

    def resolve(
        self, who: Actor, message: str, *, failed: bool = False, result: str = "done", cid: str | None = None
    ) -> Effects:
        frame = wire.ResolveTask(
            id="1",
            cid=cid or self.cid(),
            message=message,
            status="failed" if failed else "completed",
            result=result,
            error="why" if failed else None,
        )
        return self.do(who, frame)

    def release(self, who: Actor, message: str, *, reopen: bool = False) -> Effects:
        return self.do(who, wire.ReleaseTask(id="1", cid=self.cid(), message=message, reopen=reopen))

    def badge(
        self, who: Actor, message: str, kind: str, value: str, label: str | None = None, *, cid: str | None = None
    ) -> Effects:
        frame = wire.AddBadge(id="1", cid=cid or self.cid(), message=message, badge_type=kind, value=value, label=label)
        return self.do(who, frame)

    def clear(self, who: Actor) -> Effects:
        return self.do(who, wire.ClearChannel(id="1", cid=self.cid()))

    def mark(self, who: Actor, upto: int | None = None, *seqs: int) -> Effects:
        return self.do(who, wire.Mark(upto=upto, seqs=seqs))

    def end_leases(self) -> Effects:
        """End the lease of every task, whether it is time or not: the rules decide."""
        effects = Effects()
        for target in sorted(self.state.tasks):
            effects = self.do(THE_SYSTEM, EndLease(target, GRACE_MS))
        return effects

    # --- looking

    def seq(self, message: str) -> int:
        entry = self.state.message(message)
        assert entry is not None
        return entry.seq

    def unread(self, who: Actor) -> list[int]:
        return list(unread.unread(self.state, self.state.agents[who.id]))

    def unread_messages(self, who: Actor) -> list[str]:
        """Ids of the unread messages; changes to messages are left out."""
        entries = [self.state.ledger.get(seq) for seq in self.unread(who)]
        return [self.state.message_id(e.seq) for e in entries if e is not None and e.kind in ("message", "reply")]

    def see_everything(self, *agents: Actor) -> None:
        for who in agents:
            self.mark(who, self.state.head)

    def can_read(self, who: Actor, message: str) -> bool:
        try:
            self.select(who, message=message)
        except Refused as refused:
            if refused.code is not Code.NOT_FOUND:
                raise
            return False
        return True

    def select(
        self,
        who: Actor,
        *,
        thread: str | None = None,
        limit: int = 20,
        unread: bool = False,
        before: str | None = None,
        after: str | None = None,
        badge: str | None = None,
        message: str | None = None,
        offset: int = 0,
    ) -> history.Selection:
        read = wire.Read(
            id="1",
            thread=thread,
            limit=limit,
            unread=unread,
            before=before,
            after=after,
            badge=badge,
            message=message,
            offset=offset,
        )
        return history.select(self.state, who, read)

    def page(
        self,
        who: Actor,
        *,
        thread: str | None = None,
        limit: int = 20,
        before: str | None = None,
        after: str | None = None,
        badge: str | None = None,
    ) -> list[str]:
        """Ids of the messages on that page."""
        selection = self.select(who, thread=thread, limit=limit, before=before, after=after, badge=badge)
        return [self.state.message_id(seq) for seq in selection.seqs]

    def badges(self, message: str) -> list[tuple[str, str]]:
        return [(badge.type, badge.value) for badge in views.badges_of(self.state, self.seq(message))]

    def task(self, message: str) -> wire.TaskView:
        view = views.task_of(self.state, self.seq(message))
        assert view is not None
        return view

    def item(self, record: AnyRecord) -> wire.Item:
        item = views.item_of(self.state, record)
        assert item is not None
        return item

    def replayed(self) -> State:
        """The state of a hub that starts on these records."""
        state = State()
        for record in self.records:
            state.apply(record)
        return state


@contextmanager
def refused(code: Code, words: str = "") -> Iterator[None]:
    """The block raises Refused with this code, and a text with these words in it."""
    with pytest.raises(Refused) as caught:
        yield
    assert caught.value.code is code
    assert words in caught.value.message
