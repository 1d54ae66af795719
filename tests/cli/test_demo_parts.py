"""The demo can fail: its checks find each kind of loss, and a failed step is named and ends it with status 1."""

from __future__ import annotations

import json
import tempfile
from typing import TYPE_CHECKING, cast

import pytest
import trio

from crosschat.cli.demo_crash import Sender, _compare
from crosschat.cli.demo_report import DemoFailed, Report, percentile
from crosschat.cli.demo_story import Story

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result

    from crosschat.cli.demo_session import Member
    from crosschat.model import JsonObject


class NamedAda:
    name = "ada"


def history(*numbers: int) -> list[JsonObject]:
    return [{"messageId": f"m{number}", "fromName": "ada", "content": f"ada counts {number}"} for number in numbers]


def sender(acked: list[int], unsure: set[int] | None = None) -> Sender:
    member = cast("Member", NamedAda())
    return Sender(member, acked={number: f"m{number}" for number in acked}, unsure=unsure or set())


def test_a_history_with_everything_acknowledged_is_accepted() -> None:
    noise: JsonObject = {"messageId": "m9", "fromName": "ben", "content": "ada counts 2"}
    _compare(sender([1, 3], {2, 4}), "ben", [*history(1, 2), noise, *history(3)])


@pytest.mark.parametrize(
    ("numbers", "problem"),
    [
        ([1, 2], "lost: 3"),
        ([1, 2, 2, 3], "stored twice: 2"),
        ([1, 3, 2], "out of order"),
        ([1, 2, 3, 4], "never sent: 4"),
        ([1, 2, 3, 9, 9], "stored twice: 9"),
    ],
)
def test_a_history_that_breaks_the_promise_is_found(numbers: list[int], problem: str) -> None:
    with pytest.raises(DemoFailed, match=problem):
        _compare(sender([1, 2, 3], {9}), "ben", history(*numbers))


def test_an_acknowledged_message_under_another_id_is_lost() -> None:
    renamed = [{**message, "messageId": "other"} for message in history(1)]
    with pytest.raises(DemoFailed, match="lost: 1"):
        _compare(sender([1]), "ben", renamed)


def play_instead(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception) -> None:
    """The first step raises `error` out of two task groups; the demo's directory is in `tmp_path`."""

    async def play(story: Story) -> None:
        with story._report.step("The first step"):
            raise ExceptionGroup("outer", [ExceptionGroup("inner", [error])])

    monkeypatch.setattr(Story, "play", play)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_a_failed_step_is_named_and_ends_the_demo_with_status_1(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    play_instead(monkeypatch, tmp_path, DemoFailed("ada does not see ben"))
    shown = run("demo")
    assert shown.exit_code == 1
    assert "failed: The first step: ada does not see ben" in shown.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_failed_step_is_in_the_json(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    play_instead(monkeypatch, tmp_path, KeyError("messages"))
    shown = run("demo", "--json", "--keep")
    document = json.loads(shown.stdout)
    assert shown.exit_code == 1
    assert document["ok"] is False
    assert document["steps"][0]["error"] == "KeyError: 'messages'"
    assert [str(path) for path in tmp_path.iterdir()] == [document["kept"]]


def test_a_demo_that_takes_too_long_fails_in_the_step_it_was_in(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def play(story: Story) -> None:
        with story._report.step("The endless step"):
            await trio.sleep_forever()

    monkeypatch.setattr(Story, "play", play)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("crosschat.cli.demo.DEMO_DEADLINE_S", 0.01)
    shown = run("demo")
    assert shown.exit_code == 1
    assert "failed: The endless step: it was not done" in shown.stdout
    assert list(tmp_path.iterdir()) == []


def test_nothing_shown_is_no_success() -> None:
    assert not Report(quiet=True).succeeded


@pytest.mark.parametrize(("percent", "expected"), [(0, 1), (50, 50), (99, 99), (100, 100)])
def test_percentiles_are_values_that_occurred(percent: float, expected: float) -> None:
    assert percentile([float(value) for value in range(100, 0, -1)], percent) == expected
    assert percentile([7.0], percent) == 7.0
