"""Projects in Chromium: added, removed, and sessions started in them with one click, in real tmux."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.rig import ANSWER_S, Desk
from tests.claude.client import needed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

pytestmark = [pytest.mark.slow, pytest.mark.process, pytest.mark.timeout(300)]

STAND_IN = """#!{python}
import os, sys, time
with open({given!r} + "-", "w") as file:
    file.write("\\0".join([os.getcwd(), os.environ["CROSSCHAT_NAME"], *sys.argv[1:]]))
os.rename({given!r} + "-", {given!r})
time.sleep(600)
"""


@pytest.fixture
def tmux_desk(place: Path, chromium: Browser) -> Iterator[Desk]:
    """A hub with a tmux server of its own and a stand-in for Claude Code, which a test has to put there."""
    needed("tmux")
    (place / "bin").mkdir()
    environment = {
        "PATH": f"{place / 'bin'}:{os.environ['PATH']}", "TMUX_TMPDIR": str(place), "HOME": str(place),
        "LANG": "C.UTF-8", "SHELL": "/bin/sh",
    }  # fmt: skip
    try:
        with Desk(place / "home", chromium, environment=environment) as desk:
            yield desk
    finally:
        subprocess.run(["tmux", "kill-server"], env=environment, capture_output=True, check=False, timeout=30)


def test_a_directory_of_any_name_is_added_started_in_and_removed(tmux_desk: Desk, place: Path) -> None:
    given = place / "given"
    (place / "bin" / "claude").write_text(STAND_IN.format(python=sys.executable, given=str(given)))
    (place / "bin" / "claude").chmod(0o755)
    work = place / 'it\'s "a" $(dir) `x`'
    work.mkdir()
    page = tmux_desk.paired(path="/#/instances")
    expect(page.get_by_role("heading", name="No project is registered")).to_be_visible()
    page.get_by_label("Directory to add").fill(str(work))
    page.get_by_role("button", name="Add a directory").click()
    project = page.locator(".project")
    expect(project.get_by_role("heading")).to_have_text(work.name)
    project.get_by_label("Name of the new session").fill("api")
    project.get_by_role("button", name="Start a session").click()
    expect(page.locator(".toast", has_text="tmux attach -t crosschat")).to_be_visible()
    give_up_at = time.monotonic() + ANSWER_S
    while not given.exists():
        assert time.monotonic() < give_up_at, "the session did not start"
        time.sleep(0.05)
    assert given.read_text().split("\0") == [str(work), "api", "/crosschat"]
    page.goto(f"{tmux_desk.origin}/#/activity")
    expect(page.locator("[data-event='launched']")).to_be_visible()
    page.goto(f"{tmux_desk.origin}/#/instances")
    project.get_by_role("button", name="Remove").click()
    expect(project).to_have_count(0)


def test_a_launch_that_fails_says_why(tmux_desk: Desk, place: Path) -> None:
    (place / "bin" / "claude").write_text("#!/bin/sh\necho 'no licence found' >&2\nexit 3\n")
    (place / "bin" / "claude").chmod(0o755)
    page = tmux_desk.paired(path="/#/instances")
    page.get_by_label("Directory to add").fill(str(place))
    page.get_by_role("button", name="Add a directory").click()
    page.get_by_role("button", name="Start a session").click()
    expect(page.locator(".project").get_by_role("alert")).to_contain_text("no licence found")


def test_a_directory_is_registered_by_itself_with_who_works_in_it(desk: Desk) -> None:
    page = desk.paired(path="/#/instances")
    with desk.session("api", "shop"):
        expect(page.locator(".project", has_text="shop")).to_contain_text("api")
        expect(page.locator(".project", has_text="shop")).to_contain_text("automatic")
