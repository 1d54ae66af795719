"""What ran, against what was allowed. Pure.

An approval is outstanding from the moment it leaves the hub until the session's hooks show its tool. PostToolUse shows
one tool with the input that it ran with, and so does PostToolUseFailure. PostToolBatch shows all that the model called
in a step, after which nothing of that step can begin any more: with the input that the model gave, even where a hook
put another in its place. So a call of a step says under which id an allowed input was to run, and what ran under that
id says with which it did. Another one is an alarm. So is the same tool, in a step that does not have the allowed
input, with one that nobody allowed here and no other request accounts for. Otherwise what a step does not have was not
used: another hook denied it, or the person interrupted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from crosschat.codec import BadFrame, Bounds, parse
from crosschat.core.permissions import QUESTION, same, short_text
from crosschat.limits import HOOK_BYTES, HUB_JSON_DEPTH, SHORT_TEXT_CHARS
from crosschat.model import JsonObject

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


_BOUNDS = Bounds(HOOK_BYTES, HUB_JSON_DEPTH)


@attrs.frozen
class Use:
    """A tool with its input. `id`: the model's call that it came from, where the client tells."""

    tool: str
    given: JsonObject
    id: str | None = None

    def is_of(self, tool: str, given: JsonObject) -> bool:
        """Whether it is what was asked about. A question's input has the answers added when it was answered."""
        mine = self.given
        if tool == QUESTION:
            mine = {name: value for name, value in mine.items() if name in given}
        return self.tool == tool and same(mine, given)


@attrs.frozen(kw_only=True)
class Ran:
    """What a hook showed. `whole`: these are all tools of a step."""

    uses: tuple[Use, ...]
    whole: bool
    prompt: str | None = None
    subagent: str | None = None


def read_ran(raw: bytes) -> Ran:
    """What ran, from the input of a PostToolUse, PostToolUseFailure or PostToolBatch hook. Raises BadFrame."""
    fields = parse(raw, _BOUNDS)
    whole = fields.get("hook_event_name") == "PostToolBatch"
    calls = fields.get("tool_calls") if whole else [fields]
    if not isinstance(calls, list):
        raise BadFrame("expected a list", path="tool_calls")
    return Ran(
        uses=tuple(_use(call) for call in calls),
        whole=whole,
        prompt=short_text(fields.get("prompt_id")),
        subagent=short_text(fields.get("agent_id")),
    )


def _use(call: object) -> Use:
    if isinstance(call, dict):
        tool, given = call.get("tool_name"), call.get("tool_input")
        if isinstance(tool, str) and isinstance(given, dict):
            return Use(tool[:SHORT_TEXT_CHARS], given, short_text(call.get("tool_use_id")))
    raise BadFrame("expected a tool and its input", path="tool_input")


def strangers(uses: Iterable[Use], known: Sequence[tuple[str, JsonObject]]) -> list[Use]:
    """Uses that nothing which was asked about accounts for."""
    return [use for use in uses if not any(use.is_of(tool, given) for tool, given in known)]
