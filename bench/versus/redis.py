"""Redis publish and subscribe, with nothing written to the disk: where `redis-server` is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, ClassVar, Final

import attrs

from ..rig import end
from . import stand

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from pathlib import Path

PROGRAM: Final = "redis-server"
CHANNEL: Final = b"bench"
START_S: Final = 10.0
TRY_AGAIN_S: Final = 0.01


def is_present() -> bool:
    return shutil.which(PROGRAM) is not None


@attrs.frozen
class Redis:
    name: ClassVar = "redis"
    note: ClassVar = "redis-server, PUBLISH and SUBSCRIBE; stores nothing, an absent subscriber misses it"

    @contextmanager
    def start(self, directory: Path) -> Iterator[stand.Running]:
        path = directory / "s"
        settings = {"port": "0", "unixsocket": os.fspath(path), "save": "", "dir": os.fspath(directory)}
        command = [PROGRAM, *(word for name, value in settings.items() for word in (f"--{name}", value))]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            _await(path, process)
            with ExitStack() as stack:
                yield stand.Running(
                    path=path,
                    stack=stack,
                    join=_subscriber(),
                    frame=lambda content: _command(b"PUBLISH", CHANNEL, stand.delivery(content)),
                    confirmation=b":",  # the number of those who got it
                )
        finally:
            end(process)


def _subscriber() -> stand.Join:
    """The first to join is the sender, who may not subscribe."""
    joined = 0

    def join(sock: socket.socket) -> None:
        nonlocal joined
        joined += 1
        if joined > 1:
            sock.sendall(_command(b"SUBSCRIBE", CHANNEL))
            stand.hear(sock, b":1\r\n")

    return join


def _command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def _await(path: Path, process: subprocess.Popen[bytes]) -> None:
    """Return when it listens. Raises RuntimeError if it does not."""
    give_up_at = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < give_up_at:
        try:
            stand.connect(path).close()
        except OSError:
            time.sleep(TRY_AGAIN_S)
        else:
            return
    raise RuntimeError(f"{PROGRAM} did not start")
