"""The arguments of a tool call, checked against the tool's own JSON schema. Pure.

Only what our schemas use is known here. Every refusal names the parameter and what is expected of it, because a
model reads it and tries again. A null counts as left out, as some clients send it for every optional parameter.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from crosschat.errors import Code, Refused

if TYPE_CHECKING:
    from crosschat.model import JsonObject

Schema: TypeAlias = Mapping[str, object]

TYPE_NAMES: Final[dict[str, str]] = {
    "string": "a string",
    "integer": "a whole number",
    "boolean": "true or false",
    "object": "an object",
}


def check(schema: Schema, given: object, path: str = "") -> JsonObject:
    """The arguments without nulls. Raises Refused (INVALID) at the first that does not fit `schema`, an object's."""
    if not isinstance(given, Mapping):
        raise _wrong(path or "The arguments", "an object")
    known = cast("Mapping[str, Schema]", schema.get("properties", {}))
    values = {name: value for name, value in given.items() if value is not None}
    for name in values:
        if name not in known and schema.get("additionalProperties") is False:
            raise Refused(Code.INVALID, _unknown(f"{path}{name}", name, known))
    for name in cast("list[str]", schema.get("required", [])):
        if name not in values:
            raise Refused(Code.INVALID, f"The parameter {path}{name} is missing: {_expected(known[name])}")
    return {
        name: _value(known[name], value, f"{path}{name}") if name in known else value for name, value in values.items()
    }


def _value(schema: Schema, value: object, path: str) -> object:
    match schema["type"]:
        case "string" if isinstance(value, str):
            if value not in cast("list[str]", schema.get("enum", [value])):
                raise _wrong(path, _expected(schema))
            return value
        case "boolean" if isinstance(value, bool):
            return value
        case "integer" if isinstance(value, int | float) and not isinstance(value, bool):
            return _in_range(schema, value, path)
        case "object" if isinstance(value, Mapping):
            return check(schema, value, f"{path}.") if "properties" in schema else dict(value)
    raise _wrong(path, _expected(schema))


def _in_range(schema: Schema, value: float, path: str) -> int:
    low, high = schema.get("minimum"), schema.get("maximum")
    if (
        value != value
        or value in (float("inf"), float("-inf"))
        or value != int(value)
        or (isinstance(low, int) and value < low)
        or (isinstance(high, int) and value > high)
    ):
        raise _wrong(path, _expected(schema))
    return int(value)


def _expected(schema: Schema) -> str:
    words = TYPE_NAMES[str(schema["type"])]
    if "enum" in schema:
        return "one of " + ", ".join(cast("list[str]", schema["enum"]))
    if "maximum" in schema:
        return f"{words} from {schema['minimum']} to {schema['maximum']}"
    if "minimum" in schema:
        return f"{words} from {schema['minimum']}"
    return words


def _wrong(path: str, expected: str) -> Refused:
    return Refused(Code.INVALID, f"{path} must be {expected}")


def _unknown(path: str, name: object, known: Mapping[str, Schema]) -> str:
    near = difflib.get_close_matches(str(name), known, n=1)
    if near:
        return f"There is no parameter {path}: did you mean {near[0]}?"
    return f"There is no parameter {path[:80]}: there are {', '.join(known) or 'none'}"
