"""How quick the page is: `python -m dashboard.speed`, on a hub of its own with a long history.

    first message   from navigation to the first message in the chat, above the same for a blank page; warm, the median
    scrolling       through the chat upwards: the longest script task, the long tasks that the page itself observed
                    (50 ms and more of wall time, whatever they were spent on), and the most nodes the list ever had

A script task is counted by the processor time it used, so that a machine that is busy with something else changes it
little. The messages are short and long: documents with code and tables, lists, and single lines of many small pieces.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from playwright.sync_api import sync_playwright

from bench.history import build
from tests.browser.rig import Desk, launch

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from crosschat.model import Message

DAY_MS: Final = 24 * 3600 * 1000
CODE: Final = "def answer(question: str) -> int:\n    # {0}\n    return len('{0}') + 42\n"
LOADS: Final = 10
STEPS: Final = 150
STEP_PX: Final = 900


def mixed(message: Message) -> str:
    """Messages of every weight, from a word to a document."""
    words = message.content.split()
    match message.seq % 8:
        case 0:
            code = CODE.format(words[0]) * 12
            return f"# {words[0]}\n\n" + f"{message.content}\n\n```python\n{code}```\n\n" * 4
        case 1:
            return "| a | b | c | d |\n|---|---|---|---|\n" + f"| {' | '.join(words[:4])} |\n" * 30
        case 2:
            return "\n".join(f"- **{word}** is `{word}`" for word in words * 2)
        case 3:
            return " ".join(f"`{word}`" for word in words)
        case 4:
            return message.content
        case _:
            return words[0]


def nodes(page: Page) -> int:
    """All elements inside the list of messages."""
    return int(page.evaluate("document.querySelectorAll('.windowed-rows *').length"))


def rows(page: Page) -> int:
    return int(page.evaluate("document.querySelectorAll('.windowed-row').length"))


def first_message_ms(page: Page, address: str) -> float:
    begun = time.perf_counter()
    page.goto(address, wait_until="commit")
    page.locator("[data-message]").first.wait_for()
    return (time.perf_counter() - begun) * 1000


def blank_ms(page: Page) -> float:
    begun = time.perf_counter()
    page.goto("about:blank", wait_until="commit")
    page.locator("body").wait_for(state="attached")
    return (time.perf_counter() - begun) * 1000


def scroll_up(page: Page, steps: int) -> tuple[int, int]:
    """The most nodes and rows there were on the way."""
    page.mouse.move(600, 400)
    most = (0, 0)
    for _ in range(steps):
        page.mouse.wheel(0, -STEP_PX)
        page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        most = max(most[0], nodes(page)), max(most[1], rows(page))
    return most


OBSERVE: Final = """() => {
    window.longTasks = [];
    new PerformanceObserver(list => window.longTasks.push(...list.getEntries().map(one => one.duration)))
        .observe({type: 'longtask'});
}"""


def longest_task_ms(browser: Browser, page: Page, steps: int) -> tuple[float, int, int]:
    """While scrolling up: the processor time of the longest script task, and the most nodes and rows. What the page
    observes of long tasks is in `window.longTasks`."""
    page.evaluate(OBSERVE)
    browser.start_tracing(page=page, categories=["devtools.timeline", "disabled-by-default-devtools.timeline"])
    most, most_rows = scroll_up(page, steps)
    trace = json.loads(browser.stop_tracing())
    scripts = ("FunctionCall", "EvaluateScript", "TimerFire", "FireAnimationFrame", "RunMicrotasks")
    took = [event.get("tdur", 0) / 1000 for event in trace["traceEvents"] if event.get("name") in scripts]
    return max(took, default=0.0), most, most_rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=50_000)
    asked = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="cc-", dir="/tmp"))
    try:
        build(place / "home", asked.messages, int(time.time() * 1000) - 10 * DAY_MS, dress=mixed)
        with sync_playwright() as playwright:
            browser = launch(playwright)
            with Desk(place / "home", browser) as desk:
                page = desk.paired(path="/#/chat")
                page.locator("[data-message]").first.wait_for()
                loads = [(blank_ms(page), first_message_ms(page, f"{desk.origin}/#/chat")) for _ in range(LOADS)]
                above = statistics.median(shown - blank for blank, shown in loads)
                longest, most, most_rows = longest_task_ms(browser, page, STEPS)
                observed: list[float] = page.evaluate("window.longTasks")
            browser.close()
    finally:
        shutil.rmtree(place, ignore_errors=True)
    print(f"{asked.messages} messages")
    print(f"first message above a blank page: {above:.0f} ms (median of {LOADS} warm loads)")
    print(f"longest script task while scrolling {STEPS} times {STEP_PX} px: {longest:.1f} ms of processor time")
    print(f"long tasks observed meanwhile: {len(observed)}, the longest {max(observed, default=0):.0f} ms")
    print(f"most nodes in the list: {most}, in {most_rows} rows")


if __name__ == "__main__":
    main()
