"""The end of the log: the only descriptor that records are written to.

Invariant: `size` is where the last synced bytes end. After a failed write the file is cut back to
there. After a failed sync, or if that cut fails, the tail is broken: every call raises JournalBroken
and no descriptor is synced again, because a second sync may succeed without the pages that the
first one dropped.

A crash leaves, after the last synced bytes, any part of what was being written; or, between two
segments, an empty new one.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Final
from zlib import crc32

import attrs

from crosschat.errors import Code, JournalBroken, Refused
from crosschat.journal.files import Files, write_all
from crosschat.journal.scan import OFFSET_BITS, Segment, segment_name

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


class NotWritten(Exception):
    """Nothing of this call is in the log, which can be used on. `refusal` is the senders' answer."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        if error.errno in _FULL:
            text = "The disk is full or read-only; nothing was stored. Free space and try again."
            self.refusal = Refused(Code.STORAGE_FULL, text)
        else:
            text = f"The log could not be written ({error.strerror}); nothing was stored."
            self.refusal = Refused(Code.INTERNAL, text)


@attrs.define(eq=False)
class Tail:
    """Segment `number` is open as `fd` (-1: there is none yet); those before it are `sealed`."""

    home: Path
    files: Files
    segment_bytes: int
    sealed: tuple[Segment, ...] = ()
    number: int = 0
    fd: int = -1
    size: int = 0
    crc: int = 0
    broken: str | None = None

    @property
    def segments(self) -> tuple[Segment, ...]:
        """All of them, up to their last synced byte."""
        if not self.number:
            return ()
        return (*self.sealed, Segment(self.number, self.size, self.crc))

    def check(self) -> None:
        """Raise JournalBroken if the tail is broken or closed."""
        if self.broken:
            raise JournalBroken(self.broken)

    def append(self, data: bytes) -> int:
        """Write and sync; the place of the first byte. Raises NotWritten or JournalBroken."""
        self.check()
        if not self.number or (self.size and self.size + len(data) > self.segment_bytes):
            self._next_segment()
        self._write(data)
        try:
            self.files.fdatasync(self.fd)
        except OSError as error:
            raise self._break("could not be made durable", error) from error
        place = self.number << OFFSET_BITS | self.size
        self.size += len(data)
        self.crc = crc32(data, self.crc)
        return place

    def close(self) -> None:
        """Close the descriptor; every later call raises JournalBroken, as this one if that fails."""
        fd, self.fd = self.fd, -1
        self.broken = self.broken or "The log is closed."
        if fd >= 0:
            self._close(fd)

    def _write(self, data: bytes) -> None:
        try:
            write_all(self.files, self.fd, data)
        except OSError as error:
            try:
                self.files.truncate(self.fd, self.size)
            except OSError as second:
                raise self._break("could not be cut after a failed write", second) from second
            raise NotWritten(error) from error

    def _next_segment(self) -> None:
        """Seal this segment and begin the next: its name is durable before anything is in it."""
        path = self.home / segment_name(self.number + 1)
        try:
            # Before the file is made: running out of descriptors then leaves nothing to undo.
            directory = self.files.open(path.parent, "directory")
        except OSError as error:
            raise NotWritten(error) from error
        before = -1
        try:
            try:
                fd = self.files.open(path, "create")
            except OSError as error:
                raise NotWritten(error) from error
            before, segments = self.fd, self.segments
            self.sealed, self.fd, self.number = segments, fd, self.number + 1
            self.size = self.crc = 0
            try:
                self.files.fsync(directory)
            except OSError as error:
                raise self._break("could not be given a new file", error) from error
        finally:
            try:
                self._close(directory)
            finally:
                if before >= 0:
                    self._close(before)

    def _close(self, fd: int) -> None:
        try:
            self.files.close(fd)
        except OSError as error:  # its bytes are synced, yet the disk says something is wrong
            raise self._break("could not close a file", error) from error

    def _break(self, what: str, error: OSError) -> JournalBroken:
        self.broken = f"The log {what}: {error}"
        return JournalBroken(self.broken)
