"""Starting a hub: with a small program that stands in for it, and keeps its side of the bargain or does not."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from crosschat import lock
from crosschat.bridge import launch
from crosschat.bridge.launch import HubUnavailable, ensure_hub, hub_command, hub_environment
from crosschat.paths import Home

if TYPE_CHECKING:
    from collections.abc import Iterator

STAND_IN = """
import json, os, socket, sys, time
kind, home, lock_fd, ready_fd = sys.argv[1], sys.argv[2], int(sys.argv[4]), int(sys.argv[6])
with open(home + "/started", "a") as file:
    file.write(f"{os.getpid()} {os.getppid()} {os.getsid(0)} {os.getcwd()} {' '.join(os.environ)}\\n")
if kind == "refuses":
    os.write(ready_fd, json.dumps({"error": "the directory is of a newer version: upgrade"}).encode() + b"\\n")
    sys.exit(1)
if kind == "dies":
    sys.exit(1)
if kind == "hangs":
    time.sleep(60)
time.sleep(0.1)
door = socket.socket(socket.AF_UNIX)
door.bind(home + "/run/control.sock")
door.listen()
os.write(ready_fd, json.dumps({"pid": os.getpid()}).encode() + b"\\n")
os.close(ready_fd)
time.sleep(60)
"""


@pytest.fixture
def home() -> Iterator[Home]:
    with tempfile.TemporaryDirectory(prefix="cc-") as place:
        root = Path(place).resolve() / "data"
        yield Home(root)
        for pid, *_ in started(Home(root)):
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


def started(home: Home) -> list[list[str]]:
    try:
        return [line.split() for line in (home.root / "started").read_text().splitlines()]
    except FileNotFoundError:
        return []


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, home: Home, tmp_path: Path) -> StandIn:
    return StandIn(monkeypatch, tmp_path / "stand_in.py")


class StandIn:
    """Makes the launcher start a program of this kind instead of the hub."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, program: Path) -> None:
        self._monkeypatch, self._program = monkeypatch, program
        program.write_text(STAND_IN)

    def be(self, kind: str) -> None:
        def command(home: Home, **_: object) -> list[str]:
            home.run.mkdir(exist_ok=True)
            return [sys.executable, "-I", str(self._program), kind, str(home.root)]

        self._monkeypatch.setattr(launch, "hub_command", command)


pytestmark = pytest.mark.process


def test_a_hub_is_started_detached_once_and_found_afterwards(home: Home, stand_in: StandIn) -> None:
    stand_in.be("serves")
    ensure_hub(home)
    ensure_hub(home)
    ((pid, parent, session, cwd, *_),) = started(home)
    assert parent != str(os.getpid())
    assert session not in (pid, str(os.getsid(0)))
    assert cwd == "/"
    assert (home.root.stat().st_mode & 0o777) == 0o700


def test_the_lock_is_the_hubs_from_the_start_and_free_when_it_dies(home: Home, stand_in: StandIn) -> None:
    stand_in.be("serves")
    ensure_hub(home)
    assert lock.try_hold(home.hub_lock) is None
    os.kill(int(started(home)[0][0]), signal.SIGKILL)
    give_up_at = time.monotonic() + 5
    while (held := lock.try_hold(home.hub_lock)) is None:
        assert time.monotonic() < give_up_at
    os.close(held)


def test_of_many_starters_one_starts_it_and_all_find_it(home: Home, stand_in: StandIn) -> None:
    stand_in.be("serves")
    failures: list[BaseException] = []

    def start() -> None:
        try:
            ensure_hub(home)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=start) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not failures
    assert len(started(home)) == 1


def test_a_hub_that_refuses_is_reported_in_its_own_words(home: Home, stand_in: StandIn) -> None:
    stand_in.be("refuses")
    with pytest.raises(HubUnavailable, match="of a newer version: upgrade"):
        ensure_hub(home)


def test_the_directory_of_another_product_is_refused_by_the_hub_and_left_as_it_was(home: Home) -> None:
    (home.root / "messages").mkdir(parents=True)
    (home.root / "messages" / "general.jsonl").write_text('{"id":"1"}\n')
    with pytest.raises(HubUnavailable, match="messages of another product"):
        ensure_hub(home)
    assert sorted(str(path.relative_to(home.root)) for path in home.root.rglob("*")) == [
        "messages",
        "messages/general.jsonl",
    ]


def test_a_hub_that_dies_is_reported_with_how_to_look(home: Home, stand_in: StandIn) -> None:
    stand_in.be("dies")
    with pytest.raises(HubUnavailable, match=r"ended before it was ready.*hub\.jsonl.*terminal"):
        ensure_hub(home)


def test_a_hub_that_is_slow_is_not_waited_for_for_ever(home: Home, stand_in: StandIn) -> None:
    stand_in.be("hangs")
    with pytest.raises(HubUnavailable, match="not ready yet"):
        ensure_hub(home, wait_s=0.5)
    with pytest.raises(HubUnavailable, match="does not answer"):
        ensure_hub(home, wait_s=0.2)


def test_a_running_hub_is_found_even_when_it_accepts_nobody(home: Home) -> None:
    home.run.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(os.fspath(home.control_socket))
        door.listen(0)
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(os.fspath(home.control_socket))
        ensure_hub(home)
        for one in waiting:
            one.close()


def test_a_left_over_socket_is_no_hub(home: Home, stand_in: StandIn) -> None:
    home.run.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(os.fspath(home.control_socket))
    home.hub_lock.touch()
    stand_in.be("refuses")
    with pytest.raises(HubUnavailable, match="newer"):
        ensure_hub(home)


def test_a_data_directory_that_cannot_be_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HubUnavailable, match=r"file.*CROSSCHAT_HOME"):
        ensure_hub(Home(tmp_path / "file"))


def test_the_hubs_environment_has_nothing_of_the_session() -> None:
    environment = {
        "PATH": "/bin",
        "CLAUDECODE": "1",
        "CLAUDE_CODE_MESSAGING_TOKEN": "secret",
        "CLAUDE_CONFIG_DIR": "/c",
        "CROSSCHAT_NAME": "me",
        "CROSSCHAT_CWD": "/w",
        "CROSSCHAT_HOME": "/h",
    }
    assert hub_environment(environment) == {
        "PATH": "/bin",
        "CROSSCHAT_HOME": "/h",
        "CLAUDE_CONFIG_DIR": "/c",
    }


def test_the_options_are_passed_on() -> None:
    home = Home(Path("/data"), Path("/run/cc"))
    command = hub_command(home, port=5, idle_stop_s=1.5, stay=True)
    assert " ".join(command[1:]) == (
        "-m crosschat.hub --home /data --run-dir /run/cc --port 5 --idle-stop-s 1.5 --stay"
    )


def test_starting_needs_neither_trio_nor_the_libraries_of_the_hub() -> None:
    program = "import sys, crosschat.bridge.launch; print(*sys.modules)"
    command = [sys.executable, "-c", program]
    loaded = subprocess.run(command, capture_output=True, check=True, text=True).stdout.split()
    assert not {"trio", "mcp", "cattrs", "anyio", "trio_websocket"} & set(loaded)
