"""`crosschat dashboard`: what it asks, prints and opens, and that it vouches for nobody."""

from __future__ import annotations

import getpass
import json
from typing import TYPE_CHECKING

import attrs
import pytest

from crosschat import wire
from crosschat.cli import dashboard as command
from crosschat.cli.dashboard import has_desktop, tunnel_to
from crosschat.errors import Code
from tests.cli.fake_hub import FakeHub, hub_status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from click.testing import Result

    from crosschat.paths import Home

    Run = Callable[..., Result]

PAGE = "http://127.0.0.1:8123/pair"
KEY = wire.KeyView(id="3f9a" + "0" * 28, label="Firefox", paired_at="2026-01-02T03:04:05.678Z")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was opened in a browser; there is a desktop."""
    found: list[str] = []

    def open_page(page: str) -> bool:
        found.append(page)
        return True

    monkeypatch.setattr(command, "_open", open_page)
    monkeypatch.setattr(command, "has_desktop", lambda *_: True)
    return found


def answers(
    home: Home, *, first: bool = True, keys: tuple[wire.KeyView, ...] = (KEY,)
) -> Callable[[wire.ControlFrame], Iterable[wire.HubFrame]]:
    def script(frame: wire.ControlFrame) -> Iterable[wire.HubFrame]:
        match frame:
            case wire.Inspect():
                yield hub_status(frame, home)
            case wire.NewCode():
                yield wire.PairingCode(id=frame.id, code="ABCD-2345", page=PAGE, seconds=60, first=first)
            case wire.Keys():
                yield wire.KeyList(id=frame.id, keys=keys)
            case _:
                yield wire.Done(id=frame.id)

    return script


def test_it_prints_a_code_and_opens_the_page_without_it(run: Run, home: Home, opened: list[str]) -> None:
    with FakeHub(home, answers(home)):
        done = run("dashboard")
    assert done.exit_code == 0
    assert "ABCD-2345" in done.stdout
    assert PAGE in done.stdout
    assert "has to accept" not in done.stdout
    assert opened == [PAGE]


def test_a_further_browser_is_told_that_it_has_to_be_accepted(run: Run, home: Home, opened: list[str]) -> None:
    with FakeHub(home, answers(home, first=False)):
        assert "has to accept" in run("dashboard").stdout


def test_for_scripts_it_prints_json_and_opens_nothing_when_told_so(run: Run, home: Home, opened: list[str]) -> None:
    with FakeHub(home, answers(home)):
        done = run("dashboard", "--no-open", "--json")
    assert json.loads(done.stdout) == {
        "page": PAGE, "code": "ABCD-2345", "seconds": 60, "first": True, "opened": False, "tunnel": None,
    }  # fmt: skip
    assert opened == []


def test_without_a_desktop_it_says_how_to_reach_the_page(
    run: Run, home: Home, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "has_desktop", has_desktop)
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.9 51000 10.0.0.5 22")
    with FakeHub(home, answers(home)):
        done = run("dashboard")
    assert f"ssh -L 8123:127.0.0.1:8123 {getpass.getuser()}@10.0.0.5" in done.stdout
    assert opened == []


@pytest.mark.parametrize(
    ("environment", "platform", "expected"),
    [
        ({}, "linux", False),
        ({"DISPLAY": ":0"}, "linux", True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        ({"DISPLAY": ""}, "linux", False),
        ({}, "darwin", True),
        ({"SSH_CONNECTION": "a 1 b 2"}, "darwin", False),
    ],
)
def test_a_desktop_is_told_from_none(environment: dict[str, str], platform: str, expected: bool) -> None:
    assert has_desktop(environment, platform) is expected


def test_without_an_ssh_connection_the_tunnel_names_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "box")
    assert tunnel_to(PAGE, {}).endswith("@box")


def test_a_refusal_of_the_hub_is_shown_and_nothing_is_opened(run: Run, home: Home, opened: list[str]) -> None:
    def script(frame: wire.ControlFrame) -> Iterable[wire.HubFrame]:
        if isinstance(frame, wire.Inspect):
            return [hub_status(frame, home)]
        return [wire.Error(id=frame.id, code=Code.FORBIDDEN, message="inside a session")]

    with FakeHub(home, script):
        done = run("dashboard")
    assert done.exit_code == 1
    assert "inside a session" in done.stderr
    assert opened == []


def test_a_page_that_is_off_is_no_place_to_pair_with(run: Run, home: Home, opened: list[str]) -> None:
    with FakeHub(home, lambda frame: [hub_status(frame, home, dashboard=None, dashboard_problem="port taken")]) as hub:
        done = run("dashboard")
    assert done.exit_code == 1
    assert "port taken" in done.stderr
    assert not any(isinstance(frame, wire.NewCode) for frame in hub.asked)


def test_paired_browsers_are_listed(run: Run, home: Home) -> None:
    with FakeHub(home, answers(home)):
        done = run("dashboard", "--list")
        assert "Firefox" in done.stdout
        assert "3f9a0000" in done.stdout
        (listed,) = json.loads(run("dashboard", "--list", "--json").stdout)["browsers"]
    assert (listed["id"], listed["label"]) == (KEY.id, "Firefox")


def test_a_browser_that_is_listed_and_does_not_count_is_an_alarm_with_its_remedy(run: Run, home: Home) -> None:
    planted = attrs.evolve(KEY, id="beef" + "0" * 28, label="Chromium", vouched=False)
    with FakeHub(home, answers(home, keys=(KEY, planted))):
        shown = run("dashboard", "--list").stdout
        told = json.loads(run("dashboard", "--list", "--json").stdout)["browsers"]
    assert "does not count" in shown
    (alarm,) = (line for line in shown.splitlines() if line.startswith("alarm"))
    assert "crosschat dashboard --revoke beef0000" in alarm
    assert [one["vouched"] for one in told] == [True, False]


def test_without_any_the_list_says_how_to_pair_one(run: Run, home: Home) -> None:
    with FakeHub(home, lambda frame: [wire.KeyList(id=frame.id)]):
        assert "`crosschat dashboard` pairs one" in run("dashboard", "--list").stdout


def test_a_pairing_is_ended(run: Run, home: Home) -> None:
    with FakeHub(home, answers(home)) as hub:
        done = run("dashboard", "--revoke", "3f9a", "--json")
    assert json.loads(done.stdout) == {"revoked": "3f9a"}
    (asked,) = hub.asked
    assert isinstance(asked, wire.RevokeKey)
    assert asked.key == "3f9a"


def test_listing_and_revoking_at_once_is_a_mistake(run: Run, home: Home) -> None:
    assert run("dashboard", "--list", "--revoke", "3f9a").exit_code == 2
