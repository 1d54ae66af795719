"""Crash states: what a power cut may leave of a recorded run of the log, and a start on each of it.

A run opens a new directory, appends operations of one to three records, changes segments, saves an index, closes and
starts again. At every call that changes something it is frozen. From each frozen moment disks are made: every prefix
of what was under way, subsets of it in 512-byte sectors, tears inside a sector, lost sectors that read as zeros, and
subsets of the names. On each the log is recovered, and

- whatever was acked at that moment is there, in every field;
- nothing is there that was not being written;
- where the disk kept the order of writes, the log is dense, every operation is whole or absent, and nothing is called
  damaged; what was cut is in `damaged/`;
- what the start found it has made durable: a second power cut right after it takes nothing of that away;
- it can be written to, and read again after one more start.

Some of the starts are themselves frozen halfway and cut off.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

import attrs

from crosschat.errors import DataDirectoryError, JournalBroken
from crosschat.journal import index
from crosschat.journal.format import decode, encode
from crosschat.journal.store import Log, open_directory
from crosschat.model import AnyRecord, Message
from tests.prove.memory import Directory, File, Frozen, FrozenFile, MemoryDisk, apply_change
from tests.prove.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.prove.outcome import Room

HOME: Final = Path("/data")
SECTOR: Final = 512
CHOICES: Final = 120  # states of one moment, at most
KNOWN: Final = 12
REPORTED: Final = 10


@attrs.frozen
class Moment:
    """`acked` and `submitted`: how many records; `whole`: seqs after which an operation is complete."""

    disk: Frozen
    acked: int
    submitted: int


@attrs.define
class Trace:
    lines: list[bytes] = attrs.Factory(list)  # by seq - 1
    records: list[AnyRecord] = attrs.Factory(list)  # the same, as they are read
    whole: set[int] = attrs.Factory(lambda: {0})
    moments: list[Moment] = attrs.Factory(list)


def record(random: Random) -> Trace:
    """One run, frozen at every step."""
    trace = Trace()
    disk, acked, submitted = MemoryDisk(), 0, 0
    segment_bytes = random.choice([700, 2500, 6000])

    def freeze(_: str) -> None:
        trace.moments.append(Moment(disk.freeze(), acked, submitted))

    disk.before = freeze
    for _ in range(random.randint(1, 3)):
        open_directory(HOME, disk)
        log, _ = Log.recover(HOME, disk, index.load(disk, HOME), segment_bytes=segment_bytes)
        for _ in range(random.randint(1, 6)):
            batch: list[bytes] = []
            for _ in range(random.randint(1, 6)):
                batch += _operation(random, len(trace.lines) + len(batch) + 1)
                trace.whole.add(len(trace.lines) + len(batch))
            trace.lines += batch
            trace.records += map(decode, batch)
            submitted = len(trace.lines)
            log.append(batch)
            acked = submitted
        if random.random() < 0.5 and (snapshot := log.snapshot(acked, epoch="e", state=b"s")) is not None:
            index.save(disk, HOME, snapshot)
        log.close()
    freeze("end")
    return trace


def _operation(random: Random, seq: int) -> list[bytes]:
    count = random.choice([1, 1, 1, 2, 3])
    return [
        encode(
            Message(
                seq=number,
                id=f"m{number}",
                ts=1_760_000_000_000 + number,
                by="a1",
                content="x" * int(random.expovariate(1 / 500)),
                source="agent",
            ),
            more=number < seq + count - 1,
        )
        for number in range(seq, seq + count)
    ]


# --- what a power cut may leave


@attrs.define
class Cut:
    """How this power cut chooses. `ordered`: writes and names arrive in their order, so a prefix of each arrives."""

    random: Random
    ordered: bool

    def names(self, frozen: Frozen, seen: dict[int, File | Directory]) -> Directory:
        names: dict[str, object] = dict(frozen.synced)
        count = self.random.randint(0, len(frozen.pending))
        for number, (name, new, vanishes) in enumerate(frozen.pending):
            arrives = number < count if self.ordered else self.random.random() < 0.5
            if arrives:
                apply_change(names, name, new, vanishes)
        directory = Directory()
        for name, node in names.items():
            if id(node) not in seen:
                assert isinstance(node, FrozenFile | Frozen)
                seen[id(node)] = self.file(node) if isinstance(node, FrozenFile) else self.names(node, seen)
            directory.names[name] = seen[id(node)]
        directory.synced = dict(directory.names)
        return directory

    def file(self, frozen: FrozenFile) -> File:
        data = bytearray(frozen.synced)
        pieces = [piece for offset, new in frozen.pending for piece in _pieces(offset, new)]
        if self.ordered:
            self._prefix(data, pieces)
        else:
            self._subset(data, pieces)
        return File(data, bytes(data))

    def _prefix(self, data: bytearray, pieces: list[tuple[int, bytes]]) -> None:
        count = self.random.randint(0, len(pieces))
        for offset, piece in pieces[:count]:
            _put(data, offset, piece)
        if count < len(pieces) and self.random.random() < 0.5:
            offset, piece = pieces[count]
            if piece:
                _put(data, offset, piece[: self.random.randint(0, len(piece))])
        size = max((offset + len(piece) for offset, piece in pieces), default=0)
        if size > len(data) and self.random.random() < 0.2:  # the new size arrived and the bytes did not
            data += bytes(size - len(data))

    def _subset(self, data: bytearray, pieces: list[tuple[int, bytes]]) -> None:
        for offset, piece in pieces:
            if self.random.random() < 0.5:
                _put(data, offset, piece)


def _pieces(offset: int, new: bytes) -> Iterator[tuple[int, bytes]]:
    """A write in the sectors that it touches; a cut is one piece."""
    if not new:
        yield offset, new
    while new:
        size = SECTOR - offset % SECTOR
        yield offset, new[:size]
        offset, new = offset + size, new[size:]


def _put(data: bytearray, offset: int, piece: bytes) -> None:
    if not piece:
        del data[offset:]
        return
    if len(data) < offset:
        data += bytes(offset - len(data))
    data[offset : offset + len(piece)] = piece


# --- a start on what is left


@attrs.define
class Check:
    trace: Trace
    problems: list[str] = attrs.Factory(list)

    def look(self, root: Directory, moment: Moment, cut: Cut) -> None:
        """Start on this disk and report what is not as promised."""
        disk = MemoryDisk(root)
        before = _log_bytes(disk)
        halfway: list[Frozen] = []
        if cut.random.random() < 0.1:
            disk.before = lambda _: halfway.append(disk.freeze())
        found = self._start(disk, moment, cut, before)
        if found is None:
            return
        if halfway:
            again = Cut(cut.random, ordered=True)
            frozen = cut.random.choice(halfway)
            self._start(MemoryDisk(again.names(frozen, {})), moment, Cut(cut.random, ordered=False), None)
        if cut.random.random() < 0.15:
            self._after(disk, found)

    def _start(self, disk: MemoryDisk, moment: Moment, cut: Cut, before: bytes | None) -> list[AnyRecord] | None:
        try:
            open_directory(HOME, disk)
            log, recovery = Log.recover(HOME, disk, index.load(disk, HOME))
            found = {record.seq: record for record in log.replay()}
            log.close()
        except (DataDirectoryError, JournalBroken, OSError) as error:
            self._report(f"no start is possible: {error!r}", cut)
            return None
        records = self.trace.records
        for seq in range(1, moment.acked + 1):
            if seq not in found or found[seq] != records[seq - 1]:
                self._report(f"acked {seq} of {moment.acked} is gone", cut)
        for seq, record in found.items():
            if seq > moment.submitted or record != records[seq - 1]:
                self._report(f"phantom {seq}: {str(record)[:80]}", cut)
        if cut.ordered:
            if recovery.damages:
                self._report(f"called damaged: {recovery.damages[0]}", cut)
            if list(found) != list(range(1, len(found) + 1)) or len(found) not in self.trace.whole:
                self._report(f"not dense, or half an operation: {list(found)[-3:]}, {len(found)} records", cut)
            if before is not None and recovery.cut is not None and not _copied(disk, before):
                self._report("what was cut is not in damaged/", cut)
        return list(found.values())

    def _after(self, disk: MemoryDisk, found: list[AnyRecord]) -> None:
        """A second power cut takes nothing of what was found; then writing goes on."""
        disk.before = lambda _: None
        bare = Cut(Random(0), ordered=True)
        bare.random.randint = lambda a, b: a  # type: ignore[method-assign]  # nothing of what is under way arrives
        bare.random.random = lambda: 1.0  # type: ignore[method-assign]
        second = MemoryDisk(bare.names(disk.freeze(), {}))
        log, _ = Log.recover(HOME, second)
        kept = list(log.replay())
        if kept != found:
            self._report(f"a start did not make durable what it found: {len(kept)} of {len(found)}", bare)
        seq = log.next_seq
        log.append(_operation(Random(1), seq)[:1])
        log.close()
        third, _ = Log.recover(HOME, MemoryDisk(bare.names(second.freeze(), {})))
        if third.last_seq != seq:
            self._report(f"after {seq} was appended the log ends at {third.last_seq}", bare)
        third.close()

    def _report(self, problem: str, cut: Cut) -> None:
        if len(self.problems) < REPORTED:
            self.problems.append(f"{problem} ({'in order' if cut.ordered else 'in any order'})")


def _log_bytes(disk: MemoryDisk) -> bytes:
    try:
        names = sorted(name for name in disk.listdir(HOME / "log") if not name.endswith(".new"))
        last = disk.find(HOME / "log" / names[-1]) if names else None
    except FileNotFoundError:
        return b""
    return bytes(last.data) if isinstance(last, File) else b""


def _copied(disk: MemoryDisk, before: bytes) -> bool:
    """Whether the last segment of before is what it is now and a copy in `damaged/`, joined."""
    kept = _log_bytes(disk)
    copies = [disk.find(HOME / "damaged" / name) for name in disk.listdir(HOME / "damaged")]
    parts = [bytes(copy.data) for copy in copies if isinstance(copy, File)]
    return any(before in (kept + part, kept[:-1] + part) for part in parts)  # a lost newline is written anew


def states(random: Random, most: int, look: Callable[[Directory, Moment, Cut], None], trace: Trace) -> int:
    """Try `most` power cuts at each moment of the trace and look at every disk that is another; how many those are."""
    seen: set[tuple[bool, int, bytes]] = set()
    for moment in trace.moments:
        known = 0  # that many cuts in a row made a disk that was seen: there are no more, or few
        for number in range(most):
            cut = Cut(random, ordered=number % 3 != 2)
            root = cut.names(moment.disk, {})
            key = (cut.ordered, moment.acked, _digest(root))
            known = known + 1 if key in seen else 0
            if known == KNOWN:
                break
            if not known:
                seen.add(key)
                look(root, moment, cut)
    return len(seen)


def _digest(directory: Directory) -> bytes:
    found = sha256()
    for name, node in sorted(directory.names.items()):
        found.update(name.encode() + b"/")
        found.update(sha256(node.data).digest() if isinstance(node, File) else _digest(node))
    return found.digest()


def run(room: Room) -> Outcome:
    """One recorded run with its crash states."""
    random = Random(room.seed)
    trace = record(random)
    check = Check(trace)
    count = states(random, CHOICES, check.look, trace)
    outcome = Outcome(check.problems)
    outcome.counts["crash states"] = count
    outcome.counts["crash traces"] = 1
    return outcome
