"""The environment: a good value is used, a bad one is an error that names its variable, and all clients agree."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from crosschat.errors import ConfigurationError
from crosschat.paths import SOCKET_PATH_BYTES, Home, read_environment, resource, run_directory

VARIABLES = (
    "CROSSCHAT_NAME",
    "CROSSCHAT_CWD",
    "CROSSCHAT_HUB_URL",
    "CROSSCHAT_DASHBOARD_PORT",
    "CROSSCHAT_HOME",
    "CROSSCHAT_WAKE",
)


def refused(variable: str, value: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read_environment({variable: value})
    text = str(caught.value)
    assert variable in text
    assert len(text) < 1000
    return text


def test_without_variables_the_defaults_hold() -> None:
    found = read_environment({})
    assert found.home.root == Path(os.path.realpath(Path.home())) / ".crosschat"
    assert (found.name, found.cwd, found.dashboard_port, found.wake, found.ignored) == (None, None, None, "auto", ())


@pytest.mark.parametrize("variable", VARIABLES)
def test_an_empty_variable_counts_as_not_set(variable: str) -> None:
    assert read_environment({variable: ""}) == read_environment({})


def test_variables_of_others_mean_nothing() -> None:
    assert read_environment({"CROSSCHAT_NAME_": "x", "NAME": "y", "crosschat_name": "z"}) == read_environment({})


# --- CROSSCHAT_NAME


@pytest.mark.parametrize("name", ["api", "A", "7", "a.b_c-d", "x" * 64])
def test_crosschat_name_is_the_agents_name(name: str) -> None:
    assert read_environment({"CROSSCHAT_NAME": name}).name == name


@pytest.mark.parametrize(
    "name", [" ", "a b", "-a", ".a", "_a", "a\n", "é", "a@b", "x" * 65, "x" * 5000, "here", "USER", "System", "cli"]
)
def test_a_bad_crosschat_name_is_named(name: str) -> None:
    refused("CROSSCHAT_NAME", name)


# --- CROSSCHAT_CWD


def test_crosschat_cwd_is_the_agents_directory(tmp_path: Path) -> None:
    assert read_environment({"CROSSCHAT_CWD": str(tmp_path)}).cwd == tmp_path


@pytest.mark.parametrize("value", ["src", "./src", "~", "/no/such/directory", "/dev/null", "/" + "x" * 300])
def test_a_bad_crosschat_cwd_is_named(value: str) -> None:
    refused("CROSSCHAT_CWD", value)


# --- CROSSCHAT_HUB_URL


def test_crosschat_hub_url_names_the_run_directory() -> None:
    home = read_environment({"CROSSCHAT_HUB_URL": "unix:/run/crosschat"}).home
    assert home.run == Path("/run/crosschat")
    assert home.agents_socket == Path("/run/crosschat/agents.sock")
    assert home.control_socket == Path("/run/crosschat/control.sock")
    assert home.root == read_environment({}).home.root


@pytest.mark.parametrize("url", ["http://localhost:3000", "https://x", "ws://127.0.0.1:1", "wss://x"])
def test_an_address_for_another_product_is_ignored_and_listed(url: str) -> None:
    found = read_environment({"CROSSCHAT_HUB_URL": url})
    assert found.ignored == ("CROSSCHAT_HUB_URL",)
    assert found.home == read_environment({}).home


@pytest.mark.parametrize(
    "url", ["/run/crosschat", "unix:", "unix:run", "unix:~/run", "tcp:1.2.3.4", "localhost:3000", "unix:/" + "x" * 100]
)
def test_a_bad_crosschat_hub_url_is_named(url: str) -> None:
    refused("CROSSCHAT_HUB_URL", url)


# --- CROSSCHAT_DASHBOARD_PORT


@pytest.mark.parametrize(("value", "port"), [("1", 1), ("8080", 8080), ("65535", 65535), ("08080", 8080)])
def test_crosschat_dashboard_port_is_a_port(value: str, port: int) -> None:
    assert read_environment({"CROSSCHAT_DASHBOARD_PORT": value}).dashboard_port == port


@pytest.mark.parametrize("value", ["0", "-1", "65536", "80.0", "0x50", "http", " 80", "٨٠", "²", "9" * 5000])
def test_a_bad_crosschat_dashboard_port_is_named(value: str) -> None:
    refused("CROSSCHAT_DASHBOARD_PORT", value)


# --- CROSSCHAT_HOME


def test_crosschat_home_is_the_data_directory(tmp_path: Path) -> None:
    home = read_environment({"CROSSCHAT_HOME": str(tmp_path / "data")}).home
    assert home.root == tmp_path / "data"
    assert home.hub_lock == tmp_path / "data" / "hub.lock"
    assert home.logs == tmp_path / "data" / "logs"
    assert not home.root.exists()  # nothing is made here


def test_crosschat_home_may_begin_with_the_users_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read_environment({"CROSSCHAT_HOME": "~/data"}).home.root == tmp_path / "data"
    assert read_environment({}).home.root == tmp_path / ".crosschat"


@pytest.mark.parametrize("value", ["data", "./data", "../data", "~nobody-of-that-name/data"])
def test_a_bad_crosschat_home_is_named(value: str) -> None:
    refused("CROSSCHAT_HOME", value)


def test_two_spellings_of_one_directory_are_one_hub(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    spellings = ["real/data", "link/data", "real/../link/data", "real//data/"]
    homes = {read_environment({"CROSSCHAT_HOME": f"{tmp_path}/{spelling}"}).home for spelling in spellings}
    assert homes == {Home(tmp_path / "real" / "data")}


# --- CROSSCHAT_WAKE


@pytest.mark.parametrize("value", ["auto", "inbox", "hooks", "wait", "off"])
def test_crosschat_wake_is_one_of_its_ways(value: str) -> None:
    assert read_environment({"CROSSCHAT_WAKE": value}).wake == value


@pytest.mark.parametrize("value", ["on", "AUTO", "inbox,hooks", "1"])
def test_a_bad_crosschat_wake_is_named_with_the_choice(value: str) -> None:
    assert "inbox" in refused("CROSSCHAT_WAKE", value)


# --- the run directory


def test_the_run_directory_is_in_the_data_directory() -> None:
    assert Home(Path("/home/me/.crosschat")).run == Path("/home/me/.crosschat/run")


@pytest.mark.parametrize("letter", ["x", "é"])
def test_a_long_data_directory_has_a_short_run_directory_that_all_clients_agree_on(
    letter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    longest = SOCKET_PATH_BYTES - len("//run/control.sock")
    fits = Path("/" + letter * (longest // len(letter.encode())))
    assert run_directory(fits) == fits / "run"
    too_long = Path(f"{fits}xx")
    moved = run_directory(too_long)
    assert len(os.fsencode(moved / "control.sock")) <= SOCKET_PATH_BYTES
    assert str(os.getuid()) in moved.name
    monkeypatch.setenv("TMPDIR", "/elsewhere")
    assert run_directory(too_long) == moved
    assert read_environment({"CROSSCHAT_HOME": str(too_long)}).home.run == moved
    assert run_directory(Path(f"{too_long}y")) != moved


def test_shipped_directories_are_found_or_absent() -> None:
    assert resource("no-such-directory") is None
    found = resource("tests")
    assert found is None or stat.S_ISDIR(found.stat().st_mode)
