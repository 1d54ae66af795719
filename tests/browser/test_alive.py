"""The page outlives hubs, cut networks and other tabs: nothing is missed, nothing doubled, nothing loaded again."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.cable import Cable
from tests.browser.rig import complaints, watch

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.rig import Desk

pytestmark = [pytest.mark.slow, pytest.mark.process, pytest.mark.timeout(300)]


def texts(page: Page) -> list[str]:
    return [text for text in page.locator(".message .md").all_inner_texts() if text.startswith("number")]


def stays_loaded(page: Page) -> None:
    page.evaluate("window.sameDocument = true")


def was_not_loaded_again(page: Page) -> bool:
    return page.evaluate("window.sameDocument === true") is True


def test_a_killed_hub_is_noticed_and_its_successor_goes_on_where_it_was(desk: Desk) -> None:
    page = desk.paired(path="/#/chat")
    stays_loaded(page)
    with desk.session("api") as api:
        for number in range(3):
            api.send(f"number {number}")
        expect(page.get_by_text("number 2", exact=True)).to_be_visible()
    desk.kill()  # nobody is there who would start the next one at once
    expect(page.get_by_text("No connection to the hub")).to_be_visible()
    desk.start()
    with desk.session("api") as api:
        for number in range(3, 6):
            api.send(f"number {number}")
        expect(page.get_by_text("number 5", exact=True)).to_be_visible()
        expect(page.get_by_text("No connection to the hub")).to_have_count(0)
        assert texts(page) == [f"number {number}" for number in range(6)]
        assert was_not_loaded_again(page)
        assert complaints(page) == []


def test_what_was_written_while_the_hub_was_away_is_sent_once(desk: Desk) -> None:
    page = desk.paired(path="/#/chat")
    with desk.session("api") as api:
        desk.kill()
        box = page.get_by_role("textbox", name="Message to the agents")
        box.fill("number 1, written without a hub")
        box.press("Enter")
        desk.start()
        expect(page.get_by_text("number 1, written without a hub")).to_be_visible()
        expect(box).to_have_value("")
        received = api.call("wait_for_messages", timeoutMs=10_000)["messages"]
        assert [one["content"] for one in received] == ["number 1, written without a hub"]
        assert len(texts(page)) == 1


def test_a_connection_that_died_in_a_sleep_is_cut_and_resumed(desk: Desk) -> None:
    page = desk.context().new_page()
    page.clock.install()
    page.goto(f"{desk.origin}/#/chat")
    desk.pair(page)
    stays_loaded(page)
    with desk.session("api") as api:
        # The lid closes: nobody answers any more, nobody hangs up, and half a minute passes at once.
        desk.hub.signal(signal.SIGSTOP)
        page.clock.fast_forward(21_000)
        page.clock.fast_forward(11_000)
        expect(page.get_by_text("No connection to the hub")).to_be_visible()
        desk.hub.signal(signal.SIGCONT)
        for number in range(3):
            api.send(f"number {number}")
        expect(page.get_by_text("number 2", exact=True)).to_be_visible(timeout=15_000)
        assert texts(page) == ["number 0", "number 1", "number 2"]
        assert was_not_loaded_again(page)


@pytest.mark.parametrize("how", ["silent", "reset"])
def test_a_cable_that_was_pulled_costs_nothing_and_what_was_written_meanwhile_is_there_once(
    desk: Desk, how: str
) -> None:
    with Cable() as cable, desk.session("api") as api:
        page = desk.context(proxy=cable.proxy).new_page()
        watch(page)
        page.clock.install()
        page.goto(f"{desk.origin}/#/chat")
        desk.pair(page)
        stays_loaded(page)
        for number in range(3):
            api.send(f"number {number}")
        expect(page.get_by_text("number 2", exact=True)).to_be_visible()
        if how == "silent":
            cable.silence()
        else:
            cable.cut()
        for number in range(3, 6):  # the hub is well, and so is everybody else
            api.send(f"number {number}")
        box = page.get_by_role("textbox", name="Message to the agents")
        box.fill("number 6, from the page")
        box.press("Enter")
        if how == "silent":
            page.clock.fast_forward(21_000)
            page.clock.fast_forward(11_000)
        expect(page.get_by_text("No connection to the hub")).to_be_visible()
        assert texts(page) == ["number 0", "number 1", "number 2"]
        cable.restore()
        expect(page.get_by_text("number 6, from the page")).to_be_visible()
        expect(page.get_by_text("No connection to the hub")).to_have_count(0)
        assert texts(page) == [*(f"number {number}" for number in range(6)), "number 6, from the page"]
        assert box.input_value() == ""
        (received,) = api.call("wait_for_messages", timeoutMs=10_000)["messages"]
        assert received["content"] == "number 6, from the page"
        assert was_not_loaded_again(page)
        assert [text for text in complaints(page) if "ERR_" not in text] == []


def test_several_tabs_follow_the_same_chat(desk: Desk) -> None:
    context = desk.context()
    tabs = [desk.paired(context, path="/#/chat"), *(desk.open(context, "/#/chat") for _ in range(3))]
    with desk.session("api") as api:
        expect(tabs[3].get_by_role("region", name="Connected agents").get_by_text("api")).to_be_visible()
        api.send("number 1")
        for tab in tabs:
            expect(tab.get_by_text("number 1")).to_be_visible()
        tabs[0].evaluate("localStorage.setItem('crosschat.theme', '\"dark\"')")
        expect(tabs[1].locator("html[data-theme='dark']")).to_have_count(1)


def test_a_hub_of_another_version_asks_for_a_reload(desk: Desk) -> None:
    page = desk.open()
    # The page that is open is of an older version: as if it had been loaded before the upgrade.
    page.route("**/assets/*.js", lambda route: route.fulfill(response=(got := route.fetch()), body=older(got.text())))
    page.reload()
    desk.pair(page)
    expect(page.get_by_text("This page is older")).to_be_visible()
    page.unroute_all(behavior="ignoreErrors")
    page.get_by_role("button", name="Reload").click()
    expect(page.get_by_role("heading", name="Nothing needs you")).to_be_visible()
    expect(page.get_by_text("This page is older")).to_have_count(0)


def older(script: str) -> str:
    from importlib.metadata import version

    own = version("crosschat-hub")
    assert f"`{own}`" in script or f'"{own}"' in script
    return script.replace(f"`{own}`", "`0.0.1`").replace(f'"{own}"', '"0.0.1"')
