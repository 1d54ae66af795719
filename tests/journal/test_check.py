"""`python -m crosschat.journal check`: what it says, and that it changes nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from crosschat.journal.__main__ import main
from crosschat.journal.files import RealFiles
from crosschat.journal.store import Log, open_directory
from tests.journal.records import lines

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "data"
    open_directory(home, RealFiles())
    log, _ = Log.recover(home, RealFiles())
    log.append(lines(1, 5))
    log.close()
    return home


def test_a_sound_log_has_the_status_0(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(home)]) == 0
    assert capsys.readouterr().out.startswith("5 records up to seq 5, ")


def test_damage_is_named_with_file_and_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = home / "log" / "000001.jsonl"
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    data += b"torn"
    path.write_bytes(bytes(data))
    assert main(["check", str(home)]) == 1
    out = capsys.readouterr().out
    assert "log/000001.jsonl:1: checksum missing or wrong" in out
    assert "log/000001.jsonl:6: 4 bytes at the end are torn" in out
    assert main(["check", str(home), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["records"], report["last_seq"], report["torn"]["line_number"]) == (4, 5, 6)
    assert path.read_bytes() == bytes(data)
    assert not (home / "damaged").exists()


def test_a_directory_that_cannot_be_read_has_the_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(tmp_path / "nowhere")]) == 1
    assert "cannot be read" in capsys.readouterr().err


def test_a_wrong_call_has_the_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["repair"])
    assert caught.value.code == 2
    assert capsys.readouterr().err
