"""A hub's control door in a thread: answers what a test tells it to, and keeps what it was asked."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs

from crosschat import wire
from crosschat.errors import Code
from crosschat.model import iso

if TYPE_CHECKING:
    from types import TracebackType

    from crosschat.paths import Home

Script = Callable[[wire.ControlFrame], Iterable[wire.HubFrame | bytes]]
WAIT_S = 5.0


class FakeHub:
    """Listens from the start to the end of its block. `script` gives the frames, or raw bytes, for each request.

    Closes a connection after the answers if `closes`; else keeps it until the client or the block ends. What it says of
    sessions that have not joined is `unjoined`, and a question for them is not kept.
    """

    def __init__(
        self,
        home: Home,
        script: Script,
        *,
        closes: bool = False,
        unjoined: tuple[wire.UnjoinedView, ...] | None = (),
    ) -> None:
        self.unjoined = unjoined
        self.asked: list[wire.ControlFrame] = []
        self._script = script
        self._closes = closes
        home.run.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(home.control_socket))
        self._listener.listen()
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> FakeHub:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(WAIT_S)
        self._listener.close()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(WAIT_S)
            assert not thread.is_alive()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            self._threads.append(threading.Thread(target=self._serve, args=[connection]))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError), connection.makefile("rb") as lines:
            for line in lines:
                frame = wire.decode_control(line.rstrip(b"\n"))
                if isinstance(frame, wire.Sessions):
                    problem = "no client" if self.unjoined is None else None
                    listed = wire.SessionList(id=frame.id, unjoined=self.unjoined, problem=problem)
                    connection.sendall(wire.encode(listed) + b"\n")
                    continue
                if isinstance(frame, wire.Succeed):  # every command asks first; this hub is no older than any
                    refused = wire.Error(id=frame.id, code=Code.FORBIDDEN, message="The hub is not older.")
                    connection.sendall(wire.encode(refused) + b"\n")
                    continue
                self.asked.append(frame)
                for answer in self._script(frame):
                    connection.sendall(answer if isinstance(answer, bytes) else wire.encode(answer) + b"\n")
                if self._closes:
                    connection.shutdown(socket.SHUT_RDWR)
                    return


def hub_status(frame: wire.ControlFrame, home: Home, **fields: object) -> wire.HubStatus:
    """A plain status that answers `frame`, with other `fields`."""
    status = wire.HubStatus(
        id=frame.id, pid=4242, version="1.2.3", protocol=1, home=str(home.root), started_at=iso(0), epoch="e", head=0,
        dashboard="http://127.0.0.1:8123/",
    )  # fmt: skip
    changed: wire.HubStatus = attrs.evolve(status, **fields)  # type: ignore[arg-type]  # whatever the test wants
    return changed
