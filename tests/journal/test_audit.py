"""The chain of audit lines: what is durable, what is noticed, and what a failing disk leaves."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from crosschat.journal.audit import NO_LINE, AuditFile, file_of, make_line, read_audit, read_chain
from crosschat.journal.files import RealFiles
from tests.journal.faulty import KINDS, Fault, FaultyFiles, Kind

if TYPE_CHECKING:
    from pathlib import Path

    from crosschat.journal.files import Files

NOW_MS = 1_800_000_000_000


def opened(home: Path, files: Files | None = None) -> AuditFile:
    files = files or RealFiles()
    return AuditFile(home, files, read_audit(home, files))


def write(home: Path, *texts: str) -> None:
    audit = opened(home)
    for text in texts:
        audit.append(NOW_MS, {"event": text})
    audit.close()


def test_lines_follow_each_other_over_restarts(tmp_path: Path) -> None:
    write(tmp_path, "one", "two")
    write(tmp_path, "three")
    chain = read_audit(tmp_path, RealFiles())
    assert chain.problems == ()
    assert [(line["n"], line["event"]) for line in chain.lines] == [(1, "one"), (2, "two"), (3, "three")]
    assert chain.lines[0]["prev"] == NO_LINE
    assert chain.lines[2]["prev"] == chain.lines[1]["hash"]
    assert chain.last == chain.lines[2]["hash"]
    assert file_of(tmp_path).stat().st_mode & 0o777 == 0o600
    assert file_of(tmp_path).parent.stat().st_mode & 0o777 == 0o700


def test_every_changed_byte_is_noticed(tmp_path: Path) -> None:
    write(tmp_path, "one", "two", "three")
    data = file_of(tmp_path).read_bytes()
    for at in range(len(data)):
        for flip in (0x01, 0x80):
            changed = bytearray(data)
            changed[at] ^= flip
            found = read_chain(bytes(changed))
            assert found.problems or found.torn, (at, flip)


@pytest.mark.parametrize("without", [0, 1])
def test_a_line_that_is_missing_is_noticed(tmp_path: Path, without: int) -> None:
    write(tmp_path, "one", "two", "three")
    lines = file_of(tmp_path).read_bytes().splitlines(keepends=True)
    found = read_chain(b"".join(line for row, line in enumerate(lines) if row != without))
    assert [problem.line for problem in found.problems][:1] == [without + 1]


def test_lines_in_another_order_or_twice_are_noticed(tmp_path: Path) -> None:
    write(tmp_path, "one", "two")
    first, second = file_of(tmp_path).read_bytes().splitlines(keepends=True)
    assert read_chain(second + first).problems
    assert read_chain(first + first + second).problems
    assert read_chain(first + b"\n" + second).problems


def test_an_incomplete_last_line_is_set_aside_and_the_chain_goes_on(tmp_path: Path) -> None:
    write(tmp_path, "one", "two")
    whole = file_of(tmp_path).read_bytes()
    for size in range(1, len(whole)):
        file_of(tmp_path).write_bytes(whole[:size])
        write(tmp_path, "next")
        chain = read_audit(tmp_path, RealFiles())
        assert chain.problems == ()
        assert chain.torn == 0
        assert [line["event"] for line in chain.lines] == [*["one", "two"][: whole[:size].count(b"\n")], "next"]
    assert (tmp_path / "damaged").is_dir()


def test_a_broken_chain_is_reported_and_goes_on(tmp_path: Path) -> None:
    write(tmp_path, "one", "two")
    path = file_of(tmp_path)
    path.write_bytes(path.read_bytes().replace(b'"two"', b'"tow"'))
    audit = opened(tmp_path)
    assert [problem.line for problem in audit.problems] == [2]
    audit.append(NOW_MS, {"event": "three"})
    audit.close()
    assert [problem.line for problem in read_audit(tmp_path, RealFiles()).problems] == [2]


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "audit").mkdir(mode=0o700)
    file_of(tmp_path).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        opened(tmp_path)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("forever", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_fails_a_line_that_was_acked_is_synced_and_no_other_is_there(
    tmp_path: Path, kind: Kind, forever: bool
) -> None:
    """Every call of a scripted run, each way to fail, once and from then on."""
    at, done = 0, False
    while not done:
        home = tmp_path / f"{at}"
        home.mkdir()
        files = FaultyFiles(Fault(at, kind, forever))
        acked: list[str] = []
        try:
            audit = opened(home, files)
            for text in ("one", "two", "three"):
                try:
                    audit.append(NOW_MS, {"event": text})
                except OSError:
                    continue
                acked.append(text)
                assert set(files.unsynced.values()) <= {0}
            audit.close()
        except OSError:
            pass
        done = len(files.calls) <= at
        assert files.sync_after_failure == []
        chain = read_audit(home, RealFiles())
        found = [line["event"] for line in chain.lines]
        assert found[: len(acked)] == acked
        assert len(found) <= len(acked) + (1 if forever else 0)
        assert chain.problems == ()
        at += 1
    assert at > 10


def test_after_a_failed_sync_nothing_is_written_any_more(tmp_path: Path) -> None:
    write(tmp_path, "one")
    files = FaultyFiles()
    audit = opened(tmp_path, files)
    files.fault = Fault(len(files.calls) + 1, "EIO")  # the write succeeds, its sync fails
    for _ in range(2):
        with pytest.raises(OSError, match=r"Input/output|synced"):
            audit.append(NOW_MS, {"event": "two"})
    assert audit.broken is not None
    assert json.loads(file_of(tmp_path).read_bytes())["event"] == "one"
    audit.close()


# --- which browsers it vouches for


def paired(*lines: tuple[str, str, int]) -> bytes:
    """A file of such lines: event, key, port."""
    rows, last = [], NO_LINE
    for number, (event, key, port) in enumerate(lines, 1):
        row, last = make_line(number, last, NOW_MS, {"event": event, "key": key, "port": port})
        rows.append(row + b"\n")
    return b"".join(rows)


@pytest.mark.parametrize(
    ("lines", "vouched"),
    [
        ([], {}),
        ([("paired", "a", 1), ("paired", "b", 2)], {"a": 1, "b": 2}),
        ([("paired", "a", 1), ("revoked", "a", 1)], {}),
        ([("paired", "a", 1), ("revoked", "a", 1), ("paired", "a", 1)], {"a": 1}),
        ([("paired", "a", 1), ("paired", "a", 2)], {"a": 2}),
        ([("paired", "a", 2), ("revoked", "a", 1)], {}),
        ([("revoked", "a", 1), ("decided", "a", 1), ("Paired", "b", 1)], {}),
    ],
)
def test_a_browser_is_vouched_for_from_its_pairing_to_its_end(
    lines: list[tuple[str, str, int]], vouched: dict[str, int]
) -> None:
    assert read_chain(paired(*lines)).paired == vouched


def test_a_chain_that_is_broken_anywhere_vouches_for_nobody() -> None:
    """What follows the break may be anybody's, and what ended a pairing before it may have been taken out."""
    good = paired(("paired", "a", 1), ("paired", "b", 1), ("revoked", "b", 1), ("decided", "a", 1))
    rows = good.splitlines(keepends=True)
    assert read_chain(good).paired == {"a": 1}
    assert read_chain(rows[0] + rows[1] + rows[3]).paired == {}
    assert read_chain(good + paired(("paired", "c", 1))).paired == {}
    assert read_chain(b"\n" + good).paired == {}
    for at in range(len(good)):
        changed = bytearray(good)
        changed[at] ^= 1
        found = read_chain(bytes(changed))
        assert found.torn or found.paired == {}, at
