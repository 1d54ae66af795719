"""The page for everybody: axe finds nothing in either theme, keys reach all of it, and it fits every screen."""

from __future__ import annotations

import re
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import attrs
import pytest
from playwright.sync_api import BrowserContext, expect

from tests.browser.claude import Claude
from tests.browser.rig import Desk, complaints
from tests.live.rig import ROOT, short_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.slow, pytest.mark.process, pytest.mark.timeout(300)]

AXE: Final = ROOT / "dashboard" / "node_modules" / "axe-core" / "axe.min.js"
VIEWS: Final = ("needs", "chat", "tasks", "agents", "instances", "search?q=first", "activity", "settings")
RUN: Final = """async () => (await axe.run(document, {resultTypes: ['violations']})).violations
    .flatMap(rule => rule.nodes.map(node => `${rule.id}: ${node.html.slice(0, 160)} ${node.failureSummary}`))"""
LONG: Final = "x" * 2000
ARABIC: Final = "مرحبا بالعالم، هذا نص طويل من اليمين إلى اليسار مع كلمة English في الوسط"


def violations(page: Page) -> list[str]:
    # What fades in has no contrast to judge yet.
    page.evaluate("Promise.all(document.getAnimations().map(one => one.finished.catch(() => null)))")
    page.evaluate(AXE.read_text())
    found: list[str] = page.evaluate(RUN)
    return found


def overflow(page: Page) -> int:
    """How many pixels the page is wider than the screen."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


@attrs.frozen
class Scene:
    """Something of everything, and a browser that is paired. Tests look at it and change nothing."""

    desk: Desk
    context: BrowserContext
    root: str  # the id of a message with a thread

    def page(self, theme: str = "light", width: int = 1280, height: int = 800) -> Page:
        page = self.desk.open(self.context)
        page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
        page.set_viewport_size({"width": width, "height": height})
        return page


@pytest.fixture(scope="module")
def scene(chromium: Browser) -> Iterator[Scene]:
    with short_directory() as place, Desk(place / "home", chromium) as desk, ExitStack() as stack:
        context = desk.context()
        desk.paired(context).close()
        home = desk.hub.home.root
        api = stack.enter_context(Claude(home, "api", home.parent / "api"))
        web = stack.enter_context(desk.session("web", "a very long directory name " * 6))
        root = api.send("the first message\n\n```python\nreturn 'x'  # why\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |")
        web.send("a reply", threadId=root)
        web.call("flag_as_task", messageId=root)
        web.call("add_badge", messageId=root, badgeType="git-commit", badgeValue="0123456789abcdef")
        web.call("add_badge", messageId=root, badgeType="importance", badgeValue="high")
        web.send(ARABIC)
        web.send(LONG)
        for outcome in ("completed", "failed"):
            task = web.send(f"a task that {outcome}")
            web.call("flag_as_task", messageId=task)
            api.call("claim_task", messageId=task)
            api.call("resolve_task", messageId=task, status=outcome, result=ARABIC, error=LONG[:500])
        web.call("set_status", status="busy", detail="y" * 200)
        api.send("@web only you")
        web.send("@user which one?")
        web.send("@user and which of these?")
        suggestion = {"type": "addRules", "rules": [{"toolName": "Bash", "ruleContent": LONG}], "behavior": "allow",
                      "destination": "session"}  # fmt: skip
        api.prompt("Bash", {"command": f"echo {LONG}", "description": ARABIC}, permission_suggestions=[suggestion])
        api.prompt("Edit", {"file_path": "/srv/x", "old_string": "a", "new_string": LONG})
        yield Scene(desk, context, root)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_in_any_view(scene: Scene, theme: str) -> None:
    stranger = scene.desk.open(scene.desk.context(color_scheme=theme))
    expect(stranger.get_by_role("heading", name="Pair this browser")).to_be_visible()
    assert violations(stranger) == []
    page = scene.page(theme)
    for view in (*VIEWS, f"chat/{scene.root}?thread={scene.root}"):
        page.goto(f"{scene.desk.origin}/#/{view}")
        page.locator("main h1").wait_for()
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(300)
        assert violations(page) == [], view


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_in_what_opens(scene: Scene, theme: str) -> None:
    page = scene.page(theme)
    card = page.locator(".request").filter(has_text="Allow from now on")
    card.locator(".end").scroll_into_view_if_needed()
    card.get_by_role("button", name="Allow from now on…").click()
    assert violations(page) == []
    page.locator(".request").filter(has_not=page.locator(".panel")).get_by_role("button", name="Deny…").click()
    assert violations(page) == []
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    assert violations(page) == []
    page.keyboard.press("Escape")
    page.goto(f"{scene.desk.origin}/#/chat")
    page.get_by_role("button", name="Make it small").click()
    row = page.locator(f"[data-message='{scene.root}']")
    row.hover()
    row.get_by_role("button", name="Add a badge").click()
    assert violations(page) == []
    page.keyboard.press("Escape")
    page.get_by_role("textbox", name="Message to the agents").fill("@")
    expect(page.get_by_role("listbox")).to_be_visible()
    assert violations(page) == []


@pytest.mark.parametrize(("width", "height"), [(360, 640), (768, 1024), (1280, 800), (3440, 1440)])
def test_every_view_fits_the_screen_with_long_and_right_to_left_text(scene: Scene, width: int, height: int) -> None:
    page = scene.page(width=width, height=height)
    for view in (*VIEWS, f"chat/{scene.root}?thread={scene.root}"):
        page.goto(f"{scene.desk.origin}/#/{view}")
        page.locator("main h1:visible, .thread h2:visible").first.wait_for()
        page.wait_for_timeout(200)
        assert overflow(page) == 0, view
        beyond = page.evaluate(
            """() => [...document.querySelectorAll('main *, .tray *')].filter(one => {
                const box = one.getBoundingClientRect();
                return box.width > 0 && box.right > innerWidth + 1
                    && !one.closest('.board, pre, .table, .sr-only');
            }).map(one => one.outerHTML.slice(0, 120))"""
        )
        assert beyond == [], view
    page.goto(f"{scene.desk.origin}/#/chat")
    # The list holds what is near the part in view, and on a small screen that is not where this stands.
    page.wait_for_function(
        """start => {
            const list = document.querySelector('[aria-label="Messages"]');
            list.scrollTop = 0;
            return list.textContent.includes(start);
        }""",
        arg=ARABIC[:12],
    )
    expect(page.get_by_text(ARABIC[:12]).first).to_have_css("direction", "rtl")
    assert complaints(page) == []


def test_on_a_phone_every_view_is_reached_and_requests_can_be_decided(desk: Desk) -> None:
    page = desk.paired(desk.context(viewport={"width": 360, "height": 640}, has_touch=True))
    tabs = page.get_by_role("navigation", name="Main views")
    tabs.get_by_role("link", name="Tasks").tap()
    expect(page.get_by_role("heading", name="There is no task yet")).to_be_visible()
    tabs.get_by_role("button", name="More").tap()
    page.get_by_role("dialog").get_by_role("link", name="Activity").tap()
    expect(page.get_by_role("heading", name="Activity")).to_be_visible()
    home = desk.hub.home.root
    with Claude(home, "api", home.parent / "api") as api:
        prompt = api.prompt("Bash", {"command": "make"})
        page.get_by_role("button", name="Allow once").tap()
        assert prompt.answer() == {"behavior": "allow"}


def test_everything_is_done_with_the_keyboard_alone(desk: Desk) -> None:
    page = desk.paired()
    home = desk.hub.home.root
    with Claude(home, "api", home.parent / "api") as api:
        message = api.send("the only message")
        for key, heading in zip("12345678", ("Needs you", "Chat", "Tasks", "Agents", "Instances", "Search", "Activity",
                                             "Settings"), strict=True):  # fmt: skip
            page.evaluate("document.activeElement.blur()")
            page.keyboard.press(key)
            expect(page.get_by_role("heading", name=heading, level=1)).to_be_visible()
        page.keyboard.press("2")
        row = page.locator(f"[data-message='{message}']")
        expect(row).to_be_visible()
        page.keyboard.press("k")
        expect(row).to_have_class(re.compile("active"))
        page.keyboard.press("t")
        expect(row.get_by_title("task: open task")).to_be_visible()
        page.keyboard.press("r")
        thread = page.get_by_role("complementary", name="Thread")
        expect(thread.get_by_role("textbox")).to_be_focused()
        page.keyboard.type("by key")
        page.keyboard.press("Enter")
        expect(thread.get_by_text("by key")).to_be_visible()
        page.keyboard.press("Escape")
        page.keyboard.press("Escape")
        expect(thread).to_have_count(0)
        page.keyboard.press("c")
        expect(page.get_by_role("textbox", name="Message to the agents")).to_be_focused()
        page.keyboard.press("Escape")
        page.keyboard.press("/")
        expect(page.get_by_role("searchbox")).to_be_focused()
        prompt = api.prompt("Bash", {"command": "make"})
        allow = page.get_by_role("button", name="Allow once")
        expect(allow).not_to_have_attribute("aria-disabled", "true")
        page.keyboard.press("Escape")
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press("p")
        for _ in range(12):
            if allow.evaluate("button => button === document.activeElement"):
                break
            page.keyboard.press("Tab")
        expect(allow).to_be_focused()
        assert prompt.printed() == ""
        page.keyboard.press("Enter")
        assert prompt.answer() == {"behavior": "allow"}


def test_what_happens_is_told_to_a_screen_reader(desk: Desk) -> None:
    page = desk.paired(path="/#/tasks")
    live = page.locator("[aria-live='polite'][role='status'].sr-only")
    home = desk.hub.home.root
    with Claude(home, "api", home.parent / "api") as api:
        api.prompt("Bash", {"command": "make"})
        expect(live).to_have_text("api asks for permission")


def test_the_theme_is_chosen_and_remembered(desk: Desk) -> None:
    page = desk.paired(desk.context(color_scheme="dark"), path="/#/settings")
    ground = "rgb(19, 20, 22)"
    expect(page.locator("html")).to_have_css("background-color", ground)
    page.get_by_text("Light", exact=True).click()
    expect(page.locator("html")).not_to_have_css("background-color", ground)
    page.reload()
    expect(page.get_by_role("radio", name="Light")).to_be_checked()
    expect(page.locator("html")).not_to_have_css("background-color", ground)


def test_nothing_moves_for_whoever_asked_for_that(desk: Desk) -> None:
    page = desk.paired(desk.context(reduced_motion="reduce"), path="/#/tasks")
    home = desk.hub.home.root
    with Claude(home, "api", home.parent / "api") as api:
        api.prompt("Bash", {"command": "make"})
        expect(page.locator(".tray")).to_have_css("animation-name", "none")


def test_times_are_those_of_whoever_looks(desk: Desk) -> None:
    with desk.session("api") as api:
        api.send("when")
        shown = []
        first = desk.paired(desk.context(timezone_id="Asia/Kathmandu"), path="/#/chat")
        shown.append(first.locator(".message time").first.get_attribute("title"))
        first.evaluate("localStorage.clear()")
        assert shown[0] is not None
        assert "5:45" in shown[0] or "GMT+5:45" in shown[0]


def test_a_notification_and_a_sound_come_only_if_wanted_once_and_say_nothing_of_the_contents(desk: Desk) -> None:
    context = desk.context(permissions=["notifications"])
    page = context.new_page()
    page.add_init_script(
        """window.shown = [];
        window.Notification = class { constructor(title, options) { window.shown.push([title, options.body]); }
            static permission = 'granted';
            static requestPermission() { return Promise.resolve('granted'); } };
        window.tones = 0;
        const start = OscillatorNode.prototype.start;
        OscillatorNode.prototype.start = function (...when) { window.tones += 1; return start.apply(this, when); };
        Object.defineProperty(document, 'hidden', {get: () => window.looksAway === true});"""
    )
    page.goto(desk.origin)
    desk.pair(page)
    with desk.session("api") as api:
        page.evaluate("window.looksAway = true")
        api.send("@user secret one?")
        expect(page).to_have_title("(1) Needs you · CrossChat")
        assert page.evaluate("window.shown") == []
        page.evaluate("window.looksAway = false")
        page.goto(f"{desk.origin}/#/settings")
        page.get_by_label("Show a notification of the browser").check()
        page.evaluate("window.looksAway = true")
        api.send("@user secret two?")
        expect(page).to_have_title("(2) Settings · CrossChat")
        assert page.evaluate("window.shown") == [["CrossChat", "api has a question"]]
        assert page.evaluate("window.tones") == 0, "no sound unless it is wanted"
        page.get_by_label("Play a sound").check()
        api.send("@user third?")
        expect(page).to_have_title("(3) Settings · CrossChat")
        api.send("for everybody")
        expect(page.get_by_role("link", name="Chat")).to_contain_text("4")
        assert page.evaluate("window.tones") == 1


def test_the_theme_is_the_systems_until_one_is_chosen(desk: Desk) -> None:
    page = desk.paired(desk.context(color_scheme="dark"), path="/#/settings")

    def is_dark() -> bool:
        return bool(
            page.evaluate(
                """() => {
                    const ground = getComputedStyle(document.documentElement).backgroundColor;
                    return ground.match(/\\d+/g).slice(0, 3).every(part => Number(part) < 128);
                }"""
            )
        )

    for system in ("light", "dark"):
        page.emulate_media(color_scheme=system)
        for choice, dark in (("As the system", system == "dark"), ("Light", False), ("Dark", True)):
            page.locator(".segments label", has_text=choice).click()
            assert is_dark() == dark, (system, choice)
