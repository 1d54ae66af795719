"""Parsers: whatever is written to a door or a file is read as what it says, or refused in the one way there is for it.

Frames and records of every kind are made from their classes and changed: bytes, values that JSON should not have, keys
twice, depth, ends cut off, one kind's tag on another's fields. A parser may raise its own error, with a message that
fits a frame, and nothing else. What it reads can be written again, and reads as the same; of a log's line that holds
for changed lines under a right checksum, too.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints
from zlib import crc32

import attrs

from crosschat import model, pagewire, wire
from crosschat.codec import BadFrame
from crosschat.core import outcomes, permissions
from crosschat.core.asklist import group_of
from crosschat.errors import Code, Refused
from crosschat.journal import format as log_format
from crosschat.journal.audit import make_line, read_chain
from crosschat.journal.format import SEAL_BYTES, BadLine
from tests.hub.desk import request
from tests.prove.door import mutate_bytes
from tests.prove.outcome import Outcome

if TYPE_CHECKING:
    from tests.prove.outcome import Room

Kind = TypeVar("Kind")

SEEDS: Final = 6  # well-formed ones of each kind in a round
PER_ROUND: Final = 40_000
PER_SHORT_ROUND: Final = 10_000
MESSAGE_CHARS: Final = 1000
REPORTED: Final = 10
TEXTS: Final = (
    "",
    "x",
    "a1",
    "m1-7f3c",
    "task:open",
    "/repo",
    "é\u202e\u200b",
    "😀",
    "\u2028\x7f",
    "../x",
    "@all",
    "0",
)
VALUES: Final = (
    b"NaN", b"Infinity", b"-1e999", b"1e999", b"null", b"true", b"-1", b"1.0", b"1e3", b"9" * 400, b"[]", b"{}", b'""',
    b'"\\ud800"', b'"\\u0000"', b"[" * 200 + b"]" * 200, b'{"a":' * 40 + b"1" + b"}" * 40, b'"' + b"x" * 40_000 + b'"',
    b"[" * 5000, b"'x'", b"\xff", b'"\xed\xa0\x80"', b"01", b"0x1", b'{"a":1,"a":2}', b"[null]",
)  # fmt: skip
_VALUE: Final = re.compile(rb'(?<=:)(?:"[^"]*"|[^",:\[\]{}]+)')


@attrs.frozen
class Parser:
    """`encode` writes what was read again; without it there is nothing to compare."""

    name: str
    seeds: list[bytes]
    read: Callable[[bytes], object]
    raises: tuple[type[Exception], ...]
    encode: Callable[..., bytes] | None = None
    sealed: bool = False


def made(random: Random, kind: object) -> object:
    """A value of an annotation of this package."""
    if kind in _PLAIN:
        return _PLAIN[kind](random)
    if isinstance(kind, type) and attrs.has(kind):
        hints = get_type_hints(kind)
        return kind(**{field.name: made(random, hints[field.name]) for field in attrs.fields(kind)})
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return random.choice(arguments)
    if origin is Union or origin is types.UnionType:
        return made(random, random.choice(arguments))
    if origin is tuple:
        return tuple(made(random, arguments[0]) for _ in range(random.randrange(3)))
    assert origin is dict, kind
    return {made(random, arguments[0]): made(random, arguments[1]) for _ in range(random.randrange(3))}


_PLAIN: Final[dict[object, Callable[[Random], object]]] = {
    str: lambda random: random.choice(TEXTS),
    int: lambda random: random.choice([0, 1, 7, 10**6, 2**53, 2**70]),
    bool: lambda random: random.random() < 0.5,
    float: lambda random: random.choice([0.0, 0.5, -1e300]),
    type(None): lambda _: None,
    Code: lambda random: random.choice(list(Code)),
    model.JsonObject: lambda random: {random.choice(TEXTS): random.choice([1, None, "x", [], {"a": [1.5]}])},
}


def parsers(random: Random) -> list[Parser]:
    """All of them, with something that each can read."""

    def frames(union: object, encode: Callable[..., bytes]) -> list[bytes]:
        return [encode(made(random, kind)) for kind in get_args(union) for _ in range(SEEDS)]

    calls = [
        Parser(f"call {name}", [pagewire.encode_call(_a(random, kind)) for _ in range(SEEDS)],
               partial(pagewire.decode_call, name), (BadFrame,), pagewire.encode_call)
        for name, kind in {str(vars(one)["type"]): one for one in get_args(pagewire.CallFrame)}.items()
    ]  # fmt: skip
    asked = permissions.read_request(request())
    head = permissions.payload_head("r", "d", "n")
    allow = b'{"hookSpecificOutput":{"hookEventName":"PermissionRequest","decision":{"behavior":"allow"}}}'
    return [
        Parser("agents' door", frames(wire.AgentFrame, wire.encode), wire.decode_agent, (BadFrame,), wire.encode),
        Parser("control door", frames(wire.ControlFrame, wire.encode_control), wire.decode_control, (BadFrame,),
               wire.encode_control),
        Parser("hub's answers", frames(wire.HubFrame, wire.encode), wire.decode_hub, (BadFrame,), wire.encode),
        Parser("page's stream", frames(pagewire.PageFrame, pagewire.encode), pagewire.decode_page, (BadFrame,),
               pagewire.encode),
        Parser("page's answers", frames(pagewire.ScreenFrame, pagewire.encode), pagewire.decode_screen, (BadFrame,),
               pagewire.encode),
        *calls,
        Parser("log", _records(random), log_format.decode, (BadLine,), log_format.encode, sealed=True),
        Parser("audit", [_audit(random) for _ in range(SEEDS)], read_chain, ()),
        Parser("permission request", [request(), request("AskUserQuestion")], permissions.read_request, (BadFrame,)),
        Parser("tools that ran", [request(event="PostToolUse"), request(event="PostToolBatch", tool_calls=[])],
               outcomes.read_ran, (BadFrame,)),
        Parser("decision", [head.encode() + allow + b"}"],
               lambda data: permissions.read_decision(asked, data.decode(errors="replace"), head), (Refused,)),
        Parser("rule", [b"Bash(git push:*)", b"WebFetch(domain:x.y)", b"mcp__a__b"],
               lambda data: group_of(data.decode(errors="replace")), (Refused,)),
    ]  # fmt: skip


def _a(random: Random, kind: type[Kind]) -> Kind:
    found = made(random, kind)
    assert isinstance(found, kind)
    return found


def _records(random: Random) -> list[bytes]:
    """Lines of every kind of record; what may not be written is left out."""
    found = []
    for kind in get_args(model.AnyRecord):
        for _ in range(4 * SEEDS):
            record = attrs.evolve(_a(random, kind), seq=1, id="r1", ts=1_760_000_000_000, by="a1")
            try:
                found.append(log_format.encode(record))
            except Refused:
                continue
    return found


def _audit(random: Random) -> bytes:
    line, last = make_line(1, "0" * 64, 1_760_000_000_000, {"event": "paired", "key": "k", "port": 1})
    more, _ = make_line(2, last, 1_760_000_000_001, {"event": random.choice(["decided", "revoked"]), "key": "k"})
    return line + b"\n" + more + b"\n"


def spoil(random: Random, data: bytes, other: bytes) -> bytes:
    """Something is another."""
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        if not data:
            return data
        dice = random.random()
        if dice < 0.4:
            data = mutate_bytes(random, data)
        elif dice < 0.75 and (places := list(_VALUE.finditer(data))):
            place = random.choice(places)
            data = data[: place.start()] + random.choice(VALUES) + data[place.end() :]
        elif dice < 0.85:
            data = data[: random.randrange(len(data))]
        elif dice < 0.95:
            data = data[: random.randrange(len(data))] + other[random.randrange(len(other) + 1) :]
        else:
            data = data[:1] + data[1:-1].rstrip(b"\n}") + b"," + data[1:]
    return data


def run(room: Room) -> Outcome:
    """Many changed inputs for each parser."""
    random, outcome = Random(room.seed), Outcome()
    every = parsers(random)
    for _ in range(PER_SHORT_ROUND if room.short else PER_ROUND):
        parser = random.choice(every)
        data = spoil(random, random.choice(parser.seeds), random.choice(random.choice(every).seeds))
        if parser.sealed and random.random() < 0.8:
            body = data.removesuffix(b"\n")[:-SEAL_BYTES]
            data = b'%b,"crc":"%08x"}' % (body, crc32(body))
        outcome.counts["parser inputs"] += 1
        problem = _look(parser, data, outcome)
        if problem is not None:
            outcome.problems.append(f"{parser.name}: {problem}: {data[:300]!r}")
            if len(outcome.problems) >= REPORTED:
                break
    return outcome


def _look(parser: Parser, data: bytes, outcome: Outcome) -> str | None:
    try:
        found = parser.read(data)
    except parser.raises as error:
        message = error.message if isinstance(error, Refused) else str(error)
        return None if 0 < len(message) <= MESSAGE_CHARS else f"a message of {len(message)} characters"
    except Exception as error:  # that there is none but its own is what is proved
        return f"raised {error!r:.200}"
    outcome.counts["parser inputs read"] += 1
    if parser.encode is not None:
        try:
            again = parser.read(parser.encode(found))
        except (BadFrame, BadLine, Refused) as error:
            return f"what was read cannot be written and read again: {error}"
        if again != found:
            return f"what was read reads otherwise when it is written: {again!r:.200}"
    return None
