"""A session in the real Claude Code is told of its messages: idle, busy, in a burst, and after the hub was killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from crosschat.paths import Home
from tests.claude.api import Call, Conversation
from tests.claude.client import TOOLS
from tests.live.rig import eventually

if TYPE_CHECKING:
    from tests.claude.api import ScriptedApi, Turn
    from tests.claude.client import Place

pytestmark = [pytest.mark.slow, pytest.mark.process]

READ = Call(f"{TOOLS}get_messages", {"unreadOnly": True, "limit": 200})
WHO = Call(f"{TOOLS}list_peers")


def own_name(conversation: Conversation) -> str:
    return str(conversation.results()[0]["you"]["name"])


def rings(conversation: Conversation) -> list[str]:
    return [text for text in conversation.texts() if "<cross-session-message" in text]


def read(conversation: Conversation) -> list[Any]:
    """The texts of all messages that the session's tools showed it."""
    pages = [result for result in conversation.results() if isinstance(result, dict) and "messages" in result]
    return [message["content"] for page in pages for message in page["messages"]]


def send_all(place: Place, *texts: str, kill_at: int | None = None) -> None:
    """Have another session send the texts, one after the other; the hub is killed before the one at `kill_at`."""
    variables = {"PATH": os.environ["PATH"], "HOME": os.fspath(place.home), "CROSSCHAT_NAME": "sender"}
    server = StdioServerParameters(command=sys.executable, args=["-m", "crosschat", "serve"], env=variables)

    async def send() -> None:
        with trio.fail_after(60):
            async with Client(stdio_client(server), mode="legacy") as client:
                for number, text in enumerate(texts):
                    if number == kill_at:
                        lock = json.loads((place.home / ".crosschat" / "dashboard.lock").read_text())
                        os.kill(lock["hub_pid"], signal.SIGKILL)
                    result = await client.call_tool("send_message", {"content": text})
                    assert not result.is_error, result.content

    trio.run(send)


def test_an_idle_session_begins_a_turn_and_reads(installed: Place, api: ScriptedApi) -> None:
    terminal = installed.terminal()
    terminal.type(api.play("idle", WHO, "I am idle.", READ, "I have read."))
    terminal.wait_for(lambda screen: "I am idle." in screen, "the end of the first turn")
    name = own_name(api.of("idle")[-1])
    installed.crosschat("send", f"@{name} are you there?")
    told = api.wait_for("idle", lambda conversation: bool(rings(conversation)))
    assert f'message to you: "@{name} are you there?"' in rings(told)[0]
    terminal.wait_for(lambda screen: "I have read." in screen, "the end of the second turn")
    done = api.of("idle")[-1]
    assert read(done) == [f"@{name} are you there?"]
    assert len(rings(done)) == 1


def test_a_session_whose_server_came_from_the_template_is_told(installed: Place, api: ScriptedApi) -> None:
    """The inbox knows its own session's server; this one is the child of another process."""
    installed.run(api.play("first", "I start the template."))
    template = Home(Path(installed.home) / ".crosschat").template_socket
    trio.run(eventually, lambda: listens(template), 30.0)
    terminal = installed.terminal()
    terminal.type(api.play("forked", WHO, "I am idle.", READ, "I have read."))
    terminal.wait_for(lambda screen: "I am idle." in screen, "the end of the first turn")
    name = own_name(api.of("forked")[-1])
    installed.crosschat("send", f"@{name} are you there?")
    terminal.wait_for(lambda screen: "I have read." in screen, "the end of the second turn")
    done = api.of("forked")[-1]
    assert read(done) == [f"@{name} are you there?"]
    assert len(rings(done)) == 1


def listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(os.fspath(path)) == 0


def test_a_busy_session_reads_it_between_two_tool_calls(installed: Place, api: ScriptedApi) -> None:
    work = Call("Bash", {"command": "sleep 5", "description": "work"})
    terminal = installed.terminal("--allowedTools", "Bash(sleep:*)")
    terminal.type(api.play("busy", WHO, work, READ, "I have worked."))
    api.wait_for("busy", lambda conversation: conversation.spoken == 1)
    installed.crosschat("send", "to whom it may concern")
    told = api.wait_for("busy", lambda conversation: bool(rings(conversation)))
    assert told.spoken == 2  # the work's result and the ring come together
    terminal.wait_for(lambda screen: "I have worked." in screen, "the end of the turn")
    assert read(api.of("busy")[-1]) == ["to whom it may concern"]


def test_a_burst_arrives_once_each_in_few_turns_although_the_hub_is_killed(installed: Place, api: ScriptedApi) -> None:
    terminal = installed.terminal()
    turns: list[Turn] = [READ, "I have read."]
    terminal.type(api.play("burst", WHO, "I am idle.", *turns * 10))
    terminal.wait_for(lambda screen: "I am idle." in screen, "the end of the first turn")
    texts = [f"message {number}." for number in range(60)]
    send_all(installed, *texts, kill_at=30)
    done = api.wait_for("burst", lambda conversation: texts[-1] in read(conversation))
    assert sorted(read(done)) == sorted(texts)
    assert 1 <= len(rings(done)) <= 3
