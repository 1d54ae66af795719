"""Records to write in tests: by seq where only the seq matters, and all kinds at random."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import attrs
from hypothesis import strategies as st

from crosschat import model
from crosschat.journal.format import encode
from crosschat.model import AnyRecord, Message

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy


def message(seq: int, content: str = "") -> Message:
    return Message(
        seq=seq,
        id=f"m{seq}",
        ts=1_760_000_000_000 + seq,
        by="a1",
        content=content or f"text {seq}",
        source="agent",
    )


def lines(first: int, last: int) -> list[bytes]:
    return [encode(message(seq)) for seq in range(first, last + 1)]


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
IDS = st.from_regex(r"[0-9a-z-]{1,36}", fullmatch=True)
NUMBERS = st.integers(0, 2**53)
JSON: SearchStrategy[object] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
FILTERS = st.builds(
    model.TaskFilter,
    agent=st.none() | TEXT, working_dir=st.none() | TEXT, project=st.none() | TEXT,
)  # fmt: skip
BY_TYPE: dict[str, SearchStrategy[object]] = {
    "int": NUMBERS,
    "bool": st.booleans(),
    "str": TEXT,
    "str | None": st.none() | TEXT,
    "tuple[str, ...]": st.lists(TEXT, max_size=3).map(tuple),
    "tuple[int, ...]": st.lists(NUMBERS, max_size=3).map(tuple),
    "JsonObject | None": st.none() | st.dictionaries(TEXT, JSON, max_size=3),
    "TaskFilter | None": st.none() | FILTERS,
    "Source": st.sampled_from(get_args(model.Source)),
    "Importance | None": st.none() | st.sampled_from(get_args(model.Importance)),
    "Outcome": st.sampled_from(get_args(model.Outcome)),
    "ReleaseReason": st.sampled_from(get_args(model.ReleaseReason)),
    "ReceiptState": st.sampled_from(get_args(model.ReceiptState)),
}
SOME_IDS = st.lists(IDS, max_size=3).map(tuple)
BY_NAME: dict[str, SearchStrategy[object]] = {
    "seq": st.integers(1, 2**53),
    "ts": st.integers(0, 253_402_300_799_999),
    "id": IDS, "by": IDS, "agent": IDS, "root": IDS, "target": IDS,
}  # fmt: skip


def _records(kind: type[model.Record]) -> SearchStrategy[AnyRecord]:
    fields: dict[str, SearchStrategy[object]] = {}
    for field in attrs.fields(kind):
        if field.name == "to":
            fields["to"] = SOME_IDS if field.default == () else st.none() | SOME_IDS
        else:
            by_name = field.name in BY_NAME
            fields[field.name] = BY_NAME[field.name] if by_name else BY_TYPE[str(field.type)]
    return st.builds(kind, **fields)  # type: ignore[arg-type]


ANY_RECORD: SearchStrategy[AnyRecord] = st.one_of([_records(kind) for kind in model.RECORD_TYPES])
