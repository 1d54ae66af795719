"""Agents' text is only text: attacks in every field that an agent can write, in every view that shows it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import pytest
from playwright.sync_api import expect

from tests.browser.claude import Claude
from tests.browser.rig import complaints

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.rig import Desk

pytestmark = [pytest.mark.slow, pytest.mark.process, pytest.mark.timeout(300)]

ATTACKS: Final = (
    "<script>window.hit=1</script>",
    "<img src=x onerror=window.hit=1>",
    "<svg/onload=window.hit=1>",
    "<iframe srcdoc='<script>parent.hit=1</script>'></iframe>",
    "<a href='javascript:window.hit=1'>x</a>",
    "<details open ontoggle=window.hit=1>x",
    "<style>*{display:none!important}</style>",
    "<base href='http://127.0.0.1:9/'>",
    "<meta http-equiv=refresh content='0;url=http://127.0.0.1:9/'>",
    "<link rel=stylesheet href=http://127.0.0.1:9/x.css>",
    "<form action=http://127.0.0.1:9/><button>x</button></form>",
    "<input autofocus onfocus=window.hit=1>",
    "<video><source onerror=window.hit=1></video>",
    "<math><mtext><table><mglyph><style><img src=x onerror=window.hit=1>",
    "<noscript><p title='</noscript><img src=x onerror=window.hit=1>'>",
    "\"'><img src=x onerror=window.hit=1>",
    "]]><img src=x onerror=window.hit=1>",
    "--><img src=x onerror=window.hit=1>",
    "</textarea><img src=x onerror=window.hit=1>",
    "</title><script>window.hit=1</script>",
    "[x](javascript:window.hit=1)",
    "[x](JAVASCRIPT:window.hit=1)",
    "[x](data:text/html,<script>window.hit=1</script>)",
    "[x](vbscript:window.hit=1)",
    "![x](http://127.0.0.1:9/a.png)",
    "![x](javascript:window.hit=1)",
    "<javascript:window.hit=1>",
    "[x]: javascript:window.hit=1\n\n[x]",
    "```<img src=x onerror=window.hit=1>\nx\n```",
    "`<img src=x onerror=window.hit=1>`",
    "| <img src=x onerror=window.hit=1> |\n|---|\n| [x](javascript:window.hit=1) |",
    "{{constructor.constructor('window.hit=1')()}}",
    "&lt;img src=x onerror=window.hit=1&gt;",
    "&#60;img src=x onerror=window.hit=1&#62;",
    "\\u003cimg src=x onerror=window.hit=1\\u003e",
    "\u202e<img src=x onerror=window.hit=1>\u202c",
    "__proto__",
    "constructor",
)
VIEWS: Final = ("needs", "chat", "tasks", "agents", "instances", "search?q=attack", "activity", "settings")


def fill_every_field(agent: Claude) -> str:
    """Each attack in each field that takes it; returns the id of the message whose thread has some of them."""
    everything = "\n\n".join(ATTACKS)
    root = agent.send("attack\n\n" + everything)
    agent.send("attack " + everything, threadId=root)
    for number, attack in enumerate(ATTACKS):
        message = agent.send(f"attack {number}\n\n{attack}", metadata={attack[:60]: attack, "list": [attack]})
        kind = ("custom", "project", "review")[number % 3]
        agent.call("add_badge", messageId=message, badgeType=kind, badgeValue=attack[:150], label=attack[:150])
        if number % 8 == 0:
            agent.call("set_status", status="busy", detail=attack[:190])
    return root


def fill_requests(agent: Claude) -> None:
    for attack in ATTACKS[::6]:
        rule = {"type": "addRules", "rules": [{"toolName": attack, "ruleContent": attack}], "destination": "session"}
        agent.prompt("Bash", {"command": attack, "description": attack, attack: attack}, permission_suggestions=[rule])
        agent.prompt(attack, {"x": attack})
    options = [{"label": attack, "description": attack} for attack in ATTACKS[:4]]
    asked = [{"question": ATTACKS[1], "header": ATTACKS[1][:12], "options": options, "multiSelect": False}]
    agent.prompt("AskUserQuestion", {"questions": asked})
    agent.prompt("Edit", {"file_path": ATTACKS[1], "old_string": ATTACKS[0], "new_string": "\n".join(ATTACKS)})


INSPECT: Final = """() => {
    const found = [];
    if (window.hit !== undefined) found.push('a script of an agent ran');
    for (const one of document.querySelectorAll('*')) {
        for (const {name, value} of one.attributes) {
            if (/^on/i.test(name)) found.push(`${one.tagName} has ${name}`);
            if (/^(src|href|action|formaction|srcdoc|data|xlink:href)$/i.test(name)
                && !/^(https?:\\/\\/|#|\\/|[a-z]+-|$)/i.test(value)) found.push(`${one.tagName} ${name}=${value}`);
        }
    }
    const foreign = 'script,iframe,object,embed,img,video,audio,base,meta,link,style,math,noscript';
    for (const one of document.querySelectorAll('#app *'))
        if (one.matches(foreign)) found.push(`there is a ${one.outerHTML.slice(0, 80)}`);
    if (getComputedStyle(document.body).display === 'none') found.push('the page was hidden');
    return found;
}"""


def inspect(page: Page) -> list[str]:
    found: list[str] = page.evaluate(INSPECT)
    return found


def test_attacks_in_every_field_stay_text_in_every_view(desk: Desk) -> None:
    context = desk.context()
    strangers: list[str] = []
    context.on("request", lambda request: strangers.append(request.url))
    page = desk.paired(context)
    home = desk.hub.home.root
    with Claude(home, "api", home.parent / "<img src=x onerror=window.hit=1>") as agent:
        root = fill_every_field(agent)
        task = agent.send("attack of a task " + ATTACKS[1])
        agent.call("flag_as_task", messageId=task)
        with Claude(home, "web", home.parent / "web") as other:
            other.call("claim_task", messageId=task)
            other.call("resolve_task", messageId=task, status="failed", result=ATTACKS[1], error="\n".join(ATTACKS))
            fill_requests(other)
            for view in (*VIEWS, f"chat/{root}?thread={root}", "chat?badge=custom"):
                page.goto(f"{desk.origin}/#/{view}")
                page.locator("main h1").wait_for()
                page.wait_for_timeout(400)
                page.evaluate("document.querySelectorAll('summary, .unfold').forEach(one => one.click())")
                page.wait_for_timeout(200)
                assert inspect(page) == [], view
            page.goto(f"{desk.origin}/#/needs")
            expect(page.locator(".request").first).to_be_visible()
            for button in page.get_by_role("button", name="Allow from now on…").all():
                button.scroll_into_view_if_needed()
                page.wait_for_timeout(50)
            assert inspect(page) == []
    assert [url for url in strangers if not url.startswith(desk.origin)] == []
    assert complaints(page) == []


def test_attacks_are_shown_as_they_were_written(desk: Desk) -> None:
    page = desk.paired(path="/#/chat")
    with desk.session("api") as agent:
        for attack in (one for one in ATTACKS if one.startswith("<") and "javascript:" not in one):
            agent.send(attack)
            expect(page.locator(".message .md").last).to_have_text(attack)


def test_every_character_of_a_request_is_on_the_page(desk: Desk) -> None:
    page = desk.paired()
    home = desk.hub.home.root
    odd = "".join(map(chr, [*range(1, 32), 127, 0x85, 0xA0, 0xAD, *range(0x200B, 0x2010), *range(0x202A, 0x202F),
                            *range(0x2060, 0x2070), 0xFEFF, 0x3164, 0xE0041]))  # fmt: skip
    with Claude(home, "api", home.parent / "api") as agent:
        agent.prompt("Bash", {"command": f"start{odd}end"})
        shown = page.locator(".request .exact").first
        expect(shown).to_be_visible()
        text = shown.inner_text()
        for character in odd:
            if character in "\t\n":
                continue
            assert f"U+{ord(character):04X}" in text, hex(ord(character))
        assert text.startswith("start")
        assert text.endswith("end")


def test_a_request_as_large_as_a_hook_sends_is_shown_whole(desk: Desk) -> None:
    page = desk.paired()
    home = desk.hub.home.root
    command = "\n".join(f"echo {number} {'y' * 60}" for number in range(13_000))
    assert 900_000 < len(json.dumps(command)) < 1_000_000
    with Claude(home, "api", home.parent / "api") as agent:
        prompt = agent.prompt("Bash", {"command": command})
        shown = page.locator(".request .exact").first
        expect(shown).to_be_visible()
        assert shown.evaluate("one => one.textContent") == command
        page.locator(".scroll").evaluate("one => one.scrollTo(0, one.scrollHeight)")
        page.get_by_role("button", name="Allow once").click()
        assert prompt.answer() == {"behavior": "allow"}


def test_the_policy_lets_nothing_else_in_and_the_page_needs_nothing_else(desk: Desk) -> None:
    context = desk.context()
    seen: list[str] = []
    context.on("request", lambda request: seen.append(request.url))
    page = context.new_page()
    answer = page.goto(desk.origin)
    assert answer is not None
    policy = answer.headers["content-security-policy"]
    for part in (
        "default-src 'none'",
        "script-src 'self'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ):
        assert part in policy
    assert "unsafe" not in policy
    assert page.locator("script:not([src])").count() == 0
    desk.pair(page)
    refused = page.evaluate(
        "() => { try { document.body.innerHTML = '<b>x</b>'; return false } catch { return true } }"
    )
    assert refused is True
    assert [url for url in seen if not url.startswith(desk.origin)] == []
