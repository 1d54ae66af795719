"""The compared systems pass on every message to every reader, and are counted alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

from bench import fanout
from bench.versus import others
from bench.versus.earlier import Earlier
from tests.bench.test_bench import SMALL, bench

if TYPE_CHECKING:
    from bench.systems import System


@pytest.mark.process
@pytest.mark.parametrize("system", others(None), ids=lambda system: system.name)
def test_each_reader_of_a_compared_system_gets_every_message(system: System, tmp_path: Path) -> None:
    with system.start(tmp_path) as running:
        figures = fanout.throughput(running, readers=3, messages=200, size=64)
    assert figures["deliveries /s"] == pytest.approx(3 * figures["messages /s"])


@pytest.mark.process
def test_a_reader_that_stops_reading_does_not_stop_the_floor(tmp_path: Path) -> None:
    floor = next(system for system in others(None) if system.name == "floor")
    with floor.start(tmp_path) as running:
        sender, (idle, busy) = running.open(2)
        came = 0
        for _ in range(400):  # much more than the kernel keeps for the one that does not read
            sender.send("x" * 4000)
            came += busy.take()
        while came < 400:
            came += busy.take()
        late = 0
        while late < 400:
            late += idle.take()
    assert (came, late) == (400, 400)


@pytest.mark.process
@pytest.mark.parametrize("system", others(None), ids=lambda system: system.name)
def test_confirmations_are_timed_where_there_are_any(system: System, tmp_path: Path) -> None:
    with system.start(tmp_path) as running:
        figures = fanout.latency(running, readers=2, messages=3, size=64)
    assert ("confirmed p50 ms" in figures) == (system.name == "redis")


async def test_a_hub_of_2_0_x_is_registered_with_and_its_pings_are_answered() -> None:
    """Against a stand-in that pings before each delivery, tells the sender its own messages, and everybody more."""
    subscribers: list[WebSocketConnection] = []
    pongs = 0

    async def attend(request: WebSocketRequest) -> None:
        nonlocal pongs
        assert request.path == "/ws/agent"
        connection = await request.accept()
        hello = json.loads(await connection.get_message())
        assert set(hello) == {"type", "peerId", "name", "cwd", "pid"}
        await connection.send_message(json.dumps({"type": "registered", "peerId": hello["peerId"]}))
        subscribers.append(connection)
        try:
            while True:
                said = json.loads(await connection.get_message())
                assert said["type"] == "agent.sendMessage"
                for other in subscribers:
                    if other is not connection:
                        await other.ping(b"")  # waits for the pong
                        pongs += 1
                    await other.send_message(json.dumps({"type": "peers", "peers": []}))
                    text = json.dumps({"type": "channel.message", "content": said["content"]}, separators=(",", ":"))
                    await other.send_message(text)
        except ConnectionClosed:
            subscribers.remove(connection)

    def measure(port: int) -> dict[str, float]:
        with Earlier(f"ws://127.0.0.1:{port}/ws/agent").start(Path("/nowhere")) as running:
            return dict(fanout.throughput(running, readers=2, messages=5, size=64))

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            server = await nursery.start(serve_websocket, attend, "127.0.0.1", 0, None)
            figures = await trio.to_thread.run_sync(measure, server.port)
            nursery.cancel_scope.cancel()
    assert figures["messages /s"] > 0
    assert pongs == 2 * (fanout.WARM_UP + 5)


@pytest.mark.process
@pytest.mark.slow
def test_what_is_compared_is_measured_beside_crosschat_and_what_is_not_is_named() -> None:
    done = bench(*SMALL, "latency", "--versus", "--json")
    assert done.returncode == 0, done.stderr
    (table,) = json.loads(done.stdout)["tables"]
    measured = {result["system"] for result in table["results"]}
    assert {"crosschat", "floor", "floor + sync", "naive"} <= measured
    assert "not compared: 2.0.x: no hub was named (--url)" in done.stderr
    for system in ("redis", "websockets"):
        assert (system in measured) != (f"not compared: {system}: " in done.stderr)
