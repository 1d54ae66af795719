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
    terminal = installed.session()
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
    terminal = installed.session()
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
    terminal = installed.session("--allowedTools", "Bash(sleep:*)")
    terminal.type(api.play("busy", WHO, work, READ, "I have worked."))
    api.wait_for("busy", lambda conversation: conversation.spoken == 1)
    installed.crosschat("send", "to whom it may concern")
    told = api.wait_for("busy", lambda conversation: bool(rings(conversation)))
    assert told.spoken == 2  # the work's result and the ring come together
    terminal.wait_for(lambda screen: "I have worked." in screen, "the end of the turn")
    assert read(api.of("busy")[-1]) == ["to whom it may concern"]


def test_a_burst_arrives_once_each_in_few_turns_although_the_hub_is_killed(installed: Place, api: ScriptedApi) -> None:
    terminal = installed.session()
    turns: list[Turn] = [READ, "I have read."]
    terminal.type(api.play("burst", WHO, "I am idle.", *turns * 10))
    terminal.wait_for(lambda screen: "I am idle." in screen, "the end of the first turn")
    texts = [f"message {number}." for number in range(60)]
    send_all(installed, *texts, kill_at=30)
    done = api.wait_for("burst", lambda conversation: texts[-1] in read(conversation))
    assert sorted(read(done)) == sorted(texts)
    assert 1 <= len(rings(done)) <= 3


def test_a_session_in_bypass_mode_is_woken_too(installed: Place, api: ScriptedApi) -> None:
    state = json.loads((installed.home / ".claude.json").read_text())
    (installed.home / ".claude.json").write_text(json.dumps(state | {"bypassPermissionsModeAccepted": True}))
    terminal = installed.session(mode="bypassPermissions", IS_SANDBOX="1")
    terminal.type(api.play("bypass", WHO, "I am idle.", READ, "I have read."))
    terminal.wait_for(lambda screen: "I am idle." in screen, "the end of the first turn")
    installed.crosschat("send", f"@{own_name(api.of('bypass')[-1])} are you there?")
    terminal.wait_for(lambda screen: "I have read." in screen, "the end of the second turn")
    assert len(rings(api.of("bypass")[-1])) == 1


def test_after_a_clear_the_session_has_its_name_a_brief_and_is_woken(installed: Place, api: ScriptedApi) -> None:
    terminal = installed.session()
    terminal.type(api.play("before", WHO, "I am idle."))
    terminal.wait_for(lambda screen: "I am idle." in screen, "the end of the first turn")
    name = own_name(api.of("before")[-1])
    terminal.type("/clear")
    terminal.wait_for(lambda screen: "I am idle." not in screen, "an empty screen")
    installed.crosschat("send", f"@{name} now " + api.play("after", READ, "I have read."))
    told = api.wait_for("after", lambda conversation: bool(rings(conversation)))
    assert f"you are {name}" in "\n".join(told.texts())
    assert "I am idle." not in "\n".join(told.texts())
    terminal.wait_for(lambda screen: "I have read." in screen, "the end of the turn")
    assert len(read(api.of("after")[-1])) == 1


def test_a_resumed_session_takes_up_its_name_and_what_is_unread_and_is_rung_for_nothing_it_has_read(
    installed: Place, api: ScriptedApi
) -> None:
    terminal = installed.session()
    terminal.type(api.play("first", WHO, "I am idle.", READ, "I have read."))
    terminal.wait_for(lambda screen: "I am idle." in screen, "the end of the first turn")
    name = own_name(api.of("first")[-1])
    installed.crosschat("send", f"@{name} read this now.")
    terminal.wait_for(lambda screen: "I have read." in screen, "the end of the second turn")
    terminal.wait_for(lambda _: unread(installed) == 0, "that it counts as read")
    terminal.close()
    installed.crosschat("send", f"@{name} read this later.")
    again = installed.session("--continue")
    again.wait_for(lambda _: unread(installed) == 1, "that the session is back")
    told = api.wait_for("first", lambda conversation: len(rings(conversation)) == 2)
    assert "1 unread" in rings(told)[1]
    assert "read this later." in rings(told)[1]
    again.type("go on " + api.play("second", WHO, READ, "I have read it all."))
    again.wait_for(lambda screen: "I have read it all." in screen, "the end of the turn")
    assert [result["you"]["name"] for result in api.of("second")[-1].results() if "you" in result] == [name, name]


def test_an_idle_session_is_woken_after_the_hub_was_killed(installed: Place, api: ScriptedApi) -> None:
    terminal = installed.session()
    terminal.type(api.play("killed", WHO, "I am idle.", READ, "I have read."))
    terminal.wait_for(lambda screen: "I am idle." in screen, "the end of the first turn")
    name = own_name(api.of("killed")[-1])
    os.kill(json.loads((installed.home / ".crosschat" / "dashboard.lock").read_text())["hub_pid"], signal.SIGKILL)
    installed.crosschat("send", f"@{name} are you there?")
    terminal.wait_for(lambda screen: "I have read." in screen, "the end of the second turn")
    assert read(api.of("killed")[-1]) == [f"@{name} are you there?"]


def unread(place: Place) -> int | None:
    """How much the one connected session has not read; None while there is none."""
    return next((int(agent["unread"]) for agent in place.peers()), None)
