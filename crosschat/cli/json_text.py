"""Strict JSON of somebody else, and the removal of members from it that leaves every other byte as it was.

A file with comments, trailing commas, repeated keys or anything else that JSON does not have is refused and never
repaired. Pure.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Json: TypeAlias = Any  # what json.loads returns; whoever looks into it checks what it finds
Key: TypeAlias = "str | int"

_BLANKS = " \t\r\n"


class NotStrict(ValueError):
    """The text is not strict JSON; the message says where and why."""


def parse(text: str) -> Json:
    """The value of strict JSON. Raises NotStrict."""
    try:
        return json.loads(text, object_pairs_hook=_no_repeats, parse_constant=_no_constant)
    except RecursionError:
        raise NotStrict("it is nested too deeply") from None
    except ValueError as error:
        raise NotStrict(str(error)) from None


def _no_repeats(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise NotStrict(f"the key {next(name for name in names if names.count(name) > 1)!r} is there twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise NotStrict(f"{name} is not JSON")


def without(text: str, path: Sequence[Key]) -> str:
    """The text without the member at `path`, keys and indices, which is there. The text has been parsed before."""
    begin = _skip(text, 0)
    for key in path[:-1]:
        begin = next(value for found, _, value, _ in _members(text, begin) if found == key)
    members = list(_members(text, begin))
    place = next(place for place, member in enumerate(members) if member[0] == path[-1])
    _, start, _, end = members[place]
    if place + 1 < len(members):
        return text[:start] + text[members[place + 1][1] :]
    if place > 0:
        return text[: members[place - 1][3]] + text[end:]
    return text[: begin + 1] + text[_skip(text, end) :]


def _members(text: str, at: int) -> Iterator[tuple[Key, int, int, int]]:
    """Each member of the object or array at `at`: its key or index, and where it, its value, and what follows begin."""
    decoder = json.JSONDecoder()
    is_object, index = text[at] == "{", 0
    at = _skip(text, at + 1)
    while text[at] not in "]}":
        start = at
        found: Key = index
        if is_object:
            found, at = decoder.raw_decode(text, at)
            at = _skip(text, _skip(text, at) + 1)  # over the colon
        _, end = decoder.raw_decode(text, at)
        yield found, start, at, end
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
        index += 1


def _skip(text: str, at: int) -> int:
    while text[at : at + 1] and text[at] in _BLANKS:
        at += 1
    return at
