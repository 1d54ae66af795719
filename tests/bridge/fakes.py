"""A hub of memory channels that a test plays by hand, and the items and frames it speaks of."""

from __future__ import annotations

import math
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar, cast

import attrs
import trio

from crosschat import wire
from crosschat.bridge.client import Link
from crosschat.bridge.inbox import Inbox
from crosschat.bridge.main import connect
from crosschat.bridge.waiting import Call
from crosschat.websocket import Closed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crosschat.bridge.calls import Session
    from crosschat.bridge.wake import SendRing
    from crosschat.model import JsonObject, WakeMode

Frame = TypeVar("Frame")
ME = "agent-me"
PEER = "agent-peer"
EPOCH = "epoch-1"


def item(seq: int, **changes: object) -> wire.Item:
    """A message of a peer to everybody."""
    message = wire.Item(
        seq=seq,
        kind="message",
        message=f"m{seq}",
        from_id=PEER,
        from_name="peer",
        source="agent",
        ts="2026-01-02T03:04:05.678Z",
        content=f"text {seq}",
    )
    return attrs.evolve(message, **cast("dict[str, Any]", changes))


def batch(*items: wire.Item, upto: int | None = None, since: int | None = None) -> wire.Batch:
    """The items, and nothing else between the first and the last."""
    first = since if since is not None else items[0].seq
    last = upto if upto is not None else items[-1].seq
    return wire.Batch(from_seq=first, to_seq=last, items=items)


def welcome(after: int = 0, cursor: int | None = None, **changes: object) -> wire.Welcome:
    frame = wire.Welcome(
        protocol=wire.PROTOCOL,
        version="1",
        agent=ME,
        name="me",
        epoch=EPOCH,
        after_seq=after,
        cursor=after if cursor is None else cursor,
        head=after,
    )
    return attrs.evolve(frame, **cast("dict[str, Any]", changes))


class Line:
    """The bridge's end of one connection."""

    def __init__(self) -> None:
        self.to_hub, self.at_hub = trio.open_memory_channel[bytes](math.inf)
        self.from_hub, self.at_bridge = trio.open_memory_channel[str](math.inf)

    async def receive(self) -> str:
        try:
            return await self.at_bridge.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            raise Closed from None

    async def send(self, data: bytes) -> None:
        try:
            await self.to_hub.send(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise Closed from None


class Peer:
    """The hub's end of one connection. What the bridge says of the waking comes between everything else: it is kept in
    `waking`, and the methods speak of the other frames."""

    def __init__(self, line: Line) -> None:
        self.waking: list[wire.Waking] = []
        self._line = line
        self._frames: deque[wire.AgentFrame] = deque()

    async def next(self, kind: type[Frame]) -> Frame:
        """The next frame, which must be of this kind."""
        with trio.fail_after(5):
            while not self._frames:
                self._take(await self._line.at_hub.receive())
        frame = self._frames.popleft()
        assert isinstance(frame, kind), frame
        return frame

    def waiting_frames(self) -> int:
        self.hear()
        return len(self._frames)

    def hear(self) -> list[wire.Waking]:
        """Take what has come, without waiting; all that was said of the waking so far."""
        with suppress(trio.WouldBlock, trio.EndOfChannel):
            while True:
                self._take(self._line.at_hub.receive_nowait())
        return self.waking

    def _take(self, data: bytes) -> None:
        frame = wire.decode_agent(data)
        if isinstance(frame, wire.Waking):
            self.waking.append(frame)
        else:
            self._frames.append(frame)

    async def send(self, frame: wire.HubFrame) -> None:
        await self._line.from_hub.send(wire.encode(frame).decode())

    async def send_text(self, text: str) -> None:
        await self._line.from_hub.send(text)

    def hang_up(self) -> None:
        self._line.from_hub.close()
        self._line.at_hub.close()


class FakeHub:
    """Listens or does not; each dialled connection is handed to the test."""

    def __init__(self) -> None:
        self.listening = True
        self.dials = 0
        self.starts = 0
        self.start_error: Exception | None = None
        self._calls_in, self._calls = trio.open_memory_channel[Line](math.inf)

    async def dial(self, _: trio.Nursery) -> Line:
        await trio.lowlevel.checkpoint()
        self.dials += 1
        if not self.listening:
            raise ConnectionRefusedError(111, "Connection refused")
        line = Line()
        self._calls_in.send_nowait(line)
        return line

    async def start(self) -> None:
        await trio.lowlevel.checkpoint()
        self.starts += 1
        if self.start_error is not None:
            raise self.start_error

    async def accept(self) -> tuple[Peer, wire.Hello]:
        with trio.fail_after(60):
            peer = Peer(await self._calls.receive())
        return peer, await peer.next(wire.Hello)

    async def join(self, frame: wire.Welcome | None = None) -> Peer:
        """Accept the next connection and welcome it."""
        peer, _ = await self.accept()
        await peer.send(frame or welcome())
        return peer


HELLO = wire.Hello(protocol=wire.PROTOCOL, version="1", cwd="/repo")


def session_with(
    hub: FakeHub, inbox: Inbox | None = None, *, send: SendRing | None = None, mode: WakeMode = "auto"
) -> Session:
    """Wired as in the program; with `send` its inbox takes rings."""
    return connect(Link(HELLO, inbox or Inbox(), dial=hub.dial, start_hub=hub.start), mode, send)


class Caller:
    """A client that calls tools: numbers its calls and keeps their progress reports."""

    def __init__(self) -> None:
        self.calls = 0
        self.reports: deque[tuple[float, float | None, str | None]] = deque()

    def call(self) -> Call:
        self.calls += 1
        return Call(self.calls, self._report)

    async def _report(self, done: float, total: float | None, text: str | None) -> None:
        await trio.lowlevel.checkpoint()
        self.reports.append((done, total, text))


def ids(reply: JsonObject) -> Sequence[object]:
    messages = reply["messages"]
    assert isinstance(messages, list)
    return [message["messageId"] for message in messages]
