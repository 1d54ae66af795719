"""The real page in a real browser, on a real hub with real bridges.

Everything here is synchronous, as Playwright's API is: a `Session` is a `crosschat serve` process driven over its
pipes, line by line. Chromium comes from the system (`CHROMIUM` names another one); what it does is bounded by
Playwright's own time-outs. Everything that is started ends with its `with` block.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Self

import pytest

from crosschat.processes import find
from tests.live.rig import ROOT, START_S, HubProcess
from tests.live.screen import code_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from playwright.sync_api import Browser, BrowserContext, Page, Playwright

    from crosschat.processes import Process


PAGE: Final = ROOT / "dashboard" / "dist" / "index.html"
ANSWER_S: Final = 20.0
PROGRAMS: Final = ("chromium", "chromium-browser", "google-chrome")


def browser_program() -> str:
    """The browser; without one, or without a built page, the test is skipped with the reason, and fails in CI."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, PROGRAMS)), None)
    if found is None:
        _give_up("needs Chromium (Debian: apt-get install chromium)")
    if not PAGE.is_file():
        _give_up("needs the built page (make setup, or npm run build in dashboard/)")
    assert found is not None
    return found


def launch(playwright: Playwright) -> Browser:
    """Chromium. As root and in containers it runs only without a sandbox of its own."""
    return playwright.chromium.launch(
        executable_path=browser_program(), args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    )


def _give_up(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


class Session:
    """An agent: `crosschat serve` for the hub in `home`, as an MCP client without a model drives it."""

    def __init__(
        self,
        home: Path,
        name: str,
        directory: Path,
        *,
        command: Sequence[str] = (sys.executable, "-m", "crosschat", "serve"),
        pass_fds: Sequence[int] = (),
        preexec: Callable[[], object] | None = None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.name = name
        self._numbers = 0
        self._buffer = b""
        self._process = subprocess.Popen(
            command,
            cwd=directory,
            env={"PATH": os.environ["PATH"], "HOME": str(home.parent), "PYTHONPATH": str(ROOT),
                 "CROSSCHAT_HOME": str(home), "CROSSCHAT_NAME": name},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            pass_fds=pass_fds, preexec_fn=preexec, start_new_session=True,
        )  # fmt: skip

    def __enter__(self) -> Self:
        self._ask("initialize", {
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"},
        })  # fmt: skip
        self._tell({"method": "notifications/initialized"})
        self.call("list_peers")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def call(self, tool: str, **arguments: object) -> dict[str, Any]:
        """The JSON of a tool's reply. A refusal fails the test."""
        result = self._ask("tools/call", {"name": tool, "arguments": arguments})
        text = result["content"][0]["text"]
        assert not result.get("isError"), text
        found: dict[str, Any] = json.loads(text)
        return found

    def send(self, content: str, **more: object) -> str:
        """Send a message; returns its id."""
        return str(self.call("send_message", content=content, **more)["messageId"])

    def _tell(self, message: dict[str, object]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self._process.stdin.flush()

    def _ask(self, method: str, params: dict[str, object]) -> dict[str, Any]:
        self._numbers += 1
        self._tell({"id": self._numbers, "method": method, "params": params})
        while True:
            answer = json.loads(self._line())
            if answer.get("id") == self._numbers:
                assert "result" in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        while b"\n" not in self._buffer:
            readable, _, _ = select.select([self._process.stdout], [], [], max(START_S, ANSWER_S))
            assert readable, f"{self.name} said nothing"
            piece = os.read(self._process.stdout.fileno(), 1 << 20)
            assert piece, f"{self.name} ended"
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line


class Desk:
    """A hub, and the browser at its page. The hub may be killed and started again: the page's address stays."""

    def __init__(self, root: Path, browser: Browser, *options: str, environment: dict[str, str] | None = None) -> None:
        self.hub = HubProcess(root, "--stay", *options, environment=environment).started()
        self.browser = browser
        self._contexts: list[BrowserContext] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for context in self._contexts:
            context.close()
        self.kill()
        if (successor := self._successor()) is not None:
            os.kill(successor.pid, signal.SIGKILL)

    def _successor(self) -> Process | None:
        """The hub that a session started when ours was gone, if it did."""
        with suppress(FileNotFoundError):
            note: dict[str, Any] = json.loads(self.hub.home.dashboard_lock.read_text())
            found = find(int(note["hub_pid"]))
            return found if found is not None and found.start == note["start_ticks"] else None
        return None

    # --- the hub

    def kill(self) -> None:
        """The hub dies at once, without a word."""
        self.hub.__exit__()

    def start(self) -> None:
        """Start another one, unless a session was quicker."""
        self.hub = HubProcess(self.hub.home.root, "--stay")
        self.hub.ready()

    def restart(self) -> None:
        """Stop it in good order, and start another."""
        self.hub.stop()
        self.kill()
        self.start()

    @property
    def origin(self) -> str:
        """The address of the page. Its file comes after the hub serves sessions, once the page is served, too."""
        lock = self.hub.home.dashboard_lock
        give_up_at = time.monotonic() + START_S
        while not lock.exists():
            assert time.monotonic() < give_up_at, self.hub.errors()
            time.sleep(0.02)
        found: dict[str, Any] = json.loads(lock.read_text())
        return f"http://127.0.0.1:{found['port']}"

    # --- the browser

    def context(self, **options: object) -> BrowserContext:
        """A browser of its own: no key, no memory."""
        made = self.browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})  # type: ignore[arg-type]
        made.set_default_timeout(15_000)
        self._contexts.append(made)
        return made

    def open(self, context: BrowserContext | None = None, path: str = "/") -> Page:
        """The page in a new tab. What goes wrong inside it is collected for `complaints`."""
        page = (context or self.context()).new_page()
        watch(page)
        page.goto(self.origin + path)
        return page

    def pair(self, page: Page) -> None:
        """As the first browser of this hub."""
        page.get_by_label("Type the code").fill(code_of(self.hub.home))
        page.get_by_role("button", name="Pair").click()
        page.get_by_role("navigation", name="Views").wait_for()

    def paired(self, context: BrowserContext | None = None, path: str = "/") -> Page:
        page = self.open(context, path)
        self.pair(page)
        return page

    # --- the agents

    def session(self, name: str, directory: str = "project") -> Session:
        return Session(self.hub.home.root, name, self.hub.home.root.parent / directory)


COMPLAINTS: Final[dict[Page, list[str]]] = {}


def watch(page: Page) -> None:
    """Collect what goes wrong inside the page: exceptions, errors in the console, refusals of the policy."""
    found = COMPLAINTS[page] = []
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on("console", lambda said: found.append(said.text) if said.type == "error" else None)


def complaints(page: Page) -> list[str]:
    """Without what a reconnect makes the browser itself say."""
    return [text for text in COMPLAINTS[page] if "ERR_CONNECTION" not in text and "WebSocket connection" not in text]
