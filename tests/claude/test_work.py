"""Three sessions of the real Claude Code play the example: "ask the other instances to run their test suites".

One task with a mention for each of two others; both are woken, claim it and report, one with failures; the author, who
had ended its turn, is woken with each result.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.claude.api import Call, Conversation
from tests.claude.client import TOOLS
from tests.claude.test_wake import READ, WHO, rings

if TYPE_CHECKING:
    from tests.claude.api import ScriptedApi, Turn
    from tests.claude.client import Place

pytestmark = [pytest.mark.slow, pytest.mark.process]


def ours(tool: str, **arguments: object) -> Call:
    return Call(TOOLS + tool, arguments)


def dictionaries(conversation: Conversation) -> list[dict[str, Any]]:
    return [result for result in conversation.results() if isinstance(result, dict)]


def sent(conversation: Conversation) -> list[str]:
    """The ids of the messages that the session sent."""
    return [result["messageId"] for result in dictionaries(conversation) if "recipients" in result]


def shown(conversation: Conversation) -> list[dict[str, Any]]:
    """All messages and events that the session read."""
    pages = [result["messages"] for result in dictionaries(conversation) if "messages" in result]
    return [message for page in pages for message in page]


def worker(result: str, status: str, error: str | None = None) -> tuple[Turn, ...]:
    """The part of a session that is idle until it is woken, and then does what it was asked, once that is a task."""
    outcome = {"status": status, "result": result} | ({} if error is None else {"error": error})

    def act(conversation: Conversation) -> str | Call:
        content = conversation.messages[-1]["content"]
        if not isinstance(content, list) or all(block["type"] != "tool_result" for block in content):
            return READ  # it was woken
        flagged = [str(one["messageId"]) for one in shown(conversation) if one.get("event") == "task_flagged"]
        last = dictionaries(conversation)[-1].get("task", {}).get("status")
        if not flagged:
            return "It is not a task yet."
        if last is None:
            return ours("claim_task", messageId=flagged[0])
        if last == "claimed":
            return ours("set_status", status="busy", taskMessageId=flagged[0])
        if last == "in_progress":
            return ours("resolve_task", messageId=flagged[0], **outcome)
        return "I have finished."

    return (WHO, "I am idle.", *[act] * 20)


def test_both_are_woken_claim_and_report_and_the_author_is_woken_with_both_results(
    installed: Place, api: ScriptedApi
) -> None:
    directories = {
        name: installed.directory(name) for name in ("api", "web")
    }  # before a client runs that keeps the list
    for name, turns in (
        ("api", worker("212 passed", "completed")),
        ("web", worker("40 passed, 2 failed", "failed", "test_login and test_logout fail")),
    ):
        terminal = installed.session(cwd=directories[name], CROSSCHAT_NAME=name)
        terminal.type(api.play(name, *turns))
        terminal.wait_for(lambda screen: "I am idle." in screen, f"the first turn of {name}")
    reads = [turn for number in range(6) for turn in (READ, f"I have read {number}.")]
    author = installed.session(CROSSCHAT_NAME="lead")
    author.type(
        "ask the other instances to run their test suites: "
        + api.play(
            "lead",
            WHO,
            ours("send_message", content="@api run your test suite"),
            lambda conversation: ours("flag_as_task", messageId=sent(conversation)[0]),
            ours("send_message", content="@web run your test suite"),
            lambda conversation: ours("flag_as_task", messageId=sent(conversation)[1]),
            "I have asked both.",
            *reads,
        )
    )
    author.wait_for(lambda screen: "I have asked both." in screen, "the author's first turn")

    def has_both(conversation: Conversation) -> bool:
        return {"task_completed", "task_failed"} <= {one.get("event") for one in shown(conversation)}

    done = api.wait_for("lead", has_both, 60)
    results = {one["event"]: one for one in shown(done) if one.get("event") in ("task_completed", "task_failed")}
    assert (results["task_completed"]["fromName"], results["task_completed"]["content"]) == ("api", "212 passed")
    assert results["task_failed"]["fromName"] == "web"
    assert "test_login and test_logout fail" in results["task_failed"]["content"]
    for name in ("api", "web"):
        told = rings(api.of(name)[-1])
        assert any("@" + name + " run your test suite" in ring for ring in told), name
    announced = "\n".join(rings(done))
    assert re.search(r"task (completed|failed)", announced)
    assert "task claimed" not in announced  # a step of the task wakes nobody
    assert "task begun" not in announced
