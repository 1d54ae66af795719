from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from crosschat import wire
from crosschat.bridge import tools, waiting
from crosschat.bridge.inbox import Inbox
from crosschat.errors import Code
from crosschat.limits import PAGE_CHARS, PAGE_ITEMS_MAX
from tests.bridge.fakes import ME, Caller, FakeHub, batch, ids, item, session_with, welcome

if TYPE_CHECKING:
    from crosschat.bridge.calls import Session
    from crosschat.bridge.waiting import Call
    from crosschat.model import JsonObject


async def wait(session: Session, call: Call, **arguments: object) -> JsonObject:
    reply = await tools.answer(session, "wait_for_messages", arguments, call)
    assert not reply.failed, reply.text
    found = json.loads(reply.text)
    assert isinstance(found, dict)
    return found


async def test_what_is_already_unread_is_returned_at_once(
    autojump_clock: MockClock, hub: FakeHub, session: Session
) -> None:
    peer = await hub.join()
    await peer.send(batch(item(1), item(2)))
    await wait_all_tasks_blocked()
    began = trio.current_time()
    reply = await wait(session, Caller().call())
    assert trio.current_time() == began
    assert reply["received"] is True
    assert ids(reply) == ["m1", "m2"]
    assert reply["count"] == 2


async def test_a_message_ends_the_wait(
    autojump_clock: MockClock, hub: FakeHub, session: Session, nursery: trio.Nursery
) -> None:
    peer = await hub.join()
    nursery.start_soon(peer.send, batch(item(1)))
    assert ids(await wait(session, Caller().call())) == ["m1"]


async def test_nothing_at_all_is_a_timeout_after_the_time_asked_for(
    autojump_clock: MockClock, hub: FakeHub, session: Session
) -> None:
    await hub.join()
    began = trio.current_time()
    reply = await wait(session, Caller().call(), timeoutMs=1500)
    assert reply == {"received": False, "reason": "timeout"}
    assert trio.current_time() == began + 1.5


async def test_the_next_call_of_any_tool_confirms_and_tells_the_hub_first(
    autojump_clock: MockClock, hub: FakeHub, session: Session, nursery: trio.Nursery
) -> None:
    peer = await hub.join()
    await peer.send(batch(item(1), item(2)))
    await wait_all_tasks_blocked()
    caller = Caller()
    await wait(session, caller.call())
    await wait_all_tasks_blocked()
    assert peer.waiting_frames() == 0
    nursery.start_soon(tools.answer, session, "list_peers", {}, caller.call())
    assert await peer.next(wire.Mark) == wire.Mark(upto=2)
    await peer.send(wire.PeerList(id=(await peer.next(wire.Peers)).id))
    assert await wait(session, caller.call(), timeoutMs=1) == {"received": False, "reason": "timeout"}


async def test_a_call_that_fails_confirms_too(autojump_clock: MockClock, hub: FakeHub, session: Session) -> None:
    peer = await hub.join()
    await peer.send(batch(item(1)))
    await wait_all_tasks_blocked()
    await wait(session, Caller().call())
    assert (await tools.answer(session, "no_such_tool", {}, Caller().call())).failed
    assert await peer.next(wire.Mark) == wire.Mark(upto=1)


async def test_a_second_wait_supersedes_the_first_and_gets_the_message(
    autojump_clock: MockClock, hub: FakeHub, session: Session, nursery: trio.Nursery
) -> None:
    peer = await hub.join()
    caller = Caller()
    first: list[JsonObject] = []

    async def wait_first() -> None:
        first.append(await wait(session, caller.call()))

    nursery.start_soon(wait_first)
    await wait_all_tasks_blocked()
    nursery.start_soon(peer.send, batch(item(1)))
    second = await wait(session, caller.call())
    assert first == [{"received": False, "reason": "superseded"}]
    assert ids(second) == ["m1"]


async def test_a_broadcast_is_held_for_the_cooldown_and_comes_with_what_gathered(
    autojump_clock: MockClock, hub: FakeHub, session: Session, nursery: trio.Nursery
) -> None:
    peer = await hub.join()

    async def chatter() -> None:
        for seq in range(1, 4):
            await peer.send(batch(item(seq)))
            await trio.sleep(1)

    began = trio.current_time()
    nursery.start_soon(chatter)
    reply = await wait(session, Caller().call(), broadcastCooldownMs=1500)
    assert trio.current_time() == began + 1.5
    assert ids(reply) == ["m1", "m2"]


@pytest.mark.parametrize(
    "direct",
    [
        item(2, to=(ME,)),
        item(2, kind="reply", thread="m0", to=(ME,)),
        item(2, kind="resolve", message="m0"),
        item(2, kind="badge", message="m0"),
    ],
    ids=lambda one: one.kind,
)
async def test_what_is_meant_for_us_ends_the_cooldown_at_once(
    autojump_clock: MockClock, hub: FakeHub, session: Session, nursery: trio.Nursery, direct: wire.Item
) -> None:
    peer = await hub.join()

    async def chatter() -> None:
        await peer.send(batch(item(1)))
        await trio.sleep(1)
        await peer.send(batch(direct))

    began = trio.current_time()
    nursery.start_soon(chatter)
    reply = await wait(session, Caller().call(), broadcastCooldownMs=20_000)
    assert trio.current_time() == began + 1
    assert reply["count"] == 2


async def test_the_timeout_ends_a_longer_cooldown_with_what_gathered(
    autojump_clock: MockClock, hub: FakeHub, session: Session
) -> None:
    peer = await hub.join()
    await peer.send(batch(item(1)))
    await wait_all_tasks_blocked()
    began = trio.current_time()
    reply = await wait(session, Caller().call(), timeoutMs=2000, broadcastCooldownMs=20_000)
    assert trio.current_time() == began + 2
    assert ids(reply) == ["m1"]


async def test_progress_is_reported_at_the_start_and_every_15_seconds(
    autojump_clock: MockClock, hub: FakeHub, session: Session
) -> None:
    await hub.join()
    caller = Caller()
    await wait(session, caller.call(), timeoutMs=40_000)
    assert [done for done, _, _ in caller.reports] == [0, 15, 30]


async def test_a_client_that_takes_no_progress_does_not_hold_up_the_wait(
    autojump_clock: MockClock, hub: FakeHub, session: Session
) -> None:
    await hub.join()

    async def never(*_: object) -> None:
        await trio.sleep_forever()

    reply = await wait(session, waiting.Call(1, never), timeoutMs=1000)
    assert reply["reason"] == "timeout"


async def test_more_than_one_reply_holds_stays_unread(
    autojump_clock: MockClock, hub: FakeHub, session: Session
) -> None:
    peer = await hub.join()
    long = "x" * (PAGE_CHARS // 3)
    await peer.send(batch(*(item(seq, content=long) for seq in range(1, 6))))
    await wait_all_tasks_blocked()
    caller = Caller()
    found: list[object] = []
    for _ in range(3):
        reply = await tools.answer(session, "wait_for_messages", {}, caller.call())
        assert len(reply.text) <= PAGE_CHARS
        found += ids(json.loads(reply.text))
    assert found == ["m1", "m2", "m3", "m4", "m5"]


async def test_one_message_too_large_for_a_reply_is_cut_and_says_where_to_go_on(
    autojump_clock: MockClock, hub: FakeHub, session: Session
) -> None:
    peer = await hub.join()
    await peer.send(batch(item(1, content="\x01" * 20_000)))
    await wait_all_tasks_blocked()
    reply = await tools.answer(session, "wait_for_messages", {}, Caller().call())
    assert len(reply.text) <= PAGE_CHARS
    (message,) = json.loads(reply.text)["messages"]
    assert message["nextOffset"] == len(message["content"]) > 6000


async def test_a_wait_outlives_the_hub_and_gets_what_comes_after(
    autojump_clock: MockClock, hub: FakeHub, session: Session, nursery: trio.Nursery
) -> None:
    peer = await hub.join()
    got: list[JsonObject] = []

    async def wait_long() -> None:
        got.append(await wait(session, Caller().call(), timeoutMs=60_000))

    nursery.start_soon(wait_long)
    await wait_all_tasks_blocked()
    hub.listening = False
    peer.hang_up()
    await trio.sleep(20)
    hub.listening = True
    again = await hub.join()
    await again.send(batch(item(1)))
    await wait_all_tasks_blocked()
    assert [ids(reply) for reply in got] == [["m1"]]


async def test_a_timeout_while_the_hub_is_away_says_so(
    autojump_clock: MockClock, away: FakeHub, session: Session
) -> None:
    reply = await wait(session, Caller().call(), timeoutMs=20_000)
    why = "it cannot be reached: Connection refused"
    assert reply == {"received": False, "reason": "timeout", "hub": "away", "why": why}


async def test_after_an_overflow_the_hub_is_asked_page_by_page_and_nothing_is_missing(
    autojump_clock: MockClock, hub: FakeHub, nursery: trio.Nursery
) -> None:
    session = session_with(hub, Inbox(items_max=4))
    nursery.start_soon(session.link.run)
    peer = await hub.join()
    await peer.send(batch(*map(item, range(1, 11))))
    await wait_all_tasks_blocked()
    cursor = 0

    async def play() -> None:
        nonlocal cursor
        while True:
            frame = await peer.next(wire.Read | wire.Mark)  # type: ignore[arg-type]
            if isinstance(frame, wire.Mark):
                cursor = frame.upto or cursor
                continue
            assert isinstance(frame, wire.Read)
            assert frame.unread
            assert frame.limit == PAGE_ITEMS_MAX
            page = tuple(item(seq) for seq in range(cursor + 1, min(cursor + 4, 10) + 1))
            left = 10 - page[-1].seq
            confirm = wire.Confirm(upto=page[-1].seq)
            await peer.send(wire.Page(id=frame.id, items=page, unread=left, confirm=confirm))
            if not left:
                await peer.send(batch(item(11)))

    nursery.start_soon(play)
    caller = Caller()
    found: list[object] = []
    for _ in range(4):
        found += ids(await wait(session, caller.call()))
    assert found == [f"m{seq}" for seq in range(1, 12)]
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("items_max", [100, 2], ids=["kept here", "asked for"])
async def test_a_wait_cancelled_at_any_step_repeats_and_never_loses(autojump_clock: MockClock, items_max: int) -> None:
    """The client cancels before each scheduling step of a call in turn, and once after the answer."""
    seen_all = False
    for step in range(60):
        if await cancelled_at(step, items_max):
            seen_all = True
            break
    assert seen_all, "the sweep ended before the call did"


async def cancelled_at(step: int, items_max: int, *, arrival: int = 0) -> bool:
    """Whether the call had ended by itself before `step`. The messages come with the step `arrival`."""
    hub = FakeHub()
    session = session_with(hub, Inbox(items_max=items_max))
    caller, ended = Caller(), False
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.link.run)
        peer = await hub.join()
        nursery.start_soon(_serve_unread, peer)
        await wait_all_tasks_blocked()
        call = caller.call()

        async def first() -> None:
            nonlocal ended
            await wait(session, call)
            ended = True

        async with trio.open_nursery() as calls:
            calls.start_soon(first)
            nursery.start_soon(_arrive, peer, arrival)
            for _ in range(step):
                await trio.lowlevel.checkpoint()
            session.inbox.withdraw(call.id)
            calls.cancel_scope.cancel()
        await wait_all_tasks_blocked()
        found: list[object] = []
        while len(found) < 4:
            reply = await wait(session, caller.call(), timeoutMs=1000)
            assert reply["received"], (step, found)
            found += ids(reply)
        assert found == ["m1", "m2", "m3", "m4"]
        nursery.cancel_scope.cancel()
    return ended


async def _arrive(peer: object, step: int) -> None:
    from tests.bridge.fakes import Peer

    assert isinstance(peer, Peer)
    for _ in range(step):
        await trio.lowlevel.checkpoint()
    await peer.send(batch(*map(item, range(1, 5))))


async def _serve_unread(peer: object) -> None:
    from tests.bridge.fakes import Peer

    assert isinstance(peer, Peer)
    cursor = 0
    with trio.CancelScope():
        while True:
            try:
                frame = await peer.next(wire.Read | wire.Mark)  # type: ignore[arg-type]
            except trio.TooSlowError:
                continue
            if isinstance(frame, wire.Mark):
                cursor = max(cursor, frame.upto or 0)
                continue
            assert isinstance(frame, wire.Read)
            left = tuple(item(seq) for seq in range(cursor + 1, 5))
            confirm = wire.Confirm(upto=left[-1].seq) if left else None
            await peer.send(wire.Page(id=frame.id, items=left, confirm=confirm))


async def test_a_wait_whose_answer_the_client_did_not_take_is_repeated(
    autojump_clock: MockClock, hub: FakeHub, session: Session
) -> None:
    peer = await hub.join()
    await peer.send(batch(item(1)))
    await wait_all_tasks_blocked()
    caller = Caller()
    call = caller.call()
    await wait(session, call)
    session.inbox.withdraw(call.id)
    assert ids(await wait(session, caller.call())) == ["m1"]


async def test_a_server_that_a_newer_one_replaced_ends_its_wait_and_stays_quiet(
    autojump_clock: MockClock, hub: FakeHub, session: Session, nursery: trio.Nursery
) -> None:
    peer = await hub.join()
    got: list[JsonObject] = []

    async def wait_long() -> None:
        got.append(await wait(session, Caller().call(), timeoutMs=60_000))

    nursery.start_soon(wait_long)
    await wait_all_tasks_blocked()
    await peer.send(wire.Error(code=Code.SUPERSEDED, message="a newer server took over"))
    await trio.sleep(300)
    assert got == [{"received": False, "reason": "superseded"}]
    assert hub.dials == 1
    nursery.start_soon(tools.answer, session, "list_peers", {}, Caller().call())
    await (await hub.join(welcome())).next(wire.Peers)


async def test_a_page_that_the_hub_refuses_is_an_answer_and_no_crash(
    autojump_clock: MockClock, hub: FakeHub, nursery: trio.Nursery
) -> None:
    session = session_with(hub, Inbox(items_max=1))
    nursery.start_soon(session.link.run)
    peer = await hub.join()
    await peer.send(batch(item(1), item(2)))
    await wait_all_tasks_blocked()
    replies: list[tools.Reply] = []

    async def wait_once() -> None:
        replies.append(await tools.answer(session, "wait_for_messages", {}, Caller().call()))

    nursery.start_soon(wait_once)
    read = await peer.next(wire.Read)
    await peer.send(wire.Error(id=read.id, code=Code.RATE_LIMITED, message="Too many"))
    await wait_all_tasks_blocked()
    assert replies == [tools.Reply("Too many.", failed=True)]
    assert not session.waiting.pending
