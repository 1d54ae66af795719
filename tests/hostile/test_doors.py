"""Malformed bytes at every door: they cost their sender, and nobody else notices."""

from __future__ import annotations

import os
import re
import socket
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import pytest
import trio
import trio_websocket

from crosschat import codec, wire
from crosschat.errors import Code
from crosschat.limits import HELLO_DEADLINE_S
from tests.hostile.garbage import AGENTS, CONTROL, FOREIGN_IDS, HELLO, PAGE, REFUSED, encoded, frame, said, write
from tests.live.rig import ROOT, Client, Control, HubProcess, Program, eventually, inspect, join

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

RAISED = ("--quotas", '{"messages_per_s": 1e6, "messages_burst": 1000000}')
DOORS_AND_ENDINGS = [
    *((door, ending) for door in ("agents", "control", "page") for ending in ("close", "reset", "silence")),
    ("agents", "early"),  # not waiting for the answer to the upgrade
]


@pytest.fixture
def hub(place: Path) -> Iterator[HubProcess]:
    with HubProcess(place / "home", "--stay", *RAISED) as hub:
        yield hub.started()


class Witnesses:
    """Two agents that go on talking whatever happens to others."""

    def __init__(self, hub: HubProcess, one: Client, two: Client) -> None:
        self.hub, self.one, self.two = hub, one, two
        self.sent: list[str] = []

    async def check(self, after: str) -> None:
        self.sent.append(after)
        await self.one.post(after)
        await self.two.until(lambda: self.two.texts() == self.sent)
        assert not self.one.ended.is_set()
        await inspect(self.hub.home)


async def strike(
    rows: dict[str, bytes], connect: Callable[[], socket.socket], ending: str, witnesses: Witnesses
) -> None:
    """Write each row to a connection of its own and end it; after each the others go on."""
    with ExitStack() as silent:
        for name, data in rows.items():
            sock = connect()
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
            with trio.move_on_after(1), suppress(trio.BrokenResourceError):
                await write(stream, data, early=ending == "early")
            if ending == "silence":
                silent.callback(sock.close)
            else:
                if ending == "reset" and sock.family is socket.AF_INET:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
                elif ending == "close":  # take what there is: a local socket is reset by what was not read
                    with trio.move_on_after(0.02), suppress(trio.BrokenResourceError):
                        while await stream.receive_some():
                            pass
                await stream.aclose()
            await witnesses.check(name)


@pytest.mark.parametrize(("door", "ending"), DOORS_AND_ENDINGS)
async def test_malformed_bytes_cost_only_their_sender(
    hub: HubProcess, door: str, ending: str, nursery: trio.Nursery
) -> None:
    home = hub.home
    rows = {"agents": AGENTS, "control": CONTROL, "page": PAGE}[door]
    connect: Callable[[], socket.socket]
    if door == "page":
        await eventually(home.dashboard_lock.exists, 30)
        port = int(str((await inspect(home)).dashboard).rstrip("/").rpartition(":")[2])
        rows = {
            name: data.replace(b"HOST", b"127.0.0.1:%d" % port).replace(b"PORT", b"%d" % port)
            for name, data in rows.items()
        }

        def connect() -> socket.socket:
            return socket.create_connection(("127.0.0.1", port))
    else:
        path = home.agents_socket if door == "agents" else home.control_socket

        def connect() -> socket.socket:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.connect(str(path))
            return sock

    with Program(home.agents_socket) as one, Program(home.agents_socket) as two:
        witnesses = Witnesses(hub, await join(nursery, one.connect()), await join(nursery, two.connect()))
        await strike(rows, connect, ending, witnesses)
        nursery.cancel_scope.cancel()
    assert hub.process.poll() is None
    status = await inspect(home)
    assert status.damage == ()
    resident = status.rss_bytes or 0
    assert resident < 256 * 1024 * 1024
    assert [entry for entry in hub.log() if entry["level"] in ("error", "critical")] == []


async def test_a_bad_frame_of_an_agent_is_answered_with_a_typed_error_and_the_connection_goes_on(
    hub: HubProcess, nursery: trio.Nursery
) -> None:
    with Program(hub.home.agents_socket) as one, Program(hub.home.agents_socket) as two:
        bad, other = await join(nursery, one.connect()), await join(nursery, two.connect())
        for number, (data, code, path) in enumerate(REFUSED):
            said_before = len(bad.said)
            await bad.socket.send_message(data.decode())
            if _has_readable_id(data):
                error = await bad.answer("b")
            else:
                await bad.until(lambda before=said_before: len(bad.said) > before)  # type: ignore[misc]
                error = bad.said[-1]
            assert isinstance(error, wire.Error), data[:80]
            assert (error.code, error.path) == (Code(code), path), (data[:80], error)
            await bad.post(f"still here {number}")
        await other.until(lambda: other.texts() == [f"still here {number}" for number in range(len(REFUSED))])
        nursery.cancel_scope.cancel()


def _has_readable_id(data: bytes) -> bool:
    """Whether it is JSON of the protocol, and only not a frame of it."""
    try:
        return "id" in codec.parse(data)
    except codec.BadFrame:
        return False


async def test_a_refused_hello_is_answered_with_its_reason_before_the_connection_closes(hub: HubProcess) -> None:
    refused = {
        "another first frame": (Code.NOT_JOINED, "type"),
        "another protocol": (Code.UNSUPPORTED_PROTOCOL, "protocol"),
        "a wrong type": (Code.BAD_FRAME, "cwd"),
        "an unknown key": (Code.BAD_FRAME, None),
        "a relative cwd": (Code.INVALID, "cwd"),
        "a reserved name": (Code.INVALID, "name"),
        "a name with a path": (Code.INVALID, "name"),
        "a little larger than allowed": (Code.TOO_LARGE, None),
    }
    for name, expected in refused.items():
        stream = await trio.open_unix_socket(str(hub.home.agents_socket))
        async with stream:
            await write(stream, AGENTS[name])
            received = b""
            with trio.fail_after(5), suppress(trio.BrokenResourceError):
                while b"\x88" not in received and (piece := await stream.receive_some()):
                    received += piece
        error = wire.decode_hub(received[received.index(b"{") : received.rindex(b"}") + 1])
        assert isinstance(error, wire.Error)
        assert (error.id, error.code, error.path) == (None, *expected), name


async def test_a_message_beyond_what_is_read_at_all_closes_with_1009(hub: HubProcess, nursery: trio.Nursery) -> None:
    with Program(hub.home.agents_socket) as program:
        client = await join(nursery, program.connect())
        with suppress(trio_websocket.ConnectionClosed):
            await client.socket.send_message("x" * 2_000_000)
        with trio.fail_after(5):
            await client.ended.wait()
        assert client.socket.closed is not None
        assert client.socket.closed.code == 1009
        again = await join(nursery, program.connect())
        await again.post("back")
        nursery.cancel_scope.cancel()


async def test_foreign_ids_are_unknown_and_never_become_a_file_name(hub: HubProcess, nursery: trio.Nursery) -> None:
    home = hub.home

    def files() -> set[str]:
        return {str(path.relative_to(home.root)) for path in home.root.rglob("*")}

    with Program(home.agents_socket) as program:
        client = await join(nursery, program.connect())
        sent = await client.post("a real one")
        await eventually(lambda: (home.root / "messages" / "general.jsonl").exists())
        before = files()
        for row, foreign in enumerate(FOREIGN_IDS):
            requests: list[dict[str, object]] = [
                {"type": "read", "thread": foreign},
                {"type": "read", "message": foreign},
                {"type": "read", "before": foreign},
                {"type": "send", "content": "x", "thread": foreign},
                {"type": "flag", "message": foreign},
                {"type": "claim", "message": foreign},
                {"type": "resolve", "message": foreign, "status": "completed", "result": ""},
                {"type": "badge", "message": foreign, "badge_type": "project", "value": "x"},
                {"type": "status", "status": "busy", "task": foreign},
            ]
            for column, request in enumerate(requests):
                identifier = f"f{row}-{column}"
                if request["type"] != "read":
                    request["cid"] = identifier
                await client.socket.send_message(encoded(id=identifier, **request))
                error = await client.answer(identifier)
                assert isinstance(error, wire.Error), (foreign, request)
                assert error.code is Code.NOT_FOUND, (foreign, request, error)
                assert len(error.message) < 1000
        for column, foreign in enumerate(FOREIGN_IDS):
            request = {
                "type": "badge",
                "message": sent.message,
                "badge_type": foreign,
                "value": "x",
                "cid": f"t{column}",
            }
            await client.socket.send_message(encoded(id=f"t{column}", **request))
            answer = await client.answer(f"t{column}")
            allowed = re.fullmatch(r"[a-z][a-z0-9-]{0,31}", foreign) is not None
            assert isinstance(answer, wire.Done if allowed else wire.Error), (foreign, answer)
        cid = wire.Send(id="c", cid="../../x\x00", content="an odd cid is only remembered")
        await client.ask(cid, wire.Sent)
        await eventually(lambda: (home.root / "messages/badges" / f"{sent.message}.json").exists())
        assert files() - before <= {
            f"messages/badges/{sent.message}.json",
            "index/projected",
            "dashboard.lock",
            "settings.json",
        }
        nursery.cancel_scope.cancel()


async def test_a_peer_that_asks_much_and_reads_nothing_is_closed_and_nobody_waits_for_it(
    hub: HubProcess, nursery: trio.Nursery
) -> None:
    with Program(hub.home.agents_socket) as one, Program(hub.home.agents_socket) as two:
        ada, bob = await join(nursery, one.connect()), await join(nursery, two.connect())
        for number in range(20):
            await ada.post(f"{number}:" + "x" * 30_000)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.connect(str(hub.home.agents_socket))
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
            read = frame(b'{"type":"read","id":"x"}')
            with trio.move_on_after(2), suppress(trio.BrokenResourceError):
                await write(stream, said(frame(HELLO), *[read] * 20_000))
            await ada.post("and on")
            await bob.until(lambda: len(bob.items) == 21)
            status = await inspect(hub.home)
            assert (status.rss_bytes or 0) < 256 * 1024 * 1024
        nursery.cancel_scope.cancel()


@pytest.fixture
def impatient(place: Path) -> Iterator[HubProcess]:
    """A hub that waits for a hello a tenth as long as it should. Python imports a module of this name at its start."""
    program = f"from crosschat import limits\nlimits.HELLO_DEADLINE_S = {HELLO_DEADLINE_S / 10}\n"
    (place / "sitecustomize.py").write_text(program)
    with HubProcess(place / "h", "--stay", environment={"PYTHONPATH": f"{place}:{ROOT}"}) as hub:
        yield hub.started()


@pytest.mark.slow
async def test_connections_that_stay_silent_are_ended(impatient: HubProcess) -> None:
    """They have the time of a hello, at the agents' door once for the upgrade and once after it."""
    hub = impatient
    agents, control = str(hub.home.agents_socket), str(hub.home.control_socket)
    silent = [(agents, AGENTS[name]) for name in ("nothing", "half an upgrade")] + [(agents, said())]
    silent += [(control, CONTROL[name]) for name in ("nothing", "half a line")]
    streams = []
    for path, data in silent:
        streams.append(await trio.open_unix_socket(path))
        if data:
            await streams[-1].send_all(data)
    with trio.fail_after(15):
        for stream in streams:
            with suppress(trio.BrokenResourceError):
                while await stream.receive_some():
                    pass
            await stream.aclose()


@pytest.mark.slow
async def test_agents_go_on_while_somebody_holds_every_descriptor_the_hub_has(place: Path) -> None:
    import resource

    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    with HubProcess(place / "home", "--stay", *RAISED, preexec=few) as hub:
        home = hub.started().home
        await eventually(home.dashboard_lock.exists, 30)
        async with trio.open_nursery() as nursery:
            with Program(home.agents_socket) as one, Program(home.agents_socket) as two, ExitStack() as held:
                ada, bob = await join(nursery, one.connect()), await join(nursery, two.connect())
                for row in range(100):
                    sock = held.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                    sock.connect(str(home.control_socket if row % 2 else home.agents_socket))
                for number in range(20):
                    await ada.post(f"{number}")
                await bob.until(lambda: len(bob.items) == 20)
                held.close()
                await bob.post("and after")
                await ada.until(lambda: ada.texts() == ["and after"])
                with Program(home.agents_socket) as three:
                    eve = await join(nursery, three.connect())
                    await eve.until(lambda: len(eve.items) >= 0)
                assert (await inspect(home)).pid == hub.process.pid
                nursery.cancel_scope.cancel()
        assert hub.process.poll() is None
        descriptors = f"/proc/{hub.process.pid}/fd"
        if os.path.isdir(descriptors):
            await eventually(lambda: len(os.listdir(descriptors)) < 30, 15)


async def test_the_control_door_answers_each_bad_line_and_takes_the_next(hub: HubProcess) -> None:
    async with Control(hub.home.control_socket) as control:
        for name, data in CONTROL.items():
            if data.count(b"\n") != 1 or len(data) > 250_000 or "tail" in name:
                continue
            await control.write(data)
            answer = await control.frame()
            assert isinstance(answer, wire.Error), name
            assert answer.code is (Code.INVALID if name == "a number too large" else Code.BAD_FRAME), name
        await control.ask(wire.Peers(id="p"), wire.PeerList)
        with suppress(trio.BrokenResourceError):  # it may be told and put out before it has sent all of it
            await control.write(b'{"op":"' + b"x" * 400_000)
        answer = await control.frame()
        assert isinstance(answer, wire.Error)
        assert answer.code is Code.BAD_FRAME
