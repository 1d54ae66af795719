"""The client of the control door: every wait ends, every fault is one error that names cause and remedy."""

from __future__ import annotations

import socket
import sys
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import pytest

from crosschat import wire
from crosschat.cli import control as control_module
from crosschat.cli.control import Control, NotRunning
from crosschat.cli.failure import FAILED, NO_HUB, Failure
from crosschat.errors import Code
from crosschat.processes import PeerCredentials
from tests.cli.fake_hub import FakeHub, Script

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crosschat.paths import Home

PEERS = wire.Peers(id="1")
EMPTY = wire.PeerList(id="1")


def ask(home: Home, script: Script, *, deadline_s: float = 5.0, closes: bool = False) -> wire.PeerList:
    with FakeHub(home, script, closes=closes), Control.open(home, deadline_s=deadline_s) as control:
        return control.ask(PEERS, wire.PeerList)


def failure(home: Home, script: Script, *, deadline_s: float = 5.0, closes: bool = False) -> Failure:
    with pytest.raises(Failure) as caught:
        ask(home, script, deadline_s=deadline_s, closes=closes)
    return caught.value


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere such a connection is refused")
def test_a_crowd_before_the_door_is_waited_for(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(home.control_socket)
    home.run.mkdir(parents=True)
    with ExitStack() as stack:
        door = stack.enter_context(socket.socket(socket.AF_UNIX))
        door.bind(path)
        door.listen(0)
        with suppress(BlockingIOError):
            while True:
                one = stack.enter_context(socket.socket(socket.AF_UNIX))
                one.setblocking(False)
                one.connect(path)
        with pytest.raises(Failure, match="cannot be used"):
            Control.open(home, deadline_s=0.05)
        monkeypatch.setattr("crosschat.cli.control.time.sleep", lambda _: door.accept()[0].close())
        Control.open(home).close()


def test_an_answer_is_returned(home: Home) -> None:
    peer = wire.PeerView(id="a1", name="ada", connected=True, status="busy", cwd="/")
    assert ask(home, lambda _: [wire.PeerList(id="1", peers=(peer,))]).peers == (peer,)


def test_an_answer_may_come_in_pieces_and_after_others(home: Home) -> None:
    whole = wire.encode(EMPTY) + b"\n"
    pieces = [wire.encode(wire.Done(id="0")) + b"\n", *(bytes([byte]) for byte in whole)]
    assert ask(home, lambda _: pieces) == EMPTY


def test_two_answers_in_one_piece_are_two_answers(home: Home) -> None:
    both = wire.encode(EMPTY) + b"\n" + wire.encode(wire.PeerList(id="2")) + b"\n"
    with FakeHub(home, lambda frame: [both] if frame.id == "1" else []), Control.open(home) as control:
        assert control.ask(PEERS, wire.PeerList).id == "1"
        assert control.ask(wire.Peers(id="2"), wire.PeerList).id == "2"


@pytest.mark.parametrize(("code", "status"), [(Code.NOT_FOUND, FAILED), (Code.UNAVAILABLE, NO_HUB)])
def test_a_refusal_says_what_the_hub_said(home: Home, code: Code, status: int) -> None:
    caught = failure(home, lambda _: [wire.Error(id="1", code=code, message="No such thing.", retry_after_ms=1500)])
    assert caught.message == "No such thing. (try again in 1.5 s)"
    assert caught.exit_code == status


def test_a_refused_connection_is_a_failure_too(home: Home) -> None:
    caught = failure(home, lambda _: [wire.Error(id=None, code=Code.BAD_FRAME, message="not JSON")], closes=True)
    assert caught.message == "not JSON"


def test_a_hub_that_hangs_is_given_up_with_the_remedy(home: Home) -> None:
    caught = failure(home, lambda _: [], deadline_s=0.05)
    assert "does not answer" in caught.message
    assert "crosschat restart --force" in caught.message
    assert caught.exit_code == NO_HUB


def test_an_answer_without_an_end_is_given_up(home: Home) -> None:
    assert "does not answer" in failure(home, lambda _: [b'{"type":'], deadline_s=0.05).message


def test_a_hub_that_leaves_is_a_failure_with_status_3(home: Home) -> None:
    caught = failure(home, lambda _: [], closes=True)
    assert "went away" in caught.message
    assert caught.exit_code == NO_HUB


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\n",
        b"hello\n",
        b"[]\n",
        b"\xff\xfe\n",
        b'{"type":"peer_list","id":1}\n',
        b'{"type":"welcome"}\n',
        b"{" * 99 + b"\n",
    ],
)
def test_nonsense_is_a_failure_and_no_traceback(home: Home, nonsense: bytes) -> None:
    caught = failure(home, lambda _: [nonsense])
    assert "makes no sense" in caught.message
    assert caught.exit_code == FAILED


def test_an_oversized_answer_is_refused_before_it_is_read_whole(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_module, "ANSWER_BYTES", 100_000)
    endless = (b"x" * 10_000 for _ in range(1000))
    assert "larger than 100000 bytes" in failure(home, lambda _: endless).message


def test_an_answer_of_another_kind_is_a_failure(home: Home) -> None:
    assert "answered with 'done'" in failure(home, lambda _: [wire.Done(id="1")]).message


def test_a_hub_that_says_good_bye_is_a_failure_with_status_3(home: Home) -> None:
    caught = failure(home, lambda _: [wire.Bye(reason="stopping", retry_after_ms=500)])
    assert "is leaving (stopping)" in caught.message
    assert caught.exit_code == NO_HUB


def test_no_socket_means_that_no_hub_runs(home: Home) -> None:
    with pytest.raises(NotRunning, match="crosschat start"):
        Control.open(home)


def test_a_socket_that_nobody_listens_on_means_that_no_hub_runs(home: Home) -> None:
    with FakeHub(home, lambda _: []):
        pass
    assert home.control_socket.exists()
    with pytest.raises(NotRunning):
        Control.open(home)


def test_a_hub_of_another_user_is_asked_nothing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_module, "peer_credentials", lambda _: PeerCredentials(pid=1, uid=54321))
    with FakeHub(home, lambda _: [EMPTY]) as hub:
        with pytest.raises(Failure, match="user 54321's") as caught:
            Control.open(home)
        assert hub.asked == []
    assert caught.value.exit_code == NO_HUB


def test_deliveries_go_on_with_the_next_hub_where_they_ended_until_nobody_starts_one(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_module, "FOLLOW_PATIENCE_S", 0.2)

    def deliver(frame: wire.ControlFrame) -> list[wire.Batch]:
        assert isinstance(frame, wire.Tail)
        after = frame.after_seq or 0
        return [wire.Batch(from_seq=after + 1, to_seq=after + 2), wire.Batch(from_seq=after + 3, to_seq=after + 3)]

    with FakeHub(home, deliver, closes=True) as hub, Control.open(home) as control:
        deliveries = control.follow(home, wire.Tail(id="1", after_seq=0))
        assert [next(deliveries).to_seq for _ in range(4)] == [2, 3, 5, 6]
        assert [frame.after_seq for frame in hub.asked if isinstance(frame, wire.Tail)] == [0, 3]
        home.control_socket.unlink()
        with pytest.raises(Failure, match="went away"):
            next(deliveries)


@pytest.mark.parametrize("ends", ["silently", "with an error"])
def test_a_question_is_asked_again_with_the_same_cid_when_the_hub_goes(home: Home, ends: str) -> None:
    stopping = wire.Error(id="1", code=Code.UNAVAILABLE, message="The hub is stopping.")
    question = wire.Send(id="1", cid="c", content="hello")
    answers: Iterator[list[wire.HubFrame | bytes]] = iter(
        [[] if ends == "silently" else [stopping], [wire.Sent(id="1", message="m1", seq=1)]]
    )
    with FakeHub(home, lambda _: next(answers), closes=True) as hub:
        with Control.open(home) as control:
            control.again = lambda: Control.open(home)
            assert control.ask(question, wire.Sent).message == "m1"
        assert hub.asked == [question, question]


def test_a_hub_that_keeps_going_away_is_a_failure_within_the_deadline(home: Home) -> None:
    with FakeHub(home, lambda _: [], closes=True), Control.open(home, deadline_s=0.3) as control:
        control.again = lambda: Control.open(home)
        with pytest.raises(Failure, match=r"went away|does not answer"):
            control.ask(wire.Peers(id="1"), wire.PeerList)


def test_catching_up_ends_at_the_head(home: Home) -> None:
    batches = [wire.Batch(from_seq=1, to_seq=2), wire.Batch(from_seq=3, to_seq=9), wire.Batch(from_seq=10, to_seq=11)]
    with FakeHub(home, lambda _: batches), Control.open(home) as control:
        assert list(control.catch_up(wire.Tail(id="1", after_seq=0), 9)) == batches[:2]


def test_catching_up_with_a_hub_that_falls_silent_is_a_failure(home: Home) -> None:
    batches = [wire.Batch(from_seq=1, to_seq=2)]
    with FakeHub(home, lambda _: batches), Control.open(home, deadline_s=0.2) as control:
        deliveries = control.catch_up(wire.Tail(id="1", after_seq=0), 9)
        assert next(deliveries) == batches[0]
        with pytest.raises(Failure, match="does not answer"):
            next(deliveries)
