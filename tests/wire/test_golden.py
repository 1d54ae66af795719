"""What an earlier version sent is still read as it was meant, for as many protocol versions back as are promised."""

from __future__ import annotations

import json

import pytest

from crosschat import codec, wire
from tests.wire.golden import DOORS, Line, kinds, recorded

LINES = [(protocol, line) for protocol in wire.PROTOCOLS_SERVED for line in recorded(protocol)]
REMEDY = "a frame changed: keep its old form readable, or raise PROTOCOL and run `python -m tests.wire.golden`"


@pytest.mark.parametrize(
    ("protocol", "line"), LINES, ids=[f"{protocol} {' '.join(line.kind)}" for protocol, line in LINES]
)
def test_a_frame_as_it_was_recorded_is_read_without_a_loss(protocol: int, line: Line) -> None:
    _, encode, decode = DOORS[line.door]
    try:
        again = json.loads(encode(decode(line.frame)))
    except codec.BadFrame as error:
        pytest.fail(f"{error.message} at {error.path}: {REMEDY}")
    if protocol == wire.PROTOCOL:
        assert again == json.loads(line.frame), REMEDY


def test_every_frame_of_today_is_recorded() -> None:
    missing = {(door, tag) for door, tag, _ in kinds()} - {line.kind for line in recorded(wire.PROTOCOL)}
    assert missing == set(), "run `python -m tests.wire.golden`"


def test_every_served_version_has_its_record() -> None:
    assert [protocol for protocol in wire.PROTOCOLS_SERVED if not recorded(protocol)] == []
