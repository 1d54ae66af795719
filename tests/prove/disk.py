"""Files of a real hub that die at a named moment, lose what was not synced, and say what is durable.

`HookedFiles` is given to the hub in the place of the real files. It does every call for real, and besides

- writes the highest seq that a sync of the log has made durable into shared memory (`Durable`), before the caller
  can know of it: whoever then sees a higher seq acked or delivered has found a violation;
- calls itself dead at the n-th time that a named point is reached (`POINTS`), with SIGKILL, so that nothing is
  cleaned up;
- fails the n-th sync of the log once, if it is to, and writes down when that was;
- first takes back, if asked to, what a power cut may take: bytes of the log that no sync has covered (some of them, or
  whole sectors of them zeroed) and names that no sync of their directory has covered.
"""

from __future__ import annotations

import errno
import mmap
import os
import signal
import struct
import threading
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

import attrs

from crosschat.journal.files import RealFiles

if TYPE_CHECKING:
    from crosschat.journal.files import Bytes, Use

SECTOR: Final = 512
FAILED: Final = "failed"  # beside the data directory: when a sync failed, by the monotonic clock
MARK: Final = b'{"v":1,"seq":'
POINTS: Final = (
    "log: half a write",
    "log: written, not synced",
    "log: synced, not acked",
    "segment: created, not named",
    "segment: named, empty",
    "projection: line written",
    "projection: before a replace",
    "projection: after a replace",
    "projection: file cut",
    "projection: note written",
    "snapshot: being written",
    "snapshot: before the replace",
    "snapshot: after the replace",
    "start: log copied",
    "start: log replaced",
    "any call",
)


class Durable:
    """One number in shared memory: the highest durable seq. Written by the hub's files, read by the rig."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(8))
        with open(path, "r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 8)

    @property
    def seq(self) -> int:
        return int(struct.unpack("<Q", self._memory[:8])[0])

    def rise(self, seq: int) -> None:
        if seq > self.seq:
            self._memory[:8] = struct.pack("<Q", seq)


@attrs.frozen
class Death:
    """Where to die: at the `nth` time that `point` is reached. `power`: unsynced things are lost, chosen by `seed`."""

    point: str
    nth: int = 1
    power: bool = False
    seed: int = 0


@attrs.define
class _Open:
    path: Path
    size: int
    synced: int
    seq: int = 0  # the last that was written


class HookedFiles(RealFiles):
    """See the module."""

    def __init__(self, home: Path, durable: Durable, death: Death | None, *, failing: int = 0) -> None:
        self._log = home / "log"
        self._home = home
        self._durable = durable
        self._death = death
        self._failing = failing
        self._counts: Counter[str] = Counter()
        self._living = threading.Lock()
        self._open: dict[int, _Open] = {}
        self._directories: dict[int, Path] = {}
        self._unnamed: set[Path] = set()  # made, and their directory not synced since
        self._replaced: dict[Path, Path] = {}  # the old file, kept until the directory was synced

    # --- dying

    def _reach(self, point: str) -> None:
        self._counts[point] += 1
        death = self._death
        if death is not None and death.point == point and self._counts[point] == death.nth:
            self._die()

    def _dies_at(self, point: str) -> bool:
        death = self._death
        return death is not None and death.point == point and self._counts[point] == death.nth - 1

    def _die(self) -> None:
        self._living.acquire()  # for ever: no other thread writes, or says what is durable, from here on
        if self._death is not None and self._death.power:
            self._lose(Random(self._death.seed))
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)  # nothing is done after it, in whatever thread this is

    def _lose(self, random: Random) -> None:
        for path in tuple(self._unnamed):
            if random.random() < 0.5 and path.exists():
                path.unlink()
        for target, old in tuple(self._replaced.items()):
            if random.random() < 0.5:
                os.replace(old, target)
        for one in tuple(self._open.values()):  # another thread may open one meanwhile
            if not one.path.exists() or one.size <= one.synced:
                continue
            size = random.randint(one.synced, one.size)
            os.truncate(one.path, size)
            if size > one.synced and random.random() < 0.5:
                start = random.randrange(one.synced, size) // SECTOR * SECTOR
                with open(one.path, "r+b") as file:
                    file.seek(max(start, one.synced))
                    file.write(bytes(min(start + SECTOR, size) - max(start, one.synced)))

    # --- calls

    def open(self, path: Path, use: Use) -> int:
        self._reach("any call")
        fd = super().open(path, use)
        if path.parent == self._log and use in ("create", "append"):
            size = os.fstat(fd).st_size
            self._open[fd] = _Open(path, size, size)
            if use == "create":
                self._unnamed.add(path)
                if not path.name.endswith(".new"):
                    self._reach("segment: created, not named")
        elif use == "directory":
            self._directories[fd] = path
        elif use != "read":
            self._open[fd] = _Open(path, 0, 1 << 62)  # nothing of it is promised
        return fd

    def close(self, fd: int) -> None:
        self._open.pop(fd, None)
        self._directories.pop(fd, None)
        super().close(fd)

    def write(self, fd: int, data: Bytes) -> int:
        self._reach("any call")
        one = self._open.get(fd)
        if one is None or one.path.parent != self._log:
            written = super().write(fd, data)
            if one is not None:
                self._reach_beside(one.path)
            return written
        whole = bytes(data)
        if not one.path.name.endswith(".new") and self._dies_at("log: half a write"):
            one.size += super().write(fd, whole[: max(1, len(whole) * 2 // 3)])
            self._reach("log: half a write")
        with self._living:
            written = super().write(fd, whole)
            one.size += written
        begin = whole.rfind(MARK, 0, written)
        if begin >= 0:
            one.seq = int(whole[begin + len(MARK) : begin + len(MARK) + 20].partition(b",")[0] or 0)
        if one.path.name.endswith(".new"):
            self._reach("start: log copied")
        else:
            self._reach("log: half a write")
            self._reach("log: written, not synced")
        return written

    def _reach_beside(self, path: Path) -> None:
        if path.name == ".snapshot.new":
            self._reach("snapshot: being written")
        elif path.parent.name == "threads" or path.name == "general.jsonl":
            self._reach("projection: line written")

    def fsync(self, fd: int) -> None:
        self._reach("any call")
        super().fsync(fd)
        self._synced(fd)
        directory = self._directories.get(fd)
        if directory is not None:
            named = {path for path in self._unnamed if path.parent == directory}
            self._unnamed -= named
            for target in [target for target in self._replaced if target.parent == directory]:
                self._replaced.pop(target).unlink()
            if any(not path.name.endswith(".new") for path in named):
                self._reach("segment: named, empty")

    def fdatasync(self, fd: int) -> None:
        self._reach("any call")
        if fd in self._open and self._open[fd].path.parent == self._log:
            self._counts["log sync"] += 1
            if self._counts["log sync"] == self._failing:
                (self._home.parent / FAILED).write_text(str(time.monotonic()))
                raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().fdatasync(fd)
        self._synced(fd)
        if fd in self._open and self._open[fd].path.parent == self._log:
            self._reach("log: synced, not acked")

    def _synced(self, fd: int) -> None:
        one = self._open.get(fd)
        if one is not None and one.path.parent == self._log:
            with self._living:
                one.synced = one.size
                self._durable.rise(one.seq)

    def truncate(self, fd: int, size: int) -> None:
        self._reach("any call")
        super().truncate(fd, size)
        one = self._open.get(fd)
        if one is not None and one.path.parent == self._log:
            one.size = size
        elif one is not None:
            self._reach("projection: file cut")

    def replace(self, source: Path, target: Path) -> None:
        self._reach("any call")
        kind = self._kind(target)
        if kind in ("projection", "snapshot"):
            self._reach(f"{kind}: before {'a' if kind == 'projection' else 'the'} replace")
        if target.parent == self._log and self._death is not None and self._death.power:
            self._replaced[target] = old = self._home.parent / f"{target.name}.old"
            old.unlink(missing_ok=True)
            os.link(target, old)
        super().replace(source, target)
        for one in tuple(self._open.values()):  # another thread may open one meanwhile
            if one.path == source:
                one.path = target
        if kind in ("projection", "snapshot"):
            self._reach(f"{kind}: after {'a' if kind == 'projection' else 'the'} replace")
        elif kind == "note":
            self._reach("projection: note written")
        elif target.parent == self._log:
            self._unnamed.discard(source)
            self._reach("start: log replaced")

    def _kind(self, target: Path) -> str:
        if target.name == "snapshot":
            return "snapshot"
        if target.name == "projected":
            return "note"
        return "projection" if target.parent.name in ("badges", "tasks") else ""

    def unlink(self, path: Path) -> None:
        self._reach("any call")
        super().unlink(path)
