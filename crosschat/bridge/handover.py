"""The server's side of a launcher: takes over what it handed over, and asks it for what only its process can do.

A launcher (`launcher.py`) is the process that the MCP client started; this one was forked from the template. Whom the
kernel names at the other end of a connection is who dialled it, so the launcher dials and passes the connection on. It
passes on signals, too, and its death is this server's end: the connection between the two tells.

`take_over` is plain code of the fork's first moments; `Launcher` lives as long as the server.
A cancelled dial leaves nothing open: what is passed on too late is closed.
"""

from __future__ import annotations

import array
import errno
import os
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import attrs
import trio

from crosschat.bridge import launcher
from crosschat.bridge.launcher import ANSWER_BYTES, DIAL, END, EXIT, GO, HEAD_BYTES, YES
from crosschat.processes import peer_credentials

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

INTRODUCTION_S: Final = 2.0  # a launcher waits no longer for the answer
INTRODUCTION_BYTES: Final = 8 * 1024 * 1024  # more than the kernel lets an environment be
RECEIVE_BYTES: Final = 64 * 1024
DESCRIPTORS: Final = 3
PATH_BYTES: Final = 255  # more than a socket's path may have
DIAL_S: Final = 3.0  # a launcher gives up before


class Declined(Exception):
    """The launcher is not to be served from here; it goes the plain way."""


@attrs.frozen
class Introduction:
    """What the launcher's process is: program, place and environment."""

    program: str
    cwd: str
    environment: Mapping[bytes, bytes]


def take_over(sock: socket.socket) -> None:
    """Make this process the launcher's stand-in: descriptors 0 to 2, working directory, environment.

    Returns once the launcher has left its standard input to us. Raises Declined, also for a launcher of another
    installation, and OSError; then nothing was read from its standard input.
    """
    sock.settimeout(INTRODUCTION_S)
    descriptors = array.array("i")
    try:
        introduction = _hear(sock, descriptors)
        if introduction.program != launcher.__file__:
            raise Declined("it is of another installation")
        os.chdir(introduction.cwd)
        sock.sendall(YES)
        if sock.recv(1) != GO:
            raise Declined("it waits no longer")
        for number, passed in enumerate(descriptors):
            os.dup2(passed, number)
    finally:
        _close(descriptors)
    os.environb.clear()
    os.environb.update(introduction.environment)


def _hear(sock: socket.socket, descriptors: array.array[int]) -> Introduction:
    said, ancillary, _, _ = sock.recvmsg(RECEIVE_BYTES, socket.CMSG_SPACE(DESCRIPTORS * descriptors.itemsize))
    _collect(ancillary, descriptors)
    heard = bytearray(said)
    while len(heard) < HEAD_BYTES or len(heard) < HEAD_BYTES + _length(heard):
        part = sock.recv(RECEIVE_BYTES)
        if not part:
            raise Declined("it left")
        heard += part
    if len(descriptors) != DESCRIPTORS:
        raise Declined("it did not pass its descriptors")
    program, cwd, *entries = bytes(heard[HEAD_BYTES:]).split(b"\0")
    pairs = (entry.partition(b"=") for entry in entries if entry)
    return Introduction(os.fsdecode(program), os.fsdecode(cwd), {name: value for name, _, value in pairs})


def _length(heard: bytearray) -> int:
    length = int.from_bytes(heard[:HEAD_BYTES], "big")
    if length > INTRODUCTION_BYTES:
        raise Declined("its environment is too large")
    return length


def _collect(ancillary: Iterable[tuple[int, int, bytes]], descriptors: array.array[int]) -> None:
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])


def _close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


@attrs.define(eq=False)
class _Call:
    """One dial that waits for its answer."""

    number: int
    answered: trio.Event = attrs.Factory(trio.Event)
    error: int = 0
    passed: list[int] = attrs.Factory(list)


class Launcher:
    """The launcher that stands for this process. `pid` is its own, as the kernel says. `attend` runs meanwhile."""

    def __init__(self, sock: socket.socket) -> None:
        """The caller closes `sock` when the launcher is not needed any more."""
        self.pid = peer_credentials(sock).pid
        self._plain = sock
        self._sock = trio.socket.from_stdlib_socket(sock)
        self._turn = trio.Lock()
        self.calls = 0
        self._call: _Call | None = None

    async def attend(self) -> None:
        """Return when the launcher was told to end, or is gone."""
        heard, passed = bytearray(), array.array("i")
        while True:
            try:
                said, ancillary, _, _ = await self._sock.recvmsg(RECEIVE_BYTES, socket.CMSG_SPACE(passed.itemsize))
            except OSError:
                return
            _collect(ancillary, passed)
            heard += said
            if not said or heard[:1] == END:
                return
            while len(heard) >= ANSWER_BYTES:
                self._take_answer(heard[1], heard[2], passed.tolist())
                del heard[:ANSWER_BYTES], passed[:]

    def _take_answer(self, number: int, error: int, passed: list[int]) -> None:
        call = self._call
        if call is None or call.number != number or call.answered.is_set():
            _close(passed)
            return
        call.error, call.passed = error, passed
        call.answered.set()

    async def dial(self, path: Path | str) -> trio.SocketStream:
        """A connection to that Unix socket which the kernel takes for the launcher's. Raises OSError."""
        encoded = os.fsencode(path)
        if len(encoded) > PATH_BYTES:
            raise _os_error(errno.ENAMETOOLONG, path)
        async with self._turn:
            self.calls = (self.calls + 1) % 256
            self._call = call = _Call(self.calls)
            try:
                await self._sock.send(DIAL + bytes([call.number, len(encoded)]) + encoded)
                with trio.fail_after(DIAL_S):
                    await call.answered.wait()
            except BaseException as ended:
                _close(call.passed)
                if isinstance(ended, trio.TooSlowError):
                    raise _os_error(errno.ETIMEDOUT, path) from None
                raise
            finally:
                self._call = None
        if call.error or not call.passed:
            raise _os_error(call.error or errno.EIO, path)
        return trio.SocketStream(trio.socket.from_stdlib_socket(socket.socket(fileno=call.passed[0])))

    def tell_status(self, status: int) -> None:
        """The last word: with which status the launcher is to end."""
        self._plain.setblocking(True)
        self._plain.sendall(EXIT + bytes([status % 256]))


def _os_error(number: int, path: Path | str) -> OSError:
    return OSError(number, os.strerror(number), os.fspath(path))
