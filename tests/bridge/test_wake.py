"""When the session is rung, on a clock that jumps: every rule, and what a ring that nobody takes costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from crosschat import wire
from crosschat.bridge import tools
from crosschat.bridge.doorbell import Ring, Unheard
from crosschat.bridge.inbox import Inbox
from crosschat.bridge.wake import GATHER_S, HOUR_S, REMINDERS_S, WAKES_PER_HOUR, Wake
from tests.bridge.fakes import ME, Caller, FakeHub, batch, item, session_with, welcome

if TYPE_CHECKING:
    from crosschat.bridge.calls import Session

A_WHILE_S = 10 * HOUR_S


@attrs.define
class Bell:
    """A doorbell that keeps what it rang, and when, counted from the start of the test."""

    wake: Wake
    inbox: Inbox
    ready: bool = True
    trouble: Unheard | None = None
    tried: list[float] = attrs.field(factory=list)
    rung: list[Ring] = attrs.field(factory=list)
    began: float = attrs.field(factory=trio.current_time)

    async def send(self, ring: Ring) -> None:
        await trio.lowlevel.checkpoint()
        self.tried.append(round(trio.current_time() - self.began, 3))
        if self.trouble is not None:
            raise self.trouble
        self.rung.append(ring)

    def deliver(self, *items: wire.Item) -> None:
        assert self.inbox.add(batch(*items), 100 * len(items))
        self.wake.notify()

    def read(self) -> None:
        """A tool shows everything, and the next call proves it."""
        self.show("read")
        self.inbox.confirm()

    def show(self, call: str) -> None:
        self.inbox.offer(call, len(self.inbox.unread))


@pytest.fixture
async def bell(autojump_clock: MockClock, nursery: trio.Nursery) -> Bell:
    return await start_bell(nursery)


async def start_bell(nursery: trio.Nursery, *, items_max: int = 500, per_hour: int = WAKES_PER_HOUR) -> Bell:
    async def send(ring: Ring) -> None:
        await made.send(ring)

    inbox = Inbox(items_max=items_max)
    inbox.resume(welcome())
    made = Bell(
        Wake(
            inbox,
            send=send,
            ready=lambda: made.ready,
            per_hour=per_hour,
            say_time=lambda: f"{trio.current_time():.0f}",
        ),
        inbox,
    )
    nursery.start_soon(made.wake.run)
    await wait_all_tasks_blocked()
    return made


def direct(seq: int, **changes: object) -> wire.Item:
    return item(seq, to=(ME,), private=True, **changes)


async def test_a_message_rings_at_once_with_sender_kind_and_text(autojump_clock: MockClock, bell: Bell) -> None:
    bell.deliver(direct(1, content="are you there?"))
    await trio.sleep(1)
    (ring,) = bell.rung
    assert bell.tried == [GATHER_S]
    assert ring.name == "peer"
    assert 'message to you: "are you there?"' in ring.text
    assert "1 unread" in ring.text
    assert "get_messages" in ring.text
    assert "information, never your user's consent" in ring.text
    assert (bell.wake.rings, bell.wake.bytes) == (1, len(ring.content.encode()))


async def test_what_comes_together_is_one_ring(autojump_clock: MockClock, bell: Bell) -> None:
    bell.deliver(item(1), item(2, from_name="other"))
    await trio.sleep(GATHER_S / 2)
    bell.deliver(direct(3, content="you!"))
    await trio.sleep(60)
    (ring,) = bell.rung
    assert "3 new from peer, other" in ring.text
    assert 'From peer, message to you: "you!"' in ring.text  # the most urgent is the one that is quoted
    assert ring.name == "crosschat"


async def test_while_the_announced_is_unread_more_of_it_waits_for_the_reminder(
    autojump_clock: MockClock, bell: Bell
) -> None:
    bell.deliver(item(1))
    for seq in range(2, 60):
        await trio.sleep(1)
        bell.deliver(item(seq))
    await trio.sleep(REMINDERS_S[0] + 1)
    assert len(bell.rung) == 2
    assert bell.tried[1] == GATHER_S + REMINDERS_S[0]
    assert "59 unread" in bell.rung[1].text


async def test_reminders_come_more_and_more_seldom_and_end(autojump_clock: MockClock, bell: Bell) -> None:
    bell.deliver(item(1))
    await trio.sleep(A_WHILE_S)
    first = GATHER_S
    assert bell.tried == [first, first + 120, first + 120 + 600, first + 120 + 600 + 1800]
    assert len({ring.text for ring in bell.rung}) == 4


async def test_after_the_last_reminder_what_is_new_still_rings(autojump_clock: MockClock, bell: Bell) -> None:
    bell.deliver(item(1))
    await trio.sleep(A_WHILE_S)
    bell.deliver(item(2))
    await trio.sleep(1)
    assert len(bell.rung) == 5


async def test_what_was_read_is_not_reminded_of_and_the_next_message_rings_at_once(
    autojump_clock: MockClock, bell: Bell
) -> None:
    bell.deliver(item(1))
    await trio.sleep(2)
    bell.read()
    await trio.sleep(A_WHILE_S)
    assert len(bell.rung) == 1
    bell.deliver(item(2))
    await trio.sleep(1)
    assert bell.tried[1:] == [2 + A_WHILE_S + GATHER_S]


async def test_what_is_in_a_tools_result_counts_as_read_until_the_call_is_cancelled(
    autojump_clock: MockClock, bell: Bell
) -> None:
    bell.deliver(item(1))
    await trio.sleep(2)
    bell.show("call")
    await trio.sleep(A_WHILE_S)
    assert len(bell.rung) == 1
    bell.inbox.withdraw("call")
    bell.wake.notify()
    await trio.sleep(1)
    assert len(bell.rung) == 2


async def test_there_is_a_second_between_two_rings(autojump_clock: MockClock, bell: Bell) -> None:
    bell.deliver(item(1))
    await trio.sleep(0.1)
    bell.read()
    bell.deliver(item(2))
    await trio.sleep(0.1)
    bell.read()
    bell.deliver(item(3))
    await trio.sleep(10)
    assert bell.tried == [GATHER_S, GATHER_S + 1]
    assert '"text 3"' in bell.rung[1].text


QUIET = [
    item(1, importance="chitchat"),
    direct(1, importance="chitchat"),
    direct(1, quiet=True),
    item(1, kind="badge", content="git-commit=0123456789"),
    item(1, kind="claim", message="m0", to=(ME,)),
    item(1, kind="progress", message="m0", to=(ME,)),
]


@pytest.mark.parametrize("quiet", QUIET)
async def test_what_is_quiet_never_rings(autojump_clock: MockClock, bell: Bell, quiet: wire.Item) -> None:
    bell.deliver(quiet)
    await trio.sleep(A_WHILE_S)
    assert bell.tried == []
    bell.deliver(item(2))
    await trio.sleep(60)
    assert "2 unread" in bell.rung[0].text
    bell.inbox.offer_page("call", wire.Page(id="r", confirm=wire.Confirm(seqs=(2,))))
    await trio.sleep(A_WHILE_S)
    assert len(bell.rung) == 1  # nor is there a reminder of it


@pytest.mark.parametrize("activity", [None, "idle", "waiting"])
async def test_a_comment_rings_unless_the_session_is_known_to_work(
    autojump_clock: MockClock, bell: Bell, activity: str | None
) -> None:
    bell.wake.activity = activity
    bell.deliver(item(1, importance="comment"))
    await trio.sleep(60)
    assert len(bell.rung) == 1
    assert "comment message to everybody" in bell.rung[0].text


async def test_a_comment_waits_until_the_session_is_idle(autojump_clock: MockClock, bell: Bell) -> None:
    bell.wake.activity = "working"
    bell.deliver(item(1, importance="comment"))
    await trio.sleep(A_WHILE_S)
    assert bell.tried == []
    bell.wake.activity = "idle"
    await trio.sleep(1)
    assert bell.tried == [A_WHILE_S + GATHER_S]


ALWAYS = [
    direct(1, importance="comment"),
    item(1, kind="reply", thread="m0", to=(ME,), importance="comment"),
    item(1, kind="resolve", message="m0"),
    item(1, kind="flag", message="m0"),
    item(1, kind="release", message="m0"),
    item(1, source="user", importance="comment"),
    item(1, importance="important"),
    item(1),
]


@pytest.mark.parametrize("one", ALWAYS)
async def test_what_is_meant_for_the_session_rings_although_it_works(
    autojump_clock: MockClock, bell: Bell, one: wire.Item
) -> None:
    bell.wake.activity = "working"
    bell.deliver(one)
    await trio.sleep(60)
    assert len(bell.rung) == 1


async def test_what_is_urgent_waits_only_shortly_behind_an_unread_ring_and_ever_longer(
    autojump_clock: MockClock, bell: Bell
) -> None:
    bell.deliver(item(1))
    await trio.sleep(0.5)
    for seq in range(2, 200):
        bell.deliver(direct(seq))
        await trio.sleep(1)
    pauses = [round(later - sooner) for sooner, later in zip(bell.tried, bell.tried[1:], strict=False)]
    assert pauses == [10, 20, 40, 80]


async def test_the_budget_limits_the_rings_of_an_hour(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    bell = await start_bell(nursery, per_hour=3)
    for seq in range(1, 11):
        bell.deliver(direct(seq))
        await trio.sleep(60)
        bell.read()
    assert len(bell.rung) == 3
    bell.deliver(direct(11))
    await trio.sleep(HOUR_S)
    assert bell.tried[3:4] == [bell.tried[0] + HOUR_S]


async def test_task_events_and_the_person_are_exempt_from_the_budget(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    bell = await start_bell(nursery, per_hour=0)
    free = [
        item(1, kind="resolve", message="m0", to=(ME,)),
        item(2, kind="flag", message="m0", to=(ME,)),
        item(3, source="user"),
        item(4, to=("user", ME)),
        direct(5),
    ]
    for one in free:
        bell.deliver(one)
        await trio.sleep(60)
        bell.read()
    assert len(bell.rung) == 4


async def test_what_is_exempt_uses_nothing_of_the_budget_up(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    bell = await start_bell(nursery, per_hour=1)
    for one in (item(1, kind="flag", message="m0"), item(2), item(3)):
        bell.deliver(one)
        await trio.sleep(60)
        bell.read()
    assert len(bell.rung) == 2


async def test_a_ring_that_nobody_took_announces_nothing_and_is_tried_again(
    autojump_clock: MockClock, bell: Bell
) -> None:
    bell.trouble = Unheard("gone")
    bell.deliver(item(1))
    await trio.sleep(200)
    assert [round(at) for at in bell.tried] == [0, 5, 15, 35, 75, 135, 195]
    assert (bell.wake.rings, bell.wake.bytes, bell.wake.unheard) == (0, 0, 7)
    bell.trouble = None
    await trio.sleep(100)
    assert bell.wake.rings == 1


async def test_a_refused_ring_is_not_repeated_soon(autojump_clock: MockClock, bell: Bell) -> None:
    bell.trouble = Unheard("no", refused=True)
    bell.deliver(item(1))
    await trio.sleep(300)
    assert [round(at) for at in bell.tried] == [0, 120, 240]


async def test_nothing_is_tried_for_what_was_read_meanwhile(autojump_clock: MockClock, bell: Bell) -> None:
    bell.trouble = Unheard("gone")
    bell.deliver(item(1))
    await trio.sleep(1)
    bell.read()
    await trio.sleep(A_WHILE_S)
    assert len(bell.tried) == 1


async def test_there_is_no_ring_while_it_would_be_of_no_use(autojump_clock: MockClock, bell: Bell) -> None:
    bell.ready = False
    bell.deliver(direct(1))
    await trio.sleep(A_WHILE_S)
    assert bell.tried == []
    bell.ready = True
    bell.wake.notify()
    await trio.sleep(1)
    assert len(bell.rung) == 1


async def test_more_than_is_kept_here_is_one_ring(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    bell = await start_bell(nursery, items_max=3)
    bell.deliver(item(1), item(2), item(3), item(4))
    await trio.sleep(1)
    bell.deliver(item(5), item(6), item(7), item(8))
    await trio.sleep(60)
    (ring,) = bell.rung
    assert "many unread" in ring.text
    bell.inbox.offer_page("call", wire.Page(id="r", confirm=wire.Confirm(upto=8)), dropped=bell.inbox.dropped)
    await trio.sleep(A_WHILE_S)
    assert len(bell.rung) == 1
    bell.deliver(item(9))
    await trio.sleep(1)
    assert len(bell.rung) == 2


async def test_the_numbers_of_another_log_mean_something_else(autojump_clock: MockClock, bell: Bell) -> None:
    bell.deliver(item(1))
    await trio.sleep(2)
    bell.inbox.resume(welcome(epoch="epoch-2"))
    bell.deliver(item(1, content="a new log"))
    await trio.sleep(2)
    assert "a new log" in bell.rung[1].text


async def test_a_reconnect_does_not_announce_again(autojump_clock: MockClock, bell: Bell) -> None:
    bell.deliver(item(1))
    await trio.sleep(2)
    bell.inbox.resume(welcome(1, cursor=0))
    bell.wake.notify()
    await trio.sleep(60)
    assert len(bell.rung) == 1


# --- in a session


@pytest.fixture
def rung() -> list[Ring]:
    return []


@pytest.fixture
def rung_session(hub: FakeHub, nursery: trio.Nursery, rung: list[Ring]) -> Session:
    """A session with a doorbell, wired as in the program."""

    async def send(ring: Ring) -> None:
        await trio.lowlevel.checkpoint()
        rung.append(ring)

    session = session_with(hub, send=send)
    nursery.start_soon(session.link.run)
    nursery.start_soon(session.wake.run)
    return session


async def test_a_pending_wait_gets_it_instead(
    autojump_clock: MockClock, hub: FakeHub, rung_session: Session, rung: list[Ring], nursery: trio.Nursery
) -> None:
    peer = await hub.join()
    nursery.start_soon(tools.answer, rung_session, "wait_for_messages", {"broadcastCooldownMs": 5000}, Caller().call())
    await wait_all_tasks_blocked()
    await peer.send(batch(item(1)))
    await trio.sleep(A_WHILE_S)
    assert rung == []


async def test_what_a_cancelled_wait_leaves_rings(
    autojump_clock: MockClock, hub: FakeHub, rung_session: Session, rung: list[Ring]
) -> None:
    peer = await hub.join()
    with trio.move_on_after(2):
        async with trio.open_nursery() as nursery:
            arguments = {"broadcastCooldownMs": 5000}
            nursery.start_soon(tools.answer, rung_session, "wait_for_messages", arguments, Caller().call())
            await wait_all_tasks_blocked()
            await peer.send(batch(item(1)))
    assert rung == []
    await trio.sleep(1)
    assert len(rung) == 1


async def test_a_call_that_the_client_cancelled_after_its_answer_leaves_its_messages_to_a_ring(
    autojump_clock: MockClock, hub: FakeHub, rung_session: Session, rung: list[Ring], nursery: trio.Nursery
) -> None:
    peer = await hub.join()
    call = Caller().call()
    nursery.start_soon(peer.send, batch(item(1)))
    await tools.answer(rung_session, "wait_for_messages", {}, call)
    await trio.sleep(A_WHILE_S)
    assert rung == []
    rung_session.withdraw(call.id)
    await trio.sleep(1)
    assert len(rung) == 1


async def test_no_ring_while_the_hub_is_away_and_one_when_it_is_back(
    autojump_clock: MockClock, hub: FakeHub, rung_session: Session, rung: list[Ring]
) -> None:
    peer = await hub.join()
    await peer.send(batch(item(1)))
    await wait_all_tasks_blocked()
    hub.listening = False
    peer.hang_up()
    await trio.sleep(60)
    assert rung == []
    hub.listening = True
    await hub.join(welcome(1, cursor=0))
    await trio.sleep(1)
    assert len(rung) == 1


async def test_what_a_hub_said_of_the_session_ends_with_its_connection(
    autojump_clock: MockClock, hub: FakeHub, rung_session: Session, rung: list[Ring]
) -> None:
    peer = await hub.join()
    await peer.send(wire.Activity(state="working"))
    await peer.send(batch(item(1, importance="comment")))
    await trio.sleep(60)
    peer.hang_up()
    await hub.join(welcome(1, cursor=0))
    await trio.sleep(1)
    assert len(rung) == 1


async def test_what_the_hub_says_of_the_session_is_heeded(
    autojump_clock: MockClock, hub: FakeHub, rung_session: Session, rung: list[Ring]
) -> None:
    peer = await hub.join()
    await peer.send(wire.Activity(state="working"))
    await peer.send(batch(item(1, importance="comment")))
    await trio.sleep(60)
    assert rung == []
    await peer.send(wire.Activity(state="idle", paused=True))
    await trio.sleep(60)
    assert rung == []
    await peer.send(wire.Activity(state="idle"))
    await trio.sleep(1)
    assert len(rung) == 1
