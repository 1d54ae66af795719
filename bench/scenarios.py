"""What is measured, one function a question. All with the log's sync on. Times in milliseconds unless named."""

from __future__ import annotations

import statistics
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

import attrs
import trio
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp_types import TextContent

from crosschat.wire import Send

from .rig import Client, PrivateHub, dialled, private_hub, resident_mib, selector_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CONTENT_BYTES = 200


@attrs.frozen
class Figures:
    """One scenario's results: names with values, and how many samples the values rest on."""

    scenario: str
    samples: int
    values: dict[str, float]


def percentiles(times_s: list[float], name: str) -> dict[str, float]:
    """p50 and p99 in ms, nearest rank."""
    ordered = sorted(times_s)
    return {
        f"{name} p50 ms": statistics.median(ordered) * 1e3,
        f"{name} p99 ms": ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1e3,
    }


def syncs(hub: PrivateHub) -> dict[str, float]:
    """What the log's write and sync cost in this very run; every other time is read beside it."""
    status = hub.ask("inspect")
    return {
        "write+fdatasync p50 ms": cast("float", status["sync_p50_ms"]),
        "write+fdatasync p99 ms": cast("float", status["sync_p99_ms"]),
    }


def hub_start(rounds: int) -> Figures:
    """From spawning the process to both sockets accepting, on an empty directory."""
    times: list[float] = []
    for _ in range(rounds):
        with private_hub() as hub:
            times.append(hub.started_s)
    return Figures("hub start", rounds, percentiles(times, "spawn to accepting"))


def fan_out(subscribers: int, messages: int) -> Figures:
    """One sender, `subscribers` readers: first one message at a time, then as fast as it is acked."""
    with private_hub() as hub, dialled(hub.agents_socket, subscribers + 1) as sockets:
        clients = [Client(sock, f"bench{number}") for number, sock in enumerate(sockets)]
        sender, readers = clients[0], clients[1:]
        single = [_one_message(sender, readers, number) for number in range(min(messages, 300))]
        values = {
            **percentiles([first for _, first, _ in single], "first reader"),
            **percentiles([last for _, _, last in single], "last reader"),
            **percentiles([acked for acked, _, _ in single], "ack"),
        }
        seconds = _stream(sender, readers, messages)
        values["messages/s"] = messages / seconds
        values["deliveries/s"] = messages * subscribers / seconds
        values["hub RSS MiB"] = resident_mib(hub.process.pid)
        values |= syncs(hub)
    return Figures(f"fan-out to {subscribers}", messages, values)


def _send(sender: Client, number: int, kind: str) -> None:
    sender.send(Send(id="b", cid=f"{kind}{number}", content="x" * CONTENT_BYTES))


def _one_message(sender: Client, readers: list[Client], number: int) -> tuple[float, float, float]:
    """Seconds from the send to the ack, the first and the last delivery."""
    times: list[float] = []
    acked = 0.0
    with selector_of([sender, *readers]) as selector:
        begun = time.perf_counter()
        _send(sender, number, "s")
        while len(times) < len(readers) or not acked:
            for key, _ in selector.select(10):
                client: Client = key.data
                client.fill()
                for _ in client.take(99):
                    elapsed = time.perf_counter() - begun
                    if client is sender:
                        acked = elapsed
                    else:
                        times.append(elapsed)
    return acked, min(times), max(times)


def _stream(sender: Client, readers: list[Client], messages: int) -> float:
    """Seconds until every reader has every message, the sender keeping 64 requests under way."""
    sent = acked = 0
    left = dict.fromkeys(map(id, readers), messages)
    with selector_of([sender, *readers]) as selector:
        begun = time.perf_counter()
        while left:
            while sent < messages and sent - acked < 64:
                _send(sender, sent, "t")
                sent += 1
            for key, _ in selector.select(10):
                client: Client = key.data
                client.fill()
                for payload in client.take(1 << 16):
                    if client is sender:
                        acked += 1
                        continue
                    left[id(client)] -= payload.count(b'"seq":')
                    if left[id(client)] <= 0:
                        del left[id(client)]
        return time.perf_counter() - begun


def tool_to_tool(rounds: int) -> Figures:
    """Two real MCP sessions: from one's send_message call to the other's wait_for_messages result."""
    return trio.run(_tool_to_tool, rounds)


async def _tool_to_tool(rounds: int) -> Figures:
    times: list[float] = []
    acks: list[float] = []
    starts: list[float] = []
    with private_hub() as hub:
        environment = {"CROSSCHAT_HOME": str(hub.home)}
        async with _session(environment, "one", starts) as one, _session(environment, "two", starts) as two:
            times += [await _wake(one, two, number, acks) for number in range(rounds)]
        values = {
            **percentiles(times, "send_message to wait_for_messages result"),
            **percentiles(acks, "send_message"),
            **percentiles(starts, "bridge start to tools/list"),
            "hub RSS MiB": resident_mib(hub.process.pid),
            **syncs(hub),
        }
    return Figures("wake-up, tool to tool", rounds, values)


async def _wake(one: ClientSession, two: ClientSession, number: int, acks: list[float]) -> float:
    woken = 0.0
    waiting = trio.Event()

    async def began(progress: float, total: float | None, message: str | None) -> None:
        waiting.set()  # the first progress notification says that the wait is pending

    async def wait() -> None:
        nonlocal woken
        result = await two.call_tool("wait_for_messages", {"timeoutMs": 10_000}, progress_callback=began)
        woken = time.perf_counter()
        text = result.content[0]
        if result.is_error or not isinstance(text, TextContent) or f"round {number}" not in text.text:
            raise RuntimeError(f"the wait ended otherwise: {result}")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        with trio.fail_after(10):
            await waiting.wait()
        begun = time.perf_counter()
        result = await one.call_tool("send_message", {"content": f"round {number}"})
        acks.append(time.perf_counter() - begun)
        if result.is_error:
            raise RuntimeError(f"not sent: {result}")
    return woken - begun


@asynccontextmanager
async def _session(environment: dict[str, str], name: str, starts: list[float]) -> AsyncIterator[ClientSession]:
    """A real `crosschat serve` with the official client; notes how long it took to answer `tools/list`."""
    parameters = StdioServerParameters(
        command=sys.executable, args=["-m", "crosschat", "serve"], env={**environment, "CROSSCHAT_NAME": name}
    )
    begun = time.perf_counter()
    async with stdio_client(parameters) as (read, write), ClientSession(read, write) as session:
        await session.initialize()
        await session.list_tools()
        starts.append(time.perf_counter() - begun)
        yield session
