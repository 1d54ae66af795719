"""The page's end of the browser door, for tests: pairs with a code, signs, opens the stream, and reads it.

A code is given to a person at a terminal only, so `code_of` makes one: a process with a terminal of its own that has
left the tree of the test, as a person's shell is not below a session either.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, TypeVar

import attrs
import trio
import trio_websocket
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from crosschat import pagewire, wire
from crosschat.core.pairing import key_id, to_text
from tests.live.rig import START_S, WAIT_S, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from crosschat.paths import Home

Answer = TypeVar("Answer")
Frame = TypeVar("Frame")

_TERMINAL: Final = """
import fcntl, os, socket, sys, termios, time
parent = os.getpid()
if os.fork():
    os._exit(0)
while os.getppid() == parent:
    time.sleep(0.001)
os.setsid()
_, terminal = os.openpty()
fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
door = socket.socket(socket.AF_UNIX)
door.connect(sys.argv[1])
door.sendall(sys.argv[2].encode() + b"\\n")
os.write(int(sys.argv[3]), door.makefile("rb").readline())
"""


def at_a_terminal(home: Home, request: wire.ControlFrame) -> wire.HubFrame:
    """What the control door answers to a person at a terminal."""
    read_end, write_end = os.pipe()
    try:
        subprocess.run(
            [sys.executable, "-I", "-S", "-c", _TERMINAL, str(home.control_socket),
             wire.encode_control(request).decode(), str(write_end)],
            pass_fds=[write_end], check=True, timeout=START_S,
        )  # fmt: skip
        os.close(write_end)
        write_end = -1
        said = b""
        while not said.endswith(b"\n"):
            readable, _, _ = select.select([read_end], [], [], START_S)
            assert readable, "the hub said nothing"
            piece = os.read(read_end, 65536)
            assert piece, "the terminal ended"
            said += piece
        return wire.decode_hub(said)
    finally:
        os.close(read_end)
        if write_end >= 0:
            os.close(write_end)


def code_of(home: Home) -> str:
    """A code to pair with."""
    answer = at_a_terminal(home, wire.NewCode(id="c"))
    assert isinstance(answer, wire.PairingCode), answer
    return answer.code


@attrs.frozen
class Reply:
    """What HTTP answered."""

    status: int
    headers: dict[str, str]
    body: bytes


class Browser:
    """A browser with a key of its own, at the hub's page on `port`."""

    def __init__(self, port: int, label: str = "a test") -> None:
        self.port = port
        self.label = label
        self._private = ec.generate_private_key(ec.SECP256R1())
        self.public = self._private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self.key = key_id(self.public)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def sign(self, text: str) -> str:
        """As WebCrypto does: r and s, raw."""
        r, s = decode_dss_signature(self._private.sign(text.encode(), ec.ECDSA(SHA256())))
        return to_text(r.to_bytes(32, "big") + s.to_bytes(32, "big"))

    # --- HTTP

    async def request(
        self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str | None] | None = None
    ) -> Reply:
        """One request on a connection of its own, with the headers of the page; None leaves one out."""
        all_of_them: dict[str, str | None] = {"Host": f"127.0.0.1:{self.port}"}
        if method not in ("GET", "HEAD"):
            all_of_them |= {"Origin": self.origin, "Content-Type": "application/json", "X-CrossChat": "1"}
            all_of_them |= {"Content-Length": str(len(body))}
        lines = [f"{method} {target} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in {**all_of_them, **(headers or {})}.items() if value is not None]
        return await raw(self.port, "\r\n".join([*lines, "", ""]).encode() + body)

    async def call(self, frame: pagewire.CallFrame, kind: type[Answer]) -> Answer:
        """`POST /api/…`; the answer must be of this kind."""
        reply = await self.request("POST", f"/api/{frame.type}", pagewire.encode_call(frame))
        assert reply.headers.get("content-type") == "application/json", reply
        wanted = kind if reply.status == 200 else wire.Error
        answer = pagewire.decode_answer(reply.body, wanted)  # type: ignore[type-var]  # one of the answers
        assert isinstance(answer, kind), answer
        return answer

    async def pair(self, code: str) -> pagewire.Paired:
        call = pagewire.Pair(code=code, key=to_text(self.public), label=self.label)
        return await self.call(call, pagewire.Paired)

    async def ticket(self) -> str:
        """Sign a challenge for a ticket."""
        challenge = (await self.call(pagewire.Challenge(key=self.key), pagewire.Challenged)).challenge
        signature = self.sign(pagewire.to_sign(self.origin, challenge))
        call = pagewire.GetTicket(key=self.key, challenge=challenge, signature=signature)
        return (await self.call(call, pagewire.Ticketed)).ticket

    # --- the stream

    @asynccontextmanager
    async def stream(
        self, *, epoch: str | None = None, after_seq: int | None = None, ticket: str | None = None
    ) -> AsyncIterator[Screen]:
        """The opened stream, read by a task of its own until the block ends."""
        async with self.upgraded(ticket) as screen:
            opening = pagewire.Open(id="open", protocol=wire.PROTOCOL, version="test", epoch=epoch, after_seq=after_seq)
            screen.opened = await screen.ask(opening, pagewire.Opened)
            yield screen

    @asynccontextmanager
    async def upgraded(self, ticket: str | None = None) -> AsyncIterator[Screen]:
        """A stream that was accepted, and nothing said on it yet; read until the block ends."""
        async with trio.open_nursery() as nursery:
            with trio.fail_after(WAIT_S):
                socket = await trio_websocket.connect_websocket(
                    nursery, "127.0.0.1", self.port, "/stream",
                    use_ssl=False, subprotocols=[pagewire.SUBPROTOCOL, ticket or await self.ticket()],
                    extra_headers=[(b"Origin", self.origin.encode())],
                    max_message_size=1 << 23, message_queue_size=16,
                )  # fmt: skip
            screen = Screen(socket)
            nursery.start_soon(screen.read)
            try:
                yield screen
            finally:
                with trio.CancelScope(shield=True):
                    with trio.move_on_after(2):
                        await socket.aclose()
                    await trio.aclose_forcefully(socket._stream)
                nursery.cancel_scope.cancel()

    async def refused_upgrade(
        self, *subprotocols: str, path: str = "/stream", headers: Mapping[str, str | None] | None = None
    ) -> int:
        """The status that an upgrade is refused with; 101 if it is not."""
        asked: dict[str, str | None] = {
            "Origin": self.origin, "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
            "Sec-WebSocket-Protocol": ", ".join(subprotocols) or None,
        }  # fmt: skip
        with trio.move_on_after(WAIT_S):
            return (await self.request("GET", path, headers={**asked, **(headers or {})})).status
        return 101  # it stays open


class Screen:
    """What a page sees on its stream, kept in the order it came.

    `items` are all deliveries; that they have no hole and no overlap is checked for every batch. `news` has the last
    frame of each kind that is sent whole.
    """

    def __init__(self, socket: trio_websocket.WebSocketConnection) -> None:
        self.socket = socket
        self.opened = pagewire.Opened(id="", protocol=0, version="", epoch="", after_seq=0, head=0, key="", label="")
        self.frames: list[pagewire.ScreenFrame] = []
        self.items: list[wire.Item] = []
        self.told: int | None = None
        self.ended = trio.Event()
        self.closed: tuple[int, str | None] | None = None
        self._answers: dict[str, pagewire.ScreenFrame] = {}
        self._change = trio.Event()
        self._requests = 0

    async def read(self) -> None:
        """Take frames until the stream ends."""
        try:
            while True:
                self._take(pagewire.decode_screen(await self.socket.get_message()))
        except trio_websocket.ConnectionClosed as error:
            if error.reason is not None:
                self.closed = error.reason.code, error.reason.reason
        finally:
            self.ended.set()
            self._stir()

    def _take(self, frame: pagewire.ScreenFrame) -> None:
        self.frames.append(frame)
        match frame:
            case wire.Batch():
                assert self.told is not None, "a batch came before `opened`"
                assert frame.from_seq == self.told + 1, (frame.from_seq, self.told)
                assert frame.to_seq >= frame.from_seq
                assert all(self.told < item.seq <= frame.to_seq for item in frame.items)
                self.told = frame.to_seq
                self.items += frame.items
            case pagewire.Opened():
                self.told = frame.after_seq
                self._answers[frame.id] = frame
            case _ if isinstance(identifier := getattr(frame, "id", None), str):
                self._answers[identifier] = frame
            case _:
                pass
        self._stir()

    def _stir(self) -> None:
        self._change.set()
        self._change = trio.Event()

    async def until(self, condition: Callable[[], bool], timeout_s: float = WAIT_S) -> None:
        """Return when `condition` holds; it is tried whenever a frame came."""
        with trio.fail_after(timeout_s):
            while not condition():
                if self.ended.is_set():
                    raise AssertionError(f"the stream ended: {self.closed}, after {self.frames[-3:]}")
                await self._change.wait()

    async def send(self, frame: pagewire.PageFrame) -> None:
        await self.socket.send_message(pagewire.encode(frame).decode())

    def next_id(self) -> str:
        self._requests += 1
        return f"q{self._requests}"

    async def ask(self, frame: pagewire.PageFrame, kind: type[Frame], timeout_s: float = WAIT_S) -> Frame:
        """Send a request and return its answer, which must be of this kind."""
        await self.send(frame)
        await self.until(lambda: frame.id in self._answers, timeout_s)
        answer = self._answers.pop(frame.id)
        assert isinstance(answer, kind), answer
        return answer

    async def post(self, content: str, *, thread: str | None = None) -> wire.Sent:
        """A message by the person."""
        request = self.next_id()
        frame = wire.Send(id=request, cid=os.urandom(8).hex(), content=content, thread=thread)
        return await self.ask(frame, wire.Sent)

    def all(self, kind: type[Frame]) -> list[Frame]:
        """All frames of a kind, in order."""
        return [frame for frame in self.frames if isinstance(frame, kind)]

    async def next(self, kind: type[Frame], condition: Callable[[Frame], bool] = lambda _: True) -> Frame:
        """The first frame of a kind for which `condition` holds; it may have come already."""
        await self.until(lambda: any(map(condition, self.all(kind))))
        return next(filter(condition, self.all(kind)))

    def texts(self) -> list[str]:
        return [item.content for item in self.items if item.kind in ("message", "reply")]


async def raw(port: int, data: bytes) -> Reply:
    """Send these bytes, and read what comes until the other side closes."""
    with trio.fail_after(WAIT_S + 5):
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(data)
            said = b""
            async for piece in stream:
                said += piece
    head, _, body = said.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin1").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body = _unchunked(body)
    return Reply(int(first.split()[1]) if first else 0, headers, body)


def _unchunked(data: bytes) -> bytes:
    found = b""
    while data:
        size, _, rest = data.partition(b"\r\n")
        found += rest[: int(size, 16)]
        data = rest[int(size, 16) + 2 :]
    return found


async def paired(home: Home, label: str = "a test") -> Browser:
    """A browser that is paired, as the first one."""
    browser = Browser(await port_of(home), label)
    code = await trio.to_thread.run_sync(code_of, home)
    assert (await browser.pair(code)).state == "paired"
    return browser


async def port_of(home: Home) -> int:
    """Where the hub's page is, as soon as it is."""
    await eventually(home.dashboard_lock.exists)
    note: dict[str, object] = json.loads(home.dashboard_lock.read_text())
    assert isinstance(note["port"], int)
    return note["port"]
