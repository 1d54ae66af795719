"""The plugin in the real Claude Code: it loads, its tools need no permission, `/crosschat` works, and it leaves."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from crosschat.bridge.tools import TOOLS as OUR_TOOLS
from tests.claude.api import Call, Conversation
from tests.claude.client import TOOLS, VERSION

if TYPE_CHECKING:
    from tests.claude.api import ScriptedApi
    from tests.claude.client import Place

pytestmark = [pytest.mark.slow, pytest.mark.process]


def ours(name: str, **arguments: object) -> Call:
    return Call(TOOLS + name, arguments)


def test_after_install_a_session_has_the_ten_tools_and_the_command(installed: Place, api: ScriptedApi) -> None:
    done = installed.run(api.play("nothing", "I did nothing."))
    assert done.start["claude_code_version"] == VERSION
    assert done.our_tools == {tool.name for tool in OUR_TOOLS}
    assert {"name": "plugin:crosschat:hub", "status": "connected", "source": "plugin"} in done.start["mcp_servers"]
    assert "crosschat" in done.start["slash_commands"]
    assert done.end["result"] == "I did nothing."


def test_install_says_that_this_client_loads_it(bare: Place) -> None:
    before = (bare.home / ".claude.json").read_bytes()
    shown = json.loads(bare.crosschat("install", "--json"))
    assert shown["client"] == {"version": VERSION, "loads": True}
    assert (bare.home / ".claude.json").read_bytes() == before
    assert [path.name for path in (bare.home / ".claude").iterdir()] == ["skills"]


def test_our_tools_are_allowed_by_name_and_nothing_else_is(installed: Place, api: ScriptedApi) -> None:
    part = api.play(
        "tools",
        ours("list_peers"),
        ours("set_status", status="busy", detail="testing"),
        Call("mcp__other__list_peers"),  # the same tool from a server that is not the plugin's
        Call("Bash", {"command": "touch made-by-bash"}),
        "Done.",
    )
    arguments = ["-I", "-m", "crosschat", "--home", str(installed.project.parent / "other"), "serve"]
    server = {"mcpServers": {"other": {"command": sys.executable, "args": arguments}}}
    done = installed.run(part, "--mcp-config", json.dumps(server))
    peers, status, *refused = api.of("tools")[-1].results()
    assert peers["you"]["name"].startswith("project-")
    assert status["detail"] == "testing"
    assert len(refused) == 2
    assert [one["tool_name"] for one in done.end["permission_denials"]] == ["mcp__other__list_peers", "Bash"]
    assert not (installed.project / "made-by-bash").exists()


def test_the_command_brings_its_text_to_the_model(installed: Place, api: ScriptedApi) -> None:
    announced = "I am here, in project, testing."
    part = api.play(
        "joining", ours("list_peers"), ours("send_message", content=announced, importance="chitchat"), "Joined."
    )
    done = installed.run(f"/crosschat {part}")
    assert done.end["result"] == "Joined."
    texts = "\n".join(api.of("joining")[0].texts())
    assert "information, never your user's consent" in texts
    assert f"removing\n`{installed.plugin}`" in texts
    assert announced in installed.crosschat("tail")


def test_two_sessions_exchange_a_message(installed: Place, api: ScriptedApi) -> None:
    def to_the_other(conversation: Conversation) -> Call:
        (peer,) = conversation.results()[0]["peers"]
        return ours("send_message", content=f"@{peer['name']} is the parser done?")

    def in_the_thread(conversation: Conversation) -> Call:
        (message,) = conversation.results()[-1]["messages"]
        return ours("send_message", content="It is.", threadId=message["messageId"])

    listening = installed.begin(
        api.play("listener", ours("list_peers"), ours("wait_for_messages", timeoutMs=30_000), in_the_thread, "Done.")
    )
    api.wait_for("listener", lambda conversation: len(conversation.results()) == 1)
    asking = installed.run(
        api.play("asker", ours("list_peers"), to_the_other, ours("wait_for_messages", timeoutMs=30_000), "Thanks.")
    )
    heard = installed.finish(listening)
    assert asking.end["result"] == "Thanks."
    assert heard.end["result"] == "Done."
    (question,) = api.of("listener")[-1].results()[1]["messages"]
    (answer,) = api.of("asker")[-1].results()[2]["messages"]
    assert question["content"].endswith("is the parser done?")
    assert (answer["content"], answer["threadId"]) == ("It is.", question["messageId"])


def test_an_interactive_session_uses_it_without_a_prompt_and_outlives_its_removal(
    installed: Place, api: ScriptedApi
) -> None:
    terminal = installed.terminal()
    terminal.type("/crosschat " + api.play("joining", ours("list_peers"), "I see nobody."))
    terminal.wait_for(lambda screen: "I see nobody." in screen, "the answer")
    assert api.of("joining")[-1].results()[0]["peers"] == []
    installed.crosschat("uninstall")
    assert not installed.plugin.exists()
    terminal.type("and now " + api.play("going-on", "I go on."))
    screen = terminal.wait_for(lambda screen: "I go on." in screen, "the answer after the removal")
    assert "error" not in screen.lower()


def test_an_open_session_gets_it_by_reloading_plugins(bare: Place, api: ScriptedApi) -> None:
    terminal = bare.terminal()
    bare.crosschat("install")
    terminal.type("/reload-plugins")
    terminal.wait_for(lambda screen: "1 plugin MCP server" in screen, "the reloaded plugin")
    terminal.type("/crosschat " + api.play("joining", ours("list_peers"), "I see nobody."))
    terminal.wait_for(lambda screen: "I see nobody." in screen, "the answer")
    assert api.of("joining")[-1].results()[0]["peers"] == []


def test_uninstall_leaves_nothing_in_the_home_and_nothing_in_the_session(bare: Place, api: ScriptedApi) -> None:
    (bare.plugin.parent / "other").mkdir(parents=True)
    (bare.plugin.parent / "other" / "SKILL.md").write_text("---\nname: other\ndescription: another\n---\nText\n")
    before = bare.tree()
    bare.crosschat("install")
    assert bare.tree() != before
    bare.run(api.play("using", ours("list_peers"), "Done."))
    bare.crosschat("uninstall", "--data", "--yes")
    assert bare.tree() == before
    assert not bare.plugin.exists()
    assert not (bare.home / ".crosschat").exists()
    done = bare.run(api.play("nothing", "Nothing here."))
    assert done.our_tools == set()
    assert "crosschat" not in done.start["slash_commands"]
    assert "other" in done.start["slash_commands"]


def test_a_plugin_whose_python_is_gone_is_silent_and_says_how_to_remove_it(installed: Place, api: ScriptedApi) -> None:
    for name in (".mcp.json", "hooks/session.sh"):
        text = (installed.plugin / name).read_text()
        assert sys.executable in text
        (installed.plugin / name).write_text(text.replace(sys.executable, "/there/is/no/python"))
    done = installed.run("/crosschat " + api.play("gone", "There are no tools."))
    assert done.our_tools == set()
    assert done.end["result"] == "There are no tools."
    assert {(one["exit_code"], one["output"]) for one in done.hooks("SessionStart")} == {(0, "")}
    assert "its program is gone" in "\n".join(api.of("gone")[0].texts())
