"""What pages of other origins can do to the hub, tried in Chromium: nothing, not even with a ticket they got hold of.

An agent's own development server is such an origin: the same host, another port.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Final

import pytest
import trio

from tests.browser.rig import browser_program
from tests.live.rig import HubProcess, short_directory
from tests.live.screen import Browser, paired

if TYPE_CHECKING:
    from collections.abc import Iterator

    import playwright.sync_api

# Each gives a sentence about what it got, or null. `target` is the hub's origin, `ticket` a good one.
ATTACKS: Final = {
    "read": "fetch(`${target}/healthz`).then(r => r.text())",
    "read with credentials": "fetch(`${target}/healthz`, {credentials: 'include'}).then(r => r.text())",
    "read without asking": "fetch(`${target}/healthz`, {mode: 'no-cors'}).then(r => r.text())",
    "call": """fetch(`${target}/api/challenge`, {method: 'POST', body: JSON.stringify({key}),
        headers: {'Content-Type': 'application/json', 'X-CrossChat': '1'}}).then(r => r.text())""",
    "call without asking": """fetch(`${target}/api/challenge`, {method: 'POST', mode: 'no-cors',
        body: JSON.stringify({key})}).then(r => r.text())""",
    "open a stream": "opened(['crosschat.v1', ticket])",
    "open a stream without a ticket": "opened(['crosschat.v1'])",
    "follow events": """new Promise(done => { const source = new EventSource(`${target}/healthz`);
        source.onopen = () => done('events'); source.onerror = () => done(null); })""",
    "show a picture": "loaded('img', 'src', '/icon.svg')",
    "run its script": "loaded('script', 'src', script)",
    "use its style": "loaded('link', 'href', style)",
    "embed it": "loaded('object', 'data', '/healthz')",
    "look into a frame": """new Promise(done => { const frame = document.createElement('iframe');
        frame.onload = () => { try { done(frame.contentDocument.body.innerText || null); } catch { done(null); } };
        frame.src = `${target}/`; document.body.append(frame); })""",
    "post a form": """new Promise(done => { const frame = document.createElement('iframe'); frame.name = 'answer';
        document.body.append(frame); const form = document.createElement('form'); form.target = 'answer';
        form.method = 'post'; form.enctype = 'text/plain'; form.action = `${target}/api/pair`;
        frame.onload = () => { try { done(frame.contentDocument.body.innerText || null); } catch { done(null); } };
        document.body.append(form); form.submit(); })""",
    "put a worker in its place": """navigator.serviceWorker.register(`${target}/healthz`, {scope: `${target}/`})
        .then(() => 'a worker')""",
    "import it": "import(`${target}${script}`).then(() => 'a module')",
}
HELPERS: Final = """
const opened = protocols => new Promise(done => {
    const socket = new WebSocket(target.replace('http', 'ws') + '/stream', protocols);
    socket.onopen = () => done('a stream'); socket.onerror = () => done(null);
});
const loaded = (tag, attribute, path) => new Promise(done => {
    const element = document.createElement(tag);
    if (tag === 'link') element.rel = 'stylesheet';
    element.onload = () => done(tag); element.onerror = () => done(null);
    element[attribute] = target + path; document.body.append(element);
});
"""


class _Server(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>an agent's own server</title><body>")

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def development_server() -> Iterator[int]:
    """A server of another program on this machine."""
    server = HTTPServer(("127.0.0.1", 0), _Server)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()


@pytest.fixture(scope="module")
def hub() -> Iterator[HubProcess]:
    browser_program()
    with short_directory() as place, HubProcess(place / "home", "--stay") as hub:
        yield hub.started()


@pytest.fixture(scope="module")
def browser(hub: HubProcess) -> Browser:
    return trio.run(paired, hub.home)


def run(page: playwright.sync_api.Page, browser: Browser, attack: str) -> object:
    """What the attack got."""
    index = trio.run(browser.request, "GET", "/").body.decode()
    files = [part.split('"')[0] for part in index.split('"/assets/')[1:]]
    script = next(f"/assets/{name}" for name in files if name.endswith(".js"))
    style = next(f"/assets/{name}" for name in files if name.endswith(".css"))
    given = {"target": browser.origin, "ticket": trio.run(browser.ticket), "key": browser.key,
             "script": script, "style": style}  # fmt: skip
    body = f"async ({{target, ticket, key, script, style}}) => {{ {HELPERS} return await ({ATTACKS[attack]}); }}"
    late = "new Promise(done => setTimeout(() => done(null), 3000))"
    return page.evaluate(f"given => Promise.race([({body})(given).catch(() => null), {late}])", given)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_page_of_another_origin_gets_nothing(
    chromium: playwright.sync_api.Browser, browser: Browser, host: str, attack: str
) -> None:
    with development_server() as port:
        context = chromium.new_context()
        try:
            page = context.new_page()
            page.goto(f"http://{host}:{port}/")
            assert not run(page, browser, attack)
        finally:
            context.close()


@pytest.mark.parametrize("attack", ["read", "call", "open a stream", "show a picture", "look into a frame"])
def test_the_same_works_where_it_should(chromium: playwright.sync_api.Browser, browser: Browser, attack: str) -> None:
    """Or else the attacks would fail for reasons of their own. The page itself may not frame itself."""
    context = chromium.new_context(bypass_csp=True)
    try:
        page = context.new_page()
        page.goto(f"{browser.origin}/healthz")
        assert bool(run(page, browser, attack)) is (attack != "look into a frame")
    finally:
        context.close()


def test_a_window_that_another_page_opens_is_out_of_its_reach(
    chromium: playwright.sync_api.Browser, browser: Browser
) -> None:
    with development_server() as port:
        context = chromium.new_context()
        try:
            page = context.new_page()
            page.goto(f"http://127.0.0.1:{port}/")
            with context.expect_page() as popup:
                page.evaluate("target => { window.popup = window.open(target); }", browser.origin)
            popup.value.wait_for_load_state()
            assert popup.value.evaluate("window.opener") is None
            page.wait_for_function("window.popup.closed")  # as far as the opener can see
        finally:
            context.close()


def test_a_name_that_leads_here_is_not_served(chromium: playwright.sync_api.Browser, browser: Browser) -> None:
    """DNS rebinding: the browser takes the attacker's name for this address."""
    rules = ["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP rebound.example 127.0.0.1"]
    rebound = chromium.browser_type.launch(executable_path=browser_program(), args=rules)
    try:
        page = rebound.new_page()
        answer = page.goto(f"http://rebound.example:{browser.port}/")
        assert answer is not None
        assert answer.status == 421
        assert page.evaluate("fetch('/healthz').then(r => r.status)") == 421
        stream = """port => new Promise(done => {
            const socket = new WebSocket(`ws://rebound.example:${port}/stream`);
            socket.onopen = () => done('a stream'); socket.onerror = () => done(null); })"""
        assert page.evaluate(stream, browser.port) is None
    finally:
        rebound.close()


def test_the_other_spelling_of_the_address_leads_to_the_canonical_one(
    chromium: playwright.sync_api.Browser, browser: Browser
) -> None:
    page = chromium.new_page()
    try:
        page.goto(f"http://localhost:{browser.port}/healthz")
        assert page.url == f"{browser.origin}/healthz"
    finally:
        page.close()
