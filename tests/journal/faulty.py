"""Files that fail on demand, and that remember what was done: `Files` for tests.

Every call has an index, counted from 0 over the life of the object. A `Fault` says which calls fail
and how. `sync_after_failure` and `unsynced` are what the promises are about.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import attrs

from crosschat.journal.files import Files, RealFiles

if TYPE_CHECKING:
    from pathlib import Path

    from crosschat.journal.files import Bytes, Use

Kind = Literal["EIO", "ENOSPC", "EROFS", "EMFILE", "short"]
KINDS: tuple[Kind, ...] = ("EIO", "ENOSPC", "EROFS", "EMFILE", "short")


@attrs.frozen
class Fault:
    """Calls from index `at` on: only that one, or with `forever` all that come after it too."""

    at: int
    kind: Kind
    forever: bool = False

    def hits(self, index: int) -> bool:
        return index >= self.at if self.forever else index == self.at


@attrs.define(eq=False)
class FaultyFiles:
    """`Files` on the real ones. `before` is called with the name of each call that is made."""

    fault: Fault | None = None
    real: Files = attrs.Factory(RealFiles)
    before: Callable[[str], None] | None = None
    calls: list[str] = attrs.Factory(list)
    open_fds: set[int] = attrs.Factory(set)
    failed_sync: set[int] = attrs.Factory(set)
    sync_after_failure: list[str] = attrs.Factory(list)
    unsynced: dict[int, int] = attrs.Factory(dict)
    """Bytes written to each open descriptor since its last successful sync."""

    def _call(self, name: str) -> bool:
        """Count the call and raise if it is to fail; True if it is to be cut short."""
        index = len(self.calls)
        self.calls.append(name)
        if self.before:
            self.before(name)
        if self.fault is None or not self.fault.hits(index):
            return False
        if self.fault.kind == "short":
            return True
        number = getattr(errno, self.fault.kind)
        raise OSError(number, os.strerror(number))

    def open(self, path: Path, use: Use) -> int:
        self._call(f"open {use}")
        fd = self.real.open(path, use)
        self.open_fds.add(fd)
        self.failed_sync.discard(fd)
        self.unsynced[fd] = 0
        return fd

    def close(self, fd: int) -> None:
        self.open_fds.discard(fd)
        self.real.close(fd)  # also when it fails: the descriptor is gone, as on Linux
        self._call("close")

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        self._call("pread")
        return self.real.pread(fd, size, offset)

    def write(self, fd: int, data: Bytes) -> int:
        try:
            short = self._call("write")
        except OSError:
            # The worst a disk may do: some of it arrived.
            self.real.write(fd, bytes(data)[: len(data) // 2])
            raise
        written = self.real.write(fd, bytes(data)[: max(1, len(data) // 3)] if short else data)
        self.unsynced[fd] += written
        return written

    def fsync(self, fd: int) -> None:
        self._sync("fsync", fd)

    def fdatasync(self, fd: int) -> None:
        self._sync("fdatasync", fd)

    def _sync(self, name: str, fd: int) -> None:
        if fd in self.failed_sync:
            self.sync_after_failure.append(name)
        try:
            self._call(name)
        except OSError:
            self.failed_sync.add(fd)
            raise
        self.unsynced[fd] = 0  # and nothing is waited for: the tests do not cut the power

    def truncate(self, fd: int, size: int) -> None:
        self._call("truncate")
        self.real.truncate(fd, size)

    def replace(self, source: Path, target: Path) -> None:
        self._call("replace")
        self.real.replace(source, target)

    def unlink(self, path: Path) -> None:
        self._call("unlink")
        self.real.unlink(path)

    def listdir(self, path: Path) -> list[str]:
        self._call("listdir")
        return self.real.listdir(path)

    def lstat(self, path: Path) -> os.stat_result:
        self._call("lstat")
        return self.real.lstat(path)

    def mkdir(self, path: Path) -> None:
        self._call("mkdir")
        self.real.mkdir(path)

    def rmdir(self, path: Path) -> None:
        self._call("rmdir")
        self.real.rmdir(path)

    def chmod(self, fd: int, mode: int) -> None:
        self._call("chmod")
        self.real.chmod(fd, mode)
