"""MCP over stdin and stdout, as trio streams: one JSON-RPC message per line, in UTF-8.

The wire is a private copy of descriptors 0 and 1; while it is served, 0 is /dev/null and 1 is stderr, so nothing else
in the process or its children can read from it or write into it. At the end both are put back as they were, also
whether they block, which a terminal shares with its other users.

It ends at once when stdin ends, stdout breaks, the server returns, or it is cancelled, also while stdin stays open:
no thread sits in a read. What was answered before is still written. A line that is too long or is no JSON-RPC costs
one error answer. A cancel in the middle of a write tears the last line; nobody is there to read it.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from typing import Final, TypeAlias

import anyio
import mcp_types as types
import trio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from pydantic import ValidationError

LINE_BYTES: Final = 4 * 1024 * 1024
READ_BYTES: Final = 64 * 1024
FLUSH_S: Final = 2.0  # for what was answered, once nothing more will be

FromClient: TypeAlias = "SessionMessage | Exception"
Serve: TypeAlias = Callable[
    [MemoryObjectReceiveStream[FromClient], MemoryObjectSendStream[SessionMessage]], Awaitable[None]
]
OnCancelled: TypeAlias = Callable[[str | int], None]


async def serve_stdio(serve: Serve, *, on_cancelled: OnCancelled) -> None:
    """Serve on descriptors 0 and 1. Raises OSError if one of them is closed."""
    with private_wire() as (wire_in, wire_out):
        async with (
            trio.lowlevel.FdStream(os.dup(wire_in)) as stdin,
            trio.lowlevel.FdStream(os.dup(wire_out)) as stdout,
        ):
            await serve_streams(stdin, stdout, serve, on_cancelled=on_cancelled)


@contextmanager
def private_wire() -> Iterator[tuple[int, int]]:
    """Copies of descriptors 0 and 1, which meanwhile point elsewhere."""
    blocking = [os.get_blocking(descriptor) for descriptor in (0, 1)]
    wire = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3) for descriptor in (0, 1)]
    try:
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)
        yield wire[0], wire[1]
    finally:
        for descriptor, kept in enumerate(wire):
            os.dup2(kept, descriptor)
            os.set_blocking(descriptor, blocking[descriptor])
            os.close(kept)


async def serve_streams(
    stdin: trio.abc.ReceiveStream,
    stdout: trio.abc.SendStream,
    serve: Serve,
    *,
    on_cancelled: OnCancelled,
) -> None:
    """The transport itself. `on_cancelled` hears of every cancelled request before any later message is handled."""
    to_server, from_client = anyio.create_memory_object_stream[FromClient](0)
    to_client, from_server = anyio.create_memory_object_stream[SessionMessage](0)
    written = trio.Event()

    async def write() -> None:
        try:
            await _write_lines(stdout, from_server)
        except (trio.BrokenResourceError, OSError):
            nursery.cancel_scope.cancel()  # nobody listens any more
        written.set()

    # Reader and writer end with the server's loop, which ends when the reader does.
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_read_lines, stdin, to_server, to_client.clone(), on_cancelled)
        nursery.start_soon(write)
        await serve(from_client, to_client)
        to_client.close()
        with trio.move_on_after(FLUSH_S):
            await written.wait()
        nursery.cancel_scope.cancel()


async def _read_lines(
    stdin: trio.abc.ReceiveStream,
    to_server: MemoryObjectSendStream[FromClient],
    to_client: MemoryObjectSendStream[SessionMessage],
    on_cancelled: OnCancelled,
) -> None:
    with to_client, to_server, suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        async with aclosing(_lines(stdin)) as lines:  # a cancel in the middle of a line's handling ends it as well
            async for line in lines:
                message = _parse(line)
                if isinstance(message, types.JSONRPCError) and message.id is None:
                    await to_client.send(SessionMessage(message))
                    continue
                if isinstance(message, types.JSONRPCNotification):
                    _note_cancel(message, on_cancelled)
                await to_server.send(SessionMessage(message))


async def _lines(stdin: trio.abc.ReceiveStream) -> AsyncGenerator[bytes | None, None]:
    """The lines without their ends; None for one that was too long. An unfinished last line is dropped."""
    kept, searched, too_long = bytearray(), 0, False
    while True:
        try:
            part = await stdin.receive_some(READ_BYTES)
        except (trio.BrokenResourceError, OSError):
            return
        if not part:
            return
        kept += part
        while (end := kept.find(b"\n", searched)) >= 0:
            line = bytes(kept[:end]).strip()
            del kept[: end + 1]
            searched = 0
            if too_long or len(line) > LINE_BYTES:
                yield None
            elif line:
                yield line
            too_long = False
        if len(kept) > LINE_BYTES:
            too_long = True
            kept.clear()
        searched = len(kept)


def _parse(line: bytes | None) -> types.JSONRPCMessage:
    """The message, or the error to answer with, whose `id` is null."""
    if line is None:
        return _error(types.PARSE_ERROR, f"a line has at most {LINE_BYTES} bytes")
    try:
        return types.jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValidationError:
        pass
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return _error(types.PARSE_ERROR, "not JSON in UTF-8")
    return _error(types.INVALID_REQUEST, "not a JSON-RPC 2.0 message")


def _error(code: int, message: str) -> types.JSONRPCError:
    return types.JSONRPCError(jsonrpc="2.0", id=None, error=types.ErrorData(code=code, message=message))


def _note_cancel(message: types.JSONRPCNotification, on_cancelled: OnCancelled) -> None:
    if message.method == "notifications/cancelled":
        request = (message.params or {}).get("requestId")
        if isinstance(request, str | int):
            on_cancelled(request)


async def _write_lines(stdout: trio.abc.SendStream, from_server: MemoryObjectReceiveStream[SessionMessage]) -> None:
    with from_server:
        async for sent in from_server:
            line = sent.message.model_dump_json(by_alias=True, exclude_unset=True)
            await stdout.send_all(line.encode() + b"\n")
