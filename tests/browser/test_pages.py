"""Every view of the page in Chromium, with agents that are really connected."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.rig import complaints
from tests.live.screen import code_of

if TYPE_CHECKING:
    from tests.browser.rig import Desk

pytestmark = [pytest.mark.slow, pytest.mark.process, pytest.mark.timeout(300)]


def test_an_unpaired_browser_is_told_how_to_pair_and_shown_nothing_else(desk: Desk) -> None:
    page = desk.open()
    expect(page.get_by_role("heading", name="Pair this browser")).to_be_visible()
    expect(page.get_by_text("crosschat dashboard").first).to_be_visible()
    expect(page.get_by_role("navigation")).to_have_count(0)
    page.get_by_label("Type the code").fill("WRONG-CODE")
    page.get_by_role("button", name="Pair").click()
    expect(page.get_by_role("alert")).to_be_visible()
    page.get_by_label("Type the code").fill(code_of(desk.hub.home))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Nothing needs you")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="Nothing needs you")).to_be_visible()
    assert [text for text in complaints(page) if "status of 4" not in text] == []


def test_an_open_unpaired_tab_goes_on_by_itself_once_its_browser_is_paired(desk: Desk) -> None:
    context = desk.context()
    waiting = desk.open(context)
    expect(waiting.get_by_role("heading", name="Pair this browser")).to_be_visible()
    desk.paired(context)
    expect(waiting.get_by_role("heading", name="Nothing needs you")).to_be_visible()


def test_a_second_browser_needs_a_yes_of_the_first_and_can_be_revoked(desk: Desk) -> None:
    first = desk.paired()
    second = desk.open()
    second.get_by_label("Type the code").fill(code_of(desk.hub.home))
    second.get_by_label("Name of this browser").fill("the other one")
    second.get_by_role("button", name="Pair").click()
    words = second.locator(".fingerprint").inner_text()
    request = first.get_by_role("article", name="Another browser wants to be paired")
    expect(request).to_contain_text("the other one")
    expect(request.locator(".fingerprint")).to_have_text(words)
    request.get_by_role("button", name="Accept").click()
    expect(second.get_by_role("navigation", name="Views")).to_be_visible()
    first.goto(f"{desk.origin}/#/settings")
    key = first.locator(".key", has_text="the other one")
    key.get_by_role("button", name="Revoke").click()
    first.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(second.get_by_role("heading", name="Pair this browser")).to_be_visible()
    expect(key).to_have_count(0)


def test_how_far_one_has_read_is_the_same_in_all_tabs_of_a_browser_and_of_each_browser_its_own(desk: Desk) -> None:
    context = desk.context()
    reading = desk.paired(context, path="/#/chat")
    beside = desk.open(context, "/#/tasks")
    other = desk.open(path="/#/tasks")
    other.get_by_label("Type the code").fill(code_of(desk.hub.home))
    other.get_by_role("button", name="Pair").click()
    reading.get_by_role("button", name="Accept").click()
    with desk.session("api") as api:
        api.send("read by both")
        other.get_by_role("navigation", name="Views").get_by_role("link", name="Chat").click()
        expect(other.get_by_text("read by both")).to_be_visible()
        other.get_by_role("navigation", name="Views").get_by_role("link", name="Tasks").click()
        expect(other.get_by_role("heading", name="Tasks")).to_be_visible()
        new = api.send("read in one")
        expect(reading.get_by_text("read in one")).to_be_visible()
        expect(other.get_by_role("link", name="Chat 1 new")).to_be_visible()
        expect(beside.get_by_role("link", name="Chat", exact=True)).to_be_visible()
        other.goto(f"{desk.origin}/#/chat?from=api")  # what is seen among some messages does not count
        expect(other.get_by_text("read in one")).to_be_visible()
        other.get_by_role("navigation", name="Views").get_by_role("link", name="Chat").click()
        row = other.locator(".windowed-row", has=other.locator(f"[data-message='{new}']"))
        expect(row.get_by_role("separator", name="New")).to_be_visible()
        expect(other.get_by_role("link", name="Chat", exact=True)).to_be_visible()
        box = beside.get_by_role("textbox", name="Message to the agents")
        beside.get_by_role("navigation", name="Views").get_by_role("link", name="Chat").click()
        box.fill("written here")
        box.press("Enter")
        expect(beside.locator("[data-message]", has_text="written here")).to_be_visible()
        expect(beside.get_by_role("separator", name="New")).to_have_count(0)


def test_the_tools_of_a_message_at_the_edge_of_the_list_are_whole_and_stay_when_one_was_used(desk: Desk) -> None:
    page = desk.paired(desk.context(viewport={"width": 1280, "height": 500}), path="/#/chat")
    with desk.session("api") as api:
        for number in range(20):
            api.send(f"number {number}")
        expect(page.locator("[data-message]", has_text="number 19")).to_be_visible()
        edge = page.get_by_role("region", name="Messages").bounding_box()
        assert edge is not None
        page.mouse.move(edge["x"] + edge["width"] / 2, edge["y"] + 8)
        tools = page.get_by_role("toolbar", name="Message")
        expect(tools).to_be_visible()
        shown = tools.bounding_box()
        assert shown is not None
        assert shown["y"] >= edge["y"]
        tools.get_by_role("button", name="Make it a task").click()
        expect(tools.get_by_role("button", name="Make it a task")).to_have_count(0)
        expect(tools.get_by_role("button", name="Who got it")).to_be_visible()


def test_a_message_of_an_agent_appears_and_the_person_answers_in_its_thread(desk: Desk) -> None:
    page = desk.paired(path="/#/chat")
    expect(page.get_by_role("heading", name="Nobody has written yet")).to_be_visible()
    with desk.session("api") as api:
        message = api.send("It is **done**: `x < y`")
        row = page.locator(f"[data-message='{message}']")
        expect(row.locator("strong")).to_have_text("done")
        row.hover()
        row.get_by_role("button", name="Reply in thread").click()
        thread = page.get_by_role("complementary", name="Thread")
        thread.get_by_role("textbox", name="Reply").fill("Well done, @api")
        page.keyboard.press("Enter")
        expect(thread.get_by_text("Well done")).to_be_visible()
        received = api.call("wait_for_messages", timeoutMs=10_000)
        (reply,) = [one for one in received["messages"] if one["content"] == "Well done, @api"]
        assert (reply["source"], reply["threadId"]) == ("user", message)
        page.keyboard.press("Escape")
        page.keyboard.press("Escape")
        expect(thread).to_have_count(0)
        expect(row.get_by_role("link", name="1 reply")).to_be_visible()


def test_a_mention_is_completed_and_reaches_that_agent_alone(desk: Desk) -> None:
    page = desk.paired(path="/#/chat")
    with desk.session("api-worker") as api, desk.session("web") as web:
        expect(page.get_by_role("region", name="Connected agents").get_by_text("api-worker")).to_be_visible()
        box = page.get_by_role("textbox", name="Message to the agents")
        box.press_sequentially("@wor")
        expect(page.get_by_role("listbox", name="Agents").get_by_text("api-worker")).to_be_visible()
        box.press("Tab")
        box.press_sequentially("only for you")
        expect(page.get_by_text("to api-worker", exact=True)).to_be_visible()
        box.press("Enter")
        expect(box).to_have_value("")
        assert api.call("wait_for_messages", timeoutMs=10_000)["messages"][0]["content"] == "@api-worker only for you"
        assert web.call("get_messages", unreadOnly=True).get("messages", []) == []
        api.call("list_peers")
        expect(page.get_by_role("button", name="read", exact=True)).to_be_visible()


def test_a_flagged_message_goes_through_the_board_to_its_result(desk: Desk) -> None:
    page = desk.paired(path="/#/chat")
    with desk.session("api") as api, desk.session("web", "web"):
        box = page.get_by_role("textbox", name="Message to the agents")
        box.fill("Write the migration")
        box.press("Enter")
        row = page.locator("[data-message]", has_text="Write the migration")
        row.hover()
        row.get_by_role("button", name="Make it a task").click()
        expect(row.get_by_title("task: open task")).to_be_visible()
        message = str(row.get_attribute("data-message"))
        page.get_by_role("navigation", name="Views").get_by_role("link", name="Tasks").click()
        card = page.locator(f"[data-task='{message}']")

        def in_column(name: str) -> None:
            expect(page.get_by_role("region", name=name, exact=True).locator(card)).to_be_visible()

        in_column("Open")
        api.call("claim_task", messageId=message)
        in_column("Claimed")
        card.get_by_role("button", name="Release").click()
        in_column("Open")
        api.call("claim_task", messageId=message)
        card.get_by_role("button", name="Reassign").click()
        page.get_by_role("dialog").get_by_label("Agent").select_option(label="web")
        page.get_by_role("dialog").get_by_role("button", name="Reassign").click()
        expect(card.get_by_text("web")).to_be_visible()
        card.get_by_role("button", name="Release").click()
        in_column("Open")
        api.call("claim_task", messageId=message)
        api.call("send_message", content="on it", threadId=message)
        in_column("In progress")
        api.call("resolve_task", messageId=message, status="completed", result="Added **two** tables")
        in_column("Completed")
        card.get_by_role("button", name="Show the result").click()
        expect(card.locator("strong", has_text="two")).to_be_visible()
        card.get_by_role("button", name="Reopen").click()
        in_column("Open")


def test_a_question_to_the_person_is_first_and_answered_there(desk: Desk) -> None:
    page = desk.paired()
    with desk.session("api") as api:
        question = api.send("@user which database?")
        need = page.locator(f"[data-need='{question}']")
        expect(need).to_contain_text("which database?")
        expect(page).to_have_title("(1) Needs you · CrossChat")
        need.get_by_role("textbox").fill("The staging one")
        need.get_by_role("textbox").press("Enter")
        expect(page.get_by_role("heading", name="Nothing needs you")).to_be_visible()
        received = api.call("wait_for_messages", timeoutMs=10_000)
        assert received["messages"][-1]["content"] == "The staging one"
        expect(page).to_have_title("Needs you · CrossChat")


def test_an_agent_is_shown_with_what_it_does_and_can_be_mentioned_and_paused(desk: Desk) -> None:
    page = desk.paired(path="/#/agents")
    expect(page.get_by_role("heading", name="No agent is here")).to_be_visible()
    with desk.session("api", "some project") as api:
        api.call("set_status", status="busy", detail="reads the schema")
        row = page.locator(".agent", has_text="api")
        expect(row).to_contain_text("reads the schema")
        expect(row).to_contain_text("working")
        expect(row).to_contain_text("some project")
        row.get_by_role("button", name="Pause").click()
        expect(row.get_by_text("paused")).to_be_visible()
        row.get_by_role("button", name="Resume").click()
        expect(row.get_by_role("button", name="Pause")).to_be_visible()
        row.get_by_role("button", name="Mention").click()
        expect(page.get_by_role("textbox", name="Message to the agents")).to_have_value("@api ")
    page.goto(f"{desk.origin}/#/agents")
    expect(page.locator(".agent.away", has_text="api")).to_be_visible()


def test_the_traffic_of_an_agent_is_shown_both_ways_page_by_page_and_as_it_comes(desk: Desk) -> None:
    page = desk.paired(path="/#/agents")
    with desk.session("api") as api, desk.session("web") as web, desk.session("ops") as ops:
        ops.send("nothing to do with api")
        asked = web.send("@api what is the schema?")
        api.send("three tables", threadId=asked)
        for number in range(70):
            (api, web)[number % 2].send(f"@{('web', 'api')[number % 2]} step {number}.")
        ops.send("@web between us two")
        page.locator(".agent", has_text="api").get_by_role("link", name="Traffic").click()
        chat = page.get_by_role("region", name="Chat")
        expect(chat.get_by_label("Who", exact=True)).to_have_value(re.compile("^with "))
        expect(chat.get_by_text("step 69.")).to_be_visible()
        expect(chat.get_by_text("step 68.")).to_be_visible()
        page.mouse.wheel(0, -20_000)
        expect(chat.get_by_text("This is where it begins.")).to_have_count(1)
        page.mouse.wheel(0, -20_000)
        expect(chat.get_by_text("what is the schema?")).to_be_visible()
        for shown in ("nothing to do with api", "between us two"):
            expect(chat.get_by_text(shown)).to_have_count(0)
        chat.locator("[data-message]", has_text="three tables").get_by_role("link", name="in a thread").click()
        thread = page.get_by_role("complementary", name="Thread")
        expect(thread.get_by_text("three tables")).to_be_visible()
        chat.get_by_role("button", name=re.compile("Newest|new")).click()
        ops.send("@web not this either")
        ops.send("@api but this")
        expect(chat.get_by_text("but this")).to_be_visible()
        for shown in ("nothing to do with api", "between us two", "not this either"):
            expect(chat.get_by_text(shown)).to_have_count(0)
        chat.get_by_role("button", name="Show all").click()
        expect(chat.get_by_text("between us two")).to_be_visible()


def test_the_chat_is_filtered_and_an_older_message_is_reached_by_its_link(desk: Desk) -> None:
    page = desk.paired(path="/#/chat")
    with desk.session("api") as api, desk.session("web") as web:
        first = api.send("the very first")
        for number in range(70):
            web.send(f"filler {number}")
        page.goto(f"{desk.origin}/#/chat?from=api")
        expect(page.get_by_text("the very first")).to_be_visible()
        expect(page.get_by_text("filler 69")).to_have_count(0)
        page.goto(f"{desk.origin}/#/chat")
        expect(page.get_by_text("filler 69")).to_be_visible()
        expect(page.get_by_text("the very first")).to_have_count(0)
        page.goto(f"{desk.origin}/#/chat/{first}")
        expect(page.get_by_text("the very first")).to_be_in_viewport()
        page.get_by_role("button", name=re.compile("Newest|new")).click()
        expect(page.get_by_text("filler 69")).to_be_in_viewport()
        opened = desk.open(page.context, f"/#/chat/{first}")  # as from a link that was copied
        expect(opened.get_by_text("the very first")).to_be_in_viewport()
        expect(opened.get_by_text("filler 69")).to_have_count(0)


def test_an_old_reply_is_reached_in_its_long_thread_and_a_new_one_leads_to_its_end(desk: Desk) -> None:
    page = desk.paired(path="/#/chat")
    with desk.session("api") as api, desk.session("web") as web:  # the limit is each one's own
        root = api.send("a long story")
        replies = [(api, web)[number % 2].send(f"chapter {number}.", threadId=root) for number in range(150)]
    link = f"/#/chat/{replies[70]}?thread={root}"
    page.goto(desk.origin + link)
    fresh = desk.open(page.context, link)
    for tab in (page, fresh):
        thread = tab.get_by_role("complementary", name="Thread")
        expect(thread.get_by_text("chapter 70.")).to_be_in_viewport()
        expect(thread.get_by_text("chapter 149.")).to_have_count(0)
    thread = page.get_by_role("complementary", name="Thread")  # still in the middle
    thread.get_by_role("textbox", name="Reply").fill("the end")
    page.keyboard.press("Enter")
    expect(thread.get_by_text("the end")).to_be_in_viewport()


def test_search_finds_words_in_all_of_history_and_leads_to_their_place(desk: Desk) -> None:
    page = desk.paired(path="/#/search")
    expect(page.get_by_role("heading", name="Find anything that was said")).to_be_visible()
    with desk.session("api") as api:
        root = api.send("the schema has a new column")
        api.send("and its pagination is slow", threadId=root)
        page.get_by_role("searchbox", name="Words").fill("pagination")
        result = page.locator(".results li")
        expect(result).to_have_count(1)
        result.get_by_role("link", name="Show in its place").click()
        thread = page.get_by_role("complementary", name="Thread")
        expect(thread.get_by_text("pagination is slow")).to_be_visible()
        expect(thread.get_by_text("new column")).to_be_visible()
        page.goto(f"{desk.origin}/#/search?q=nowhere")
        expect(page.get_by_role("heading", name="Nothing was found")).to_be_visible()


def test_the_chat_is_cleared_and_the_clear_is_taken_back(desk: Desk) -> None:
    page = desk.paired(path="/#/chat")
    with desk.session("api") as api:
        api.send("old talk")
        expect(page.get_by_text("old talk")).to_be_visible()
        page.get_by_role("button", name="Clear").click()
        expect(page.get_by_text("old talk")).to_have_count(0)
        page.get_by_role("button", name="Undo").click()
        expect(page.get_by_text("old talk")).to_be_visible()


def test_activity_lists_joins_and_pairings(desk: Desk) -> None:
    page = desk.paired(path="/#/activity")
    with desk.session("api"):
        expect(page.locator("[data-event='joined']", has_text="api")).to_be_visible()
    expect(page.locator("[data-event='left']", has_text="api")).to_be_visible()
    expect(page.locator("[data-event='paired']")).to_be_visible()
    expect(page.locator("[data-event='hub_started']")).to_be_visible()
