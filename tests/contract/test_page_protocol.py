"""The page's protocol types are those of the hub: the TypeScript file is what the generator makes of the classes."""

from __future__ import annotations

from typing import get_args

from crosschat import pagewire, wire
from dashboard import protocol


def test_the_typescript_of_the_protocol_is_in_step_with_the_classes() -> None:
    assert protocol.TARGET.read_text() == protocol.write(), "run: .venv/bin/python -m dashboard.protocol"


def test_every_frame_has_an_interface_and_every_answer_a_row_of_fields() -> None:
    text = protocol.write()
    for frame in (*get_args(pagewire.PageFrame), *get_args(pagewire.ScreenFrame)):
        assert f'export interface {protocol.name_of(frame)} {{\n  type: "{frame.type}";' in text
    for frame in get_args(pagewire.ScreenFrame):
        assert f'"{frame.type}": "{protocol.name_of(frame)}"' in text


def test_a_field_with_a_default_may_be_left_out_by_the_page_and_is_always_there_from_the_hub() -> None:
    assert "  thread?: string | null;" in protocol.interface(wire.Send, sent=True)
    assert "  current: boolean;" in protocol.interface(wire.KeyView, sent=False)
    assert protocol.described(wire.KeyView)["current"] == ["boolean", False]
    assert protocol.described(wire.KeyView)["label"] == ["string"]
