"""Hubs and clients of different versions: who replaces whom, what it costs, and what is told to whom."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import trio

from crosschat import processes, wire
from crosschat.cli.control import Control, new_id
from crosschat.limits import TOOL_DEADLINE_S
from crosschat.paths import Home
from tests.process.bridges import BridgeProcess, Release, command

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.process]
PROTOCOL = wire.PROTOCOL


@pytest.fixture
def home(place: Path) -> Iterator[Home]:
    found = Home(place / "home")
    yield found
    command(found, "stop", "--force")


def hub(home: Home) -> wire.HubStatus:
    with Control.open(home) as control:
        return control.ask(wire.Inspect(id=new_id()), wire.HubStatus)


def hubs_so_far(home: Home) -> list[str]:
    """The version of each hub that ever served this directory, in order."""
    lines = [json.loads(line) for line in (home.logs / "hub.jsonl").read_text().splitlines()]
    return [line["version"] for line in lines if line["event"] == "serving"]


def test_a_newer_client_replaces_the_hub_once_while_the_older_one_sends_and_nobody_loses_or_notices_anything(
    place: Path, home: Home
) -> None:
    old, new = Release.make(place, "1.0"), Release.make(place, "1.1")
    sent: list[str] = []
    stop = threading.Event()
    with BridgeProcess(home, "old", old) as ada:
        first = hub_pid_after(ada, home)

        def chat() -> None:
            while not stop.wait(0.06):  # an agent may send twenty messages a second
                sent.append(ada.call("send_message", content=f"text {len(sent)}").json["messageId"])

        chatting = threading.Thread(target=chat)
        chatting.start()
        try:
            with BridgeProcess(home, "new", new) as bob:
                bob.works()
                replaced = wait_for_another(home, first)
                for _ in range(3):
                    assert not bob.call("send_message", content="from the newer one").failed
                    done = command(home, "send", "from the older command", release=old)
                    assert (done.returncode, done.stderr) == (0, "")
                    done = command(home, "send", "from the newer command", release=new)
                    assert (done.returncode, done.stderr) == (0, "")
        finally:
            stop.set()
            chatting.join(30)
        assert len(sent) > 5
        assert hub(home).pid == replaced
        assert hubs_so_far(home) == ["1.0", "1.1"]
    lines = [json.loads(line) for line in (home.root / "log" / "000001.jsonl").read_bytes().splitlines()]
    written = [line["content"] for line in lines if line["kind"] == "message"]
    assert [text for text in written if text.startswith("text ")] == [f"text {number}" for number in range(len(sent))]
    assert written.count("from the newer one") == 3


def hub_pid_after(bridge: BridgeProcess, home: Home) -> int:
    bridge.works()
    return hub(home).pid


def wait_for_another(home: Home, pid: int) -> int:
    """The pid of the hub that takes the place of that one. It comes by itself."""

    async def gone() -> None:
        with processes.Grip(pid) as grip, trio.fail_after(20):
            await grip.gone()

    trio.run(gone)
    for _ in range(200):
        with suppress(Exception):
            return hub(home).pid
        threading.Event().wait(0.05)
    raise AssertionError("no other hub came")


def test_the_newer_hub_keeps_how_the_older_one_was_set(place: Path, home: Home) -> None:
    old, new = Release.make(place, "1.0"), Release.make(place, "1.1")
    assert command(home, "start", "--stay", release=old).returncode == 0
    page = hub(home).dashboard
    assert command(home, "peers", release=new).returncode == 0
    after = hub(home)
    assert (after.version, after.idle_stop_s, after.dashboard) == ("1.1", None, page)


def test_a_newer_version_whose_hub_cannot_run_does_not_drain_the_one_that_does(place: Path, home: Home) -> None:
    old, broken = Release.make(place, "1.0"), Release.make(place, "1.1", broken=True)
    with BridgeProcess(home, "ada", old) as ada:
        before = hub_pid_after(ada, home)
        with BridgeProcess(home, "bob", broken) as bob:
            assert not bob.call("send_message", content="hello").failed
            assert command(home, "send", "hello", release=broken).returncode == 0
            assert hub(home).pid == before
        assert not ada.call("send_message", content="still here").failed
    assert hubs_so_far(home) == ["1.0"]


def test_a_client_two_protocols_behind_is_served_and_one_three_behind_told_what_to_upgrade(
    place: Path, home: Home
) -> None:
    two_later = Release.make(place, "3.0", PROTOCOL + 2)
    assert command(home, "start", "--stay", release=two_later).returncode == 0
    with BridgeProcess(home, "ada") as ada:
        sent = ada.call("send_message", content="from two protocols before")
        assert not sent.failed, sent.text
        assert command(home, "send", "so does the command line").returncode == 0
        assert hub(home).version == "3.0"
        three_later = Release.make(place, "4.0", PROTOCOL + 3)
        assert command(home, "send", "another upgrade", release=three_later).returncode == 0
        assert hub(home).version == "4.0"
        refused = ada.call("send_message", content="too old by now")
        assert refused.failed
        assert "pip install --upgrade crosschat-hub" in refused.text
        assert "restart the session" in refused.text
        assert refused.took_s < TOOL_DEADLINE_S + 10
    done = command(home, "send", "too old, too")
    assert done.returncode == 3
    assert "pip install --upgrade crosschat-hub" in done.stderr
    assert hubs_so_far(home) == ["3.0", "4.0"]


def test_a_client_of_a_newer_protocol_replaces_a_hub_that_does_not_know_it(place: Path, home: Home) -> None:
    with BridgeProcess(home, "ada") as ada:
        ada.works()
        later = Release.make(place, "9.0", PROTOCOL + 1)
        with BridgeProcess(home, "bob", later) as bob:
            sent = bob.call("send_message", content="hello")
            assert not sent.failed, sent.text
        assert hub(home).version == "9.0"
        assert not ada.call("send_message", content="hello").failed


def test_data_of_a_newer_format_is_refused_untouched_by_every_client(place: Path, home: Home) -> None:
    home.root.mkdir(mode=0o700)
    (home.root / "log").mkdir(mode=0o700)
    (home.root / "hub.lock").touch(0o600)
    (home.root / "FORMAT").write_text('{"format":2,"min_reader":2}\n')
    before = {path: path.lstat().st_mtime_ns for path in [home.root, *home.root.rglob("*")]}
    done = command(home, "send", "hello")
    assert done.returncode == 3
    assert "newer CrossChat" in done.stderr
    with BridgeProcess(home, "ada") as ada:
        refused = ada.call("send_message", content="hello")
        assert refused.failed
        assert "Upgrade CrossChat" in refused.text
    assert {path: path.lstat().st_mtime_ns for path in [home.root, *home.root.rglob("*")]} == before
