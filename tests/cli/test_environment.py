"""Each environment variable, as far as the command line shows its effect; a bad value names its variable."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, get_args

import pytest

from crosschat.bridge import launch
from crosschat.model import WakeMode
from crosschat.paths import Home
from tests.cli.fake_hub import FakeHub, hub_status

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result

    Run = Callable[..., Result]


def test_crosschat_home_chooses_the_data_directory_and_the_option_overrides_it(
    run: Run, home: Home, tmp_path: Path
) -> None:
    assert json.loads(run("status", "--json").stdout)["home"] == str(home.root)
    other = tmp_path.resolve() / "other"
    assert json.loads(run("--home", str(other), "status", "--json").stdout)["home"] == str(other)


def test_a_relative_home_option_means_the_current_directory(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert json.loads(run("--home", "data", "status", "--json").stdout)["home"] == str(tmp_path.resolve() / "data")


def test_crosschat_hub_url_says_where_the_sockets_are(run: Run, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = Home(home.root, run_override=home.root.parent / "sockets")
    monkeypatch.setenv("CROSSCHAT_HUB_URL", f"unix:{elsewhere.run}")
    with FakeHub(elsewhere, lambda frame: [hub_status(frame, home)]):
        assert run("status").exit_code == 0
    monkeypatch.delenv("CROSSCHAT_HUB_URL")
    assert run("status").exit_code == 3


@pytest.mark.usefixtures("home")
def test_an_http_hub_url_is_ignored_and_status_says_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSCHAT_HUB_URL", "http://127.0.0.1:3000")
    shown = run("status")
    assert shown.exit_code == 3
    assert "CROSSCHAT_HUB_URL" in shown.stdout


@pytest.mark.parametrize(("options", "port"), [([], 8123), (["--port", "9000"], 9000)])
def test_crosschat_dashboard_port_places_the_page_of_a_new_hub(
    run: Run, home: Home, monkeypatch: pytest.MonkeyPatch, options: list[str], port: int
) -> None:
    monkeypatch.setenv("CROSSCHAT_DASHBOARD_PORT", "8123")
    started: list[object] = []
    monkeypatch.setattr(launch, "ensure_hub", lambda _, **chosen: started.append(chosen["port"]))
    with FakeHub(home, lambda frame: [hub_status(frame, home)]):
        assert run("start", *options).exit_code == 0
    assert started == [port]


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("value", get_args(WakeMode))
def test_crosschat_wake_takes_each_of_its_values(run: Run, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("CROSSCHAT_WAKE", value)
    assert run("status").exit_code == 3


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CROSSCHAT_HOME", "relative/path"),
        ("CROSSCHAT_HUB_URL", "ftp://somewhere"),
        ("CROSSCHAT_HUB_URL", "unix:relative"),
        ("CROSSCHAT_DASHBOARD_PORT", "65536"),
        ("CROSSCHAT_DASHBOARD_PORT", "eighty"),
        ("CROSSCHAT_NAME", "no spaces"),
        ("CROSSCHAT_NAME", "here"),
        ("CROSSCHAT_CWD", "/there/is/nothing/here"),
        ("CROSSCHAT_WAKE", "loudly"),
    ],
)
@pytest.mark.parametrize("command", [["status"], ["start"], ["peers"], ["send", "x"], ["logs"], ["stop"], ["tasks"]])
def test_a_value_that_cannot_be_used_names_its_variable_and_ends_with_status_2(
    run: Run, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, command: list[str]
) -> None:
    monkeypatch.setenv(variable, value)
    shown = run(*command)
    assert shown.exit_code == 2
    assert variable in shown.stderr
    assert value in shown.stderr
    assert shown.stdout == ""
