"""A paired page for tests that are not asynchronous themselves: it runs in a thread and decides what it is told to."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Self, TypeVar

import trio

from crosschat import pagewire, wire
from tests.live.screen import at_a_terminal, paired

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from crosschat.model import JsonObject
    from crosschat.pagewire import PermissionView
    from crosschat.paths import Home
    from tests.live.screen import Browser, Screen

WAIT_S = 30.0
Result = TypeVar("Result")


class Page:
    """In use only inside its `with` block. The hub must run. With `browser`, one that is paired already."""

    def __init__(self, home: Home, browser: Browser | None = None) -> None:
        self._home = home
        self._browser = browser
        self._thread = threading.Thread(target=trio.run, args=(self._run,))
        self._open = threading.Event()
        self._failed: BaseException | None = None
        self._decided = 0
        self._screen: Screen

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._open.wait(WAIT_S)
        assert self._failed is None, self._failed
        return self

    def __exit__(self, *_: object) -> None:
        trio.from_thread.run_sync(self._close.set, trio_token=self._token)
        self._thread.join(WAIT_S)

    @property
    def browser(self) -> Browser:
        assert self._browser is not None
        return self._browser

    async def _run(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._close = trio.Event()
        try:
            if self._browser is None:
                self._browser = await paired(self._home)
            async with self.browser.stream() as self._screen:
                self._open.set()
                await self._close.wait()
        except BaseException as error:
            self._failed = error
            raise
        finally:
            self._open.set()

    def _do(self, work: Callable[[], Awaitable[Result]]) -> Result:
        async def bounded() -> Result:
            with trio.fail_after(WAIT_S):
                return await work()

        return trio.from_thread.run(bounded, trio_token=self._token)

    def request(self, number: int = 1) -> PermissionView:
        """The request that came as the `number`th."""

        async def look() -> PermissionView:
            await self._screen.until(lambda: len(self._screen.all(pagewire.Permission)) >= number, WAIT_S)
            return self._screen.all(pagewire.Permission)[number - 1].request

        return self._do(look)

    @property
    def requests(self) -> int:
        """How many have come."""
        return len(self._screen.all(pagewire.Permission))

    def over(self, view: PermissionView) -> pagewire.PermissionOver:
        """How that request ended."""

        async def look() -> pagewire.PermissionOver:
            await self._screen.until(lambda: any(one.request == view.id for one in self._overs()), WAIT_S)
            return next(one for one in self._overs() if one.request == view.id)

        return self._do(look)

    def _overs(self) -> list[pagewire.PermissionOver]:
        return self._screen.all(pagewire.PermissionOver)

    def event(self, kind: str) -> pagewire.EventView:
        """The first event of that kind."""

        async def look() -> pagewire.EventView:
            def found() -> list[pagewire.EventView]:
                return [one.event for one in self._screen.all(pagewire.Event) if one.event.kind == kind]

            await self._screen.until(lambda: bool(found()), WAIT_S)
            return found()[0]

        return self._do(look)

    def decide(self, view: PermissionView, decision: JsonObject) -> None:
        """Sign a decision on a dialog."""
        self.say(view, {"hookEventName": "PermissionRequest", "decision": decision})

    def say(self, view: PermissionView, said: JsonObject) -> None:
        fields = {
            "id": view.id, "digest": view.digest, "hub_nonce": view.hub_nonce, "output": {"hookSpecificOutput": said},
        }  # fmt: skip
        payload = json.dumps(fields, separators=(",", ":"), ensure_ascii=False)
        self._decided += 1
        frame = pagewire.Decide(
            id=f"d{self._decided}", request=view.id, payload=payload, signature=self.browser.sign(payload)
        )
        self._do(lambda: self._screen.ask(frame, wire.Done))


def add_rule(home: Home, rule: str) -> None:
    """Put a rule on the ask-list, as the person at a terminal."""
    answer = at_a_terminal(home, wire.ChangeRules(id="r", change="add", rule=rule))
    assert isinstance(answer, wire.Rules), answer
    assert rule in answer.rules
