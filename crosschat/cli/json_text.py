"""Strict JSON of somebody else; members are put into it and taken out of it, and every other byte stays as it was.

A file with comments, trailing commas, repeated keys or anything else that JSON does not have is refused and never
repaired. Pure.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

Json: TypeAlias = Any  # what json.loads returns; whoever looks into it checks what it finds
Key: TypeAlias = "str | int"

_BLANKS: Final = " \t\r\n"
INDENT: Final = "  "  # where the text itself shows none


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


class Draft:
    """A text that is being edited, and beside it what it must mean afterwards."""

    def __init__(self, text: str) -> None:
        """Raises NotStrict."""
        self.text = text
        self.value = parse(text)

    def at(self, path: Sequence[Key]) -> Json:
        """What is at `path`, or None."""
        value = self.value
        for key in path:
            if isinstance(value, dict):
                value = value.get(key)
            elif isinstance(value, list) and isinstance(key, int) and key < len(value):
                value = value[key]
            else:
                return None
        return value

    def remove(self, paths: Iterable[Sequence[Key]]) -> None:
        """Take out the members at these paths, which are there."""
        for path in sorted(paths, key=_place, reverse=True):  # indices behind the one that is cut change
            self.text = without(self.text, path)
            del self.at(path[:-1])[path[-1]]

    def add(self, holder: Sequence[Key], key: str | None, value: Json) -> None:
        """Put in one more member at the end of the object (or, without a key, the array) at `holder`."""
        self.text = with_last(self.text, holder, key, value)
        there = self.at(holder)
        if key is None:
            there.append(value)
        else:
            there[key] = value


def _place(path: Sequence[Key]) -> tuple[tuple[str, int], ...]:
    return tuple((key, 0) if isinstance(key, str) else ("", key) for key in path)


def without(text: str, path: Sequence[Key]) -> str:
    """The text without the member at `path`, keys and indices, which is there. The text has been parsed before."""
    begin = _begin_of(text, path[:-1])
    members = list(_members(text, begin))
    place = next(place for place, member in enumerate(members) if member[0] == path[-1])
    _, start, _, end = members[place]
    if place + 1 < len(members):
        return text[:start] + text[members[place + 1][1] :]
    if place > 0:
        return text[: members[place - 1][3]] + text[end:]
    return text[: begin + 1] + text[_skip(text, end) :]


def with_last(text: str, holder: Sequence[Key], key: str | None, value: Json) -> str:
    """The text with one more member at the end of the object (or, without a key, the array) at `holder`, which is
    there. `without` takes it out again, to the same text; only blanks in an empty holder do not come back."""
    begin = _begin_of(text, holder)
    members = list(_members(text, begin))
    unit = _unit(text)
    if members:
        blanks = text[begin + 1 : members[0][1]]  # the new member looks like the first one
        line = blanks[blanks.rfind("\n") :] if "\n" in blanks else ""
        end = members[-1][3]
        return text[:end] + "," + (line or " ") + _shown(key, value, unit, line) + text[end:]
    pretty = "\n" in text or not holder
    line = "\n" + unit * (len(holder) + 1) if pretty else ""
    close = "\n" + unit * len(holder) if pretty else ""
    return text[: begin + 1] + line + _shown(key, value, unit, line) + close + text[_skip(text, begin + 1) :]


def _shown(key: str | None, value: Json, unit: str, line: str) -> str:
    """A member, over several lines if it begins with a `line` of its own."""
    shown = json.dumps(value, indent=unit if line else None, ensure_ascii=False).replace("\n", line or "\n")
    return shown if key is None else f"{json.dumps(key, ensure_ascii=False)}: {shown}"


def _unit(text: str) -> str:
    """By how much the text indents."""
    begin = _skip(text, 0)
    blanks = text[begin + 1 : _skip(text, begin + 1)]
    return blanks[blanks.rfind("\n") + 1 :] if "\n" in blanks and not blanks.endswith("\n") else INDENT


def _begin_of(text: str, path: Sequence[Key]) -> int:
    begin = _skip(text, 0)
    for key in path:
        begin = next(value for found, _, value, _ in _members(text, begin) if found == key)
    return begin


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
