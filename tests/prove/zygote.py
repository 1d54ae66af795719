"""Starts hubs and bridges by forking a process that has everything imported: a real process, in milliseconds.

What is forked runs the product's own `main`, with its own pid, lock, sockets, signals and death. The interpreter's
start and the imports are left out, so that thousands of kills fit into minutes.
"""

from __future__ import annotations

import gc
import json
import os
import socket
import subprocess
import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT: Final = Path(__file__).resolve().parents[2]
MESSAGE_BYTES: Final = 1 << 16
PRELOADED: Final = (
    "hypercorn.trio.tcp_server", "hypercorn.trio.worker_context", "quart_trio", "crosschat.bridge.main",
    "crosschat.bridge.server", "crosschat.hub.main", "tests.prove.roles",
)  # fmt: skip


Role: TypeAlias = "Callable[[dict[str, object], list[int]], int]"


class Zygote:
    """The rig's handle on it. Used by one thread; each call blocks for as long as a fork takes."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.prove.zygote", str(theirs.fileno())],
                cwd=ROOT,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        self._way = ours
        self._way.settimeout(60)
        self._way.recv(1)  # everything is imported

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._way.close()
        self._process.wait(10)

    def start(self, what: dict[str, object], descriptors: list[int]) -> int:
        """Fork a process that does `what` with these descriptors; its pid."""
        socket.send_fds(self._way, [json.dumps(what).encode()], descriptors)
        return int(self._way.recv(64))

    def wait(self, pid: int) -> int:
        """The status of a process that was started here, once it has ended: negative for a signal."""
        self._way.send(json.dumps({"wait": pid}).encode())
        return int(self._way.recv(64))


def _serve(way: socket.socket) -> None:
    while True:
        data, descriptors, _, _ = socket.recv_fds(way, MESSAGE_BYTES, 8)
        if not data:
            return
        what = json.loads(data)
        if "wait" in what:
            _, status = os.waitpid(what["wait"], 0)
            way.send(str(os.waitstatus_to_exitcode(status)).encode())
            continue
        pid = os.fork()
        if pid == 0:
            way.close()
            status = 99
            try:
                os.setsid()
                status = _become(what, descriptors)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        for descriptor in descriptors:
            os.close(descriptor)
        way.send(str(pid).encode())


def _become(what: dict[str, object], descriptors: list[int]) -> int:
    roles: dict[str, Role] = import_module("tests.prove.roles").ROLES
    return roles[str(what["role"])](what, descriptors)


def main() -> None:
    way = socket.socket(fileno=int(sys.argv[1]))
    for module in PRELOADED:
        import_module(module)

    gc.collect()
    gc.freeze()  # so that the memory stays shared
    way.send(b".")
    _serve(way)


if __name__ == "__main__":
    main()
