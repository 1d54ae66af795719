"""What ran, against what was allowed: the same tool with the same input, and nothing that only looks like it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from crosschat.codec import BadFrame
from crosschat.core.outcomes import Ran, Use, read_ran, strangers
from crosschat.limits import HOOK_BYTES, SHORT_TEXT_CHARS

if TYPE_CHECKING:
    from crosschat.model import JsonObject

MAKE = Use("Bash", {"command": "make"})
LS = Use("Bash", {"command": "ls"})


def hook(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def call(use: Use) -> JsonObject:
    return {"tool_name": use.tool, "tool_input": use.given}


def test_one_tool_is_shown_by_the_hook_after_it() -> None:
    raw = hook(hook_event_name="PostToolUse", prompt_id="p", agent_id="s", tool_response="x", **call(MAKE))
    assert read_ran(raw) == Ran(uses=(MAKE,), whole=False, prompt="p", subagent="s")


def test_a_whole_step_is_shown_by_the_hook_after_that_whatever_was_in_it() -> None:
    for uses in ((), (MAKE,), (MAKE, LS, MAKE)):
        raw = hook(hook_event_name="PostToolBatch", prompt_id="p", tool_calls=[call(use) for use in uses])
        assert read_ran(raw) == Ran(uses=uses, whole=True, prompt="p", subagent=None)


@pytest.mark.parametrize("value", [None, 5, [], {}, "x" * (SHORT_TEXT_CHARS + 1)])
def test_an_id_that_is_none_is_not_there(value: object) -> None:
    ran = read_ran(hook(hook_event_name="PostToolUse", prompt_id=value, agent_id=value, **call(MAKE)))
    assert (ran.prompt, ran.subagent) == (None, None)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{",
        hook(hook_event_name="PostToolUse"),
        hook(hook_event_name="PostToolUse", tool_name="Bash"),
        hook(hook_event_name="PostToolUse", tool_name="Bash", tool_input=[]),
        hook(hook_event_name="PostToolUse", tool_name=5, tool_input={}),
        hook(hook_event_name="PostToolBatch"),
        hook(hook_event_name="PostToolBatch", tool_calls={}),
        hook(hook_event_name="PostToolBatch", tool_calls=[call(MAKE), 5]),
        hook(hook_event_name="PostToolBatch", tool_calls=[call(MAKE), {"tool_name": "Bash"}]),
        b'{"hook_event_name":"PostToolUse","tool_name":"Bash","tool_input":{"a":1},"tool_input":{}}',
        hook(hook_event_name="PostToolUse", tool_name="Bash", tool_input={"a": "x" * HOOK_BYTES}),
    ],
)
def test_what_cannot_be_read_in_one_way_is_a_bad_frame(raw: bytes) -> None:
    with pytest.raises(BadFrame):
        read_ran(raw)


@pytest.mark.parametrize(
    ("tool", "given"),
    [
        ("Bash", {"command": "make "}),
        ("Bash", {"command": "make", "timeout": 5}),
        ("Bash", {}),
        ("bash", {"command": "make"}),
        ("Bash", {"command": ["make"]}),
        ("Bash", {"Command": "make"}),
    ],
)
def test_a_use_is_of_what_was_asked_only_if_all_is_the_same(tool: str, given: JsonObject) -> None:
    assert MAKE.is_of("Bash", {"command": "make"})
    assert not MAKE.is_of(tool, given)
    assert not Use(tool, given).is_of("Bash", {"command": "make"})


@pytest.mark.parametrize(("ran", "asked"), [(1, True), (True, 1), (1.0, 1), (0, False), (None, False), ("1", 1)])
def test_values_that_python_calls_equal_are_not_the_same_input(ran: object, asked: object) -> None:
    assert not Use("T", {"deep": [{"a": ran}]}).is_of("T", {"deep": [{"a": asked}]})
    assert Use("T", {"deep": [{"a": ran}]}).is_of("T", {"deep": [{"a": ran}]})


def test_a_question_that_was_answered_is_the_one_that_was_asked_and_no_other_tool_is() -> None:
    asked: JsonObject = {"questions": [{"question": "Which?"}]}
    answered: JsonObject = {**asked, "answers": {"Which?": "Red"}}
    assert Use("AskUserQuestion", answered).is_of("AskUserQuestion", asked)
    assert Use("AskUserQuestion", {**answered, "annotations": {}}).is_of("AskUserQuestion", asked)  # as clients may
    assert not Use("AskUserQuestion", {"questions": [], "answers": {}}).is_of("AskUserQuestion", asked)
    assert not Use("Bash", answered).is_of("Bash", asked)


def test_strangers_are_the_uses_that_nothing_asked_accounts_for() -> None:
    known = [("Bash", MAKE.given), ("Edit", LS.given)]
    assert strangers([MAKE, LS, MAKE, LS], known) == [LS, LS]
    assert strangers([MAKE], known) == []
    assert strangers([MAKE], []) == [MAKE]
    assert strangers([], known) == []
