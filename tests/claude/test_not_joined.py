"""Sessions that only the real Claude Code knows: listed with the remedy, and no more once it was followed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.claude.api import Call
from tests.claude.client import TOOLS

if TYPE_CHECKING:
    from tests.claude.api import ScriptedApi
    from tests.claude.client import Place

pytestmark = [pytest.mark.slow, pytest.mark.process]


def peers(place: Place) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(place.crosschat("peers", "--json"))
    return found


def test_a_session_that_was_open_before_the_installation_is_listed_until_it_reloads(
    bare: Place, api: ScriptedApi
) -> None:
    terminal = bare.terminal()
    bare.crosschat("install")
    found = peers(bare)
    assert found["peers"] == []
    (session,) = found["unjoined"]
    assert (session["cwd"], session["status"]) == (str(bare.project), "idle")
    assert "/reload-plugins" in session["remedy"]
    assert session["name"] in bare.crosschat("status")
    terminal.type("/reload-plugins")
    terminal.wait_for(lambda screen: "1 plugin MCP server" in screen, "the reloaded plugin")
    terminal.type(api.play("joining", Call(f"{TOOLS}list_peers"), "I see nobody."))
    terminal.wait_for(lambda screen: "I see nobody." in screen, "the answer")
    bare.crosschat("restart")  # what was asked a moment ago is not asked again; a new hub asks anew
    found = peers(bare)
    assert found["unjoined"] == []
    (peer,) = found["peers"]
    assert peer["cwd"] == str(bare.project)
