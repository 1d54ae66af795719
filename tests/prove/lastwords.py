"""Last words: real hubs that are killed or stopped while a page decides, real hooks, and what these have printed.

A session asks several things at once, a paired page decides all of them, and after a moment the hub gets SIGKILL, or
SIGSTOP and then SIGKILL or SIGCONT. Whatever a hook has printed was signed for its own request; and each allow is in
the audit on the disk, once, already while the hub stands still.
"""

from __future__ import annotations

import json
import os
import signal
from random import Random
from typing import TYPE_CHECKING, Final

import attrs
import trio
import trio_websocket

from crosschat import lock, pagewire
from crosschat.journal.audit import read_audit
from crosschat.journal.files import RealFiles
from crosschat.model import JsonObject
from crosschat.paths import Home
from tests.hub.desk import ALLOW, output, payload, request
from tests.live.prompting import Hook, Session
from tests.live.rig import START_S, join
from tests.live.screen import Browser, paired
from tests.prove.lives import Care, Hub
from tests.prove.outcome import Outcome

if TYPE_CHECKING:
    from tests.prove.outcome import Room

LIVES: Final = 12
SHORT_LIVES: Final = 4
HOOKS: Final = 4
DENY: Final[JsonObject] = {"behavior": "deny", "message": "no"}
MOMENTS_S: Final = (0.0, 0.001, 0.002, 0.004, 0.01, 0.03, 0.5)
STANDS_STILL_S: Final = 0.08
READ_S: Final = 0.1  # what has left the hub is read by then; a hook that heard nothing would wait for another hub


@attrs.frozen
class Asked:
    """A hook, its request, and what the page signs."""

    hook: Hook
    view: pagewire.PermissionView
    decision: JsonObject


def run(room: Room) -> Outcome:
    """Some hubs, one after the other, on one data directory."""
    return trio.run(_run, room)


async def _run(room: Room) -> Outcome:
    outcome, random = Outcome(), Random(room.seed)
    home = Home(room.place / "h")
    home.root.mkdir(mode=0o700)
    held = lock.try_hold(home.hub_lock)
    assert held is not None
    browser: Browser | None = None
    try:
        with Session(room.place, home) as session:
            for number in range(SHORT_LIVES if room.short else LIVES):
                hub = Hub(room.zygote, Care(seed=room.seed, bug=room.bug), home.root, held, None, "0.1.0")
                try:
                    assert await hub.serving()
                    browser = browser or await paired(home)
                    await _live(hub, home, session, browser, random, outcome, patient=number == 0)
                finally:
                    await hub.end()
    except* (trio.TooSlowError, AssertionError) as group:
        outcome.problems.append(f"the rig gave up: {group.exceptions[0]!r}")
    finally:
        os.close(held)
    if outcome.counts["allows before an end"] == 0:
        outcome.problems.append("nothing was allowed")
    return outcome


async def _live(
    hub: Hub, home: Home, session: Session, browser: Browser, random: Random, outcome: Outcome, *, patient: bool
) -> None:
    """One life, and what is left of it. `patient`: everything is allowed and arrives before the end."""
    asked: list[Asked] = []
    try:
        async with trio.open_nursery() as nursery:
            await join(nursery, session.connect(home.agents_socket))
            async with browser.stream() as screen:
                hooks = [session.ask(request(tool_input={"command": f"make {number}"})) for number in range(HOOKS)]
                await screen.until(lambda: len(screen.all(pagewire.Permission)) == HOOKS, START_S)
                for frame in screen.all(pagewire.Permission):
                    number = int(json.loads(frame.request.raw)["tool_input"]["command"].split()[1])
                    decision = ALLOW if patient or random.random() < 0.8 else DENY
                    asked.append(Asked(hooks[number], frame.request, decision))
                for number, one in enumerate(asked):
                    text = payload(one.view, output(one.decision))
                    await screen.send(
                        pagewire.Decide(
                            id=f"d{number}", request=one.view.id, payload=text, signature=browser.sign(text)
                        )
                    )
                if patient:
                    await hooks[-1].end(START_S)
                await trio.sleep(random.choice(MOMENTS_S))
                if random.random() < 0.4:
                    await _stand_still(hub, home, asked, random, outcome)
                outcome.counts["approval kills"] += 1
                hub.signal(signal.SIGKILL)
                hub.signal(signal.SIGCONT)
                await screen.ended.wait()
            nursery.cancel_scope.cancel()
    except* trio_websocket.ConnectionClosed:
        pass
    await trio.sleep(READ_S)
    for one in asked:
        one.hook.signal(signal.SIGTERM)
        await one.hook.end(START_S)
    _look(home, asked, "killed", outcome)


async def _stand_still(hub: Hub, home: Home, asked: list[Asked], random: Random, outcome: Outcome) -> None:
    outcome.counts["approval stops"] += 1
    hub.signal(signal.SIGSTOP)
    await trio.sleep(STANDS_STILL_S)
    _look(home, asked, "stopped", outcome)
    if random.random() < 0.5:
        hub.signal(signal.SIGCONT)
        await trio.sleep(STANDS_STILL_S)


def _look(home: Home, asked: list[Asked], how: str, outcome: Outcome) -> None:
    """Compare what was printed with what was signed, and with the audit."""
    printed = [one.hook.printed() for one in asked]  # before the audit is read: what comes later may be in neither
    chain = read_audit(home.root, RealFiles())
    if chain.problems:
        outcome.problems.append(f"{how}: {chain.problems[0]}")
    for one, said in zip(asked, printed, strict=True):
        if not said.endswith(b"\n"):
            continue
        if json.loads(said) != output(one.decision):
            outcome.problems.append(f"{how}: a hook printed what nobody signed for it: {said!r:.200}")
        decided = [
            line
            for line in chain.lines
            if line["event"] == "decided" and (line["digest"], line["behavior"]) == (one.view.digest, "allow")
        ]
        if one.decision is ALLOW:
            outcome.counts["allows before an end"] += how == "killed"
            if len(decided) != 1:
                outcome.problems.append(f"{how}: {len(decided)} lines of an allow that was printed")
