"""One Chromium for all tests of this directory, and a hub of its own for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.browser.rig import Desk, launch

EXPECTED_MS = 20_000  # on a loaded machine all of this takes seconds

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    expect.set_options(timeout=EXPECTED_MS)
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture
def desk(place: Path, chromium: Browser) -> Iterator[Desk]:
    """A hub that nobody else uses, and the browser at its page."""
    with Desk(place / "home", chromium) as made:
        yield made
