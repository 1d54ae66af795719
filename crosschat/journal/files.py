"""Every call on a file that the product makes, behind one small interface.

Owns: how a file is opened, written, made durable and replaced. Nothing else in the product calls
`os.open`, `os.write` or `os.fsync` on data that must last; it is given a `Files` and calls that, so
that another implementation can fail, shorten or delay any call by its index.

Invariant: no symlink is followed in the last component of a path, directories are 0700 and files
0600 whatever the umask says. All calls block and raise OSError; none retries.

A crash inside `write_atomically` leaves the old file, or the new one, whole; besides that at most
one file named `.<name>.new`, which the next `write_atomically` of the same name removes.
"""

from __future__ import annotations

import os
import stat
import sys
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

if sys.platform == "darwin":
    import fcntl

if TYPE_CHECKING:
    from pathlib import Path

DIRECTORY_MODE: Final = 0o700
FILE_MODE: Final = 0o600

Bytes: TypeAlias = "bytes | memoryview"
Use = Literal["read", "append", "create", "directory"]
"""`append` opens an existing file, `create` makes a new one for appending and fails if the name is
taken."""

_FLAGS: Final[dict[Use, int]] = {
    "read": os.O_RDONLY,
    "append": os.O_WRONLY | os.O_APPEND,
    "create": os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL,
    "directory": os.O_RDONLY | os.O_DIRECTORY,
}


class Files(Protocol):
    """The calls the product makes on files. Each may raise OSError; descriptors are plain
    integers."""

    def open(self, path: Path, use: Use) -> int: ...
    def close(self, fd: int) -> None: ...
    def pread(self, fd: int, size: int, offset: int) -> bytes: ...
    def write(self, fd: int, data: Bytes) -> int:
        """Append; returns how many bytes were taken, which may be fewer than given."""
        ...

    def fsync(self, fd: int) -> None: ...
    def fdatasync(self, fd: int) -> None: ...
    def truncate(self, fd: int, size: int) -> None: ...
    def replace(self, source: Path, target: Path) -> None: ...
    def unlink(self, path: Path) -> None: ...
    def listdir(self, path: Path) -> list[str]: ...
    def lstat(self, path: Path) -> os.stat_result: ...
    def mkdir(self, path: Path) -> None: ...
    def rmdir(self, path: Path) -> None: ...
    def chmod(self, fd: int, mode: int) -> None: ...


class RealFiles:
    """`Files` on the operating system."""

    def open(self, path: Path, use: Use) -> int:
        # Non-blocking, so that a fifo put in our place is an error soon and not a hang; regular
        # files ignore it.
        fd = os.open(path, _FLAGS[use] | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, FILE_MODE)
        if use == "create":
            try:
                os.fchmod(fd, FILE_MODE)
            except OSError:
                os.close(fd)
                raise
        return fd

    def close(self, fd: int) -> None:
        os.close(fd)

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        return os.pread(fd, size, offset)

    def write(self, fd: int, data: Bytes) -> int:
        return os.write(fd, data)

    def fsync(self, fd: int) -> None:
        if sys.platform == "darwin":  # there fsync stops at the drive's cache
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
        else:
            os.fsync(fd)

    def fdatasync(self, fd: int) -> None:
        if sys.platform == "darwin":
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
        else:
            os.fdatasync(fd)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def replace(self, source: Path, target: Path) -> None:
        os.replace(source, target)

    def unlink(self, path: Path) -> None:
        os.unlink(path)

    def listdir(self, path: Path) -> list[str]:
        return os.listdir(path)

    def lstat(self, path: Path) -> os.stat_result:
        return os.lstat(path)

    def mkdir(self, path: Path) -> None:
        os.mkdir(path, DIRECTORY_MODE)
        os.chmod(path, DIRECTORY_MODE)  # by its path: under a umask of 0777 not even its owner could open it

    def rmdir(self, path: Path) -> None:
        os.rmdir(path)

    def chmod(self, fd: int, mode: int) -> None:
        os.fchmod(fd, mode)


def write_all(files: Files, fd: int, data: Bytes) -> None:
    """Write every byte, going on after short writes. On OSError some of them may be in the file."""
    rest = memoryview(data)
    while rest:
        rest = rest[files.write(fd, rest) :]


def sync_directory(files: Files, path: Path) -> None:
    """Make the names in `path` durable: a synced file without its name is gone after a power cut."""
    fd = files.open(path, "directory")
    try:
        files.fsync(fd)
    finally:
        files.close(fd)


def write_atomically(files: Files, path: Path, *data: Bytes) -> None:
    """Replace the content of `path` with all of `data`, durably: readers and a crash see the old bytes or the new,
    never a mixture.

    Raises OSError; the old file is then untouched, except when only the sync of the directory
    failed.
    """
    temporary = path.with_name(f".{path.name}.new")
    if exists(files, temporary):
        files.unlink(temporary)
    fd = files.open(temporary, "create")
    try:
        try:
            for part in data:
                write_all(files, fd, part)
            files.fsync(fd)
        finally:
            files.close(fd)
        files.replace(temporary, path)
    except OSError:
        if exists(files, temporary):
            files.unlink(temporary)
        raise
    sync_directory(files, path.parent)


def read_whole(files: Files, path: Path, limit: int) -> bytes:
    """The bytes of a file of at most `limit` bytes. Raises OSError, EFBIG for a longer one."""
    fd = files.open(path, "read")
    try:
        parts: list[bytes] = []
        size = 0
        most = min(files.lstat(path).st_size, limit) + 1  # in one piece, if it does not grow: it may be large
        while part := files.pread(fd, min(most, limit + 1 - size), size):
            parts.append(part)
            size += len(part)
            if size > limit:
                raise OSError(27, "file is larger than it can be", str(path))
        return b"".join(parts)
    finally:
        files.close(fd)


def exists(files: Files, path: Path) -> bool:
    """Whether the name is there, be it a dangling symlink."""
    try:
        files.lstat(path)
    except FileNotFoundError:
        return False
    return True


def is_directory(files: Files, path: Path) -> bool:
    """Whether a real directory, not a symlink to one, is there."""
    try:
        return stat.S_ISDIR(files.lstat(path).st_mode)
    except FileNotFoundError:
        return False
