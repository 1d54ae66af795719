"""A turn that was broken off is noticed by the client's own note of the session, and only by one that is clear."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import trio

from crosschat.bridge.interrupts import LOOK_S, is_idle, note_of, watch_for_idle
from crosschat.processes import Process

if TYPE_CHECKING:
    from pathlib import Path

    from trio.testing import MockClock

CLAUDE = Process(pid=4711, start=99, parent=1, name="claude")
IDLE = {"pid": 4711, "procStart": "99", "status": "idle"}


def test_the_note_is_in_the_clients_directory(tmp_path: Path) -> None:
    assert note_of(CLAUDE, {"HOME": "/home/me"}).as_posix() == "/home/me/.claude/sessions/4711.json"
    assert note_of(CLAUDE, {"HOME": "/x", "CLAUDE_CONFIG_DIR": "/etc/c"}).as_posix() == "/etc/c/sessions/4711.json"


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"[]",
        b"{",
        b"\xff",
        b"[" * 100_000,
        json.dumps(IDLE | {"status": "busy"}).encode(),
        json.dumps(IDLE | {"procStart": "98"}).encode(),  # the pid was used again
        json.dumps(IDLE | {"status": 1}).encode(),
    ],
)
def test_anything_else_says_nothing(tmp_path: Path, content: bytes | None) -> None:
    note = tmp_path / "4711.json"
    if content is not None:
        note.write_bytes(content)
    assert not is_idle(note, CLAUDE)


async def test_it_is_told_once_it_was_seen_twice_and_only_while_the_session_counts_as_working(
    autojump_clock: MockClock, nursery: trio.Nursery, tmp_path: Path
) -> None:
    note = tmp_path / "4711.json"
    working, told = False, list[float]()

    def tell() -> None:
        nonlocal working
        told.append(trio.current_time())
        working = False

    nursery.start_soon(watch_for_idle, note, CLAUDE, lambda: working, tell)
    note.write_text(json.dumps(IDLE))
    await trio.sleep(9.9 * LOOK_S)
    assert told == []
    working = True
    await trio.sleep(LOOK_S)
    assert told == []  # the turn may just begin
    await trio.sleep(10 * LOOK_S)
    assert len(told) == 1
    note.write_text(json.dumps(IDLE | {"status": "busy"}))
    working = True
    await trio.sleep(10 * LOOK_S)
    assert len(told) == 1
