"""The matrix: every route and verb there is, used with every credential that is none, against a request that waits.

What there is comes from the code, by `tests/hostile/classes.py`, where a route or verb that is not classified fails a
test. Each is used with everything that its sender can know or once had: as the agent that asks and as a program below
it, as another session and as nobody, with what is on the disk and in the hub's answers, with a key of one's own, with
that of a browser that was paired once, with a ticket that was used and one in the wrong place. In the end the request
still waits, and is denied by the page that is paired; the audit has no allow.
"""

from __future__ import annotations

import json
import os
import types
from typing import TYPE_CHECKING, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import attrs
import trio

from crosschat import lock, pagewire, wire
from crosschat.core.pairing import to_text
from crosschat.errors import Code
from crosschat.journal.audit import read_audit
from crosschat.journal.files import RealFiles
from crosschat.paths import Home
from tests.hostile.classes import ASKS, CALLS, CONTROL_VERBS, PAGE_VERBS, PERSON, ROUTES, STOPS
from tests.live.rig import Client, Program, join
from tests.live.screen import Browser, Screen, at_a_terminal, paired
from tests.live.session import Hook, Session
from tests.prove.lives import Care, Hub
from tests.prove.outcome import Outcome

if TYPE_CHECKING:
    from tests.prove.outcome import Room

Frame = TypeVar("Frame", bound=attrs.AttrsInstance)

QUIET_S: Final = 0.1
RAW: Final = json.dumps({
    "session_id": "s", "cwd": "/repo", "prompt_id": "p1", "permission_mode": "default",
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


@attrs.frozen
class Past:
    """What was a credential once: a browser that is not paired any more, a ticket and a signed call that are used."""

    revoked: Browser
    revoked_ticket: str
    used_ticket: str
    used_call: pagewire.GetTicket


def run(room: Room) -> Outcome:
    """The whole matrix, once."""
    return trio.run(_run, room)


async def _run(room: Room) -> Outcome:
    outcome = Outcome()
    home = Home(room.place / "h")
    home.root.mkdir(mode=0o700)
    held = lock.try_hold(home.hub_lock)
    assert held is not None
    hub = Hub(room.zygote, Care(seed=room.seed, bug=room.bug), home.root, held, None, "0.1.0")
    try:
        assert await hub.serving()
        await Matrix(home, outcome).use(room)
        behaviors = [line["behavior"] for line in read_audit(home.root, RealFiles()).lines if "behavior" in line]
        if behaviors != ["deny"]:
            outcome.problems.append(f"decided, by the audit: {behaviors}")
    except* (trio.TooSlowError, AssertionError) as group:
        outcome.problems.append(f"{_first(group)!r:.500}")
    finally:
        await hub.end()
        os.close(held)
    return outcome


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The cause, out of the nurseries around it."""
    one: BaseException = group
    while isinstance(one, BaseExceptionGroup):
        one = one.exceptions[0]
    return one


class Matrix:
    """One request that waits, and everybody who would like to see it allowed."""

    def __init__(self, home: Home, outcome: Outcome) -> None:
        self._home = home
        self._outcome = outcome
        self._tried: set[tuple[str, str]] = set()

    async def use(self, room: Room) -> None:
        browser = await paired(self._home)
        with Session(self._home, room.place) as session, Session(self._home, room.place) as other:
            async with trio.open_nursery() as nursery, browser.stream() as screen:
                past = await make_past(self._home, browser, screen)
                client, stranger = await join(nursery, session.bridge()), await join(nursery, other.bridge())
                hook = session.hook()
                assert isinstance(await hook.ask(RAW), wire.PermissionAsked)
                view = (await screen.next(pagewire.Permission)).request
                message = (await client.post("do it")).message
                victim = Victim(session, client, hook, view, message, forge(view, browser, Browser(browser.port)))

                await self.use_the_agents_door(victim, victim.client)
                await self.use_the_agents_door(victim, stranger)
                await self.use_the_control_door(victim, other)
                await self.use_the_calls(victim, browser, past)
                await self.use_the_routes(browser)
                await self.use_the_stream(victim, browser, past)
                await self.use_the_paired_stream(screen, victim, browser, past)
                await still_waits(victim, browser, screen)
                self._outcome.counts["matrix: kinds of use"] = len(self._tried)
                nursery.cancel_scope.cancel()

    def note(self, route: str, credential: str) -> None:
        self._outcome.counts["matrix uses"] += 1
        self._tried.add((route, credential))

    # --- the doors

    async def use_the_agents_door(self, victim: Victim, client: Client) -> None:
        """As the very agent that asks, or another."""
        who = "its own agent" if client is victim.client else "another agent"
        for kind in get_args(wire.AgentFrame):
            frame = sample(kind, victim)
            self.note("agents' door", who)
            if isinstance(frame, wire.Mark | wire.Waking):
                await client.send(frame)
            elif isinstance(frame, wire.Hello):
                before = len(client.said)
                await client.send(frame)
                await client.until(lambda before=before: len(client.said) > before)  # type: ignore[misc]
            elif hasattr(frame, "cid"):
                unique = f"m-{frame.type}"
                await client.ask(attrs.evolve(frame, id=unique, cid=unique), object)
            else:
                await client.ask(frame, object)
        for verb in PAGE_VERBS.keys() - {str(vars(kind)["type"]) for kind in get_args(wire.AgentFrame)}:
            self.note("agents' door, a verb of the page", who)
            before = len(client.said)
            await client.socket.send_message(json.dumps({"type": verb, **victim.forged}))
            await client.until(lambda before=before: len(client.said) > before)  # type: ignore[misc]

    async def use_the_control_door(self, victim: Victim, other: Session) -> None:
        """As a program below the session that asks, as one of another session, and as a program of nobody's."""
        for kind in get_args(wire.ControlFrame):
            frame = sample(kind, victim)
            if CONTROL_VERBS[frame.type] == STOPS:
                continue
            if isinstance(frame, wire.ChangeRules):
                frame = attrs.evolve(frame, change="add")
            if isinstance(frame, wire.Configure):
                frame = attrs.evolve(frame, change="set", command=("true",))
            for speaker in [other] if CONTROL_VERBS[frame.type] == ASKS else [other, victim.session]:
                self.note("control door", "another session" if speaker is other else "its own session")
                await say(speaker.hook(), frame)
        with Program(self._home.control_socket) as nobody:
            for verb in (*PAGE_VERBS, *CALLS, "approve", "verdict"):
                if verb not in CONTROL_VERBS:
                    self.note("control door, a verb of the page", "nobody's program")
                    stream = trio.SocketStream(trio.socket.from_stdlib_socket(nobody.connect()))
                    await stream.send_all(json.dumps({"op": verb, **victim.forged}).encode() + b"\n")
                    answer = wire.decode_hub(bytes(await stream.receive_some()).partition(b"\n")[0])
                    assert isinstance(answer, wire.Error)
                    assert answer.code is Code.BAD_FRAME

    async def use_the_calls(self, victim: Victim, browser: Browser, past: Past) -> None:
        """As a program that knows the address and everything that is on the disk, and as one that was paired."""
        ticket = await browser.ticket()
        headers = {
            "what is known": {},
            "a ticket in a cookie": {"Cookie": f"ticket={ticket}"},
            "a ticket as a bearer": {"Authorization": f"Bearer {ticket}"},
        }
        for kind in get_args(pagewire.CallFrame):
            call = sample(kind, victim)
            for credential, more in headers.items():
                self.note(f"call {call.type}", credential)
                reply = await browser.request("POST", f"/api/{call.type}", pagewire.encode_call(call), more)
                # A challenge proves nothing: it is to be signed.
                assert reply.status == 200 if call.type == "challenge" else 400 <= reply.status < 500, (call, reply)
        self.note("call challenge", "a revoked key")
        await forbidden(browser, pagewire.Challenge(key=past.revoked.key))
        self.note("call ticket", "a used challenge")
        await forbidden(browser, past.used_call)
        challenge = (await browser.call(pagewire.Challenge(key=browser.key), pagewire.Challenged)).challenge
        signature = past.revoked.sign(pagewire.to_sign(browser.origin, challenge))
        for key in (browser.key, past.revoked.key):
            self.note("call ticket", "a signature by a revoked key")
            await forbidden(browser, pagewire.GetTicket(key=key, challenge=challenge, signature=signature))
        for name in (*PAGE_VERBS, *CONTROL_VERBS, "approve", "..", "decide/", "%2e%2e/api/ticket"):
            if name not in CALLS:
                self.note("call that is none", "what is known")
                reply = await browser.request("POST", f"/api/{name}", json.dumps(victim.forged).encode())
                assert reply.status in (404, 405), name

    async def use_the_routes(self, browser: Browser) -> None:
        """What anybody may read is only read, whatever the method."""
        ticket = await browser.ticket()
        for route in ROUTES:
            target = route.split()[1].replace("<path:path>", "x").replace("<name>", "ticket")
            for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
                self.note(f"{method} {target}", "a ticket in the address and a cookie")
                reply = await browser.request(method, f"{target}?{ticket}", headers={"Cookie": f"ticket={ticket}"})
                assert "set-cookie" not in reply.headers
                assert reply.status < 500, (method, target, reply)
                assert reply.status in (404, 405) or method in ("GET", "HEAD"), (method, target, reply)

    async def use_the_stream(self, victim: Victim, browser: Browser, past: Past) -> None:
        """Without a ticket, with one that was used, and with whatever looks like one."""
        found = {victim.view.id, victim.view.digest, victim.view.hub_nonce, browser.key, *victim.forged.values()}
        for path in sorted(self._home.root.rglob("*")):
            if path.is_file():
                text = path.read_bytes().decode(errors="replace")
                found |= {word for word in text.replace('"', " ").replace(",", " ").split() if 16 <= len(word) <= 128}
        tokens = [word for word in found if word.isascii() and all(char.isalnum() or char in "-_." for char in word)]
        assert len(tokens) > 10
        for token in (past.used_ticket, past.revoked_ticket, *tokens):
            self.note("stream", "what may look like a ticket")
            assert await browser.refused_upgrade(pagewire.SUBPROTOCOL, token) == 403
        ticket = await browser.ticket()
        for offered, target in (((), "/stream"), ((pagewire.SUBPROTOCOL,), "/stream"),
                              ((ticket, pagewire.SUBPROTOCOL), "/stream"),
                              ((pagewire.SUBPROTOCOL,), f"/stream?ticket={ticket}")):  # fmt: skip
            self.note("stream", "no ticket in its place")
            assert await browser.refused_upgrade(*offered, path=target) == 403

    async def use_the_paired_stream(self, screen: Screen, victim: Victim, browser: Browser, past: Past) -> None:
        """Every other verb of the page, and `decide` with signatures that are not by its key over this payload."""
        for kind in get_args(pagewire.PageFrame):
            if kind is wire.RevokeKey:
                continue  # of its own key: the stream would end
            frame = sample(kind, victim)
            self.note("stream of a paired page", "another key's signature" if frame.type == "decide" else "its own")
            answer = await screen.ask(attrs.evolve(frame, id=f"p-{frame.type}"), object)
            if frame.type in ("decide", "open"):
                assert isinstance(answer, wire.Error), (frame.type, answer)
        text = victim.forged["payload"]
        elsewhere = text.replace(victim.view.digest, victim.view.digest[::-1])
        for credential, said, signature in (
            ("a revoked key's signature", text, past.revoked.sign(text)),
            ("a signature over a denial", text, browser.sign(payload(victim.view, "deny"))),
            ("no signature", text, ""),
            ("a signature of zeros", text, to_text(bytes(64))),
            ("a signature over other bytes", elsewhere, browser.sign(elsewhere)),
        ):
            self.note("stream of a paired page", credential)
            decision = pagewire.Decide(id=screen.next_id(), request=victim.view.id, payload=said, signature=signature)
            assert isinstance(await screen.ask(decision, object), wire.Error), credential


async def forbidden(browser: Browser, call: pagewire.CallFrame) -> None:
    reply = await browser.request("POST", f"/api/{call.type}", pagewire.encode_call(call))
    assert reply.status == 403, (call, reply)


async def say(door: Hook, frame: wire.ControlFrame) -> None:
    """Say it, with what follows it, and take the answer. What only a person may do is refused."""
    if isinstance(frame, wire.AskPermission | wire.ToolsRan):
        await door._stream.send_all(wire.encode_control(frame) + b"\n" + RAW)
        await door.frame()
    elif isinstance(frame, wire.Tail):
        await door._stream.send_all(wire.encode_control(frame) + b"\n")
    else:
        answer = await door.say(frame)
        if CONTROL_VERBS[frame.type] == PERSON:
            assert isinstance(answer, wire.Error), frame.type
            assert answer.code is Code.FORBIDDEN, frame.type
            assert "inside a Claude Code session" in answer.message, frame.type
    await door.close()


async def still_waits(victim: Victim, browser: Browser, screen: Screen) -> None:
    """Nothing was decided, and the person still can."""
    with trio.move_on_after(QUIET_S):
        raise AssertionError(f"the hook was told {await victim.hook.frame()}")
    over = [frame for frame in screen.all(pagewire.PermissionOver) if frame.request == victim.view.id]
    assert over == []
    deny = payload(victim.view, "deny")
    await screen.ask(
        pagewire.Decide(id="d", request=victim.view.id, payload=deny, signature=browser.sign(deny)), wire.Done
    )
    verdict = await victim.hook.frame()
    assert isinstance(verdict, wire.Verdict)
    assert verdict.output == json.loads(deny)["output"]


# --- what somebody would send


async def make_past(home: Home, browser: Browser, screen: Screen) -> Past:
    """Pair a second browser, let it do what it may, and revoke it."""
    revoked = Browser(browser.port, "a former one")
    code = await trio.to_thread.run_sync(at_a_terminal, home, wire.NewCode(id="c"))
    assert isinstance(code, wire.PairingCode)
    await revoked.pair(code.code)
    asked = await screen.next(pagewire.Pairing)
    await screen.ask(pagewire.AnswerPairing(id=screen.next_id(), pairing=asked.pairing, accept=True), wire.Done)
    revoked_ticket = await revoked.ticket()
    await screen.ask(wire.RevokeKey(id=screen.next_id(), key=revoked.key), wire.Done)
    challenge = (await browser.call(pagewire.Challenge(key=browser.key), pagewire.Challenged)).challenge
    signature = browser.sign(pagewire.to_sign(browser.origin, challenge))
    call = pagewire.GetTicket(key=browser.key, challenge=challenge, signature=signature)
    ticket = (await browser.call(call, pagewire.Ticketed)).ticket
    async with browser.stream(ticket=ticket):
        pass
    return Past(revoked, revoked_ticket, ticket, call)


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
