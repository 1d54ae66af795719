"""What the compared systems share: how they are started, and clients that cost the same whatever is in the middle.

A stand-in is a program of a few lines that takes the listening socket from us, so nobody waits until it listens. Each
connection is told `JOINED` when it is a subscriber. What a sender writes is what our hub would deliver for the same
message, byte for byte, and what a stand-in passes on as it is: it neither parses nor stores, and makes no ids.
"""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs

from crosschat.wire import Item, encode_batch, to_json

from ..rig import Counted, end, masked
from ..systems import ITEM

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

JOINED: Final = b"joined"
BACKLOG: Final = 1024
JOIN_S: Final = 30.0

Join: TypeAlias = Callable[[socket.socket], None]


def delivery(content: str) -> bytes:
    """What our hub delivers to a reader for that message."""
    item = Item(
        seq=1000,
        kind="message",
        message="m-0123456789abcdef",
        from_id="a-0123456789abcdef",
        from_name="bench0",
        source="agent",
        ts="2026-01-01T00:00:00.000Z",
        content=content,
    )
    return encode_batch(1000, 1000, [to_json(item)])


class Writer:
    """A sender: `frame` makes of a content what goes over its socket, once for all messages of that content."""

    def __init__(self, sock: socket.socket, frame: Callable[[str], bytes], confirmation: bytes = b"\n") -> None:
        self.sock = sock
        self._frame = frame
        self._made: dict[str, bytes] = {}
        self._confirmed = Counted(sock, confirmation)

    def fileno(self) -> int:
        return self.sock.fileno()

    def send(self, content: str) -> None:
        if content not in self._made:
            self._made[content] = self._frame(content)
        self.sock.sendall(self._made[content])

    def take(self) -> int:
        return self._confirmed.take()


@attrs.frozen(kw_only=True)
class Running:
    """A compared system that runs, and how its clients join. `join` makes a connection a subscriber, before it returns;
    `pid` is 0 for a system that was not started by us."""

    pid: int
    stack: ExitStack
    connect: Callable[[], socket.socket]
    join: Join
    frame: Callable[[str], bytes]
    mark: bytes = ITEM
    confirmation: bytes = b"\n"

    def open(self, readers: int) -> tuple[Writer, list[Counted]]:
        sender, *others = [self._joined() for _ in range(readers + 1)]
        return Writer(sender, self.frame, self.confirmation), [Counted(sock, self.mark) for sock in others]

    def _joined(self) -> socket.socket:
        sock = self.stack.enter_context(self.connect())
        sock.settimeout(JOIN_S)
        self.join(sock)
        sock.settimeout(None)
        return sock


@contextmanager
def listener(path: Path) -> Iterator[socket.socket]:
    """A listening socket that a child inherits."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(os.fspath(path))
        sock.listen(BACKLOG)
        sock.set_inheritable(True)
        yield sock


@contextmanager
def program(module: str, directory: Path, *arguments: str) -> Iterator[tuple[int, Path]]:
    """Run `main` of a stand-in's module, which takes the listening socket by `inherited`, until the block ends: its
    pid, and where its clients connect."""
    path = directory / "s"
    with listener(path) as sock:
        command = [sys.executable, "-c", f"from {module} import main; main()", str(sock.fileno()), *arguments]
        process = subprocess.Popen(command, pass_fds=[sock.fileno()])
    try:
        yield process.pid, path
    finally:
        end(process)


def connect(path: Path) -> socket.socket:
    """Raises OSError."""
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.connect(os.fspath(path))
    except OSError:
        sock.close()
        raise
    return sock


def hear(sock: socket.socket, word: bytes) -> None:
    """Receive until `word` has come. Raises RuntimeError if the connection ends before, TimeoutError."""
    heard = b""
    while word not in heard:
        part = sock.recv(1 << 16)
        if not part:
            raise RuntimeError(f"a compared system closed a connection after {heard[:200]!r}")
        heard += part


def upgrade(sock: socket.socket, resource: str = "/", host: str = "bench") -> None:
    """Ask for a WebSocket; what answers is heard by whoever reads next."""
    key = base64.b64encode(os.urandom(16)).decode()
    sock.sendall(
        f"GET {resource} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )


def join_websocket(sock: socket.socket) -> None:
    upgrade(sock)
    hear(sock, JOINED)


def websocket_delivery(content: str) -> bytes:
    return masked(delivery(content))


def inherited(arguments: Sequence[str]) -> socket.socket:
    """In a stand-in: the listening socket."""
    return socket.socket(fileno=int(arguments[1]))
