"""Which JSON value each field of a record may have. Pure tables for the format of the log.

Invariant: a check returns the value as the record class holds it, or raises `Wrong`; it never
converts one type into another. A null is never valid: None is written by leaving the field out.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias, cast, get_args

import attrs

from crosschat.model import (
    ID_PATTERN,
    Importance,
    Outcome,
    ReceiptState,
    Record,
    ReleaseReason,
    Source,
    TaskFilter,
    from_iso,
)

if TYPE_CHECKING:
    from collections.abc import Callable

Check: TypeAlias = "Callable[[object], object]"
_is_utc: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:[0-5]\d:[0-5]\d\.\d{3}Z", re.ASCII).fullmatch
is_id: Final = re.compile(ID_PATTERN).fullmatch
NUMBER_MAX: Final = 1 << 53  # what every JSON reader keeps exactly


class Wrong(Exception):
    """A value has not the type of its field."""


def _text(value: object) -> object:
    if type(value) is not str:
        raise Wrong
    return value


def _id(value: object) -> object:
    if type(value) is not str or not is_id(value):
        raise Wrong
    return value


def _texts(value: object) -> object:
    if type(value) is not list or not all(type(item) is str for item in value):
        raise Wrong
    return tuple(value)


def _ids(value: object) -> object:
    if type(value) is not list:
        raise Wrong
    for item in value:
        if type(item) is not str or not is_id(item):
            raise Wrong
    return tuple(value)


def _natural(value: object) -> object:
    if type(value) is not int or not 0 <= value <= NUMBER_MAX:
        raise Wrong
    return value


def _naturals(value: object) -> object:
    if type(value) is not list:
        raise Wrong
    return tuple([_natural(item) for item in value])


def _seq(value: object) -> object:
    if value == 0:
        raise Wrong
    return _natural(value)


def _flag(value: object) -> object:
    if type(value) is not bool:
        raise Wrong
    return value


def _object(value: object) -> object:
    if type(value) is not dict:
        raise Wrong
    return value


def _time(value: object) -> object:
    if type(value) is not str:
        raise Wrong
    if _is_utc(value):  # as we write it
        return hour_start(value[:14]) + int(value[14:16]) * 60_000 + int(value[17:19]) * 1000 + int(value[20:23])
    return from_iso(value)


@lru_cache(maxsize=64)
def hour_start(prefix: str) -> int:
    """The time in ms at which an hour written as `2026-05-04T03:` begins: neighbours in the log mostly share theirs.
    Raises ValueError."""
    return from_iso(f"{prefix}00:00Z")


def _one_of(choices: object) -> Check:
    allowed = frozenset(cast("tuple[str, ...]", get_args(choices)))

    def check(value: object) -> object:
        if type(value) is not str or value not in allowed:
            raise Wrong
        return value

    return check


def _filter(value: object) -> object:
    if type(value) is not dict:
        raise Wrong
    known = {key: cast("str", _text(item)) for key, item in value.items() if key in _FILTER_KEYS}
    return TaskFilter(**known)


_FILTER_KEYS: Final = frozenset(field.name for field in attrs.fields(TaskFilter))
# By the annotation as it is written in the model; a new one there fails the import here. A null is
# never valid: None is written by leaving the field out.
_BY_TYPE: Final[dict[str, Check]] = {
    "int": _natural,
    "bool": _flag,
    "str": _text,
    "str | None": _text,
    "tuple[str, ...]": _texts,
    "tuple[str, ...] | None": _texts,
    "tuple[int, ...]": _naturals,
    "JsonObject | None": _object,
    "TaskFilter | None": _filter,
    "Source": _one_of(Source),
    "Importance | None": _one_of(Importance),
    "Outcome": _one_of(Outcome),
    "ReleaseReason": _one_of(ReleaseReason),
    "ReceiptState": _one_of(ReceiptState),
}
_BY_NAME: Final[dict[str, Check]] = {
    "seq": _seq, "ts": _time, "to": _ids,
    "id": _id, "by": _id, "agent": _id, "root": _id, "target": _id,
}  # fmt: skip
_HEAD: Final = frozenset(field.name for field in attrs.fields(Record))
_ID_FIELDS: Final = frozenset(name for name, check in _BY_NAME.items() if check is _id)


def checks_of(kind: type[Record]) -> dict[str, Check]:
    """The check of each key of a line of this kind."""
    checks = {field.name: _BY_NAME.get(field.name) or _BY_TYPE[str(field.type)] for field in attrs.fields(kind)}
    checks["from"] = checks.pop("by")
    return checks


def shape_of(kind: type[Record]) -> tuple[tuple[str, ...], tuple[tuple[str, object], ...]]:
    """The keys that hold ids, and the fields after the head with their defaults, in order."""
    rest = [field for field in attrs.fields(kind) if field.name not in _HEAD]
    names = ("id", "from", *(field.name for field in rest if field.name in _ID_FIELDS))
    return names, tuple((field.name, field.default) for field in rest)
