"""Only a paired page can approve: every route and verb there is, from every credential there is.

What there is comes from the code: a route, verb, call, tool or command that is not classified below fails the first
test until somebody has said in `classes` what it lets whom do. `tests/prove/matrix.py` then uses each of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, get_args

import pytest
import trio

from crosschat import codec, pagewire, wire
from crosschat.bridge.tools import TOOLS
from crosschat.cli.control import Asking
from crosschat.cli.main import EVERYDAY, HIDDEN
from crosschat.errors import Code
from crosschat.hub.events import EventLog
from crosschat.hub.pairing import Pairing
from crosschat.hub.webserver import Facts, Site, application
from tests.hostile.classes import AGENT_VERBS, APPROVES, CALLS, CONTROL_VERBS, PAGE_VERBS, ROUTES
from tests.hub.rig import NOW_MS, keyring, silent_log
from tests.live.rig import Control, HubProcess, Program
from tests.live.screen import at_a_terminal, paired, port_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from crosschat.core.pairing import Key
    from crosschat.hub.dashboard import Link

TOOL_NAMES: Final = {
    "send_message", "get_messages", "wait_for_messages", "list_peers", "set_status", "flag_as_task", "claim_task",
    "resolve_task", "add_badge", "clear_session",
}  # fmt: skip
COMMANDS: Final = {
    "start", "stop", "restart", "status", "peers", "dashboard", "tasks", "pause", "resume", "send", "search", "tail",
    "logs", "install", "uninstall", "demo", "serve", "projects", "launch", "notify", "doctor", "export",
    "ask", "audit", "bench", "compact", "cost", "metrics", "top",
}  # fmt: skip


def kinds(union: object) -> set[str]:
    return {str(vars(frame)["type"]) for frame in get_args(union)}


def routes(place: Path) -> set[str]:
    pairing = Pairing(keyring(place), 1, EventLog(place / "events", lambda: NOW_MS, silent_log()), lambda: NOW_MS)

    async def serve_screen(key: Key, link: Link) -> None:
        raise AssertionError

    app = application(Site(Facts("0", 1), pairing, serve_screen, silent_log()))
    found = set()
    for rule in app.url_map.iter_rules():
        methods = {"STREAM"} if rule.websocket else (rule.methods or set()) - {"HEAD", "OPTIONS"}
        found |= {f"{method} {rule.rule}" for method in methods}
    return found


def test_every_route_and_verb_is_classified(tmp_path: Path) -> None:
    assert kinds(wire.AgentFrame) == AGENT_VERBS.keys()
    assert kinds(wire.ControlFrame) == CONTROL_VERBS.keys()
    assert kinds(pagewire.PageFrame) == PAGE_VERBS.keys()
    assert kinds(pagewire.CallFrame) == CALLS.keys()
    assert routes(tmp_path) == ROUTES.keys()
    assert {tool.name for tool in TOOLS} == TOOL_NAMES
    assert EVERYDAY.keys() | HIDDEN.keys() == COMMANDS


def test_one_verb_approves_and_it_is_a_paired_pages() -> None:
    everything = {**{f"agent {verb}": what for verb, what in AGENT_VERBS.items()},
                  **{f"control {verb}": what for verb, what in CONTROL_VERBS.items()},
                  **{f"page {verb}": what for verb, what in PAGE_VERBS.items()},
                  **{f"call {verb}": what for verb, what in CALLS.items()}, **ROUTES}  # fmt: skip
    assert [name for name, what in everything.items() if what == APPROVES] == ["page decide"]


def test_the_command_line_and_the_tools_have_no_other_doors() -> None:
    assert set(get_args(Asking)) <= set(get_args(wire.ControlFrame))
    assert all("approve" not in name and "decide" not in name for name in (*CONTROL_VERBS, *AGENT_VERBS, *COMMANDS))


# --- the other half


@pytest.fixture
def hub(place: Path) -> Iterator[HubProcess]:
    raised = ("--quotas", '{"messages_per_s": 1e6, "messages_burst": 1000000}')
    with HubProcess(place / "home", "--stay", *raised) as hub:
        yield hub.started()


async def test_what_only_a_person_may_do_a_person_can(hub: HubProcess) -> None:
    """The other half of the refusals above: they are no accident of the test's process."""
    browser = await paired(hub.home)
    answers = [
        await trio.to_thread.run_sync(at_a_terminal, hub.home, frame)
        for frame in (
            wire.NewCode(id="c"),
            wire.ChangeRules(id="a", change="add", rule="Bash(git push:*)"),
            wire.RevokeKey(id="r", key=browser.key),
        )
    ]
    assert [type(answer) for answer in answers] == [wire.PairingCode, wire.Rules, wire.Done]


async def test_without_a_terminal_nobody_is_a_person(hub: HubProcess, place: Path) -> None:
    await port_of(hub.home)
    async with Control(hub.home.control_socket) as control:
        with Program(hub.home.control_socket) as program:
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(program.connect()))
            for frame in (wire.NewCode(id="c"), wire.RevokeKey(id="r", key="00")):
                await stream.send_all(wire.encode_control(frame) + b"\n")
                answer = wire.decode_hub(bytes(await stream.receive_some()).partition(b"\n")[0])
                assert isinstance(answer, wire.Error)
                assert answer.code is Code.FORBIDDEN
        await control.ask(wire.Keys(id="k"), wire.KeyList)


def test_a_frame_of_the_stream_is_none_of_the_other_doors() -> None:
    decision = pagewire.encode(pagewire.Decide(id="d", request="r", payload="p", signature="s"))
    for decode in (wire.decode_agent, wire.decode_control):
        with pytest.raises(codec.BadFrame):
            decode(decision)
        with pytest.raises(codec.BadFrame):
            decode(decision.replace(b'"type"', b'"op"'))
