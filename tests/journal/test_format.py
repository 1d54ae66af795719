"""The format of one line: what is written is read back, and everything else is refused."""

from __future__ import annotations

import json
import zlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosschat.errors import Code, Refused
from crosschat.journal.format import BadLine, decode, encode, has_more, intact_spans, seq_of
from crosschat.limits import RECORD_BYTES
from crosschat.model import AgentJoined, AnyRecord, Message, Receipt, iso
from tests.journal.records import ANY_RECORD, message


def seal(body: str) -> bytes:
    """A line with a right crc around whatever is given as its JSON without the last brace."""
    data = body.encode()
    return b'%b,"crc":"%08x"}\n' % (data, zlib.crc32(data))


def with_field(line: bytes, text: str) -> bytes:
    return seal(line[:-19].decode() + text)


@settings(max_examples=400, deadline=None)
@given(ANY_RECORD)
def test_every_kind_of_record_is_read_back_as_it_was_written(record: AnyRecord) -> None:
    line = encode(record)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert decode(line) == record
    assert decode(line[:-1]) == record
    assert seq_of(line[:-1]) == record.seq


def test_the_keys_stand_in_the_documented_order_and_defaults_are_left_out() -> None:
    record = Message(
        seq=7, id="m7", ts=1_777_777_777_123, by="a1", cid="c", digest="d", content="hé",
        source="agent", to=("b",), importance="important",
    )  # fmt: skip
    text = encode(record).decode()
    assert list(json.loads(text)) == [
        "v", "seq", "kind", "id", "ts", "cid", "digest", "from", "content", "source", "to",
        "importance", "crc",
    ]  # fmt: skip
    assert '"ts":"2026-05-03T03:09:37.123Z"' in text
    assert "hé" in text


def test_a_line_cut_at_any_byte_is_refused() -> None:
    line = encode(message(1))
    for size in range(len(line) - 1):
        with pytest.raises(BadLine):
            decode(line[:size])


def test_a_line_with_any_bit_flipped_is_refused() -> None:
    line = encode(message(1, "some text"))
    for index in range(len(line)):
        for bit in range(8):
            bad = bytearray(line)
            bad[index] ^= 1 << bit
            with pytest.raises(BadLine):
                decode(bytes(bad))


def test_fields_that_are_not_known_are_accepted() -> None:
    line = with_field(encode(message(1)), ',"later":{"a":[1]}')
    assert decode(line) == message(1)


@pytest.mark.parametrize(
    "field",
    [
        ',"seq":1', ',"content":"again"', ',"later":{"a":1,"a":2}', ',"metadata":null',
        ',"metadata":[]', ',"metadata":{"a":NaN}', ',"metadata":{"a":Infinity}', ',"to":"a1"',
        ',"to":["A1"]', ',"to":[1]', ',"mentions":[null]', ',"private":1', ',"importance":"high"',
        ',"cid":5', ',"cid":null', ',"metadata":' + '{"a":' * 5000 + "1" + "}" * 5000,
    ],
)  # fmt: skip
def test_a_wrong_field_is_refused_although_the_crc_is_right(field: str) -> None:
    with pytest.raises(BadLine):
        decode(with_field(encode(message(1)), field))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"v":1', '"v":2'), ('"v":1', '"v":true'), ('"v":1', '"v":1.0'), ('"v":1,', ""),
        ('"kind":"message"', '"kind":"letter"'), ('"kind":"message",', ""),
        ('"kind":"message"', '"kind":["message"]'), ('"seq":1', '"seq":0'),
        ('"seq":1', '"seq":"1"'), ('"seq":1', '"seq":1.0'), ('"seq":1', '"seq":true'),
        ('"seq":1', '"seq":-1'), ('"id":"m1"', '"id":"../m1"'), ('"id":"m1"', '"id":""'),
        ('"id":"m1"', '"id":"m1\\n"'), ('"id":"m1",', ""), ('"from":"a1"', '"by":"a1"'),
        ("2025", "25"), ('Z"', '"'), ('"content":"text 1",', ""), ('"source":"agent"', '"source":"me"'),
        ('{"v"', '[{"v"'), ("text", "\\ud800"), ("text", "\\udC00\\ud800"),
        ('"source":"agent"', '"source":"agent","metadata":{"n":NaN}'),
        ('"source":"agent"', '"source":"agent","metadata":{"n":-1e999}'),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_although_the_crc_is_right(old: str, new: str) -> None:
    body = encode(message(1))[:-19].decode()
    assert old in body
    with pytest.raises(BadLine):
        decode(seal(body.replace(old, new, 1)))


def test_a_line_that_is_not_utf_8_is_refused() -> None:
    data = encode(message(1))[:-19].replace(b"text", b"t\xffxt")
    with pytest.raises(BadLine):
        decode(b'%b,"crc":"%08x"}\n' % (data, zlib.crc32(data)))


@pytest.mark.parametrize(
    "record",
    [
        message(1, "\ud800"),
        Message(seq=1, id="m1", ts=0, by="a", content="", source="agent", metadata={"a": float("nan")}),
        Message(seq=1, id="m1", ts=0, by="a", content="", source="agent", metadata={"\udfff": 1}),
        Message(seq=1, id="../x", ts=0, by="a", content="", source="agent"),
        Message(seq=1, id="m1", ts=0, by="a\n", content="", source="agent"),
        Message(seq=1, id="m1", ts=0, by="a", content="", source="agent", to=("a", "B")),
        Message(seq=1, id="m1", ts=10**18, by="a", content="", source="agent"),
        AgentJoined(seq=1, id="j", ts=0, by="a", agent="", name="n", cwd="/"),
    ],
)  # fmt: skip
def test_what_no_reader_could_take_is_refused_before_it_is_written(record: AnyRecord) -> None:
    with pytest.raises(Refused) as caught:
        encode(record)
    assert caught.value.code is Code.INVALID


def test_a_record_may_have_exactly_the_documented_size() -> None:
    room = RECORD_BYTES - len(encode(message(1, "x"))) + 1
    assert len(encode(message(1, "x" * room))) == RECORD_BYTES
    with pytest.raises(Refused) as caught:
        encode(message(1, "x" * (room + 1)))
    assert caught.value.code is Code.TOO_LARGE


def test_a_line_says_whether_its_operation_goes_on() -> None:
    tricky = Message(
        seq=1, id="m", ts=0, by="a", content='","more":1', source="agent", metadata={"a": 1, "more": 1}
    )  # fmt: skip
    assert has_more(encode(message(1), more=True)[:-1])
    assert not has_more(encode(tricky)[:-1])
    assert decode(encode(tricky, more=True)) == tricky


def test_joined_lines_are_told_apart_and_quoted_ones_are_not() -> None:
    first, second = encode(message(1))[:-1], encode(message(2))[:-1]
    joined = first + b"\x0b" + second + b"\r"
    assert [joined[a:b] for a, b in intact_spans(joined)] == [first, second]
    quoting = message(3, first.decode())
    assert next(intact_spans(encode(quoting)[:-1] + b"\r"))[1] == len(encode(quoting)) - 1
    forged = json.loads(first)
    line = encode(
        Message(seq=3, id="m", ts=0, by="a", content="", source="agent",
                metadata={"a": forged, "b": [forged, forged]})
    )  # fmt: skip
    assert list(intact_spans(line[:40] + b"X" + line[41:])) == []


@given(st.integers(-(10**12), 253_402_300_799_999))
def test_times_are_written_as_everywhere_else(ms: int) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
    assert iso(ms) == moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    line = encode(Message(seq=1, id="m", ts=ms, by="a", content="", source="agent"))
    assert decode(line).ts == ms
    elsewhere = line[:-19].decode().replace("Z", "+00:00")
    assert decode(seal(elsewhere)).ts == ms


def test_a_list_of_numbers_holds_numbers_only() -> None:
    line = encode(Receipt(seq=1, id="r", ts=0, by="a", agent="a", state="shown", seqs=(2, 3)))
    with pytest.raises(BadLine):
        decode(seal(line[:-19].decode().replace("[2,3]", "[2,true]")))
