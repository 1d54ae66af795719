"""The activity log over restarts: what was written is read again, whatever else is in the file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from crosschat import pagewire
from crosschat.hub.events import KEPT, EventLog
from tests.hub.rig import NOW_MS, silent_log

if TYPE_CHECKING:
    from pathlib import Path


def opened(path: Path) -> EventLog:
    log = EventLog(path / "events.jsonl", lambda: NOW_MS, silent_log())
    log.read()
    return log


def texts(log: EventLog) -> list[str]:
    return [event.text for event in log.page(pagewire.Events(id="e")).events]


def test_what_happened_is_there_for_the_next_hub_and_numbered_on(tmp_path: Path) -> None:
    for number in range(3):
        opened(tmp_path).add("joined", f"agent {number}", agent="a", name="ada")
    again = opened(tmp_path)
    assert texts(again) == ["agent 0", "agent 1", "agent 2"]
    assert [event.seq for event in again.page(pagewire.Events(id="e")).events] == [1, 2, 3]


@pytest.mark.parametrize("left", range(1, 12, 5))
def test_a_line_that_was_cut_short_takes_no_other_with_it(tmp_path: Path, left: int) -> None:
    path = tmp_path / "events.jsonl"
    for text in ("one", "two"):
        opened(tmp_path).add("joined", text)
    path.write_bytes(path.read_bytes()[:-left])  # a crash in the middle of the second
    opened(tmp_path).add("joined", "three")
    opened(tmp_path).add("joined", "four")
    kept = ["one", "two"] if left == 1 else ["one"]  # then only its end is missing
    assert texts(opened(tmp_path)) == [*kept, "three", "four"]


def test_a_write_that_failed_halfway_takes_no_other_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = opened(tmp_path)
    log.add("joined", "one")

    def half(event: pagewire.EventView) -> bytes:
        with (tmp_path / "events.jsonl").open("ab") as file:
            file.write(b'{"seq":2,"ts":')
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("crosschat.hub.events._line", half)
        log.add("joined", "two")
    log.add("joined", "three")
    assert texts(log) == ["one", "two", "three"]
    assert texts(opened(tmp_path)) == ["one", "three"]


@pytest.mark.parametrize("line", ["", "{}", "[]", "x", '{"seq":"5"}', '{"seq":5,"ts":"t","kind":"none","text":"x"}'])
def test_what_is_no_event_is_left_out(tmp_path: Path, line: str) -> None:
    opened(tmp_path).add("joined", "one")
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write(f"{line}\n")
    opened(tmp_path).add("joined", "two")
    assert texts(opened(tmp_path)) == ["one", "two"]


def test_the_file_does_not_grow_without_end(tmp_path: Path) -> None:
    log = opened(tmp_path)
    for number in range(2 * KEPT + 10):
        log.add("joined", str(number))
    lines = (tmp_path / "events.jsonl").read_bytes().splitlines()
    assert len(lines) < 2 * KEPT
    assert json.loads(lines[-1])["text"] == str(2 * KEPT + 9)
    assert len(opened(tmp_path).page(pagewire.Events(id="e", limit=5)).events) == 5
