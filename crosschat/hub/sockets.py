"""The run directory and the two listening sockets in it.

A stale socket file is removed only by who holds the hub's lock, and each socket only if it is still ours: a second
hub may already be bound to that name.
"""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import Final

import attrs
import trio

from crosschat.errors import DataDirectoryError

BACKLOG: Final = 1024  # connections that may wait while the loop is busy; the kernel may allow less


@attrs.frozen
class Door:
    """A listening Unix socket and the inode it was bound to."""

    path: Path
    listener: trio.SocketListener
    inode: tuple[int, int]

    @property
    def in_place(self) -> bool:
        """Whether the path still leads to this socket."""
        return _inode(self.path) == self.inode

    def close(self) -> None:
        """Take the name away while it is ours, then the socket. A client that comes now starts the next hub."""
        if self.in_place:
            self.path.unlink(missing_ok=True)
        self.listener.socket.close()


def prepare_run_directory(path: Path) -> None:
    """Make the directory, or check that it is ours alone. Raises DataDirectoryError."""
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise DataDirectoryError(f"the run directory {path} cannot be made: {error.strerror or error}") from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise DataDirectoryError(f"the run directory {path} belongs to somebody else: remove it, or ask its owner to")
    if found.st_mode & 0o077:
        path.chmod(0o700)


def open_doors(*paths: Path) -> tuple[Door, ...]:
    """Listen on all of them or on none. Raises as `open_door`."""
    doors: list[Door] = []
    try:
        doors.extend(open_door(path) for path in paths)  # those before the one that fails are in the list
    except BaseException:
        for door in doors:
            door.close()
        raise
    return tuple(doors)


def open_door(path: Path) -> Door:
    """Listen on `path`, in place of whatever socket was left there; the lock must be held. Raises OSError, and
    DataDirectoryError if something else than a socket is there."""
    if path.is_socket() or path.is_symlink():
        path.unlink()
    elif path.exists():
        raise DataDirectoryError(f"{path} is in the place of the hub's socket and is none: remove it")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(os.fspath(path))  # inside a 0700 directory, so its mode in the meantime matters to nobody
        path.chmod(0o600)
        sock.listen(BACKLOG)
        inode = _inode(path)
        if inode is None:
            raise FileNotFoundError(f"{path} vanished while it was being opened")
        return Door(path, trio.SocketListener(trio.socket.from_stdlib_socket(sock)), inode)
    except BaseException:
        sock.close()
        raise


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
