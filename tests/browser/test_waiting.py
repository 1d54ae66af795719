"""What waits for the person and is nobody's question: stuck and reopened tasks, unread messages, threads that turn in
circles; and search by days. The hub's patience is a second here, and old history is written before it starts."""

from __future__ import annotations

import time
from collections import Counter
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import expect

from bench.history import STEP_MS, build, records
from crosschat.limits import LOOP_GUARD_MESSAGES
from crosschat.model import Message
from tests.browser.rig import ANSWER_S, Desk, Session

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, Locator

pytestmark = [pytest.mark.slow, pytest.mark.process, pytest.mark.timeout(300)]

IMPATIENT = ("--unread-s", "1", "--stuck-s", "1", "--lease-grace-s", "1")


def comes(wanted: Locator, clock: Session) -> None:
    """Wait until it is there. A hub looks at what only grows old whenever something happens, and seldom else."""
    give_up_at = time.monotonic() + ANSWER_S
    while wanted.count() == 0:
        assert time.monotonic() < give_up_at
        clock.call("set_status", status="available", detail=f"{time.monotonic()}")
        time.sleep(0.1)
    expect(wanted).to_be_visible()


def test_a_stuck_task_a_reopened_one_and_an_unread_message_are_listed_until_they_are_dealt_with(
    place: Path, chromium: Browser
) -> None:
    with Desk(place / "home", chromium, *IMPATIENT) as desk, desk.session("ops") as ops:
        page = desk.paired()
        with desk.session("api") as api, desk.session("web") as web:
            task = api.send("@web move the tables")
            api.call("flag_as_task", messageId=task)
            web.call("claim_task", messageId=task)
            card = page.get_by_role("article", name="A task that is stuck")
            comes(card, ops)
            expect(card).to_contain_text("web holds it and gave no sign")
            expect(card).to_contain_text("move the tables")
            card.get_by_role("button", name="Release it").click()
            expect(card).to_have_count(0)
            web.call("claim_task", messageId=task)
            unread = api.send("@ops is anybody there?")
            note = page.locator(f"[data-need='{unread}']")
            comes(note, web)
            expect(page.get_by_role("region", name="Nobody has read these")).to_contain_text("is anybody there?")
            note.get_by_role("link", name="Show it in the chat").click()
            expect(page.locator(f"[data-message='{unread}']")).to_be_in_viewport()
            page.go_back()
            ops.call("get_messages", unreadOnly=True)
            ops.call("list_peers")
            expect(note).to_have_count(0)
        again = page.get_by_role("article", name="A task that is open again")
        comes(again, ops)
        expect(again).to_contain_text("nobody holds it")
        again.get_by_role("link", name="All tasks").click()
        expect(page.get_by_role("region", name="Open", exact=True).locator(f"[data-task='{task}']")).to_be_visible()


def test_a_thread_that_turns_in_circles_is_listed_until_the_person_writes_in_it(desk: Desk) -> None:
    page = desk.paired()
    with desk.session("api") as api, desk.session("web") as web:
        root = api.send("@web your turn")
        for number in range(LOOP_GUARD_MESSAGES + 2):
            (web, api)[number % 2].send(f"no, yours {number}", threadId=root)
        guard = page.locator(f"[data-guard='{root}']")
        expect(guard).to_contain_text("It wakes nobody any more")
        guard.get_by_role("link", name="Read it").click()
        thread = page.get_by_role("complementary", name="Thread")
        thread.get_by_role("textbox", name="Reply").fill("enough")
        page.keyboard.press("Enter")
        expect(thread.get_by_text("enough")).to_be_visible()
        page.goto(f"{desk.origin}/#/needs")
        expect(guard).to_have_count(0)
        expect(page.get_by_role("heading", name="Nothing needs you")).to_be_visible()


def test_search_by_days_means_the_days_of_whoever_looks(place: Path, chromium: Browser) -> None:
    zone = ZoneInfo("Pacific/Auckland")
    count = 3 * 24 * 3600 * 1000 // STEP_MS
    start_ms = int(time.time() * 1000) - count * STEP_MS
    build(place / "home", count, start_ms)
    yesterday = datetime.now(zone).date() - timedelta(days=1)
    said = [
        record
        for record in records(count, start_ms)
        if isinstance(record, Message)
        and record.by == "a3"
        and datetime.fromtimestamp(record.ts / 1000, zone).date() == yesterday
    ]
    uses = Counter(word for one in said for word in set(one.content.split()))
    word = next(word for word, count in sorted(uses.items()) if 4 <= count <= 20)
    meant = [one.id for one in said if word in one.content.split()]
    with Desk(place / "home", chromium) as desk:
        page = desk.paired(desk.context(timezone_id=zone.key), path=f"/#/search?q={word}")
        page.get_by_label("From").fill("agent3")
        page.get_by_label("since").fill(yesterday.isoformat())
        page.get_by_label("until").fill(yesterday.isoformat())
        results = page.locator(".results [data-message]")
        expect(results).to_have_count(len(meant))
        shown = [result.get_attribute("data-message") for result in results.all()]
        assert shown == meant[::-1]
        page.get_by_label("until").fill((yesterday - timedelta(days=30)).isoformat())
        expect(page.get_by_role("heading", name="Nothing was found")).to_be_visible()
