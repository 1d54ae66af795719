"""Damage: what editors, disks and mistakes do to the files of a log, and that a start hides none of it.

For every damaged directory: each line that is still whole somewhere is read, each damage is reported with its file
and about its line, a sealed segment is never changed, of the last one at most a torn end is cut, and what was cut is
copied to `damaged/` first. The index beside it may be right, older, damaged, or another log's: it changes nothing.
"""

from __future__ import annotations

import re
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

from crosschat.errors import DataDirectoryError, JournalBroken, Refused
from crosschat.journal import index
from crosschat.journal.check import check_log
from crosschat.journal.format import decode, encode
from crosschat.journal.store import Log, open_directory
from crosschat.model import Message
from tests.prove.memory import File, MemoryDisk
from tests.prove.outcome import Outcome

if TYPE_CHECKING:
    from crosschat.journal.index import Snapshot
    from crosschat.model import AnyRecord
    from tests.prove.outcome import Room

HOME: Final = Path("/data")
PER_ROUND: Final = 200
KINDS: Final = (
    "flip", "zero", "noise", "delete", "insert", "truncate", "swap", "duplicate", "crlf", "remove file", "join",
)  # fmt: skip
INDEXES: Final = ("right", "none", "older", "foreign", "damaged")
SEQ: Final = re.compile(rb'^\{"v":1,"seq":(\d+)')


def run(room: Room) -> Outcome:
    """Many damaged directories of one log."""
    random, outcome = Random(room.seed), Outcome()
    segments, snapshots = _make(random)
    known = {_seq(line): decode(line) for data in segments if data is not None for line in data.splitlines()}
    for _ in range(PER_ROUND):
        kind, which = random.choice(KINDS), random.choice(INDEXES)
        number = random.randrange(len(segments))
        after = list(segments)
        after[number] = _damaged(random, kind, segments[number])
        if after == segments:
            continue
        outcome.counts["damages"] += 1
        outcome.counts[f"damage: {kind}"] += 1
        snapshot = _choose(random, which, snapshots)
        for problem in _look(segments, after, number, snapshot, known):
            if len(outcome.problems) < 10:
                outcome.problems.append(f"{kind} in segment {number + 1}, index {which}: {problem}")
    return outcome


def _make(random: Random) -> tuple[list[bytes | None], dict[str, bytes]]:
    """The segments of a log, and the indexes that may lie beside it."""
    found: dict[str, bytes] = {}
    segments: list[bytes | None] = []
    for name in ("foreign", "right"):
        disk = MemoryDisk()
        open_directory(HOME, disk)
        log, _ = Log.recover(HOME, disk, segment_bytes=4000)
        for count in range(random.randint(12, 32)):
            seq = log.next_seq
            text = "z" * random.randrange(600)
            metadata: dict[str, object] = {"v": 1, "seq": seq}
            message = Message(seq=seq, id=f"m{seq}", ts=seq, by=name, content=text, source="agent", metadata=metadata)
            log.append([encode(message)])
            if count == 8:
                found["older"] = _index(disk, log.snapshot(seq, epoch=name, state=b""))
        found[name] = _index(disk, log.snapshot(log.last_seq, epoch=name, state=b""))
        log.close()
        segments = [_bytes(disk, path) for path in sorted(disk.listdir(HOME / "log"))]
    return segments, found


def _index(disk: MemoryDisk, snapshot: Snapshot | None) -> bytes:
    assert snapshot is not None
    index.save(disk, HOME, snapshot)
    node = disk.find(HOME / index.SNAPSHOT)
    assert isinstance(node, File)
    return bytes(node.data)


def _bytes(disk: MemoryDisk, name: str) -> bytes:
    node = disk.find(HOME / "log" / name)
    assert isinstance(node, File)
    return bytes(node.data)


def _choose(random: Random, which: str, snapshots: dict[str, bytes]) -> bytes | None:
    if which == "none":
        return None
    if which != "damaged":
        return snapshots[which]
    data = bytearray(snapshots["right"])
    data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    return bytes(data)


def _damaged(random: Random, kind: str, before: bytes | None) -> bytes | None:
    assert before is not None
    if kind == "remove file":
        return None
    lines = before.splitlines(keepends=True)
    if kind in ("swap", "duplicate") and len(lines) > 2:
        one, other = random.sample(range(len(lines)), 2)
        if kind == "swap":
            lines[one], lines[other] = lines[other], lines[one]
        else:
            lines.insert(one, lines[other])
        return b"".join(lines)
    if kind == "crlf":
        return before.replace(b"\n", b"\r\n")
    if kind == "join":
        place = random.choice([place for place, byte in enumerate(before) if byte == 10])
        return before[:place] + before[place + 1 :]
    data = bytearray(before)
    start = random.randrange(len(data))
    end = min(len(data), start + random.choice([1, 1, 40, 512, 4096]))
    if kind == "zero":
        data[start:end] = bytes(end - start)
    elif kind == "noise":
        data[start:end] = random.randbytes(end - start)
    elif kind == "delete":
        del data[start:end]
    elif kind == "insert":
        data[start:start] = random.choice([b"\n", b"garbage", b"\0" * 512, b"{}\n"])
    elif kind == "truncate":
        del data[start:]
    else:
        data[start] ^= 1 << random.randrange(8)
    return bytes(data)


def _disk(segments: list[bytes | None], snapshot: bytes | None) -> MemoryDisk:
    disk = MemoryDisk()
    open_directory(HOME, disk)
    files = {f"log/{number:06d}.jsonl": data for number, data in enumerate(segments, 1)}
    for name, data in {**files, index.SNAPSHOT: snapshot}.items():
        if data is not None:
            fd = disk.open(HOME / name, "create")
            disk.write(fd, data)
            disk.close(fd)
    disk.sync_all()
    return disk


def _look(
    before: list[bytes | None],
    after: list[bytes | None],
    number: int,
    snapshot: bytes | None,
    known: dict[int, AnyRecord],
) -> list[str]:
    disk = _disk(after, snapshot)
    try:
        report = check_log(HOME, disk)
        log, recovery = Log.recover(HOME, disk, index.load(disk, HOME))
        found = {record.seq: record for record in log.replay()}
        log.close()
    except (DataDirectoryError, JournalBroken, Refused, OSError) as error:
        return [f"no start is possible: {error!r}"]
    problems = []
    texts = b"".join(data for data in after if data is not None)
    for line in (line for data in before if data is not None for line in data.splitlines()):
        seq = _seq(line)
        if found.get(seq) != known[seq] and line in texts:
            problems.append(f"intact record {seq} is hidden")
    problems += [f"record {seq} is invented" for seq, record in found.items() if record != known.get(seq)]
    problems += _unreported(before, after, number, snapshot, report.damages, report.torn, recovery.shortened)
    if not (recovery.damages or recovery.cut or recovery.shortened) and (report.damages or report.torn):
        problems.append("the check reports what the start does not")
    return problems + _changed(disk, after)


def _seq(line: bytes) -> int:
    found = SEQ.match(line)
    assert found is not None
    return int(found[1])


def _unreported(
    before: list[bytes | None],
    after: list[bytes | None],
    number: int,
    snapshot: bytes | None,
    damages: tuple[object, ...],
    torn: object,
    shortened: bool,
) -> list[str]:
    """Whether the damage was reported, and about where it is."""
    if not damages and torn is None and not shortened:
        old, new = before[number], after[number]
        last = number == len(before) - 1
        if last and new is None:
            return []  # a missing end leaves no trace in the log; an index that knew of it does
        if last and old is not None and new is not None and old.startswith(new):
            at_an_end = not new or new.endswith(b"\n") or old[len(new) :].startswith(b"\n")
            return [] if at_an_end else ["a torn end is not reported"]
        if not last and old is not None and new is not None and old == new + b"\n" and new:
            return ["a lost newline is not reported"]
        return ["nothing is reported"]
    return _misplaced(before, after, number, [*damages, *([torn] if torn else [])])


def _misplaced(before: list[bytes | None], after: list[bytes | None], number: int, found: list[object]) -> list[str]:
    old, new = before[number], after[number]
    if old is None or new is None or not found:
        return []
    pairs = list(zip(old.split(b"\n"), new.split(b"\n"), strict=False))
    first = next((line for line, pair in enumerate(pairs, 1) if pair[0] != pair[1]), len(pairs))
    near = [(f"log/{number + 1:06d}.jsonl", line) for line in range(first - 2, first + 3)]
    near.append((f"log/{number + 2:06d}.jsonl", 1))  # the end is missing, which the next file shows
    for one in found:
        line, lines = int(getattr(one, "line_number", 0)), int(getattr(one, "lines", 1))
        if any((getattr(one, "file", ""), place) in near for place in range(line, line + lines)):
            return []
    return [f"reported elsewhere: {found[0]}, and not near line {first}"]


def _changed(disk: MemoryDisk, after: list[bytes | None]) -> list[str]:
    """Sealed segments are as they were; of the last one only an end was cut, and copied."""
    there = [number for number, data in enumerate(after) if data is not None]
    for number in there[:-1]:
        if _bytes(disk, f"{number + 1:06d}.jsonl") != after[number]:
            return [f"sealed segment {number + 1} was changed"]
    if not there:
        return []
    last, kept = after[there[-1]] or b"", _bytes(disk, f"{there[-1] + 1:06d}.jsonl")
    copies = b"".join(
        bytes(node.data)
        for name in (disk.listdir(HOME / "damaged") if "damaged" in disk.listdir(HOME) else [])
        if isinstance(node := disk.find(HOME / "damaged" / name), File)
    )
    if last in (kept, kept[:-1], kept + copies, kept[:-1] + copies):
        return []
    return ["bytes of the last segment are neither in it nor in damaged/"]
