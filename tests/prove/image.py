"""Power cuts of a real file system: an image is copied while the hub on it is stopped, and a start is made on the copy.

The data directory lies on an ext4 file system in an image file, mounted through a loop device. At a random moment the
hub is stopped (SIGSTOP) and the image file copied: the copy has what the file system had sent to its drive until then,
as after a power cut on a drive that honours flush. The copy is mounted, its journal replayed, the log recovered, and
everything that had been acked before the stop must be there. The first cuts come right after the first message and the
first thread, whose names in directories are new, too. Needs root.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections import deque
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING, Final

import trio

from crosschat.errors import DataDirectoryError, JournalBroken
from crosschat.hub.recovery import recover
from crosschat.journal.files import RealFiles
from tests.live.rig import eventually
from tests.prove.agents import Agent
from tests.prove.history import History
from tests.prove.lives import Care, Lives
from tests.prove.outcome import MISSING, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.prove.outcome import Room

IMAGE_BYTES: Final = 24 << 20
CUTS: Final = 20
SHORT_CUTS: Final = 10
WRITERS: Final = 3


def run(room: Room) -> Outcome:
    """One file system with one hub, cut off several times."""
    image, point = room.place / "image", room.place / "m"
    _make(image)
    with _mounted(image, point):
        return trio.run(_run, room, image, point)


async def _run(room: Room, image: Path, point: Path) -> Outcome:
    outcome, history, random = Outcome(), History(), Random(room.seed)
    care = Care(seed=room.seed, bug=room.bug, segment_bytes=64 * 1024)
    lives = Lives(room.zygote, point, care, outcome, history.report)
    agents: list[Agent] = []
    try:
        async with trio.open_nursery() as nursery:
            await lives.begin()
            recent: deque[str] = deque(maxlen=64)
            for number in range(WRITERS):
                agent = Agent(
                    f"w{number}",
                    lives.home / "run" / "agents.sock",
                    history,
                    lives.durable,
                    Random(f"{room.seed} {number}"),
                    recent,
                )
                agents.append(agent)
                nursery.start_soon(agent.run)
            for cut in range(SHORT_CUTS if room.short else CUTS):
                for agent in agents:
                    agent.writing = 1 if cut < 2 else 4
                count = history.counts["acks"]
                await eventually(lambda count=count: history.counts["acks"] > count, 30)  # type: ignore[misc]
                await trio.sleep(0 if cut < 2 else random.uniform(0, 0.15))
                _cut(lives, image, room.place, history)
                outcome.counts["image power cuts"] += 1
            nursery.cancel_scope.cancel()
    except* (trio.TooSlowError, AssertionError) as group:
        history.report(f"the rig gave up: {group.exceptions[0]!r}")
    finally:
        for agent in agents:
            agent.end()
        await lives.close()
    outcome.problems = history.problems
    return outcome


def _cut(lives: Lives, image: Path, place: Path, history: History) -> None:
    """Stop the hub, copy the image, let it go on, and look at the copy."""
    lives.hub.signal(signal.SIGSTOP)
    acked = {cid: one for cid, one in history.asked.items() if one.acks and one.seq is not None}
    copy, point = place / "copy", place / "c"
    subprocess.run(["cp", "--sparse=always", str(image), str(copy)], check=True)
    lives.hub.signal(signal.SIGCONT)
    with _mounted(copy, point):
        try:
            recovered = recover(point / "h", RealFiles())
        except (DataDirectoryError, JournalBroken, OSError) as error:
            history.report(f"after a power cut no start is possible: {error!r}")
            return
        records = {record.seq: record for record in recovered.log.replay()}
        for cid, one in acked.items():
            record = records.get(one.seq or 0)
            if record is None or (record.kind, record.by, record.cid) != (one.kind, one.author, cid):
                history.report(f"lost in a power cut: {one.kind} {cid}, acked with seq {one.seq}; there is {record}")
        recovered.log.close()
    copy.unlink()


def _make(image: Path) -> None:
    with open(image, "wb") as file:
        file.truncate(IMAGE_BYTES)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True, capture_output=True)


@contextmanager
def _mounted(image: Path, point: Path) -> Iterator[None]:
    point.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(point)], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(point)], check=True, capture_output=True)


def obstacle() -> str | None:
    """Why it cannot run here, or None."""
    if os.geteuid() != 0:
        return "mounting an image needs root"
    for program in ("mkfs.ext4", "mount", "losetup"):
        if shutil.which(program) is None:
            return f"{program}{MISSING}"
    found = subprocess.run(["losetup", "--find"], capture_output=True, check=False)
    return None if found.returncode == 0 else "there is no loop device"
