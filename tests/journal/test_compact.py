"""Compaction takes out what is old and nothing else; a crash at any call leaves the old log or the new one, whole."""

from __future__ import annotations

import shutil
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING, Final

import pytest

from crosschat.core.state import State
from crosschat.errors import DataDirectoryError, JournalBroken, Refused
from crosschat.journal.check import check_log
from crosschat.journal.compact import YOUNGEST_MS, compact_log
from crosschat.journal.directory import open_directory
from crosschat.journal.files import RealFiles
from crosschat.journal.format import encode
from crosschat.journal.store import Gap, Log
from crosschat.model import (
    AgentJoined,
    AnyRecord,
    Badge,
    Claim,
    Cursor,
    Epoch,
    Flag,
    Message,
    Progress,
    Receipt,
    Reply,
    Resolve,
)
from tests.journal.faulty import Fault, FaultyFiles
from tests.prove.crash import HOME, Cut
from tests.prove.memory import MemoryDisk

if TYPE_CHECKING:
    from pathlib import Path

    from crosschat.journal.files import Files

FILES: Final = RealFiles()
OLD, NEW = 1_000_000_000_000, 1_700_000_000_000
BEFORE: Final = 1_500_000_000_000
NOW: Final = NEW + 2 * YOUNGEST_MS


def history() -> tuple[list[AnyRecord], set[int]]:
    """A log's records, and the seqs of those that are to go."""
    records: list[AnyRecord] = []
    gone: set[int] = set()

    def add(kind: type[AnyRecord], ts: int, *, goes: bool = False, identifier: str = "", **fields: object) -> str:
        seq = len(records) + 1
        name = identifier or f"r{seq}"
        by = str(fields.pop("by", "a1"))
        records.append(kind(seq=seq, id=name, ts=ts, by=by, **fields))  # type: ignore[arg-type]
        if goes:
            gone.add(seq)
        return name

    def say(name: str, ts: int, *, goes: bool = False, **fields: object) -> str:
        return add(Message, ts, goes=goes, identifier=name, content=f"text of {name}", source="agent", **fields)

    add(Epoch, OLD, epoch="e1", by="system")
    for agent in ("a1", "a2"):
        add(AgentJoined, OLD, agent=agent, name=agent, cwd="/")
    say("old", OLD, goes=True, cid="c1", digest="d")
    add(Badge, OLD, goes=True, target="old", badge_type="mood", value="x")
    add(Reply, OLD, goes=True, identifier="oldreply", content="reply", source="agent", root="old", to=("a1",), by="a2")
    say("revived", OLD)
    say("task", OLD)
    add(Flag, OLD, target="task")
    say("done", OLD, goes=True)
    add(Flag, OLD, goes=True, target="done")
    add(Claim, OLD, goes=True, target="done", agent="a2", claim_epoch=1, by="a2")
    add(Progress, OLD, goes=True, target="done", agent="a2", claim_epoch=1, by="a2")
    add(Resolve, OLD, goes=True, target="done", status="completed", result="x", by="a2")
    add(Cursor, OLD, goes=True, agent="a1", upto=5, by="system")
    add(Receipt, OLD, goes=True, agent="a1", state="shown", seqs=(6,), by="system")
    add(Cursor, OLD, goes=True, agent="a1", upto=14, by="system")
    say("unread", OLD, to=("a2",), private=True)
    say("read", OLD, goes=True, to=("a1",), private=True, by="a2")
    add(Cursor, OLD, agent="a1", upto=19, by="system")
    add(Reply, NEW, identifier="newreply", content="again", source="agent", root="revived", to=("a1",), by="a2")
    say("new", NEW)
    return records, gone


def write(home: Path, files: Files) -> list[AnyRecord]:
    records, _ = history()
    open_directory(home, files)
    log, _ = Log.recover(home, files, segment_bytes=1200)
    for record in records:
        more = isinstance(record, Progress)  # an operation of two: both go or both stay
        log.append([encode(record, more=more)])
    log.close()
    return records


def found(home: Path, files: Files) -> list[AnyRecord]:
    open_directory(home, files)
    log, recovery = Log.recover(home, files)
    records = list(log.replay())
    assert recovery.damages == ()
    assert not recovery.shortened
    assert check_log(home, files).damages == ()
    log.close()
    return records


def test_old_threads_go_and_everything_else_stays_under_its_number(tmp_path: Path) -> None:
    home = tmp_path / "data"
    records = write(home, FILES)
    _, gone = history()
    (home / "index" / "snapshot").write_bytes(b"x")
    (home / "index" / "projected").write_bytes(b"x")
    done = compact_log(home, FILES, BEFORE, NOW)
    kept = found(home, FILES)
    assert kept == [record for record in records if record.seq not in gone]
    assert (done.messages, done.records, done.kept) == (4, len(gone) - 4, len(kept))
    assert done.bytes_after < done.bytes_before
    assert list((home / "index").iterdir()) == []
    state = State()
    for record in kept:
        state.apply(record)
    assert state.head == len(records)
    assert state.message("old") is None
    log, _ = Log.recover(home, FILES)
    assert log.read([4]) == [Gap(4, "there is no such record")]
    assert log.damages == ()
    log.append([encode(Message(seq=log.next_seq, id="x", ts=NOW, by="a1", content="on", source="agent"))])
    log.close()
    assert len(found(home, FILES)) == len(kept) + 1
    again = compact_log(home, FILES, BEFORE, NOW)
    assert (again.messages, again.records) == (0, 0)


def test_what_is_younger_than_a_week_or_damaged_is_refused_and_nothing_changed(tmp_path: Path) -> None:
    home = tmp_path / "data"
    write(home, FILES)
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    with pytest.raises(DataDirectoryError, match="older than a week"):
        compact_log(home, FILES, NOW - 1000, NOW)
    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before
    path = home / "log" / "000001.jsonl"
    path.write_bytes(path.read_bytes().replace(b"text of old", b"text of odd"))
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    with pytest.raises(DataDirectoryError, match="damaged"):
        compact_log(home, FILES, BEFORE, NOW)
    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before


def test_nothing_that_was_made_from_the_old_log_is_left_of_what_went(tmp_path: Path) -> None:
    home = tmp_path / "home"
    write(home, FILES)
    for name in ("search.sqlite", "search.sqlite-wal", "snapshot", "projected"):
        (home / "index" / name).write_bytes(b"text of old")
    assert compact_log(home, FILES, BEFORE, NOW).messages
    assert [path for path in home.rglob("*") if path.is_file() and b"text of old" in path.read_bytes()] == []


@pytest.mark.parametrize("kind", ["EIO", "ENOSPC"])
def test_a_compaction_that_ends_at_any_call_loses_nothing(tmp_path: Path, kind: str) -> None:
    plain = tmp_path / "plain"
    old = write(plain, FILES)
    shutil.copytree(plain, tmp_path / "whole")
    counting = FaultyFiles()
    compact_log(tmp_path / "whole", counting, BEFORE, NOW)
    new = found(tmp_path / "whole", FILES)
    outcomes = set()
    for at in range(len(counting.calls)):
        home = tmp_path / f"at{at}"
        shutil.copytree(plain, home)
        files = FaultyFiles(Fault(at, kind, forever=True))  # type: ignore[arg-type]
        with suppress(DataDirectoryError, JournalBroken, Refused):
            compact_log(home, files, BEFORE, NOW)
        left = found(home, FILES)
        assert left in (old, new), counting.calls[at]
        outcomes.add(len(left))
        assert not (home / "log.new").exists()
        assert not (home / "log.old").exists()
        assert not files.sync_after_failure
        shutil.rmtree(home)
    assert outcomes == {len(old), len(new)}


def test_a_power_cut_at_any_moment_of_a_compaction_loses_nothing() -> None:
    disk = MemoryDisk()
    old = write(HOME, disk)
    disk.sync_all()
    frozen = []
    disk.before = lambda _: frozen.append(disk.freeze())
    compact_log(HOME, disk, BEFORE, NOW)
    frozen.append(disk.freeze())
    new = found(HOME, disk)
    random, outcomes = Random(1), set()
    for moment in frozen:
        for number in range(12):
            cut = Cut(random, ordered=number % 2 == 0)
            left = found(HOME, MemoryDisk(cut.names(moment, {})))
            assert left in (old, new)
            outcomes.add(len(left))
    assert outcomes == {len(old), len(new)}
