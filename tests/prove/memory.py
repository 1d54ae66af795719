"""A disk in memory that knows what a power cut may leave of it: `Files` with a durable and a volatile side.

A file has its bytes as they were at its last sync, and the writes since; a directory its names as they were at its
last sync, and the changes since. `freeze` remembers all that at one moment; `crash` makes of it the disks that may be
found after a power cut at that moment.

Stricter than file systems are: without a sync of the directory a synced file may have no name, and unsynced writes
may arrive in any order, sector by sector.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from crosschat.journal.files import Bytes, Use

FIRST_FD: Final = 1000


@attrs.define(eq=False, slots=True)
class File:
    data: bytearray = attrs.Factory(bytearray)
    synced: bytes = b""
    pending: list[tuple[int, bytes]] = attrs.Factory(list)
    """Writes since the last sync: where, and what; (size, b"") is a cut."""


Names: TypeAlias = "dict[str, File | Directory]"
Change: TypeAlias = "tuple[str, File | Directory | None, str]"


@attrs.define(eq=False, slots=True)
class Directory:
    """A change is a name with what it leads to from then on, None for nothing, and the name that vanishes with it."""

    names: Names = attrs.Factory(dict)
    synced: Names = attrs.Factory(dict)
    pending: list[Change] = attrs.Factory(list)
    mode: int = 0o700


class MemoryDisk:
    """`Files`. `before` is called with the name of each call that changes something, before it does."""

    def __init__(self, root: Directory | None = None) -> None:
        self.root = root or Directory()
        self.before: Callable[[str], None] = lambda _: None
        self._fds: dict[int, File | Directory] = {}
        self._next = FIRST_FD

    # --- looking

    def find(self, path: Path) -> File | Directory:
        node: File | Directory = self.root
        for part in path.parts[1:]:
            if not isinstance(node, Directory):
                raise NotADirectoryError(errno.ENOTDIR, "not a directory", str(path))
            try:
                node = node.names[part]
            except KeyError:
                raise FileNotFoundError(errno.ENOENT, "no such file", str(path)) from None
        return node

    def _directory(self, path: Path) -> Directory:
        node = self.find(path)
        if not isinstance(node, Directory):
            raise NotADirectoryError(errno.ENOTDIR, "not a directory", str(path))
        return node

    def _file(self, fd: int) -> File:
        node = self._fds[fd]
        assert isinstance(node, File)
        return node

    # --- Files

    def open(self, path: Path, use: Use) -> int:
        if use == "create":
            parent = self._directory(path.parent)
            if path.name in parent.names:
                raise FileExistsError(errno.EEXIST, "exists", str(path))
            self.before("create")
            node: File | Directory = File()
            _change(parent, path.name, node)
        else:
            node = self.find(path)
            if isinstance(node, Directory) != (use == "directory"):
                raise OSError(errno.EISDIR, "a directory, or none", str(path))
        self._next += 1
        self._fds[self._next] = node
        return self._next

    def close(self, fd: int) -> None:
        del self._fds[fd]

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        return bytes(self._file(fd).data[offset : offset + size])

    def write(self, fd: int, data: Bytes) -> int:
        self.before("write")
        file, new = self._file(fd), bytes(data)
        file.pending.append((len(file.data), new))
        file.data += new
        return len(new)

    def fsync(self, fd: int) -> None:
        self.before("sync")
        node = self._fds[fd]
        if isinstance(node, File):
            node.synced = bytes(node.data)
            node.pending.clear()
        else:
            node.synced = dict(node.names)
            node.pending.clear()

    fdatasync = fsync

    def truncate(self, fd: int, size: int) -> None:
        self.before("cut")
        file = self._file(fd)
        if size == len(file.data):
            return
        del file.data[size:]
        file.data += bytes(size - len(file.data))
        file.pending.append((size, b""))

    def replace(self, source: Path, target: Path) -> None:
        self.before("replace")
        assert source.parent == target.parent
        parent = self._directory(source.parent)
        if source.name not in parent.names:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(source))
        _change(parent, target.name, parent.names[source.name], source.name)

    def unlink(self, path: Path) -> None:
        self.find(path)
        self.before("unlink")
        _change(self._directory(path.parent), path.name, None)

    def listdir(self, path: Path) -> list[str]:
        return list(self._directory(path).names)

    def lstat(self, path: Path) -> os.stat_result:
        node = self.find(path)
        is_file = isinstance(node, File)
        mode = stat.S_IFREG | 0o600 if isinstance(node, File) else stat.S_IFDIR | node.mode
        size = len(node.data) if is_file else 0  # type: ignore[union-attr]
        return os.stat_result((mode, 0, 0, 1, os.geteuid(), os.getegid(), size, 0, 0, 0))

    def mkdir(self, path: Path) -> None:
        parent = self._directory(path.parent)
        if path.name in parent.names:
            raise FileExistsError(errno.EEXIST, "exists", str(path))
        self.before("mkdir")
        _change(parent, path.name, Directory())

    def rmdir(self, path: Path) -> None:
        if self._directory(path).names:
            raise OSError(errno.ENOTEMPTY, "not empty", str(path))
        self.before("rmdir")
        _change(self._directory(path.parent), path.name, None)

    def chmod(self, fd: int, mode: int) -> None:
        node = self._fds[fd]
        if isinstance(node, Directory):
            node.mode = mode

    # --- power cuts

    def freeze(self) -> Frozen:
        """What is durable and what is under way now."""
        return _freeze(self.root)

    def sync_all(self) -> None:
        """As after `sync`: nothing is under way."""
        _sync(self.root)


@attrs.frozen(eq=False, slots=True)
class FrozenFile:
    synced: bytes
    pending: tuple[tuple[int, bytes], ...]


@attrs.frozen(eq=False, slots=True)
class Frozen:
    """A directory at one moment. Nodes are frozen once each, so one that a rename moves is one node."""

    synced: dict[str, FrozenFile | Frozen]
    pending: tuple[tuple[str, FrozenFile | Frozen | None, str], ...]


def _change(parent: Directory, name: str, node: File | Directory | None, vanishes: str = "") -> None:
    parent.pending.append((name, node, vanishes))
    apply_change(parent.names, name, node, vanishes)


def apply_change(names: dict[str, object] | Names, name: str, node: object, vanishes: str) -> None:
    """What a change does to the names of a directory."""
    if vanishes:
        names.pop(vanishes, None)
    if node is None:
        names.pop(name, None)
    else:
        names[name] = node  # type: ignore[assignment]


def _freeze(directory: Directory) -> Frozen:
    seen: dict[int, FrozenFile | Frozen] = {}

    def frozen(node: File | Directory) -> FrozenFile | Frozen:
        if id(node) not in seen:
            seen[id(node)] = FrozenFile(node.synced, tuple(node.pending)) if isinstance(node, File) else _freeze(node)
        return seen[id(node)]

    return Frozen(
        {name: frozen(node) for name, node in directory.synced.items()},
        tuple((name, None if node is None else frozen(node), gone) for name, node, gone in directory.pending),
    )


def _sync(directory: Directory) -> None:
    directory.synced = dict(directory.names)
    directory.pending.clear()
    for node in directory.names.values():
        if isinstance(node, File):
            node.synced = bytes(node.data)
            node.pending.clear()
        else:
            _sync(node)
