"""A browser whose key some program wrote into `settings.json`: what it is shown, and what the person sees of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from crosschat.core.pairing import key_id
from crosschat.journal.audit import read_audit
from crosschat.journal.files import RealFiles
from tests.browser.claude import Claude
from tests.hostile.test_planted_keys import plant
from tests.live.screen import Browser, code_of

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.rig import Desk

pytestmark = [pytest.mark.slow, pytest.mark.process, pytest.mark.timeout(300)]

OWN_POINT = """async () => {
  const opened = indexedDB.open("crosschat", 1);
  await new Promise((resolve) => { opened.onsuccess = resolve; });
  const read = opened.result.transaction("keys").objectStore("keys").get("own");
  await new Promise((resolve) => { read.onsuccess = resolve; });
  return [...new Uint8Array(await crypto.subtle.exportKey("raw", read.result.pair.publicKey))];
}"""


def key_of(page: Page, port: int) -> Browser:
    """The public half of the key that this page keeps."""
    thief = Browser(port, "thief")
    thief.public = bytes(page.evaluate(OWN_POINT))
    thief.key = key_id(thief.public)
    return thief


def test_a_planted_key_is_listed_as_not_counting_with_its_remedy_and_decides_nothing(desk: Desk) -> None:
    mine = desk.paired()
    theirs = desk.open()
    theirs.get_by_label("Type the code").fill(code_of(desk.hub.home))
    theirs.get_by_role("button", name="Pair").click()
    theirs.locator(".fingerprint").wait_for()  # it has a key, and nobody says yes
    thief = key_of(theirs, int(desk.origin.rpartition(":")[2]))
    desk.hub.stop()
    plant(desk.hub.home, thief)
    desk.kill()
    desk.start()

    with Claude(desk.hub.home.root, "api", desk.hub.home.root.parent / "api") as session:
        prompt = session.prompt("Bash", {"command": "make"})
        request = mine.locator(".request", has_text="api wants to")
        expect(request).to_be_visible()
        theirs.goto(desk.origin)
        expect(theirs.get_by_role("heading", name="Pair this browser")).to_be_visible()
        expect(theirs.locator(".request")).to_have_count(0)
        expect(theirs.get_by_role("navigation")).to_have_count(0)

        banner = mine.locator(".banner", has_text="thief")
        expect(banner).to_contain_text(f"--revoke {thief.key[:8]}")
        mine.goto(f"{desk.origin}/#/settings")
        listed = mine.locator(f"[data-key='{thief.key}']")
        expect(listed.get_by_text("does not count", exact=True)).to_be_visible()
        expect(listed.locator(".alarm")).to_contain_text("Revoke it; if it is yours, pair it again after that.")
        expect(mine.locator(".key")).to_have_count(2)
        expect(mine.get_by_text("does not count", exact=True)).to_have_count(1)

        listed.get_by_role("button", name="Revoke").click()
        mine.get_by_role("dialog").get_by_role("button", name="Revoke").click()
        expect(listed).to_have_count(0)
        expect(banner).to_have_count(0)
        assert prompt.printed() == ""
        request.get_by_role("button", name="Allow once").click()
        assert prompt.answer() == {"behavior": "allow"}
    own = [one["id"] for one in json.loads(desk.hub.home.settings.read_bytes())["paired_browsers"]]
    lines = read_audit(desk.hub.home.root, RealFiles()).lines
    assert [[line["key"]] for line in lines if line["event"] == "decided"] == [own]
    assert thief.key not in own
