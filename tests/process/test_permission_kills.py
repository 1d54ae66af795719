"""A hub that is killed while a paired page decides: whatever a hook printed is in the audit of the disk."""

from __future__ import annotations

import signal
import time
from random import Random
from typing import TYPE_CHECKING

import pytest
import trio
import trio_websocket

from crosschat import pagewire
from crosschat.journal.audit import read_audit
from crosschat.journal.files import RealFiles
from tests.hub.desk import output, payload, request
from tests.live.prompting import Session
from tests.live.rig import HubProcess, join
from tests.live.screen import Browser, paired

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.process, pytest.mark.slow]

ROUNDS = 10


async def test_no_hook_allows_what_a_killed_hub_did_not_write_down(place: Path) -> None:
    seed = int(time.time())
    random = Random(seed)
    browser: Browser | None = None
    allowed = 0
    for number in range(ROUNDS):
        with HubProcess(place / "home", "--stay") as hub:
            hub.started()
            if browser is None:
                browser = await paired(hub.home)
            said, view = await one_round(hub, place, browser, kill_after_s=random.choice([0, 0.001, 0.003, 0.01, 1]))
        chain = read_audit(place / "home", RealFiles())
        assert chain.problems == (), f"seed {seed}, round {number}"
        if said is not None:
            allowed += 1
            assert said == output(), f"seed {seed}, round {number}"
            decided = [line for line in chain.lines if line["event"] == "decided" and line["digest"] == view.digest]
            assert len(decided) == 1, f"seed {seed}, round {number}"
    assert allowed > 0, f"seed {seed}"


async def one_round(
    hub: HubProcess, place: Path, browser: Browser, *, kill_after_s: float
) -> tuple[dict[str, object] | None, pagewire.PermissionView]:
    """What the hook printed of a request that is allowed while the hub is killed."""
    with Session(place, hub.home) as session:
        async with trio.open_nursery() as nursery:
            await join(nursery, session.connect(hub.home.agents_socket))
            try:
                async with browser.stream() as screen:
                    hook = session.ask(request())
                    view = (await screen.next(pagewire.Permission)).request
                    text = payload(view)
                    frame = pagewire.Decide(
                        id="d", request=view.id, payload=text, signature=browser.sign(text)
                    )  # fmt: skip
                    await screen.send(frame)
                    await trio.sleep(kill_after_s)
                    hub.signal(signal.SIGKILL)
                    await screen.ended.wait()
            except* trio_websocket.ConnectionClosed:
                pass
            nursery.cancel_scope.cancel()
        await trio.sleep(0.1)  # what has left the hub is read by now; the hook would wait for another one
        hook.signal(signal.SIGTERM)
        return (await hook.end(30)).said, view
