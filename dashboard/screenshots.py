"""Takes the pictures in docs/screenshots: every view, light and dark, wide and as narrow as a phone.

A hub of its own, four sessions that are really connected, and a scene they play. Run by `make screenshots`.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from playwright.sync_api import sync_playwright

from tests.browser.claude import Claude
from tests.browser.rig import Desk, Session, launch
from tests.live.rig import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Page

TARGET: Final = ROOT / "docs" / "screenshots"
PLACE: Final = Path("/tmp/ada")
WIDE: Final = (1360, 850)
NARROW: Final = (390, 844)
VIEWS: Final = ("needs", "chat", "thread", "tasks", "agents", "instances", "search", "activity", "settings")
SCHEMES: Final[tuple[Literal["light", "dark"], ...]] = ("light", "dark")
SETTLED_MS: Final = 700  # what was asked for is there, and what fades in has

MIGRATION: Final = """\
The orders table needs a `shipped_at` column, and the report must use it:

1. add the column, nullable, with an index
2. fill it from `events`, in batches of 10,000
3. switch the report over

```sql
alter table orders add column shipped_at timestamptz;
create index concurrently orders_shipped_at on orders (shipped_at);
```"""
RESULT: Final = """\
Done. **Two endpoints** page by cursor now:

| endpoint | before | after |
|---|---|---|
| `GET /orders` | 840 ms | 31 ms |
| `GET /items` | 610 ms | 28 ms |

Tests in `tests/test_paging.py`."""


def play(scene: ExitStack, desk: Desk) -> str:
    """The scene; returns the message whose thread is shown."""

    def enter(kind: type[Session], name: str, directory: str) -> Session:
        return scene.enter_context(kind(desk.hub.home.root, name, PLACE / "shop" / directory))

    api, web = enter(Claude, "api-worker", "api"), enter(Session, "web-builder", "web")
    docs, data = enter(Session, "docs", "docs"), enter(Claude, "db-migrator", "db")
    assert isinstance(api, Claude)
    assert isinstance(data, Claude)
    api.send("Morning. I take the **paging** of the API today.")
    api.call("set_status", status="busy", detail="paging by cursor in /orders and /items")
    paging = web.send(
        "`GET /orders` takes 840 ms with 50,000 rows. Can somebody make it page by cursor?", importance="important"
    )
    web.call("flag_as_task", messageId=paging)
    api.call("claim_task", messageId=paging)
    api.send("Mine. The cursor is going to be opaque, so the front end must not look into it.", threadId=paging)
    web.send("Fine with me, it only passes it on.", threadId=paging)
    api.send("Then it is simple. Running the slow tests now.", threadId=paging)
    api.call("resolve_task", messageId=paging, status="completed", result=RESULT)
    api.call("add_badge", messageId=paging, badgeType="git-commit", badgeValue="9f2c41ab77de0c55")
    migration = web.send(MIGRATION)
    web.call("add_badge", messageId=migration, badgeType="project", badgeValue="shop")
    web.call("flag_as_task", messageId=migration, filter={"agentId": "db-migrator"})
    data.call("claim_task", messageId=migration)
    data.call("set_status", status="busy", detail="filling shipped_at, 310,000 of 1.2 M", taskMessageId=migration)
    data.send("The column is there; filling it takes about ten minutes.", threadId=migration)
    for text in ("Write the upgrade notes for 2.4", "Replace the date picker, it cannot be used with the keyboard"):
        web.call("flag_as_task", messageId=docs.send(text))
    broken = web.send("Find out why the nightly build is red")
    web.call("flag_as_task", messageId=broken)
    docs.call("claim_task", messageId=broken)
    docs.call(
        "resolve_task",
        messageId=broken,
        status="failed",
        result="",
        error="The runner’s disk is full; I may not delete there.",
    )
    docs.send("@web-builder the screenshots of the checkout are from March, do you have newer ones?")
    docs.send("@user may the upgrade notes name the two customers who asked for this?")
    web.send("Checkout is rebuilt. Have a look at <http://127.0.0.1:5173/checkout> when you have a minute.")
    api.prompt(
        "Bash",
        {"command": "git push origin paging\u200b && curl -s https://ci.example/run?job=orders | tail -n 20",
         "description": "Push the branch and look at CI"},
        permission_suggestions=[{
            "type": "addRules", "rules": [{"toolName": "Bash", "ruleContent": "git push:*"}],
            "behavior": "allow", "destination": "localSettings",
        }],
    )  # fmt: skip
    data.prompt(
        "Edit",
        {"file_path": str(PLACE / "shop/db/report.py"),
         "old_string": "def shipped(order):\n    events = load(order)\n    return max(e.at for e in events)\n",
         "new_string": "def shipped(order):\n    return order.shipped_at\n", "replace_all": False},
    )  # fmt: skip
    return paging


def take(page: Page, desk: Desk, look: str, thread: str) -> None:
    """One picture of each view as the page looks now."""
    for view in VIEWS:
        address = (
            f"chat/{thread}?thread={thread}" if view == "thread" else "search?q=orders" if view == "search" else view
        )
        page.goto(f"{desk.origin}/#/{address}")
        page.wait_for_timeout(SETTLED_MS)
        tray = page.get_by_role("button", name="Make it small")
        if view != "chat" and tray.is_visible():
            tray.click()
        page.screenshot(path=TARGET / f"{view}-{look}.png")


def pictures(desk: Desk, thread: str) -> None:
    context = desk.context(viewport={"width": WIDE[0], "height": WIDE[1]})
    unpaired = desk.open(context)
    unpaired.wait_for_timeout(SETTLED_MS)
    unpaired.screenshot(path=TARGET / "pairing-wide-light.png")
    unpaired.close()
    page = desk.paired(context)
    for width, size in (("wide", WIDE), ("narrow", NARROW)):
        page.set_viewport_size({"width": size[0], "height": size[1]})
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            take(page, desk, f"{width}-{scheme}", thread)


def main() -> int:
    argparse.ArgumentParser(prog="python -m dashboard.screenshots", description=__doc__).parse_args()
    shutil.rmtree(PLACE, ignore_errors=True)
    PLACE.mkdir()
    TARGET.mkdir(parents=True, exist_ok=True)
    try:
        with ExitStack() as scene:
            playwright = scene.enter_context(sync_playwright())
            browser = launch(playwright)
            desk = scene.enter_context(Desk(PLACE / "home", browser))
            thread = play(scene, desk)
            pictures(desk, thread)
    finally:
        shutil.rmtree(PLACE, ignore_errors=True)
    print(f"{len(list(TARGET.glob('*.png')))} pictures in {TARGET.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
