"""What is not a frame is refused, with a path and in a few words, and nothing is ever coerced."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosschat import codec, wire
from crosschat.errors import Code
from crosschat.limits import FRAME_BYTES, JSON_DEPTH

if TYPE_CHECKING:
    from collections.abc import Callable

    Decode = Callable[[bytes | str], object]

DECODERS = [wire.decode_agent, wire.decode_control, wire.decode_hub]
MESSAGE_CHARS = 1000  # an error has to fit its frame, whatever was sent


def refused(decode: Decode, data: bytes | str) -> codec.BadFrame:
    with pytest.raises(codec.BadFrame) as caught:
        decode(data)
    assert 0 < len(caught.value.message) <= MESSAGE_CHARS
    return caught.value


def send(**fields: object) -> str:
    return json.dumps({"type": "send", "id": "1", "cid": "c", "content": "x"} | fields)


def flag(value: object) -> str:
    return json.dumps({"type": "flag", "id": "1", "cid": "c", "message": "m1", "filter": value})


AGENT_ROWS: list[tuple[str, str, str | None]] = [
    # text, what the message says, path
    (send(content=5), "expected a string, got a whole number", "content"),
    (send(content=None), "expected a string, got null", "content"),
    (send(content=True), "expected a string, got true or false", "content"),
    (send(content=["x"]), "expected a string, got a list", "content"),
    (send(content={"x": 1}), "expected a string, got an object", "content"),
    (send(thread=1.5), "expected a string, got a number", "thread"),
    (send(metadata=[]), "expected an object, got a list", "metadata"),
    (send(metadata="{}"), "expected an object, got a string", "metadata"),
    (send(importance="high"), "high", "importance"),
    (send(importance=["comment"]), "comment", "importance"),
    (send(importance=1), "1", "importance"),
    (send(color="red"), "unknown field color", None),
    (send(op="send"), "unknown field op", None),
    (send(**{"a @ b": 1}), "unknown field a @ b", None),
    ('{"type":"send","id":"1","cid":"c"}', "missing", "content"),
    ('{"type":"flag","id":"1","cid":"c"}', "missing", "message"),
    (flag("bob"), "expected an object", "filter"),
    (flag(["agent"]), "expected an object", "filter"),
    (flag(5), "", "filter"),
    (flag({"agent": 5}), "expected a string", "filter.agent"),
    (flag({"agentId": "bob"}), "unknown field agentId", "filter"),
    ('{"type":"read","id":"1","limit":true}', "expected a whole number, got true or false", "limit"),
    ('{"type":"read","id":"1","limit":2.0}', "expected a whole number, got a number", "limit"),
    ('{"type":"read","id":"1","limit":"2"}', "expected a whole number, got a string", "limit"),
    ('{"type":"read","id":"1","limit":null}', "expected a whole number, got null", "limit"),
    ('{"type":"read","id":"1","unread":1}', "expected true or false, got a whole number", "unread"),
    ('{"type":"read","id":"1","unread":"true"}', "expected true or false, got a string", "unread"),
    ('{"type":"mark","seqs":"12"}', "expected a list, got a string", "seqs"),
    ('{"type":"mark","seqs":{"1":2}}', "expected a list, got an object", "seqs"),
    ('{"type":"mark","seqs":null}', "expected a list, got null", "seqs"),
    ('{"type":"mark","seqs":[1,true]}', "expected a whole number", "seqs[1]"),
    ('{"type":"mark","upto":1e3}', "expected a whole number, got a number", "upto"),
    ('{"id":"1"}', "no 'type' in the frame", "type"),
    ("{}", "no 'type' in the frame", "type"),
    ('{"op":"peers","id":"1"}', "no 'type' in the frame", "type"),
    ('{"type":"nothing","id":"1"}', "unknown type 'nothing'", "type"),
    ('{"type":"batch","from_seq":1,"to_seq":1}', "unknown type 'batch'", "type"),
    ('{"type":"release","id":"1","cid":"c","message":"m"}', "unknown type 'release'", "type"),
    ('{"type":null,"id":"1"}', "unknown type 'None'", "type"),
    ('{"type":5,"id":"1"}', "unknown type '5'", "type"),
    ('{"type":["send"],"id":"1"}', "unknown type", "type"),
    ('{"type":{"send":1},"id":"1"}', "unknown type", "type"),
    ('{"type":"peers","id":"1","type":"peers"}', "'type' is there twice", None),
    ('{"type":"flag","id":"1","cid":"c","message":"m","filter":{"agent":"a","agent":"b"}}', "'agent' is there", None),
]


@pytest.mark.parametrize(("text", "words", "path"), AGENT_ROWS)
def test_a_wrong_field_is_named_and_nothing_is_coerced(text: str, words: str, path: str | None) -> None:
    for data in (text, text.encode()):
        error = refused(wire.decode_agent, data)
        assert words in error.message
        assert error.path == path
        assert error.code is Code.BAD_FRAME


SYNTAX_ROWS: list[tuple[bytes, str]] = [
    (b"", "not JSON"),
    (b" ", "not JSON"),
    (b"hello", "not JSON"),
    (b"{", "not JSON"),
    (b'{"a":1,}', "not JSON"),
    (b"{'a':1}", "not JSON"),
    (b'{"a":1} {"b":2}', "not JSON"),
    (b'{"a":"\n"}', "not JSON"),
    (b'{"a":01}', "not JSON"),
    (b'{"a":1}\x00', "not JSON"),
    (b"\xef\xbb\xbf{}", "not JSON"),
    (b"null", "a frame is a JSON object"),
    (b"true", "a frame is a JSON object"),
    (b"5", "a frame is a JSON object"),
    (b'"type"', "a frame is a JSON object"),
    (b'[{"type":"peers"}]', "a frame is a JSON object"),
    (b'{"a":NaN}', "NaN is not JSON"),
    (b'{"a":Infinity}', "Infinity is not JSON"),
    (b'{"a":[-Infinity]}', "-Infinity is not JSON"),
    (b'{"a":1e999}', "too large"),
    (b'{"a":[-1e999]}', "too large"),
    (b'{"a":' + b"9" * 5000 + b"}", "not JSON"),
    (b'{"a":1,"a":1}', "'a' is there twice"),
    (b'{"a":{"b":1,"c":2,"b":1}}', "'b' is there twice"),
    (b'{"a":1,"\\u0061":2}', "'a' is there twice"),
    (b'{"a":"\\ud800"}', "half of a surrogate pair"),
    (b'{"\\udfff":1}', "half of a surrogate pair"),
    (b'{"a":"\\ude00\\ud83d"}', "half of a surrogate pair"),
    (b'{"a":"\xff"}', "not UTF-8 at byte 6"),
    (b'{"a":"\xed\xa0\x80"}', "not UTF-8"),
    (b'{"a":"\xc0\xaf"}', "not UTF-8"),
]


@pytest.mark.parametrize(("data", "words"), SYNTAX_ROWS)
def test_what_is_not_strict_json_is_refused_at_every_door(data: bytes, words: str) -> None:
    for decode in DECODERS:
        assert words in refused(decode, data).message


def test_half_of_a_surrogate_pair_is_refused_in_text_that_was_decoded_before() -> None:
    assert "half of a surrogate pair" in refused(wire.decode_agent, '{"type":"peers","id":"\ud800"}').message


def test_a_whole_surrogate_pair_is_one_character() -> None:
    frame = wire.decode_agent('{"type":"peers","id":"\\ud83d\\ude00"}')
    assert frame == wire.Peers(id="\N{GRINNING FACE}")


@pytest.mark.parametrize("kind", ["[]", "{}"])
def test_a_frame_may_nest_as_deep_as_the_limit_and_no_deeper(kind: str) -> None:
    def nested(depth: int) -> str:
        inner = "{}"
        for _ in range(depth - 3):
            inner = f"[{inner}]" if kind == "[]" else f'{{"a":{inner}}}'
        return f'{{"type":"send","id":"1","cid":"c","content":"x","metadata":{{"a":{inner}}}}}'

    assert wire.decode_agent(nested(JSON_DEPTH))
    assert refused(wire.decode_agent, nested(JSON_DEPTH + 1)).message == f"more than {JSON_DEPTH} levels"


@pytest.mark.parametrize("deep", ["[" * 100_000, '{"a":' * 40_000, "[" * 100_000 + "]" * 100_000])
def test_hostile_depth_costs_no_stack(deep: str) -> None:
    assert refused(wire.decode_agent, f'{{"a":{deep}}}').message.startswith(("more than", "not JSON"))


def test_brackets_inside_a_string_are_no_depth() -> None:
    assert wire.decode_agent(send(content="[{" * 100)) == wire.Send(id="1", cid="c", content="[{" * 100)


@pytest.mark.parametrize("letter", ["x", "é", "€", "\N{GRINNING FACE}"])
def test_the_size_limit_counts_bytes_whether_text_or_bytes_come_in(letter: str) -> None:
    head, tail = '{"type":"peers","id":"', '"}'
    room = FRAME_BYTES - len(head) - len(tail)
    width = len(letter.encode())
    text = head + letter * (room // width) + "x" * (room % width) + tail
    assert len(text.encode()) == FRAME_BYTES
    assert wire.decode_agent(text) == wire.decode_agent(text.encode())
    for data in (text + " ", (text + " ").encode()):
        error = refused(wire.decode_agent, data)
        assert error.code is Code.TOO_LARGE
        assert str(FRAME_BYTES) in error.message


@pytest.mark.timeout(5)
def test_a_duplicate_behind_many_fields_is_found_in_one_look() -> None:
    """Comparing each name with all others took 3 s for one frame, and the hub does nothing else meanwhile."""
    fields = ",".join(f'"{number}":0' for number in range(20_000))
    for _ in range(3):
        assert "'19999' is there twice" in refused(wire.decode_agent, f'{{{fields},"19999":0}}').message


def test_of_many_unknown_fields_only_some_are_named() -> None:
    fields = {f"{'n' * 100}{number}": 0 for number in range(1000)}
    assert "unknown field" in refused(wire.decode_agent, send(**fields)).message


def test_a_frame_of_the_other_door_is_refused() -> None:
    refused(wire.decode_control, '{"op":"hello","protocol":1,"version":"1","cwd":"/"}')
    refused(wire.decode_control, '{"op":"claim","id":"1","cid":"c","message":"m"}')
    refused(wire.decode_control, '{"type":"stop","id":"1"}')
    refused(wire.decode_agent, '{"type":"stop","id":"1"}')
    refused(wire.decode_hub, '{"type":"send","id":"1","cid":"c","content":"x"}')
    assert wire.decode_control('{"op":"stop","id":"1"}') == wire.Stop(id="1")


HUB_ROWS: list[tuple[str, str | None]] = [
    ('{"type":"error","message":"x"}', "code"),
    ('{"type":"error","code":[],"message":"x"}', "code"),
    ('{"type":"sent","id":"1","message":"m","seq":1,"states":[]}', "states"),
    ('{"type":"sent","id":"1","message":"m","seq":1,"states":{"stored":true}}', "states['stored']"),
    ('{"type":"sent","id":"1","message":"m","seq":1,"away":[null]}', "away[0]"),
    ('{"type":"batch","from_seq":1,"to_seq":2,"items":[{"seq":1}]}', None),
    ('{"type":"page","id":"1","confirm":{"upto":1,"seqs":[1.0]}}', "confirm.seqs[0]"),
    ('{"type":"hub_status","id":"1","pid":1,"version":"1","protocol":1,"home":"/","started_at":"t","epoch":"e",'
     '"head":1,"idle_stop_s":"5"}', "idle_stop_s"),
]  # fmt: skip


def test_a_client_reads_what_a_newer_hub_says_as_far_as_it_knows_it() -> None:
    read = wire.decode_hub('{"type":"error","code":"nobody_knows","message":"x","more":{"a":[1]}}')
    assert read == wire.Error(code=Code.INTERNAL, message="x")
    batch = {"type": "batch", "from_seq": 1, "to_seq": 1, "colour": "red"}
    assert wire.decode_hub(json.dumps(batch)) == wire.Batch(from_seq=1, to_seq=1)
    with pytest.raises(codec.UnknownFrame):
        wire.decode_hub('{"type":"weather"}')


@pytest.mark.parametrize("text", ['{"type":"hello"}', '{"type":"hello","protocol":"1"}', '{"type":"peers","id":"1"}'])
def test_only_a_hello_has_a_protocol(text: str) -> None:
    assert wire.hello_protocol(text) is None
    assert wire.hello_protocol('{"type":"hello","protocol":9,"what":"ever"}') == 9


@pytest.mark.parametrize(("text", "path"), HUB_ROWS)
def test_the_client_is_as_strict_with_the_hub(text: str, path: str | None) -> None:
    error = refused(wire.decode_hub, text)
    assert path is None or error.path == path


def test_a_code_arrives_as_a_code() -> None:
    frame = wire.decode_hub('{"type":"error","code":"not_found","message":"x"}')
    assert isinstance(frame, wire.Error)
    assert type(frame.code) is Code


def test_a_whole_number_is_a_number_where_numbers_are_wanted() -> None:
    text = (
        '{"type":"hub_status","id":"1","pid":1,"version":"1","protocol":1,"home":"/","started_at":"t","epoch":"e",'
        '"head":1,"idle_stop_s":5,"sync_p50_ms":0.5}'
    )
    frame = wire.decode_hub(text)
    assert isinstance(frame, wire.HubStatus)
    assert type(frame.idle_stop_s) is float
    assert frame.sync_p50_ms == 0.5


def test_a_huge_whole_number_stays_exact() -> None:
    assert wire.decode_agent('{"type":"mark","upto":' + "9" * 400 + "}") == wire.Mark(upto=int("9" * 400))


REQUEST_ROWS: list[tuple[bytes | str, str | None]] = [
    ('{"type":"send","id":"r1","content":5}', "r1"),
    (b'{"type":"nothing","id":"r1"}', "r1"),
    ('{"id":"r1"}', "r1"),
    ('{"id":5}', None),
    ('{"id":null}', None),
    ('{"type":"send"}', None),
    ('{"id":"' + "x" * 64 + '"}', "x" * 64),
    ('{"id":"' + "x" * 65 + '"}', None),
    (b'{"id":"r1","id":"r2"}', None),
    (b'{"id":"r1"', None),
    (b"\xff", None),
    ("[]", None),
    ("", None),
]


@pytest.mark.parametrize(("data", "expected"), REQUEST_ROWS)
def test_the_id_of_a_broken_request_is_found_if_there_is_one(data: bytes | str, expected: str | None) -> None:
    assert wire.request_id(data) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from(
    ["type", "op", "id", "cid", "content", "thread", "message", "filter", "seqs", "upto", "limit", "items", "states",
     "code", "status", "peers", "confirm", "metadata", "agent", "from_seq", "to_seq", "seq"]
)  # fmt: skip
KINDS = st.sampled_from(
    ["hello", "send", "read", "peers", "status", "flag", "claim", "resolve", "badge", "clear", "mark", "release",
     "tail", "inspect", "stop", "welcome", "batch", "sent", "page", "peer_list", "done", "hub_status", "error", "bye"]
)  # fmt: skip


def only_bad_frame(data: bytes | str) -> None:
    for decode in DECODERS:
        message = ""
        try:
            decode(data)
        except codec.BadFrame as error:
            message = error.message
        assert len(message) <= MESSAGE_CHARS
    wire.request_id(data)


@settings(deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200))
def test_any_bytes_raise_bad_frame_and_nothing_else(data: bytes | str) -> None:
    only_bad_frame(data)


@settings(deadline=None)
@given(KINDS, st.dictionaries(NAMES | st.text(max_size=8), JSON, max_size=8))
def test_any_object_that_looks_like_a_frame_raises_bad_frame_and_nothing_else(
    kind: str, fields: dict[str, object]
) -> None:
    only_bad_frame(json.dumps({"type": kind, "op": kind} | fields))
    only_bad_frame(json.dumps(fields | {"type": kind}))
    only_bad_frame(json.dumps(fields | {"op": kind}))
