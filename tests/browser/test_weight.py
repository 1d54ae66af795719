"""What the page weighs, and how much of a long history it holds at once."""

from __future__ import annotations

import gzip
import time
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from bench.history import build
from dashboard.speed import DAY_MS, nodes, rows, scroll_up
from tests.browser.rig import PAGE, Desk, browser_program

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser

KIB = 1024


def test_script_and_style_of_the_first_load_are_light() -> None:
    browser_program()
    files = [path for path in PAGE.parent.rglob("*") if path.suffix in (".js", ".css")]
    assert {path.suffix for path in files} == {".js", ".css"}
    assert sum(len(gzip.compress(path.read_bytes())) for path in files) <= 150 * KIB


@pytest.mark.slow
@pytest.mark.process
def test_a_history_of_fifty_thousand_messages_is_read_page_by_page_into_few_nodes(
    place: Path, chromium: Browser
) -> None:
    build(place / "home", 50_000, int(time.time() * 1000) - 10 * DAY_MS)
    with Desk(place / "home", chromium) as desk:
        page = desk.paired(path="/#/chat")
        expect(page.locator("[data-message]").last).to_be_visible()
        newest = page.locator("[data-message]").last.get_attribute("data-message")
        most, most_rows = scroll_up(page, 60)
        assert 0 < most <= 300, "elements in the list"
        assert most_rows <= 60
        assert nodes(page) > rows(page) > 3
        assert page.locator(f"[data-message='{newest}']").count() == 0
        page.get_by_role("button", name="Newest").click()
        expect(page.locator(f"[data-message='{newest}']")).to_be_in_viewport()
