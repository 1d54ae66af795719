"""Who a session is in the real Claude Code: the same after /clear and a resume, another beside it, and told so."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import trio
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from crosschat.core.briefs import BRIEF_CHARS
from tests.claude.api import Call, Conversation
from tests.claude.client import TOOLS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.claude.api import ScriptedApi
    from tests.claude.client import Place

pytestmark = [pytest.mark.slow, pytest.mark.process]

WHO = Call(f"{TOOLS}list_peers")
UNREAD = Call(f"{TOOLS}get_messages", {"unreadOnly": True})


def own(conversation: Conversation) -> dict[str, str]:
    """Its own name and id, as its last list_peers said."""
    found = [result["you"] for result in conversation.results() if isinstance(result, dict) and "you" in result]
    return dict(found[-1])


def texts(conversation: Conversation) -> list[str]:
    """What the last get_messages showed."""
    pages = [result for result in conversation.results() if isinstance(result, dict) and "messages" in result]
    return [message["content"] for message in pages[-1]["messages"] if "event" not in message]


def briefs(conversation: Conversation) -> list[str]:
    found = "\n".join(conversation.texts())
    return re.findall(r"CrossChat: you are [^\n]*never your user's consent\.", found)


Tools = dict[str, Any]


def as_boss(place: Place, work: Callable[[Callable[..., Awaitable[Tools]]], Awaitable[None]]) -> None:
    """Do `work` as the agent `boss`, which is no Claude Code."""
    variables = {"PATH": os.environ["PATH"], "HOME": os.fspath(place.home), "CROSSCHAT_NAME": "boss"}
    server = StdioServerParameters(command=sys.executable, args=["-m", "crosschat", "serve"], env=variables)

    async def run() -> None:
        with trio.fail_after(60):
            async with Client(stdio_client(server), mode="legacy") as client:

                async def call(tool: str, **arguments: object) -> Tools:
                    result = await client.call_tool(tool, arguments)
                    (content,) = result.content
                    assert content.type == "text"
                    assert not result.is_error, content.text
                    answer: Tools = json.loads(content.text)
                    return answer

                await work(call)

    trio.run(run)


def give_task(place: Place, name: str) -> str:
    """A task that `boss` gives to the agent of that name; its messageId."""
    given: list[str] = []

    async def give(call: Callable[..., Awaitable[Tools]]) -> None:
        given.append((await call("send_message", content=f"@{name} test the parser"))["messageId"])
        await call("flag_as_task", messageId=given[0])

    as_boss(place, give)
    return given[0]


def claimants(place: Place) -> list[str | None]:
    tasks: list[dict[str, Any]] = json.loads(place.crosschat("tasks", "--json"))["tasks"]
    return [task["task"]["claimant"] for task in tasks]


def one_that_holds_a_task(place: Place, api: ScriptedApi) -> tuple[dict[str, str], str]:
    """A session that claimed a task, and ended: who it was, and its session id."""
    first = place.run(api.play("first", WHO, "I am here."))
    earlier = own(api.of("first")[-1])
    task = give_task(place, earlier["name"])
    part = api.play("claiming", UNREAD, Call(f"{TOOLS}claim_task", {"messageId": task}), "It is mine.")
    place.run(part, "--resume", first.start["session_id"])
    assert claimants(place) == [earlier["name"]]
    return earlier, first.start["session_id"]


@pytest.mark.parametrize("way", ["--resume", "--continue"])
def test_a_resumed_session_has_its_name_what_waited_for_it_and_its_claims(
    installed: Place, api: ScriptedApi, way: str
) -> None:
    earlier, session = one_that_holds_a_task(installed, api)
    installed.crosschat("send", f"@{earlier['name']} while you were away")
    options = (way, session) if way == "--resume" else (way,)
    installed.run(api.play("again", WHO, UNREAD, "I am back."), *options)
    again = api.of("again")[-1]
    assert own(again) == earlier
    assert texts(again) == [f"@{earlier['name']} while you were away"]
    assert claimants(installed) == [earlier["name"]]
    brief = briefs(again)[-1]
    assert f"you are {earlier['name']}" in brief
    assert "1 unread from cli" in brief
    assert "You hold: " in brief
    names = [peer["name"] for peer in json.loads(installed.crosschat("peers", "--json"))["peers"]]
    assert sorted(names) == sorted(["boss", earlier["name"]])  # nobody is left over from the way back


def test_a_new_session_in_the_same_directory_is_another(installed: Place, api: ScriptedApi) -> None:
    earlier, _ = one_that_holds_a_task(installed, api)
    installed.run(api.play("other", WHO, "I am new."))
    other = own(api.of("other")[-1])
    assert other["id"] != earlier["id"]
    assert other["name"] != earlier["name"]
    assert {other["name"][:8], earlier["name"][:8]} == {"project-"}
    assert claimants(installed) == [earlier["name"]]


def test_clear_keeps_name_claims_and_what_is_unread_and_the_model_is_told(installed: Place, api: ScriptedApi) -> None:
    terminal = installed.terminal()
    terminal.type(api.play("before", WHO, "I am here."))
    terminal.wait_for(lambda screen: "I am here." in screen, "the end of the first turn")
    earlier = own(api.of("before")[-1])
    task = give_task(installed, earlier["name"])
    terminal.type(api.play("claiming", UNREAD, Call(f"{TOOLS}claim_task", {"messageId": task}), "It is mine."))
    terminal.wait_for(lambda screen: "It is mine." in screen, "the claim")
    terminal.type("/clear")
    terminal.wait_for(lambda screen: "It is mine." not in screen, "a clear screen")
    installed.crosschat("send", f"@{earlier['name']} not read yet", "--importance", "chitchat")
    terminal.type(api.play("after", WHO, UNREAD, "I am still here."))
    terminal.wait_for(lambda screen: "I am still here." in screen, "the end of the turn after it")
    after = api.of("after")[-1]
    assert own(after) == earlier
    assert texts(after) == [f"@{earlier['name']} not read yet"]
    assert claimants(installed) == [earlier["name"]]
    (brief,) = briefs(after)
    assert f"you are {earlier['name']}" in brief
    assert f"You hold: {task}" in brief
    assert len(brief) <= BRIEF_CHARS  # 300 tokens, of no more than 3.3 characters


def test_compaction_keeps_who_it_is_and_the_model_is_told(installed: Place, api: ScriptedApi) -> None:
    terminal = installed.terminal()
    terminal.type(api.play("before", WHO, "I am here.", "What was said before the compaction."))
    terminal.wait_for(lambda screen: "I am here." in screen, "the end of the first turn")
    earlier = own(api.of("before")[-1])
    installed.crosschat("pause", earlier["name"])  # so that the brief tells it, and no ring
    installed.crosschat("send", f"@{earlier['name']} while you were busy")
    terminal.type("/compact")
    terminal.wait_for(lambda screen: "ompacted" in screen, "the end of the compaction")
    terminal.type(api.play("after", WHO, UNREAD, "I know who I am."))
    terminal.wait_for(lambda screen: "I know who I am." in screen, "the end of the turn after it")
    after = api.of("after")[-1]
    assert own(after) == earlier
    assert texts(after) == [f"@{earlier['name']} while you were busy"]
    brief = briefs(after)[-1]
    assert len(brief) <= BRIEF_CHARS
    assert f"you are {earlier['name']}" in brief
    assert "1 unread from cli" in brief


def test_a_name_that_is_taken_gets_a_visible_suffix_and_a_warning(installed: Place, api: ScriptedApi) -> None:
    installed.environment["CROSSCHAT_NAME"] = "boss"

    async def be_there(call: Callable[..., Awaitable[Tools]]) -> None:
        await call("list_peers")
        part = api.play("second", WHO, "I am the second.")
        await trio.to_thread.run_sync(installed.run, part)

    as_boss(installed, be_there)
    second = api.of("second")[-1]
    assert own(second)["name"].startswith("boss-")
    (notice,) = second.results()[0]["notices"]
    assert "'boss' belongs to another agent" in notice
    assert own(second)["name"] in notice


def test_the_author_of_a_task_sees_the_commits_that_it_led_to(installed: Place, api: ScriptedApi) -> None:
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@x", "commit", "-q", "--allow-empty", "-m"]
    subprocess.run(["git", "init", "-q"], cwd=installed.project, check=True)
    subprocess.run([*git, "before"], cwd=installed.project, check=True)
    first = installed.run(api.play("first", WHO, "I am here."))
    name = own(api.of("first")[-1])["name"]
    task = give_task(installed, name)
    commit = " ".join([*git, "fixed"])
    part = api.play(
        "working",
        Call(f"{TOOLS}claim_task", {"messageId": task}),
        Call("Bash", {"command": commit}),
        Call(f"{TOOLS}resolve_task", {"messageId": task, "status": "completed", "result": "done"}),
        "Done.",
    )
    installed.run(part, "--resume", first.start["session_id"], "--allowedTools", "Bash(git:*)")

    async def look(call: Callable[..., Awaitable[Tools]]) -> None:
        events = (await call("get_messages", unreadOnly=True))["messages"]
        assert {"task_completed", "badge_added"} <= {event.get("event") for event in events}
        (message,) = (await call("get_messages", messageId=task))["messages"]
        badges = [badge for badge in message["badges"] if badge["type"] == "git-commit"]
        assert [badge["label"] for badge in badges] == ["fixed"]

    as_boss(installed, look)
