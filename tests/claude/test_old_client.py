"""A real Claude Code that is too old for the plugin: it gets the same in its settings, and gets rid of it again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from crosschat.bridge.tools import TOOLS as OUR_TOOLS
from crosschat.cli.registration import TOOL_PREFIX
from tests.claude.api import Call
from tests.claude.client import OLD_VERSION, Place, client
from tests.live.rig import short_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.claude.api import ScriptedApi

pytestmark = [pytest.mark.slow, pytest.mark.process]
SETTINGS = '{\n  "cleanupPeriodDays": 99,\n  "hooks": {}\n}\n'


@pytest.fixture
def old(api: ScriptedApi) -> Iterator[Place]:
    with short_directory() as root, Place(root, api, version=OLD_VERSION) as place:
        (place.home / ".claude" / "settings.json").write_text(SETTINGS)
        yield place


def test_it_gets_tools_rules_hooks_and_the_command_and_none_of_them_after_uninstall(
    old: Place, api: ScriptedApi
) -> None:
    shown = json.loads(old.crosschat("install", "--json"))
    assert (shown["form"], shown["client"]) == ("settings", {"version": OLD_VERSION, "loads": False})
    peers, bash = Call(TOOL_PREFIX + "list_peers"), Call("Bash", {"command": "touch made-by-bash"})
    part = api.play("joining", peers, Call(TOOL_PREFIX + "set_status", {"status": "busy"}), bash, "Joined.")
    done = old.run(f"/crosschat {part}")
    assert done.start["claude_code_version"] == OLD_VERSION
    ours = {name for name in done.start["tools"] if name.startswith(TOOL_PREFIX)}
    assert ours == {TOOL_PREFIX + tool.name for tool in OUR_TOOLS}
    assert done.end["result"] == "Joined."
    assert [one["tool_name"] for one in done.end["permission_denials"]] == ["Bash"]
    talk = api.of("joining")[-1]
    assert talk.results()[0]["you"]["name"].startswith("project-")
    assert talk.results()[1]["status"] == "busy"
    assert f"`{TOOL_PREFIX}*`" in "\n".join(talk.texts())
    old.crosschat("uninstall", "--data", "--yes")
    assert (old.home / ".claude" / "settings.json").read_text() == SETTINGS
    assert not old.plugin.exists()
    assert not (old.home / ".crosschat").exists()
    after = old.run(api.play("nothing", "Nothing here."))
    assert not [name for name in after.start["tools"] if "crosschat" in name]
    assert "crosschat" not in after.start["slash_commands"]


def test_its_hooks_tell_the_hub_what_it_does(old: Place, api: ScriptedApi) -> None:
    old.crosschat("install")
    part = api.play("busy", Call(TOOL_PREFIX + "list_peers"), Call("Bash", {"command": "sleep 5"}), "Done.")
    working = old.begin(part, "--allowedTools", "Bash(sleep:*)")
    api.wait_for("busy", lambda conversation: conversation.spoken == 1)
    (peer,) = json.loads(old.crosschat("peers", "--json"))["peers"]
    assert peer["activity"] == "working"
    old.finish(working)


def test_an_upgraded_client_gets_the_plugin_and_the_entries_go(old: Place) -> None:
    old.crosschat("install")
    old.environment["PATH"] = f"{client().parent}:{old.environment['PATH']}"
    shown = json.loads(old.crosschat("install", "--json"))
    assert (shown["form"], shown["state"]) == ("plugin", "updated")
    assert (old.home / ".claude" / "settings.json").read_text() == SETTINGS
    assert json.loads((old.home / ".claude.json").read_text())["mcpServers"] == {}
