"""The agents' door: one `serve_peer` per connection of a bridge.

Each has a nursery of its own: the read loop, the delivery and the heartbeat. Whatever ends one ends all three and the
connection, and nothing else. Who the agent is comes from the kernel (the process at the other end and those above it);
the hello only says what it is called. A newer connection of the same agent takes over, the older one is told.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import attrs
import trio

from crosschat import processes, websocket
from crosschat.codec import BadFrame
from crosschat.core import views
from crosschat.core.handle import BeginEpoch, Effects, Receive
from crosschat.core.identity import Join
from crosschat.errors import Code, Refused
from crosschat.hub.delivery import Delivery
from crosschat.hub.log import Logger
from crosschat.hub.pages import read_page
from crosschat.hub.quota import Bucket
from crosschat.hub.router import Fresh, Router, error_frame, unavailable
from crosschat.hub.succession import refuse_protocol
from crosschat.hub.supervisor import Supervisor
from crosschat.journal.store import Gap
from crosschat.lengths import check_length
from crosschat.limits import HEARTBEAT_DEADLINE_S, HEARTBEAT_INTERVAL_S, HELLO_DEADLINE_S, Quotas
from crosschat.model import THE_SYSTEM, Actor, iso
from crosschat.websocket import Closed, Connection, text_frame
from crosschat.wire import (
    PROTOCOL,
    AgentFrame,
    Bye,
    Done,
    Error,
    Hello,
    HubFrame,
    Mark,
    PeerList,
    Peers,
    Read,
    ReaderView,
    Ring,
    Search,
    SetStatus,
    Waking,
    Welcome,
    decode_agent,
    encode,
    hello_protocol,
    request_id,
)

if TYPE_CHECKING:
    from crosschat.core.requests import Request

READS_AT_ONCE: Final = 8
READS_WAITING: Final = 64  # then they are refused: the read loop must not wait, nor its queue grow
REDIAL_MS: Final = 250
RING_CHARS: Final = 4096  # several times what a bridge says


@attrs.define(eq=False)
class Doorway:
    """What all peers share."""

    router: Router
    quotas: Quotas
    version: str
    log: Logger
    dashboard: Callable[[], str | None]
    supervisor: Supervisor
    notices: tuple[str, ...] = ()
    stopping: bool = False
    deliveries: dict[str, Delivery] = attrs.Factory(dict)  # of the connected agents
    _buckets: dict[str, Bucket] = attrs.Factory(dict)

    def bucket(self, agent: str) -> Bucket:
        """What the agent may still send: its own, however often it connects."""
        if agent not in self._buckets:
            self._buckets[agent] = Bucket(self.quotas.messages_per_s, self.quotas.messages_burst, time.monotonic())
        return self._buckets[agent]

    def refuse_if_full(self, agent: str | None) -> None:
        """Raise Refused if `agent` (None: one that is not known yet) would be one too many."""
        connected = self.router.presence.connected
        if agent not in connected and len(connected) >= self.quotas.agents:
            raise Refused(
                Code.HUB_FULL, f"{self.quotas.agents} agents are connected, which is the limit.", retry_after_ms=5000
            )

    def readers(self) -> tuple[ReaderView, ...]:
        """How far each connected agent is."""
        state = self.router.state
        return tuple(
            ReaderView(
                id=agent,
                name=state.name_of(agent),
                cursor=state.agents[agent].cursor,
                covered=one.covered,
                lag=max(0, state.head - one.covered),
                unsent=one.unsent_bytes,
            )
            for agent, one in self.deliveries.items()
        )

    def farewell(self, reason: str, *, until_asked: bool) -> None:
        """Tell every connected bridge that the hub stops, and when to come back."""
        self.stopping = True
        self.router.farewell(text_frame(encode(Bye(reason=reason, retry_after_ms=REDIAL_MS, until_asked=until_asked))))


async def serve_peer(doorway: Doorway, stream: trio.SocketStream) -> None:
    """Serve one bridge until either side ends it. A defect of the peer ends it quietly; only ours are raised."""
    doorway.router.enter()
    try:
        async with trio.open_nursery() as nursery:
            try:
                connection = await websocket.accept(stream, nursery)
            except (Closed, PermissionError) as error:
                doorway.log.info("refused connection", why=str(error) or "no WebSocket handshake")
                nursery.cancel_scope.cancel()
                return
            try:
                pid = connection.peer_pid
                process = processes.find_agent_process(pid) or processes.find(pid)
                if process is None:
                    await connection.send(encode(error_frame(None, _UNSEEN)))
                else:
                    await _Peer(doorway, connection, nursery, process).serve()
            except Closed:
                pass
            finally:
                with trio.CancelScope(shield=True):
                    await connection.aclose()
                nursery.cancel_scope.cancel()
    finally:
        doorway.router.leave()


_UNSEEN: Final = Refused(
    Code.FORBIDDEN,
    "The hub cannot see the process that connected, so it does not know who it is: mount /proc where the hub runs, "
    "with the user's own processes in it.",
)


class _Peer:
    """One connection, from hello to its end."""

    def __init__(
        self, doorway: Doorway, connection: Connection, nursery: trio.Nursery, process: processes.Process
    ) -> None:
        self._door = doorway
        self._router = doorway.router
        self._connection = connection
        self._nursery = nursery
        self._reads = trio.CapacityLimiter(READS_AT_ONCE)
        self._reading = 0
        self._marked = trio.Event()  # the last mark counts
        self._marked.set()
        self._page_turn = trio.Lock()
        self._who = Actor("")
        self._process = process
        self._delivery: Delivery | None = None

    # --- the Reader that the router knows

    def offer(self, fresh: Fresh) -> None:
        if self._delivery is not None:
            self._delivery.offer(fresh)

    def note(self, frame: bytes) -> None:
        with suppress(Closed):
            self._connection.post(frame)

    def supersede(self) -> None:
        """A newer connection of the same agent took over."""
        self._post(Error(code=Code.SUPERSEDED, message="A newer bridge of the same session took over."))
        self._nursery.cancel_scope.cancel()

    # --- life

    async def serve(self) -> None:
        try:
            hello = await self._hello()
            welcome = await self._join(hello)
            if self._door.stopping:  # since it connected; nothing may begin here any more
                raise unavailable()
        except Refused as refused:
            await self._connection.send(encode(error_frame(None, refused)))
            return
        agent = self._who.id
        router = self._router
        router.counts["joins"] += 1
        older = router.attach(agent, self)
        if isinstance(older, _Peer):
            router.counts["superseded"] += 1
            older.supersede()
        self._delivery = Delivery(router, self._connection, agent, welcome.after_seq)
        self._door.deliveries[agent] = self._delivery
        router.presence.arrive(
            agent, status=hello.status, detail=hello.detail, offered=welcome.after_seq, now_ms=router.clock_ms()
        )
        self._door.log.info("joined", agent=agent, name=welcome.name, pid=self._connection.peer_pid)
        if older is None:
            router.event("joined", f"{welcome.name} joined", agent=agent, name=welcome.name)
        watching = self._door.supervisor.watch(self._process, self._nursery.cancel_scope.cancel)
        try:
            self._post(welcome)
            live = router.presence.of(agent)
            if live.activity is not None or router.state.agents[agent].paused or agent in router.waiters:
                router.tell_activity(agent)
            self._nursery.start_soon(self._contained, self._delivery.run, name="deliver")
            self._nursery.start_soon(self._contained, self._heartbeat, name="heartbeat")
            await self._read_loop()
        finally:
            watching.cancel()
            if router.detach(agent, self):
                del self._door.deliveries[agent]
                router.presence.leave(agent, now_ms=router.clock_ms())
                if not self._door.stopping:
                    name = router.state.name_of(agent)
                    router.event("left", f"{name} left", agent=agent, name=name)
            self._door.log.info("left", agent=agent, told=self._delivery.told)
            if not self._door.stopping:
                with trio.move_on_after(1) as scope:
                    scope.shield = True
                    await router.submit(THE_SYSTEM, Receive(agent, "offered", (self._delivery.told,)), _forget)

    async def _hello(self) -> Hello:
        try:
            with trio.fail_after(HELLO_DEADLINE_S):
                data = await self._connection.receive()
        except trio.TooSlowError:
            raise Refused(Code.NOT_JOINED, f"No hello within {HELLO_DEADLINE_S:g} s.") from None
        protocol = hello_protocol(data)  # asked first: a hello of another protocol may look different
        if protocol is not None:
            refuse_protocol(protocol, self._door.version)
        frame = decode_agent(data)
        if not isinstance(frame, Hello):
            raise Refused(Code.NOT_JOINED, "The first frame is a hello.", path="type")
        return frame

    async def _join(self, hello: Hello) -> Welcome:
        process = self._process
        router, state = self._router, self._router.state
        check_length("detail", hello.detail)
        if await self._was_restored(hello):
            self._door.log.warning("the log is older than what an agent has seen; a new epoch begins")
            await router.ask(THE_SYSTEM, BeginEpoch(os.urandom(6).hex(), instead_of=hello.epoch))
        pinned = next((agent for agent in state.agents.values() if agent.process == process.key), None)
        self._door.refuse_if_full(pinned.id if pinned is not None else None)
        # The hello's session may be older than what the hooks of the process have said since.
        recorded = pinned.session if pinned is not None else None
        session = router.told.of(process.key) or recorded or hello.session
        asked = Join(process=process.key, cwd=hello.cwd, name=hello.name, project=hello.project, session=session)
        joined = (await router.ask(THE_SYSTEM, asked)).joined
        if joined is None:
            raise Refused(Code.INTERNAL, "Joining failed; the hub's log has the details.")
        self._door.refuse_if_full(joined.agent)  # others may have joined meanwhile
        self._who = Actor(joined.agent)
        cursor = state.agents[joined.agent].cursor
        moved = router.told.has_moved(joined.agent)
        after, notices = (cursor, ()) if moved else self._resume(hello, cursor)
        return Welcome(
            protocol=PROTOCOL,
            version=self._door.version,
            agent=joined.agent,
            name=joined.name,
            epoch=state.epoch,
            after_seq=after,
            cursor=cursor,
            head=state.head,
            cleared=state.cleared_upto,
            dashboard=self._door.dashboard(),
            notices=(*self._door.notices, *joined.notices, *notices),
        )

    async def _was_restored(self, hello: Hello) -> bool:
        """Whether this log is not the one the agent knows under the same epoch: an older copy took its place, and may
        have grown since. What it has seen is not there, or another record is."""
        state = self._router.state
        if hello.epoch is None or hello.epoch != state.epoch:
            return False
        if (hello.after_seq or 0) > state.head or (hello.seen_seq or 0) > state.head:
            return True
        if hello.seen_seq is None or hello.seen_ts is None or hello.seen_seq < 1:
            return False
        (record,) = await self._router.feed.get([hello.seen_seq])
        return not isinstance(record, Gap) and iso(record.ts) != hello.seen_ts

    def _resume(self, hello: Hello, cursor: int) -> tuple[int, tuple[str, ...]]:
        """Where deliveries begin, and what there is to say about it."""
        if hello.epoch is None or hello.after_seq is None:
            return cursor, ()
        if hello.epoch == self._router.state.epoch and 0 <= hello.after_seq <= self._router.state.head:
            return max(hello.after_seq, cursor), ()
        return cursor, ("The message log was restored from an older copy; messages after that copy are gone.",)

    async def _contained(self, task: Callable[[], Awaitable[None]]) -> None:
        """A task of this peer: when its connection is closed, the peer ends."""
        try:
            await task()
        except (Closed, Refused):
            self._nursery.cancel_scope.cancel()

    async def _heartbeat(self) -> None:
        while True:
            await trio.sleep(HEARTBEAT_INTERVAL_S)
            with trio.move_on_after(HEARTBEAT_DEADLINE_S) as scope:
                await self._connection.ping()
            if scope.cancelled_caught:
                raise Closed

    # --- requests

    async def _read_loop(self) -> None:
        while True:
            data = await self._connection.receive()
            try:
                await self._take(decode_agent(data))
            except BadFrame as error:
                self._post(error_frame(request_id(data), error))

    async def _take(self, frame: AgentFrame) -> None:
        self._router.presence.hear(self._who.id, now_ms=self._router.clock_ms())
        match frame:
            case Hello():
                raise BadFrame("hello was said already", path="type")
            case Mark():
                self._marked = marked = trio.Event()
                await self._router.submit(self._who, frame, lambda _: marked.set())
            case Read() | Search() if self._reading >= READS_WAITING:
                self._refuse(frame.id, f"{READS_WAITING} reads are waiting; wait for their answers.", 250)
            case Read() | Search():
                self._reading += 1
                self._nursery.start_soon(self._answer_read, frame, self._marked)
            case Peers():
                self._post(self._peers(frame))
            case Waking():
                self._router.take_waking(self._who.id, frame)
            case Ring():
                self._post(self._ring(frame))
            case _ if wait_ms := self._door.bucket(self._who.id).take(time.monotonic()):
                allowed = f"{self._door.quotas.messages_per_s:g} a second on average are allowed"
                self._refuse(frame.id, f"Too many messages and changes: {allowed}. Wait {wait_ms} ms.", wait_ms)
            case _:
                await self._router.submit(self._who, frame, self._settler(frame))

    def _settler(self, frame: Request) -> Callable[[Effects | Refused], None]:
        def settle(outcome: Effects | Refused) -> None:
            if isinstance(frame, SetStatus) and not isinstance(outcome, Refused):
                self._router.presence.say(self._who.id, status=frame.status, detail=frame.detail, task=frame.task)
            self._post(self._router.answer(frame, outcome))

        return settle

    def _ring(self, frame: Ring) -> HubFrame:
        if len(frame.text) > RING_CHARS:
            refused = Refused(Code.TOO_LARGE, f"a ring has at most {RING_CHARS} characters", path="text")
        elif self._router.waiters.ring(self._who.id, frame.text):
            return Done(id=frame.id)
        else:
            refused = Refused(Code.NOT_FOUND, "No hook of this session waits for a ring.")
        return error_frame(frame.id, refused)

    def _peers(self, frame: Peers) -> PeerList:
        router = self._router
        return PeerList(
            id=frame.id,
            peers=views.peer_views(router.state, router.presence, router.clock_ms(), without=self._who.id),
        )

    async def _answer_read(self, frame: Read | Search, marked: trio.Event) -> None:
        try:
            async with self._reads:
                await marked.wait()  # what was marked before this read counts in it
                answer: HubFrame
                try:
                    if isinstance(frame, Search):
                        answer = await self._router.find(self._who, frame)
                    else:
                        answer = await read_page(self._router, self._who, frame)
                except Refused as refused:
                    answer = error_frame(frame.id, refused)
                async with self._page_turn:  # many pages at once would not fit the connection's buffer
                    await self._connection.drained()
                    self._post(answer)
        finally:
            self._reading -= 1

    def _refuse(self, request: str, why: str, retry_after_ms: int) -> None:
        self._post(error_frame(request, Refused(Code.RATE_LIMITED, why, retry_after_ms=retry_after_ms)))

    def _post(self, frame: HubFrame) -> None:
        try:
            self._connection.post(text_frame(encode(frame)))
        except Closed:
            self._nursery.cancel_scope.cancel()


def _forget(_: object) -> None:
    """Nobody waits for this outcome."""
