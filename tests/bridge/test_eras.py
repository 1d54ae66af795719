"""All ten tools through the official client, in both eras of the protocol, on a real hub beside another agent."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
import trio
from mcp.client.client import Client
from mcp.client.stdio import stdio_client

from crosschat.bridge.tools import TOOLS
from tests.bridge.test_two_sessions import call, home, serve, until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.process
__all__ = ["home"]  # the fixture


def only(found: object) -> dict[str, Any]:
    assert isinstance(found, list)
    (one,) = found
    assert isinstance(one, dict)
    return one


@pytest.mark.parametrize(("mode", "version"), [("legacy", "2025-11-25"), ("auto", "2026-07-28")])
async def test_a_client_without_plugin_and_hooks_uses_every_tool(
    home: Path,
    mode: str,
    version: str,
) -> None:
    with trio.fail_after(60):
        async with AsyncExitStack() as stack:
            other = await stack.enter_async_context(Client(stdio_client(serve(home, "other")), mode="legacy"))
            client = await stack.enter_async_context(Client(stdio_client(serve(home, "client")), mode=mode))
            assert client.protocol_version == version
            assert {tool.name for tool in (await client.list_tools()).tools} == {tool.name for tool in TOOLS}
            peers = await call(client, "list_peers")
            assert peers["you"]["name"] == "client"  # type: ignore[index]
            await call(client, "set_status", status="busy", detail="trying")
            peer = only((await call(other, "list_peers"))["peers"])
            assert (peer["name"], peer["status"], peer["activity"]) == ("client", "busy", "unknown")
            own = (await call(client, "send_message", content="@other count them"))["messageId"]
            await call(client, "flag_as_task", messageId=own)
            await call(other, "claim_task", messageId=own)
            await call(other, "resolve_task", messageId=own, status="completed", result="seven")
            assert (await until(client, "task_completed"))["content"] == "seven"
            theirs = (await call(other, "send_message", content="@client and these"))["messageId"]
            await call(other, "flag_as_task", messageId=theirs)
            assert (await until(client, "task_flagged"))["messageId"] == theirs
            await call(client, "claim_task", messageId=theirs)
            await call(client, "add_badge", messageId=theirs, badgeType="project", badgeValue="numbers")
            failed = await call(
                client, "resolve_task", messageId=theirs, status="failed", result="none", error="no such"
            )
            assert failed["task"]["status"] == "failed"  # type: ignore[index]
            message = only((await call(client, "get_messages", messageId=theirs))["messages"])
            assert {badge["type"] for badge in message["badges"]} == {"task", "project"}
            await call(client, "clear_session", messages=False)
            peer = only((await call(other, "list_peers"))["peers"])
            assert peer["status"] == "available"
