"""The link to the hub: one task that dials, joins, resumes and comes back, and the requests that survive it.

Invariants
    a request   is asked again, with the same `id` and `cid`, on every connection until it is answered or its deadline
                has passed; the hub answers a repeated `cid` as the first time. After the deadline it is never sent
                again, and the error says whether it may have been stored.
    deliveries  resume behind the last good number; a hole ends the connection, and the next one fills it.
    the hub     may die, restart, be replaced or refuse: the link reports it and tries again. It ends by cancel only.
                One that is older than this client is asked to make room for a newer one, and serves until then.

A cancel tears nothing: the connection goes with it, and a frame that was under way arrived whole or not at all.
"""

from __future__ import annotations

import itertools
import math
import random
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, cast

import attrs
import trio

from crosschat import codec, version, wire
from crosschat.bridge.launch import HubUnavailable
from crosschat.bridge.requests import Pending, Request, Result, encode, refusal
from crosschat.errors import Code, Refused
from crosschat.limits import HELLO_DEADLINE_S, TOOL_DEADLINE_S
from crosschat.websocket import Closed

if TYPE_CHECKING:
    from crosschat.bridge.inbox import Inbox

FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 2.0
# After a refusal that will not go away by itself: so often without, and so early with a tool that asks.
REFUSED_PAUSE_S: Final = 30.0
ASKED_PAUSE_S: Final = 0.5
REQUESTS_PENDING: Final = 64
UNSUPPORTED_TRIES: Final = 5  # somebody else may be about to replace a hub that is too old


class Connection(Protocol):
    """What the link needs of a connection."""

    async def receive(self) -> str | bytes: ...
    async def send(self, data: bytes) -> None: ...


Dial: TypeAlias = Callable[[trio.Nursery], Awaitable[Connection]]


@attrs.define
class _Attempt:
    """How one connection, or the attempt at it, ended. Without `pause_s` the next one follows after a back-off."""

    pause_s: float | None = None
    patient: bool = False  # the pause is not shortened by a tool that asks
    refused: Refused | None = None


class Link:
    """`news` is called after every change a waiting tool may care about. `notices` are for the model, once."""

    def __init__(
        self,
        hello: wire.Hello,
        inbox: Inbox,
        *,
        dial: Dial,
        start_hub: Callable[[], Awaitable[None]],
        news: Callable[[], None] = lambda: None,
    ) -> None:
        self.hello = hello
        self.inbox = inbox
        self.news = news
        self.welcome: wire.Welcome | None = None
        self.activity = wire.Activity()  # what the session does, as far as this connection's hub has said
        self.connected = False
        self.joined = trio.Event()  # it was connected at least once
        self.superseded = False
        self.trouble: str | None = None  # why the hub is away, for people
        self.notices: deque[str] = deque(maxlen=8)
        self._dial, self._start_hub = dial, start_hub
        self._ids = itertools.count(1)
        self._pending: dict[str, Pending] = {}
        self._outbox: deque[Pending | bytes] = deque()
        self._work = trio.Event()  # the outbox is not empty
        self._asked = trio.Event()  # a tool needs the hub
        self._unsupported = 0  # refusals of our protocol in a row
        self._may_start = True  # False after the person stopped the hub, until a tool needs it

    # --- what tools do

    def new_id(self) -> str:
        return f"r{next(self._ids)}"

    def wanted(self) -> None:
        """A tool was called: this is the session's server, and a long pause ends early."""
        self.superseded = False
        self._may_start = True
        self._asked.set()

    async def request(self, frame: Request, *, deadline: float = math.inf) -> Result:
        """The hub's answer. Raises Refused: the hub's error, or UNAVAILABLE when none came by `deadline` (trio's
        clock, at most `TOOL_DEADLINE_S` from now). A cancelled request is not sent any more; if it was, it counts."""
        pending = Pending(frame, encode(frame))
        if len(self._pending) >= REQUESTS_PENDING:
            raise Refused(Code.RATE_LIMITED, "Too many calls at once: wait for some to end")
        self._pending[frame.id] = pending
        self.wanted()
        try:
            with trio.move_on_at(min(deadline, trio.current_time() + TOOL_DEADLINE_S)):
                while True:
                    self._push(pending)
                    await pending.done.wait()
                    pause_s = pending.ask_again_after_s()
                    if pause_s is None:
                        break
                    await trio.sleep(pause_s)
        finally:
            del self._pending[frame.id]
        match pending.outcome:
            case Refused() as refused:
                raise refused
            case wire.Error() as error:
                raise refusal(error)
            case None:
                raise Refused(Code.UNAVAILABLE, pending.lost(self._problem()))
            case answer:
                return cast("Result", answer)

    async def read(self, frame: wire.Read | wire.Search, *, deadline: float = math.inf) -> wire.Page:
        """`request` for a page. Raises Refused as it does."""
        page = await self.request(frame, deadline=deadline)
        if not isinstance(page, wire.Page):
            raise Refused(Code.INTERNAL, f"The hub answered {frame.type} with {page.type}")
        return page

    def post(self, frame: wire.Mark | wire.Waking) -> None:
        """Send without an answer, before any later request. While the hub is away it is left to who said it."""
        self._push(wire.encode(frame))

    def _push(self, entry: Pending | bytes) -> None:
        if self.connected and (isinstance(entry, bytes) or entry not in self._outbox):  # what is posted is counted
            self._outbox.append(entry)
            self._work.set()

    def _problem(self) -> str:
        if self.connected:
            return "The CrossChat hub did not answer in time"
        return "The CrossChat hub is away" + (f": {self.trouble}" if self.trouble else "")

    # --- the task

    async def run(self) -> None:
        """Stay connected for ever."""
        failures = 0
        while True:
            began = trio.current_time()
            attempt = await self._connect_once()
            if attempt.refused is not None:
                self.trouble = attempt.refused.message.rstrip(".")
            lasted = self.connected and trio.current_time() - began > LONGEST_PAUSE_S
            failures = 0 if lasted else failures + 1
            self.connected = False
            self.news()
            await self._pause(attempt, failures)

    async def _pause(self, attempt: _Attempt, failures: int) -> None:
        if attempt.pause_s is None:
            longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(failures, 10))
            await trio.sleep(random.uniform(longest / 2, longest))
        elif attempt.patient:
            await trio.sleep(attempt.pause_s)
        else:
            if all(pending.done.is_set() for pending in self._pending.values()):
                self._asked = trio.Event()
            with trio.move_on_after(attempt.pause_s):
                await self._asked.wait()
                await trio.sleep(ASKED_PAUSE_S)

    async def _connect_once(self) -> _Attempt:
        """From dialling to the end of the connection. `connected` still tells afterwards whether it had joined."""
        ended = _Attempt()
        # The connection's tasks live in this nursery and die with the connection.
        async with trio.open_nursery() as nursery:
            try:
                connection = await self._reach(nursery)
                await self._join(connection)
                if self._is_newer_than_hub():
                    nursery.start_soon(self._replace_hub)
                nursery.start_soon(self._send_outbox, connection, nursery.cancel_scope)
                ended = await self._receive(connection)
            except HubUnavailable as error:
                ended = self._give_up(Refused(Code.UNAVAILABLE, str(error)))
            except _Unsupported as error:
                ended = await self._make_supported(error.refused)
            except _Ended as end:
                ended = end.attempt
            except OSError as error:
                self.trouble = f"it cannot be reached: {error.strerror or error}"
            except codec.BadFrame as error:
                self.trouble = f"it speaks another language: {error.message}"
            except (Closed, trio.TooSlowError):
                if not self.connected:
                    self.trouble = "it does not answer"
            nursery.cancel_scope.cancel()
        return ended

    def _is_newer_than_hub(self) -> bool:
        ours, theirs = self.hello, self.welcome
        return theirs is not None and version.key(ours.protocol, ours.version) > version.key(
            theirs.protocol, theirs.version
        )

    async def _replace_hub(self) -> None:
        """The hub goes on serving meanwhile, and says bye when it makes room. If it does not, it is used as it is."""
        with suppress(HubUnavailable):
            await self._start_hub()

    async def _make_supported(self, refused: Refused) -> _Attempt:
        """The hub does not know our protocol: replace it if it is older, else tell who waits what to upgrade."""
        self._unsupported += 1
        if self._unsupported > UNSUPPORTED_TRIES:
            return self._give_up(refused)
        try:
            await self._start_hub()
        except HubUnavailable as error:
            return self._give_up(Refused(refused.code, str(error)))
        return _Attempt(refused=refused)

    async def _reach(self, nursery: trio.Nursery) -> Connection:
        try:
            return await self._dial(nursery)
        except PermissionError as error:
            raise HubUnavailable(f"somebody else's process answers instead of the hub: {error}") from None
        except OSError:
            if not self._may_start:
                raise _Ended(_Attempt(LONGEST_PAUSE_S)) from None
            await self._start_hub()
            return await self._dial(nursery)

    async def _join(self, connection: Connection) -> None:
        hello = attrs.evolve(
            self.hello,
            epoch=self.inbox.epoch,
            after_seq=self.inbox.last_seq if self.inbox.epoch else None,
            seen_seq=self.inbox.last_item[0] if self.inbox.last_item else None,
            seen_ts=self.inbox.last_item[1] if self.inbox.last_item else None,
        )
        with trio.fail_after(HELLO_DEADLINE_S):
            await connection.send(wire.encode(hello))
            match wire.decode_hub(await connection.receive()):
                case wire.Welcome() as welcome:
                    self._joined(welcome)
                case frame:
                    self._ended_by(frame)
                    raise codec.BadFrame(f"the hub answered hello with {frame.type}")

    def _joined(self, welcome: wire.Welcome) -> None:
        mark = self.inbox.resume(welcome)
        self.welcome = welcome
        self.activity = wire.Activity()
        self.notices.extend(notice for notice in welcome.notices if notice not in self.notices)
        self._outbox.clear()
        if mark is not None:
            self._outbox.append(wire.encode(mark))
        self._outbox.extend(self._pending.values())
        self._work.set()
        self._unsupported = 0
        self.connected, self.trouble = True, None
        self.joined.set()
        self.news()

    async def _send_outbox(self, connection: Connection, connected: trio.CancelScope) -> None:
        try:
            while True:
                while self._outbox:
                    entry = self._outbox.popleft()
                    if isinstance(entry, bytes):
                        await connection.send(entry)
                    elif self._pending.get(entry.frame.id) is entry:  # its caller still waits
                        entry.written = True
                        await connection.send(entry.data)
                self._work = trio.Event()
                await self._work.wait()
        except Closed:
            connected.cancel()

    async def _receive(self, connection: Connection) -> _Attempt:
        while True:
            data = await connection.receive()
            try:
                received = wire.decode_hub(data)
            except codec.UnknownFrame:  # a newer hub's: it is not for this client
                continue
            match received:
                case wire.Batch() as batch:
                    if not self.inbox.add(batch, len(data)):
                        return _Attempt()
                    self.news()
                case wire.Cleared() as cleared:
                    self.inbox.clear(cleared.upto)
                    self.news()
                case wire.Activity() as activity:
                    self.activity = activity
                    if activity.turn_ended and (mark := self.inbox.confirm(turn_ended=True)) is not None:
                        self.post(mark)
                    self.news()
                case (wire.Bye() | wire.Error(id=None)) as frame:
                    self._ended_by(frame)
                case frame:
                    pending = self._pending.get(getattr(frame, "id", ""))
                    if pending is not None:
                        pending.settle(frame)

    def _ended_by(self, frame: wire.HubFrame) -> None:
        """Raises _Ended for a frame that ends the connection."""
        if isinstance(frame, wire.Bye):
            self.trouble = frame.reason
            self._may_start = not frame.until_asked
            raise _Ended(_Attempt(frame.retry_after_ms / 1000, patient=True))
        if not isinstance(frame, wire.Error):
            return
        refused = refusal(frame)
        if refused.code is Code.SUPERSEDED:
            self.superseded = True  # the newer one is in use; a call of ours would prove the contrary
            raise _Ended(_Attempt(math.inf, refused=refused))
        if refused.code is Code.UNSUPPORTED_PROTOCOL:
            raise _Unsupported(refused)
        pause_s = LONGEST_PAUSE_S if frame.retry_after_ms is None else frame.retry_after_ms / 1000
        raise _Ended(_Attempt(pause_s, patient=True, refused=refused))

    def _give_up(self, refused: Refused) -> _Attempt:
        """Nothing will change soon: who waits is told now."""
        problem = f"The CrossChat hub cannot be used: {refused.message.rstrip('.')}"
        for pending in self._pending.values():
            pending.settle(Refused(refused.code, pending.lost(problem, lasting=True)))
        return _Attempt(REFUSED_PAUSE_S, refused=refused)


class _Unsupported(Exception):
    def __init__(self, refused: Refused) -> None:
        super().__init__()
        self.refused = refused


class _Ended(Exception):
    def __init__(self, attempt: _Attempt) -> None:
        super().__init__()
        self.attempt = attempt
