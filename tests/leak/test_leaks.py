"""Nothing is left behind: descriptors, threads and tasks after many connections, and after a cancel at any step."""

from __future__ import annotations

import gc
import json
import os
import signal
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
import trio
import trio.testing
import trio_websocket

from crosschat import lock, websocket, wire
from crosschat.bridge import tools
from crosschat.bridge.main import END_SIGNALS, open_session, run_bridge
from crosschat.bridge.waiting import Call
from crosschat.errors import DataDirectoryError
from crosschat.hub.parts import Options
from crosschat.hub.recovery import recover
from crosschat.hub.tree import Hub
from crosschat.journal.files import RealFiles
from crosschat.model import Message
from crosschat.paths import Configuration, Home
from tests.bridge.fakes import FakeHub, session_with
from tests.hub.rig import CancelAt, silent_log
from tests.live.rig import HELLO, Control, HubProcess, Program, eventually, inspect, join, open_client
from tests.live.screen import paired

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

ROUNDS = 200


def descriptors(pid: int | str = "self") -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def threads(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


async def unless_changing(
    look: Callable[[], Awaitable[tuple[int, int]]], enough: Callable[[tuple[int, int]], bool] = lambda _: False
) -> tuple[int, int]:
    """What is seen when it is `enough`, or has been the same for half a second, or after ten seconds."""
    seen, same = await look(), 0
    for _ in range(200):
        if enough(seen) or same >= 10:
            break
        await trio.sleep(0.05)
        before, seen = seen, await look()
        same = same + 1 if seen == before else 0
    return seen


needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts what /proc shows")


@needs_proc
@pytest.mark.slow
async def test_two_hundred_connections_leave_descriptors_threads_and_tasks_as_they_were(
    running_hub: HubProcess, nursery: trio.Nursery
) -> None:
    home = running_hub.home
    pid = running_hub.process.pid
    await eventually(home.dashboard_lock.exists, 30)
    with Program(home.agents_socket) as one, Program(home.agents_socket) as two:
        ada = await join(nursery, one.connect())

        async def tasks() -> int:
            return len((await inspect(home, tree=True)).tree)

        async def visit(row: int) -> None:
            async with trio.open_nursery() as visitors:
                sock = two.connect()
                client = await join(visitors, sock)
                match row % 5:
                    case 0:
                        await client.close()
                    case 1:  # gone without a word
                        await trio.aclose_forcefully(client.stream)
                    case 2:  # superseded
                        await join(visitors, two.connect())
                    case 3:  # with a request on its way
                        await client.send(wire.Send(id="s", cid=f"{row}", content="going"))
                        await trio.aclose_forcefully(client.stream)
                    case _:  # never joins
                        other = await open_client(visitors, two.connect())
                        await trio.aclose_forcefully(other.stream)
                visitors.cancel_scope.cancel()
            two.let_go()
            async with Control(home.control_socket) as control:
                await control.write(wire.encode_control(wire.Tail(id="t", after_seq=0)) + b"\n")
                if row % 2:
                    await control.frame()

        async def settled() -> tuple[int, int]:
            return descriptors(pid), await tasks()

        for row in range(10):
            await visit(row)
        await ada.ask(wire.Peers(id="p"), wire.PeerList)
        baseline = await unless_changing(settled)
        for row in range(ROUNDS):
            await visit(row)
        now = await unless_changing(settled, lambda now: now[0] <= baseline[0] and now[1] <= baseline[1])
        assert now[0] <= baseline[0], "descriptors"
        assert now[1] <= baseline[1], "tasks"
        assert threads(pid) <= 16  # trio keeps idle workers for some seconds
        await ada.post("still here")
        nursery.cancel_scope.cancel()


@needs_proc
@pytest.mark.slow
async def test_a_hundred_visits_of_a_browser_leave_descriptors_and_tasks_as_they_were(running_hub: HubProcess) -> None:
    home = running_hub.home
    browser = await paired(home)

    async def visit(row: int) -> None:
        match row % 5:
            case 0:
                await browser.request("GET", "/")
            case 1:
                await browser.request("POST", "/api/nothing", b"{}", {"Host": "evil.example"})
            case 2:  # gone without a word, in the middle of a request
                stream = await trio.open_tcp_stream("127.0.0.1", browser.port)
                await stream.send_all(b"POST /api/pair HTTP/1.1\r\n")
                await trio.aclose_forcefully(stream)
            case 3:
                assert await browser.refused_upgrade("crosschat.v1", "x" * 43) == 403
            case _:
                async with browser.stream() as screen:
                    if row % 2:
                        await trio.aclose_forcefully(screen.socket._stream)

    async def settled() -> tuple[int, int]:
        return descriptors(running_hub.process.pid), len((await inspect(home, tree=True)).tree)

    for row in range(10):
        await visit(row)
    baseline = await unless_changing(settled)
    for row in range(100):
        await visit(row)
    now = await unless_changing(settled, lambda now: now[0] <= baseline[0] and now[1] <= baseline[1])
    assert now[0] <= baseline[0], "descriptors"
    assert now[1] <= baseline[1], "tasks"


# --- a cancel at step 1, 2, 3 …


async def live_a_little(home: Home, step: int, acked: list[str]) -> None:
    """An agent's short life: join, send, read, go."""
    with Program(home.agents_socket) as program:
        async with trio.open_nursery() as nursery:
            client = await join(nursery, program.connect())
            for number in range(3):
                text = f"text {step} {number}"
                await client.post(text, cid=text)
                acked.append(text)
            await client.ask(wire.Read(id="r"), wire.Page)
            await client.close()
            nursery.cancel_scope.cancel()
    async with Control(home.control_socket) as control:
        await control.ask(wire.Stop(id="s"), wire.Done)


async def serve_until_cancelled(home: Home, step: int, acked: list[str]) -> bool:
    """Run a hub and a guest, cancelled at `step`; True if both were through before it came."""
    held = lock.try_hold(home.hub_lock)
    assert held is not None
    recovered = recover(home.root, RealFiles())
    hub = Hub(Options(home=home, lock_fd=held, idle_stop_s=None), silent_log())
    canceller = CancelAt(step)
    done = False
    trio.lowlevel.add_instrument(canceller)
    try:
        with canceller.scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(hub.run, recovered)
                try:
                    await live_a_little(home, step, acked)
                except* (OSError, AssertionError, trio_websocket.HandshakeError, trio_websocket.ConnectionClosed):
                    if not canceller.scope.cancel_called:  # the hub was cancelled first, and the guest met that
                        raise
            done = True
    finally:
        trio.lowlevel.remove_instrument(canceller)
        recovered.log.close()
        os.close(held)
    return done


@needs_proc
@pytest.mark.slow
async def test_a_cancel_at_any_step_of_start_serve_and_stop_leaves_nothing_open_and_loses_nothing_acked(
    place: Path,
) -> None:
    home = Home(place / "home")
    home.root.mkdir(mode=0o700)
    acked: list[str] = []
    assert await serve_until_cancelled(home, 10**9, acked)  # whatever is made once is made here
    gc.collect()
    open_before, tasks_before = descriptors(), len(trio.lowlevel.current_task().child_nurseries)
    step = 1
    while True:
        with suppress(trio.TooSlowError):
            if await serve_until_cancelled(home, step, acked):
                break
        assert not home.agents_socket.exists(), step
        assert not home.control_socket.exists(), step
        assert not home.dashboard_lock.exists(), step
        step += 1
    assert step > 100, "the sweep ended early"
    gc.collect()
    assert descriptors() <= open_before, "descriptors are left open"
    assert len(trio.lowlevel.current_task().child_nurseries) == tasks_before
    assert threading.active_count() <= 16
    recovered = recover(home.root, RealFiles())
    stored = [record.content for record in recovered.log.replay() if isinstance(record, Message)]
    recovered.log.close()
    assert [text for text in acked if text not in stored] == []
    assert len(stored) == len(set(stored))


async def test_a_hub_whose_second_socket_cannot_be_opened_leaves_no_first(place: Path) -> None:
    home = Home(place / "home")
    home.root.mkdir(mode=0o700)
    home.run.mkdir(mode=0o700)
    home.control_socket.write_text("in the way")
    held = lock.try_hold(home.hub_lock)
    assert held is not None
    before = descriptors()
    recovered = recover(home.root, RealFiles())
    hub = Hub(Options(home=home, lock_fd=held, idle_stop_s=None), silent_log())
    with pytest.RaisesGroup(DataDirectoryError, flatten_subgroups=True):
        await hub.run(recovered)
    assert not home.agents_socket.exists()
    assert home.control_socket.read_text() == "in the way"
    recovered.log.close()
    gc.collect()
    assert descriptors() <= before
    os.close(held)


async def call_until_cancelled(home: Home, step: int, acked: list[str]) -> bool:
    """A session's short life in its bridge: open, join, send, wait, close; cancelled at `step`. True if it was through
    before that came."""

    async def report(*_: object) -> None:
        await trio.lowlevel.checkpoint()

    canceller = CancelAt(step)
    done = False
    trio.lowlevel.add_instrument(canceller)
    try:
        with canceller.scope:
            session = open_session(Configuration(home=home), Path("/"))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(session.link.run)
                nursery.start_soon(session.wake.run)
                sent = await tools.answer(session, "send_message", {"content": f"text {step}"}, Call(1, report))
                assert not sent.failed, sent.text
                acked.append(f"text {step}")
                await tools.answer(session, "wait_for_messages", {"timeoutMs": 1}, Call(2, report))
                nursery.cancel_scope.cancel()
            done = True
    finally:
        trio.lowlevel.remove_instrument(canceller)
    return done


class Client:
    """A client's end of a bridge in this process: descriptors 0 and 1 are pipes to it, until `close`."""

    def __init__(self) -> None:
        self._before = [os.dup(descriptor) for descriptor in (0, 1)]
        stdin, self._to = os.pipe()
        self._from, stdout = os.pipe()
        for end, descriptor in ((stdin, 0), (stdout, 1)):
            os.dup2(end, descriptor)
            os.close(end)

    def close(self) -> None:
        for descriptor, before in enumerate(self._before):
            os.dup2(before, descriptor)
            os.close(before)

    async def talk(self, step: int, acked: list[str]) -> None:
        """Introduce itself, send a message, wait for the answer, and go."""
        hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
        send = {"name": "send_message", "arguments": {"content": f"text {step}"}}
        said: list[dict[str, object]] = [
            {"id": 1, "method": "initialize", "params": hello},
            {"method": "notifications/initialized"},
            {"id": 2, "method": "tools/call", "params": send},
        ]
        async with trio.lowlevel.FdStream(self._to) as out, trio.lowlevel.FdStream(self._from) as into:
            with suppress(trio.BrokenResourceError):
                await out.send_all(b"".join(json.dumps({"jsonrpc": "2.0", **one}).encode() + b"\n" for one in said))
            heard = b""
            while part := await into.receive_some(1 << 16):
                heard += part
                answers = [json.loads(line) for line in heard.splitlines() if line.endswith(b"}")]
                if any(answer.get("id") == 2 and not answer["result"].get("isError") for answer in answers):
                    acked.append(f"text {step}")
                    return


async def serve_client_until_cancelled(home: Home, step: int, acked: list[str]) -> bool:
    """The whole of a bridge, with its client on stdin and stdout; cancelled at `step`. True if the client went before
    that came."""
    canceller = CancelAt(step)
    client = Client()
    done = False
    trio.lowlevel.add_instrument(canceller)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.talk, step, acked)
            with canceller.scope:
                await run_bridge(Configuration(home=home), Path("/"))
                done = True
            client.close()  # the client sees the end of both
    finally:
        trio.lowlevel.remove_instrument(canceller)
    return done


@pytest.fixture
def signals_as_they_were() -> Iterator[None]:
    """A bridge leaves the signals that end it ignored, because its process ends with it."""
    before = {number: signal.getsignal(number) for number in END_SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@needs_proc
@pytest.mark.slow
@pytest.mark.usefixtures("signals_as_they_were")
@pytest.mark.parametrize("live", [call_until_cancelled, serve_client_until_cancelled])
async def test_a_cancel_at_any_step_of_a_bridge_leaves_nothing_open_and_loses_nothing_acked(
    place: Path, live: Callable[[Home, int, list[str]], Awaitable[bool]]
) -> None:
    """Its tools called from within, and the whole of it with a client on stdin and stdout."""
    acked: list[str] = []
    with HubProcess(place / "home", "--stay", "--quotas", '{"messages_per_s": 1e6, "messages_burst": 1000000}') as hub:
        home = hub.started().home
        assert await live(home, 10**9, acked)  # whatever is made once is made here
        gc.collect()
        open_before, tasks_before = descriptors(), trio.lowlevel.current_statistics().tasks_living
        step = 1
        while not await live(home, step, acked):
            step += 1
        assert step > 30, "the sweep ended early"
        gc.collect()
        assert descriptors() <= open_before, "descriptors are left open"
        assert trio.lowlevel.current_statistics().tasks_living == tasks_before
        assert threading.active_count() <= 16
        lines = [json.loads(line) for line in (home.root / "log" / "000001.jsonl").read_bytes().splitlines()]
    stored = [line["content"] for line in lines if line["kind"] == "message"]
    assert [text for text in acked if text not in stored] == []
    assert len(stored) == len(set(stored))


@needs_proc
@pytest.mark.slow
async def test_two_hundred_connections_of_a_bridge_leave_its_own_side_as_it_was(running_hub: HubProcess) -> None:
    """Dialled, joined or not, and ended by either side or by a cancel."""
    path = running_hub.home.agents_socket

    async def visit(row: int) -> None:
        async with trio.open_nursery() as nursery:
            connection = await websocket.dial(path, nursery)
            if row % 2:
                await connection.send(
                    wire.encode(attrs.evolve(HELLO, protocol=0))
                )  # refused, without an agent's record
                assert isinstance(wire.decode_hub(await connection.receive()), wire.Error)
            match row % 3:
                case 0:
                    await connection.aclose()
                case 1:
                    with suppress(websocket.Closed), trio.move_on_after(0.01):
                        await connection.receive()
            nursery.cancel_scope.cancel()

    for row in range(6):
        await visit(row)
    gc.collect()
    before, tasks_before = descriptors(), trio.lowlevel.current_statistics().tasks_living
    for row in range(ROUNDS):
        await visit(row)
    gc.collect()
    assert descriptors() <= before
    assert trio.lowlevel.current_statistics().tasks_living == tasks_before
    assert threading.active_count() <= 16


async def test_two_hundred_lost_connections_leave_a_bridge_with_one_task_and_nothing_pending(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    hub = FakeHub()
    session = session_with(hub)
    nursery.start_soon(session.link.run)
    await (await hub.join()).send(wire.Bye(reason="round 0", retry_after_ms=10))
    await trio.testing.wait_all_tasks_blocked()
    tasks_before = trio.lowlevel.current_statistics().tasks_living
    for row in range(ROUNDS):
        peer = await hub.join()
        if row % 2:
            await peer.send(wire.Bye(reason=f"round {row}", retry_after_ms=10))
        else:
            peer.hang_up()
    await trio.testing.wait_all_tasks_blocked()
    assert trio.lowlevel.current_statistics().tasks_living == tasks_before
    assert hub.dials == ROUNDS + 1
    assert not session.link.connected
    nursery.cancel_scope.cancel()
