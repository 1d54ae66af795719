"""What a start makes of a log that is not as it was written: nothing intact is lost or hidden."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import zlib
from random import Random
from typing import TYPE_CHECKING

import pytest

from crosschat.errors import DataDirectoryError
from crosschat.journal.check import check_log
from crosschat.journal.directory import check_directory
from crosschat.journal.files import RealFiles
from crosschat.journal.format import encode, encode_gone
from crosschat.journal.store import Gap, Log, Recovery, open_directory
from crosschat.model import AnyRecord, Message
from tests.journal.records import lines, message

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILES = RealFiles()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "data"
    open_directory(home, FILES)
    return home


def segment(home: Path, number: int = 1) -> Path:
    return home / "log" / f"{number:06d}.jsonl"


def write(home: Path, *parts: bytes, number: int = 1) -> None:
    segment(home, number).write_bytes(b"".join(parts))


def recover(home: Path) -> tuple[Log, Recovery]:
    log, recovery = Log.recover(home, FILES)
    log.close()
    return log, recovery


def seqs(home: Path) -> list[int]:
    log, _ = Log.recover(home, FILES)
    found = [record.seq for record in log.replay()]
    log.close()
    return found


def test_an_empty_directory_has_an_empty_log(home: Path) -> None:
    log, recovery = Log.recover(home, FILES)
    assert (log.last_seq, log.next_seq, recovery) == (0, 1, Recovery())
    log.append(lines(1, 3))
    log.close()
    assert seqs(home) == [1, 2, 3]


def test_an_empty_file_is_an_empty_log(home: Path) -> None:
    write(home)
    assert recover(home)[1] == Recovery()
    assert seqs(home) == []


def test_a_log_is_read_as_it_was_written_over_several_segments(home: Path) -> None:
    log, _ = Log.recover(home, FILES, segment_bytes=1000)
    for seq in range(1, 41):
        log.append(lines(seq, seq))
    log.close()
    assert len(os.listdir(home / "log")) > 3
    assert all(path.stat().st_size <= 1000 for path in (home / "log").iterdir())
    log, recovery = Log.recover(home, FILES, segment_bytes=1000)
    assert recovery == Recovery()
    assert list(log.replay()) == [message(seq) for seq in range(1, 41)]
    assert log.read([40, 1, 99, 7]) == [
        message(40), message(1), Gap(99, "there is no such record"), message(7)
    ]  # fmt: skip
    assert [r.seq for r in log.after(5, upto=38, limit_records=3, limit_bytes=10**6)] == [6, 7, 8]
    assert [r.seq for r in log.after(5, upto=7, limit_records=30, limit_bytes=10**6)] == [6, 7]
    assert [r.seq for r in log.after(5, upto=38, limit_records=30, limit_bytes=1)] == [6]
    log.append(lines(41, 41))
    log.close()
    assert check_log(home, FILES).records == 41


@pytest.mark.parametrize("content", ["x", "y" * 10_000, "é" * 100_000])
def test_lines_of_every_length_are_read_by_their_place(home: Path, content: str) -> None:
    log, _ = Log.recover(home, FILES)
    wanted: list[AnyRecord | Gap] = [message(seq, content + str(seq)) for seq in range(1, 9)]
    log.append([encode(record) for record in wanted if not isinstance(record, Gap)])
    assert log.read(range(1, 9)) == wanted
    log.close()


@pytest.mark.parametrize("size", range(1, len(lines(3, 3)[0]) - 1))
def test_a_torn_last_line_is_copied_and_cut(home: Path, size: int) -> None:
    torn = lines(3, 3)[0][:size]
    write(home, *lines(1, 2), torn)
    assert check_log(home, FILES).torn is not None
    log, recovery = recover(home)
    assert log.last_seq == 2
    assert recovery.damages == ()
    assert recovery.cut is not None
    assert recovery.cut.line_number == 3
    [copy] = (home / "damaged").iterdir()
    assert copy.read_bytes() == torn
    assert segment(home).read_bytes() == b"".join(lines(1, 2))
    assert recover(home)[1] == Recovery()


def test_a_last_line_that_lost_only_its_newline_is_kept(home: Path) -> None:
    write(home, b"".join(lines(1, 2))[:-1])
    log, recovery = Log.recover(home, FILES)
    assert recovery == Recovery()
    log.append(lines(3, 3))
    log.close()
    assert segment(home).read_bytes() == b"".join(lines(1, 3))


@pytest.mark.parametrize("tail", [bytes(5000), b"\n\n\n", b"\xff" * 10 + b"\n", bytes(600) + b"\n"])
def test_a_tail_without_any_record_is_cut(home: Path, tail: bytes) -> None:
    write(home, *lines(1, 2), tail)
    log, recovery = recover(home)
    assert (log.last_seq, recovery.damages) == (2, ())
    assert [path.read_bytes() for path in (home / "damaged").iterdir()] == [tail]
    assert segment(home).read_bytes() == b"".join(lines(1, 2))


def test_zeros_after_the_last_record_are_cut_and_no_damage(home: Path) -> None:
    write(home, b"".join(lines(1, 3))[:-1] + bytes(700))  # its size was durable, its last bytes were not
    log, recovery = recover(home)
    assert (log.last_seq, recovery.damages) == (3, ())
    assert recovery.cut is not None
    assert [path.read_bytes() for path in (home / "damaged").iterdir()] == [bytes(700)]
    assert segment(home).read_bytes() == b"".join(lines(1, 3))


def test_records_that_were_taken_out_are_no_damage_and_such_a_line_elsewhere_is(home: Path) -> None:
    write(home, *lines(1, 2), encode_gone(3, 5), *lines(6, 7))
    assert recover(home)[1] == Recovery()
    assert seqs(home) == [1, 2, 6, 7]
    write(home, *lines(1, 2), encode_gone(4, 5), *lines(6, 7))
    assert [(one.line_number, one.reason) for one in recover(home)[1].damages] == [
        (3, "its seq cannot be right"), (4, "records 3 to 5 are missing before this line")
    ]  # fmt: skip
    assert seqs(home) == [1, 2, 6, 7]


def test_damage_in_the_middle_is_kept_and_reported(home: Path) -> None:
    data = bytearray(b"".join(lines(1, 5)))
    data[len(lines(1, 2)[0]) * 2 + 20] ^= 4
    write(home, bytes(data))
    log, recovery = Log.recover(home, FILES)
    assert segment(home).read_bytes() == bytes(data)
    assert recovery.cut is None
    assert [(d.file, d.line_number) for d in recovery.damages] == [
        ("log/000001.jsonl", 3), ("log/000001.jsonl", 4)
    ]  # fmt: skip
    assert "checksum" in recovery.damages[0].reason
    assert recovery.damages[1].reason == "record 3 is missing before this line"
    assert [r.seq for r in log.replay()] == [1, 2, 4, 5]
    assert log.read([3]) == [Gap(3, "there is no such record")]
    assert [r.seq for r in log.after(2, upto=5, limit_records=1, limit_bytes=1)] == [4]
    log.append(lines(6, 6))
    log.close()
    assert seqs(home) == [1, 2, 4, 5, 6]


def test_swapped_lines_are_both_read_and_reported(home: Path) -> None:
    one, two, three, four = lines(1, 4)
    write(home, one, three, two, four)
    log, recovery = Log.recover(home, FILES)
    assert [record.seq for record in log.replay()] == [1, 2, 3, 4]
    assert "record 2 is out of order" in [damage.reason for damage in recovery.damages]
    assert log.next_seq == 5
    log.close()


def test_a_line_that_occurs_again_is_reported_and_ignored(home: Path) -> None:
    one, two, three = lines(1, 3)
    write(home, one, two, one, three, two)
    log, recovery = recover(home)
    assert log.last_seq == 3
    assert [(d.line_number, d.reason) for d in recovery.damages] == [
        (3, "record 1 occurs a second time"), (5, "record 2 occurs a second time")
    ]  # fmt: skip
    assert seqs(home) == [1, 2, 3]


def test_a_line_that_was_inserted_too_early_does_not_hide_the_right_one(home: Path) -> None:
    one, two, three, four = lines(1, 4)
    write(home, one, encode(message(4, "from elsewhere")), two, three, four)
    log, recovery = Log.recover(home, FILES)
    assert list(log.replay()) == [message(seq) for seq in range(1, 5)]
    assert recovery.damages
    log.close()


def test_a_seq_that_is_far_away_is_not_believed(home: Path) -> None:
    write(home, *lines(1, 2), *lines(2**40, 2**40), *lines(3, 3))
    log, recovery = recover(home)
    assert log.last_seq == 3
    assert [damage.line_number for damage in recovery.damages] == [3]


def test_an_editor_that_wrote_crlf_hides_nothing(home: Path) -> None:
    data = b"".join(lines(1, 50)).replace(b"\n", b"\r\n")
    write(home, data)
    log, recovery = Log.recover(home, FILES)
    assert [record.seq for record in log.replay()] == list(range(1, 51))
    assert [(d.line_number, d.lines) for d in recovery.damages] == [(1, 50)]
    log.append(lines(51, 51))
    log.close()
    assert seqs(home) == list(range(1, 52))


def test_a_newline_that_was_damaged_hides_neither_of_its_neighbours(home: Path) -> None:
    data = bytearray(b"".join(lines(1, 5)))
    data[len(b"".join(lines(1, 3))) - 1] = ord("?")
    write(home, bytes(data))
    assert [damage.line_number for damage in recover(home)[1].damages] == [3]
    assert seqs(home) == [1, 2, 3, 4, 5]


def test_a_sealed_segment_that_lost_its_last_newline_is_reported(home: Path) -> None:
    write(home, b"".join(lines(1, 2))[:-1])
    write(home, *lines(3, 3), number=2)
    assert [damage.line_number for damage in recover(home)[1].damages] == [2]
    assert seqs(home) == [1, 2, 3]


def test_a_missing_segment_is_a_gap_and_the_rest_is_read(home: Path) -> None:
    write(home, *lines(1, 3))
    write(home, *lines(4, 6), number=2)
    write(home, *lines(7, 9), number=3)
    segment(home, 2).unlink()
    log, recovery = Log.recover(home, FILES)
    assert [record.seq for record in log.replay()] == [1, 2, 3, 7, 8, 9]
    assert [(d.file, d.line_number) for d in recovery.damages] == [
        ("log/000002.jsonl", 0), ("log/000003.jsonl", 1)
    ]  # fmt: skip
    log.append(lines(10, 10))
    log.close()


def test_a_sealed_segment_is_never_cut(home: Path) -> None:
    write(home, *lines(1, 3), b"torn")
    write(home, *lines(4, 5), number=2)
    _, recovery = recover(home)
    assert recovery.cut is None
    assert [damage.line_number for damage in recovery.damages] == [4]
    assert segment(home).read_bytes().endswith(b"torn")


def test_half_an_operation_at_the_end_is_cut_as_a_whole(home: Path) -> None:
    group = [encode(message(seq), more=seq < 5) for seq in (3, 4, 5)]
    for kept in range(3):
        write(home, *lines(1, 2), *group[:kept])
        assert recover(home)[0].last_seq == 2
        write(home, *lines(1, 2), *group[:kept], group[kept][:30])
        assert recover(home)[0].last_seq == 2
    write(home, *lines(1, 2), *group)
    assert recover(home)[0].last_seq == 5


def test_half_an_operation_in_the_middle_is_damage_and_readable(home: Path) -> None:
    write(home, encode(message(1), more=True), b"broken\n", *lines(3, 3))
    assert seqs(home) == [1, 3]
    assert recover(home)[1].damages


def test_what_a_killed_start_left_behind_is_removed(home: Path) -> None:
    write(home, *lines(1, 2))
    (home / "log" / "000001.jsonl.new").write_bytes(b"half")
    assert seqs(home) == [1, 2]
    assert os.listdir(home / "log") == ["000001.jsonl"]


def test_a_foreign_file_in_the_log_is_reported_and_left_alone(home: Path) -> None:
    (home / "log" / "notes\x1b[2J.txt").write_text("mine")
    _, recovery = recover(home)
    assert [damage.line_number for damage in recovery.damages] == [0]
    assert "\x1b" not in recovery.damages[0].file
    assert (home / "log" / "notes\x1b[2J.txt").exists()


def test_fields_of_a_later_version_survive_the_rewrite(home: Path) -> None:
    body = lines(1, 1)[0][:-19] + b',"later":[1]'
    line = b'%b,"crc":"%08x"}\n' % (body, zlib.crc32(body))
    write(home, line)
    assert seqs(home) == [1]
    assert segment(home).read_bytes() == line


def test_a_record_of_an_unknown_kind_is_a_gap_with_file_and_line(home: Path) -> None:
    body = lines(2, 2)[0][:-19].replace(b'"message"', b'"novelty"')
    write(home, *lines(1, 1), b'%b,"crc":"%08x"}\n' % (body, zlib.crc32(body)), *lines(3, 3))
    log, recovery = Log.recover(home, FILES)
    assert recovery.damages == ()
    assert [record.seq for record in log.replay()] == [1, 3]
    assert [(d.file, d.line_number, d.reason) for d in log.damages] == [
        ("log/000001.jsonl", 2, "unknown kind")
    ]  # fmt: skip
    log.close()
    assert [damage.line_number for damage in check_log(home, FILES).damages] == [2]


@pytest.mark.parametrize("seed", range(60))
def test_random_damage_is_always_reported_and_never_hides_an_intact_line(home: Path, seed: int) -> None:
    random = Random(seed)
    whole = [
        encode(Message(seq=seq, id=f"m{seq}", ts=seq, by="a", content="z" * random.randrange(900),
                       source="agent", metadata={"v": 1, "seq": seq}))
        for seq in range(1, 60)
    ]  # fmt: skip
    split = random.randrange(10, 50)
    write(home, *whole[:split])
    write(home, *whole[split:], number=2)
    path = segment(home, random.randrange(1, 3))
    data = bytearray(path.read_bytes())
    start = random.randrange(len(data))
    end = min(len(data), start + random.choice([1, 1, 40, 512, 4096]))
    kind = random.choice(["flip", "zero", "noise", "delete", "insert"])
    if kind == "flip":
        data[start] ^= 1 << random.randrange(8)
    elif kind == "zero":
        data[start:end] = bytes(end - start)
    elif kind == "noise":
        data[start:end] = random.randbytes(end - start)
    elif kind == "delete":
        del data[start:end]
    else:
        data[start:start] = b"\n" + random.randbytes(30) + b"\n"
    before = [*segment(home, 1).read_bytes().splitlines(True),
              *segment(home, 2).read_bytes().splitlines(True)]  # fmt: skip
    assert before == whole
    path.write_bytes(bytes(data))
    after = segment(home, 1).read_bytes() + segment(home, 2).read_bytes()
    intact = {int(re.findall(rb'"seq":(\d+)', line)[0]) for line in whole if line[:-1] in after}
    report = check_log(home, FILES)
    log, recovery = Log.recover(home, FILES)
    found = {record.seq for record in log.replay()}
    log.close()
    assert intact <= found, f"seed {seed} {kind} {start}..{end}: hidden {intact - found}"
    assert found <= set(range(1, 60))
    if b"".join(before) == after:
        return  # the noise was what had been there
    truncated = kind == "delete" and path == segment(home, 2) and end == len(data) + end - start
    if not truncated:
        assert report.damages or report.torn, f"seed {seed} {kind} {start}..{end} was not reported"
        assert recovery.damages or recovery.cut


# The data directory


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("mask", [0, 0o777])
def test_everything_is_private_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        home = tmp_path / "a" / "data"
        if mask:
            (tmp_path / "a").mkdir()
            (tmp_path / "a").chmod(0o700)
        open_directory(home, FILES)
        log, _ = Log.recover(home, FILES)
        log.append(lines(1, 1))
        log.close()
    finally:
        os.umask(before)
    for path in [home, *home.rglob("*")]:
        assert mode(path) == (0o700 if path.is_dir() else 0o600), path
    assert (home / "FORMAT").read_text() == '{"format":1,"min_reader":1}\n'


def tree(home: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(home)): (mode(path), path.read_bytes() if path.is_file() else b"")
        for path in [home, *sorted(home.rglob("*"))]
    }


def refused(home: Path) -> str:
    before = tree(home)
    with pytest.raises(DataDirectoryError) as caught:
        open_directory(home, FILES)
    assert tree(home) == before
    return str(caught.value)


def test_a_newer_format_is_refused_and_left_untouched(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "FORMAT").write_text('{"format":3,"min_reader":2}')
    assert "Upgrade" in refused(tmp_path)


def test_a_newer_format_that_we_can_read_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "FORMAT").write_text('{"format":3,"min_reader":1,"more":true}')
    open_directory(tmp_path, FILES)


@pytest.mark.parametrize("text", ["", "{}", "[1]", "nonsense", '{"format":"1","min_reader":1}'])
def test_an_unreadable_format_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "FORMAT").write_text(text)
    assert "backup" in refused(tmp_path)


def test_data_of_an_older_product_is_refused_and_left_untouched(tmp_path: Path) -> None:
    (tmp_path / "messages" / "threads").mkdir(parents=True)
    (tmp_path / "messages" / "threads" / "x.jsonl").write_text("{}")
    assert "Move the directory away" in refused(tmp_path)


def test_a_log_without_its_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    write(tmp_path, *lines(1, 1))
    assert "FORMAT file is missing" in refused(tmp_path)


def test_a_link_in_place_of_the_directory_or_a_part_of_it_is_refused(tmp_path: Path) -> None:
    real = tmp_path / "real"
    open_directory(real, FILES)
    (tmp_path / "link").symlink_to(real)
    with pytest.raises(DataDirectoryError, match="CROSSCHAT_HOME"):
        open_directory(tmp_path / "link", FILES)
    (real / "index").rmdir()
    (real / "index").symlink_to(tmp_path)
    with pytest.raises(DataDirectoryError, match="symbolic link"):
        open_directory(real, FILES)


def test_a_link_in_place_of_a_segment_is_not_followed(home: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"".join(lines(1, 2)))
    segment(home).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataDirectoryError):
        Log.recover(home, FILES)
    assert (tmp_path / "elsewhere").read_bytes() == b"".join(lines(1, 2))


def test_a_directory_that_others_could_use_is_tightened_and_noted(tmp_path: Path) -> None:
    home = tmp_path / "data"
    home.mkdir()
    home.chmod(0o755)
    assert any("0755" in note for note in open_directory(home, FILES))
    assert mode(home) == 0o700
    assert open_directory(home, FILES) == ()


FOREIGN = [".ssh", "Documents", ".FORMAT", "FORMAT.new", ".notes.new", "log2", "\n"]


@pytest.mark.parametrize("name", FOREIGN)
def test_a_directory_with_anything_that_is_not_ours_is_refused_and_left_untouched(tmp_path: Path, name: str) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / name).write_text("mine")
    (tmp_path / "run").mkdir()
    assert f"it holds {name!r}" in refused(tmp_path)
    assert "choose an empty or new directory" in refused(tmp_path)
    before = tree(tmp_path)
    with pytest.raises(DataDirectoryError, match="empty or new directory"):
        check_directory(tmp_path, FILES)
    assert tree(tmp_path) == before


def test_with_its_format_a_directory_is_ours_whatever_else_is_in_it(home: Path) -> None:
    (home / "notes.txt").write_text("mine")
    home.chmod(0o755)
    check_directory(home, FILES)
    assert mode(home) == 0o755
    assert any("0755" in note for note in open_directory(home, FILES))
    assert (home / "notes.txt").read_text() == "mine"


def test_what_a_start_that_was_cut_short_left_is_completed(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for name in ("hub.lock", ".FORMAT.new", "settings.json", ".dashboard.lock.new"):
        (tmp_path / name).touch()
    for name in ("run", "logs", "hooks", "index", "log", "messages"):
        (tmp_path / name).mkdir()
    check_directory(tmp_path, FILES)
    open_directory(tmp_path, FILES)
    assert mode(tmp_path) == 0o700
    assert (tmp_path / "FORMAT").exists()


@pytest.fixture
def living() -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process.pid
        process.kill()


def npm_note(pid: object) -> str:
    return json.dumps({"pid": pid, "port": 3000, "version": "2.0.7", "startedAt": "2026-01-01T00:00:00.000Z"})


@pytest.mark.parametrize("has_format", [True, False])
def test_a_directory_on_which_an_npm_hub_lives_is_refused_with_its_pid(
    tmp_path: Path, living: int, has_format: bool
) -> None:
    data = tmp_path / "data"
    if has_format:
        open_directory(data, FILES)
    else:
        (data / "messages").mkdir(parents=True)
        (data / "messages" / "general.jsonl").write_text("{}\n")
    (data / "dashboard.lock").write_text(npm_note(living))
    said = refused(data)
    assert f"pid {living}" in said
    assert "Stop it first" in said
    with pytest.raises(DataDirectoryError, match="Stop it first"):
        check_directory(data, FILES)


def test_a_note_that_does_not_name_a_living_npm_hub_is_ignored(home: Path, living: int) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    ours = json.dumps({"hub_pid": living, "hub_version": "3"})
    notes = [npm_note(ended.pid), npm_note(os.getpid()), npm_note(True), npm_note(-1), npm_note(0), npm_note(2**70)]
    odd = [npm_note(str(living)), ours, f"[{living}]", f'{{"pid":{living}}}', "", "{", "[" * 60_000, " " * 70_000]
    for text in [*notes, *odd]:
        (home / "dashboard.lock").write_text(text)
        open_directory(home, FILES)
    (home / "dashboard.lock").write_bytes(b"\xff")
    open_directory(home, FILES)
    (home / "dashboard.lock").unlink()
    (home / "elsewhere").write_text(npm_note(living))
    (home / "dashboard.lock").symlink_to(home / "elsewhere")
    open_directory(home, FILES)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a directory away")
def test_a_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "data"
    home.mkdir()
    os.chown(home, 12345, 12345)
    assert "belongs to the user" in refused(home)
