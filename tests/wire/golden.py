"""Frames as each protocol version wrote them, `golden/protocol-N.jsonl`: a frame's door and its bytes, a line.

`python -m tests.wire.golden` adds the kinds of frames that the newest file lacks, once with every field and once with
those that must be there; what was recorded is never written anew. A frame that cannot be read as it was recorded needs
a higher `PROTOCOL`, which begins a file of its own.
"""

from __future__ import annotations

import json
import types
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Union, get_args, get_origin, get_type_hints

import attrs

from crosschat import model, wire
from crosschat.errors import Code

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DIRECTORY: Final = Path(__file__).with_name("golden")
DOORS: Final[dict[str, tuple[object, Callable[..., bytes], Callable[[str], object]]]] = {
    "agent": (wire.AgentFrame, wire.encode, wire.decode_agent),
    "control": (wire.ControlFrame, wire.encode_control, wire.decode_control),
    "hub": (wire.HubFrame, wire.encode, wire.decode_hub),
}
PLAIN: Final[dict[object, object]] = {
    str: "text", int: 7, bool: True, float: 1.5, object: "anything", Code: Code.STORAGE_FULL,
    model.JsonObject: {"key": [1, None]},
}  # fmt: skip


@attrs.frozen
class Line:
    door: str
    frame: str

    @property
    def kind(self) -> tuple[str, str]:
        """The door and what its tag says."""
        said = json.loads(self.frame)
        return self.door, str(said["op" if self.door == "control" else "type"])


def recorded(protocol: int) -> list[Line]:
    path = DIRECTORY / f"protocol-{protocol}.jsonl"
    return [Line(**json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


def kinds() -> Iterator[tuple[str, str, type]]:
    """Every door, tag and class of today."""
    for door, (union, _, _) in DOORS.items():
        for frame in get_args(union):
            yield door, str(vars(frame)["type"]), frame


def samples(kind: object) -> list[object]:
    """Values of an annotation; of a frame one with everything, and one with what must be there, if they differ."""
    if kind in PLAIN:
        return [PLAIN[kind]]
    if isinstance(kind, type) and attrs.has(kind):
        hints, fields = get_type_hints(kind), attrs.fields(kind)
        whole = {field.name: samples(hints[field.name])[0] for field in fields}
        least = {field.name: whole[field.name] for field in fields if field.default is attrs.NOTHING}
        return [kind(**whole)] if whole == least else [kind(**whole), kind(**least)]
    origin: object = get_origin(kind)
    if origin is Literal:
        return list(get_args(kind))
    if origin is Union or origin is types.UnionType:
        return [sample for one in get_args(kind) if one is not types.NoneType for sample in samples(one)]
    if origin is tuple:
        return [tuple(samples(get_args(kind)[0]))]
    if origin is dict:
        return [{"key": samples(get_args(kind)[1])[0]}]
    raise TypeError(f"no samples for {kind!r}")


def main() -> None:
    known = {line.kind for line in recorded(wire.PROTOCOL)}
    DIRECTORY.mkdir(exist_ok=True)
    with open(DIRECTORY / f"protocol-{wire.PROTOCOL}.jsonl", "a", encoding="utf-8") as file:
        for door, tag, kind in kinds():
            if (door, tag) in known:
                continue
            encode = DOORS[door][1]
            for sample in samples(kind):
                file.write(json.dumps({"door": door, "frame": encode(sample).decode()}, ensure_ascii=False) + "\n")
            print(f"recorded {tag} of {door}")


if __name__ == "__main__":
    main()
