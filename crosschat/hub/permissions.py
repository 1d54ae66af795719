"""The permission desk: requests that wait for the person, and the decisions that paired pages have signed.

A request is a hook that waits on a connection. It is `pending`; then once and for all it is decided, answered elsewhere
(the hook was ended, or its session's hooks show that it went on), expired, or gone with its session. It lives in memory
on the clock that is never set: a hub that restarts knows nothing of it, and the hook asks again, as a new request with
a new nonce, for which no old signature is good.

Invariant: no `allow` leaves this module whose audit line is not durable, and nothing leaves it for a request that is
not pending: `decide` takes the request out of `pending` before it first waits. Whoever cannot be helped here is
answered with "no opinion", and Claude Code's own dialog stands. Nothing is allowed by default, nothing denied by time.

A crash loses what waits and no more. Cancelling `serve` is the end of its request; `decide` is not cut short between
the audit and the answer.
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, Protocol

import attrs
import trio

from crosschat import processes
from crosschat.codec import BadFrame
from crosschat.core import permissions as rules_of
from crosschat.core.outcomes import read_ran
from crosschat.core.permissions import Decision
from crosschat.errors import Code, Refused
from crosschat.hub.approvals import Approvals, Request, of_turn, witness
from crosschat.hub.sessions import agent_of
from crosschat.model import iso
from crosschat.pagewire import Decided, PermissionOver, PermissionView
from crosschat.wire import NoOpinion, NoOpinionReason, PermissionAsked, encode, encode_verdict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from crosschat.hub.audit import Audit
    from crosschat.hub.log import Logger
    from crosschat.hub.router import Router
    from crosschat.hub.watchfiles import WatchFiles
    from crosschat.model import JsonObject

EXPIRE_S: Final = 3570.0  # Claude Code ends the hook after 3600 s
REPEAT_S: Final = 15.0  # a waiting hook hears so often that the hub is alive
NO_PAGE_S: Final = 10.0  # a page that is loaded anew is back within this
PENDING_OF_ONE: Final = 32  # requests of one session; more are left to its own dialog
PENDING: Final = 256
PENDING_BYTES: Final = 32 * 1024 * 1024
ENDED: Final = 256  # requests that are remembered to tell a late page what became of them


class Watcher(Protocol):
    """Somebody who shows the desk. Called in the hub's thread, without waiting; never raises."""

    def asked(self, view: PermissionView) -> None:
        """A request waits."""

    def over(self, over: PermissionOver) -> None:
        """It does not wait any more."""

    def alarm(self, text: str, *, agent: str, name: str) -> None:
        """What ran may differ from what was allowed."""


class Hook(Protocol):
    """The hook's end of a connection."""

    async def say(self, line: bytes) -> None:
        """Send a frame. Raises trio.BrokenResourceError, trio.TooSlowError."""

    async def until_closed(self) -> None:
        """Return when the hook has closed it, or says more than it should."""


State = Literal["pending", "deciding", "over"]


@attrs.define(eq=False)
class _Waiting:
    """A request and the task that serves its hook."""

    request: Request
    since: float
    size: int
    state: State = "pending"
    how: Decided | None = None
    decision: Decision | None = None
    by: str | None = None
    reason: NoOpinionReason = "answered_elsewhere"
    ended: trio.Event = attrs.Factory(trio.Event)
    settled: trio.Event = attrs.Factory(trio.Event)  # the answer has left, or could not
    delivered: bool = False

    @property
    def view(self) -> PermissionView:
        return self.request.view

    @property
    def head(self) -> str:
        return rules_of.payload_head(self.view.id, self.view.digest, self.view.hub_nonce)

    @property
    def waited_ms(self) -> int:
        return int((trio.current_time() - self.since) * 1000)

    def end(self, how: Decided, reason: NoOpinionReason) -> None:
        """It waits no more, without a decision. A second end changes nothing, and none comes after a decision."""
        if self.state != "over":
            self.state, self.how, self.reason = "over", how, reason
            self.ended.set()


class PermissionDesk:
    """See the module. All methods run in the trio thread; those that are not async do not wait."""

    def __init__(self, *, router: Router, audit: Audit, watch: WatchFiles, log: Logger) -> None:
        self._router = router
        self._audit = audit
        self._watch = watch
        self._log = log
        self._waiting: dict[str, _Waiting] = {}
        self._ended: OrderedDict[str, Decided] = OrderedDict()
        self._approvals = Approvals(watch, log, self._tell_alarm)
        self._watchers: list[Watcher] = []
        self._pages = 0
        self._page_change = trio.Event()

    # --- for the pages

    def requests(self) -> tuple[PermissionView, ...]:
        """Those that can be decided now, oldest first."""
        return tuple(one.view for one in self._waiting.values() if one.state == "pending")

    def watch(self, watcher: Watcher) -> None:
        self._watchers.append(watcher)

    def unwatch(self, watcher: Watcher) -> None:
        self._watchers.remove(watcher)

    def page_opened(self) -> None:
        """A paired page can decide from now on, until `page_closed`."""
        self._pages += 1
        self._page_change.set()
        self._page_change = trio.Event()

    def page_closed(self) -> None:
        self._pages -= 1
        self._page_change.set()
        self._page_change = trio.Event()

    def problems(self) -> tuple[str, ...]:
        """What the person should know, for people."""
        return (*((self._audit.problem,) if self._audit.problem is not None else ()), *self._approvals.alarms)

    def _tell_alarm(self, text: str, request: Request) -> None:
        for watcher in tuple(self._watchers):
            watcher.alarm(text, agent=request.view.agent, name=request.view.name)

    async def decide(self, *, key: str, label: str, request: str, payload: str, signature: str) -> None:
        """Carry out what was signed; returns when the answer has left for the session.

        `signature` must have been checked: it is over `payload`, by the paired key `key`. Raises Refused: nothing was
        decided then, or the session went on before the answer reached it. Not cut short by a cancel once it has begun.
        """
        waiting = self._waiting.get(request)
        if waiting is None or waiting.state != "pending":
            raise self._too_late(request)
        decision = rules_of.read_decision(waiting.request.asked, payload, waiting.head)
        waiting.state = "deciding"
        with trio.CancelScope(shield=True):
            try:
                await self._audit.write(_decided(waiting, decision, key=key, label=label, signature=signature))
            except OSError as error:
                self._log.error("audit not written", request=request, error=repr(error))
                if decision.behavior == "allow":
                    if waiting.state == "deciding":
                        waiting.state = "pending"
                    raise _unwritten(error) from None
            if waiting.state == "deciding":
                waiting.state, waiting.how = "over", "decided"
                waiting.decision, waiting.by = decision, label
                waiting.ended.set()
            await waiting.settled.wait()  # bounded: a send to a hook has a deadline
        if not waiting.delivered:
            raise Refused(Code.CONFLICT, "The session went on before the answer reached it; it was not used.")

    def _too_late(self, request: str) -> Refused:
        if request in self._waiting:
            return Refused(Code.CONFLICT, "This request is being decided already.")
        how = self._ended.get(request)
        if how is None:
            return Refused(Code.NOT_FOUND, "There is no such request: it was of an earlier hub, or is long over.")
        why = {
            "decided": "has been decided already",
            "answered_elsewhere": "was answered in the session's terminal",
            "expired": "has waited too long; the terminal shows it",
            "gone": "went with its session",
        }[how]
        return Refused(Code.CONFLICT, f"This request {why}.")

    # --- for the hooks

    async def serve(self, hook: Hook, pid: int, frame_id: str, raw: bytes) -> None:
        """Serve the hook `pid` until it has its answer or is gone. Raises trio.BrokenResourceError, TooSlowError."""
        found = self._take(pid, raw)
        if isinstance(found, str):
            await hook.say(encode(NoOpinion(id=frame_id, reason=found)))
            return
        self._waiting[found.view.id] = found
        self._watch.need(found.request.claude.pid)
        try:
            await hook.say(encode(PermissionAsked(id=frame_id, hub_nonce=found.view.hub_nonce)))
            self._log.info("asked", request=found.view.id, agent=found.view.agent, tool=found.request.asked.tool)
            for watcher in tuple(self._watchers):
                watcher.asked(found.view)
            await self._wait(found, hook, frame_id)
            await self._answer(found, hook, frame_id)
        finally:
            found.end("gone", "gone")
            await self._close(found)

    def _take(self, pid: int, raw: bytes) -> _Waiting | NoOpinionReason:
        """The request, or why it is none for this desk."""
        claude, hook = processes.find_agent_process(pid), processes.find(pid)
        agent = agent_of(self._router, claude) if claude is not None else None
        if claude is None or hook is None or agent is None:
            return "not_mine"
        try:
            asked = rules_of.read_request(raw)
        except BadFrame as error:
            self._log.warning("request left to the terminal", agent=agent.id, why=error.message)
            return "unreadable"
        printing = processes.is_unattended(claude)
        if printing and not self._pages:
            return "nobody"
        if asked.event == "PreToolUse" and not printing:
            return "dialog"
        sizes = [one.size for one in self._waiting.values()]
        of_one = sum(one.view.agent == agent.id for one in self._waiting.values())
        if len(sizes) >= PENDING or of_one >= PENDING_OF_ONE or sum(sizes) + len(raw) > PENDING_BYTES:
            self._log.warning("request left to the terminal", agent=agent.id, why="too many wait")
            return "full"
        nonce = os.urandom(32)
        view = PermissionView(
            id=os.urandom(8).hex(),
            agent=agent.id,
            name=agent.name,
            cwd=agent.cwd,
            raw=asked.text,
            digest=rules_of.digest(nonce, raw),
            hub_nonce=nonce.hex(),
            received_at=iso(self._router.clock_ms()),
            mode=asked.mode,
            printing=printing,
        )
        return _Waiting(Request(view, asked, claude, hook.start), trio.current_time(), len(raw))

    async def _wait(self, waiting: _Waiting, hook: Hook, frame_id: str) -> None:
        """Until it is over; the only task that sends."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_end_when, hook.until_closed, waiting, "answered_elsewhere", "answered_elsewhere")
            nursery.start_soon(_end_when, partial(self._session_gone, waiting), waiting, "gone", "gone")
            if waiting.view.printing:
                nursery.start_soon(_end_when, self._no_page, waiting, "expired", "nobody")
            again = encode(PermissionAsked(id=frame_id, hub_nonce=waiting.view.hub_nonce))
            while not waiting.ended.is_set():
                with trio.move_on_after(REPEAT_S):
                    await waiting.ended.wait()
                    break
                if trio.current_time() - waiting.since >= EXPIRE_S:
                    waiting.end("expired", "expired")
                else:
                    await hook.say(again)
            nursery.cancel_scope.cancel()

    async def _session_gone(self, waiting: _Waiting) -> None:
        try:
            await processes.wait_gone(waiting.request.claude)
        except OSError as error:  # no descriptor is free: the hook's own end is seen all the same
            self._log.warning("process not watched", pid=waiting.request.claude.pid, error=repr(error))
            await trio.sleep_forever()

    async def _no_page(self) -> None:
        """Return when no paired page has been open for a while."""
        while True:
            changed = self._page_change
            if self._pages:
                await changed.wait()
                continue
            with trio.move_on_after(NO_PAGE_S):
                await changed.wait()
                continue
            return

    async def _answer(self, waiting: _Waiting, hook: Hook, frame_id: str) -> None:
        decision = waiting.decision
        if decision is None:
            await hook.say(encode(NoOpinion(id=frame_id, reason=waiting.reason)))
            return
        if decision.behavior == "allow":
            await self._note(self._approvals.follow(waiting.request))
        try:
            await hook.say(encode_verdict(frame_id, waiting.view.digest, decision.output))
            waiting.delivered = True
        finally:
            if not waiting.delivered and decision.behavior == "allow":
                self._approvals.unfollow(waiting.request)

    async def _close(self, waiting: _Waiting) -> None:
        """It is over: tell the pages, write it down, and let go."""
        del self._waiting[waiting.view.id]
        how = waiting.how or "gone"
        self._ended[waiting.view.id] = how
        if len(self._ended) > ENDED:
            self._ended.popitem(last=False)
        waiting.settled.set()
        self._watch.release(waiting.request.claude.pid)
        behavior = waiting.decision.behavior if waiting.decision is not None else None
        over = PermissionOver(request=waiting.view.id, how=how, behavior=behavior, by=waiting.by)
        for watcher in tuple(self._watchers):
            watcher.over(over)
        if waiting.decision is not None and not waiting.delivered:
            await self._note([waiting.request.line("undelivered")])
        elif waiting.decision is None:
            await self._note([waiting.request.line(how, waited_ms=waiting.waited_ms, where=_where(how))])

    async def _note(self, lines: Iterable[JsonObject]) -> None:
        """Lines of the audit that nothing depends on."""
        with trio.CancelScope(shield=True):
            for line in lines:
                try:
                    await self._audit.write(line)
                except OSError as error:
                    request, about = line["request"], line["event"]
                    self._log.error("audit not written", request=request, about=about, error=repr(error))

    # --- what ran

    async def ran(self, pid: int, raw: bytes) -> None:
        """A hook of the session above `pid` shows what ran. Raises BadFrame; what is of no session here is ignored."""
        by = witness(pid)
        if by is None:
            return
        answered, lines = self._approvals.seen(by, read_ran(raw), [one.request for one in self._waiting.values()])
        for request in answered:
            self._waiting[request.view.id].end("answered_elsewhere", "answered_elsewhere")
        await self._note(lines)

    async def turn_ended(self, pid: int, *, session_too: bool) -> None:
        """The session above `pid` has ended its turn, so what its terminal asked for is answered; `session_too`: it
        ends, and its subagents with it."""
        by = witness(pid)
        if by is None:
            return
        for waiting in self._waiting.values():
            if of_turn(by, waiting.request, session_too=session_too):
                waiting.end("answered_elsewhere", "answered_elsewhere")
        await self._note(self._approvals.turn_ended(by, session_too=session_too))


async def _end_when(
    happens: Callable[[], Awaitable[None]], waiting: _Waiting, how: Decided, reason: NoOpinionReason
) -> None:
    await happens()
    waiting.end(how, reason)


def _decided(waiting: _Waiting, decision: Decision, *, key: str, label: str, signature: str) -> JsonObject:
    return waiting.request.line(
        "decided",
        behavior=decision.behavior,
        waited_ms=waiting.waited_ms,
        where="page",
        key=key,
        label=label,
        payload_sha256=hashlib.sha256(decision.payload.encode()).hexdigest(),
        signature=signature,
    )


def _where(how: Decided) -> str:
    return "terminal" if how == "answered_elsewhere" else "nowhere"


def _unwritten(error: OSError) -> Refused:
    return Refused(
        Code.STORAGE_FULL,
        f"Not allowed: the audit of this could not be written ({error.strerror or error}). Deny it, answer in the "
        "session's terminal, or make room on the disk and try again.",
    )
