"""The permission desk: every request ends once, and nothing is allowed that no paired page decided and no audit has."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from crosschat.errors import Code, Refused
from crosschat.hub import approvals, permissions
from crosschat.processes import Process
from tests.hub.desk import CLAUDE, SUGGESTION, MemoryHook, World, digest_of, output, payload, request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from trio.testing import MockClock

    from crosschat.model import JsonObject

DENY = output({"behavior": "deny", "message": "not now"})


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock) -> AsyncIterator[World]:
    async with trio.open_nursery() as nursery:
        yield World(tmp_path, nursery, monkeypatch)
        nursery.cancel_scope.cancel()


async def refused(world: World, hook: MemoryHook, text: str | None = None) -> Code:
    """Why a decision on the last request is refused."""
    with pytest.raises(Refused) as caught:
        await world.decide(world.seen.views[-1], text)
    assert hook.printed is None
    return caught.value.code


async def test_a_request_is_shown_with_everything_and_decided_once(world: World) -> None:
    raw = request(permission_suggestions=[SUGGESTION])
    hook = await world.ask(raw)
    (view,) = world.desk.requests()
    assert world.seen.views == [view]
    assert (view.raw.encode(), view.agent, view.cwd, view.mode) == (raw, "a1", "/repo", "default")
    assert view.digest == digest_of(hook, raw)
    said = output({"behavior": "allow", "updatedPermissions": [SUGGESTION]})
    await world.decide(view, payload(view, said))
    assert hook.printed == said
    assert hook.said[-1]["digest"] == view.digest
    (over,) = world.seen.overs
    assert (over.request, over.how, over.behavior, over.by) == (view.id, "decided", "allow", "my browser")
    assert world.desk.requests() == ()
    assert await refused(world, MemoryHook()) is Code.CONFLICT


async def test_the_audit_says_who_what_and_when_before_the_answer_leaves(
    world: World, autojump_clock: MockClock
) -> None:
    world.audit.gate = trio.Event()
    hook = await world.ask()
    (view,) = world.desk.requests()
    await trio.sleep(7)
    text = payload(view)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.decide, view, text)
        await world.audit.stuck.wait()
        await trio.testing.wait_all_tasks_blocked()
        assert hook.printed is None
        world.audit.gate.set()
    assert hook.printed is not None
    (line,) = world.audit.lines
    assert (line["event"], line["behavior"], line["where"]) == ("decided", "allow", "page")
    assert (line["key"], line["label"], line["signature"]) == ("k1", "my browser", "sig")
    assert (line["digest"], line["request"]) == (view.digest, view.id)
    assert line["waited_ms"] == pytest.approx(7000, abs=100)
    assert line["payload_sha256"] == hashlib.sha256(text.encode()).hexdigest()


async def test_without_an_audit_line_nothing_is_allowed_and_a_deny_works(world: World) -> None:
    world.audit.fails = True
    hook = await world.ask()
    (view,) = world.desk.requests()
    for _ in range(2):
        with pytest.raises(Refused, match="No space left") as caught:
            await world.decide(view)
        assert caught.value.code is Code.STORAGE_FULL
        assert hook.printed is None
        assert world.desk.requests() == (view,)
    await world.decide(view, payload(view, DENY))
    assert hook.printed == DENY


async def test_when_there_is_room_again_it_can_be_allowed(world: World) -> None:
    world.audit.fails = True
    hook = await world.ask()
    assert await refused(world, hook) is Code.STORAGE_FULL
    world.audit.fails = False
    await world.decide(world.seen.views[0])
    assert hook.printed == output()


async def test_of_two_decisions_in_one_tick_one_counts(world: World) -> None:
    outcomes: list[str] = []

    async def decide(said: str) -> None:
        try:
            await world.decide(view, said)
            outcomes.append("done")
        except Refused as error:
            outcomes.append(error.code)

    for number in range(20):
        hook = await world.ask()
        view = world.seen.views[-1]
        outcomes.clear()
        async with trio.open_nursery() as nursery:
            for said in (payload(view), payload(view, DENY)):
                nursery.start_soon(decide, said)
        assert sorted(outcomes) == ["conflict", "done"]
        assert [one["type"] for one in hook.said].count("verdict") == 1
        assert world.audit.events.count("decided") == number + 1


async def test_a_decision_is_good_for_its_own_request_and_bytes(world: World) -> None:
    first, second = await world.ask(), await world.ask(request(tool_input={"command": "rm -r /"}))
    one, other = world.seen.views
    for text in (
        payload(one),
        payload(other).replace(other.digest, one.digest),
        payload(other).replace(other.hub_nonce, one.hub_nonce),
        payload(other).replace(other.id, one.id),
        payload(one).replace(one.id, other.id),
    ):
        assert await refused(world, second, text) is Code.INVALID
    assert world.audit.lines == []
    await world.decide(other)
    assert (first.printed, second.printed) == (None, output())


async def test_an_old_decision_is_not_good_for_the_same_request_asked_again(world: World) -> None:
    hook = await world.ask()
    text = payload(world.seen.views[0])
    hook.closed.set()
    await hook.done.wait()
    again = await world.ask()
    assert await refused(world, again, text) is Code.INVALID
    with pytest.raises(Refused, match="was answered in the session's terminal"):
        await world.decide(world.seen.views[0], text)
    assert again.printed is None


async def test_an_unknown_request_is_not_found(world: World) -> None:
    await world.ask()
    with pytest.raises(Refused) as caught:
        await world.desk.decide(key="k", label="l", request="nothing", payload="{}", signature="s")
    assert caught.value.code is Code.NOT_FOUND


# --- how else a request ends


async def test_the_hook_was_ended(world: World) -> None:
    hook = await world.ask()
    hook.closed.set()
    hook.deaf = True
    await hook.done.wait()
    assert [over.how for over in world.seen.overs] == ["answered_elsewhere"]
    assert world.audit.events == ["answered_elsewhere"]
    assert await refused(world, hook) is Code.CONFLICT


async def test_the_session_died(world: World) -> None:
    hook = await world.ask()
    world.gone[CLAUDE].set()
    await hook.done.wait()
    assert hook.reason == "gone"
    assert [over.how for over in world.seen.overs] == ["gone"]


async def test_it_waits_for_an_hour_and_hears_that_the_hub_lives(world: World, autojump_clock: MockClock) -> None:
    began = trio.current_time()
    hook = await world.ask()
    await hook.done.wait()
    assert 0 <= trio.current_time() - began - permissions.EXPIRE_S <= permissions.REPEAT_S
    assert hook.reason == "expired"
    assert [over.how for over in world.seen.overs] == ["expired"]
    asked = hook.said[:-1]
    assert {str(one) for one in asked} == {str(asked[0])}
    assert len(asked) == permissions.EXPIRE_S // permissions.REPEAT_S


async def test_a_hook_that_goes_while_its_allow_is_written_gets_none(world: World) -> None:
    world.audit.gate = trio.Event()
    hook = await world.ask()

    async def decide() -> None:
        with pytest.raises(Refused, match="went on before"):
            await world.decide(world.seen.views[0])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(decide)
        await world.audit.stuck.wait()
        hook.closed.set()
        await trio.testing.wait_all_tasks_blocked()
        world.audit.gate.set()
    assert hook.printed is None
    await hook.done.wait()
    assert sorted(map(str, world.audit.events)) == ["answered_elsewhere", "decided"]


async def test_an_answer_that_cannot_be_sent_is_said_to_the_page_and_in_the_audit(world: World) -> None:
    hook = await world.ask()
    hook.deaf = True
    with pytest.raises(Refused, match="went on before"):
        await world.decide(world.seen.views[0])
    await hook.done.wait()
    assert world.audit.events == ["decided", "undelivered"]
    assert world.watched == []


async def test_a_page_that_goes_in_the_middle_does_not_cut_a_decision_short(world: World) -> None:
    world.audit.gate = trio.Event()
    hook = await world.ask()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.decide, world.seen.views[0])
        await world.audit.stuck.wait()
        nursery.cancel_scope.cancel()
        world.audit.gate.set()
    assert hook.printed == output()


async def test_a_hub_that_stops_answers_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with trio.open_nursery() as nursery:
        world = World(tmp_path, nursery, monkeypatch)
        hook = await world.ask()
        nursery.cancel_scope.cancel()
    assert [one["type"] for one in hook.said] == ["asked"]
    assert world.desk.requests() == ()


# --- who is not heard


async def test_a_hook_of_no_session_here_gets_no_opinion(world: World) -> None:
    world.middle.presence.leave("a1", now_ms=0)
    hook = await world.ask()
    assert hook.reason == "not_mine"
    assert world.seen.views == []


async def test_an_agent_that_is_another_process_now_is_not_the_one_above_the_hook(world: World) -> None:
    world.table[CLAUDE] = Process(pid=CLAUDE, start=CLAUDE + 1, parent=1, name="claude", exe="claude")
    hook = await world.ask()
    assert hook.reason == "not_mine"


@pytest.mark.parametrize(
    "raw", [b"{}", request().replace(b'"make"', b'"\\ud800"'), b'{"tool_name":"a","tool_name":"b"}']
)
async def test_what_cannot_be_read_in_one_way_is_left_to_the_terminal(world: World, raw: bytes) -> None:
    hook = await world.ask(raw)
    assert hook.reason == "unreadable"
    assert world.seen.views == []


async def test_one_session_cannot_fill_the_desk(world: World) -> None:
    for _ in range(permissions.PENDING_OF_ONE):
        await world.ask()
    assert (await world.ask()).reason == "full"
    await world.ask(claude=CLAUDE * 2)
    assert world.seen.views[-1].agent == "a2"


async def test_the_bytes_of_all_requests_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(permissions, "PENDING_BYTES", 1000)
    await world.ask(request(tool_input={"command": "x" * 700}))
    assert (await world.ask(request(tool_input={"command": "x" * 700}))).reason == "full"


# --- sessions that show no dialog


async def test_an_unattended_session_waits_only_while_a_page_is_open(world: World, autojump_clock: MockClock) -> None:
    world.unattended.add(CLAUDE)
    assert (await world.ask()).reason == "nobody"
    world.desk.page_opened()
    hook = await world.ask()
    assert world.seen.views[-1].printing
    await trio.sleep(1000)
    world.desk.page_closed()
    await trio.sleep(permissions.NO_PAGE_S / 2)
    world.desk.page_opened()  # it was only loaded anew
    await trio.sleep(1000)
    assert not hook.done.is_set()
    world.desk.page_closed()
    left = trio.current_time()
    await hook.done.wait()
    assert trio.current_time() - left == permissions.NO_PAGE_S
    assert hook.reason == "nobody"


async def test_before_a_use_only_an_unattended_session_is_decided_here(world: World) -> None:
    assert (await world.ask(request(event="PreToolUse"))).reason == "dialog"
    world.unattended.add(CLAUDE)
    world.desk.page_opened()
    hook = await world.ask(request(event="PreToolUse"))
    view = world.seen.views[-1]
    said: JsonObject = {"hookSpecificOutput": {"hookEventName": "PreToolUse", "permissionDecision": "allow"}}
    await world.decide(view, payload(view, said))
    assert hook.printed == said


# --- what ran


def ran(*commands: str, event: str = "PostToolUse", prompt: str = "p1", subagent: str | None = None) -> bytes:
    if event == "PostToolUse":
        return request(event=event, tool_input={"command": commands[0]}, prompt_id=prompt, agent_id=subagent)
    calls = [{"tool_name": "Bash", "tool_input": {"command": command}} for command in commands]
    return request(event=event, tool_calls=calls, prompt_id=prompt, agent_id=subagent)


async def test_a_tool_that_ran_was_answered_in_the_terminal(world: World) -> None:
    mine, other = await world.ask(), await world.ask(request(tool_input={"command": "ls"}))
    await world.desk.ran(world.hook_pid(), ran("make"))
    await mine.done.wait()
    assert mine.reason == "answered_elsewhere"
    assert not other.done.is_set()
    assert world.audit.events == ["answered_elsewhere"]


async def test_of_two_equal_requests_one_tool_that_ran_answers_one(world: World) -> None:
    first, second = await world.ask(), await world.ask()
    await world.desk.ran(world.hook_pid(), ran("make"))
    await first.done.wait()
    assert not second.done.is_set()


async def test_after_a_step_nothing_of_it_waits(world: World) -> None:
    hooks = [await world.ask(), await world.ask(request(tool_input={"command": "ls"}))]
    helper = await world.ask(request(agent_id="sub"))
    await world.desk.ran(world.hook_pid(), ran("ls", event="PostToolBatch"))
    for hook in hooks:
        await hook.done.wait()
    assert not helper.done.is_set()
    await world.desk.ran(world.hook_pid(), ran(event="PostToolBatch", subagent="sub"))
    await helper.done.wait()


async def test_a_hook_that_was_overtaken_ends_nothing_that_began_after_it(world: World) -> None:
    late = world.hook_pid()
    hook = await world.ask()
    await world.desk.ran(late, ran("make"))
    await world.desk.ran(late, ran("make", event="PostToolBatch"))
    await world.desk.turn_ended(late, session_too=True)
    await trio.testing.wait_all_tasks_blocked()
    assert not hook.done.is_set()


async def test_a_turn_that_ended_answers_its_own_requests_and_an_ended_session_all(world: World) -> None:
    mine, helper = await world.ask(), await world.ask(request(agent_id="sub"))
    elsewhere = await world.ask(claude=CLAUDE * 2)
    await world.desk.turn_ended(world.hook_pid(), session_too=False)
    await mine.done.wait()
    assert not helper.done.is_set()
    await world.desk.turn_ended(world.hook_pid(), session_too=True)
    await helper.done.wait()
    assert not elsewhere.done.is_set()


async def allowed(world: World, raw: bytes | None = None) -> None:
    await world.ask(raw)
    await world.decide(world.seen.views[-1])


async def test_the_watch_file_is_there_while_something_is_outstanding(world: World) -> None:
    assert world.watched == []
    hook = await world.ask()
    assert world.watched == [str(CLAUDE)]
    await world.decide(world.seen.views[-1])
    await hook.done.wait()
    assert world.watched == [str(CLAUDE)]
    await world.desk.ran(world.hook_pid(), ran("make"))
    assert world.watched == []
    assert world.audit.events == ["decided", "ran"]


@pytest.mark.parametrize("event", ["PostToolUse", "PostToolBatch"])
async def test_what_ran_as_it_was_shown_is_no_alarm(world: World, event: str) -> None:
    await allowed(world)
    await world.desk.ran(world.hook_pid(), ran("make", event=event))
    await world.desk.ran(world.hook_pid(), ran("make", event="PostToolBatch"))
    assert world.audit.events == ["decided", "ran"]
    assert world.seen.alarms == []


async def test_another_input_than_the_one_that_was_shown_is_an_alarm(world: World) -> None:
    await allowed(world)
    await world.desk.ran(world.hook_pid(), ran("rm -r /"))
    await world.desk.ran(world.hook_pid(), ran("rm -r /", event="PostToolBatch"))
    assert world.audit.events == ["decided", "alarm"]
    assert "another input" in world.seen.alarms[0]
    assert world.desk.problems() == tuple(world.seen.alarms)
    assert world.watched == []


def step(event: str, **ids: str) -> bytes:
    """What a hook of a client that tells ids shows: what ran with an id, or what the model called with it."""
    calls: list[JsonObject] = [
        {"tool_name": "Bash", "tool_input": {"command": command}, "tool_use_id": one} for one, command in ids.items()
    ]
    if event == "PostToolBatch":
        return request(event=event, tool_calls=calls)
    return request(event=event, tool_input=calls[0]["tool_input"], tool_use_id=calls[0]["tool_use_id"])


RAN_OTHERWISE = [step("PostToolUse", a="rm -r /"), step("PostToolBatch", a="make", b="ls")]


@pytest.mark.parametrize("shown", [RAN_OTHERWISE, RAN_OTHERWISE[::-1]], ids=["in order", "overtaken"])
async def test_another_input_under_the_id_of_the_allowed_call_is_an_alarm(world: World, shown: list[bytes]) -> None:
    """So the client tells it: the step has what the model called, even where a hook changed what ran."""
    await allowed(world)
    for raw in shown:
        await world.desk.ran(world.hook_pid(), raw)
    assert world.audit.events == ["decided", "alarm"]
    assert len(world.seen.alarms) == 1
    assert world.watched == []


@pytest.mark.parametrize("event", ["PostToolUse", "PostToolUseFailure"])
@pytest.mark.parametrize("turned", [False, True], ids=["in order", "overtaken"])
async def test_what_ran_as_it_was_allowed_beside_others_is_no_alarm(world: World, event: str, turned: bool) -> None:
    await allowed(world)
    shown = [step("PostToolUse", b="ls"), step(event, a="make"), step("PostToolBatch", a="make", b="ls")]
    for raw in shown[::-1] if turned else shown:
        await world.desk.ran(world.hook_pid(), raw)
    await world.desk.ran(world.hook_pid(), step("PostToolBatch", c="ls"))
    await world.desk.turn_ended(world.hook_pid(), session_too=False)
    assert world.audit.events == ["decided", "ran"]
    assert world.seen.alarms == []
    assert world.watched == []


async def test_a_call_that_no_hook_shows_to_have_run_did_not(world: World) -> None:
    await allowed(world)
    await world.desk.ran(world.hook_pid(), step("PostToolBatch", a="make"))
    await world.desk.ran(world.hook_pid(), step("PostToolBatch", b="ls"))
    await world.desk.turn_ended(world.hook_pid(), session_too=False)
    assert world.audit.events == ["decided"]
    await world.desk.turn_ended(world.hook_pid(), session_too=False)
    assert world.audit.events == ["decided", "not_run"]
    await world.desk.ran(world.hook_pid(), step("PostToolUse", a="rm"))
    assert world.seen.alarms == []
    assert world.watched == []


@pytest.mark.parametrize("shown", [["PostToolBatch", "PostToolUse"], ["PostToolUse", "PostToolBatch"]], ids=" ".join)
@pytest.mark.parametrize("before", [0, 1])
async def test_what_is_told_after_the_end_of_its_turn_counts_as_well(
    world: World, shown: list[str], before: int
) -> None:
    """The client waits for no hook of these, so that of the turn's end may overtake them."""
    await allowed(world)
    inputs = {"PostToolBatch": "make", "PostToolUse": "rm"}
    for event in shown[:before]:
        await world.desk.ran(world.hook_pid(), step(event, a=inputs[event]))
    await world.desk.turn_ended(world.hook_pid(), session_too=False)
    for event in shown[before:]:
        await world.desk.ran(world.hook_pid(), step(event, a=inputs[event]))
    assert world.audit.events == ["decided", "alarm"]
    assert len(world.seen.alarms) == 1
    assert world.watched == []


async def test_a_step_in_which_the_allowed_tool_did_not_run_is_no_alarm(world: World) -> None:
    await allowed(world)
    await world.desk.ran(world.hook_pid(), ran(event="PostToolBatch"))
    assert world.audit.events == ["decided", "not_run"]
    await allowed(world)
    await world.desk.turn_ended(world.hook_pid(), session_too=True)
    assert world.audit.events == ["decided", "not_run", "decided", "not_run"]
    assert world.seen.alarms == []


async def test_a_question_that_was_answered_from_here_ran_with_the_answers(world: World) -> None:
    questions = [{"question": "Which?", "options": [{"label": "Red"}]}]
    raw = request("AskUserQuestion", tool_input={"questions": questions})
    await world.ask(raw)
    view = world.seen.views[-1]
    given = {"questions": questions, "answers": {"Which?": "Red"}}
    await world.decide(view, payload(view, output({"behavior": "allow", "updatedInput": given})))
    call = {"tool_name": "AskUserQuestion", "tool_input": given}
    await world.desk.ran(world.hook_pid(), request(event="PostToolBatch", tool_calls=[call]))
    assert world.audit.events == ["decided", "ran"]


async def test_of_two_equal_uses_the_one_that_was_changed_is_an_alarm_whichever_ends_first(world: World) -> None:
    await allowed(world)
    await allowed(world)
    for raw in (step("PostToolBatch", a="make", b="make"), step("PostToolUse", b="make"), step("PostToolUse", a="rm")):
        await world.desk.ran(world.hook_pid(), raw)
    assert sorted(map(str, world.audit.events)) == ["alarm", "decided", "decided", "ran"]
    assert len(world.seen.alarms) == 1
    assert world.watched == []


async def test_an_equal_use_of_a_later_turn_is_not_taken_for_the_one_that_was_interrupted(world: World) -> None:
    await allowed(world)
    await world.desk.turn_ended(world.hook_pid(), session_too=False)
    await allowed(world, request(prompt_id="p2"))
    call: JsonObject = {"tool_name": "Bash", "tool_input": {"command": "make"}, "tool_use_id": "y"}
    await world.desk.ran(world.hook_pid(), request(event="PostToolBatch", prompt_id="p2", tool_calls=[call]))
    await world.desk.ran(world.hook_pid(), request(event="PostToolUse", prompt_id="p2", tool_use_id="y"))
    assert [line["request"] for line in world.audit.lines if line["event"] == "ran"] == [world.seen.views[1].id]
    await world.desk.turn_ended(world.hook_pid(), session_too=False)
    assert [line["request"] for line in world.audit.lines if line["event"] == "not_run"] == [world.seen.views[0].id]
    assert world.watched == []


async def test_many_uses_that_need_no_approval_do_not_hide_one_that_was_changed(world: World) -> None:
    await allowed(world)
    for number in range(approvals.OUTSTANDING + 3):
        await world.desk.ran(world.hook_pid(), step("PostToolUse", **{f"l{number}": "ls"}))
    for raw in RAN_OTHERWISE:
        await world.desk.ran(world.hook_pid(), raw)
    assert world.audit.events == ["decided", "alarm"]


async def test_what_a_session_that_was_killed_was_allowed_is_let_go_with_the_next_approval(world: World) -> None:
    await allowed(world)
    await allowed(world)
    del world.table[CLAUDE]
    await world.ask(claude=CLAUDE * 2)
    await world.decide(world.seen.views[-1])
    assert world.audit.events == ["decided"] * 3 + ["not_run"] * 2
    assert world.watched == [str(CLAUDE * 2)]


async def test_approvals_that_are_never_seen_to_run_are_bounded(world: World) -> None:
    for _ in range(approvals.OUTSTANDING + 3):
        await allowed(world)
    assert world.audit.events.count("not_run") == 3


# --- time


async def test_a_clock_that_is_set_back_or_forth_changes_nothing(world: World, autojump_clock: MockClock) -> None:
    now = [1_900_000_000_000]
    world.middle.router.clock_ms = lambda: now[0]
    hook = await world.ask()
    for jump in (-(10**12), 2 * 10**12):
        now[0] += jump
        await trio.sleep(60)
        assert world.desk.requests() == (world.seen.views[0],)
    await world.decide(world.seen.views[0])
    assert hook.printed == output()
    assert world.audit.lines[0]["waited_ms"] == pytest.approx(120_000, abs=200)
