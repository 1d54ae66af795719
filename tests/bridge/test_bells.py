"""Which bell rings: what each mode allows, what is there, and what takes rings; and what the hub is told of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from crosschat import wire
from crosschat.bridge import tools
from crosschat.bridge.bells import BACKGROUND_SINCE, CLIENT, TOLD, Bells, told_at_start
from crosschat.bridge.doorbell import Ring, Unheard
from crosschat.errors import Code
from crosschat.model import WakeMode, Way
from tests.bridge.fakes import ME, Caller, FakeHub, batch, item, session_with, welcome

if TYPE_CHECKING:
    from crosschat.bridge.calls import Session
    from crosschat.bridge.wake import SendRing

KNOWN = ".".join(map(str, BACKGROUND_SINCE))
RING = Ring("peer", "something waits")


class Bell:
    """One way to ring; takes rings while it is whole."""

    def __init__(self, *, whole: bool = True) -> None:
        self.whole, self.rung = whole, 0

    async def ring(self, _: Ring) -> None:
        await trio.lowlevel.checkpoint()
        if not self.whole:
            raise Unheard("broken")
        self.rung += 1


def bells(mode: WakeMode, inbox: SendRing | None, hook: SendRing | None, *, version: str = KNOWN) -> Bells:
    made = Bells(mode, inbox=inbox, hook=hook)
    made.meet(CLIENT, version)
    return made


# mode, there is an inbox: what rings, whether hooks may wait, the way before and after one does
MODES: dict[tuple[WakeMode, bool], tuple[str | None, bool, Way, Way]] = {
    ("auto", True): ("inbox", False, "inbox", "inbox"),
    ("auto", False): ("hook", True, "wait", "hooks"),
    ("inbox", True): ("inbox", False, "inbox", "inbox"),
    ("inbox", False): (None, False, "none", "none"),
    ("hooks", True): ("hook", True, "none", "hooks"),
    ("hooks", False): ("hook", True, "none", "hooks"),
    ("wait", True): (None, False, "wait", "wait"),
    ("wait", False): (None, False, "wait", "wait"),
    ("off", True): (None, False, "none", "none"),
    ("off", False): (None, False, "none", "none"),
}


@pytest.mark.parametrize(("mode", "has_inbox"), list(MODES))
async def test_each_mode_means_something_else(mode: WakeMode, has_inbox: bool) -> None:
    rings, hooks, before, after = MODES[mode, has_inbox]
    inbox, hook = Bell(), Bell()
    made = bells(mode, inbox.ring if has_inbox else None, hook.ring)
    assert (made.hooks, made.way) == (hooks, before)
    made.hear(hook_waits=True)
    assert (made.ready, made.way) == (rings is not None, after)
    if rings is None:
        with pytest.raises(Unheard):
            await made.ring(RING)
    else:
        await made.ring(RING)
    assert (inbox.rung, hook.rung) == (int(rings == "inbox"), int(rings == "hook"))


def test_the_table_has_every_mode_and_no_two_are_the_same() -> None:
    assert {mode for mode, _ in MODES} == set(get_args(WakeMode))
    both = [(MODES[mode, True], MODES[mode, False]) for mode in get_args(WakeMode)]
    assert len(set(both)) == len(both)


async def test_a_ring_that_the_inbox_does_not_take_goes_to_the_hook_and_hooks_may_wait_from_then_on() -> None:
    inbox, hook = Bell(whole=False), Bell()
    made = bells("auto", inbox.ring, hook.ring)
    with pytest.raises(Unheard, match="broken"):
        await made.ring(RING)
    assert made.hooks
    assert made.way == "wait"
    assert made.hear(hook_waits=True)
    await made.ring(RING)
    assert (hook.rung, made.way) == (1, "hooks")
    made.hear(hook_waits=False)
    inbox.whole = True
    await made.ring(RING)
    assert (inbox.rung, hook.rung, made.way, made.hooks) == (1, 1, "inbox", False)


async def test_where_neither_takes_it_the_ring_is_unheard_for_the_first_reason() -> None:
    made = bells("auto", Bell(whole=False).ring, Bell(whole=False).ring)
    made.hear(hook_waits=True)
    with pytest.raises(Unheard, match="broken"):
        await made.ring(RING)


@pytest.mark.parametrize(
    ("client", "version"), [(CLIENT, "2.1.329"), (CLIENT, "1.9"), (CLIENT, ""), ("codex", "9.9.9"), ("", "")]
)
def test_no_hook_waits_in_a_client_that_may_stand_still_with_it(client: str, version: str) -> None:
    made = Bells("auto", inbox=None, hook=Bell().ring)
    made.meet(client, version)
    assert not made.hooks


@pytest.mark.parametrize("version", [KNOWN, "2.1.331-beta.1", "2.2.0", "3"])
def test_newer_clients_run_hooks_in_the_background(version: str) -> None:
    assert bells("auto", None, Bell().ring, version=version).hooks


# --- in a session


async def start(hub: FakeHub, nursery: trio.Nursery, mode: WakeMode, send: SendRing | None = None) -> Session:
    session = session_with(hub, send=send, mode=mode)
    nursery.start_soon(session.link.run)
    nursery.start_soon(session.wake.run)
    return session


async def test_the_hub_is_told_how_the_session_is_woken_once_its_client_is_known(
    autojump_clock: MockClock, hub: FakeHub, nursery: trio.Nursery
) -> None:
    session = await start(hub, nursery, "hooks")
    peer = await hub.join()
    await trio.sleep(1)
    assert peer.hear() == []
    session.meet(CLIENT, KNOWN)
    await trio.sleep(1)
    assert peer.hear() == [wire.Waking(wake="hooks", way="none", hooks=True)]
    peer.hang_up()
    again = await hub.join()
    await trio.sleep(1)
    assert again.hear() == [wire.Waking(wake="hooks", way="none", hooks=True)]


async def test_a_hook_that_waits_is_rung_with_what_is_unread(
    autojump_clock: MockClock, hub: FakeHub, nursery: trio.Nursery
) -> None:
    session = await start(hub, nursery, "auto")
    session.meet(CLIENT, KNOWN)
    peer = await hub.join()
    await peer.send(batch(item(1, to=(ME,), content="are you there?")))
    await trio.sleep(60)
    assert peer.waiting_frames() == 0
    await peer.send(wire.Activity(state="idle", hook=True))
    ring = await peer.next(wire.Ring)
    assert "are you there?" in ring.text
    await peer.send(wire.Activity(state="idle"))
    await peer.send(wire.Done(id=ring.id))
    await trio.sleep(1)
    announced = [frame.announced for frame in peer.hear()]
    assert announced[-1] == 1
    assert sum(frame.rings for frame in peer.waking) == 1
    assert session.wake.rings == 1


async def test_a_hook_that_is_gone_announces_nothing_and_the_next_one_is_rung_at_once(
    autojump_clock: MockClock, hub: FakeHub, nursery: trio.Nursery
) -> None:
    session = await start(hub, nursery, "hooks")
    session.meet(CLIENT, KNOWN)
    peer = await hub.join()
    await peer.send(wire.Activity(hook=True))
    await peer.send(batch(item(1)))
    ring = await peer.next(wire.Ring)
    await peer.send(wire.Activity())
    await peer.send(wire.Error(id=ring.id, code=Code.NOT_FOUND, message="none waits"))
    await trio.sleep(1)
    assert peer.hear()[-1].announced == 0
    await peer.send(wire.Activity(hook=True))
    with trio.fail_after(1):
        await peer.next(wire.Ring)


async def test_what_a_hook_told_is_not_rung_about_before_the_reminder(
    autojump_clock: MockClock, hub: FakeHub, nursery: trio.Nursery
) -> None:
    rung = Bell()
    session = await start(hub, nursery, "auto", rung.ring)
    session.meet(CLIENT, KNOWN)
    peer = await hub.join()
    await peer.send(wire.Activity(state="working", paused=True))
    await peer.send(batch(item(1)))
    await peer.send(wire.Activity(state="working", announced=1))
    await trio.sleep(60)
    assert rung.rung == 0
    await trio.sleep(120)
    assert rung.rung == 1


async def test_replies_and_rings_are_counted_also_while_the_hub_is_away(
    autojump_clock: MockClock, hub: FakeHub, nursery: trio.Nursery
) -> None:
    session = await start(hub, nursery, "auto")
    session.meet(CLIENT, KNOWN)
    peer = await hub.join()
    peer.hang_up()
    hub.listening = False
    await wait_all_tasks_blocked()
    reply = await tools.answer(session, "wait_for_messages", {"timeoutMs": 1}, Caller().call())
    hub.listening = True
    again = await hub.join(welcome())
    await trio.sleep(1)
    assert sum(frame.replies for frame in again.hear()) == 1
    assert sum(frame.reply_bytes for frame in again.hear()) == len(reply.text)


async def test_the_hub_is_told_that_the_budget_is_used_up(
    autojump_clock: MockClock, hub: FakeHub, nursery: trio.Nursery
) -> None:
    session = await start(hub, nursery, "auto", Bell().ring)
    session.meet(CLIENT, KNOWN)
    peer = await hub.join()
    for seq in range(1, 61):
        await peer.send(batch(item(seq, to=(ME,))))
        await trio.sleep(2)
        session.inbox.offer("read", 1)
        session.inbox.confirm()
    assert peer.hear()[-1].budget_s is not None
    assert 3400 < (peer.waking[-1].budget_s or 0) <= 3600


def test_the_instructions_say_at_the_start_what_is_settled_then() -> None:
    inbox = Bell().ring
    for mode, has_inbox in MODES:
        made = Bells(mode, inbox=inbox if has_inbox else None, hook=Bell().ring)
        settled = mode in ("inbox", "wait", "off") or (mode == "auto" and has_inbox)
        expected = TOLD[made.way] if settled else "list_peers says"
        assert told_at_start(made).startswith(expected)


def test_the_model_is_told_how_it_is_told_in_one_sentence_or_two() -> None:
    assert all(len(text) < 200 for text in TOLD.values())
    assert "wait_for_messages" in TOLD["wait"]
    assert "get_messages" in TOLD["none"]
