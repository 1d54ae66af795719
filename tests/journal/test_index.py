"""The snapshot saves time and nothing else: stale, damaged or foreign, it changes no answer."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import attrs
import pytest

from crosschat.journal import index
from crosschat.journal.files import RealFiles
from crosschat.journal.format import encode
from crosschat.journal.store import Log, Recovery, open_directory
from tests.journal.faulty import FaultyFiles
from tests.journal.records import lines, message

if TYPE_CHECKING:
    from pathlib import Path

FILES = RealFiles()
SEGMENT = 700


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Twenty records in some segments, a snapshot up to 16."""
    home = tmp_path / "data"
    fill(home, "text")
    return home


def fill(home: Path, text: str) -> None:
    open_directory(home, FILES)
    log, _ = Log.recover(home, FILES, segment_bytes=SEGMENT)
    for seq in range(1, 21):
        log.append([encode(message(seq, f"{text} {seq}"))])
        if seq == 16:
            snapshot = log.snapshot(16, epoch="e", state=b"the state")
            assert snapshot is not None
            index.save(FILES, home, snapshot)
    log.close()


def recover(home: Path) -> tuple[list[int], Recovery]:
    log, recovery = Log.recover(home, FILES, index.load(FILES, home), segment_bytes=SEGMENT)
    seqs = [record.seq for record in log.replay()]
    log.append(lines(log.next_seq, log.next_seq))
    log.close()
    return seqs, recovery


def segments(home: Path) -> list[Path]:
    return sorted((home / "log").iterdir())


def test_a_snapshot_that_fits_is_used_and_what_follows_is_read(home: Path) -> None:
    snapshot = index.load(FILES, home)
    assert snapshot is not None
    assert snapshot.state == b"the state"
    files = FaultyFiles()
    log, recovery = Log.recover(home, files, snapshot, segment_bytes=SEGMENT)
    assert recovery == Recovery(snapshot=snapshot)
    assert list(log.replay()) == [message(seq, f"text {seq}") for seq in range(1, 21)]
    assert [record.seq for record in log.replay(16)] == [17, 18, 19, 20]
    log.append(lines(21, 21))
    again = log.snapshot(21, epoch="e", state=b"")
    assert again is not None
    index.save(FILES, home, again)
    log.close()
    assert recover(home) == (list(range(1, 22)), Recovery(snapshot=again))


def test_without_an_index_directory_everything_is_found(home: Path) -> None:
    shutil.rmtree(home / "index")
    open_directory(home, FILES)
    assert recover(home) == (list(range(1, 21)), Recovery())


def test_a_damaged_snapshot_is_dropped_whatever_byte_it_is(home: Path) -> None:
    path = home / index.SNAPSHOT
    good = path.read_bytes()
    for position in range(0, len(good), 7):
        bad = bytearray(good)
        bad[position] ^= 1
        path.write_bytes(bytes(bad))
        assert index.load(FILES, home) is None
        assert not path.exists()
    for size in (0, 1, 31, 32, 33, len(good) - 1):
        path.write_bytes(good[:size])
        assert index.load(FILES, home) is None


def test_a_foreign_snapshot_hides_nothing_and_begins_a_new_epoch(home: Path, tmp_path: Path) -> None:
    fill(tmp_path / "other", "other text")
    shutil.copy(tmp_path / "other" / index.SNAPSHOT, home / index.SNAPSHOT)
    seqs, recovery = recover(home)
    assert seqs == list(range(1, 21))
    assert (recovery.shortened, recovery.snapshot) == (True, None)


def test_a_restored_older_log_begins_a_new_epoch(home: Path) -> None:
    *_, before_last, last = segments(home)
    last.unlink()
    before_last.write_bytes(before_last.read_bytes()[: len(lines(1, 1)[0]) * 2])
    seqs, recovery = recover(home)
    assert max(seqs) < 16
    assert (recovery.shortened, recovery.snapshot) == (True, None)


def test_an_emptied_log_begins_a_new_epoch(home: Path) -> None:
    shutil.rmtree(home / "log")
    open_directory(home, FILES)
    seqs, recovery = recover(home)
    assert (seqs, recovery.shortened) == ([], True)


def test_another_history_of_the_same_length_begins_a_new_epoch(home: Path, tmp_path: Path) -> None:
    fill(tmp_path / "other", "newer")
    shutil.rmtree(home / "log")
    shutil.copytree(tmp_path / "other" / "log", home / "log")
    seqs, recovery = recover(home)
    assert seqs == list(range(1, 21))
    assert (recovery.shortened, recovery.snapshot) == (True, None)


def test_damage_that_came_after_the_snapshot_is_still_found(home: Path) -> None:
    path = segments(home)[0]
    data = bytearray(path.read_bytes())
    data[50] ^= 1
    path.write_bytes(bytes(data))
    seqs, recovery = recover(home)
    assert seqs == list(range(2, 21))
    assert (recovery.shortened, recovery.snapshot) == (False, None)
    assert recovery.damages


def test_damage_that_the_snapshot_knows_is_still_reported(home: Path) -> None:
    path = segments(home)[0]
    data = bytearray(path.read_bytes())
    data[50] ^= 1
    path.write_bytes(bytes(data))
    log, first = Log.recover(home, FILES, segment_bytes=SEGMENT)
    snapshot = log.snapshot(20, epoch="e", state=b"")
    assert snapshot is not None
    log.close()
    _, second = Log.recover(home, FILES, snapshot, segment_bytes=SEGMENT)
    assert second == Recovery(damages=first.damages, snapshot=snapshot)


def test_a_torn_tail_after_the_snapshot_is_cut(home: Path) -> None:
    path = segments(home)[-1]
    line = path.read_bytes().count(b"\n") + 1
    with path.open("ab") as file:
        file.write(lines(21, 21)[0][:50])
    seqs, recovery = recover(home)
    assert seqs == list(range(1, 21))
    assert recovery.snapshot is not None
    assert recovery.cut is not None
    assert (recovery.cut.file, recovery.cut.line_number) == (f"log/{path.name}", line)


def test_a_missing_segment_is_found_in_spite_of_the_snapshot(home: Path) -> None:
    segments(home)[1].unlink()
    _, recovery = recover(home)
    assert recovery.snapshot is None
    assert any("missing" in damage.reason for damage in recovery.damages)


def test_only_the_ends_of_the_last_two_appends_can_be_a_snapshot(home: Path) -> None:
    log, _ = Log.recover(home, FILES)
    log.append(lines(21, 22))
    log.append(lines(23, 23))
    found = [seq for seq in range(25) if log.snapshot(seq, epoch="e", state=b"")]
    assert found == [22, 23]
    log.close()


def test_a_snapshot_that_is_trusted_without_looking_would_be_noticed(home: Path) -> None:
    """The defect these tests are for: offsets of another log invent and hide records."""
    snapshot = index.load(FILES, home)
    assert snapshot is not None
    log, _ = Log.recover(home, FILES, attrs.evolve(snapshot, offsets=bytes(8 * 16)))
    assert [record.seq for record in log.replay()] != list(range(1, 21))
    log.close()
