"""Random frames of every kind, made from the classes themselves, so that a new field cannot be forgotten."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Literal, Union, get_args, get_origin, get_type_hints

import attrs
from hypothesis import strategies as st

from crosschat import model, pagewire, wire
from crosschat.errors import Code

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON: SearchStrategy[object] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
PLAIN: dict[object, SearchStrategy[object]] = {
    str: TEXT,
    int: st.integers(-(2**70), 2**70),
    bool: st.booleans(),
    float: st.floats(allow_nan=False, allow_infinity=False),
    type(None): st.none(),
    Code: st.sampled_from(Code),
    model.JsonObject: st.dictionaries(TEXT, JSON, max_size=3),
}


def any_of(kind: object) -> SearchStrategy[object]:
    """Values of an annotation of this package."""
    if kind in PLAIN:
        return PLAIN[kind]
    if isinstance(kind, type) and attrs.has(kind):
        hints = get_type_hints(kind)
        return st.builds(kind, **{field.name: any_of(hints[field.name]) for field in attrs.fields(kind)})
    origin: object = get_origin(kind)
    if origin is Literal:
        return st.sampled_from(get_args(kind))
    if origin is Union or origin is types.UnionType:
        return st.one_of(*map(any_of, get_args(kind)))
    if origin is tuple:
        return st.lists(any_of(get_args(kind)[0]), max_size=3).map(tuple)
    if origin is dict:
        return st.dictionaries(any_of(get_args(kind)[0]), any_of(get_args(kind)[1]), max_size=3)
    raise TypeError(f"no values for {kind!r}")


AGENT_FRAMES = [any_of(kind) for kind in get_args(wire.AgentFrame)]
CONTROL_FRAMES = [any_of(kind) for kind in get_args(wire.ControlFrame)]
HUB_FRAMES = [any_of(kind) for kind in get_args(wire.HubFrame)]
PAGE_FRAMES = [any_of(kind) for kind in get_args(pagewire.PageFrame)]
CALLS = [any_of(kind) for kind in get_args(pagewire.CallFrame)]
CALL_ANSWERS = [any_of(kind) for kind in get_args(pagewire.CallAnswer)]
SCREEN_FRAMES = [any_of(kind) for kind in get_args(pagewire.ScreenFrame)]
ITEMS = any_of(wire.Item)
