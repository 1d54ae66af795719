"""Real hubs and real agents for tests: processes, sockets and files as they are in use.

An agent's identity is the process that called connect(), so each `Program` is a small process that connects when it is
told to and passes the socket to the test, which then speaks on it. Everything started here ends with its `with` block.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, TypeVar

import trio
import trio_websocket

from crosschat import wire
from crosschat.paths import Home

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

ROOT: Final = Path(__file__).resolve().parents[2]
WAIT_S: Final = 20.0  # nothing waits so long unless it is broken, or the machine is loaded
START_S: Final = 30.0  # on a loaded machine the interpreter alone may take seconds

Frame = TypeVar("Frame")

_CONNECTS: Final = """
import _socket as s, os, sys
way = s.socket(fileno=int(sys.argv[1]))
while os.read(0, 1):
    one = s.socket(s.AF_UNIX, s.SOCK_STREAM)
    try:
        one.connect(sys.argv[2])
    except OSError:
        way.send(b"-")
        continue
    way.sendmsg([b"+"], [(s.SOL_SOCKET, s.SCM_RIGHTS, one.fileno().to_bytes(4, sys.byteorder))])
    one.close()
"""


@contextmanager
def short_directory() -> Iterator[Path]:
    """A new directory whose path leaves room for a socket's name."""
    path = Path(tempfile.mkdtemp(prefix="cc-", dir="/tmp"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


# --- hubs as processes


class HubProcess:
    """`python -m crosschat.hub` on `root`. In use only inside its `with` block, which kills it."""

    def __init__(
        self,
        root: Path,
        *options: str,
        preexec: Callable[[], None] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.home = Home(root)
        read_end, write_end = os.pipe()
        self._ready = read_end
        with open(root.parent / f"{root.name}.stderr", "ab") as errors:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "crosschat.hub",
                    "--home",
                    str(root),
                    "--ready-fd",
                    str(write_end),
                    "--debuggable",
                    *options,
                ],
                cwd=ROOT,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                pass_fds=[write_end],
                preexec_fn=preexec,
                start_new_session=True,
            )
        os.close(write_end)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        if self._ready >= 0:
            os.close(self._ready)
            self._ready = -1

    def ready(self) -> dict[str, object]:
        """What it says once it serves, or why it does not."""
        readable, _, _ = select.select([self._ready], [], [], START_S)
        assert readable, "the hub said nothing"
        said = b""
        while not said.endswith(b"\n") and (piece := os.read(self._ready, 4096)):
            said += piece
        assert said, f"the hub ended with {self.process.wait(START_S)}: {self.errors()}"
        found: dict[str, object] = json.loads(said)
        return found

    def started(self) -> Self:
        """Wait until it serves."""
        said = self.ready()
        assert "pid" in said, said
        return self

    def errors(self) -> str:
        return self.home.root.with_name(f"{self.home.root.name}.stderr").read_text()

    def log(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in (self.home.logs / "hub.jsonl").read_text().splitlines()]

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, timeout: float = START_S) -> int:
        return self.process.wait(timeout)

    def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return self.wait()


# --- agents


class Program:
    """A process that connects to `path` whenever asked to: one identity, any number of connections."""

    def __init__(self, path: Path) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _CONNECTS, str(theirs.fileno()), str(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # no terminal, whatever the test has
            )
        ours.settimeout(START_S)
        self._way = ours
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def kill(self) -> None:
        """End the process; the test's copies of its sockets stay open."""
        self._process.kill()
        self._process.wait()

    def let_go(self) -> None:
        """Close the test's copies of its sockets."""
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()

    def end(self) -> None:
        self.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._way.close()
        self.let_go()

    @property
    def pid(self) -> int:
        return self._process.pid

    def connect(self) -> socket.socket:
        """A new connection of that process. Raises ConnectionRefusedError."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"c")
        self._process.stdin.flush()
        said, descriptors, _, _ = socket.recv_fds(self._way, 1, 1)
        if said != b"+":
            raise ConnectionRefusedError
        self._sockets.append(socket.socket(fileno=descriptors[0]))
        return self._sockets[-1]


HELLO: Final = wire.Hello(protocol=wire.PROTOCOL, version="test", cwd="/tmp")


class Client:
    """An agent's end of one connection. A task of the nursery reads, unless it was opened without.

    `items` are all deliveries in order. That coverage has no hole and no overlap is checked for every batch.
    """

    def __init__(self, socket_: trio_websocket.WebSocketConnection, stream: trio.SocketStream) -> None:
        self.socket = socket_
        self.stream = stream
        self.welcome = wire.Welcome(
            protocol=0, version="", agent="", name="", epoch="", after_seq=0, cursor=0, head=0
        )  # fmt: skip
        self.items: list[wire.Item] = []
        self.told = 0
        self.said: list[wire.Error | wire.Bye] = []
        self.ended = trio.Event()
        self._answers: dict[str, wire.HubFrame] = {}
        self._news = trio.Event()
        self._requests = 0

    async def read(self) -> None:
        """Take frames until the connection ends."""
        try:
            while True:
                self.take(wire.decode_hub(await self.socket.get_message()))
        except trio_websocket.ConnectionClosed:
            pass
        finally:
            self.ended.set()
            self._stir()

    def take(self, frame: wire.HubFrame) -> None:
        match frame:
            case wire.Welcome():
                self.welcome = frame
                self.told = frame.after_seq
            case wire.Batch():
                assert frame.from_seq == self.told + 1, (frame.from_seq, self.told)
                assert frame.to_seq >= frame.from_seq
                assert all(self.told < item.seq <= frame.to_seq for item in frame.items)
                self.told = frame.to_seq
                self.items += frame.items
            case wire.Error(id=None) | wire.Bye():
                self.said.append(frame)
            case wire.Activity() | wire.Cleared():
                pass
            case _:
                assert frame.id is not None
                self._answers[frame.id] = frame
        self._stir()

    def _stir(self) -> None:
        self._news.set()
        self._news = trio.Event()

    async def until(self, condition: Callable[[], bool], timeout_s: float = WAIT_S) -> None:
        """Return when `condition` holds; it is tried whenever a frame came."""
        with trio.fail_after(timeout_s):
            while not condition():
                if self.ended.is_set():
                    raise AssertionError(f"the connection ended; it said {self.said}")
                await self._news.wait()

    async def send(self, frame: wire.AgentFrame) -> None:
        await self.socket.send_message(wire.encode(frame).decode())

    async def answer(self, request: str, timeout_s: float = WAIT_S) -> wire.HubFrame:
        await self.until(lambda: request in self._answers, timeout_s)
        return self._answers.pop(request)

    def next_id(self) -> str:
        self._requests += 1
        return f"q{self._requests}"

    async def ask(self, frame: wire.AgentFrame, kind: type[Frame], timeout_s: float = WAIT_S) -> Frame:
        """Send a request and return its answer, which must be of this kind."""
        await self.send(frame)
        answer = await self.answer(str(getattr(frame, "id", "")), timeout_s)
        assert isinstance(answer, kind), answer
        return answer

    async def post(self, content: str, *, thread: str | None = None, cid: str | None = None) -> wire.Sent:
        request = self.next_id()
        frame = wire.Send(id=request, cid=cid or f"{self.welcome.agent}-{request}", content=content, thread=thread)
        return await self.ask(frame, wire.Sent)

    async def close(self) -> None:
        with trio.move_on_after(2):
            await self.socket.aclose()

    def texts(self) -> list[str]:
        return [item.content for item in self.items if item.kind in ("message", "reply")]


async def open_client(nursery: trio.Nursery, sock: socket.socket) -> Client:
    """Speak WebSocket on a connected socket; no hello yet, and nobody reads."""
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
    with trio.fail_after(WAIT_S):
        websocket = await trio_websocket.wrap_client_stream(
            nursery,
            stream,
            host="crosschat",
            resource="/agents",
            message_queue_size=16,
            max_message_size=1 << 24,
        )
    return Client(websocket, stream)


async def join(nursery: trio.Nursery, sock: socket.socket, hello: wire.Hello = HELLO) -> Client:
    """Connect, say hello, be welcomed, and read from then on."""
    client = await open_client(nursery, sock)
    nursery.start_soon(client.read)
    await client.send(hello)
    await client.until(lambda: client.welcome.agent != "")
    return client


# --- the control door


class Control:
    """A client of control.sock."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream: trio.SocketStream | None = None
        self._buffer = bytearray()

    async def __aenter__(self) -> Self:
        self._stream = await trio.open_unix_socket(str(self._path))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._stream is not None:
            await trio.aclose_forcefully(self._stream)

    async def write(self, data: bytes) -> None:
        assert self._stream is not None
        await self._stream.send_all(data)

    async def frame(self) -> wire.HubFrame | None:
        """The next frame; None at the end."""
        assert self._stream is not None
        with trio.fail_after(WAIT_S):
            while (end := self._buffer.find(b"\n")) < 0:
                received = await self._stream.receive_some()
                if not received:
                    return None
                self._buffer += received
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return wire.decode_hub(line)

    async def ask(self, frame: wire.ControlFrame, kind: type[Frame]) -> Frame:
        await self.write(wire.encode_control(frame) + b"\n")
        answer = await self.frame()
        assert isinstance(answer, kind), answer
        return answer


async def inspect(home: Home, *, tree: bool = False) -> wire.HubStatus:
    async with Control(home.control_socket) as control:
        return await control.ask(wire.Inspect(id="i", tree=tree), wire.HubStatus)


async def eventually(condition: Callable[[], bool], timeout_s: float = WAIT_S) -> None:
    """For what gives no sign of its own, such as a file: look again until it is so."""
    with trio.fail_after(timeout_s):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.01)


async def eventually_is(look: Callable[[], Awaitable[object]], wanted: object) -> None:
    """The same for what has to be asked for."""
    with trio.fail_after(WAIT_S):
        while await look() != wanted:  # noqa: ASYNC110
            await trio.sleep(0.01)
