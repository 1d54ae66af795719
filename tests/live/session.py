"""A stand-in for a Claude Code session: a process called `claude`, and below it a bridge and a hook.

Both connect when the test says so and pass the socket on, so that the kernel names them and the test speaks for them.
"""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import termios
from typing import TYPE_CHECKING, Final, Self

import trio

from crosschat import wire
from tests.live.rig import START_S, WAIT_S

if TYPE_CHECKING:
    from pathlib import Path

    from crosschat.paths import Home

_CONNECTS: Final = """
import _socket as s, sys
way = s.socket(fileno=int(sys.argv[1]))
while way.recv(1):
    one = s.socket(s.AF_UNIX, s.SOCK_STREAM)
    one.connect(sys.argv[2])
    way.sendmsg([b"+"], [(s.SOL_SOCKET, s.SCM_RIGHTS, one.fileno().to_bytes(4, sys.byteorder))])
    one.close()
"""
_CLAUDE: Final = """
import subprocess, sys
children = [subprocess.Popen([sys.argv[1], "-I", "-S", "-c", sys.argv[2], *place], close_fds=False)
            for place in (sys.argv[3:5], sys.argv[5:7])]
for child in children:
    child.wait()
"""


class Session:
    """In use inside its `with` block, which ends all three processes. Without a `terminal` nobody sees its dialogs."""

    def __init__(self, home: Home, place: Path, *, terminal: bool = True) -> None:
        program = place / "claude"
        if not program.exists():
            program.symlink_to(sys.executable)
        self._terminal = os.openpty()
        pairs = [socket.socketpair(), socket.socketpair()]
        self._ways = [ours for ours, _ in pairs]
        theirs = [end for _, end in pairs]
        fds = [str(end.fileno()) for end in theirs]
        self._process = subprocess.Popen(
            [program, "-I", "-S", "-c", _CLAUDE, sys.executable, _CONNECTS,
             fds[0], str(home.agents_socket), fds[1], str(home.control_socket)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[end.fileno() for end in theirs],
            start_new_session=True, preexec_fn=self._take_terminal if terminal else None,
        )  # fmt: skip
        for end in theirs:
            end.close()
        for way in self._ways:
            way.settimeout(START_S)
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        for way in (*self._ways, *self._sockets):
            way.close()
        for end in self._terminal:
            os.close(end)

    def _take_terminal(self) -> None:
        fcntl.ioctl(self._terminal[1], termios.TIOCSCTTY, 0)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def pid(self) -> int:
        """Of the process called claude."""
        return self._process.pid

    def bridge(self) -> socket.socket:
        """A new connection to the agents' door."""
        return self._connect(self._ways[0])

    def hook(self) -> Hook:
        """A new connection to the control door."""
        return Hook(trio.SocketStream(trio.socket.from_stdlib_socket(self._connect(self._ways[1]))))

    def _connect(self, way: socket.socket) -> socket.socket:
        way.send(b"c")
        said, descriptors, _, _ = socket.recv_fds(way, 1, 1)
        assert said == b"+"
        self._sockets.append(socket.socket(fileno=descriptors[0]))
        return self._sockets[-1]


class Hook:
    """What a permission hook says and hears."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._buffer = bytearray()

    async def ask(self, raw: bytes) -> wire.HubFrame:
        """Put a request before the person; what the hub says first."""
        await self._stream.send_all(wire.encode_control(wire.AskPermission(id="h", bytes=len(raw))) + b"\n" + raw)
        return await self.frame()

    async def say(self, frame: wire.ControlFrame) -> wire.HubFrame:
        """Any request of the control door, by a process below claude."""
        await self._stream.send_all(wire.encode_control(frame) + b"\n")
        return await self.frame()

    async def frame(self) -> wire.HubFrame:
        with trio.fail_after(WAIT_S):
            while (end := self._buffer.find(b"\n")) < 0:
                received = await self._stream.receive_some()
                assert received, "the hub hung up"
                self._buffer += received
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return wire.decode_hub(line)

    async def close(self) -> None:
        await trio.aclose_forcefully(self._stream)
