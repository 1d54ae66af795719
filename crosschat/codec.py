"""Frames to JSON and back, strictly: what every door of the hub shares, whatever its frames are.

Unknown or duplicate fields, wrong types, NaN, lone surrogates, excess depth or size are a `BadFrame`; nothing is
coerced. Only in what comes from a hub, which may be newer than its client, are unknown fields and codes let through.
Tuples are lists, a frame is told from the others of its union by the value of its tag.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from math import isinf
from typing import TYPE_CHECKING, Final, Literal, NoReturn, TypeAlias, TypeVar, cast, get_args, get_origin

import attrs
from cattrs import BaseConverter, BaseValidationError, Converter, ForbiddenExtraKeysError, transform_error
from cattrs.cols import homogenous_tuple_structure_factory

from crosschat.errors import Code, Refused
from crosschat.limits import FRAME_BYTES, HUB_FRAME_BYTES, HUB_JSON_DEPTH, JSON_DEPTH
from crosschat.model import JsonObject

if TYPE_CHECKING:
    from types import UnionType

UNKNOWN_FIELDS_SHOWN: Final = 5


class BadFrame(Refused):
    """The bytes are not a frame of this protocol; `path` says where. Costs only its sender."""

    def __init__(self, message: str, *, path: str | None = None, code: Code = Code.BAD_FRAME) -> None:
        super().__init__(code, message, path=path)


class UnknownFrame(BadFrame):
    """A frame of a kind that this protocol does not have."""


_dump: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode  # `dumps` makes one for each call
Hook: TypeAlias = Callable[[object, object], object]
Frame = TypeVar("Frame")


def _exactly(kind: type) -> Hook:
    def check(value: object, _: object) -> object:
        if type(value) is not kind:
            raise TypeError(f"expected {_JSON_NAMES[kind]}, got {_JSON_NAMES.get(type(value), 'null')}")
        return value

    return check


_JSON_NAMES: Final[dict[type, str]] = {
    str: "a string", int: "a whole number", float: "a number", bool: "true or false", dict: "an object", list: "a list",
}  # fmt: skip


def _number(value: object, _: object) -> object:
    if type(value) is float or type(value) is int:
        return float(value)
    raise TypeError(f"expected a number, got {_JSON_NAMES.get(type(value), 'null')}")


def _code(value: object, _: object) -> object:
    if type(value) is not str:
        raise TypeError(f"expected a string, got {_JSON_NAMES.get(type(value), 'null')}")
    return Code(value)


def _code_or_internal(value: object, kind: object) -> object:
    try:
        return _code(value, kind)
    except ValueError:  # a newer hub knows more of them
        return Code.INTERNAL


def _is_literal(kind: object) -> bool:
    origin: object = get_origin(kind)
    return origin is Literal


def _one_of(kind: object) -> Hook:
    allowed = get_args(kind)

    def check(value: object, _: object) -> object:
        if not isinstance(value, str) or value not in allowed:
            raise ValueError(f"expected one of {', '.join(allowed)}, got {str(value)[:40]!r}")
        return value

    return check


def _is_tuple(kind: object) -> bool:
    origin: object = get_origin(kind)
    return origin is tuple


def _list_for_tuple(kind: type, converter: BaseConverter) -> Hook:
    structure = homogenous_tuple_structure_factory(kind, converter)
    is_list = _exactly(list)

    def check(value: object, target: object) -> object:
        return structure(is_list(value, target), target)

    return check


def _tag_value(frame: type) -> str:
    return str(vars(frame)["type"])


def _converter(*, strict: bool) -> Converter:
    converter = Converter(forbid_extra_keys=strict, omit_if_default=True)
    for kind in (str, int, bool):
        converter.register_structure_hook(kind, _exactly(kind))
    converter.register_structure_hook(float, _number)
    converter.register_structure_hook(Code, _code if strict else _code_or_internal)
    converter.register_structure_hook_func(lambda kind: kind is object, lambda value, _: value)
    converter.register_structure_hook_func(lambda kind: kind == JsonObject, _exactly(dict))
    converter.register_structure_hook_factory(_is_tuple, _list_for_tuple)
    converter.register_structure_hook_factory(_is_literal, _one_of)
    return converter


def _object_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise BadFrame(f"the field {twice[:64]!r} is there twice")
    return found


def _no_constant(text: str) -> NoReturn:
    raise BadFrame(f"{text} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if isinf(number):
        raise BadFrame(f"the number {text[:32]} is too large")
    return number


@attrs.frozen
class Bounds:
    """What `parse` accepts. The hub's frames may be larger and deeper than any it accepts, because they carry what
    clients sent inside views of it."""

    size: int = FRAME_BYTES
    depth: int = JSON_DEPTH


FROM_CLIENT: Final = Bounds()
FROM_HUB: Final = Bounds(HUB_FRAME_BYTES, HUB_JSON_DEPTH)


def json_depth(value: object) -> int:
    """How many lists and objects lie in each other; breadth first, so hostile depth costs no stack."""
    depth, level = 0, [value]
    while level := [item for item in level if isinstance(item, list | dict)]:
        depth += 1
        level = [inner for item in level for inner in (item.values() if isinstance(item, dict) else item)]
    return depth


def parse(data: bytes | str, bounds: Bounds = FROM_CLIENT) -> JsonObject:
    """One JSON object, strictly: no duplicate fields, NaN, lone surrogates, excess depth or size. Raises BadFrame."""
    try:
        size = len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode())
        if size > bounds.size:
            raise BadFrame(f"a frame has at most {bounds.size} bytes, this one {size}", code=Code.TOO_LARGE)
        text = data if isinstance(data, str) else data.decode()
        value = json.loads(text, object_pairs_hook=_object_once, parse_constant=_no_constant, parse_float=_finite)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise BadFrame(f"more than {bounds.depth} levels") from None
    except UnicodeEncodeError:
        raise BadFrame("a string has half of a surrogate pair") from None
    except UnicodeDecodeError as error:
        raise BadFrame(f"not UTF-8 at byte {error.start}") from None
    except ValueError as error:
        raise BadFrame(f"not JSON: {error}") from None
    if type(value) is not dict:
        raise BadFrame("a frame is a JSON object")
    if text.count("{") + text.count("[") > bounds.depth and json_depth(value) > bounds.depth:
        raise BadFrame(f"more than {bounds.depth} levels")
    return value


class Codec:
    """Decodes and encodes the frames of some unions; `tags` says which field tells a union's frames apart.

    Every frame class has its tag's value in the class variable `type`. The frames of the union `growing` may come from
    a newer version of this program, and have fields that this one does not know.

    The code for a frame is made when the first one comes: for all of them it takes longer than the rest of the import,
    and few programs meet more than a few.
    """

    def __init__(self, tags: Mapping[UnionType, str], *, growing: UnionType | None = None) -> None:
        self._tags = tags
        self._growing = growing
        self._kinds = {union: {_tag_value(kind): kind for kind in get_args(union)} for union in tags}
        self._converter = _converter(strict=True)
        self._lenient = self._converter if growing is None else _converter(strict=False)
        self._complete = Converter()

    def decode(self, data: bytes | str, union: UnionType, bounds: Bounds) -> object:
        """The frame of `union` in `data`. Raises BadFrame, which says where; UnknownFrame for a kind that is not in
        `union`."""
        value, tag, kinds = parse(data, bounds), self._tags[union], self._kinds[union]
        if tag not in value:
            raise BadFrame(f"no {tag!r} in the frame", path=tag)
        kind = value.pop(tag)
        if not isinstance(kind, str) or kind not in kinds:
            error = UnknownFrame if isinstance(kind, str) else BadFrame
            raise error(f"unknown {tag} {str(kind)[:64]!r}", path=tag)
        converter = self._lenient if union is self._growing else self._converter
        return _structure(converter, value, kinds[kind])

    def decode_as(self, data: bytes | str, kind: type[Frame], bounds: Bounds) -> Frame:
        """The fields of a frame whose kind is known from elsewhere, and not in `data`. Raises BadFrame."""
        return cast("Frame", _structure(self._converter, parse(data, bounds), kind))

    def to_json(self, value: object) -> bytes:
        """Compact UTF-8 JSON of a frame or view; fields at their default are left out."""
        return _dump(self._converter.unstructure(value)).encode()

    def complete(self, value: object) -> JsonObject:
        """The fields of a frame or view, also those at their default."""
        return cast("JsonObject", self._complete.unstructure(value))

    def tagged(self, tag: str, kind: str, frame: object) -> bytes:
        """The frame's JSON with its tag in front."""
        head = f'{{"{tag}":"{kind}"'.encode()
        fields = self.to_json(frame)
        return head + b"}" if fields == b"{}" else head + b"," + fields[1:]


def _structure(converter: Converter, value: JsonObject, kind: type) -> object:
    try:
        return converter.structure(value, kind)
    except (BaseValidationError, TypeError, ValueError, KeyError, AttributeError) as error:
        cause, _, path = transform_error(error, "", _in_words)[0].rpartition(" @ ")
        raise BadFrame(cause, path=path.lstrip(".") or None) from None


def _in_words(error: BaseException, _: type | None) -> str:
    match error:
        case ForbiddenExtraKeysError():
            names = sorted(str(name)[:64] for name in error.extra_fields)
            return f"unknown field {', '.join(names[:UNKNOWN_FIELDS_SHOWN])}"
        case KeyError():
            return "this field is missing"
        case AttributeError():
            return "expected an object"
        case _:
            return str(error)[:200]
