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
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs

from crosschat.wire import Item, encode_batch, to_json

from ..rig import Counted, end, masked
from ..systems import ITEM

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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

    def __init__(self, sock: socket.socket, frame: Callable[[str], bytes]) -> None:
        self.sock = sock
        self._frame = frame
        self._made: dict[str, bytes] = {}

    def send(self, content: str) -> None:
        if content not in self._made:
            self._made[content] = self._frame(content)
        self.sock.sendall(self._made[content])


class ConfirmedWriter(Writer, Counted):
    """One that is told of each message, by a `mark` in what comes."""

    def __init__(self, sock: socket.socket, frame: Callable[[str], bytes], mark: bytes) -> None:
        Writer.__init__(self, sock, frame)
        Counted.__init__(self, sock, mark)


@attrs.frozen(kw_only=True)
class Running:
    """A compared system that listens on `path`. `join` makes a connection a subscriber, before it returns; a sender is
    told of each message by `confirmation`, if at all."""

    path: Path
    stack: ExitStack
    join: Join
    frame: Callable[[str], bytes]
    confirmation: bytes | None = None

    def open(self, readers: int) -> tuple[Writer, list[Counted]]:
        sock, *others = [self._joined() for _ in range(readers + 1)]
        told = self.confirmation
        sender = Writer(sock, self.frame) if told is None else ConfirmedWriter(sock, self.frame, told)
        return sender, [Counted(other, ITEM) for other in others]

    def _joined(self) -> socket.socket:
        sock = self.stack.enter_context(connect(self.path))
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


def join_plainly(sock: socket.socket) -> None:
    hear(sock, JOINED)


def join_websocket(sock: socket.socket) -> None:
    upgrade(sock)
    hear(sock, JOINED)


def websocket_delivery(content: str) -> bytes:
    return masked(delivery(content))


@contextmanager
def program(
    module: str,
    directory: Path,
    *arguments: str,
    join: Join = join_websocket,
    frame: Callable[[str], bytes] = websocket_delivery,
) -> Iterator[Running]:
    """Run `main` of a stand-in's module, which takes the listening socket by `inherited`, until the block ends."""
    path = directory / "s"
    with listener(path) as sock:
        command = [sys.executable, "-c", f"from {module} import main; main()", str(sock.fileno()), *arguments]
        process = subprocess.Popen(command, pass_fds=[sock.fileno()])
    try:
        with ExitStack() as stack:
            yield Running(path=path, stack=stack, join=join, frame=frame)
    finally:
        end(process)


def inherited(arguments: Sequence[str]) -> socket.socket:
    """In a stand-in: the listening socket."""
    return socket.socket(fileno=int(arguments[1]))
