from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from crosschat import wire
from crosschat.bridge import tools
from crosschat.bridge.client import UNSUPPORTED_TRIES
from crosschat.bridge.launch import HubUnavailable
from crosschat.bridge.requests import UNCONFIRMED_S
from crosschat.errors import Code, Refused
from crosschat.limits import TOOL_DEADLINE_S
from tests.bridge.fakes import Caller, FakeHub, batch, item, welcome

if TYPE_CHECKING:
    from crosschat.bridge.calls import Session


UNUSABLE = "The CrossChat hub cannot be used"
NOT_SENT = "The call was not sent."


@attrs.define
class Sending:
    """A send_message under way."""

    reply: tools.Reply | None = None
    seconds: float = 0.0


def send(session: Session, nursery: trio.Nursery, content: str = "hello") -> Sending:
    sending = Sending()

    async def run() -> None:
        began = trio.current_time()
        sending.reply = await tools.answer(session, "send_message", {"content": content}, Caller().call())
        sending.seconds = trio.current_time() - began

    nursery.start_soon(run)
    return sending


def sent(frame: wire.Send, message: str = "m1") -> wire.Sent:
    return wire.Sent(id=frame.id, message=message, seq=1)


async def test_an_answer_lost_with_the_connection_is_asked_for_again_with_the_same_cid(
    autojump_clock: MockClock, hub: FakeHub, session: Session, nursery: trio.Nursery
) -> None:
    peer = await hub.join()
    sending = send(session, nursery)
    first = await peer.next(wire.Send)
    peer.hang_up()
    again = await hub.join()
    second = await again.next(wire.Send)
    assert second == first
    await again.send(sent(second))
    await again.send(sent(second, "m2"))
    await wait_all_tasks_blocked()
    assert sending.reply == tools.Reply('{"messageId":"m1","seq":1,"recipients":{"stored":0}}')
    assert again.waiting_frames() == 0


async def test_a_read_is_asked_again_too(
    autojump_clock: MockClock, hub: FakeHub, session: Session, nursery: trio.Nursery
) -> None:
    peer = await hub.join()
    nursery.start_soon(tools.answer, session, "get_messages", {}, Caller().call())
    first = await peer.next(wire.Read)
    peer.hang_up()
    assert await (await hub.join()).next(wire.Read) == first


async def test_a_hub_that_is_away_is_an_error_within_the_deadline_and_nothing_is_sent_later(
    autojump_clock: MockClock, away: FakeHub, session: Session, nursery: trio.Nursery
) -> None:
    sending = send(session, nursery)
    await trio.sleep(TOOL_DEADLINE_S + 0.1)
    assert sending.reply is not None
    assert sending.reply.failed
    assert sending.seconds == TOOL_DEADLINE_S
    assert "is away" in sending.reply.text
    assert "Call again" in sending.reply.text
    assert "stored" not in sending.reply.text
    away.listening = True
    peer = await away.join()
    await wait_all_tasks_blocked()
    assert peer.waiting_frames() == 0


async def test_an_unconfirmed_call_is_said_to_be_so_and_repeated_with_its_cid(
    autojump_clock: MockClock, hub: FakeHub, session: Session, nursery: trio.Nursery
) -> None:
    peer = await hub.join()
    sending = send(session, nursery)
    first = await peer.next(wire.Send)
    await trio.sleep(TOOL_DEADLINE_S + 0.1)
    assert sending.reply is not None
    assert sending.reply.failed
    assert "may or may not have been stored" in sending.reply.text
    other = send(session, nursery, "something else")
    frame = await peer.next(wire.Send)
    assert frame.cid != first.cid
    await peer.send(sent(frame, "m2"))
    repeated = send(session, nursery)
    frame = await peer.next(wire.Send)
    assert frame.cid == first.cid
    await peer.send(sent(frame))
    await wait_all_tasks_blocked()
    assert repeated.reply == tools.Reply('{"messageId":"m1","seq":1,"recipients":{"stored":0}}')
    assert other.reply == tools.Reply('{"messageId":"m2","seq":1,"recipients":{"stored":0}}')
    send(session, nursery)
    assert (await peer.next(wire.Send)).cid != first.cid, "a confirmed call is done"


async def test_an_unconfirmed_call_is_forgotten_after_a_while(
    autojump_clock: MockClock, hub: FakeHub, session: Session, nursery: trio.Nursery
) -> None:
    peer = await hub.join()
    send(session, nursery)
    first = await peer.next(wire.Send)
    await trio.sleep(TOOL_DEADLINE_S + UNCONFIRMED_S + 1)
    send(session, nursery)
    assert (await peer.next(wire.Send)).cid != first.cid


async def test_a_refused_call_is_done_and_its_repetition_is_a_new_one(
    autojump_clock: MockClock, hub: FakeHub, session: Session, nursery: trio.Nursery
) -> None:
    peer = await hub.join()
    sending = send(session, nursery)
    first = await peer.next(wire.Send)
    refusal = wire.Error(id=first.id, code=Code.RATE_LIMITED, message="too many messages", retry_after_ms=1500)
    await peer.send(refusal)
    await wait_all_tasks_blocked()
    assert sending.reply == tools.Reply("too many messages. Try again in 1.5 s.", failed=True)
    send(session, nursery)
    assert (await peer.next(wire.Send)).cid != first.cid


async def test_two_equal_calls_at_once_are_two_messages(
    autojump_clock: MockClock, hub: FakeHub, session: Session, nursery: trio.Nursery
) -> None:
    peer = await hub.join()
    send(session, nursery)
    send(session, nursery)
    assert (await peer.next(wire.Send)).cid != (await peer.next(wire.Send)).cid


async def test_a_cancelled_call_is_not_sent_any_more_and_keeps_its_cid(
    autojump_clock: MockClock, hub: FakeHub, session: Session, nursery: trio.Nursery
) -> None:
    peer = await hub.join()
    with trio.move_on_after(1):
        await tools.answer(session, "send_message", {"content": "hello"}, Caller().call())
    first = await peer.next(wire.Send)
    peer.hang_up()
    again = await hub.join()
    await wait_all_tasks_blocked()
    assert again.waiting_frames() == 0
    send(session, nursery)
    assert (await again.next(wire.Send)).cid == first.cid


async def test_a_hub_that_is_stopping_is_asked_again(
    autojump_clock: MockClock, hub: FakeHub, session: Session, nursery: trio.Nursery
) -> None:
    peer = await hub.join()
    sending = send(session, nursery)
    first = await peer.next(wire.Send)
    await peer.send(wire.Error(id=first.id, code=Code.UNAVAILABLE, message="stopping"))
    await peer.send(wire.Bye(reason="restart", retry_after_ms=500))
    peer.hang_up()
    again = await hub.join()
    second = await again.next(wire.Send)
    assert second == first
    await again.send(sent(second))
    await wait_all_tasks_blocked()
    assert sending.reply is not None
    assert not sending.reply.failed


async def test_bye_says_when_to_come_back(autojump_clock: MockClock, hub: FakeHub, session: Session) -> None:
    peer = await hub.join()
    began = trio.current_time()
    await peer.send(wire.Bye(reason="restart", retry_after_ms=3000))
    peer.hang_up()
    await hub.join()
    assert trio.current_time() == began + 3


async def test_a_hub_that_the_person_stopped_is_found_again_and_started_only_for_a_tool(
    autojump_clock: MockClock, hub: FakeHub, session: Session, nursery: trio.Nursery
) -> None:
    started = 0

    async def start() -> None:
        nonlocal started
        started += 1
        hub.listening = True

    session.link._start_hub = start
    peer = await hub.join()
    hub.listening = False
    await peer.send(wire.Bye(reason="the person stopped it", retry_after_ms=100, until_asked=True))
    peer.hang_up()
    dials = hub.dials
    await trio.sleep(30)
    assert started == 0
    assert hub.dials > dials  # another hub would have been found
    sending = send(session, nursery)
    again = await hub.join()
    assert started == 1
    await again.send(sent(await again.next(wire.Send)))
    await wait_all_tasks_blocked()
    assert sending.reply is not None
    assert not sending.reply.failed


async def test_the_hub_is_started_when_nobody_answers(
    autojump_clock: MockClock, away: FakeHub, session: Session
) -> None:

    async def start() -> None:
        away.listening = True

    session.link._start_hub = start
    await away.join()


async def test_attempts_become_rare_and_stay_bounded(
    autojump_clock: MockClock, away: FakeHub, session: Session
) -> None:
    await trio.sleep(60)
    assert 30 <= away.dials / 2 <= 80  # each attempt dials, starts, dials


async def test_a_hub_that_hangs_up_at_once_is_not_dialled_in_a_loop(
    autojump_clock: MockClock, hub: FakeHub, session: Session
) -> None:
    with trio.move_on_after(60):
        while True:
            (await hub.join()).hang_up()
    assert hub.dials < 80


async def test_a_start_that_fails_is_told_at_once_with_its_reason_and_tried_rarely(
    autojump_clock: MockClock, away: FakeHub, session: Session, nursery: trio.Nursery
) -> None:
    away.start_error = HubUnavailable("the data directory is newer: upgrade")
    await trio.sleep(60)
    assert away.starts <= 3
    sending = send(session, nursery)
    await trio.sleep(TOOL_DEADLINE_S)
    assert sending.reply == tools.Reply(f"{UNUSABLE}: the data directory is newer: upgrade. {NOT_SENT}", failed=True)
    assert sending.seconds < 1
    away.listening, away.start_error = True, None
    sending = send(session, nursery)
    peer = await away.join()
    await peer.send(sent(await peer.next(wire.Send)))
    await wait_all_tasks_blocked()
    assert sending.reply is not None
    assert not sending.reply.failed


TOO_NEW = "this hub speaks protocol 9: upgrade crosschat and reconnect"


async def test_a_hub_that_is_too_new_is_told_with_what_to_upgrade(
    autojump_clock: MockClock, hub: FakeHub, session: Session, nursery: trio.Nursery
) -> None:
    hub.start_error = HubUnavailable(TOO_NEW)  # it was asked whether it makes room
    sending = send(session, nursery)
    peer, _ = await hub.accept()
    await peer.send(wire.Error(code=Code.UNSUPPORTED_PROTOCOL, message="upgrade one of the two"))
    await wait_all_tasks_blocked()
    assert sending.reply == tools.Reply(f"{UNUSABLE}: {TOO_NEW}. {NOT_SENT}", failed=True)


async def test_a_hub_that_is_too_old_is_replaced_and_the_call_answered_by_the_new_one(
    autojump_clock: MockClock, hub: FakeHub, session: Session, nursery: trio.Nursery
) -> None:
    sending = send(session, nursery)
    peer, _ = await hub.accept()
    await peer.send(wire.Error(code=Code.UNSUPPORTED_PROTOCOL, message="upgrade one of the two"))
    replaced = await hub.join()
    assert hub.starts == 1
    await replaced.send(sent(await replaced.next(wire.Send)))
    await wait_all_tasks_blocked()
    assert sending.reply is not None
    assert not sending.reply.failed


async def test_a_hub_that_stays_too_old_is_given_up_after_some_tries(
    autojump_clock: MockClock, hub: FakeHub, session: Session, nursery: trio.Nursery
) -> None:
    sending = send(session, nursery)
    for _ in range(UNSUPPORTED_TRIES + 1):
        peer, _ = await hub.accept()
        await peer.send(wire.Error(code=Code.UNSUPPORTED_PROTOCOL, message=TOO_NEW))
    await wait_all_tasks_blocked()
    assert sending.reply == tools.Reply(f"{UNUSABLE}: {TOO_NEW}. {NOT_SENT}", failed=True)


@pytest.mark.parametrize(("theirs", "starts"), [("0.9", 1), ("1.0", 0), ("1.1", 0)])
async def test_an_older_hub_serves_and_is_asked_once_to_make_room(
    autojump_clock: MockClock, hub: FakeHub, session: Session, nursery: trio.Nursery, theirs: str, starts: int
) -> None:
    peer = await hub.join(welcome(version=theirs))
    sending = send(session, nursery)
    await peer.send(sent(await peer.next(wire.Send)))
    await wait_all_tasks_blocked()
    assert hub.starts == starts
    assert sending.reply is not None
    assert not sending.reply.failed


async def test_what_a_newer_hub_says_beyond_this_protocol_is_ignored(
    autojump_clock: MockClock, hub: FakeHub, session: Session, nursery: trio.Nursery
) -> None:
    peer, _ = await hub.accept()
    await peer.send_text(wire.encode(welcome()).decode()[:-1] + ',"colour":"red"}')
    await peer.send_text('{"type":"weather","sky":"blue"}')
    sending = send(session, nursery)
    frame = await peer.next(wire.Send)
    await peer.send_text(f'{{"type":"sent","id":"{frame.id}","message":"m1","seq":1,"echo":{{"deep":[1]}}}}')
    await wait_all_tasks_blocked()
    assert sending.reply is not None
    assert not sending.reply.failed


async def test_a_full_hub_is_asked_again_and_named_at_the_deadline(
    autojump_clock: MockClock, hub: FakeHub, session: Session, nursery: trio.Nursery
) -> None:
    sending = send(session, nursery)

    async def refuse() -> None:
        while True:
            peer, _ = await hub.accept()
            await peer.send(wire.Error(code=Code.HUB_FULL, message="there are 64 agents"))
            peer.hang_up()

    nursery.start_soon(refuse)
    await trio.sleep(TOOL_DEADLINE_S + 1)
    assert sending.reply is not None
    assert "there are 64 agents" in sending.reply.text
    nursery.cancel_scope.cancel()


async def test_a_hole_is_filled_by_resuming_behind_the_last_good_number(
    autojump_clock: MockClock, hub: FakeHub, session: Session
) -> None:
    peer = await hub.join()
    await peer.send(batch(item(1)))
    await peer.send(batch(item(3)))
    again, hello = await hub.accept()
    assert (hello.epoch, hello.after_seq) == ("epoch-1", 1)
    await again.send(welcome(after=1, cursor=0))
    await again.send(batch(item(2), item(3)))
    await wait_all_tasks_blocked()
    assert [one.seq for one in session.inbox.unread] == [1, 2, 3]


async def test_marks_that_were_lost_are_repeated_after_the_reconnect(
    autojump_clock: MockClock, hub: FakeHub, session: Session
) -> None:
    peer = await hub.join()
    await peer.send(batch(item(1)))
    await wait_all_tasks_blocked()
    await tools.answer(session, "wait_for_messages", {}, Caller().call())
    peer.hang_up()
    await tools.answer(session, "no_such_tool", {}, Caller().call())
    again = await hub.join(welcome(after=1, cursor=0))
    assert await again.next(wire.Mark) == wire.Mark(upto=1)


async def test_two_equal_reports_are_two(
    autojump_clock: MockClock, hub: FakeHub, session: Session, nursery: trio.Nursery
) -> None:
    peer = await hub.join()
    await wait_all_tasks_blocked()
    session.link.post(wire.Waking(wake="auto", way="none", replies=1, reply_bytes=10))
    session.link.post(wire.Waking(wake="auto", way="none", replies=1, reply_bytes=10))
    await wait_all_tasks_blocked()
    assert sum(said.reply_bytes for said in peer.hear()) == 20


async def test_the_status_survives_the_hub(
    autojump_clock: MockClock, hub: FakeHub, session: Session, nursery: trio.Nursery
) -> None:
    peer = await hub.join()
    arguments = {"status": "busy", "detail": "testing"}
    nursery.start_soon(tools.answer, session, "set_status", arguments, Caller().call())
    await peer.send(wire.Done(id=(await peer.next(wire.SetStatus)).id))
    await wait_all_tasks_blocked()
    peer.hang_up()
    _, hello = await hub.accept()
    assert (hello.status, hello.detail) == ("busy", "testing")


@pytest.mark.parametrize("garbage", ["", "{", "[]", '{"type":7}', '{"type":"sent"}'])
async def test_garbage_from_the_hub_costs_the_connection_only(
    autojump_clock: MockClock, hub: FakeHub, session: Session, garbage: str
) -> None:
    peer = await hub.join()
    await peer.send_text(garbage)
    await hub.join()


async def test_a_frame_the_hub_could_not_read_is_refused_here(
    autojump_clock: MockClock, hub: FakeHub, session: Session, nursery: trio.Nursery
) -> None:
    peer = await hub.join()
    deep: dict[str, object] = {}
    for _ in range(40):
        deep = {"a": deep}
    for arguments in ({"content": "\ud800"}, {"content": "x", "metadata": deep}):
        reply = await tools.answer(session, "send_message", arguments, Caller().call())
        assert reply.failed
    await wait_all_tasks_blocked()
    assert peer.waiting_frames() == 0
    assert hub.dials == 1


async def test_too_many_calls_at_once_are_refused(
    autojump_clock: MockClock, hub: FakeHub, session: Session, nursery: trio.Nursery
) -> None:
    await hub.join()
    for number in range(64):
        send(session, nursery, str(number))
    await wait_all_tasks_blocked()
    with pytest.raises(Refused, match="Too many"):
        await session.link.request(wire.Peers(id="x"))


async def test_a_hub_that_does_not_come_back_leaves_no_doubt_about_the_doubt(
    autojump_clock: MockClock, hub: FakeHub, session: Session, nursery: trio.Nursery
) -> None:
    peer = await hub.join()
    sending = send(session, nursery)
    first = await peer.next(wire.Send)
    hub.listening, hub.start_error = False, HubUnavailable("the disk is gone")
    peer.hang_up()
    await trio.sleep(1)
    assert sending.reply is not None
    assert "the disk is gone. The call was not confirmed: it may or may not" in sending.reply.text
    hub.listening = True
    send(session, nursery)
    assert (await (await hub.join()).next(wire.Send)).cid == first.cid
