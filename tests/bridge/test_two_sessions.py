"""Two real servers and a real hub: a task from one to the other, and a hub that is killed while both are at work."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests.live.rig import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crosschat.model import JsonObject

pytestmark = pytest.mark.process

CHECKOUT = Path(__file__).parents[2]
RUN = "import sys; from crosschat.bridge.main import main; sys.exit(main())"


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="cc-") as place:
        yield Path(place).resolve()
        with suppress(FileNotFoundError, ProcessLookupError):
            os.kill(hub_pid(Path(place)), signal.SIGKILL)


def hub_pid(home: Path) -> int:
    return int(json.loads((home / "dashboard.lock").read_text())["hub_pid"])


async def kill_hub(home: Path, before: int | None = None) -> int:
    """Kill the hub that came after the one with the pid `before`; it writes its own after it has begun to serve."""
    await eventually(lambda: hub_pid(home) != before, 30)
    pid = hub_pid(home)
    os.kill(pid, signal.SIGKILL)
    return pid


def serve(home: Path, name: str) -> StdioServerParameters:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("CROSSCHAT", "CLAUDE"))}
    named = {"CROSSCHAT_HOME": str(home), "CROSSCHAT_NAME": name, "PYTHONPATH": str(CHECKOUT)}
    return StdioServerParameters(command=sys.executable, args=["-c", RUN], env=kept | named)


async def call(client: Client, tool: str, **arguments: object) -> JsonObject:
    result = await client.call_tool(tool, arguments)
    (content,) = result.content
    assert content.type == "text"
    assert not result.is_error, content.text
    reply = json.loads(content.text)
    assert isinstance(reply, dict)
    return reply


async def until(client: Client, event: str) -> dict[str, object]:
    """Wait until a message's event, or its text, is this."""
    while True:
        for message in (await call(client, "wait_for_messages", timeoutMs=20_000)).get("messages", []):  # type: ignore[attr-defined]
            if event in (message.get("event"), message.get("content")):
                assert isinstance(message, dict)
                return message


async def test_a_task_goes_round_and_a_killed_hub_costs_neither_session_anything(home: Path) -> None:
    with trio.fail_after(60):
        async with AsyncExitStack() as stack:
            alice = await stack.enter_async_context(Client(stdio_client(serve(home, "alice")), mode="legacy"))
            bob = await stack.enter_async_context(Client(stdio_client(serve(home, "bob")), mode="auto"))
            assert (await call(alice, "list_peers"))["you"] == {
                "name": "alice",
                "id": (await call(bob, "list_peers"))["peers"][0]["id"],  # type: ignore[index]
            }
            task = (await call(alice, "send_message", content="@bob run the tests"))["messageId"]
            await call(alice, "flag_as_task", messageId=task)
            assert (await until(bob, "task_flagged"))["messageId"] == task
            await call(bob, "claim_task", messageId=task)
            killed = await kill_hub(home)
            await call(bob, "send_message", content="half way", threadId=task)
            await until(alice, "half way")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(until, alice, "after the second kill")
                await trio.sleep(0.1)
                await kill_hub(home, before=killed)
                await call(bob, "send_message", content="after the second kill")
            await call(bob, "resolve_task", messageId=task, status="completed", result="12 passed")
            done = await until(alice, "task_completed")
            assert (done["fromName"], done["content"]) == ("bob", "12 passed")
            thread = await call(alice, "get_messages", threadId=task)
            assert [message["content"] for message in thread["messages"]] == ["@bob run the tests", "half way"]  # type: ignore[attr-defined]
