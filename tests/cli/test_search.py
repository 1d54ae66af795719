"""`crosschat search`: what is asked of the hub, what is shown, and times as people write them."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from crosschat import wire
from crosschat.cli.times import parse_time
from tests.cli.fake_hub import FakeHub, hub_status
from tests.cli.test_commands import item

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from click.testing import Result

    from crosschat.paths import Home

    Run = Callable[..., Result]

NOW = datetime(2026, 5, 4, 12, 30, tzinfo=timezone(timedelta(hours=2)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-05-03", "2026-05-02T22:00:00.000Z"),
        ("2026-05-03 15:30", "2026-05-03T13:30:00.000Z"),
        ("2026-05-03T15:30:00Z", "2026-05-03T15:30:00.000Z"),
        ("today", "2026-05-03T22:00:00.000Z"),
        (" Yesterday ", "2026-05-02T22:00:00.000Z"),
        ("90m", "2026-05-04T09:00:00.000Z"),
        ("2 d", "2026-05-02T10:30:00.000Z"),
        ("1w", "2026-04-27T10:30:00.000Z"),
    ],
)
def test_a_time_is_read_in_the_zone_of_the_reader(text: str, expected: str) -> None:
    assert parse_time(text, NOW) == expected


@pytest.mark.parametrize("text", ["", "soon", "3", "d", "2026-13-01", "-3d", "99999999999d", "0001-01-01T00:00+14:00"])
def test_what_is_no_time_is_refused(run: Run, home: Home, text: str) -> None:
    shown = run("search", "x", "--since", text)
    assert shown.exit_code == 2
    assert "is no time" in shown.stderr


def test_words_and_limits_are_passed_on(run: Run, home: Home) -> None:
    def script(frame: wire.ControlFrame) -> Iterable[wire.HubFrame]:
        yield wire.Page(id=frame.id, items=(item(7, "found it", offset=40, more=90),), earlier=True, behind=3)

    with FakeHub(home, script) as hub:
        shown = run(
            "search", "deploy", "two words", '"as is"', "--from", "ada", "--with", "ben", "--badge", "task:open",
            "--since", "2026-01-01T00:00:00Z", "--until", "2026-02-01T00:00:00Z", "--before", "m9", "--limit", "5",
        )  # fmt: skip
    (asked,) = hub.asked
    assert isinstance(asked, wire.Search)
    assert asked == wire.Search(
        id=asked.id, query='deploy "two words" "as is"', sender="ada", party="ben", badge="task:open",
        since="2026-01-01T00:00:00.000Z", until="2026-02-01T00:00:00.000Z", before="m9", limit=5,
    )  # fmt: skip
    assert shown.exit_code == 0
    assert "2026-01-02 03:04:05 ada  m7\n    …found it…\n" in shown.stdout
    assert "--before m7" in shown.stderr
    assert "newest 3 records" in shown.stderr


def test_a_result_of_a_task_is_shown_below_its_message(run: Run, home: Home) -> None:
    task = wire.TaskView(status="completed", owner="ada", result="seven furlongs")

    def script(frame: wire.ControlFrame) -> Iterable[wire.HubFrame]:
        yield wire.Page(id=frame.id, items=(item(7, "measure", task=task),))

    with FakeHub(home, script):
        shown = run("search", "furlongs")
    assert shown.stdout.endswith("    measure\n    completed: seven furlongs\n")


def test_nothing_found_is_status_1_and_json_says_all(run: Run, home: Home) -> None:
    def script(frame: wire.ControlFrame) -> Iterable[wire.HubFrame]:
        if isinstance(frame, wire.Search):
            yield wire.Page(id=frame.id)
        else:
            yield hub_status(frame, home)

    with FakeHub(home, script):
        shown = run("search", "x")
        assert (shown.exit_code, shown.stdout, shown.stderr) == (1, "", "nothing was found\n")
        shown = run("search", "--from", "ada", "--json")
        assert shown.exit_code == 1
        assert json.loads(shown.stdout) == {"messages": [], "more": False, "behind": 0}


def test_a_search_for_nothing_is_a_usage_error(run: Run, home: Home) -> None:
    shown = run("search")
    assert shown.exit_code == 2
    assert "say what to search for" in shown.stderr
