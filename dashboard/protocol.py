"""Writes `src/protocol.ts`, the page's side of the protocol, from the classes of `crosschat.pagewire`.

Run it with the Python of the checkout after a change of the protocol; a test compares the file with what it would
write. The TypeScript has an interface for every frame and view, and a table of their fields, with which the page
decodes as strictly as the hub: what the hub leaves out, because it has its default, is filled in. In frames of the
page, fields with a default may be left out.
"""

from __future__ import annotations

import json
import types
from pathlib import Path
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import attrs

from crosschat import limits, model, pagewire, wire
from crosschat.errors import Code

TARGET: Final = Path(__file__).parent / "src" / "protocol.ts"
LIMITS: Final = (
    "CONTENT_BYTES", "SHORT_TEXT_CHARS", "NAME_CHARS", "PATH_CHARS", "PAGE_ITEMS", "PAGE_ITEMS_MAX", "LEASE_GRACE_S",
)  # fmt: skip
PLAIN: Final[dict[object, tuple[str, object]]] = {
    str: ("string", "string"),
    int: ("number", "integer"),
    float: ("number", "number"),
    bool: ("boolean", "boolean"),
    Code: ("Code", ["one", *Code]),
    model.JsonObject: ("JsonObject", "object"),
}
HEAD: Final = """\
// Written by dashboard/protocol.py from crosschat/pagewire.py; do not edit.

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };"""


def is_frame(kind: type) -> bool:
    """Frames carry their kind in `type`; views do not."""
    return isinstance(vars(kind).get("type"), str)


def name_of(kind: type) -> str:
    """The class's name; with `Frame` behind it for frames, whose names are also those of views or of the browser."""
    return f"{kind.__name__}Frame" if is_frame(kind) else kind.__name__


def typescript(annotation: object) -> tuple[str, object]:
    """The TypeScript type of an annotation, and how the table of fields describes it."""
    if annotation in PLAIN:
        return PLAIN[annotation]
    if isinstance(annotation, type) and attrs.has(annotation):
        return name_of(annotation), ["view", name_of(annotation)]
    origin: object = get_origin(annotation)
    arguments = get_args(annotation)
    if origin is Literal:
        return " | ".join(json.dumps(value) for value in arguments), ["one", *arguments]
    if origin is Union or origin is types.UnionType:
        (inner,) = (argument for argument in arguments if argument is not type(None))
        text, described = typescript(inner)
        return f"{text} | null", ["maybe", described]
    if origin is tuple:
        text, described = typescript(arguments[0])
        return (f"({text})[]" if "|" in text else f"{text}[]"), ["list", described]
    if origin is dict:
        text, described = typescript(arguments[1])
        return f"Record<string, {text}>", ["map", described]
    raise TypeError(f"no TypeScript for {annotation!r}")


def default_of(field: attrs.Attribute[Any]) -> object:
    """What a field is when it is left out. Only for fields with a default."""
    default = field.default.factory() if isinstance(field.default, attrs.Factory) else field.default  # type: ignore[arg-type, union-attr]
    return list(default) if isinstance(default, tuple) else default


def views_in(annotation: object) -> set[type]:
    """The views that values of an annotation hold, at any depth."""
    if isinstance(annotation, type) and attrs.has(annotation):
        return {annotation}.union(*(views_in(hint) for hint in fields_of(annotation).values()))
    return set().union(*map(views_in, get_args(annotation)))


def fields_of(kind: type) -> dict[str, object]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in attrs.fields(kind)}


def interface(kind: type, *, sent: bool) -> str:
    """With `sent`, fields with a default may be left out."""
    lines = [f"export interface {name_of(kind)} {{"]
    if is_frame(kind):
        lines.append(f'  type: "{vars(kind)["type"]}";')
    for field in attrs.fields(kind):
        text, _ = typescript(fields_of(kind)[field.name])
        optional = "?" if sent and field.default is not attrs.NOTHING else ""
        lines.append(f"  {field.name}{optional}: {text};")
    return "\n".join([*lines, "}"])


def described(kind: type) -> dict[str, list[object]]:
    """A row of the table: for each field its type and, if it has one, its default."""
    table: dict[str, list[object]] = {}
    for field in attrs.fields(kind):
        row = [typescript(fields_of(kind)[field.name])[1]]
        table[field.name] = row if field.default is attrs.NOTHING else [*row, default_of(field)]
    return table


def union(name: str, frames: tuple[type, ...]) -> str:
    return f"export type {name} =\n" + "\n".join(f"  | {name_of(frame)}" for frame in frames) + ";"


def write() -> str:
    """The text of the TypeScript file."""
    calls, answers = get_args(pagewire.CallFrame), get_args(pagewire.CallAnswer)
    sent = get_args(pagewire.PageFrame)
    received = get_args(pagewire.ScreenFrame)
    replies = tuple(answer for answer in answers if answer not in received)
    seen = set().union(*(views_in(frame) for frame in received)) - set(received)
    only_sent = set().union(*(views_in(frame) for frame in sent)) - set(sent) - seen
    views = sorted(seen | only_sent, key=lambda kind: kind.__name__)
    table = {name_of(kind): described(kind) for kind in (*views, *replies, *received)}
    kinds = {vars(frame)["type"]: name_of(frame) for frame in received}
    blocks = [
        HEAD,
        f"export const PROTOCOL = {wire.PROTOCOL};",
        "\n".join(f"export const {name} = {getattr(limits, name):g};" for name in LIMITS),
        "export type Code =\n" + "\n".join(f'  | "{code}"' for code in Code) + ";",
        "// --- views",
        *(interface(kind, sent=False) for kind in views),
        "// --- calls over HTTP, and their answers",
        *(interface(kind, sent=True) for kind in calls),
        *(interface(kind, sent=False) for kind in replies),
        "// --- from the page",
        *(interface(kind, sent=True) for kind in sent),
        union("FromPage", sent),
        "// --- from the hub",
        *(interface(kind, sent=False) for kind in received),
        union("FromHub", received),
        "/** Field by field: the type and, if it may be left out, the default. */\n"
        "export const FIELDS: Record<string, Record<string, [unknown, unknown?]>> = {\n"
        + "".join(f"  {name}: {json.dumps(rows)},\n" for name, rows in table.items())
        + "};",
        f"export const FRAMES: Record<string, string> = {json.dumps(kinds)};",
    ]
    return "\n\n".join(blocks) + "\n"


if __name__ == "__main__":
    TARGET.write_text(write())
