"""A real mount of a network's kind: the kernel's own FUSE, and in a thread the least that has to answer it.

To the kernel, and so to whoever looks into its table of mounts, it is what `sshfs` would make: an empty directory of
another machine. It answers questions and refuses everything else; `asked` has the number of each request. The thread
ends with the mount.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEVICE: Final = "/dev/fuse"
DETACH: Final = 2  # MNT_DETACH
REQUEST_BYTES: Final = 1 << 17
# include/uapi/linux/fuse.h
LOOKUP, FORGET, GETATTR, STATFS, INIT, OPENDIR, ACCESS, INTERRUPT, BATCH_FORGET = 1, 2, 3, 17, 26, 27, 34, 36, 42
QUESTIONS: Final = frozenset({LOOKUP, FORGET, GETATTR, STATFS, INIT, OPENDIR, ACCESS, INTERRUPT, BATCH_FORGET})
UNANSWERED: Final = frozenset({FORGET, INTERRUPT, BATCH_FORGET})


@attrs.frozen
class NetMount:
    asked: list[int] = attrs.Factory(list)

    @property
    def changes(self) -> set[int]:
        """The requests that were more than a question."""
        return set(self.asked) - QUESTIONS

    def serve(self, device: int) -> None:
        with suppress(OSError):  # ENODEV: it is unmounted
            while True:
                request = os.read(device, REQUEST_BYTES)
                _, opcode, unique = struct.unpack_from("<IIQ", request)
                self.asked.append(opcode)
                if opcode in UNANSWERED:
                    continue
                error, said = _answer(opcode)
                os.write(device, struct.pack("<IiQ", 16 + len(said), -error, unique) + said)


def _answer(opcode: int) -> tuple[int, bytes]:
    """An errno, or 0, and what follows the header."""
    if opcode == INIT:  # version 7.31, no features
        return 0, struct.pack("<IIIIHHIIHHI28x", 7, 31, 0, 0, 8, 8, 4096, 1, 1, 0, 0)
    if opcode == GETATTR:  # of the one directory, which is the caller's
        mode = stat.S_IFDIR | 0o700
        return 0, struct.pack("<16x6Q10I", 1, 0, 0, 0, 0, 0, 0, 0, 0, mode, 2, os.getuid(), os.getgid(), 0, 512, 0)
    if opcode == LOOKUP:
        return errno.ENOENT, b""
    return (errno.ENOSYS if opcode in QUESTIONS else errno.EPERM), b""


def obstacle() -> str | None:
    """Why there can be none here."""
    return None if os.getuid() == 0 and os.access(DEVICE, os.R_OK | os.W_OK) else f"needs root and {DEVICE}"


@contextmanager
def netmount(point: Path, kind: str) -> Iterator[NetMount]:
    """Mount one there, of that kind (`fuse.` and a name). Raises OSError if the kernel does not."""
    libc = ctypes.CDLL(None, use_errno=True)
    device = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
    if libc.mount(b"ada@server:/home", os.fsencode(point), kind.encode(), 0, options.encode()) != 0:
        os.close(device)
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(point))
    mounted = NetMount()
    server = threading.Thread(target=mounted.serve, args=[device])
    server.start()
    try:
        yield mounted
    finally:
        libc.umount2(os.fsencode(point), DETACH)
        server.join(10)
        os.close(device)
