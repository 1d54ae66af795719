"""A page from pairing to its stream: what it is told, what it can do as the person, and how it resumes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from crosschat import pagewire, wire
from tests.live.rig import HubProcess, Program, join, short_directory
from tests.live.screen import Browser, paired

if TYPE_CHECKING:
    from collections.abc import Iterator


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
