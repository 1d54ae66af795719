"""Only a paired page can approve: every route and verb there is, from every credential there is.

What there is comes from the code: a route, verb, call, tool or command that is not classified below fails the first
test until somebody has said what it lets whom do. The second one then uses each of them, with everything that its
sender can know, against a request that waits, and in the end that request still waits.
"""

from __future__ import annotations

import json
import types
from typing import TYPE_CHECKING, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import attrs
import pytest
import trio

from crosschat import codec, pagewire, wire
from crosschat.bridge.tools import TOOLS
from crosschat.cli.control import Asking
from crosschat.cli.main import EVERYDAY, HIDDEN
from crosschat.core.pairing import to_text
from crosschat.errors import Code
from crosschat.hub.events import EventLog
from crosschat.hub.pairing import Pairing
from crosschat.hub.webserver import Facts, Site, application
from tests.hub.rig import NOW_MS, keyring, silent_log
from tests.live.rig import Client, Control, HubProcess, Program, join
from tests.live.screen import Browser, Screen, at_a_terminal, paired, port_of
from tests.live.session import Hook, Session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from crosschat.core.pairing import Key
    from crosschat.hub.dashboard import Link

Frame = TypeVar("Frame", bound=attrs.AttrsInstance)

# What a verb lets its sender do.
READS, SPEAKS = "reads", "speaks for itself"  # an agent as itself, the terminal as the terminal
ASKS = "asks for a decision, or tells what its own session did"
PERSON = "for a person at a terminal only"
LAUNCHES = "starts a session in a registered directory, which has prompts of its own"
STOPS = "ends the hub, and with it what waits"
PUBLIC = "anybody at the right address"
CODE, KEY, SIGNATURE, TICKET = "a code", "a paired key's id", "a signature by a paired key", "a ticket"
ACTS = "acts as the person"
APPROVES = "approves"

AGENT_VERBS: Final = {
    "hello": SPEAKS, "send": SPEAKS, "read": READS, "search": READS, "peers": READS, "status": SPEAKS,
    "flag": SPEAKS, "claim": SPEAKS, "resolve": SPEAKS, "badge": SPEAKS, "clear": SPEAKS, "mark": SPEAKS,
    "waking": SPEAKS, "ring": ASKS,
}  # fmt: skip
CONTROL_VERBS: Final = {
    "send": SPEAKS, "read": READS, "search": READS, "peers": READS, "clear": SPEAKS, "release": SPEAKS,
    "tail": READS, "pause": SPEAKS, "session": ASKS, "permission": ASKS, "ran": ASKS, "succeed": STOPS,
    "new_code": PERSON, "keys": READS, "revoke": PERSON, "ask": PERSON, "sessions": READS, "inspect": READS,
    "cost": READS, "projects": READS, "project": SPEAKS, "launch": LAUNCHES, "configure": PERSON, "probe": SPEAKS,
    "metrics": READS,
    "stop": STOPS,
}  # fmt: skip
PAGE_VERBS: Final = {
    "open": READS, "send": ACTS, "read": READS, "peers": READS, "flag": ACTS, "badge": ACTS, "release": ACTS,
    "pause": ACTS, "clear": ACTS, "reassign": ACTS, "restore": ACTS, "decide": APPROVES, "ask": ACTS, "pair": ACTS,
    "revoke": ACTS, "search": READS, "events": READS, "project": ACTS, "launch": LAUNCHES,
}  # fmt: skip
CALLS: Final = {"pair": CODE, "pairing": PUBLIC, "challenge": KEY, "ticket": SIGNATURE}
ROUTES: Final = {
    "GET /healthz": PUBLIC, "GET /": PUBLIC, "GET /<path:path>": PUBLIC, "POST /api/<name>": "as its call says",
    "STREAM /stream": TICKET,
}  # fmt: skip
TOOL_NAMES: Final = {
    "send_message", "get_messages", "wait_for_messages", "list_peers", "set_status", "flag_as_task", "claim_task",
    "resolve_task", "add_badge", "clear_session",
}  # fmt: skip
COMMANDS: Final = {
    "start", "stop", "restart", "status", "peers", "dashboard", "tasks", "pause", "resume", "send", "search", "tail",
    "logs", "install", "uninstall", "demo", "serve", "projects", "launch", "notify", "doctor", "export",
    "ask", "audit", "compact", "cost", "metrics", "top",
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


# --- everything, tried


RAW: Final = json.dumps({
    "session_id": "s", "cwd": "/work", "prompt_id": "p1", "permission_mode": "default",
    "hook_event_name": "PermissionRequest", "tool_name": "Bash", "tool_input": {"command": "make"},
}).encode()  # fmt: skip


@attrs.frozen
class Victim:
    """A session with a request before the person, and what can be known about it."""

    session: Session
    client: Client
    hook: Hook
    view: pagewire.PermissionView
    message: str
    forged: dict[str, str]  # by field: what somebody would send who wants it allowed


def sample(kind: type[Frame], victim: Victim) -> Frame:
    """A frame of this kind that is well-formed, and says what an attacker would say."""
    hints = get_type_hints(kind)
    return kind(**{field.name: value(field.name, hints[field.name], victim) for field in attrs.fields(kind)})


def value(name: str, kind: object, victim: Victim) -> object:
    given = {"id": "x", "cid": f"c-{name}", "message": victim.message, "agent": victim.client.welcome.agent,
             "content": f"@here {victim.forged['payload']}", "protocol": wire.PROTOCOL, "bytes": len(RAW), "limit": 5,
             "status": "available", "change": "list", "event": "notification", "badge_type": "decision",
             "after_seq": 0, "accept": True, **victim.forged}  # fmt: skip
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType) and type(None) in arguments and name not in victim.forged:
        return None
    if origin is Literal:
        return given.get(name) if given.get(name) in arguments else arguments[0]
    if name in given:
        return given[name]
    return {str: "x", int: 1, bool: False}.get(kind, ()) if isinstance(kind, type) else ()


@pytest.fixture
def hub(place: Path) -> Iterator[HubProcess]:
    raised = ("--quotas", '{"messages_per_s": 1e6, "messages_burst": 1000000}')
    with HubProcess(place / "home", "--stay", *raised) as hub:
        yield hub.started()


async def test_no_credential_but_that_of_a_paired_page_approves(
    hub: HubProcess, place: Path, nursery: trio.Nursery
) -> None:
    browser = await paired(hub.home)
    with Session(hub.home, place) as session, Session(hub.home, place) as other:
        async with browser.stream() as screen:
            client = await join(nursery, session.bridge())
            hook = session.hook()
            assert isinstance(await hook.ask(RAW), wire.PermissionAsked)
            view = (await screen.next(pagewire.Permission)).request
            forged = forge(view, browser, Browser(browser.port))
            message = (await client.post("do it")).message
            victim = Victim(session, client, hook, view, message, forged)

            await use_the_agents_door(victim)
            await use_the_control_door(hub, victim, other)
            await use_the_calls(victim, browser)
            await use_the_stream_of_nobody(hub, victim, browser)
            await use_the_paired_stream(screen, victim)

            with pytest.raises(trio.TooSlowError), trio.fail_after(0.1):
                await hook.frame()
            assert screen.all(pagewire.PermissionOver) == []
            deny = payload(view, "deny")
            decision = pagewire.Decide(id="d", request=view.id, payload=deny, signature=browser.sign(deny))
            await screen.ask(decision, wire.Done)
            verdict = await hook.frame()
            assert isinstance(verdict, wire.Verdict)
            assert verdict.output["hookSpecificOutput"]["decision"]["behavior"] == "deny"  # type: ignore[index]
    audit = (hub.home.root / "audit" / "permissions.jsonl").read_text()
    assert '"allow"' not in audit
    assert '"deny"' in audit


def payload(view: pagewire.PermissionView, behavior: str) -> str:
    output = {"hookSpecificOutput": {"hookEventName": "PermissionRequest", "decision": {"behavior": behavior}}}
    fields = {"id": view.id, "digest": view.digest, "hub_nonce": view.hub_nonce, "output": output}
    return json.dumps(fields, separators=(",", ":"))


def forge(view: pagewire.PermissionView, browser: Browser, own: Browser) -> dict[str, str]:
    """Everything about the request and the paired key that is no secret, signed with a key of the attacker's."""
    text = payload(view, "allow")
    return {
        "request": view.id, "payload": text, "signature": own.sign(text), "key": browser.key, "rule": "Bash(make:*)",
        "code": "0000-0000", "label": "x", "pairing": view.id, "challenge": to_text(bytes(40)), "version": "9.9.9",
        "cwd": "/", "query": "make", "badge": "x", "value": "allow", "result": text, "task": "x",
    }  # fmt: skip


async def use_the_agents_door(victim: Victim) -> None:
    """As the very agent that asks."""
    for kind in get_args(wire.AgentFrame):
        frame = sample(kind, victim)
        if isinstance(frame, wire.Mark | wire.Waking):
            await victim.client.send(frame)
        elif isinstance(frame, wire.Hello):
            await victim.client.send(frame)
            await victim.client.until(lambda: len(victim.client.said) > 0)
        else:
            await victim.client.ask(attrs.evolve(frame, id=f"m-{frame.type}", cid=f"m-{frame.type}")
                                    if hasattr(frame, "cid") else frame, object)  # fmt: skip
    for verb in PAGE_VERBS:  # the stream's own verbs, said here
        if verb not in AGENT_VERBS:
            before = len(victim.client.said)
            await victim.client.socket.send_message(json.dumps({"type": verb, **victim.forged}))
            await victim.client.until(lambda before=before: len(victim.client.said) > before)  # type: ignore[misc]


async def use_the_control_door(hub: HubProcess, victim: Victim, other: Session) -> None:
    """As a program below the session that asks, as one of another session, and as a program of nobody's."""
    refusing = {verb for verb, what in CONTROL_VERBS.items() if what == PERSON}
    for kind in get_args(wire.ControlFrame):
        frame = sample(kind, victim)
        if CONTROL_VERBS[frame.type] == STOPS:
            continue
        if isinstance(frame, wire.ChangeRules):
            frame = attrs.evolve(frame, change="add")
        if isinstance(frame, wire.Configure):
            frame = attrs.evolve(frame, change="set", command=("true",))
        speakers = [other] if CONTROL_VERBS[frame.type] == ASKS else [other, victim.session]
        for speaker in speakers:
            door = speaker.hook()
            if isinstance(frame, wire.AskPermission | wire.ToolsRan):
                await door._stream.send_all(wire.encode_control(frame) + b"\n" + RAW)
                await door.frame()
            elif isinstance(frame, wire.Tail):
                await door._stream.send_all(wire.encode_control(frame) + b"\n")
            else:
                answer = await door.say(frame)
                if frame.type in refusing:
                    assert isinstance(answer, wire.Error), frame.type
                    assert answer.code is Code.FORBIDDEN
                    assert "inside a Claude Code session" in answer.message
            await door.close()
    with Program(hub.home.control_socket) as nobody:
        for verb in (*PAGE_VERBS, *CALLS, "approve", "verdict"):
            if verb not in CONTROL_VERBS:
                stream = trio.SocketStream(trio.socket.from_stdlib_socket(nobody.connect()))
                await stream.send_all(json.dumps({"op": verb, **victim.forged}).encode() + b"\n")
                answer = wire.decode_hub(bytes(await stream.receive_some()).partition(b"\n")[0])
                assert isinstance(answer, wire.Error)
                assert answer.code is Code.BAD_FRAME


async def use_the_calls(victim: Victim, browser: Browser) -> None:
    """As a program that knows the address and everything that is on the disk."""
    for kind in get_args(pagewire.CallFrame):
        call = sample(kind, victim)
        reply = await browser.request("POST", f"/api/{call.type}", pagewire.encode_call(call))
        if call.type == "challenge":  # which proves nothing: it is to be signed
            assert reply.status == 200
        else:
            assert 400 <= reply.status < 500, (call.type, reply)
    for name in (*PAGE_VERBS, *CONTROL_VERBS, "approve", "..", "decide/", "%2e%2e/api/ticket"):
        if name not in CALLS:
            reply = await browser.request("POST", f"/api/{name}", json.dumps(victim.forged).encode())
            assert reply.status in (404, 405), name


async def use_the_stream_of_nobody(hub: HubProcess, victim: Victim, browser: Browser) -> None:
    """Without a ticket, and with whatever looks like one."""
    found = {victim.view.id, victim.view.digest, victim.view.hub_nonce, browser.key, *victim.forged.values()}
    for path in sorted(hub.home.root.rglob("*")):
        if path.is_file():
            text = path.read_bytes().decode(errors="replace")
            found |= {word for word in text.replace('"', " ").replace(",", " ").split() if 16 <= len(word) <= 128}
    tokens = [word for word in found if word.isascii() and all(char.isalnum() or char in "-_." for char in word)]
    assert len(tokens) > 10
    for token in tokens:
        assert await browser.refused_upgrade(pagewire.SUBPROTOCOL, token) == 403
    assert await browser.refused_upgrade() == 403
    assert await browser.refused_upgrade(pagewire.SUBPROTOCOL) == 403


async def use_the_paired_stream(screen: Screen, victim: Victim) -> None:
    """Every other verb of the page, and `decide` with a signature that is not by its key."""
    for kind in get_args(pagewire.PageFrame):
        if kind is wire.RevokeKey:
            continue  # of its own key: the stream would end
        frame = sample(kind, victim)
        answer = await screen.ask(attrs.evolve(frame, id=f"p-{frame.type}"), object)
        if frame.type in ("decide", "open"):
            assert isinstance(answer, wire.Error), frame.type


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
