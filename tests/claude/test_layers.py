"""Each way to wake a session in the real Claude Code: by a hook where there is no inbox, by its own wait, or none."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.claude.api import Call, Conversation
from tests.claude.client import TOOLS
from tests.claude.test_wake import READ, WHO, own_name, read, rings, send_all

if TYPE_CHECKING:
    from tests.claude.api import ScriptedApi
    from tests.claude.client import Place, Terminal

pytestmark = [pytest.mark.slow, pytest.mark.process]

SHORT_TURN = ("I am idle.", READ, "I have read.", READ, "I have read more.", READ, "I have read all.")


def without_inbox(place: Place) -> None:
    """The session's MCP server is not told of an inbox, as in a client that has none."""
    entry = place.plugin / ".mcp.json"
    made = json.loads(entry.read_text())
    made["mcpServers"]["hub"]["env"] = {"CLAUDE_CODE_MESSAGING_SOCKET": ""} | made["mcpServers"]["hub"].get("env", {})
    entry.write_text(json.dumps(made))


def idle(place: Place, api: ScriptedApi, mode: str = "auto") -> tuple[Terminal, str]:
    """An interactive session that had a turn, and its name."""
    terminal = place.session(CROSSCHAT_WAKE=mode)
    terminal.type(api.play("one", WHO, *SHORT_TURN))
    terminal.wait_for(lambda screen: "I am idle." in screen, "the end of the first turn")
    return terminal, own_name(api.of("one")[-1])


def told(conversation: Conversation) -> list[str]:
    """What hooks told: in a turn of their own, or beside a prompt."""
    texts = [text for text in conversation.texts() if "<cross-session-message" not in text]
    return [text for text in texts if re.search(r"CrossChat[,:] .*unread", text, re.DOTALL)]


def view(place: Place) -> dict[str, Any]:
    """How the one session looks to others; empty before it has joined."""
    return next(iter(place.peers()), {})


def way(place: Place) -> tuple[str, str]:
    return view(place)["wake"], view(place)["way"]


def test_without_an_inbox_a_hook_wakes_an_idle_session_again_and_again(installed: Place, api: ScriptedApi) -> None:
    without_inbox(installed)
    terminal, name = idle(installed, api)
    for number, end in enumerate(("I have read.", "I have read more.")):
        text = f"@{name} message {number}."
        installed.crosschat("send", text)
        terminal.wait_for(lambda screen, end=end: end in screen, f"the turn of {text}")  # type: ignore[misc]
        done = api.of("one")[-1]
        assert len(told(done)) == number + 1
        assert f'message to you: "{text}"' in told(done)[-1]
    assert read(done) == [f"@{name} message 0.", f"@{name} message 1."]
    assert rings(done) == []
    assert way(installed) == ("auto", "hooks")


def test_without_an_inbox_a_busy_session_is_told_between_two_tool_calls(installed: Place, api: ScriptedApi) -> None:
    without_inbox(installed)
    work = Call("Bash", {"command": "sleep 4", "description": "work"})
    terminal = installed.session("--allowedTools", "Bash(sleep:*)")
    terminal.type(api.play("busy", WHO, work, READ, "I have worked."))
    api.wait_for("busy", lambda conversation: conversation.spoken == 1)
    installed.crosschat("send", "to whom it may concern")
    heard = api.wait_for("busy", lambda conversation: bool(told(conversation)))
    assert heard.spoken == 2  # with the result of the work
    terminal.wait_for(lambda screen: "I have worked." in screen, "the end of the turn")
    assert read(api.of("busy")[-1]) == ["to whom it may concern"]


def test_a_hook_wakes_a_session_that_had_no_turn_yet(installed: Place, api: ScriptedApi) -> None:
    installed.session(CROSSCHAT_WAKE="hooks", CROSSCHAT_NAME="fresh")
    installed.crosschat("send", "@fresh " + api.play("woken", READ, "I have read."))
    heard = api.wait_for("woken", lambda conversation: bool(read(conversation)))
    assert len(read(heard)) == 1
    assert way(installed) == ("hooks", "hooks")


def test_a_hook_wakes_a_session_whose_turn_was_broken_off(installed: Place, api: ScriptedApi) -> None:
    work = Call("Bash", {"command": "sleep 20", "description": "work"})
    terminal = installed.session("--allowedTools", "Bash(sleep:*)", CROSSCHAT_WAKE="hooks")
    terminal.type(api.play("one", WHO, work, READ, "I have read."))
    api.wait_for("one", lambda conversation: conversation.spoken == 1)
    terminal.wait_for(lambda screen: "sleep 20" in screen, "the work")
    terminal.press("Escape")
    terminal.wait_for(lambda screen: "Interrupted" in screen, "the end of the work")
    installed.crosschat("send", f"@{own_name(api.of('one')[-1])} are you there?")
    heard = api.wait_for("one", lambda conversation: bool(told(conversation)))
    assert "are you there?" in told(heard)[0]


def test_a_session_that_was_broken_off_does_not_count_as_working(installed: Place, api: ScriptedApi) -> None:
    work = Call("Bash", {"command": "sleep 20", "description": "work"})
    terminal = installed.session("--allowedTools", "Bash(sleep:*)")
    terminal.type(api.play("one", WHO, work, READ, "I have read."))
    api.wait_for("one", lambda conversation: conversation.spoken == 1)
    terminal.wait_for(lambda screen: "sleep 20" in screen, "the work")
    assert view(installed)["activity"] == "working"
    terminal.press("Escape")
    terminal.wait_for(lambda _: view(installed)["activity"] == "idle", "that the session is idle")
    installed.crosschat("send", "are you there?")
    api.wait_for("one", lambda conversation: bool(rings(conversation)))


def test_after_the_hub_was_killed_a_hook_still_wakes(installed: Place, api: ScriptedApi) -> None:
    terminal, _ = idle(installed, api, "hooks")
    send_all(installed, "before.", "after.", kill_at=1)
    done = api.wait_for("one", lambda conversation: "after." in read(conversation))
    assert read(done) == ["before.", "after."]
    terminal.wait_for(lambda screen: "I have read" in screen, "the end of the turn")


def test_a_wait_that_was_moved_to_the_background_wakes_the_idle_session(installed: Place, api: ScriptedApi) -> None:
    wait = Call(f"{TOOLS}wait_for_messages", {"timeoutMs": 600_000})
    terminal = installed.session(CROSSCHAT_WAKE="wait", CLAUDE_CODE_MCP_AUTO_BACKGROUND_MS="1000")
    terminal.type(api.play("waiting", WHO, wait, "I wait.", "I was woken.", READ, "There is no more."))
    terminal.wait_for(lambda screen: "I wait." in screen, "the end of the first turn")
    (who,) = [result for result in api.of("waiting")[-1].results() if isinstance(result, dict) and "you" in result]
    assert "call wait_for_messages" in who["told"]
    installed.crosschat("send", f"@{who['you']['name']} are you there?")
    terminal.wait_for(lambda screen: "I was woken." in screen, "the turn that the result begins")
    assert "are you there?" in "\n".join(api.of("waiting")[-1].texts())
    assert rings(api.of("waiting")[-1]) == []
    assert way(installed) == ("wait", "wait")


@pytest.mark.parametrize("mode", ["wait", "off"])
def test_a_mode_without_bells_leaves_the_session_alone_until_it_asks(
    installed: Place, api: ScriptedApi, mode: str
) -> None:
    terminal, name = idle(installed, api, mode)
    installed.crosschat("send", f"@{name} are you there?")
    terminal.type("nothing special")
    terminal.wait_for(lambda screen: "I have read." in screen, "the end of the second turn")
    done = api.of("one")[-1]
    assert read(done) == [f"@{name} are you there?"]
    assert rings(done) == told(done) == []
    assert way(installed) == (mode, "wait" if mode == "wait" else "none")


def test_the_inbox_alone_needs_no_hook(installed: Place, api: ScriptedApi) -> None:
    terminal, name = idle(installed, api, "inbox")
    installed.crosschat("send", f"@{name} are you there?")
    terminal.wait_for(lambda screen: "I have read." in screen, "the end of the second turn")
    done = api.of("one")[-1]
    assert len(rings(done)) == 1
    assert told(done) == []
    assert way(installed) == ("inbox", "inbox")


def test_print_mode_ends_at_once_also_where_hooks_ring(installed: Place, api: ScriptedApi) -> None:
    without_inbox(installed)
    installed.environment["SECRET"] = "canary-4b1d"
    done = installed.run(api.play("one", WHO, "Done."))  # within the time for a run, which a hook that waits exceeds
    assert done.end["result"] == "Done."
    assert {one["exit_code"] for one in done.hooks("Stop")} <= {0}
    files = [path for path in (installed.home / ".crosschat").rglob("*") if path.is_file()]
    assert any(path.suffix == ".jsonl" for path in files)
    assert not any(b"canary-4b1d" in path.read_bytes() for path in files)  # nothing of the environment is kept
