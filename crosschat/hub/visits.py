"""The listening socket of the browser door, and its connections, each bounded from outside of the framework.

Who is not a paired page is a stranger: there are at most `STRANGERS`, each has `REQUEST_S` and `REQUEST_BYTES`
for its one request, and `ANSWER_S` to take the answer. A stream has neither bound, but no write to anybody lasts longer
than its deadline, because the framework shields its writes from cancellation and would hold up a stop.
"""

from __future__ import annotations

import math
import socket
import sys
from contextlib import suppress
from typing import Final

import trio

from crosschat.hub.guard import HOST
from crosschat.limits import WRITE_DEADLINE_S

STRANGERS: Final = 32
REQUEST_S: Final = 5.0
ANSWER_S: Final = 15.0
REQUEST_BYTES: Final = 16 * 1024
HURRY_S: Final = 1.0


def listen(port: int | None, remembered: int | None) -> tuple[socket.socket | None, str | None]:
    """A listening socket on 127.0.0.1, or None and why not.

    A `port` that was asked for is used or nothing is; without one the `remembered` port is tried, so that a page
    keeps its address, and then any free one.
    """
    wanted = [port] if port is not None else [remembered, 0] if remembered is not None else [0]
    for candidate in wanted:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if sys.platform == "linux":  # a browser that stops reading must not hold up a stop
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 10_000)
            sock.bind((HOST, candidate or 0))
            sock.listen(STRANGERS)
        except OSError as error:
            sock.close()
            problem = f"port {candidate} on {HOST} cannot be used: {error.strerror or error}"
        else:
            return sock, None
    return None, f"{problem}. Free it, or set CROSSCHAT_DASHBOARD_PORT to another port or unset it, then restart."


class Visit:
    """One connection, as hypercorn gets it in the place of a stream. Until it is a stream it may neither last long nor
    send much, and no write to it lasts longer than its deadline: hypercorn shields its writes from cancellation."""

    def __init__(self, stream: trio.SocketStream, strangers: trio.CapacityLimiter) -> None:
        self.socket = stream.socket  # hypercorn asks it for the addresses
        self.time = trio.CancelScope(deadline=trio.current_time() + REQUEST_S)
        self._stream = stream
        self._strangers: trio.CapacityLimiter | None = strangers
        self._allowed_bytes: int | None = REQUEST_BYTES
        self._writing: trio.CancelScope | None = None

    def answering(self) -> None:
        """The request was read and its answer begins."""
        self.time.deadline = trio.current_time() + ANSWER_S

    def answered(self) -> None:
        """The answer has left: that is all on this connection."""
        self.time.deadline = trio.current_time() + HURRY_S
        with suppress(OSError):
            self.socket.shutdown(trio.socket.SHUT_WR)

    def trust(self) -> None:
        """It is a page's stream: from here on it may last, and send what the protocol allows."""
        self.time.deadline = math.inf
        self._allowed_bytes = None
        self.leave_the_strangers()

    def leave_the_strangers(self) -> None:
        if self._strangers is not None:
            self._strangers.release_on_behalf_of(self)
            self._strangers = None

    def hurry(self) -> None:
        if self._writing is not None:
            self._writing.deadline = min(self._writing.deadline, trio.current_time() + HURRY_S)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        data = bytes(await self._stream.receive_some(max_bytes))
        if self._allowed_bytes is not None:
            self._allowed_bytes -= len(data)
            if self._allowed_bytes < 0:
                raise trio.BrokenResourceError("more than a request may have")
        return data

    async def send_all(self, data: bytes) -> None:
        with trio.move_on_after(WRITE_DEADLINE_S) as self._writing:
            await self._stream.send_all(data)
            self._writing = None
            return
        self._writing = None
        await trio.aclose_forcefully(self._stream)  # half a frame may have left
        raise trio.BrokenResourceError("nobody reads what is written")

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """The framework is done with it; it would keep a task for its idle time-out."""
        await self._stream.aclose()
        self.time.deadline = -math.inf
