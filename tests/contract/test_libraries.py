"""What our code relies on in libraries where they surprise: one test for each trap.

If one fails after an upgrade, the library changed: read the sentence that says what our code does because of it, and
see whether that is still right or no longer needed.
"""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING, Any, Literal

import anyio
import attrs
import cattrs
import mcp_types as types
import pytest
import trio
import trio.testing
import trio_websocket
from cattrs.strategies import configure_tagged_union
from mcp import ClientSession
from mcp.server.lowlevel import Server
from mcp.shared.message import SessionMessage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from trio.testing import MockClock


class Boom(Exception):
    pass


# --- trio


async def test_an_exception_of_a_handler_leaves_serve_listeners() -> None:
    """So every handler runs inside `contain`: one bad peer must not end a door."""

    async def handler(stream: trio.SocketStream) -> None:
        raise Boom

    with pytest.RaisesGroup(Boom, flatten_subgroups=True), trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, handler, listeners)
            async with await trio.testing.open_stream_to_socket_listener(listeners[0]):
                await trio.sleep_forever()


async def test_the_file_of_a_unix_socket_outlives_its_listener(place: Path) -> None:
    """So a door unlinks its name itself, while it is still its own, before it closes the socket."""
    path = place / "door"
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(os.fspath(path))
    sock.listen()
    await trio.SocketListener(trio.socket.from_stdlib_socket(sock)).aclose()
    assert path.is_socket()


async def test_work_in_a_thread_is_not_abandoned_on_cancel() -> None:
    """So the writer may be cancelled during a sync: it leaves after the sync, never in the middle of it."""
    gate, working, done = threading.Event(), trio.Event(), []

    def work() -> None:
        trio.from_thread.run_sync(working.set)
        gate.wait(5)

    async def write() -> None:
        await trio.to_thread.run_sync(work)
        done.append("written")

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            await working.wait()
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await trio.testing.wait_all_tasks_blocked()
                assert done == []
                gate.set()
    assert done == ["written"]


async def test_an_autojump_clock_takes_waiting_for_a_real_socket_for_idleness(autojump_clock: MockClock) -> None:
    """So tests with that clock use memory streams only; those with real sockets use real time."""
    left, right = trio.socket.socketpair()
    with left, right, trio.move_on_after(3600) as scope:
        await left.recv(1)
    assert scope.cancelled_caught


# --- trio-websocket


async def over(
    nursery: trio.Nursery, client: trio.abc.Stream, server: trio.abc.Stream, *, queue: int = 1
) -> tuple[trio_websocket.WebSocketConnection, trio_websocket.WebSocketConnection]:
    """A connection over these two streams: its client's end and its server's."""
    ends: list[trio_websocket.WebSocketConnection] = []

    async def accept() -> None:
        request = await trio_websocket.wrap_server_stream(nursery, server, message_queue_size=queue)
        ends.append(await request.accept())

    async with trio.open_nursery() as both:
        both.start_soon(accept)
        opened = await trio_websocket.wrap_client_stream(nursery, client, "host", "/")  # type: ignore[arg-type]
    return opened, ends[0]


async def test_its_server_cannot_listen_on_a_unix_socket(place: Path) -> None:
    """So we serve the listener with trio and wrap each stream (`websocket.accept`), and never ask for `.remote`."""
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(os.fspath(place / "door"))
    sock.listen()
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))

    async def handler(request: trio_websocket.WebSocketRequest) -> None:
        await request.accept()

    server = trio_websocket.WebSocketServer(handler, [listener])
    with pytest.raises(ValueError, match="IPv4 or IPv6"):
        _ = server.listeners
    await listener.aclose()


async def test_the_address_of_a_unix_peer_cannot_be_asked() -> None:
    """So who a peer is comes from the kernel (`processes.peer_credentials`)."""
    left, right = (trio.SocketStream(end) for end in trio.socket.socketpair())
    async with left, right, trio.open_nursery() as nursery:
        client, _ = await over(nursery, left, right)
        with pytest.raises(Exception):  # noqa: B017, PT011 - which one does not matter
            _ = client.remote
        nursery.cancel_scope.cancel()


class Tearing(trio.abc.Stream):
    """Sends a part of what it is given and then waits for ever, once `tear` is set."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream, self.tear = stream, False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if not self.tear:
            return await self.stream.send_all(data)
        await self.stream.send_all(bytes(data)[:3])
        await trio.sleep_forever()

    async def wait_send_all_might_not_block(self) -> None:
        await self.stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self.stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self.stream.aclose()


async def test_a_cancelled_send_tears_a_frame_and_the_connection_looks_open(autojump_clock: MockClock) -> None:
    """So it writes into a buffer of ours (`websocket._Pipe`), which takes a frame whole or not at all."""
    left, right = trio.testing.memory_stream_pair()
    torn = Tearing(left)
    async with trio.open_nursery() as nursery:
        client, _ = await over(nursery, torn, right)
        torn.tear = True
        with trio.move_on_after(1) as scope:
            await client.send_message("hello")
        assert scope.cancelled_caught
        assert client.closed is None
        nursery.cancel_scope.cancel()


async def test_a_ping_never_wakes_if_the_connection_closes(autojump_clock: MockClock) -> None:
    """So every ping of ours stands under a time limit."""
    left, right = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        client, _ = await over(nursery, left, right)

        async def vanish() -> None:
            await trio.sleep(1)
            await right.aclose()

        for _ in range(3):
            await client.send_message("x")  # so that it does not answer before
        nursery.start_soon(vanish)
        with trio.move_on_after(3600) as scope:
            await client.ping()
        assert scope.cancelled_caught
        assert client.closed is not None
        nursery.cancel_scope.cancel()


async def test_a_full_queue_of_messages_stops_the_pongs(autojump_clock: MockClock) -> None:
    """So a read loop never awaits anything slow, or its peer takes the connection for dead."""
    left, right = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        client, server = await over(nursery, left, right, queue=1)
        with trio.move_on_after(60) as scope:
            await client.ping()
        assert not scope.cancelled_caught
        for _ in range(3):
            await client.send_message("x")
        with trio.move_on_after(60) as scope:
            await client.ping()
        assert scope.cancelled_caught
        assert await server.get_message() == "x"
        nursery.cancel_scope.cancel()


async def test_closing_has_no_time_limit(autojump_clock: MockClock) -> None:
    """So `Connection.aclose` is polite for two seconds and then closes the stream by force."""
    left, right = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        client, _ = await over(nursery, left, right, queue=1)
        for _ in range(3):
            await client.send_message("x")  # the peer reads no further than this
        with trio.move_on_after(3600) as scope:
            await client.aclose()
        assert scope.cancelled_caught
        nursery.cancel_scope.cancel()


async def test_it_negotiates_no_compression() -> None:
    """So the size of a message is bounded by the size of its frames, and a ready frame may be sent as it is."""
    left, right = trio.testing.memory_stream_pair()
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:

            async def accept() -> None:
                await (await trio_websocket.wrap_server_stream(nursery, right)).accept()

            nursery.start_soon(accept)
            await left.send_all(
                b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
                b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
            )
            answer = b""
            while b"\r\n\r\n" not in answer:
                answer += await left.receive_some()
            assert answer.startswith(b"HTTP/1.1 101")
            assert b"extensions" not in answer.lower()
            nursery.cancel_scope.cancel()


# --- hypercorn


OFFER = [
    (b"sec-websocket-key", b"AAAAAAAAAAAAAAAAAAAAAA=="),
    (b"sec-websocket-version", b"13"),
    (b"upgrade", b"websocket"),
    (b"connection", b"Upgrade"),
    (b"sec-websocket-extensions", b"permessage-deflate"),
]


def test_it_accepts_compression_unless_one_function_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inflating is unbounded, and there is no switch. So `webserver` replaces `server_extensions_handshake` in this
    module, which must therefore be there and be asked."""
    from hypercorn.protocol import ws_stream
    from wsproto.handshake import server_extensions_handshake

    def extensions() -> list[bytes]:
        _, headers, _ = ws_stream.Handshake(OFFER, "1.1").accept(None, [])
        return [value for name, value in headers if name == b"sec-websocket-extensions"]

    # A door that was served in this process has replaced it already.
    monkeypatch.setattr("hypercorn.protocol.ws_stream.server_extensions_handshake", server_extensions_handshake)
    assert extensions() == [b"permessage-deflate"]
    monkeypatch.setattr("hypercorn.protocol.ws_stream.server_extensions_handshake", lambda *_: None)
    assert extensions() == []


# --- mcp


@pytest.mark.parametrize("era", ["initialize", "discover"])
async def test_a_server_runs_on_memory_streams_under_trio_in_both_eras(era: Literal["initialize", "discover"]) -> None:
    """So stdio is ours (`bridge.stdio`): its own would read in a thread, and hang when it is cancelled."""

    async def list_tools(_: object, __: object) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[types.Tool(name="one", input_schema={"type": "object"})])

    server: Server[Any] = Server("x", on_list_tools=list_tools)
    to_server, from_client = anyio.create_memory_object_stream[SessionMessage | Exception](1)
    to_client, from_server = anyio.create_memory_object_stream[SessionMessage | Exception](1)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            run: Callable[..., Awaitable[None]] = server.run
            nursery.start_soon(run, from_client, to_client, server.create_initialization_options())
            async with ClientSession(from_server, to_server) as client:
                await getattr(client, era)()
                assert [tool.name for tool in (await client.list_tools()).tools] == ["one"]
            nursery.cancel_scope.cancel()


# --- cattrs


@attrs.frozen
class Plain:
    text: str
    number: int = 0


@attrs.frozen
class Other:
    flag: bool = False


def test_it_coerces_what_it_should_refuse() -> None:
    """So `codec` registers a strict hook for every plain type."""
    converter = cattrs.Converter()
    assert converter.structure({"text": None, "number": "5"}, Plain) == Plain("None", 5)
    assert converter.structure({"text": 5, "number": True, "unknown": 1}, Plain) == Plain("5", 1)


def test_a_bad_tag_is_a_bare_key_error_and_what_is_no_object_a_type_error() -> None:
    """So `codec` looks at the tag itself, and one function turns every one of its errors into `BadFrame`."""
    converter = cattrs.Converter()
    configure_tagged_union(Plain | Other, converter, tag_name="type")
    for broken in ({"type": "Nothing"}, {}):
        with pytest.raises(KeyError):
            converter.structure(broken, Plain | Other)  # type: ignore[arg-type]  # a union is a type here
    with pytest.raises(TypeError):
        converter.structure(5, Plain | Other)  # type: ignore[arg-type]


def test_the_hook_for_str_is_used_for_an_enumeration_of_strings() -> None:
    """So `codec` has a hook for `Code`: an error's code would stay any text."""
    from crosschat.errors import Code

    converter = cattrs.Converter()
    converter.register_structure_hook(str, lambda value, _: value)
    assert converter.structure("nobody_knows", Code) == "nobody_knows"
