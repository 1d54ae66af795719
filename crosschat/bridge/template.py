"""A warm MCP server that waits to be one: imported once, forked for each session of Claude Code.

    python -m crosschat.bridge.template SOCKET

Importing is most of a server's start and of its memory; here it is paid once, and the pages are shared. One template
runs for a run directory, which the lock beside its socket sees to; `launcher.py` is what sessions start. It never
serves itself: it accepts, checks the peer's uid and forks, and the child hears what the launcher hands over, so nobody
can hold the template up. A server that was forked outlives it.

It ends when it has had no servers for `IDLE_S`, when its socket is not its own any more, and when the code on the disk
is not the code it has imported: the next session then starts plainly, and starts a new one. A crash leaves a socket
nobody listens on, which the next template replaces under the lock.
"""

from __future__ import annotations

import gc
import hashlib
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn

import attrs
import trio

import crosschat
from crosschat import lock
from crosschat.bridge.handover import Declined, Launcher, take_over
from crosschat.processes import peer_credentials

IDLE_S: Final = 300.0
CHECK_S: Final = 10.0  # whether socket and code are still ours
BACKLOG: Final = 64
DEFECT: Final = 70  # EX_SOFTWARE


def main(arguments: list[str] | None = None) -> int:
    """Be the template that listens on a socket, unless there is one. Returns when it is not needed any more."""
    (path,) = map(Path, sys.argv[1:] if arguments is None else arguments)
    held = lock.try_hold(lock_of(path))
    if held is None:
        return 0
    imported = code_stamp()
    serve = _import_server()
    with listen(path) as listener:
        gc.collect()
        gc.freeze()  # a collection in a server would write to, and so copy, every page
        _serve(Template(listener, path, held, imported, serve))
    return 0


def _import_server() -> Callable[[Launcher], int]:
    """Everything a server needs, and what is made when it is first needed."""
    from crosschat.bridge.main import serve
    from crosschat.bridge.rehearsal import rehearse

    trio.run(rehearse)
    return serve


def lock_of(path: Path) -> Path:
    return path.with_suffix(".lock")


def code_stamp() -> str:
    """Changes whenever the installed code does."""
    found = sorted(
        (os.path.join(directory, name), os.stat(os.path.join(directory, name)).st_mtime_ns)
        for directory, _, names in os.walk(os.path.dirname(crosschat.__file__))
        for name in names
        if name.endswith(".py")
    )
    return hashlib.sha256(repr(found).encode()).hexdigest()


def listen(path: Path) -> socket.socket:
    """A listening socket in place of what was left there; the lock is held. Raises OSError."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(os.fspath(path))  # inside a 0700 directory, so its mode in the meantime matters to nobody
    path.chmod(0o600)
    listener.listen(BACKLOG)
    return listener


@attrs.define(eq=False)
class Template:
    """`servers` are the pids of those that run."""

    listener: socket.socket
    path: Path
    lock_fd: int
    imported: str
    serve: Callable[[Launcher], int]
    servers: set[int] = attrs.Factory(set)

    def reap(self) -> None:
        self.servers -= {pid for pid in self.servers if os.waitpid(pid, os.WNOHANG) != (0, 0)}

    @property
    def valid(self) -> bool:
        """Whether it is still what a new session should come from. An upgrade may be under way: then it is not."""
        with suppress(OSError):
            held = lock.still_ours(self.lock_fd, lock_of(self.path))
            return held and self.path.is_socket() and code_stamp() == self.imported
        return False


def _serve(template: Template) -> None:
    """Fork a server for every launcher, until the template is not needed any more."""
    woken, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    poll = select.poll()
    poll.register(template.listener, select.POLLIN)
    poll.register(woken, select.POLLIN)
    needed_until = time.monotonic() + IDLE_S
    while template.servers or time.monotonic() < needed_until:
        ready = [descriptor for descriptor, _ in poll.poll(CHECK_S * 1000)]
        if not template.valid:
            return
        if woken in ready:
            os.read(woken, 4096)
        if template.listener.fileno() in ready:
            _accept(template)
        template.reap()
        if template.servers:
            needed_until = time.monotonic() + IDLE_S


def _accept(template: Template) -> None:
    connection, _ = template.listener.accept()
    with connection:
        if peer_credentials(connection).uid != os.getuid():
            return
        pid = os.fork()
        if not pid:
            _become_server(template, connection)
        template.servers.add(pid)


def _become_server(template: Template, connection: socket.socket) -> NoReturn:
    """In the fork: the rest of its life. The lock stays with the template, whatever becomes of this process."""
    status = DEFECT
    try:
        os.close(template.lock_fd)
        template.listener.close()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        status = _stand_in(template, connection)
    except BaseException:  # the outermost edge of this process
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _stand_in(template: Template, connection: socket.socket) -> int:
    try:
        take_over(connection)
    except (Declined, OSError):
        return 0
    launcher = Launcher(connection)
    status = template.serve(launcher)
    with suppress(OSError):
        launcher.tell_status(status)
    return status


if __name__ == "__main__":
    sys.exit(main())
