"""Who may take a hub's place, and how its lock gets from one process to the other."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from crosschat import lock, wire
from crosschat.errors import Code, Refused
from crosschat.hub import succession as succession_module
from crosschat.hub.succession import Succession, Will, inherit, refuse_protocol

if TYPE_CHECKING:
    from pathlib import Path

WILL = Will(idle_stop_s=12.5, port=8123)


def succeed(version: str, protocol: int = wire.PROTOCOL) -> wire.Succeed:
    return wire.Succeed(id="s", protocol=protocol, version=version)


@pytest.mark.parametrize(
    ("asks", "code"),
    [
        (succeed("1.0"), Code.FORBIDDEN),
        (succeed("0.9"), Code.FORBIDDEN),
        (succeed("nonsense"), Code.FORBIDDEN),
        (succeed("9.0", 0), Code.UNSUPPORTED_PROTOCOL),
        (succeed("1.1"), None),
        (succeed("0.1", wire.PROTOCOL + 1), None),
        (succeed("0.1", wire.PROTOCOL + 99), None),
    ],
)
def test_only_a_newer_version_may_take_the_place(asks: wire.Succeed, code: Code | None) -> None:
    succession = Succession("1.0", WILL)
    if code is None:
        succession.reserve("one", asks)
        assert succession.heir == "one"
        return
    with pytest.raises(Refused) as refused:
        succession.reserve("one", asks)
    assert refused.value.code is code
    assert succession.heir is None


def test_one_at_a_time_may_try_and_another_when_that_one_left() -> None:
    succession = Succession("1.0", WILL)
    succession.reserve("one", succeed("1.1"))
    succession.reserve("one", succeed("1.1"))
    with pytest.raises(Refused) as refused:
        succession.reserve("two", succeed("1.2"))
    assert refused.value.code is Code.CONFLICT
    succession.release("two")
    assert succession.heir == "one"
    succession.release("one")
    succession.reserve("two", succeed("1.2"))


@pytest.mark.parametrize(
    ("protocol", "hub_protocol", "word"),
    [(1, 4, "upgrade the client"), (0, 2, "upgrade the client"), (4, 3, "upgrade the hub"), (1, 3, None), (3, 3, None)],
)
def test_clients_of_the_two_protocols_before_are_served_and_others_told_what_to_upgrade(
    protocol: int, hub_protocol: int, word: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(succession_module, "PROTOCOL", hub_protocol)
    monkeypatch.setattr(succession_module, "PROTOCOLS_SERVED", range(max(1, hub_protocol - 2), hub_protocol + 1))
    if word is None:
        refuse_protocol(protocol, "7.0")
        return
    with pytest.raises(Refused) as refused:
        refuse_protocol(protocol, "7.0")
    assert word in refused.value.message
    assert "pip install --upgrade crosschat-hub" in refused.value.message


def free(path: Path) -> bool:
    with open(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def test_the_lock_is_never_free_between_the_two_and_the_will_goes_with_it(tmp_path: Path) -> None:
    path = tmp_path / "hub.lock"
    held = lock.try_hold(path)
    assert held is not None
    ours, theirs = socket.socketpair()
    succession = Succession("1.0", WILL)
    succession.reserve("heir", succeed("1.1"))

    def old_hub() -> None:
        with ours:
            request = ours.recv(4096)
            assert json.loads(request) == {"op": "stop", "id": "heir", "restart": True}
            ours.sendall(b'{"type":"done","id":"heir"}\n')
            assert succession.accept("heir", ours.fileno())
        succession.release("heir")  # the connection is closed long before the hub is
        succession.hand_over(held)

    thread = threading.Thread(target=old_hub)
    thread.start()
    inherited = inherit(theirs, deadline_s=5)
    thread.join()
    assert inherited is not None
    assert not free(path)
    os.close(held)
    assert not free(path)
    descriptor, will = inherited
    assert will == WILL
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)
    assert free(path)


@pytest.mark.parametrize("says", [b"", b'{"type":"done","id":"heir"}\n', b'{"type":"done","i'])
def test_an_old_hub_that_dies_on_its_way_leaves_nothing_to_inherit(says: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        ours.sendall(says)
        ours.shutdown(socket.SHUT_WR)
        assert inherit(theirs, deadline_s=5) is None


def test_an_old_hub_that_never_ends_is_not_waited_for_for_ever() -> None:
    ours, theirs = socket.socketpair()
    with ours, pytest.raises(TimeoutError):
        inherit(theirs, deadline_s=0.1)


def test_an_heir_that_is_gone_when_the_hub_has_ended_costs_nothing(tmp_path: Path) -> None:
    held = lock.try_hold(tmp_path / "hub.lock")
    assert held is not None
    ours, theirs = socket.socketpair()
    succession = Succession("1.0", WILL)
    succession.reserve("heir", succeed("1.1"))
    assert not succession.accept("somebody", ours.fileno())
    assert succession.accept("heir", ours.fileno())
    ours.close()
    theirs.close()
    succession.hand_over(held)
    os.close(held)
    assert free(tmp_path / "hub.lock")


@pytest.mark.parametrize(
    "line",
    [b"", b"nonsense\n", b"[]\n", b'{"idle_stop_s":"x","port":true}\n', b'{"idle_stop_s":null,"port":null,"more":1}\n'],
)
def test_a_will_that_cannot_be_read_is_no_reason_to_give_up(line: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        socket.send_fds(ours, [line or b"\n"], [ours.fileno()])
        inherited = inherit(theirs, deadline_s=5)
    assert inherited is not None
    assert inherited[1].port is None
    os.close(inherited[0])
