"""Permission requests in Chromium: asked by the real hook of a session, shown whole, decided with a signature."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.claude import Claude

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from tests.browser.rig import Desk

pytestmark = [pytest.mark.slow, pytest.mark.process, pytest.mark.timeout(300)]

SUGGESTION = {
    "type": "addRules",
    "rules": [{"toolName": "Bash", "ruleContent": "make:*"}],
    "behavior": "allow",
    "destination": "localSettings",
}


def claude(desk: Desk, name: str = "api") -> Claude:
    return Claude(desk.hub.home.root, name, desk.hub.home.root.parent / name)


def request(page: Page, name: str = "api") -> Locator:
    return page.locator(".request", has_text=f"{name} wants to")


def test_a_command_is_shown_over_every_view_and_allowed_once(desk: Desk) -> None:
    page = desk.paired(path="/#/tasks")
    with claude(desk) as session:
        prompt = session.prompt("Bash", {"command": "make\u200b && rm -rf \u202e/tmp/x", "description": "Builds it"})
        tray = page.get_by_role("complementary", name="Waiting for your decision")
        expect(tray).to_be_visible()
        for view in ("chat", "agents", "search", "settings", "needs"):
            page.goto(f"{desk.origin}/#/{view}")
            expect(request(page)).to_be_visible()
            expect(tray).to_have_count(0 if view == "needs" else 1)
            if view == "settings":  # what it lies over can be reached
                page.locator(".key").get_by_role("button", name="Revoke").click()
                page.get_by_role("dialog").get_by_role("button", name="Keep").click()
        card = request(page)
        expect(card.locator(".exact").first).to_have_text("makeU+200B && rm -rf U+202E/tmp/x")
        expect(card.get_by_title("U+202E RIGHT-TO-LEFT OVERRIDE").first).to_be_visible()
        expect(card.locator(".claim")).to_contain_text("The agent says (a claim)")
        expect(card.locator(".claim")).to_contain_text("Builds it")
        expect(page).to_have_title("(1) Needs you · CrossChat")
        assert prompt.printed() == ""
        card.get_by_role("button", name="Allow once").click()
        assert prompt.answer() == {"behavior": "allow"}
        expect(card).to_have_count(0)
        expect(page.locator(".toast", has_text="Allowed once for api")).to_be_visible()
        page.goto(f"{desk.origin}/#/activity")
        expect(page.locator("[data-event='decided']")).to_be_visible()


def test_nothing_can_be_allowed_before_its_end_was_on_the_screen(desk: Desk) -> None:
    page = desk.paired(path="/#/chat")
    with claude(desk) as session:
        lines = "\n".join(f"echo {number}" for number in range(400))
        prompt = session.prompt("Bash", {"command": lines, "cwd": "/srv", "zeta": "x" * 9000})
        card = request(page)
        allow = card.get_by_role("button", name="Allow once")
        expect(card.get_by_text("Read it to its end first.")).to_be_attached()
        expect(allow).to_have_attribute("aria-disabled", "true")
        page.wait_for_timeout(700)  # the half second is over; only the end is missing
        expect(allow).to_have_attribute("aria-disabled", "true")
        allow.evaluate("button => button.click()")
        assert prompt.printed() == ""
        shown = card.locator(".exact").first.inner_text()
        assert shown.splitlines()[-1] == "echo 399"
        page.locator(".tray-body").evaluate("body => body.scrollTo(0, body.scrollHeight)")
        expect(allow).not_to_have_attribute("aria-disabled", "true")
        allow.click()
        assert prompt.answer() == {"behavior": "allow"}


def test_nothing_can_be_allowed_in_the_moment_it_appears(desk: Desk) -> None:
    page = desk.paired()
    # A click on the button in the very turn in which it is drawn, as by a hand that was already on its way.
    page.evaluate("""() => {
        window.hasty = [];
        new MutationObserver(() => {
            for (const button of document.querySelectorAll('.request .button.primary'))
                if (!window.hasty.includes(button)) { window.hasty.push(button); button.click(); }
        }).observe(document.body, {subtree: true, childList: true});
    }""")
    with claude(desk) as session:
        prompt = session.prompt("Bash", {"command": "make"})
        allow = request(page).get_by_role("button", name="Allow once")
        expect(allow).not_to_have_attribute("aria-disabled", "true")
        assert page.evaluate("window.hasty.length") == 1
        assert prompt.printed() == ""
        expect(allow).to_be_visible()


def test_no_single_key_decides_and_typing_goes_on_when_a_request_comes(desk: Desk) -> None:
    page = desk.paired(path="/#/chat")
    box = page.get_by_role("textbox", name="Message to the agents")
    box.fill("half a sent")
    with claude(desk) as session:
        prompt = session.prompt("Bash", {"command": "make"})
        card = request(page)
        expect(card.get_by_role("button", name="Allow once")).not_to_have_attribute("aria-disabled", "true")
        expect(box).to_be_focused()
        page.keyboard.press("Escape")
        for key in [*"abcdefghijklmnopqrstuvwxyzAYG0", "Enter", " ", "Enter"]:
            page.keyboard.press(key)
        assert prompt.printed() == ""
        expect(card).to_have_count(1)


def test_an_edit_is_shown_as_a_diff_and_denied_with_a_reason(desk: Desk) -> None:
    page = desk.paired()
    with claude(desk) as session:
        prompt = session.prompt(
            "Edit", {"file_path": "/srv/a.py", "old_string": "a\nb\nc", "new_string": "a\nB\nc", "replace_all": True}
        )
        card = request(page)
        expect(card.locator(".line.removed")).to_have_text("\u2212b\n")
        expect(card.locator(".line.added")).to_have_text("+B\n")
        expect(card).to_contain_text("/srv/a.py")
        expect(card).to_contain_text("replace_all")
        card.get_by_role("button", name="Deny…").click()
        card.get_by_label("Why").fill("Not on main")
        card.get_by_label("and stop what it is doing").check()
        card.get_by_role("button", name="Deny", exact=True).click()
        assert prompt.answer() == {"behavior": "deny", "message": "Not on main", "interrupt": True}


def test_a_new_file_is_shown_whole(desk: Desk) -> None:
    page = desk.paired()
    with claude(desk) as session:
        content = "".join(f"line {number}\n" for number in range(3000))
        session.prompt("Write", {"file_path": "/srv/new", "content": content})
        card = request(page)
        expect(card.locator(".line.added")).to_have_count(3001)
        card.get_by_text("Everything that was sent").click()
        sent = json.loads(card.locator(".raw .exact").inner_text())
        assert sent["tool_input"]["content"] == content


def test_a_rule_that_claude_suggests_goes_where_the_person_says(desk: Desk) -> None:
    page = desk.paired()
    with claude(desk) as session:
        prompt = session.prompt("Bash", {"command": "make all"}, permission_suggestions=[SUGGESTION])
        card = request(page)
        card.get_by_role("button", name="Allow from now on…").click()
        card.get_by_label("allow Bash(make:*)", exact=True).check()
        card.get_by_label("where to remember").select_option(label="this session")
        card.get_by_role("button", name="Allow and remember").click()
        assert prompt.answer() == {
            "behavior": "allow",
            "updatedPermissions": [{**SUGGESTION, "destination": "session"}],
        }


def test_questions_of_a_session_are_answered_as_in_its_terminal(desk: Desk) -> None:
    page = desk.paired(path="/#/tasks")
    with claude(desk) as session:
        questions = [
            {"question": "Which one?", "header": "DB", "multiSelect": False,
             "options": [{"label": "Staging", "description": "old data"}, {"label": "Local", "description": ""}]},
            {"question": "What else?", "header": "More", "multiSelect": True,
             "options": [{"label": "Docs", "description": ""}, {"label": "Tests", "description": ""}]},
        ]  # fmt: skip
        prompt = session.prompt("AskUserQuestion", {"questions": questions})
        card = request(page)
        answer = card.get_by_role("button", name="Answer")
        expect(answer).to_have_attribute("aria-disabled", "true")
        card.get_by_label("Staging").check()
        card.get_by_label("Docs").check()
        card.get_by_label("Tests").check()
        expect(answer).not_to_have_attribute("aria-disabled", "true")
        answer.click()
        assert prompt.answer() == {
            "behavior": "allow",
            "updatedInput": {"questions": questions, "answers": {"Which one?": "Staging", "What else?": "Docs, Tests"}},
        }


def test_what_was_answered_in_the_terminal_disappears(desk: Desk) -> None:
    page = desk.paired(path="/#/chat")
    with claude(desk) as session:
        prompt = session.prompt("Bash", {"command": "make"})
        expect(request(page)).to_be_visible()
        prompt.answer_in_the_terminal()
        expect(request(page)).to_have_count(0)
        expect(page.locator(".toast", has_text="answered in the terminal")).to_be_visible()


def test_only_ticked_requests_are_decided_together(desk: Desk) -> None:
    page = desk.paired()
    with claude(desk) as session:
        prompts = [session.prompt("Bash", {"command": f"make {number}"}) for number in range(3)]
        expect(request(page)).to_have_count(3)
        expect(page.get_by_role("button", name="Allow 2 once")).to_have_count(0)
        for number in (0, 2):
            card = page.locator(".request", has_text=f"make {number}")
            card.scroll_into_view_if_needed()
            card.get_by_label("decide together with others").check()
        page.get_by_role("button", name="Allow 2 once").click()
        assert prompts[0].answer() == prompts[2].answer() == {"behavior": "allow"}
        expect(request(page)).to_have_count(1)
        assert prompts[1].printed() == ""


def test_two_tabs_show_the_same_and_one_decision_is_enough(desk: Desk) -> None:
    context = desk.context()
    first = desk.paired(context)
    second = desk.open(context, "/#/chat")
    with claude(desk) as session:
        prompt = session.prompt("Bash", {"command": "make"})
        expect(request(second)).to_be_visible()
        request(first).get_by_role("button", name="Allow once").click()
        assert prompt.answer() == {"behavior": "allow"}
        expect(request(second)).to_have_count(0)


def test_requests_that_wait_while_the_hub_restarts_are_asked_anew(desk: Desk) -> None:
    page = desk.paired()
    with claude(desk) as session:
        prompt = session.prompt("Bash", {"command": "make"})
        expect(request(page)).to_be_visible()
        desk.restart()
        card = request(page)
        expect(card.get_by_role("button", name="Allow once")).not_to_have_attribute("aria-disabled", "true")
        card.get_by_role("button", name="Allow once").click()
        assert prompt.answer() == {"behavior": "allow"}
