"""The obvious hub: a trio-websocket server that calls `send_message` for each subscriber, one after the other."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, ClassVar

import attrs
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream

from . import stand

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path


@attrs.frozen
class Naive:
    name: ClassVar = "naive"
    note: ClassVar = "trio-websocket, send_message per subscriber; stores nothing"

    def start(self, directory: Path) -> AbstractContextManager[stand.Running]:
        return stand.program(__name__, directory)


async def serve(listener: trio.SocketListener) -> None:
    subscribers: list[WebSocketConnection] = []

    async def attend(stream: trio.SocketStream) -> None:
        async with trio.open_nursery() as nursery:
            connection = await (await wrap_server_stream(nursery, stream)).accept()
            await connection.send_message(stand.JOINED.decode())
            subscribers.append(connection)
            try:
                while True:
                    message = await connection.get_message()
                    for other in subscribers:
                        if other is not connection:
                            await other.send_message(message)
            except ConnectionClosed:
                subscribers.remove(connection)

    await trio.serve_listeners(attend, [listener])


def main() -> None:
    sock = stand.inherited(sys.argv)

    async def run() -> None:
        await serve(trio.SocketListener(trio.socket.from_stdlib_socket(sock)))

    trio.run(run)
