"""WebSocket connections over Unix sockets: the only module that knows trio-websocket.

Invariant: whatever is written to a connection leaves it as whole frames, in order. Every byte, also
trio-websocket's own pongs and close frames, goes through one buffer of the connection (`_Pipe`), and one task empties
it. So a cancelled send tears nothing, and a ready frame can be posted without awaiting, which is what makes fan-out
cheap: a frame is built once and posted to every subscriber. The buffer is bounded; who posts more to a peer that
does not read gets `Closed`, and a peer that takes no bytes for `WRITE_DEADLINE_S` is closed. It comes back and resumes.

When a connection ends, by either side or by cancellation, both directions are closed and its tasks end.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeAlias

import trio
import trio_websocket
from trio_websocket import ConnectionClosed, WebSocketConnection

from crosschat.limits import FRAME_BYTES, HELLO_DEADLINE_S, INFLIGHT_BYTES, WRITE_DEADLINE_S
from crosschat.processes import peer_credentials

if TYPE_CHECKING:
    from pathlib import Path

OpenSocket: TypeAlias = Callable[[str], Awaitable[trio.SocketStream]]  # `trio.open_unix_socket`, or what stands for it
RESOURCE: Final = "/agents"
# Above the protocol's own limit, so that a frame that is a little too large gets its typed error; beyond it the
# connection is closed with 1009.
MESSAGE_BYTES: Final = 2 * FRAME_BYTES
RECEIVE_BYTES: Final = 64 * 1024
# One frame of the largest size must fit beside what is in flight.
BUFFER_BYTES: Final = INFLIGHT_BYTES + 2 * FRAME_BYTES
CLOSE_DEADLINE_S: Final = 2.0


class Closed(Exception):
    """The connection has ended; what was sent and not answered may or may not have arrived."""


def text_frame(data: bytes) -> bytes:
    """One unmasked, final text frame (RFC 6455, 5.2) around UTF-8 `data`, as a server sends it."""
    size = len(data)
    if size < 126:
        return b"\x81" + size.to_bytes(1, "big") + data
    if size < 1 << 16:
        return b"\x81\x7e" + size.to_bytes(2, "big") + data
    return b"\x81\x7f" + size.to_bytes(8, "big") + data


class _Pipe(trio.abc.Stream):
    """A socket whose writes are a bounded buffer, emptied by `pump`."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.unsent = bytearray()
        self.closed = False
        self.ended: Callable[[], object] = lambda: None  # called when nothing more will be received or sent
        self._parking_lot = trio.lowlevel.ParkingLot()
        self._work = trio.Event()

    def post(self, data: bytes) -> None:
        if self.closed:
            raise Closed
        if not self.unsent:
            data = data[self._write(data) :]
        if data:
            if len(self.unsent) + len(data) > BUFFER_BYTES:
                self.closed = True
                self._work.set()
                raise Closed
            self.unsent += data
            self._work.set()

    def _write(self, data: bytes | bytearray) -> int:
        try:
            return os.write(self.stream.socket.fileno(), data)
        except BlockingIOError:
            return 0
        except OSError:
            self.closed = True
            self._work.set()
            raise Closed from None

    async def pump(self) -> None:
        """Write what is posted until the connection ends or the peer takes no bytes for too long."""
        try:
            while not self.closed:
                await self._work.wait()
                self._work = trio.Event()
                while self.unsent and not self.closed:
                    with trio.fail_after(WRITE_DEADLINE_S):
                        await trio.lowlevel.wait_writable(self.stream.socket.fileno())
                    del self.unsent[: self._write(self.unsent)]
                self._parking_lot.unpark_all()
        except (Closed, trio.TooSlowError, OSError, trio.ClosedResourceError):
            pass
        finally:
            self.closed = True
            self.ended()  # after a write that failed nobody may read any more
            self._parking_lot.unpark_all()
            await trio.aclose_forcefully(self.stream)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        try:
            self.post(bytes(data))
        except Closed:
            raise trio.BrokenResourceError from None
        while self.unsent and not self.closed:
            await self._parking_lot.park()

    async def wait_send_all_might_not_block(self) -> None:
        while self.unsent and not self.closed:
            await self._parking_lot.park()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        try:
            received = await self.stream.receive_some(max_bytes)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.ended()
            raise
        if not received:
            self.ended()
        return received

    async def aclose(self) -> None:
        self.closed = True
        self.ended()
        self._work.set()
        await self.stream.aclose()


class Connection:
    """One end of an open connection. `receive` in one task, `send` and `post` from any; nothing is torn by a cancel.

    `peer_pid` is what the kernel recorded when the other side connected, or listened.
    """

    def __init__(self, socket_: WebSocketConnection, pipe: _Pipe) -> None:
        self._socket = socket_
        self._pipe = pipe
        self.peer_pid = peer_credentials(pipe.stream.socket).pid

    @property
    def idle(self) -> bool:
        """Nothing waits to leave."""
        return not self._pipe.unsent

    @property
    def unsent_bytes(self) -> int:
        return len(self._pipe.unsent)

    @property
    def closed(self) -> bool:
        return self._pipe.closed

    def post(self, frame: bytes) -> None:
        """Hand over a ready frame (`text_frame`) without waiting; servers only. Raises Closed."""
        self._pipe.post(frame)

    async def drained(self) -> None:
        """Return when everything posted has left, or the connection ended."""
        await self._pipe.wait_send_all_might_not_block()

    async def send(self, data: bytes) -> None:
        """Send one text message and return when it left. Raises Closed. Cancelled, it arrives whole or not at all."""
        try:
            await self._socket.send_message(data.decode())
        except (ConnectionClosed, trio.BrokenResourceError, trio.ClosedResourceError):
            raise Closed from None

    async def receive(self) -> str | bytes:
        """The next message. Raises Closed. Cancel-safe."""
        try:
            return await self._socket.get_message()
        except ConnectionClosed:
            raise Closed from None

    async def ping(self) -> None:
        """Return when the peer answered. Raises Closed, but may also wait for ever: bound it."""
        try:
            await self._socket.ping()
        except (ConnectionClosed, trio.BrokenResourceError, trio.ClosedResourceError):
            raise Closed from None

    async def aclose(self, code: int = 1000, reason: str | None = None) -> None:
        """Close politely within `CLOSE_DEADLINE_S`, then by force. Never raises because the peer is gone."""
        with trio.move_on_after(CLOSE_DEADLINE_S) as scope:
            scope.shield = True
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await self._socket.aclose(code, reason)
        await trio.aclose_forcefully(self._pipe)


async def accept(stream: trio.SocketStream, nursery: trio.Nursery) -> Connection:
    """The server's side. The peer has `HELLO_DEADLINE_S` for its upgrade request.

    Raises Closed for a peer that does not speak WebSocket or asks for another resource, and PermissionError if the
    kernel says that it is another user's process.
    """
    _check_peer(stream)
    pipe = _Pipe(stream)
    nursery.start_soon(pipe.pump)
    try:
        with trio.fail_after(HELLO_DEADLINE_S) as scope:
            # trio-websocket waits for the request also when none can come any more: a peer that left, or spoke
            # something else, would keep its descriptor until the deadline.
            pipe.ended = scope.cancel
            request = await trio_websocket.wrap_server_stream(
                nursery, pipe, message_queue_size=1, max_message_size=MESSAGE_BYTES, receive_buffer_size=RECEIVE_BYTES
            )
            if request.path != RESOURCE:
                await request.reject(404)
                raise Closed
            return Connection(await request.accept(), pipe)
    except (trio.TooSlowError, trio_websocket.HandshakeError, ConnectionClosed, trio.BrokenResourceError):
        await trio.aclose_forcefully(pipe)
        raise Closed from None


async def dial(path: Path, nursery: trio.Nursery, *, open_socket: OpenSocket = trio.open_unix_socket) -> Connection:
    """The client's side, to the hub that listens on `path`, on a connection that `open_socket` opens.

    Raises OSError if nobody listens, PermissionError if the listener runs under another user, and Closed if it does
    not answer as a hub within `HELLO_DEADLINE_S`.
    """
    stream = await open_socket(str(path))
    pipe = _Pipe(stream)
    try:
        _check_peer(stream)
        nursery.start_soon(pipe.pump)
        with trio.fail_after(HELLO_DEADLINE_S) as scope:
            pipe.ended = scope.cancel  # here, too, it would wait for an answer that cannot come any more
            connection = await trio_websocket.wrap_client_stream(
                nursery,
                pipe,  # type: ignore[arg-type]  # any stream does
                host="crosschat",
                resource=RESOURCE,
                message_queue_size=16,
                max_message_size=4 * MESSAGE_BYTES,
                receive_buffer_size=RECEIVE_BYTES,
            )
            return Connection(connection, pipe)
    except (trio.TooSlowError, trio_websocket.HandshakeError, ConnectionClosed, trio.BrokenResourceError):
        await trio.aclose_forcefully(pipe)
        raise Closed from None
    except BaseException:
        await trio.aclose_forcefully(pipe)
        raise


def _check_peer(stream: trio.SocketStream) -> None:
    uid = peer_credentials(stream.socket).uid
    if uid != os.getuid():
        raise PermissionError(f"the other end of the socket belongs to user {uid}, not to {os.getuid()}")
