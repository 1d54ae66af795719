"""A hub that speaks the agent protocol of CrossChat 2.0.x, which somebody started and named by its URL.

It confirms nothing, so the sender is paced by what a reader got. Whatever else comes to the sender is read and dropped.
Its own data directory gets the messages of the bench: give it one for the occasion.
"""

from __future__ import annotations

import json
import os
import socket
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, ClassVar, Final
from urllib.parse import urlsplit

import attrs

from ..rig import Counted, masked
from . import stand

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MARK: Final = b'"type":"channel.message"'
PING: Final = b"\x89\x00"  # of `ws`; no JSON in UTF-8 has these bytes
PONG: Final = b"\x8a\x80\0\0\0\0"


@attrs.frozen
class Earlier:
    """`url`: ws://HOST:PORT/ws/agent."""

    url: str
    name: ClassVar = "2.0.x"
    note: ClassVar = "the hub at the given URL; confirms nothing"

    @contextmanager
    def start(self, directory: Path) -> Iterator[RunningEarlier]:
        with ExitStack() as stack:
            yield RunningEarlier(self.url, stack)


@attrs.frozen
class RunningEarlier:
    url: str
    stack: ExitStack

    def open(self, readers: int) -> tuple[Sender, list[Reader]]:
        sender, *others = [self._joined(number) for number in range(readers + 1)]
        return Sender(sender), [Reader(sock, MARK) for sock in others]

    def _joined(self, number: int) -> socket.socket:
        parts = urlsplit(self.url)
        sock = self.stack.enter_context(socket.create_connection((parts.hostname, parts.port or 80), stand.JOIN_S))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stand.upgrade(sock, parts.path or "/ws/agent", parts.netloc)
        stand.hear(sock, b"\r\n\r\n")  # it takes nothing before it has answered
        hello = {
            "type": "agent.register",
            "peerId": f"bench-{os.getpid()}-{number}",
            "name": f"bench{number}",
            "cwd": "/tmp",
            "pid": os.getpid(),
        }
        sock.sendall(masked(json.dumps(hello).encode()))
        stand.hear(sock, b'"registered"')
        sock.settimeout(None)
        return sock


class Reader(Counted):
    def received(self, chunk: bytes) -> None:
        if PING in chunk:
            self.sock.sendall(PONG)


class Sender:
    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def send(self, content: str) -> None:
        with suppress(BlockingIOError):
            while chunk := self.sock.recv(1 << 18, socket.MSG_DONTWAIT):
                if PING in chunk:
                    self.sock.sendall(PONG)
        self.sock.sendall(masked(json.dumps({"type": "agent.sendMessage", "content": content}).encode()))
