"""The floor: one loop that writes what the sender wrote to every reader, and does nothing else.

No parsing, no ids, no handshake and no framing: the sender's bytes are what our hub would write to a reader. What comes
at once goes on at once. With a file to write to, it is written there and synced first, so that this is the least that a
hub costs which promises to keep a message. Whoever connects first is the sender. A reader that does not keep up has its
bytes kept for it; the loop ends with the sender.
"""

from __future__ import annotations

import os
import selectors
import socket
import sys
from typing import TYPE_CHECKING, Final

import attrs

from crosschat.websocket import text_frame

from ..run import sync
from . import stand

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

CHUNK_BYTES: Final = 1 << 18


@attrs.frozen
class Floor:
    """With `synced`, one write and sync of a file for what comes at once."""

    synced: bool = False

    @property
    def name(self) -> str:
        return "floor + sync" if self.synced else "floor"

    @property
    def note(self) -> str:
        return "one loop that copies bytes" + (", after a sync of what came at once" if self.synced else "")

    def start(self, directory: Path) -> AbstractContextManager[stand.Running]:
        file = [os.fspath(directory / "log")] if self.synced else []
        return stand.program(
            __name__,
            directory,
            *file,
            join=stand.join_plainly,
            frame=lambda content: text_frame(stand.delivery(content)),
        )


class _Loop:
    def __init__(self, listener: socket.socket, log: int | None) -> None:
        self._listener = listener
        self._log = log
        self._sender: socket.socket | None = None
        self._unsent: dict[socket.socket, bytearray] = {}  # of every reader
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)

    def run(self) -> None:
        while True:
            for key, events in self._selector.select():
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj is self._sender:
                    chunk = self._sender.recv(CHUNK_BYTES)
                    if not chunk:
                        return
                    self._pass_on(chunk)
                elif isinstance(key.fileobj, socket.socket):
                    self._attend(key.fileobj, events)

    def _accept(self) -> None:
        sock, _ = self._listener.accept()
        sock.sendall(stand.JOINED)
        sock.setblocking(False)
        self._selector.register(sock, selectors.EVENT_READ)
        if self._sender is None:
            self._sender = sock
        else:
            self._unsent[sock] = bytearray()

    def _pass_on(self, chunk: bytes) -> None:
        if self._log is not None:
            os.write(self._log, chunk)
            sync(self._log)
        for reader, unsent in self._unsent.items():
            sent = 0 if unsent else self._write(reader, chunk)
            if sent < len(chunk):
                unsent += chunk[sent:]
                self._selector.modify(reader, selectors.EVENT_READ | selectors.EVENT_WRITE)

    def _write(self, reader: socket.socket, data: bytes | bytearray) -> int:
        try:
            return reader.send(data)
        except BlockingIOError:
            return 0

    def _attend(self, reader: socket.socket, events: int) -> None:
        unsent = self._unsent[reader]
        if events & selectors.EVENT_WRITE:
            del unsent[: self._write(reader, unsent)]
            if not unsent:
                self._selector.modify(reader, selectors.EVENT_READ)
        elif not reader.recv(CHUNK_BYTES):
            self._selector.unregister(reader)
            del self._unsent[reader]


def main() -> None:
    log = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) if len(sys.argv) > 2 else None
    _Loop(stand.inherited(sys.argv), log).run()
