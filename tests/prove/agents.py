"""Agents of the rig: light clients that speak the agents' door by themselves, and real bridges driven over MCP.

A client is known to the hub by the process that connected for it (`tests.live.rig.Program`); it resumes as a bridge
does, behind the last seq it was told. What it sees goes to the history at once.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeAlias

import trio
import trio.lowlevel

from bench.rig import masked
from crosschat import wire
from tests.live.rig import Program
from tests.prove.history import Asked, History, Reading

if TYPE_CHECKING:
    import socket
    from collections import deque
    from pathlib import Path
    from random import Random

    from tests.prove.disk import Durable

UPGRADE: Final = (
    b"GET /agents HTTP/1.1\r\nHost: crosschat\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
REDIAL_S: Final = 0.01
Asking: TypeAlias = "wire.Send | wire.FlagTask | wire.ClaimTask | wire.ResolveTask | wire.AddBadge | wire.ClearChannel"


class Lost(Exception):
    """The connection ended."""


class Socket:
    """WebSocket frames on a connected socket, with as little work as possible."""

    def __init__(self, sock: socket.socket) -> None:
        self._stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        self._buffer = bytearray()
        self._sending = trio.Lock()

    async def upgrade(self) -> None:
        await self._send(UPGRADE)
        while b"\r\n\r\n" not in self._buffer:
            await self._fill()
        del self._buffer[: self._buffer.index(b"\r\n\r\n") + 4]

    async def send(self, frame: wire.AgentFrame) -> None:
        await self._send(masked(wire.encode(frame)))

    async def _send(self, data: bytes) -> None:
        try:
            async with self._sending:
                await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise Lost from None

    async def _fill(self) -> None:
        try:
            received = await self._stream.receive_some(1 << 18)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise Lost from None
        if not received:
            raise Lost
        self._buffer += received

    async def receive(self) -> dict[str, object]:
        """The next text frame. Raises Lost."""
        while True:
            frame = self._take()
            if frame is None:
                await self._fill()
                continue
            kind, payload = frame
            if kind == 1:
                found: dict[str, object] = json.loads(payload)
                return found
            if kind == 8:
                raise Lost
            if kind == 9:
                await self._send(b"\x8a" + bytes((0x80 | len(payload),)) + bytes(4) + payload)

    def _take(self) -> tuple[int, bytes] | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        size, head = buffer[1] & 0x7F, 2
        if size >= 126:
            head = 4 if size == 126 else 10
            if len(buffer) < head:
                return None
            size = int.from_bytes(buffer[2:head], "big")
        if len(buffer) < head + size:
            return None
        kind, payload = buffer[0] & 15, bytes(buffer[head : head + size])
        del buffer[: head + size]
        return kind, payload

    async def close(self) -> None:
        await trio.aclose_forcefully(self._stream)


class Agent:
    """One identity over any number of connections: it writes with a window of unanswered requests, and reads."""

    def __init__(
        self, name: str, path: Path, history: History, durable: Durable, random: Random, recent: deque[str]
    ) -> None:
        self.name = name
        self.history = history
        self.random = random
        self._durable = durable
        self._program = Program(path)
        self._recent = recent  # ids of messages of everybody
        self._unanswered: dict[str, Asking] = {}
        self._socket: Socket | None = None
        self._connections = 0
        self._number = 0
        self._room = trio.Event()
        self.agent = ""
        self.epoch: str | None = None
        self.reading: Reading | None = None
        self.forgot = False  # what it was told: it is as a new process of the same session
        self.writing = 0  # how many requests may be unanswered
        self.stalled_s = 0.0  # it reads nothing for so long, or until `wake`
        self._awake = trio.Event()
        self._acked = trio.Event()
        self.rejoins: list[float] = []
        self.names: list[str] = []
        self.refusals: dict[str, int] = {}

    def end(self) -> None:
        self._program.end()

    def cut(self) -> None:
        """Close the connection without a word."""
        if self._socket is not None:
            self._socket._stream.socket.close()

    def wake(self) -> None:
        """Read again."""
        self._awake.set()

    @property
    def connected(self) -> bool:
        return self._socket is not None and self.reading is not None

    async def say(self, text: str) -> None:
        """Send one message now; it is connected."""
        assert self._socket is not None
        self._number += 1
        cid = f"{self.name}-{self._number}"
        self.history.ask(cid, Asked(self.agent, "message", text, self._connections, self._number))
        self._unanswered[cid] = frame = wire.Send(id=cid, cid=cid, content=text)
        with suppress(Lost, OSError):
            await self._socket.send(frame)

    async def clear(self) -> None:
        """Clear the channel now; it is connected, and this is asked again until it is answered."""
        self._number += 1
        cid = f"{self.name}-{self._number}"
        self.history.ask(cid, Asked(self.agent, "clear", "", self._connections, self._number))
        self._unanswered[cid] = frame = wire.ClearChannel(id=cid, cid=cid)
        if self._socket is not None:
            with suppress(Lost, OSError):
                await self._socket.send(frame)
        while not self.idle:
            await self._acked.wait()

    @property
    def idle(self) -> bool:
        return not self._unanswered

    async def run(self) -> None:
        """Be connected for ever, and write while it is told to."""
        lost_at = trio.current_time()
        while True:
            try:
                sock = Socket(self._program.connect())
            except OSError:
                await trio.sleep(REDIAL_S)
                continue
            self._socket = sock
            self._connections += 1
            with suppress(Lost, OSError):
                await self._join(sock)
                self.rejoins.append(trio.current_time() - lost_at)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write, sock, nursery.cancel_scope)
                    with suppress(Lost, OSError):
                        await self._read(sock)
                    nursery.cancel_scope.cancel()
            lost_at = trio.current_time()
            self._socket = None
            with trio.CancelScope(shield=True):
                await sock.close()
            self._program.let_go()
            await trio.lowlevel.checkpoint()

    async def _join(self, sock: Socket) -> None:
        with trio.move_on_after(5):
            await sock.upgrade()
            told = self.reading.told if self.reading and not self.forgot else None
            epoch = None if self.forgot else self.epoch
            hello = wire.Hello(
                protocol=wire.PROTOCOL, version="prove", cwd="/tmp", name=self.name, epoch=epoch, after_seq=told
            )
            await sock.send(hello)
            frame = await sock.receive()
            if frame["type"] != "welcome":
                raise Lost
            self.agent, self.epoch = str(frame["agent"]), str(frame["epoch"])
            after = int(str(frame["after_seq"]))
            self.reading = self.history.join(self.name, self.agent, after, forgot=self.forgot)
            self.forgot = False
            return
        raise Lost

    async def _read(self, sock: Socket) -> None:
        reading = self.reading
        assert reading is not None
        while True:
            if self.stalled_s:
                self._awake = trio.Event()
                with trio.move_on_after(self.stalled_s):
                    await self._awake.wait()
                self.stalled_s = 0.0
            frame = await sock.receive()
            match frame["type"]:
                case "batch":
                    items = frame["items"]
                    assert isinstance(items, list)
                    first, last = int(str(frame["from_seq"])), int(str(frame["to_seq"]))
                    self.history.batch(reading, first, last, items, self._durable.seq)
                    if self.random.random() < 0.05:
                        reading.marked = max(reading.marked, last)
                        await sock.send(wire.Mark(upto=last))
                case "sent" | "done":
                    self._answered(frame)
                case "error":
                    self._refused(frame)
                case "bye":
                    raise Lost
                case _:
                    pass

    def _answered(self, frame: dict[str, object]) -> None:
        cid = str(frame["id"])
        if self._unanswered.pop(cid, None) is None:
            return
        seq = frame.get("seq")
        message = frame.get("message")
        self.history.ack(cid, int(str(seq)) if seq is not None else None, str(message), self._durable.seq)
        if frame["type"] == "sent":
            self._recent.append(str(message))
        self._acked.set()
        self._acked = trio.Event()
        self._room.set()

    def _refused(self, frame: dict[str, object]) -> None:
        if frame.get("id") is None:
            raise Lost
        if frame["code"] == "unavailable":  # the hub is going; asked again on the next connection
            return
        code = str(frame["code"])
        self.refusals[code] = self.refusals.get(code, 0) + 1
        self._unanswered.pop(str(frame["id"]), None)
        self._room.set()

    async def _write(self, sock: Socket, connected: trio.CancelScope) -> None:
        try:
            for cid, frame in tuple(self._unanswered.items()):
                self.history.asked[cid].again = True
                self.history.counts["requests sent again"] += 1
                await sock.send(frame)
            while True:
                if len(self._unanswered) >= self.writing:
                    self._room = trio.Event()
                    with trio.move_on_after(0.2):  # `writing` may have been changed
                        await self._room.wait()
                    continue
                await self._ask(sock)
                await trio.lowlevel.checkpoint()
        except (Lost, OSError):
            connected.cancel()

    async def _ask(self, sock: Socket) -> None:
        self._number += 1
        cid = f"{self.name}-{self._number}"
        frame, asked = self._compose(cid)
        asked.connection, asked.number = self._connections, self._number
        self.history.ask(cid, asked)
        self._unanswered[cid] = frame
        await sock.send(frame)

    def _compose(self, cid: str) -> tuple[Asking, Asked]:
        random = self.random
        dice = random.random()
        about = random.choice(self._recent) if self._recent else None
        if about is None or dice < 0.88:
            text = f"{cid} " + "x" * int(random.expovariate(1 / 80))
            thread = about if dice < 0.05 else None
            if 0.05 <= dice < 0.10 and self.names:
                text = f"@{random.choice(self.names)} {text}"
            kind = "reply" if thread else "message"
            return wire.Send(id=cid, cid=cid, content=text, thread=thread), Asked(self.agent, kind, text)
        if dice < 0.91:
            badge = wire.AddBadge(id=cid, cid=cid, message=about, badge_type="mood", value=str(random.randrange(9)))
            return badge, Asked(self.agent, "badge", "")
        if dice < 0.94:
            return wire.FlagTask(id=cid, cid=cid, message=about), Asked(self.agent, "flag", "")
        if dice < 0.97:
            return wire.ClaimTask(id=cid, cid=cid, message=about), Asked(self.agent, "claim", "")
        resolve = wire.ResolveTask(id=cid, cid=cid, message=about, status="completed", result=cid)
        return resolve, Asked(self.agent, "resolve", "")
