"""What a permission request says, and what may be decided about it. Pure, and strict both ways.

A request is all that a hook of Claude Code was given, as bytes. What cannot be read in exactly one way (a field twice,
NaN, half of a surrogate pair, more than `JSON_DEPTH` levels, more than `HOOK_BYTES`) is not put before the person: what
they would see and what would run could differ. The terminal's own dialog stands then.

A decision is the text `payload`, which a paired page has signed: compact JSON with these fields in this order,

    {"id":…,"digest":…,"hub_nonce":…,"output":…}

the first three as the page was told, so it is good for this request of this run of the hub and no other. The characters
of `output` are what the hook prints, unchanged: nothing is parsed and written anew between the signature and Claude
Code. `output` is one of

    PermissionRequest   {"hookSpecificOutput":{"hookEventName":"PermissionRequest","decision":D}}, where D is
                        {"behavior":"allow"}                             once, or the session's own input is answered
                        {"behavior":"allow","updatedPermissions":[…]}    with rules that Claude Code itself suggested
                        {"behavior":"allow","updatedInput":{…}}          AskUserQuestion only: its questions, answered
                        {"behavior":"deny","message":…}                  with "interrupt":true it ends the turn, too
    PreToolUse          {"hookSpecificOutput":{"hookEventName":"PreToolUse","permissionDecision":"allow" or "deny",
                        "permissionDecisionReason":…}}                   the reason may be left out

and nothing else: no other tool's input can be changed from here.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import attrs

from crosschat.codec import BadFrame, Bounds, parse
from crosschat.errors import Code, Refused
from crosschat.limits import CONTENT_BYTES, FRAME_BYTES, HOOK_BYTES, JSON_DEPTH, SHORT_TEXT_CHARS
from crosschat.model import JsonObject

if TYPE_CHECKING:
    from collections.abc import Sequence


Behavior: TypeAlias = Literal["allow", "deny"]
Event: TypeAlias = Literal["PermissionRequest", "PreToolUse"]

# Where a rule may go that Claude Code suggested: the person may choose another scope, not another rule.
SCOPES: Final = frozenset({"session", "localSettings", "projectSettings", "userSettings"})
QUESTION: Final = "AskUserQuestion"
MESSAGE_CHARS: Final = 8 * 1024  # of a reason for the model
_BOUNDS: Final = Bounds(HOOK_BYTES, JSON_DEPTH)
_OUTPUT: Final = Bounds(FRAME_BYTES, JSON_DEPTH)


@attrs.frozen(kw_only=True)
class Asked:
    """What a hook was given, read strictly. `text` is all of it."""

    text: str
    event: Event
    tool: str
    given: JsonObject  # the tool's input
    suggestions: tuple[JsonObject, ...] = ()
    mode: str | None = None
    prompt: str | None = None  # the person's prompt that led to it
    subagent: str | None = None


@attrs.frozen(kw_only=True)
class Decision:
    """A signed decision, checked against its request. `output` is what the hook prints."""

    behavior: Behavior
    output: str
    payload: str


def read_request(raw: bytes) -> Asked:
    """The request in the bytes a hook was given. Raises BadFrame where it cannot be read in exactly one way."""
    fields = parse(raw, _BOUNDS)
    event, tool, given = fields.get("hook_event_name"), fields.get("tool_name"), fields.get("tool_input")
    suggestions = fields.get("permission_suggestions", [])
    if event not in ("PermissionRequest", "PreToolUse"):
        raise BadFrame("it is about no permission", path="hook_event_name")
    if not isinstance(tool, str) or not 0 < len(tool) <= SHORT_TEXT_CHARS:
        raise BadFrame("there is no name of a tool", path="tool_name")
    if not isinstance(given, dict):
        raise BadFrame("there is no input of a tool", path="tool_input")
    if not isinstance(suggestions, list) or not all(isinstance(one, dict) for one in suggestions):
        raise BadFrame("expected a list of objects", path="permission_suggestions")
    return Asked(
        text=raw.decode(),
        event=event,
        tool=tool,
        given=given,
        suggestions=tuple(suggestions),
        mode=short_text(fields.get("permission_mode")),
        prompt=short_text(fields.get("prompt_id")),
        subagent=short_text(fields.get("agent_id")),
    )


def short_text(value: object) -> str | None:
    """A text of Claude Code's own that is no longer than such are; None for anything else."""
    return value if isinstance(value, str) and len(value) <= SHORT_TEXT_CHARS else None


def digest(nonce: bytes, raw: bytes) -> str:
    """What stands for these bytes in this request, in hex; the hook computes it from its own copy of them."""
    return hashlib.sha256(nonce + raw).hexdigest()


def payload_head(request: str, digest: str, nonce: str) -> str:
    """How a payload begins that is about this request; the output and a brace follow."""
    return f'{{"id":"{request}","digest":"{digest}","hub_nonce":"{nonce}","output":'


def read_decision(asked: Asked, payload: str, head: str) -> Decision:
    """The decision in a payload that must begin with `head`. Raises Refused."""
    if not payload.startswith(head) or not payload.endswith("}"):
        raise _invalid("what was signed is about another request, or about other bytes", "payload")
    output = payload[len(head) : -1]
    if "\n" in output or "\r" in output:
        raise _invalid("the output is one line of JSON", "output")
    try:
        fields = parse(output, _OUTPUT)
    except BadFrame as error:
        raise _invalid(f"the output cannot be read: {error.message}", "output") from None
    said = _only(fields, "", "hookSpecificOutput")["hookSpecificOutput"]
    behavior = _for_dialog(asked, said) if asked.event == "PermissionRequest" else _before_use(said)
    return Decision(behavior=behavior, output=output, payload=payload)


def _invalid(message: str, path: str) -> Refused:
    return Refused(Code.INVALID, f"{message[0].upper()}{message[1:]}. Nothing was decided.", path=path)


def _only(value: object, path: str, *names: str, may: Sequence[str] = ()) -> JsonObject:
    """The object, if it has all of `names`, and else only some of `may`."""
    if not isinstance(value, dict):
        raise _invalid("expected an object", path or "output")
    if missing := [name for name in names if name not in value]:
        raise _invalid(f"{missing[0]!r} is missing", path or "output")
    if surplus := value.keys() - {*names, *may}:
        raise _invalid(f"{min(surplus)[:64]!r} is not known", path or "output")
    return value


def _for_dialog(asked: Asked, said: object) -> Behavior:
    fields = _only(said, "output", "hookEventName", "decision")
    if fields["hookEventName"] != "PermissionRequest":
        raise _invalid("the request came from the event PermissionRequest", "output.hookEventName")
    decision = fields["decision"]
    if not isinstance(decision, dict) or decision.get("behavior") not in ("allow", "deny"):
        raise _invalid("a decision allows or denies", "output.decision")
    if decision["behavior"] == "deny":
        _only(decision, "output.decision", "behavior", may=("message", "interrupt"))
        _check_reason(decision.get("message", ""), "output.decision.message")
        if type(decision.get("interrupt", False)) is not bool:
            raise _invalid("expected true or false", "output.decision.interrupt")
        return "deny"
    _only(decision, "output.decision", "behavior", may=("updatedPermissions", "updatedInput"))
    if "updatedPermissions" in decision:
        _check_rules(asked, decision["updatedPermissions"])
    if "updatedInput" in decision:
        _check_answers(asked, decision["updatedInput"])
    return "allow"


def _before_use(said: object) -> Behavior:
    fields = _only(said, "output", "hookEventName", "permissionDecision", may=("permissionDecisionReason",))
    if fields["hookEventName"] != "PreToolUse":
        raise _invalid("the request came from the event PreToolUse", "output.hookEventName")
    if fields["permissionDecision"] not in ("allow", "deny"):
        raise _invalid("a decision allows or denies", "output.permissionDecision")
    _check_reason(fields.get("permissionDecisionReason", ""), "output.permissionDecisionReason")
    return "allow" if fields["permissionDecision"] == "allow" else "deny"


def _check_reason(reason: object, path: str) -> None:
    if not isinstance(reason, str) or len(reason) > MESSAGE_CHARS:
        raise _invalid(f"a reason has at most {MESSAGE_CHARS} characters", path)


def _check_rules(asked: Asked, rules: object) -> None:
    """Each is a suggestion of Claude Code's own, in whatever scope."""
    offered = [_without_scope(one) for one in asked.suggestions]
    if not isinstance(rules, list) or not rules:
        raise _invalid("expected a list of rules", "output.decision.updatedPermissions")
    for rule in rules:
        scope = rule.get("destination") if isinstance(rule, dict) else None
        if not isinstance(scope, str) or scope not in SCOPES or not _among(_without_scope(rule), offered):
            raise _invalid("Claude Code did not suggest this rule", "output.decision.updatedPermissions")


def _without_scope(rule: JsonObject) -> JsonObject:
    return {name: value for name, value in rule.items() if name != "destination"}


def _among(value: object, values: Sequence[object]) -> bool:
    return any(same(value, one) for one in values)


def _check_answers(asked: Asked, given: object) -> None:
    """The tool's own input with answers, one for each question; whatever they say, they answer only a question."""
    path = "output.decision.updatedInput"
    if asked.tool != QUESTION:
        raise _invalid("only the input of a question can be answered, no other changed", path)
    fields = _only(given, path, *asked.given.keys(), "answers")
    for name, value in asked.given.items():
        if name != "answers" and not same(fields[name], value):
            raise _invalid(f"{name[:64]!r} is not as it was asked", path)
    answers = fields["answers"]
    questions = asked.given.get("questions")
    asked_for = {
        one.get("question") for one in (questions if isinstance(questions, list) else []) if isinstance(one, dict)
    }
    if not isinstance(answers, dict) or not answers or not answers.keys() <= asked_for:
        raise _invalid("the answers are to other questions", f"{path}.answers")
    if not all(isinstance(one, str) and len(one.encode()) <= CONTENT_BYTES for one in answers.values()):
        raise _invalid("an answer is a text", f"{path}.answers")


def same(one: object, other: object) -> bool:
    """Whether two values are the same JSON: `True` is not 1, and 1.0 is not 1."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return one == other
