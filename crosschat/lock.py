"""`hub.lock`: who holds its flock is the hub of the data directory.

The file is empty, never renamed and never unlinked: a lock on a file that can be replaced protects nothing. The lock
lives as long as any copy of the descriptor, so it ends with its process by itself, however that ends. The starter
takes it and passes the descriptor to the hub it starts: at no moment between the two is it free.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def try_hold(path: Path) -> int | None:
    """The locked descriptor, close-on-exec, or None while somebody else holds it. Raises OSError as `open` does."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    if still_ours(descriptor, path):
        return descriptor
    os.close(descriptor)  # somebody replaced the file between open and flock; the caller tries again
    return None


def still_ours(descriptor: int, path: Path) -> bool:
    """Whether `path` still names the file that `descriptor` has locked; False too if that cannot be seen any more."""
    try:
        named = os.stat(path, follow_symlinks=False)
    except OSError:  # removed, or what is above it was replaced or closed to us
        return False
    held = os.fstat(descriptor)
    return (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)
