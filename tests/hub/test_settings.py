"""settings.json: what is in it stays, whatever is in it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from crosschat.hub.settings import Settings
from crosschat.journal.files import RealFiles

if TYPE_CHECKING:
    from pathlib import Path


def test_without_a_file_nothing_is_remembered_and_nothing_is_wrong(tmp_path: Path) -> None:
    settings = Settings(RealFiles(), tmp_path / "settings.json")
    assert (settings.dashboard_port, settings.problem) == (None, None)


def test_the_first_port_is_remembered_and_a_later_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    Settings(RealFiles(), path).remember_port(4711)
    Settings(RealFiles(), path).remember_port(4712)
    assert Settings(RealFiles(), path).dashboard_port == 4711
    assert path.stat().st_mode & 0o777 == 0o600


def test_unknown_keys_survive_a_write(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text('{"theme": {"dark": true}, "paired": [1, 2]}')
    Settings(RealFiles(), path).remember_port(4711)
    assert json.loads(path.read_text()) == {"theme": {"dark": True}, "paired": [1, 2], "dashboard_port": 4711}


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[1]", b"null", b"\xff\xfe", b'"text"', b"[" * 100_000, b"{}" + b" " * (1 << 20)],
    ids=["empty", "cut", "a list", "null", "not UTF-8", "a string", "too deep", "too large"],
)
def test_a_file_that_cannot_be_read_is_reported_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "settings.json"
    path.write_bytes(content)
    settings = Settings(RealFiles(), path)
    assert settings.problem is not None
    assert "settings.json" in settings.problem
    settings.remember_port(4711)
    assert path.read_bytes() == content


@pytest.mark.parametrize("port", [0, -1, 65536, "4711", None, 1.5, [4711], True])
def test_a_port_that_is_none_is_ignored(tmp_path: Path, port: object) -> None:
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"dashboard_port": port}))
    assert Settings(RealFiles(), path).dashboard_port is None


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text('{"dashboard_port": 4711}')
    (tmp_path / "settings.json").symlink_to(tmp_path / "elsewhere")
    settings = Settings(RealFiles(), tmp_path / "settings.json")
    assert settings.dashboard_port is None
    assert settings.problem is not None


def test_what_is_put_is_there_at_the_next_start_and_none_forgets_it(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    settings = Settings(RealFiles(), path)
    settings.put("rules", ["a", {"b": 1}])
    settings.put("other", True)
    assert Settings(RealFiles(), path).get("rules") == ["a", {"b": 1}]
    settings.put("rules", None)
    settings.put("never there", None)
    assert Settings(RealFiles(), path).get("rules") is None
    assert json.loads(path.read_text()) == {"other": True}


def test_what_cannot_be_written_is_not_kept_either(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text("{")
    settings = Settings(RealFiles(), path)
    with pytest.raises(OSError, match=r"settings\.json"):
        settings.put("rules", ["a"])
    assert settings.get("rules") is None
    assert path.read_text() == "{"
    gone = Settings(RealFiles(), tmp_path / "nowhere" / "settings.json")
    with pytest.raises(FileNotFoundError):
        gone.put("rules", ["a"])
    assert gone.get("rules") is None
