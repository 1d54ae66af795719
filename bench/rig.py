"""A private hub, and light clients for measuring it.

An agent is the process that connected, so each client of the rig is dialled by a child process that then only lives
on; its socket is handed to this one, which drives all of them. Everything that is started is ended with its context.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs

from crosschat import version
from crosschat.bridge.launch import hub_command
from crosschat.paths import Home
from crosschat.wire import PROTOCOL, AddBadge, AgentFrame, ClaimTask, FlagTask, Hello, Peers, Read, Search, Send, encode

if TYPE_CHECKING:
    from collections.abc import Iterator

Request: TypeAlias = Send | Read | Search | FlagTask | ClaimTask | AddBadge | Peers

RAISED_QUOTAS: Final = '{"agents":1024,"messages_per_s":1000000,"messages_burst":1000000}'
DESCRIPTORS: Final = 4096  # more than the bench has open
ANSWER_S: Final = 60.0  # then a client of the bench gives up
END_DEADLINE_S: Final = 30.0
TEXT, PING, PONG = 1, 9, 10  # kinds of WebSocket frames
RECEIVE_BYTES: Final = 1 << 18


@attrs.frozen
class PrivateHub:
    """A running hub on a directory of its own. `started_s`: from spawning it to both sockets accepting."""

    home: Home
    process: subprocess.Popen[bytes]
    started_s: float

    def ask(self, op: str, **fields: object) -> dict[str, object]:
        """One request on the control socket and its answer."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self.home.control_socket))
            sock.sendall(json.dumps({"op": op, "id": "1", **fields}).encode() + b"\n")
            answer: dict[str, object] = json.loads(sock.makefile("rb").readline())
        return answer


@contextmanager
def private_hub(directory: Path, *, raised: bool = True, lock_fd: int | None = None) -> Iterator[PrivateHub]:
    """Start a hub, into which others of this user may look, on `directory`; stopped in the end. Quotas are `raised`.
    `lock_fd` holds the directory's lock already. Raises RuntimeError if it does not start."""
    home = Home(directory)
    reading, writing = os.pipe()
    begun = time.perf_counter()
    passed = [writing] if lock_fd is None else [writing, lock_fd]
    command = [*hub_command(home, stay=True), "--debuggable", "--ready-fd", str(writing)]
    command += ["--quotas", RAISED_QUOTAS] if raised else []
    command += [] if lock_fd is None else ["--lock-fd", str(lock_fd)]
    process = subprocess.Popen(command, pass_fds=passed)
    try:
        os.close(writing)
        with os.fdopen(reading, "rb") as ready:
            line = ready.readline()
        started_s = time.perf_counter() - begun
        if b'"pid"' not in line:
            raise RuntimeError(f"the hub did not start: {line.decode(errors='replace').strip() or 'no answer'}")
        yield PrivateHub(home, process, started_s)
    finally:
        end(process)
        if not home.run.is_relative_to(directory):  # the directory has so long a path that its sockets are elsewhere
            shutil.rmtree(home.run, ignore_errors=True)


def unwind_on_signals() -> None:
    """Have SIGTERM and SIGHUP end this program as an exception does, so that no private hub is left behind."""

    def leave(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask the process to end, and see that it does."""
    process.terminate()
    try:
        process.wait(END_DEADLINE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def own_agent(home: Home, name: str, *, epoch: str | None = None, after: int | None = None) -> Iterator[Client]:
    """This process itself as an agent, which it is again when it comes back."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(ANSWER_S)
        sock.connect(os.fspath(home.agents_socket))
        yield Client(sock, name, epoch=epoch, after=after)


@contextmanager
def agents(home: Home, count: int, name: str = "bench") -> Iterator[list[Client]]:
    """So many agents, each behind a process of its own, called `name` and a number. One after the other, because the
    hub does not wait for the hello of one that has connected."""
    with ExitStack() as stack:
        joined: list[Client] = []
        for number in range(count):
            origin = stack.enter_context(closing(Origin(home.agents_socket)))
            joined.append(Client(stack.enter_context(origin.dial()), f"{name}{number}"))
        yield joined


class Origin:
    """A process that connects to `path` whenever it is asked to: the agent behind a client, until `close`."""

    def __init__(self, path: Path) -> None:
        self._way, theirs = socket.socketpair()
        self._pid = os.fork()
        if self._pid == 0:
            _dial_on_request(path, theirs)
        theirs.close()
        self._way.settimeout(ANSWER_S)

    def dial(self) -> socket.socket:
        """A new connection. Raises OSError if nobody listens."""
        self._way.send(b"d")
        said, descriptors, _, _ = socket.recv_fds(self._way, 1, 1)
        if said != b"+":
            raise ConnectionRefusedError("nobody listens")
        sock = socket.socket(fileno=descriptors[0])
        sock.settimeout(ANSWER_S)
        return sock

    def close(self) -> None:
        self._way.close()
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)


def _dial_on_request(path: Path, way: socket.socket) -> None:
    """The child's whole life: it keeps nothing open, so that a connection ends when the parent closes it."""
    try:
        os.closerange(0, way.fileno())
        os.closerange(way.fileno() + 1, DESCRIPTORS)
        while way.recv(1):
            with socket.socket(socket.AF_UNIX) as sock:
                try:
                    sock.connect(str(path))
                except OSError:
                    way.send(b"-")
                else:
                    socket.send_fds(way, [b"+"], [sock.fileno()])
    finally:
        os._exit(0)


class Client:
    """An agent over a plain socket: the least work per frame, so that the hub is what is measured."""

    def __init__(self, sock: socket.socket, name: str, *, epoch: str | None = None, after: int | None = None) -> None:
        self.sock = sock
        self.buffer = bytearray()
        key = base64.b64encode(os.urandom(16)).decode()
        sock.sendall(
            f"GET /agents HTTP/1.1\r\nHost: crosschat\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        while b"\r\n\r\n" not in self.buffer:
            self.buffer += sock.recv(65536)
        del self.buffer[: self.buffer.index(b"\r\n\r\n") + 4]
        self.send(
            Hello(protocol=PROTOCOL, version=version.installed(), cwd="/", name=name, epoch=epoch, after_seq=after)
        )
        self.welcome: dict[str, object] = json.loads(self.receive())
        if self.welcome.get("type") != "welcome":
            raise RuntimeError(f"the hub did not welcome a client of the bench: {self.welcome}")

    def send(self, frame: AgentFrame) -> None:
        self.sock.sendall(masked(encode(frame)))

    def ask(self, frame: Request) -> dict[str, object]:
        """The answer to a request; deliveries before it are dropped. Raises RuntimeError if it is refused."""
        self.send(frame)
        while True:
            answer: dict[str, object] = json.loads(self.receive())
            if answer.get("id") == frame.id:
                if answer["type"] == "error":
                    raise RuntimeError(f"the hub refused: {answer}")
                return answer

    def receive(self) -> bytes:
        """The payload of the next text frame."""
        while True:
            payloads = self.take(1)
            if payloads:
                return payloads[0]
            self.fill()

    def fill(self) -> None:
        received = self.sock.recv(RECEIVE_BYTES)
        if not received:
            raise RuntimeError("the hub closed a connection of the bench")
        self.buffer += received

    def take(self, most: int = 1 << 16) -> list[bytes]:
        """Up to `most` text frames that have arrived whole."""
        found: list[bytes] = []
        while len(found) < most and len(self.buffer) >= 2:
            size, head = self.buffer[1] & 0x7F, 2
            if size >= 126:
                head = 4 if size == 126 else 10
                if len(self.buffer) < head:
                    break
                size = int.from_bytes(self.buffer[2:head], "big")
            if len(self.buffer) < head + size:
                break
            kind = self.buffer[0] & 0x0F
            if kind == TEXT:
                found.append(bytes(self.buffer[head : head + size]))
            elif kind == PING:
                self.sock.sendall(pong(bytes(self.buffer[head : head + size])))
            del self.buffer[: head + size]
        return found


class Counted:
    """Messages that come over a socket, counted by a `mark` that each has once, and not looked into: the same few lines
    for whatever system sends them, so that a client's work is no part of the comparison. The socket is a blocking one
    and `take` is called when there is something."""

    def __init__(self, sock: socket.socket, mark: bytes) -> None:
        self.sock = sock
        self._mark = mark
        self._tail = b""  # of what came, too short to have a mark of its own

    def fileno(self) -> int:
        return self.sock.fileno()

    def take(self) -> int:
        """Receive once; how many marks are complete with that. Raises RuntimeError if the connection ended."""
        chunk = self.sock.recv(RECEIVE_BYTES)
        if not chunk:
            raise RuntimeError("a connection of the bench was closed")
        self.received(chunk)
        heard = self._tail + chunk
        self._tail = heard[1 - len(self._mark) :] if len(self._mark) > 1 else b""
        return heard.count(self._mark)

    def received(self, chunk: bytes) -> None:
        """For protocols in which a reader has to say something."""


def pong(payload: bytes) -> bytes:
    """The answer to a ping; masked with zeros."""
    return bytes((0x80 | PONG, 0x80 | len(payload), 0, 0, 0, 0)) + payload


def masked(data: bytes) -> bytes:
    """A client's text frame; masked with zeros, which costs nothing."""
    size = len(data)
    if size < 126:
        head = bytes((0x81, 0x80 | size))
    elif size < 1 << 16:
        head = b"\x81\xfe" + size.to_bytes(2, "big")
    else:
        head = b"\x81\xff" + size.to_bytes(8, "big")
    return head + b"\0\0\0\0" + data


def resident_mib(pid: int) -> float:
    """Resident memory of a process in MiB (Linux)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
