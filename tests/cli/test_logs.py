"""The hub's own log, readable, from its end, and across rotations."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosschat.cli import logs as logs_module
from crosschat.cli.logs import last_lines
from tests.cli.test_text import is_visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from click.testing import Result

    from crosschat.paths import Home

LINE = {"event": "serving", "level": "info", "timestamp": "2026-01-02T03:04:05.678901Z", "pid": 7, "why": "asked to"}


def write(home: Home, *lines: object) -> None:
    home.logs.mkdir(parents=True, exist_ok=True)
    with (home.logs / "hub.jsonl").open("a") as log:
        log.writelines(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)


@given(
    lines=st.lists(st.binary(max_size=20).filter(lambda line: b"\n" not in line), max_size=30),
    rest=st.sampled_from([b"", b"half"]),
    count=st.integers(0, 40),
    block=st.integers(1, 64),
)
def test_the_last_lines_are_those_of_the_whole_file(lines: list[bytes], rest: bytes, count: int, block: int) -> None:
    log = io.BytesIO(b"".join(line + b"\n" for line in lines) + rest)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logs_module, "BLOCK_BYTES", block)
        assert last_lines(log, count) == (lines[-count:] if count else [])
    assert log.read() == rest


def test_lines_are_shown_readable_and_as_json(run: Callable[..., Result], home: Home) -> None:
    write(
        home, {**LINE, "event": "old"}, LINE, {**LINE, "level": "error", "exception": "Traceback\n  boom"}, "half a li"
    )
    shown = run("logs", "-n", "2")
    assert shown.stdout == (
        "2026-01-02T03:04:05.678 info    serving pid=7 why=asked to\n"
        "2026-01-02T03:04:05.678 error   serving pid=7 why=asked to\n    Traceback\n      boom\n"
    )
    assert json.loads(run("logs", "--json").stdout.splitlines()[1]) == LINE


def test_no_line_of_the_log_acts_on_the_terminal(run: Callable[..., Result], home: Home) -> None:
    write(home, {**LINE, "event": "\x1b[2J", "error": "\x9b\u202e", "list": ["\x7f"]}, "\x1b[31mnot JSON\x07\n")
    for arguments in ([], ["--json"]):
        shown = run("logs", *arguments).stdout
        assert shown
        assert all(character == "\n" or is_visible(character) for character in shown)


def test_without_a_log_it_says_so(run: Callable[..., Result], home: Home) -> None:
    shown = run("logs")
    assert shown.exit_code == 1
    assert str(home.logs / "hub.jsonl") in shown.stderr


def test_following_goes_on_after_a_rotation_and_waits_for_whole_lines(
    run: Callable[..., Result], home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = home.logs / "hub.jsonl"

    def rotate() -> None:
        write(home, {**LINE, "event": "three"})
        path.rename(path.with_suffix(".1"))
        write(home, {**LINE, "event": "four"})

    steps: Iterator[Callable[[], None]] = iter([
        lambda: write(home, json.dumps({**LINE, "event": "two"})[:9]),
        lambda: write(home, json.dumps({**LINE, "event": "two"})[9:] + "\n"),
        rotate,
        lambda: write(home, {**LINE, "event": "five"}),
    ])  # fmt: skip

    def next_step(_: float) -> None:
        step = next(steps, None)
        if step is None:
            raise KeyboardInterrupt
        step()

    monkeypatch.setattr("crosschat.cli.logs.time.sleep", next_step)
    write(home, {**LINE, "event": "one"})
    shown = run("logs", "-f", "--json")
    events = [json.loads(line)["event"] for line in shown.stdout.splitlines()]
    assert events == ["one", "two", "three", "four", "five"]
