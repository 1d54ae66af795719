"""A process that passes for Claude Code, and hooks below it: what the kernel says about them is as in use.

It is the interpreter under the name `claude`, told what to start and what to connect to. With `attended` it has a
terminal of its own, as an interactive session has.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import termios
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self

import attrs
import trio

from crosschat import processes
from crosschat.cli.plugin import Program, stable_files
from tests.live.rig import START_S, WAIT_S

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from crosschat.paths import Home

HOOKS: Final = ("permission.sh", "permission.py", "ask.sh", "ask.py", "ran.sh", "ran.py")
_SESSION: Final = """
import json, os, socket, subprocess, sys
way = socket.socket(fileno=int(sys.argv[1]))
lines = way.makefile("r")
for line in lines:
    order = json.loads(line)
    if "connect" in order:
        one = socket.socket(socket.AF_UNIX)
        one.connect(order["connect"])
        socket.send_fds(way, [b"+"], [one.fileno()])
        one.close()
    else:
        files = [open(name, mode) for name, mode in zip(order["files"], ("rb", "wb", "wb"))]
        child = subprocess.Popen(order["run"], stdin=files[0], stdout=files[1], stderr=files[2], env=order["env"],
                                 start_new_session=True, cwd="/")
        way.sendall(b"%d\\n" % child.pid)
        if order["wait"]:
            child.wait()
"""


@attrs.frozen
class Ended:
    """What a hook left: its status (None: another process's child), and what it printed."""

    out: bytes
    err: bytes

    @property
    def said(self) -> dict[str, object] | None:
        found: dict[str, object] | None = json.loads(self.out) if self.out else None
        return found


class Hook:
    """A hook that was started."""

    def __init__(self, process: processes.Process | None, pid: int, files: list[Path]) -> None:
        self.pid = pid
        self._process = process
        self._files = files

    async def end(self, timeout_s: float = WAIT_S) -> Ended:
        """Wait for its end."""
        with trio.fail_after(timeout_s):
            if self._process is not None:
                await processes.wait_gone(self._process)
        return Ended(self._files[1].read_bytes(), self._files[2].read_bytes())

    def printed(self) -> bytes:
        """What it has printed until now."""
        return self._files[1].read_bytes()

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)


class Session:
    """The process; in use only inside its `with` block, which ends it and its hooks."""

    def __init__(self, place: Path, home: Home, *, attended: bool = True, name: str = "claude") -> None:
        self._place = place
        self._count = 0
        self._hooks: list[Hook] = []
        self._sockets: list[socket.socket] = []
        self.hooks = install_hooks(place, home)
        program = place / "bin" / name
        program.parent.mkdir(exist_ok=True)
        if not program.is_symlink():
            program.symlink_to(os.path.realpath(sys.executable))
        ours, theirs = socket.socketpair()
        ours.settimeout(START_S)
        self._way = ours
        self._terminal = pty.openpty() if attended else None
        at = self._terminal[1] if self._terminal is not None else subprocess.DEVNULL

        def take_terminal() -> None:
            if self._terminal is not None:
                fcntl.ioctl(self._terminal[1], termios.TIOCSCTTY, 0)

        with theirs:
            self._process = subprocess.Popen(
                [program, "-I", "-S", "-c", _SESSION, str(theirs.fileno())], stdin=at, stdout=at, stderr=at,
                pass_fds=[theirs.fileno()], start_new_session=True, preexec_fn=take_terminal, env={},
            )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        for hook in self._hooks:
            hook.signal(signal.SIGKILL)
        for sock in (self._way, *self._sockets):
            sock.close()
        for descriptor in self._terminal or ():
            os.close(descriptor)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def process(self) -> processes.Process:
        found = processes.find(self.pid)
        assert found is not None
        return found

    def connect(self, path: Path) -> socket.socket:
        """A connection of this process, as its bridge makes one."""
        self._way.sendall(json.dumps({"connect": str(path)}).encode() + b"\n")
        _, descriptors, _, _ = socket.recv_fds(self._way, 1, 1)
        self._sockets.append(socket.socket(fileno=descriptors[0]))
        return self._sockets[-1]

    def start(
        self, command: list[str], given: bytes, *, environment: Mapping[str, str] | None = None, wait: bool = False
    ) -> Hook:
        """Start a command below the session as its hook. With `wait`, the session waits for it before anything else."""
        self._count += 1
        files = [self._place / f"hook-{self._count}.{kind}" for kind in ("in", "out", "err")]
        files[0].write_bytes(given)
        order = {
            "run": command,
            "files": list(map(str, files)),
            "env": dict(environment or {"PATH": "/usr/bin:/bin"}),
            "wait": wait,
        }
        self._way.sendall(json.dumps(order).encode() + b"\n")
        said = b""
        while not said.endswith(b"\n"):
            said += self._way.recv(1)
        hook = Hook(processes.find(int(said)), int(said), files)
        self._hooks.append(hook)
        return hook

    def ask(self, given: bytes, *, environment: Mapping[str, str] | None = None) -> Hook:
        """A permission prompt, in exec form."""
        return self.start([str(self.hooks / "permission.sh"), "request"], given, environment=environment)


def install_hooks(place: Path, home: Home) -> Path:
    """The hooks as they are installed for that data directory."""
    folder = place / "hooks"
    folder.mkdir(exist_ok=True)
    for file in stable_files(Program(python=sys.executable, options=("-I",), home=home), "1"):
        path = folder / file.path
        path.write_bytes(file.content)
        path.chmod(file.mode)
    return folder
