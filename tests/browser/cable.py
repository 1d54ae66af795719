"""A cable between the browser and the hub that can be pulled: a SOCKS proxy, so that the page's address stays its own.

Connections are carried byte by byte by two threads each. `silence` leaves those that stand open and carries nothing on
them ever again, which is what a laptop finds that slept or changed its network; `cut` resets them. Until `restore`, new
ones get no answer. All of it ends with the `with` block: sockets are closed, so every thread finds an end.
"""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from typing import Final, Self

RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: no goodbye


class Cable:
    """In use inside its `with` block. `proxy` is what a browser's context is made with."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._whole = True
        self._ends: list[socket.socket] = []
        self._dead: set[socket.socket] = set()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes who accepts
        self._listener.close()
        self.cut()

    @property
    def proxy(self) -> dict[str, str]:
        return {"server": f"socks5://127.0.0.1:{self._listener.getsockname()[1]}", "bypass": "<-loopback>"}

    def silence(self) -> None:
        with self._lock:
            self._whole = False
            self._dead.update(self._ends)

    def cut(self) -> None:
        with self._lock:
            self._whole = False
            for end in self._ends:
                with suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    end.shutdown(socket.SHUT_RDWR)
                end.close()
            self._ends.clear()

    def restore(self) -> None:
        with self._lock:
            self._whole = True

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        with self._lock:
            self._ends.append(near)
            if not self._whole:
                self._dead.add(near)
                return
        with suppress(OSError):
            far = _dial(near)
            with self._lock:
                self._ends.append(far)
            threading.Thread(target=self._carry, args=(far, near), daemon=True).start()
            self._carry(near, far)

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if source not in self._dead:
                    target.sendall(data)
            if source not in self._dead:
                target.shutdown(socket.SHUT_WR)


def _dial(near: socket.socket) -> socket.socket:
    """What Chromium asks a SOCKS 5 proxy for (RFC 1928, without authentication): a connection to a host by its name."""
    _, methods = near.recv(2, socket.MSG_WAITALL)
    near.recv(methods, socket.MSG_WAITALL)
    near.sendall(b"\x05\x00")
    *asked, length = near.recv(5, socket.MSG_WAITALL)
    assert asked == [5, 1, 0, 3], asked
    host = near.recv(length, socket.MSG_WAITALL).decode()
    far = socket.create_connection((host, int.from_bytes(near.recv(2, socket.MSG_WAITALL), "big")))
    near.sendall(b"\x05\x00\x00\x01" + bytes(6))
    return far
