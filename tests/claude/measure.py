"""How soon the real Claude Code is woken, and what the hooks cost it: `python -m tests.claude.measure`.

No test: it asserts nothing and prints what it measured, with and without the plugin in turn, so that what the machine
does otherwise meets both alike. The model answers at once here; the times are those of everything around it.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from itertools import pairwise
from typing import TYPE_CHECKING

import trio
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests.claude.api import Call, ScriptedApi
from tests.claude.client import TOOLS, Place
from tests.claude.test_wake import READ, WHO, own_name, rings
from tests.live.rig import short_directory

if TYPE_CHECKING:
    from collections.abc import Sequence

WAKES = 20
PROMPTS = 10
CALLS = 20


def show(what: str, times_s: Sequence[float]) -> None:
    times = sorted(time_s * 1000 for time_s in times_s)
    p95 = times[min(len(times) - 1, round(0.95 * len(times)))]
    print(f"{what:<58} n={len(times):<3} p50 {statistics.median(times):6.0f} ms   p95 {p95:6.0f} ms", flush=True)


def wake(place: Place, api: ScriptedApi) -> list[float]:
    """From a peer's call of send_message to the request of the turn that it begins in an idle session."""
    terminal = place.terminal()
    terminal.type(api.play("wake", WHO, "I am idle.", *[turn for _ in range(WAKES) for turn in (READ, "I have read.")]))
    terminal.wait_for(lambda screen: "I am idle." in screen, "the end of the first turn")
    name = own_name(api.of("wake")[-1])
    variables = {"PATH": os.environ["PATH"], "HOME": os.fspath(place.home), "CROSSCHAT_NAME": "sender"}
    server = StdioServerParameters(command=sys.executable, args=["-m", "crosschat", "serve"], env=variables)
    times: list[float] = []

    async def send() -> None:
        async with Client(stdio_client(server), mode="legacy") as client:
            for number in range(WAKES):
                began = time.monotonic()
                await client.call_tool("send_message", {"content": f"@{name} message {number}."})
                rung = number + 1
                told = await trio.to_thread.run_sync(
                    api.wait_for, "wake", lambda conversation, rung=rung: len(rings(conversation)) == rung
                )
                times.append(told.at - began)
                await trio.sleep(2.5)  # until the turn is over, and for the pause between two rings

    trio.run(send)
    terminal.close()
    return times


def between_calls(place: Place, api: ScriptedApi, part: str, call: Call, *options: str) -> list[float]:
    """From one request to the next, with a tool call between them."""
    place.run(api.play(part, *[call] * CALLS, "Done."), *options)
    at = [conversation.at for conversation in api.of(part)]
    return [later - sooner for sooner, later in pairwise(at[1:])]  # the first starts more than a call


def prompts(place: Place, api: ScriptedApi, part: str) -> list[float]:
    """From the Enter behind a prompt to its request."""
    terminal = place.terminal()
    times: list[float] = []
    for number in range(PROMPTS):
        began = terminal.type(api.play(f"{part}{number}", f"Answer {number}."))
        times.append(api.wait_for(f"{part}{number}", lambda _: True).at - began)
        terminal.wait_for(lambda screen, number=number: f"Answer {number}." in screen, "the answer")  # type: ignore[misc]
    terminal.close()
    return times[1:]  # the first starts more than a turn


def main() -> None:
    other = Call("Bash", {"command": "true", "description": "nothing"})
    with (
        ScriptedApi() as api, short_directory() as one, short_directory() as two,
        Place(one, api) as installed, Place(two, api) as bare,
    ):  # fmt: skip
        installed.crosschat("install")
        installed.crosschat("start", "--stay")
        show("send_message of a peer -> turn of an idle session", wake(installed, api))
        for place, name in ((bare, "without the plugin"), (installed, "with it")):
            key = name.split()[0]
            show(f"request -> request around a Bash call, {name}", between_calls(
                place, api, f"bash-{key}", other, "--allowedTools", "Bash(true:*)"))  # fmt: skip
            show(f"Enter -> request of a prompt, {name}", prompts(place, api, f"prompt-{key}-"))
        show("request -> request around a call of list_peers", between_calls(
            installed, api, "own", Call(f"{TOOLS}list_peers")))  # fmt: skip
        print(installed.crosschat("cost"))
        print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
