"""Sessions while their hub is killed, stopped, replaced, or its data directory is moved away and back.

A tool answers clearly within five seconds and works again by itself; status, claims, unread messages and names survive.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import pytest

from crosschat.cli.control import Control
from crosschat.limits import TOOL_DEADLINE_S
from crosschat.paths import Home
from tests.process.bridges import PATIENT_S, BridgeProcess, Release, command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.process]
ANSWER_S: Final = TOOL_DEADLINE_S + 10.0  # on a loaded machine; the deadline itself is tested with a clock of its own


class Work:
    """Two sessions in the middle of something: ada holds a task, is busy with it, and has not read two messages."""

    def __init__(self, home: Home, ada: BridgeProcess, bob: BridgeProcess) -> None:
        self.home, self.ada, self.bob = home, ada, bob
        for one in (ada, bob):
            one.works()
        self.task = bob.works("send_message", content="@ada please do")["messageId"]
        bob.works("flag_as_task", messageId=self.task)
        ada.works("claim_task", messageId=self.task)
        ada.works("set_status", status="busy", detail="with the task", taskMessageId=self.task)
        while ada.works("get_messages", unreadOnly=True)["messages"]:
            pass
        for text in ("first", "second"):
            bob.works("send_message", content=f"@ada {text}")

    @property
    def hub_pid(self) -> int:
        with Control.open(self.home) as control:
            return control.pid

    def answers_clearly(self, word: str) -> None:
        """A call during the trouble fails with its reason, in time."""
        answer = self.ada.call("list_peers")
        assert answer.failed
        assert "hub" in answer.text
        assert word in answer.text
        assert answer.took_s < ANSWER_S

    def is_as_it_was(self) -> None:
        """Everything is there, with calls that begin as soon as the trouble is over."""
        assert self.ada.works()["you"]["name"] == "ada"
        (seen,) = self.bob.works()["peers"]
        assert (seen["name"], seen["status"], seen["detail"]) == ("ada", "busy", "with the task")
        assert seen["claims"] == [self.task]
        unread = self.ada.works("get_messages", unreadOnly=True)["messages"]
        assert [message["content"] for message in unread] == ["@ada first", "@ada second"]
        self.ada.works("resolve_task", messageId=self.task, status="completed", result="done")
        heard: list[object] = []
        while "done" not in heard:
            told = self.bob.works("wait_for_messages", timeoutMs=10_000)
            assert told["received"], heard
            heard += [message.get("content") for message in told["messages"]]


@contextmanager
def at_work(home: Home, release: Release | None = None, *, deadline_s: float = PATIENT_S) -> Iterator[Work]:
    try:
        with (
            BridgeProcess(home, "ada", release, deadline_s=deadline_s) as ada,
            BridgeProcess(home, "bob", release, deadline_s=deadline_s) as bob,
        ):
            yield Work(home, ada, bob)
    finally:
        command(home, "stop", "--force")


def test_a_killed_hub_is_started_again_by_the_next_call(place: Path) -> None:
    with at_work(Home(place / "home")) as work:
        for _ in range(2):
            os.kill(work.hub_pid, signal.SIGKILL)
            assert not work.ada.call("list_peers").failed
        work.is_as_it_was()


def test_a_stopped_hub_is_named_and_goes_on_when_it_goes_on(place: Path, long_form: bool) -> None:
    with at_work(Home(place / "home"), deadline_s=TOOL_DEADLINE_S) as work:
        pid = work.hub_pid
        os.kill(pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            work.bob.begin("send_message", content="@ada while it stood still")
            work.answers_clearly("did not answer in time")
            sent = work.bob.answer()
            assert sent.failed
            assert "may or may not have been stored" in sent.text
            while long_form and time.monotonic() < began + 30:
                work.answers_clearly("hub")
        finally:
            os.kill(pid, signal.SIGCONT)
        again = work.bob.works("send_message", content="@ada while it stood still")
        assert work.hub_pid == pid
        unread = [message["content"] for message in work.ada.works("get_messages", limit=50)["messages"]]
        assert unread.count("@ada while it stood still") == 1, again
        assert work.ada.works()["you"]["name"] == "ada"
        (seen,) = work.bob.works()["peers"]
        assert (seen["status"], seen["claims"]) == ("busy", [work.task])


def test_a_restart_on_another_version_goes_unnoticed(place: Path) -> None:
    home = Home(place / "home")
    old, new = Release.make(place, "1.0"), Release.make(place, "1.1")
    with at_work(home, old) as work:
        before = work.hub_pid
        assert command(home, "restart", release=new).returncode == 0
        assert work.hub_pid != before
        assert not work.ada.call("list_peers").failed
        work.is_as_it_was()


def moved(home: Home, away: Path) -> None:
    home.root.rename(away)


def copied(home: Home, away: Path) -> None:
    """As across file systems: what comes back are other inodes."""
    shutil.copytree(home.root, away, ignore=shutil.ignore_patterns("*.sock"))
    while home.root.exists():  # the hub still writes there
        shutil.rmtree(home.root, ignore_errors=True)


@pytest.mark.parametrize("move", [moved, copied])
def test_a_data_directory_that_is_moved_away_is_missed_by_name_and_found_again_when_it_is_back(
    place: Path, move: Callable[[Home, Path], None]
) -> None:
    home, away = Home(place / "home"), place / "away"
    with at_work(home) as work:
        pid = work.hub_pid
        move(home, away)
        for bridge in (work.ada, work.bob):
            until_failed(bridge)
        work.answers_clearly("move it back")
        assert not home.root.exists(), "somebody made a new one in its place"
        away.rename(home.root)
        work.is_as_it_was()
        assert work.hub_pid != pid


def until_failed(bridge: BridgeProcess) -> None:
    """The old hub may still answer from memory until it notices."""
    give_up_at = time.monotonic() + 30
    while not bridge.call("list_peers").failed:
        assert time.monotonic() < give_up_at
        time.sleep(0.05)
