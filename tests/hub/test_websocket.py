"""Connections that go wrong at the other end: it takes no bytes, answers no pings, or is another user's."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
import trio_websocket

from crosschat import processes, websocket, wire
from crosschat.errors import Code
from crosschat.hub.peers import Doorway, serve_peer
from crosschat.limits import HEARTBEAT_DEADLINE_S, HEARTBEAT_INTERVAL_S, HELLO_DEADLINE_S, WRITE_DEADLINE_S, Quotas
from crosschat.model import Slot
from crosschat.processes import PeerCredentials
from crosschat.websocket import Closed, Connection, text_frame
from tests.hostile.garbage import HELLO, UPGRADE, frame, said, write
from tests.hub.rig import NOW_MS, Middle, silent_log, supervise
from tests.live.rig import join

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from trio.testing import MockClock

    from crosschat.hub.supervisor import Supervisor

FULL = text_frame(bytes(400_000))  # more than a socket takes, less than a connection's buffer


Ends = tuple[trio.SocketStream, trio.SocketStream]


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    """The client's end, on which nothing happens by itself, and the server's."""
    one, two = (trio.SocketStream(end) for end in trio.socket.socketpair())
    yield one, two
    for end in (one, two):
        await trio.aclose_forcefully(end)


async def accepted(nursery: trio.Nursery, ends: Ends) -> tuple[trio.SocketStream, Connection]:
    client, server = ends
    await client.send_all(UPGRADE)
    connection = await websocket.accept(server, nursery)
    assert (await client.receive_some()).startswith(b"HTTP/1.1 101")
    return client, connection


async def test_a_peer_that_takes_no_bytes_for_ten_seconds_is_closed(
    ends: Ends, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    _, connection = await accepted(nursery, ends)
    connection.post(FULL)
    assert not connection.idle
    began = trio.current_time()
    with trio.fail_after(60):
        await connection.drained()
    assert trio.current_time() - began == WRITE_DEADLINE_S == 10
    assert connection.closed
    with pytest.raises(Closed):
        connection.post(text_frame(b"x"))
    with pytest.raises(Closed):
        await connection.send(b"x")
    with trio.fail_after(5), pytest.raises(Closed):
        await connection.receive()
    nursery.cancel_scope.cancel()


async def test_a_peer_that_takes_some_bytes_now_and_then_is_kept(
    ends: Ends, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    client, connection = await accepted(nursery, ends)
    connection.post(FULL)
    received = 0
    began = trio.current_time()
    with trio.fail_after(100):
        while received < len(FULL):
            await trio.sleep(WRITE_DEADLINE_S * 0.9)
            target = min(len(FULL), received + 200_000)  # a local socket has room again when most of it was read
            while received < target:
                received += len(await client.receive_some(target - received))
    assert received == len(FULL)
    assert trio.current_time() - began > WRITE_DEADLINE_S
    assert connection.idle
    connection.post(text_frame(b"x"))
    nursery.cancel_scope.cancel()


# --- the heartbeat


async def commit_all(middle: Middle) -> None:
    """In the writer's place."""
    async for operation in middle.submitted:
        effects = middle.router.decide(operation.who, operation.frame, Slot(middle.next_seq, NOW_MS))
        middle.commit(*effects.records)
        operation.settle(effects)


@pytest.fixture
def doorway(tmp_path: Path) -> Iterator[tuple[Doorway, Supervisor, Middle]]:
    middle = Middle()
    supervisor = supervise(middle.router, pytest.fail, tmp_path)
    yield Doorway(middle.router, Quotas(), "test", silent_log(), lambda: None, supervisor), supervisor, middle
    os.close(supervisor.lock_fd)


async def test_a_peer_that_answers_no_pings_is_ended_and_its_agent_is_away(
    ends: Ends,
    doorway: tuple[Doorway, Supervisor, Middle],
    autojump_clock: MockClock,
    nursery: trio.Nursery,
) -> None:
    door, supervisor, middle = doorway
    client, server = ends
    await nursery.start(supervisor.run)
    nursery.start_soon(commit_all, middle)
    nursery.start_soon(serve_peer, door, server)
    await write(client, said(frame(HELLO)))
    received = b""
    began = trio.current_time()
    with trio.fail_after(1000), suppress(trio.BrokenResourceError):
        while piece := await client.receive_some():
            received += piece
    assert b'"welcome"' in received
    assert trio.current_time() - began <= HEARTBEAT_INTERVAL_S + HEARTBEAT_DEADLINE_S + websocket.CLOSE_DEADLINE_S
    await trio.testing.wait_all_tasks_blocked()
    assert not middle.presence.connected
    assert not middle.router.busy
    nursery.cancel_scope.cancel()


async def test_a_peer_that_answers_pings_is_kept_however_silent_it_is(
    ends: Ends,
    doorway: tuple[Doorway, Supervisor, Middle],
    autojump_clock: MockClock,
    nursery: trio.Nursery,
) -> None:
    door, supervisor, middle = doorway
    client, server = ends
    await nursery.start(supervisor.run)
    nursery.start_soon(commit_all, middle)
    nursery.start_soon(serve_peer, door, server)
    agent = await join(nursery, socket.socket(fileno=client.socket.detach()))  # its library answers pings
    await trio.sleep(100 * HEARTBEAT_INTERVAL_S)
    assert not agent.ended.is_set()
    assert middle.presence.connected == {agent.welcome.agent}
    await trio.aclose_forcefully(agent.stream)
    nursery.cancel_scope.cancel()


# --- another user


async def test_a_connection_of_another_user_is_refused_before_a_byte_of_it_is_read(
    ends: Ends, monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery
) -> None:
    client, server = ends
    monkeypatch.setattr(websocket, "peer_credentials", lambda _: PeerCredentials(pid=1, uid=os.getuid() + 1))
    await client.send_all(UPGRADE)
    with trio.fail_after(5), pytest.raises(PermissionError, match=f"belongs to user {os.getuid() + 1}"):
        await websocket.accept(server, nursery)
    assert await server.receive_some() == UPGRADE
    assert not nursery.child_tasks


async def test_the_agents_door_says_nothing_to_another_user(
    ends: Ends,
    doorway: tuple[Doorway, Supervisor, Middle],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    door, _, middle = doorway
    client, server = ends
    monkeypatch.setattr(websocket, "peer_credentials", lambda _: PeerCredentials(pid=1, uid=os.getuid() + 1))
    await client.send_all(UPGRADE)
    with trio.fail_after(5):
        await serve_peer(door, server)
    await server.aclose()
    with suppress(trio.BrokenResourceError):
        assert await client.receive_some() == b""
    assert not middle.presence.connected
    assert not middle.router.busy


async def test_a_hub_of_another_user_is_told_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery
) -> None:
    path = tmp_path / "s"
    monkeypatch.setattr(websocket, "peer_credentials", lambda _: PeerCredentials(pid=1, uid=os.getuid() + 1))
    with trio.socket.socket(trio.socket.AF_UNIX) as listener:
        await listener.bind(str(path))
        listener.listen()
        with trio.fail_after(5), pytest.raises(PermissionError):
            await websocket.dial(path, nursery)
        accepted_one, _ = await listener.accept()
        async with trio.SocketStream(accepted_one) as stream:
            assert await stream.receive_some() == b""


@pytest.mark.parametrize("reads_first", [False, True])
async def test_a_hub_that_hangs_up_before_the_handshake_is_noticed_at_once(place: Path, reads_first: bool) -> None:
    path = place / "door"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()

        def hang_up() -> None:
            connection, _ = listener.accept()
            with connection:
                if reads_first:
                    connection.recv(65536)

        for _ in range(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.to_thread.run_sync, hang_up)
                with trio.fail_after(HELLO_DEADLINE_S - 1), pytest.raises(Closed):
                    await websocket.dial(path, nursery)
                nursery.cancel_scope.cancel()


async def test_who_cannot_be_seen_is_told_so_and_does_not_join(
    ends: Ends,
    doorway: tuple[Doorway, Supervisor, Middle],
    nursery: trio.Nursery,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    door, _, middle = doorway
    client, server = ends
    for name in ("find", "find_agent_process"):
        monkeypatch.setattr(processes, name, lambda _: None)
    nursery.start_soon(serve_peer, door, server)
    socket_ = await trio_websocket.wrap_client_stream(nursery, client, host="x", resource="/agents")
    with trio.fail_after(5):
        told = wire.decode_hub(await socket_.get_message())
    assert isinstance(told, wire.Error)
    assert told.code is Code.FORBIDDEN
    assert "/proc" in told.message
    assert not middle.presence.connected
    nursery.cancel_scope.cancel()
