"""What is put before the person, and what may be decided: everything that is not exactly right is refused."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosschat.codec import BadFrame
from crosschat.core.permissions import Asked, digest, payload_head, read_decision, read_request, same
from crosschat.errors import Refused
from crosschat.limits import HOOK_BYTES

RULE = {
    "type": "addRules",
    "rules": [{"toolName": "Bash", "ruleContent": "make:*"}],
    "behavior": "allow",
    "destination": "localSettings",
}
MODE = {"type": "setMode", "mode": "acceptEdits", "destination": "session"}
QUESTIONS = [{"question": "Which colour?", "header": "Colour", "options": [{"label": "Red", "description": "r"}]}]
BASH: dict[str, object] = {
    "hook_event_name": "PermissionRequest",
    "tool_name": "Bash",
    "tool_input": {"command": "make"},
    "permission_suggestions": [RULE, MODE],
    "permission_mode": "default",
    "prompt_id": "p",
}
ASKING: dict[str, object] = {
    "hook_event_name": "PermissionRequest",
    "tool_name": "AskUserQuestion",
    "tool_input": {"questions": QUESTIONS},
}
HEAD = payload_head("r1", "ab", "cd")


def asked(fields: dict[str, object] | None = None) -> Asked:
    return read_request(json.dumps(fields or BASH).encode())


def dialog(decision: object) -> dict[str, object]:
    return {"hookSpecificOutput": {"hookEventName": "PermissionRequest", "decision": decision}}


def signed(output: object) -> str:
    return HEAD + (output if isinstance(output, str) else json.dumps(output, separators=(",", ":"))) + "}"


def test_a_request_is_read_with_what_was_suggested() -> None:
    found = asked()
    assert (found.tool, found.given, found.event) == ("Bash", {"command": "make"}, "PermissionRequest")
    assert found.suggestions == (RULE, MODE)
    assert (found.mode, found.prompt, found.subagent) == ("default", "p", None)
    assert json.loads(found.text) == BASH


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"nonsense",
        b'\xef\xbb\xbf{"hook_event_name":"PermissionRequest","tool_name":"Bash","tool_input":{}}',
        b'{"hook_event_name":"PermissionRequest","tool_name":"Bash","tool_name":"Read","tool_input":{}}',
        b'{"hook_event_name":"PermissionRequest","tool_name":"Bash","tool_input":{"command":"ls","command":"rm -r /"}}',
        b'{"hook_event_name":"PermissionRequest","tool_name":"Bash","tool_input":{"n":NaN}}',
        b'{"hook_event_name":"PermissionRequest","tool_name":"Bash","tool_input":{"n":1e999}}',
        b'{"hook_event_name":"PermissionRequest","tool_name":"Bash","tool_input":{"command":"\\ud800"}}',
        b'{"hook_event_name":"PermissionRequest","tool_name":"Bash","tool_input":{"command":"\xff"}}',
        b'{"hook_event_name":"PermissionRequest","tool_name":"Bash","tool_input":{"c":' + b"[" * 40 + b"]" * 40 + b"}}",
        b'{"hook_event_name":"PermissionRequest","tool_name":"Bash","tool_input":{"c":' + b"[" * 99_999 + b"}}",
        b'{"hook_event_name":"PermissionRequest","tool_name":"Bash","tool_input":[]}',
        b'{"hook_event_name":"PermissionRequest","tool_name":"","tool_input":{}}',
        b'{"hook_event_name":"PermissionRequest","tool_name":7,"tool_input":{}}',
        b'{"hook_event_name":"Stop","tool_name":"Bash","tool_input":{}}',
        b'{"hook_event_name":"PermissionRequest","tool_name":"Bash","tool_input":{},"permission_suggestions":[7]}',
        b'{"hook_event_name":"PermissionRequest","tool_name":"Bash","tool_input":{"c":"' + b"x" * HOOK_BYTES + b'"}}',
    ],
)
def test_what_cannot_be_read_in_one_way_is_not_put_before_the_person(raw: bytes) -> None:
    with pytest.raises(BadFrame):
        read_request(raw)


@given(st.text().map(lambda text: json.dumps({**BASH, "tool_input": {"command": text}}, ensure_ascii=False)))
def test_what_is_shown_is_what_was_hashed(text: str) -> None:
    try:
        raw = text.encode()
        found = read_request(raw)
    except (UnicodeEncodeError, BadFrame):
        return
    assert found.text.encode() == raw
    assert digest(b"n", found.text.encode()) == hashlib.sha256(b"n" + raw).hexdigest()


ALLOWED = [
    {"behavior": "allow"},
    {"behavior": "allow", "updatedPermissions": [RULE]},
    {"behavior": "allow", "updatedPermissions": [{**RULE, "destination": "session"}, MODE]},
]
DENIED = [
    {"behavior": "deny"},
    {"behavior": "deny", "message": "use\u2028make test"},
    {"behavior": "deny", "message": "", "interrupt": True},
]


@pytest.mark.parametrize("decision", [*ALLOWED, *DENIED])
def test_a_right_decision_is_printed_character_by_character(decision: dict[str, object]) -> None:
    output = json.dumps(dialog(decision), ensure_ascii=False, separators=(",", ":"))
    found = read_decision(asked(), signed(output), HEAD)
    assert found.behavior == decision["behavior"]
    assert found.output == output


@pytest.mark.parametrize(
    "decision",
    [
        None,
        {},
        [],
        {"behavior": "ask"},
        {"behavior": True},
        {"behavior": "allow", "interrupt": True},
        {"behavior": "allow", "message": "x"},
        {"behavior": "allow", "updatedInput": {"command": "rm -r /"}},
        {"behavior": "allow", "updatedInput": {"command": "make"}},
        {"behavior": "allow", "updatedPermissions": []},
        {"behavior": "allow", "updatedPermissions": "all"},
        {"behavior": "allow", "updatedPermissions": [{**RULE, "rules": [{"toolName": "Bash"}]}]},
        {"behavior": "allow", "updatedPermissions": [{**RULE, "destination": "policySettings"}]},
        {"behavior": "allow", "updatedPermissions": [{**RULE, "destination": ["session"]}]},
        {"behavior": "allow", "updatedPermissions": [{k: v for k, v in RULE.items() if k != "destination"}]},
        {"behavior": "allow", "updatedPermissions": [{**MODE, "mode": "bypassPermissions"}]},
        {"behavior": "allow", "updatedPermissions": [RULE, {**RULE, "extra": 1}]},
        {"behavior": "deny", "message": 7},
        {"behavior": "deny", "message": "x" * 9000},
        {"behavior": "deny", "interrupt": 1},
        {"behavior": "deny", "updatedInput": {}},
    ],
)
def test_no_other_decision_is_taken(decision: object) -> None:
    with pytest.raises(Refused):
        read_decision(asked(), signed(dialog(decision)), HEAD)


@pytest.mark.parametrize(
    "output",
    [
        "",
        "{}",
        "null",
        '{"hookSpecificOutput":{"hookEventName":"PermissionRequest","decision":{"behavior":"allow"}},"continue":true}',
        '{"hookSpecificOutput":{"hookEventName":"PermissionRequest","decision":{"behavior":"allow"},"x":1}}',
        '{"hookSpecificOutput":{"hookEventName":"PreToolUse","permissionDecision":"allow"}}',
        '{"hookSpecificOutput":{"hookEventName":"Stop","decision":{"behavior":"allow"}}}',
        '{"hookSpecificOutput":{"hookEventName":"PermissionRequest","decision":{"behavior":"deny","behavior":"allow"}}}',
        '{"hookSpecificOutput":{"hookEventName":"PermissionRequest",\n"decision":{"behavior":"allow"}}}',
        '{"hookSpecificOutput":{"hookEventName":"PermissionRequest","decision":{"behavior":"allow"}}}{}',
    ],
)
def test_no_other_output_is_taken(output: str) -> None:
    with pytest.raises(Refused):
        read_decision(asked(), signed(output), HEAD)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        signed(dialog({"behavior": "allow"}))[:-1],
        signed(dialog({"behavior": "allow"})) + " ",
        " " + signed(dialog({"behavior": "allow"})),
        signed(dialog({"behavior": "allow"})).replace('"r1"', '"r2"'),
        signed(dialog({"behavior": "allow"})).replace('"ab"', '"ac"'),
        signed(dialog({"behavior": "allow"})).replace('"cd"', '"ce"'),
        signed(dialog({"behavior": "allow"})).replace('"id"', '"id" '),
        '{"output":{},' + signed(dialog({"behavior": "allow"}))[1:],
    ],
)
def test_a_payload_about_something_else_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        read_decision(asked(), text, HEAD)


def answer(given: object) -> str:
    return signed(dialog({"behavior": "allow", "updatedInput": given}))


def test_a_question_is_answered_by_its_own_input_with_answers() -> None:
    given = {"questions": QUESTIONS, "answers": {"Which colour?": "Red"}}
    assert read_decision(asked(ASKING), answer(given), HEAD).behavior == "allow"


@pytest.mark.parametrize(
    "given",
    [
        {"questions": QUESTIONS},
        {"questions": QUESTIONS, "answers": {}},
        {"questions": QUESTIONS, "answers": {"Which shape?": "Red"}},
        {"questions": QUESTIONS, "answers": {"Which colour?": 7}},
        {"questions": QUESTIONS, "answers": ["Red"]},
        {"questions": [], "answers": {"Which colour?": "Red"}},
        {"questions": [{**QUESTIONS[0], "header": "Other"}], "answers": {"Which colour?": "Red"}},
        {"questions": QUESTIONS, "answers": {"Which colour?": "Red"}, "more": 1},
    ],
)
def test_a_question_is_not_changed_by_its_answer(given: object) -> None:
    with pytest.raises(Refused):
        read_decision(asked(ASKING), answer(given), HEAD)


def test_before_a_use_a_decision_has_the_form_of_that_event() -> None:
    before = asked({**BASH, "hook_event_name": "PreToolUse"})
    said = {"hookEventName": "PreToolUse", "permissionDecision": "allow", "permissionDecisionReason": "the person"}
    assert read_decision(before, signed({"hookSpecificOutput": said}), HEAD).behavior == "allow"
    for wrong in (
        {**said, "permissionDecision": "ask"},
        {**said, "updatedInput": {}},
        {**said, "permissionDecisionReason": 7},
        {**said, "hookEventName": "PermissionRequest"},
    ):
        with pytest.raises(Refused):
            read_decision(before, signed({"hookSpecificOutput": wrong}), HEAD)
    with pytest.raises(Refused):
        read_decision(before, signed(dialog({"behavior": "allow"})), HEAD)


@pytest.mark.parametrize(("one", "other"), [(True, 1), (1, 1.0), ({"a": [1]}, {"a": [1.0]}), ([], {}), (None, False)])
def test_values_that_python_takes_for_equal_are_not_the_same_json(one: object, other: object) -> None:
    assert not same(one, other)
    assert same(one, one)
