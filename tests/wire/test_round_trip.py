"""What was encoded is decoded as it was, compactly, and encoding an item once gives the same batch."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosschat import pagewire, wire
from tests.wire.frames import (
    AGENT_FRAMES,
    CALL_ANSWERS,
    CALLS,
    CONTROL_FRAMES,
    HUB_FRAMES,
    ITEMS,
    PAGE_FRAMES,
    SCREEN_FRAMES,
)

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy


@pytest.mark.parametrize("frames", AGENT_FRAMES)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_every_frame_of_an_agent_is_read_back(frames: SearchStrategy[object], data: st.DataObject) -> None:
    frame = cast("wire.AgentFrame", data.draw(frames))
    encoded = wire.encode(frame)
    assert wire.decode_agent(encoded) == frame
    assert wire.decode_agent(encoded.decode()) == frame
    assert b"\n" not in encoded


@pytest.mark.parametrize("frames", CONTROL_FRAMES)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_every_request_of_the_command_line_is_read_back(frames: SearchStrategy[object], data: st.DataObject) -> None:
    frame = cast("wire.ControlFrame", data.draw(frames))
    encoded = wire.encode_control(frame)
    assert wire.decode_control(encoded) == frame
    assert b"\n" not in encoded  # it is a line


@pytest.mark.parametrize("frames", HUB_FRAMES)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_every_frame_of_the_hub_is_read_back(frames: SearchStrategy[object], data: st.DataObject) -> None:
    frame = cast("wire.HubFrame", data.draw(frames))
    encoded = wire.encode(frame)
    assert wire.decode_hub(encoded) == frame
    assert b"\n" not in encoded


@pytest.mark.parametrize("frames", PAGE_FRAMES)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_every_frame_of_the_page_is_read_back(frames: SearchStrategy[object], data: st.DataObject) -> None:
    frame = cast("pagewire.PageFrame", data.draw(frames))
    assert pagewire.decode_page(pagewire.encode(frame)) == frame


@pytest.mark.parametrize("frames", SCREEN_FRAMES)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_every_frame_for_the_page_is_read_back(frames: SearchStrategy[object], data: st.DataObject) -> None:
    frame = cast("pagewire.ScreenFrame", data.draw(frames))
    assert pagewire.decode_screen(pagewire.encode(frame)) == frame


@pytest.mark.parametrize("calls", CALLS)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_every_call_of_the_page_is_read_back(calls: SearchStrategy[object], data: st.DataObject) -> None:
    call = cast("pagewire.CallFrame", data.draw(calls))
    assert pagewire.decode_call(call.type, pagewire.encode_call(call)) == call


@pytest.mark.parametrize("answers", CALL_ANSWERS)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_every_answer_to_a_call_is_read_back(answers: SearchStrategy[object], data: st.DataObject) -> None:
    answer = cast("pagewire.Ticketed", data.draw(answers))
    assert pagewire.decode_answer(pagewire.encode_call(answer), type(answer)) == answer


@settings(deadline=None)
@given(st.lists(ITEMS, max_size=4), st.integers(0, 2**53), st.integers(0, 2**53))
def test_a_batch_of_ready_items_is_the_batch(items: list[object], from_seq: int, to_seq: int) -> None:
    batch = wire.Batch(from_seq=from_seq, to_seq=to_seq, items=tuple(cast("list[wire.Item]", items)))
    ready = wire.encode_batch(from_seq, to_seq, map(wire.to_json, items))
    assert wire.decode_hub(ready) == batch
    if items:
        assert ready == wire.encode(batch)


def test_fields_at_their_default_are_left_out_and_the_kind_stands_first() -> None:
    assert wire.encode(wire.Mark()) == b'{"type":"mark"}'
    assert wire.encode(wire.Read(id="1")) == b'{"type":"read","id":"1"}'
    assert wire.encode(wire.Read(id="1", limit=7)) == b'{"type":"read","id":"1","limit":7}'
    assert wire.encode_control(wire.Read(id="1")) == b'{"op":"read","id":"1"}'


def test_text_goes_over_the_wire_as_utf_8_without_escapes() -> None:
    data = wire.encode(wire.Send(id="1", cid="c", content="né €"))
    assert "né €" in data.decode()
    assert b", " not in data
    assert json.loads(data)["content"] == "né €"
