"""What the page weighs, and how much of a long history it holds at once."""

from __future__ import annotations

import gzip
import time
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from bench.history import build, seq_of_message
from dashboard.speed import DAY_MS, mixed, nodes, rows, scroll_up
from tests.browser.rig import PAGE, Desk, browser_program

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser

    from crosschat.model import Message

KIB = 1024
MESSAGES = 50_000
LOOKED_AT = 4_000  # more of the newest than the test scrolls through; the others are only there


def test_script_and_style_of_the_first_load_are_light() -> None:
    browser_program()
    files = [path for path in PAGE.parent.rglob("*") if path.suffix in (".js", ".css")]
    assert {path.suffix for path in files} == {".js", ".css"}
    assert sum(len(gzip.compress(path.read_bytes())) for path in files) <= 150 * KIB


def newest_mixed(message: Message) -> str:
    """Short where nobody looks, so that making and indexing the history does not take longer than the test."""
    return mixed(message) if message.seq > seq_of_message(MESSAGES - LOOKED_AT) else message.content[:20]


@pytest.mark.slow
@pytest.mark.process
def test_a_history_of_fifty_thousand_long_and_short_messages_is_read_page_by_page_into_few_nodes(
    place: Path, chromium: Browser
) -> None:
    build(place / "home", MESSAGES, int(time.time() * 1000) - 10 * DAY_MS, dress=newest_mixed)
    with Desk(place / "home", chromium) as desk:
        page = desk.paired(desk.context(viewport={"width": 2560, "height": 1440}), path="/#/chat")
        expect(page.locator("[data-message]").last).to_be_visible()
        newest = page.locator("[data-message]").last.get_attribute("data-message")
        most, most_rows = scroll_up(page, 25)
        assert 0 < most <= 300, "elements in the list"
        assert most_rows > 3
        page.set_viewport_size({"width": 1280, "height": 800})
        most, _ = scroll_up(page, 10)
        assert 0 < most <= 300, "elements in the list"
        assert nodes(page) > rows(page) > 3
        assert page.locator(f"[data-message='{newest}']").count() == 0
        page.get_by_role("button", name="Newest").click()
        expect(page.locator(f"[data-message='{newest}']")).to_be_in_viewport()
        folded = page.locator("[data-message]").filter(has=page.get_by_role("button", name="Show more")).last
        row = page.locator(f"[data-message='{folded.get_attribute('data-message')}']")
        shown = len(row.inner_text())
        row.get_by_role("button", name="Show more").click()
        expect(row.get_by_role("button", name="Show more")).to_have_count(0)
        assert len(row.inner_text()) > shown
