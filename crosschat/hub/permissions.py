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
import json
import os
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeVar

import attrs
import trio

from crosschat import processes
from crosschat.codec import BadFrame
from crosschat.core import permissions as rules_of
from crosschat.core.asklist import PRESETS
from crosschat.core.outcomes import read_ran, strangers
from crosschat.core.permissions import Asked, Decision
from crosschat.errors import Code, Refused
from crosschat.hub.sessions import agent_of
from crosschat.model import iso
from crosschat.pagewire import Decided, PermissionOver, PermissionView
from crosschat.processes import Process
from crosschat.wire import NoOpinion, NoOpinionReason, PermissionAsked, PresetView, encode, encode_verdict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from crosschat.core.outcomes import Ran, Use
    from crosschat.hub.asklist import AskList
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
OUTSTANDING: Final = 64  # approvals of one session that are followed until their tools ran
ENDED: Final = 256  # requests that are remembered to tell a late page what became of them
ALARMS: Final = 20


class Watcher(Protocol):
    """Somebody who shows the desk. Called in the hub's thread, without waiting; never raises."""

    def asked(self, view: PermissionView) -> None:
        """A request waits."""

    def over(self, over: PermissionOver) -> None:
        """It does not wait any more."""

    def alarm(self, text: str, *, agent: str, name: str) -> None:
        """What ran may differ from what was allowed."""

    def ruled(self, rules: tuple[str, ...]) -> None:
        """The ask-list has changed."""


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

    view: PermissionView
    asked: Asked
    claude: Process
    began: int  # when the hook's process did; hooks of one session may overtake each other
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


@attrs.frozen
class _Approval:
    """An allow that has left, whose tool was not seen yet."""

    view: PermissionView
    asked: Asked
    claude: Process
    began: int


class PermissionDesk:
    """See the module. All methods run in the trio thread; those that are not async do not wait."""

    def __init__(self, *, router: Router, audit: Audit, watch: WatchFiles, asking: AskList, log: Logger) -> None:
        self.asking = asking
        self._router = router
        self._audit = audit
        self._watch = watch
        self._log = log
        self._waiting: dict[str, _Waiting] = {}
        self._ended: OrderedDict[str, Decided] = OrderedDict()
        self._approvals: list[_Approval] = []
        self._watchers: list[Watcher] = []
        self._pages = 0
        self._page_change = trio.Event()
        self.alarms: list[str] = []
        asking.changed.append(self._tell_rules)

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

    def rules(self) -> tuple[str, ...]:
        """The ask-list."""
        return self.asking.rules

    @property
    def presets(self) -> tuple[PresetView, ...]:
        return tuple(PresetView(name=name, rules=rules) for name, rules in PRESETS.items())

    async def add_rule(self, rule: str) -> None:
        """Raises Refused."""
        await self.asking.add(rule)

    async def remove_rule(self, rule: str) -> None:
        """Raises Refused."""
        await self.asking.remove(rule)

    def problems(self) -> tuple[str, ...]:
        """What the person should know, for people."""
        return (*((self._audit.problem,) if self._audit.problem is not None else ()), *self.alarms)

    def _tell_rules(self) -> None:
        for watcher in tuple(self._watchers):
            watcher.ruled(self.asking.rules)

    async def decide(self, *, key: str, label: str, request: str, payload: str, signature: str) -> None:
        """Carry out what was signed; returns when the answer has left for the session.

        `signature` must have been checked: it is over `payload`, by the paired key `key`. Raises Refused: nothing was
        decided then, or the session went on before the answer reached it. Not cut short by a cancel once it has begun.
        """
        waiting = self._waiting.get(request)
        if waiting is None or waiting.state != "pending":
            raise self._too_late(request)
        decision = rules_of.read_decision(waiting.asked, payload, waiting.head)
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
        self._watch.need(found.claude.pid)
        try:
            await hook.say(encode(PermissionAsked(id=frame_id, hub_nonce=found.view.hub_nonce)))
            self._log.info("asked", request=found.view.id, agent=found.view.agent, tool=found.asked.tool)
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
        return _Waiting(view, asked, claude, hook.start, trio.current_time(), len(raw))

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
            await processes.wait_gone(waiting.claude)
        except OSError as error:  # no descriptor is free: the hook's own end is seen all the same
            self._log.warning("process not watched", pid=waiting.claude.pid, error=repr(error))
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
        approval = _Approval(waiting.view, waiting.asked, waiting.claude, waiting.began)
        if decision.behavior == "allow":  # before the answer leaves: its tool may run at once
            await self._follow(approval)
        try:
            await hook.say(encode_verdict(frame_id, waiting.view.digest, decision.output))
            waiting.delivered = True
        finally:
            if not waiting.delivered and decision.behavior == "allow":
                self._unfollow(approval)

    async def _close(self, waiting: _Waiting) -> None:
        """It is over: tell the pages, write it down, and let go."""
        del self._waiting[waiting.view.id]
        how = waiting.how or "gone"
        self._ended[waiting.view.id] = how
        if len(self._ended) > ENDED:
            self._ended.popitem(last=False)
        waiting.settled.set()
        self._watch.release(waiting.claude.pid)
        behavior = waiting.decision.behavior if waiting.decision is not None else None
        over = PermissionOver(request=waiting.view.id, how=how, behavior=behavior, by=waiting.by)
        for watcher in tuple(self._watchers):
            watcher.over(over)
        if waiting.decision is not None and not waiting.delivered:
            await self._note("undelivered", waiting.view, waiting.asked)
        elif waiting.decision is None:
            await self._note(how, waiting.view, waiting.asked, waited_ms=waiting.waited_ms, where=_where(how))

    async def _note(self, event: str, view: PermissionView, asked: Asked, **more: object) -> None:
        """A line of the audit that nothing depends on."""
        with trio.CancelScope(shield=True):
            try:
                await self._audit.write({**_about(event, view, asked), **more})
            except OSError as error:
                self._log.error("audit not written", request=view.id, about=event, error=repr(error))

    # --- what ran

    async def ran(self, pid: int, raw: bytes) -> None:
        """A hook of the session above `pid` shows what ran. Raises BadFrame; what is of no session here is ignored."""
        claude, hook = processes.find_agent_process(pid), processes.find(pid)
        if claude is not None and hook is not None:
            await self._shown(claude, hook.start, read_ran(raw))

    async def _shown(self, claude: Process, shown_at: int, ran: Ran) -> None:
        def concerns(one: _Waiting | _Approval) -> bool:
            return one.claude.pin == claude.pin and one.began < shown_at and one.asked.subagent == ran.subagent

        mine = list(filter(concerns, self._waiting.values()))
        approved = list(filter(concerns, self._approvals))
        known = [one.asked for one in mine] + [one.asked for one in approved]
        unknown = strangers(ran.uses, [(asked.tool, asked.given) for asked in known])
        for use in ran.uses:
            if (seen := _first(approved, use)) is not None:
                approved.remove(seen)
                self._unfollow(seen)
                await self._note("ran", seen.view, seen.asked)
            elif (answered := _first(mine, use)) is not None:
                mine.remove(answered)
                answered.end("answered_elsewhere", "answered_elsewhere")
        if ran.whole:  # nothing of this step can still wait or run
            for one in mine:
                one.end("answered_elsewhere", "answered_elsewhere")
            for approval in approved:
                if approval.asked.prompt == ran.prompt:
                    await self._unseen(approval, [use for use in unknown if use.tool == approval.asked.tool])

    async def turn_ended(self, pid: int, *, session_too: bool) -> None:
        """The session above `pid` has ended its turn, so what its terminal asked for is answered; `session_too`: it
        ends, and its subagents with it."""
        claude, hook = processes.find_agent_process(pid), processes.find(pid)
        if claude is None or hook is None:
            return

        def concerns(one: _Waiting | _Approval) -> bool:
            return (
                one.claude.pin == claude.pin and one.began < hook.start and (session_too or one.asked.subagent is None)
            )

        for waiting in filter(concerns, tuple(self._waiting.values())):
            waiting.end("answered_elsewhere", "answered_elsewhere")
        for approval in filter(concerns, tuple(self._approvals)):
            await self._unseen(approval, ())

    async def _follow(self, approval: _Approval) -> None:
        of_one = [one for one in self._approvals if one.claude.pin == approval.claude.pin]
        self._approvals.append(approval)
        self._watch.need(approval.claude.pid)
        if len(of_one) >= OUTSTANDING:
            await self._unseen(of_one[0], ())

    def _unfollow(self, approval: _Approval) -> bool:
        """False if it was not followed any more."""
        if approval not in self._approvals:
            return False
        self._approvals.remove(approval)
        self._watch.release(approval.claude.pid)
        return True

    async def _unseen(self, approval: _Approval, instead: Sequence[Use]) -> None:
        """What was allowed did not run; `instead` did, which nobody was asked about here."""
        if not self._unfollow(approval):
            return
        if not instead:
            await self._note("not_run", approval.view, approval.asked)
            return
        view = approval.view
        text = (
            f"{view.name} was allowed to use {approval.asked.tool}, and used it with another input than the one that "
            "was shown. Something else on this machine may change what its tools are given: look at its hooks."
        )
        self.alarms.append(text)
        del self.alarms[:-ALARMS]
        self._log.error("alarm", request=view.id, agent=view.agent, tool=approval.asked.tool)
        for watcher in tuple(self._watchers):
            watcher.alarm(text, agent=view.agent, name=view.name)
        await self._note("alarm", view, approval.asked, ran_sha256=[_sha256(use.given) for use in instead[:8]])


async def _end_when(
    happens: Callable[[], Awaitable[None]], waiting: _Waiting, how: Decided, reason: NoOpinionReason
) -> None:
    await happens()
    waiting.end(how, reason)


Asking = TypeVar("Asking", _Waiting, _Approval)


def _first(among: list[Asking], use: Use) -> Asking | None:
    return next((one for one in among if use.is_of(one.asked.tool, one.asked.given)), None)


def _about(event: str, view: PermissionView, asked: Asked) -> JsonObject:
    return {
        "event": event,
        "request": view.id,
        "agent": view.agent,
        "name": view.name,
        "tool": asked.tool,
        "digest": view.digest,
        "hub_nonce": view.hub_nonce,
        "asked_at": view.received_at,
    }


def _decided(waiting: _Waiting, decision: Decision, *, key: str, label: str, signature: str) -> JsonObject:
    return {
        **_about("decided", waiting.view, waiting.asked),
        "behavior": decision.behavior,
        "waited_ms": waiting.waited_ms,
        "where": "page",
        "key": key,
        "label": label,
        "payload_sha256": hashlib.sha256(decision.payload.encode()).hexdigest(),
        "signature": signature,
    }


def _where(how: Decided) -> str:
    return "terminal" if how == "answered_elsewhere" else "nowhere"


def _sha256(given: JsonObject) -> str:
    return hashlib.sha256(json.dumps(given, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _unwritten(error: OSError) -> Refused:
    return Refused(
        Code.STORAGE_FULL,
        f"Not allowed: the audit of this could not be written ({error.strerror or error}). Deny it, answer in the "
        "session's terminal, or make room on the disk and try again.",
    )
