"""`websockets` and its `broadcast`, which is made for this: a frame is built once and written to all.

The library is not among our requirements; where it is missing, so is this row.
"""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from typing import TYPE_CHECKING, ClassVar

import attrs

from . import stand

if TYPE_CHECKING:
    import socket
    from contextlib import AbstractContextManager
    from pathlib import Path

    from websockets.asyncio.server import ServerConnection


def is_present() -> bool:
    return importlib.util.find_spec("websockets") is not None


@attrs.frozen
class Broadcast:
    name: ClassVar = "websockets"
    note: ClassVar = "websockets (asyncio), broadcast without compression; stores nothing"

    def start(self, directory: Path) -> AbstractContextManager[stand.Running]:
        return stand.program(__name__, directory)


async def serve(sock: socket.socket) -> None:
    from websockets.asyncio.server import broadcast, unix_serve

    subscribers: set[ServerConnection] = set()

    async def attend(connection: ServerConnection) -> None:
        await connection.send(stand.JOINED.decode())
        subscribers.add(connection)
        try:
            async for message in connection:
                broadcast(subscribers - {connection}, message)
        finally:
            subscribers.remove(connection)

    async with unix_serve(attend, sock=sock, compression=None) as server:
        await server.serve_forever()


def main() -> None:
    asyncio.run(serve(stand.inherited(sys.argv)))
