"""A program of the person's that writes into the data directory to be a paired browser: what it gets, and what it may
not get.

A real hub on real files, with a paired browser and a request that waits. The program has a key of its own and writes
its public half where the hub keeps those of paired browsers. What is not stopped, a chain of the audit that is forged
as a whole, is tried as well: then it can be seen.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from crosschat import pagewire, wire
from crosschat.core.pairing import to_text
from crosschat.errors import Code
from crosschat.hub.keyring import SETTING
from crosschat.journal.audit import file_of, make_line, read_audit
from crosschat.journal.files import RealFiles
from tests.hostile.test_self_approval import Scene
from tests.hub.desk import request
from tests.hub.rig import NOW_MS
from tests.live.prompting import Session
from tests.live.rig import HubProcess, inspect, join
from tests.live.screen import Browser, at_a_terminal, paired
from tests.live.test_screen import accept

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from crosschat.paths import Home

pytestmark = [pytest.mark.process, pytest.mark.slow]


def plant(home: Home, browser: Browser) -> None:
    """List the browser as paired."""
    settings = json.loads(home.settings.read_bytes())
    settings[SETTING].append(
        {"id": browser.key, "public_key": to_text(browser.public), "label": browser.label,
         "paired_at": "2026-01-01T00:00:00.000Z", "port": browser.port}
    )  # fmt: skip
    home.settings.write_text(json.dumps(settings))


def forge(home: Home, browser: Browser) -> None:
    """Add a line to the audit that follows from the last one."""
    chain = read_audit(home.root, RealFiles())
    fields: dict[str, object] = {"event": "paired", "key": browser.key, "port": browser.port, "label": browser.label}
    line, _ = make_line(chain.rows + 1, chain.last, NOW_MS, fields)
    with file_of(home.root).open("ab") as file:
        file.write(line + b"\n")


@asynccontextmanager
async def attacked(place: Path, *attacks: Callable[[Home, Browser], None]) -> AsyncIterator[tuple[Scene, Browser]]:
    """A browser is paired, the hub ends, the attacks are made with a key of their own, and the next hub runs."""
    with HubProcess(place / "home", "--stay") as hub:
        mine = await paired(hub.started().home, "mine")
        hub.stop()
    thief = Browser(mine.port, "thief")
    for attack in attacks:
        attack(hub.home, thief)
    with HubProcess(place / "home", "--stay") as again:
        again.started()
        async with mine.stream() as screen, trio.open_nursery() as nursery:
            with Session(place, again.home) as session:
                await join(nursery, session.connect(again.home.agents_socket))
                hook = session.ask(request())
                view = (await screen.next(pagewire.Permission)).request
                yield Scene(again, session, hook, mine, screen, view), thief
            nursery.cancel_scope.cancel()


async def test_a_key_that_is_written_into_the_settings_decides_nothing_and_is_an_alarm(place: Path) -> None:
    async with attacked(place, plant) as (scene, thief):
        home, screen, text = scene.hub.home, scene.screen, "anything"
        for call in (
            pagewire.Challenge(key=thief.key),
            pagewire.GetTicket(key=thief.key, challenge="A" * 54, signature=thief.sign(text)),
        ):
            reply = await thief.request("POST", f"/api/{call.type}", pagewire.encode_call(call))
            assert reply.status == 403, call
        assert await thief.refused_upgrade(pagewire.SUBPROTOCOL, thief.key) == 403
        refused = await screen.ask(scene.decision(text, signature=thief.sign(text)), wire.Error)
        assert refused.code is Code.FORBIDDEN

        notices = (await inspect(home)).notices
        assert any("thief" in notice and f"--revoke {thief.key[:8]}" in notice for notice in notices)
        listed = {view.label: view.vouched for view in (await inspect(home)).browsers}
        assert listed == {"mine": True, "thief": False}
        told = await screen.ask(pagewire.Events(id=screen.next_id()), pagewire.EventPage)
        assert any(event.kind == "alarm" and "thief" in event.text for event in told.events)
        assert any("thief" in notice for notice in (await screen.next(pagewire.Hub)).notices)
        desk = await screen.next(pagewire.Desk)
        assert {view.label: view.vouched for view in desk.keys} == listed

        answer = await trio.to_thread.run_sync(at_a_terminal, home, wire.RevokeKey(id="r", key=thief.key[:8]))
        assert isinstance(answer, wire.Done), answer
        assert [view.label for view in (await inspect(home)).browsers] == ["mine"]
        assert not any("thief" in notice for notice in (await inspect(home)).notices)
        await scene.still_waits()


async def test_a_chain_that_is_forged_as_well_is_not_stopped_and_can_be_seen(place: Path) -> None:
    """The chain is unbroken, so only a hash that was kept elsewhere tells. The browser is listed as any other."""
    kept: list[str] = []

    def keep(home: Home, _: Browser) -> None:
        kept.append(read_audit(home.root, RealFiles()).last)

    async with attacked(place, keep, plant, forge) as (scene, thief):
        async with thief.stream():
            assert [view.label for view in (await inspect(scene.hub.home)).browsers] == ["mine", "thief"]
            chain = read_audit(scene.hub.home.root, RealFiles())
            assert chain.problems == ()
            assert chain.lines[-1]["prev"] == kept[0] != chain.last
            assert (chain.lines[-1]["event"], chain.lines[-1]["label"]) == ("paired", "thief")
        await scene.still_waits()


async def test_a_line_that_is_forged_while_the_hub_runs_breaks_the_chain_with_the_hubs_next(place: Path) -> None:
    """Then no browser counts any more, and the next hub says why."""
    with HubProcess(place / "home", "--stay") as hub:
        mine = await paired(hub.started().home, "mine")
        thief = Browser(mine.port, "thief")
        forge(hub.home, thief)
        async with mine.stream() as screen:
            await accept(hub, screen, Browser(mine.port, "second"))
        hub.stop()
        plant(hub.home, thief)
    with HubProcess(place / "home", "--stay") as again:
        again.started()
        found = await inspect(again.home)
        assert {view.label: view.vouched for view in found.browsers} == dict.fromkeys(
            ("mine", "second", "thief"), False
        )
        assert any("no browser counts as paired" in notice for notice in found.notices)
        for browser in (mine, thief):
            challenge = pagewire.encode_call(pagewire.Challenge(key=browser.key))
            assert (await browser.request("POST", "/api/challenge", challenge)).status == 403
