"""A page from pairing to its stream: what it is told, what it can do as the person, and how it resumes."""

from __future__ import annotations

import hashlib
import json
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import attrs
import pytest
import trio
import trio_websocket

from crosschat import pagewire, wire
from crosschat.errors import Code
from crosschat.pagewire import to_sign
from tests.live.rig import HubProcess, Program, join, short_directory
from tests.live.screen import Browser, Screen, code_of, paired
from tests.live.session import Hook, Session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture
def hub() -> Iterator[HubProcess]:
    with short_directory() as place, HubProcess(place / "home", "--stay").started() as running:
        yield running


@pytest.fixture
async def browser(hub: HubProcess) -> Browser:
    return await paired(hub.home)


async def test_a_paired_page_opens_a_stream_and_is_told_where_it_is(hub: HubProcess, browser: Browser) -> None:
    async with browser.stream() as screen:
        assert screen.opened.key == browser.key
        assert screen.opened.label == "a test"
        state = await screen.next(pagewire.Hub)
        assert state.home == str(hub.home.root)
        desk = await screen.next(pagewire.Desk)
        assert [(key.id, key.current) for key in desk.keys] == [(browser.key, True)]
        assert (await screen.next(pagewire.People)).agents == ()


async def test_the_person_and_an_agent_talk(hub: HubProcess, browser: Browser) -> None:
    with Program(hub.home.agents_socket) as program:
        async with browser.stream() as screen, trio.open_nursery() as nursery:
            ada = await join(nursery, program.connect())
            await screen.next(pagewire.People, lambda people: [one.name for one in people.agents] == [ada.welcome.name])
            await screen.post(f"@{ada.welcome.name} hello")
            await ada.until(lambda: ada.texts() == [f"@{ada.welcome.name} hello"])
            assert ada.items[0].source == "user"
            await ada.post("@user what now?", thread=ada.items[0].message)
            await screen.until(lambda: screen.texts()[1:] == ["@user what now?"])
            page = await screen.ask(wire.Read(id="r"), wire.Page)
            assert [item.content for item in page.items] == [f"@{ada.welcome.name} hello"]
            nursery.cancel_scope.cancel()


# --- permissions


RAW = json.dumps({
    "session_id": "s", "cwd": "/repo", "prompt_id": "p1", "permission_mode": "default",
    "hook_event_name": "PermissionRequest", "tool_name": "Bash", "tool_input": {"command": "make “all”"},
}, ensure_ascii=False).encode()  # fmt: skip


def payload_of(view: pagewire.PermissionView, behavior: str = "allow") -> str:
    """What the page signs."""
    output = {"hookSpecificOutput": {"hookEventName": "PermissionRequest", "decision": {"behavior": behavior}}}
    fields = {"id": view.id, "digest": view.digest, "hub_nonce": view.hub_nonce, "output": output}
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False)


def decide(browser: Browser, view: pagewire.PermissionView, behavior: str = "allow", **changes: str) -> pagewire.Decide:
    payload = payload_of(view, behavior)
    fields = {"request": view.id, "payload": payload, "signature": browser.sign(payload), **changes}
    return pagewire.Decide(id=f"d{fields['signature'][:6]}", **fields)


@asynccontextmanager
async def asking(hub: HubProcess, nursery: trio.Nursery) -> AsyncIterator[tuple[Session, Hook]]:
    """A session whose hook has put a request before the person."""
    with Session(hub.home, hub.home.root.parent) as session:
        await join(nursery, session.bridge())
        hook = session.hook()
        assert isinstance(await hook.ask(RAW), wire.PermissionAsked)
        yield session, hook
        await hook.close()


async def test_a_request_is_shown_whole_and_its_signed_decision_reaches_the_hook(
    hub: HubProcess, browser: Browser, nursery: trio.Nursery
) -> None:
    async with browser.stream() as screen, asking(hub, nursery) as (_, hook):
        view = (await screen.next(pagewire.Permission)).request
        assert view.raw == RAW.decode()
        assert view.digest == hashlib.sha256(bytes.fromhex(view.hub_nonce) + RAW).hexdigest()
        await screen.ask(decide(browser, view), wire.Done)
        verdict = await hook.frame()
        assert isinstance(verdict, wire.Verdict)
        assert verdict.digest == view.digest
        over = await screen.next(pagewire.PermissionOver)
        assert (over.request, over.how, over.behavior, over.by) == (view.id, "decided", "allow", "a test")
        event = await screen.next(pagewire.Event, lambda event: event.event.kind == "decided")
        assert "a test answered" in event.event.text


async def test_a_page_that_opens_later_is_shown_what_waits_once(
    hub: HubProcess, browser: Browser, nursery: trio.Nursery
) -> None:
    async with asking(hub, nursery) as (session, _), browser.stream() as screen:
        await screen.next(pagewire.Permission)
        await screen.next(pagewire.Desk)
        assert len(screen.all(pagewire.Permission)) == 1
        first = [type(frame) for frame in screen.frames[:2]]
        assert first == [pagewire.Opened, pagewire.Permission]
        session.kill()
        assert (await screen.next(pagewire.PermissionOver)).how == "gone"


async def test_no_wrong_signature_decides(hub: HubProcess, browser: Browser, nursery: trio.Nursery) -> None:
    async with browser.stream() as screen, asking(hub, nursery) as (_, hook):
        view = (await screen.next(pagewire.Permission)).request
        right = decide(browser, view)
        deny = payload_of(view, "deny")
        attempts: list[tuple[str, pagewire.Decide]] = [
            ("another key", decide(Browser(browser.port), view)),
            ("no signature", decide(browser, view, signature="")),
            ("another text", decide(browser, view, payload=deny)),
            ("a space more", decide(browser, view, payload=right.payload + " ")),
            ("a signed challenge", decide(browser, view, signature=browser.sign(to_sign(browser.origin, "x")))),
        ]  # fmt: skip
        for nonce, digest, identifier in (("00" * 32, view.digest, view.id), (view.hub_nonce, "00" * 32, view.id),
                                          (view.hub_nonce, view.digest, "f" * 16)):  # fmt: skip
            other = attrs.evolve(view, hub_nonce=nonce, digest=digest, id=identifier)
            attempts.append(("signed for another request", attrs.evolve(decide(browser, other), request=view.id)))
        for what, frame in attempts:
            error = await screen.ask(frame, wire.Error)
            assert error.code in (Code.FORBIDDEN, Code.INVALID, Code.CONFLICT), (what, error)
        assert screen.all(pagewire.PermissionOver) == []
        await screen.ask(right, wire.Done)
        again = await screen.ask(right, wire.Error)
        assert again.code is Code.CONFLICT
        assert isinstance(await hook.frame(), wire.Verdict)


async def test_of_two_pages_at_once_one_decides(hub: HubProcess, browser: Browser, nursery: trio.Nursery) -> None:
    second = Browser(browser.port, "second")
    async with browser.stream() as one, browser.stream() as control:
        await accept(hub, control, second)
        async with second.stream() as two, asking(hub, nursery) as (_, hook):
            view = (await one.next(pagewire.Permission)).request
            await two.next(pagewire.Permission)
            outcomes: list[object] = []

            async def answer(screen: Screen, frame: pagewire.Decide) -> None:
                outcomes.append(type(await screen.ask(frame, object)))

            async with trio.open_nursery() as both:
                both.start_soon(answer, one, decide(browser, view, "allow"))
                both.start_soon(answer, two, decide(second, view, "deny"))
            assert sorted(map(str, outcomes)) == sorted(map(str, [wire.Done, wire.Error]))
            assert isinstance(await hook.frame(), wire.Verdict)
            for screen in (one, two):
                await screen.next(pagewire.PermissionOver)


async def accept(hub: HubProcess, screen: Screen, browser: Browser) -> None:
    """Pair a further browser, accepted in the page of `screen`."""
    asked = await browser.pair(await trio.to_thread.run_sync(code_of, hub.home))
    assert asked.state == "waiting"
    assert asked.pairing is not None
    shown = await screen.next(pagewire.Pairing, lambda frame: frame.pairing == asked.pairing)
    assert (shown.label, shown.fingerprint) == (browser.label, asked.fingerprint)
    answer = pagewire.AnswerPairing(id=screen.next_id(), pairing=asked.pairing, accept=True)
    await screen.ask(answer, wire.Done)
    assert (await browser.call(pagewire.AwaitPairing(pairing=asked.pairing), pagewire.Paired)).state == "paired"
    await screen.next(pagewire.Pairing, lambda frame: frame.over)


async def test_a_revoked_key_loses_its_stream_and_decides_nothing_more(
    hub: HubProcess, browser: Browser, nursery: trio.Nursery
) -> None:
    second = Browser(browser.port, "second")
    async with browser.stream() as screen:
        await accept(hub, screen, second)
        async with asking(hub, nursery) as (_, hook), second.stream() as revoked:
            view = (await revoked.next(pagewire.Permission)).request
            ticket = await second.ticket()
            await screen.ask(wire.RevokeKey(id="r", key=second.key), wire.Done)
            with suppress(trio_websocket.ConnectionClosed):
                await revoked.send(decide(second, view))
            with trio.fail_after(5):
                await revoked.ended.wait()
            assert revoked.closed == (1008, "this browser is not paired any more")
            assert await second.refused_upgrade(pagewire.SUBPROTOCOL, ticket) == 403
            error = await second.call(pagewire.Challenge(key=second.key), wire.Error)
            assert error.code is Code.FORBIDDEN
            assert screen.all(pagewire.PermissionOver) == []
            await screen.ask(decide(browser, view, "deny"), wire.Done)
            assert isinstance(await hook.frame(), wire.Verdict)


async def test_the_person_finds_what_agents_said_in_private(hub: HubProcess, browser: Browser) -> None:
    with Program(hub.home.agents_socket) as one, Program(hub.home.agents_socket) as two:
        async with browser.stream() as screen, trio.open_nursery() as nursery:
            ada, ben = [await join(nursery, program.connect()) for program in (one, two)]
            await ada.post(f"@{ben.welcome.name} the needle is yours")
            await ben.post("haystack")
            page = await screen.ask(wire.Search(id="s", query="needle", sender=ada.welcome.name), wire.Page)
            assert [item.content for item in page.items] == [f"@{ben.welcome.name} the needle is yours"]
            assert (page.earlier, page.behind) == (False, 0)
            refused = await screen.ask(wire.Search(id="t", sender="nobody-at-all"), wire.Error)
            assert refused.path == "sender"
            nursery.cancel_scope.cancel()
