"""One line of the log, as bytes. Pure: values in, bytes out.

Format 1. A record is one line of UTF-8, at most RECORD_BYTES with its newline, in compact JSON:

    {"v":1,"seq":7,"kind":"message","id":"…","ts":"2026-05-04T03:02:01.123Z","cid":"…","digest":"…","from":"…",
     <the fields of the kind, in class order>,"more":1,"crc":"0a1b2c3d"}\\n

Fields at their default are left out. `more` is there when the next line belongs to the same
operation. `crc` is always last: CRC-32, in hex, of the line's bytes before `,"crc"`.

Validity. A line is a record if its crc fits and `decode` accepts it: known kind, every field of the
right JSON type (nothing is converted), ids of ID_PATTERN, no key twice. Fields that are not known
are accepted and ignored; they survive because the log is only ever copied as bytes. `encode` never
makes a line that `decode` refuses.

Compaction. `{"v":1,"gone":7,"upto":9,"crc":"…"}` stands where the records 7 to 9 were: they were taken out on purpose,
and nothing is missing there.

Crash. A line that was being written when the machine stopped fails its crc, whatever part of it
arrived: CRC-32 finds every damage of up to 32 bits in a row and all but one in 2^32 of the others.
An operation of several records is whole only if its last line, the one without `more`, is there.
"""

from __future__ import annotations

import json
import re
from itertools import pairwise
from math import isinf
from typing import TYPE_CHECKING, Final, Protocol, cast
from zlib import crc32

import attrs

from crosschat.errors import Code, Refused
from crosschat.journal.fields import Wrong, checks_of, is_id, shape_of
from crosschat.limits import RECORD_BYTES
from crosschat.model import FORMAT, RECORD_TYPES, TaskFilter, iso

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from crosschat.model import AnyRecord

SEAL_BYTES: Final = 18  # ,"crc":"xxxxxxxx"}
START: Final = b'{"v":%d,"seq":' % FORMAT
_MORE: Final = b',"more":1'
_GONE: Final = re.compile(rb'\{"v":1,"gone":([1-9][0-9]{0,15}),"upto":([1-9][0-9]{0,15}),"crc":"[0-9a-f]{8}"\}')
_BEGIN: Final = re.compile(rb"(?<![:,\[])" + re.escape(START))
_ESCAPED: Final = re.compile(rb"\\u[dD]")
_SEAL: Final = re.compile(rb',"crc":"([0-9a-f]{8})"\}')


class BadLine(Exception):
    """The bytes are not a record; `reason` says why, in a few words that contain none of them."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def encode(record: AnyRecord, *, more: bool = False) -> bytes:
    """The record as one line with its newline. `more`: the next line belongs to the same operation.

    Raises Refused: TOO_LARGE beyond RECORD_BYTES, INVALID for what no reader could take (a lone
    surrogate, a number that is not finite, an id that is none).
    """
    names, fields = _SHAPES[type(record)]
    line: dict[str, object] = {"v": FORMAT, "seq": record.seq, "kind": record.kind, "id": record.id}
    try:
        line["ts"] = iso(record.ts)
        if record.cid is not None:
            line["cid"] = record.cid
        if record.digest is not None:
            line["digest"] = record.digest
        line["from"] = record.by
        for name, default in fields:
            value = getattr(record, name)
            if value != default:
                line[name] = value
        for name in names:
            if not is_id(cast("str", line[name])):
                raise ValueError(name)
        if not all(map(is_id, cast("tuple[str, ...]", line.get("to", ())))):
            raise ValueError("to")
        if more:
            line["more"] = 1
        body = _dump(line)[:-1].encode()
    except (ValueError, OverflowError, TypeError, RecursionError) as error:
        raise Refused(
            Code.INVALID,
            "The text or metadata holds something that cannot be stored as JSON; leave it out.",
        ) from error
    if len(body) + SEAL_BYTES >= RECORD_BYTES:
        raise Refused(Code.TOO_LARGE, f"One record may have {RECORD_BYTES:,} bytes; send less.")
    return b'%b,"crc":"%08x"}\n' % (body, crc32(body))


def decode(line: bytes) -> AnyRecord:
    """The record of one line, with or without its newline. Raises BadLine."""
    if line[-1:] == b"\n":
        line = line[:-1]
    if not is_sealed(line):
        raise BadLine("checksum is missing or wrong")
    try:
        fields = _load(line.decode())
        if _ESCAPED.search(line):  # an escape can hide half of a character from the decoder
            _dump(fields).encode()
    except BadLine:
        raise
    except (ValueError, RecursionError) as error:
        raise BadLine("not UTF-8 JSON") from error
    if type(fields) is not dict:
        raise BadLine("not an object")
    return _record(fields)


def is_sealed(line: bytes) -> bool:
    """Whether the crc of a line (without newline) fits: its bytes are as they were written."""
    return line[-SEAL_BYTES:] == b',"crc":"%08x"}' % crc32(line[:-SEAL_BYTES])


def seq_of(line: bytes) -> int | None:
    """The seq of a sealed line, None if it has none where format 1 puts it."""
    if not line.startswith(START):
        return None
    digits = line[len(START) : line.find(b",", len(START))]
    return int(digits) if digits.isdigit() and len(digits) < 17 else None


def encode_gone(first: int, last: int) -> bytes:
    """The line, with its newline, that stands in the place of the records `first` to `last`."""
    body = b'{"v":1,"gone":%d,"upto":%d' % (first, last)
    return b'%b,"crc":"%08x"}\n' % (body, crc32(body))


def gone_of(line: bytes) -> tuple[int, int] | None:
    """The first and the last seq that a sealed line says were taken out, None if it is another line."""
    found = _GONE.fullmatch(line)
    return (int(found[1]), int(found[2])) if found else None


def has_more(line: bytes) -> bool:
    """Whether a sealed line (without newline) says that its operation goes on in the next one."""
    return line[-SEAL_BYTES - len(_MORE) : -SEAL_BYTES] == _MORE


def intact_spans(line: bytes) -> Iterator[tuple[int, int]]:
    """Where, in a line that is not a record, whole records are: `(start, end)`, in order.

    A newline that was damaged joins an intact record with what follows, and an editor may have
    added a carriage return; neither may hide a record. Metadata can hold an object that looks like
    a record, so nothing that stands where JSON has a value (after `:`, `,` or `[`) is a beginning.
    """
    starts = [m.start() for m in _BEGIN.finditer(line)]
    for start, limit in pairwise([*starts, len(line)]):
        for seal in _SEAL.finditer(line, start, limit):
            if crc32(line[start : seal.start()]) == int(seal[1], 16):
                yield start, seal.end()
                break


def _record(fields: dict[str, object]) -> AnyRecord:
    if type(fields.get("v")) is not int or fields["v"] != FORMAT:
        raise BadLine("version is not 1")
    kind = fields.get("kind")
    known = _KINDS.get(kind) if type(kind) is str else None
    if known is None:
        raise BadLine("unknown kind")
    make, checks = known
    arguments: dict[str, object] = {}
    try:
        for key, value in fields.items():
            check = checks.get(key)
            if check is not None:
                arguments[key] = check(value)
        if "from" in arguments:
            arguments["by"] = arguments.pop("from")
        return make(**arguments)
    except (Wrong, ValueError, OverflowError) as error:
        raise BadLine(f"field {key!r} has a wrong value") from error
    except TypeError as error:  # the constructor's: nothing else here can raise it
        raise BadLine("a field is missing") from error


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise BadLine("a key occurs twice")
    return fields


def _finite(text: str) -> float:
    number = float(text)
    if isinf(number):  # such as 1e999, which could not be written again
        raise BadLine("a number is not finite")
    return number


def _refuse_constant(name: str) -> object:
    raise BadLine("a number is not finite")


def _plain(value: object) -> dict[str, object]:
    if isinstance(value, TaskFilter):
        return {key: text for key, text in attrs.asdict(value).items() if text is not None}
    raise TypeError(type(value).__name__)


class _Make(Protocol):
    def __call__(self, **fields: object) -> AnyRecord: ...


_KINDS: Final = {kind.kind: (cast("_Make", kind), checks_of(kind)) for kind in RECORD_TYPES}
_SHAPES: Final = {kind: shape_of(kind) for kind in RECORD_TYPES}
_dump: Final[Callable[[object], str]] = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), allow_nan=False, check_circular=False, default=_plain
).encode
_load: Final[Callable[[str], object]] = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite
).decode
