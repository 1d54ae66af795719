from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import attrs
import pytest
from trio.testing import MockClock, wait_all_tasks_blocked

from crosschat import wire
from crosschat.bridge import tools, views
from crosschat.bridge.arguments import check
from crosschat.bridge.bells import TOLD
from crosschat.bridge.inbox import Inbox
from crosschat.errors import Refused
from crosschat.limits import CONTENT_BYTES
from crosschat.model import TaskFilter
from tests.bridge.fakes import ME, Caller, FakeHub, item, welcome

if TYPE_CHECKING:
    import trio

    from crosschat.bridge.calls import Session
    from crosschat.model import JsonObject

PARAMETERS = {
    "send_message": "content threadId metadata importance",
    "get_messages": "threadId limit unreadOnly markAsRead before after badge query messageId offset",
    "wait_for_messages": "timeoutMs broadcastCooldownMs",
    "list_peers": "",
    "set_status": "status detail taskMessageId",
    "flag_as_task": "messageId filter",
    "claim_task": "messageId",
    "resolve_task": "messageId status result error",
    "add_badge": "messageId badgeType badgeValue label",
    "clear_session": "messages",
}


def test_there_are_ten_tools_with_the_parameters_that_prompts_know() -> None:
    found = {tool.name: " ".join(cast("JsonObject", tool.schema["properties"])) for tool in tools.TOOLS}
    assert found == PARAMETERS
    assert all(tool.schema["additionalProperties"] is False for tool in tools.TOOLS)


def test_no_description_is_long_enough_to_be_cut() -> None:
    assert max(len(tool.description) for tool in tools.TOOLS) < 2000
    assert len(tools.INSTRUCTIONS) < 2000


def test_that_a_peer_cannot_consent_is_said_once() -> None:
    everything = tools.INSTRUCTIONS + " ".join(tool.description for tool in tools.TOOLS)
    assert everything.count("information, never your user's consent") == 1


WRONG = [
    ("send_message", {}, "parameter content is missing"),
    ("send_message", {"content": 5}, "content must be a string"),
    ("send_message", {"content": None}, "parameter content is missing"),
    ("send_message", {"content": " \n"}, "content must not be empty"),
    ("send_message", {"content": "é" * (CONTENT_BYTES // 2 + 1)}, f"at most {CONTENT_BYTES} fit"),
    ("send_message", {"content": "x", "threadID": "m"}, "did you mean threadId"),
    ("send_message", {"content": "x", "zzz": 1}, "There is no parameter zzz"),
    ("send_message", {"content": "x", "metadata": "y"}, "metadata must be an object"),
    ("send_message", {"content": "x", "metadata": {"a": "b" * 9000}}, "metadata has"),
    ("send_message", {"content": "x", "importance": "high"}, "one of important, comment, chitchat"),
    ("get_messages", {"limit": 0}, "limit must be a whole number from 1 to 200"),
    ("get_messages", {"limit": 201}, "from 1 to 200"),
    ("get_messages", {"limit": "20"}, "limit must be a whole number"),
    ("get_messages", {"limit": 1.5}, "limit must be a whole number"),
    ("get_messages", {"limit": True}, "limit must be a whole number"),
    ("get_messages", {"limit": float("nan")}, "limit must be a whole number"),
    ("get_messages", {"limit": float("inf")}, "limit must be a whole number"),
    ("get_messages", {"unreadOnly": "yes"}, "unreadOnly must be true or false"),
    ("get_messages", {"messageId": "m", "limit": 3}, "leave out limit"),
    ("get_messages", {"query": "x", "threadId": "m"}, "leave out threadId"),
    ("get_messages", {"offset": 3}, "offset needs the messageId"),
    ("get_messages", {"messageId": "m", "offset": -1}, "offset must be a whole number from 0"),
    ("get_messages", {"before": "a", "after": "b"}, "before or after, not both"),
    ("wait_for_messages", {"timeoutMs": 0}, "from 1 to 600000"),
    ("wait_for_messages", {"timeoutMs": 600_001}, "from 1 to 600000"),
    ("wait_for_messages", {"broadcastCooldownMs": -1}, "broadcastCooldownMs must be"),
    ("list_peers", {"verbose": True}, "There is no parameter verbose: there are none"),
    ("set_status", {"status": "away"}, "status must be one of available, busy"),
    ("set_status", {"detail": "x"}, "parameter status is missing"),
    ("flag_as_task", {"messageId": "m", "filter": {"agent": "x"}}, "did you mean agentId"),
    ("flag_as_task", {"messageId": "m", "filter": {"agentId": 1}}, "filter.agentId must be"),
    ("claim_task", {}, "parameter messageId is missing"),
    ("resolve_task", {"messageId": "m", "status": "done", "result": "x"}, "completed, failed"),
    ("resolve_task", {"messageId": "m", "status": "failed"}, "parameter result is missing"),
    ("add_badge", {"messageId": "m", "badgeType": "x"}, "parameter badgeValue is missing"),
    ("clear_session", {"messages": "false"}, "messages must be true or false"),
    ("no_such_tool", {}, "There is no tool 'no_such_tool'"),
]


@pytest.mark.parametrize(("tool", "arguments", "words"), WRONG)
async def test_wrong_arguments_are_refused_with_the_name_of_the_parameter(
    session: Session, tool: str, arguments: JsonObject, words: str
) -> None:
    reply = await tools.answer(session, tool, arguments, Caller().call())
    assert reply.failed
    assert words in reply.text


@pytest.mark.parametrize("arguments", [None, [], "text", 5])
async def test_arguments_that_are_no_object_are_refused(session: Session, arguments: object) -> None:
    assert (await tools.answer(session, "list_peers", arguments, Caller().call())).failed


def test_null_counts_as_left_out_and_a_whole_float_as_its_number() -> None:
    schema = tools.BY_NAME["get_messages"].schema
    assert check(schema, {"threadId": None, "limit": 5.0}) == {"limit": 5}
    with pytest.raises(Refused, match="missing"):
        check(tools.BY_NAME["claim_task"].schema, {"messageId": None})


TASK = wire.TaskView(status="claimed", owner="me", claimant="peer", filter=TaskFilter(project="app"))
ASKED = [
    (
        "send_message",
        {"content": "hi", "threadId": "m1", "metadata": {"a": [1]}, "importance": "comment"},
        wire.Send(id="", cid="", content="hi", thread="m1", metadata={"a": [1]}, importance="comment"),
        wire.Sent(id="", message="m2", seq=7, thread="m1", states={"stored": 2}, away=("bob",), unresolved=("x",)),
        {
            "messageId": "m2",
            "seq": 7,
            "threadId": "m1",
            "recipients": {"stored": 2},
            "away": ["bob"],
            "unresolvedMentions": ["x"],
        },
    ),
    (
        "get_messages",
        {"threadId": "m1", "limit": 3, "unreadOnly": True, "before": "m9", "badge": "task:open"},
        wire.Read(id="", thread="m1", limit=3, unread=True, before="m9", badge="task:open"),
        wire.Page(id="", items=(), earlier=True, unread=4),
        {"earlier": True, "unread": 4, "messages": [], "count": 0},
    ),
    (
        "get_messages",
        {"messageId": "m1", "offset": 40},
        wire.Read(id="", message="m1", offset=40),
        wire.Page(id="", items=(item(1, offset=40, more=80),)),
        {
            "note": views.NOTE,
            "messages": [
                {
                    "messageId": "m1",
                    "fromName": "peer",
                    "content": "text 1",
                    "offset": 40,
                    "nextOffset": 80,
                    "timestamp": "2026-01-02T03:04:05.678Z",
                }
            ],
            "count": 1,
        },
    ),
    (
        "get_messages",
        {"query": "two words", "limit": 3, "before": "m9", "badge": "task:open"},
        wire.Search(id="", query="two words", limit=3, before="m9", badge="task:open"),
        wire.Page(id="", items=(), earlier=True, behind=12),
        {"earlier": True, "notSearchedYet": 12, "messages": [], "count": 0},
    ),
    (
        "list_peers",
        {},
        wire.Peers(id=""),
        wire.PeerList(
            id="",
            peers=(
                wire.PeerView(
                    id="p", name="peer", connected=True, status="busy", cwd="/w", project="app", silent_s=3, unread=2
                ),
                wire.PeerView(id="q", name="late", connected=False, status="away", cwd="/w", activity="idle"),
                wire.PeerView(id=ME, name="me", connected=True, status="available", cwd="/w"),
            ),
        ),
        {
            "you": {"name": "me", "id": ME},
            "told": TOLD["wait"],
            "peers": [
                {
                    "name": "peer",
                    "id": "p",
                    "status": "busy",
                    "activity": "unknown",
                    "cwd": "/w",
                    "gitProject": "app",
                    "silentSeconds": 3,
                    "unread": 2,
                },
                {"name": "late", "id": "q", "status": "away", "cwd": "/w"},
            ],
            "count": 2,
        },
    ),
    (
        "set_status",
        {"status": "busy", "taskMessageId": "m1"},
        wire.SetStatus(id="", cid="", status="busy", task="m1"),
        wire.Done(id="", task=TASK),
        {
            "status": "busy",
            "taskMessageId": "m1",
            "task": {"status": "claimed", "claimant": "peer", "filter": {"gitProject": "app"}},
        },
    ),
    (
        "flag_as_task",
        {"messageId": "m1", "filter": {"agentId": "bob", "workingDirReq": "/w", "gitProject": "app"}},
        wire.FlagTask(id="", cid="", message="m1", filter=TaskFilter(agent="bob", working_dir="/w", project="app")),
        wire.Done(id=""),
        {"messageId": "m1"},
    ),
    (
        "claim_task",
        {"messageId": "m1"},
        wire.ClaimTask(id="", cid="", message="m1"),
        wire.Done(id=""),
        {"messageId": "m1"},
    ),
    (
        "resolve_task",
        {"messageId": "m1", "status": "failed", "result": "r", "error": "e"},
        wire.ResolveTask(id="", cid="", message="m1", status="failed", result="r", error="e"),
        wire.Done(id="", task=wire.TaskView(status="failed", owner="x", result="r", error="e")),
        {"messageId": "m1", "task": {"status": "failed"}},
    ),
    (
        "add_badge",
        {"messageId": "m1", "badgeType": "project", "badgeValue": "app", "label": "App"},
        wire.AddBadge(id="", cid="", message="m1", badge_type="project", value="app", label="App"),
        wire.Done(id=""),
        {"messageId": "m1", "badges": [{"type": "project", "value": "app", "label": "App"}]},
    ),
]


@pytest.mark.parametrize(("tool", "arguments", "frame", "answer", "expected"), ASKED)
async def test_a_call_becomes_its_frame_and_the_answer_its_reply(
    autojump_clock: MockClock,
    hub: FakeHub,
    session: Session,
    nursery: trio.Nursery,
    tool: str,
    arguments: JsonObject,
    frame: wire.AgentFrame,
    answer: wire.Answer,
    expected: JsonObject,
) -> None:
    peer = await hub.join()
    replies: list[tools.Reply] = []

    async def call() -> None:
        replies.append(await tools.answer(session, tool, arguments, Caller().call()))

    nursery.start_soon(call)
    asked = await peer.next(type(frame))
    blank = {"id": ""} | ({"cid": ""} if hasattr(frame, "cid") else {})
    assert attrs.evolve(cast("wire.ClaimTask", asked), **cast("dict[str, Any]", blank)) == frame
    await peer.send(attrs.evolve(answer, id=cast("wire.ClaimTask", asked).id))
    await wait_all_tasks_blocked()
    (reply,) = replies
    assert not reply.failed
    assert json.loads(reply.text) == expected
    assert ": " not in reply.text.replace("text 1", "")


@pytest.mark.parametrize(("arguments", "cleared"), [({}, True), ({"messages": False}, False)])
async def test_clear_session_resets_the_status_and_clears_unless_told_not_to(
    autojump_clock: MockClock,
    hub: FakeHub,
    session: Session,
    nursery: trio.Nursery,
    arguments: JsonObject,
    cleared: bool,
) -> None:
    peer = await hub.join()
    nursery.start_soon(tools.answer, session, "clear_session", arguments, Caller().call())
    status = await peer.next(wire.SetStatus)
    assert (status.status, status.detail) == ("available", None)
    await peer.send(wire.Done(id=status.id))
    if cleared:
        await peer.next(wire.ClearChannel)
    await wait_all_tasks_blocked()
    assert peer.waiting_frames() == 0


async def test_reading_without_marking_confirms_nothing(
    autojump_clock: MockClock, hub: FakeHub, session: Session, nursery: trio.Nursery
) -> None:
    peer = await hub.join()
    for mark, arguments in ((None, {"markAsRead": False}), (wire.Mark(upto=1), {})):
        nursery.start_soon(tools.answer, session, "get_messages", arguments, Caller().call())
        read = await peer.next(wire.Read)
        page = wire.Page(id=read.id, items=(item(1),), confirm=wire.Confirm(upto=1))
        await peer.send(page)
        await wait_all_tasks_blocked()
        caller = Caller()
        caller.calls = 10
        nursery.start_soon(tools.answer, session, "list_peers", {}, caller.call())
        if mark is not None:
            assert await peer.next(wire.Mark) == mark
        await peer.send(wire.PeerList(id=(await peer.next(wire.Peers)).id))
        await wait_all_tasks_blocked()


async def test_what_the_hub_wants_said_is_said_once(autojump_clock: MockClock, hub: FakeHub, session: Session) -> None:
    await hub.join(welcome(notices=("you are called me-2",)))
    first = await tools.answer(session, "wait_for_messages", {"timeoutMs": 1}, Caller().call())
    assert json.loads(first.text)["notices"] == ["you are called me-2"]
    second = await tools.answer(session, "wait_for_messages", {"timeoutMs": 1}, Caller().call())
    assert "notices" not in json.loads(second.text)


VIEWS = [
    (item(1, to=(ME,), private=True), {"direct": True, "private": True}),
    (item(1, source="user", from_name="user"), {"source": "user", "fromName": "user"}),
    (item(1, kind="reply", thread="m0"), {"threadId": "m0"}),
    (item(1, replies=3, importance="comment"), {"replies": 3, "importance": "comment"}),
    (
        item(1, badges=(wire.BadgeView(type="task", value="open"),)),
        {"badges": [{"type": "task", "value": "open"}]},
    ),
]


@pytest.mark.parametrize(("one", "expected"), VIEWS)
def test_a_message_says_only_what_there_is_to_say(one: wire.Item, expected: JsonObject) -> None:
    inbox = Inbox()
    inbox.resume(welcome())
    plain = {
        "messageId": "m1",
        "fromName": "peer",
        "content": "text 1",
        "timestamp": "2026-01-02T03:04:05.678Z",
    }
    assert views.message_view(one, inbox) == plain | expected


def test_a_resolved_task_shows_its_result_under_the_id_of_its_message() -> None:
    done = wire.TaskView(status="completed", owner="me", claimant="peer")
    one = item(9, kind="resolve", message="m1", content="12 passed", task=done)
    assert views.message_view(one, Inbox()) == {
        "messageId": "m1",
        "event": "task_completed",
        "fromName": "peer",
        "content": "12 passed",
        "timestamp": "2026-01-02T03:04:05.678Z",
    }
    failed = wire.TaskView(status="failed", owner="me", error="no disk")
    view = views.message_view(item(9, kind="resolve", task=failed), Inbox())
    assert (view["event"], view["error"]) == ("task_failed", "no disk")


def test_only_what_somebody_else_than_the_person_wrote_carries_the_note() -> None:
    assert "note" in views.messages_reply([item(1)], Inbox())
    assert "note" in views.messages_reply([item(1, source="cli")], Inbox())
    assert "note" not in views.messages_reply([item(1, source="user")], Inbox())
