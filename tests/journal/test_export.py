"""The log as lines for people and programs: all that readers see, with the names of the end, whatever is damaged."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from crosschat.errors import DataDirectoryError
from crosschat.journal.__main__ import main
from crosschat.journal.directory import open_directory
from crosschat.journal.export import Exported, Wanted, export_log
from crosschat.journal.files import RealFiles
from crosschat.journal.format import encode
from crosschat.journal.store import Log
from crosschat.model import (
    AgentJoined,
    AnyRecord,
    Badge,
    Claim,
    Cursor,
    Epoch,
    Flag,
    Message,
    Release,
    Reply,
    Resolve,
    iso,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FILES = RealFiles()
START_MS = 1_760_000_000_000


def records() -> list[AnyRecord]:
    """A bit of everything, one a second."""

    def record(kind: Callable[..., AnyRecord], seq: int, by: str = "a1", **fields: object) -> AnyRecord:
        return kind(seq=seq, id=f"m{seq}", ts=START_MS + seq * 1000, by=by, **fields)

    return [
        record(Epoch, 1, "system", epoch="e"),
        record(AgentJoined, 2, agent="a1", name="old-name", cwd="/w"),
        record(Message, 3, content="first é\x1b[31m", source="agent", importance="important", metadata={"a": [1]}),
        record(Message, 4, "user", content="to one", source="user", to=("a1",), private=True),
        record(Reply, 5, content="in the thread", source="agent", to=("user",), root="m4"),
        record(Flag, 6, "cli", target="m5"),
        record(Claim, 7, "a2", target="m5", agent="a2", claim_epoch=1),
        record(Cursor, 8, "system", agent="a1", upto=7),
        record(Release, 9, "system", target="m5", reason="lease_expired"),
        record(Resolve, 10, "a2", target="m5", status="failed", result="half", error="no disk"),
        record(Badge, 11, target="m3", badge_type="own", value="v"),
        record(AgentJoined, 12, agent="a1", name="ada", cwd="/w"),
        record(Message, 13, content="@here last", source="agent", to=("a2",), here=True),
    ]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    directory = tmp_path / "h"
    open_directory(directory, FILES)
    log, _ = Log.recover(directory, FILES)
    log.append([encode(record) for record in records()])
    log.close()
    return directory


def export(home: Path, **wanted: str) -> list[dict[str, object]]:
    lines: list[str] = []
    done = export_log(home, FILES, Wanted(**wanted), lines.append)
    assert done == Exported(len(lines), 0)
    return [json.loads(line) for line in lines]


def test_everything_that_readers_see_is_a_line_with_the_name_of_the_end(home: Path) -> None:
    found = export(home)
    assert [(one["kind"], one["messageId"], one["fromName"], one["content"]) for one in found] == [
        ("message", "m3", "ada", "first é\x1b[31m"),
        ("message", "m4", "user", "to one"),
        ("reply", "m5", "ada", "in the thread"),
        ("flag", "m5", "cli", ""),
        ("claim", "m5", "a2", ""),
        ("release", "m5", "system", "lease_expired"),
        ("resolve", "m5", "a2", "half\n\nError: no disk"),
        ("badge", "m3", "ada", "own=v"),
        ("message", "m13", "ada", "@here last"),
    ]
    assert found[0] == {
        "seq": 3, "kind": "message", "messageId": "m3", "timestamp": iso(START_MS + 3000), "from": "a1",
        "fromName": "ada", "source": "agent", "content": "first é\x1b[31m", "importance": "important",
        "metadata": {"a": [1]},
    }  # fmt: skip
    assert (found[1]["to"], found[1]["private"], found[2]["threadId"], found[-1]["here"]) == (["a1"], True, "m4", True)


def test_a_thread_has_its_replies_and_what_happened_to_them(home: Path) -> None:
    assert [one["seq"] for one in export(home, thread="m4")] == [4, 5, 6, 7, 9, 10]
    assert export(home, thread="m99") == []


def test_times_include_both_ends(home: Path) -> None:
    found = export(home, since=iso(START_MS + 4000), until=iso(START_MS + 6000))
    assert [one["seq"] for one in found] == [4, 5, 6]
    assert [one["seq"] for one in export(home, since=iso(START_MS + 5000), thread="m4")] == [5, 6, 7, 9, 10]
    assert export(home, since=iso(START_MS + 99_000)) == []


def test_what_is_damaged_is_counted_and_the_rest_is_there(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = home / "log" / "000001.jsonl"
    path.write_bytes(path.read_bytes().replace(b"to one", b"to 0ne"))
    assert main(["export", str(home)]) == 1
    said = capsys.readouterr()
    assert [json.loads(line)["seq"] for line in said.out.splitlines()] == [3, 5, 6, 7, 9, 10, 11, 13]
    assert said.err.partition(" ")[0].isdigit()
    assert "damaged" in said.err


def test_a_torn_end_is_no_damage_and_not_exported(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open(home / "log" / "000001.jsonl", "ab") as log:
        log.write(encode(records()[-1])[:40])
    assert main(["export", str(home)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 9


def test_nothing_is_changed(home: Path) -> None:
    before = {path: path.stat() for path in sorted(home.rglob("*"))}
    export(home)
    assert {path: path.stat().st_mtime_ns for path in sorted(home.rglob("*"))} == {
        path: stat.st_mtime_ns for path, stat in before.items()
    }


def test_lines_are_ascii_whatever_was_written(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(home)]) == 0
    assert capsys.readouterr().out.isascii()


def test_what_cannot_be_exported_says_why(tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DataDirectoryError, match="cannot be read"):
        export_log(tmp_path / "none", FILES, Wanted(), print)
    assert main(["export", str(tmp_path / "none")]) == 1
    assert main(["export", str(home), "--since", "yesterday"]) == 2
    assert "yesterday" in capsys.readouterr().err
