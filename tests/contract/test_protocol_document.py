"""The protocol document is the docstring of `wire`: it names every frame under its door, and no other."""

from __future__ import annotations

import re
from typing import get_args

import attrs
import pytest

from crosschat import wire

DOORS = [
    ("The agents' door (bridge to hub)", wire.AgentFrame),
    ("The control door (command line to hub)", wire.ControlFrame),
    ("From the hub", wire.HubFrame),
]


def kinds(union: object) -> set[str]:
    return {str(vars(frame)["type"]) for frame in get_args(union)}


def section(title: str) -> list[str]:
    """The lines under a heading, as written."""
    assert wire.__doc__ is not None
    lines = wire.__doc__.splitlines()
    begin = lines.index(title) + 1
    found = []
    for line in lines[begin:]:
        if not line.startswith("    "):
            break
        found.append(line[4:])
    return found


def entries(title: str) -> dict[str, str]:
    """Kind by kind what the document says; a line that is indented goes on with the one before."""
    found: dict[str, str] = {}
    names: list[str] = []
    for line in section(title):
        if line.startswith(" "):
            for name in names:
                found[name] += " " + line.strip()
            continue
        head, _, text = line.partition("  ")
        if not text:  # a list of names and then prose: "sent, page, done   answers", "send, read as above"
            head = re.match(r"(?:[a-z_]+, )*[a-z_]+", line)[0]  # type: ignore[index]  # every line begins with a name
        names = head.split(", ")
        for name in names:
            assert name not in found, f"{name} is there twice"
            found[name] = text.strip()
    return found


@pytest.mark.parametrize(("title", "union"), DOORS)
def test_the_document_names_every_frame_of_that_door_and_no_other(title: str, union: object) -> None:
    assert set(entries(title)) == kinds(union)


def test_frames_that_one_door_shares_with_another_are_the_same() -> None:
    shared = kinds(wire.AgentFrame) & kinds(wire.ControlFrame)
    assert shared == {"send", "read", "search", "peers", "clear"}
    classes = {frame for _, union in DOORS for frame in get_args(union)}
    assert len(classes) == len({vars(frame)["type"] for frame in classes})


def test_no_request_has_the_kind_of_an_answer() -> None:
    assert not (kinds(wire.AgentFrame) | kinds(wire.ControlFrame)) & kinds(wire.HubFrame)


@pytest.mark.parametrize("title", [title for title, _ in DOORS[:2]])
def test_the_answer_that_a_request_is_promised_exists(title: str) -> None:
    for name, text in entries(title).items():
        for answer in re.findall(r"answered by `(\w+)`", text):
            assert answer in kinds(wire.HubFrame), name


def test_every_answer_carries_the_id_of_its_request() -> None:
    for frame in get_args(wire.Answer):
        assert "id" in {field.name for field in attrs.fields(frame)}


def test_every_request_that_changes_something_carries_a_cid() -> None:
    reading = {"hello", "read", "search", "peers", "mark", "waking", "tail", "session", "keys", "sessions", "inspect"}
    reading |= {"projects", "cost"}
    reading |= {"metrics", "ring", "stop", "succeed", "new_code", "revoke"}  # said twice, they do no more than once
    asking = {"permission", "ran", "ask"}  # nothing of it is a record
    beside_the_log = {"project", "launch", "configure"}  # what is already so stays so; a launch starts a new session
    for union in (wire.AgentFrame, wire.ControlFrame):
        for frame in get_args(union):
            names = {field.name for field in attrs.fields(frame)}
            assert ("cid" in names) is (vars(frame)["type"] not in reading | asking | beside_the_log), frame


def test_the_document_states_the_limits_that_are_enforced() -> None:
    from crosschat.limits import FRAME_BYTES, HELLO_DEADLINE_S, JSON_DEPTH

    assert wire.__doc__ is not None
    text = " ".join(wire.__doc__.split())
    assert f"{JSON_DEPTH} levels" in text
    assert f"{FRAME_BYTES // 1024} KiB" in text
    assert f"within {HELLO_DEADLINE_S:g} s" in text


def test_fields_that_the_document_mentions_exist() -> None:
    assert wire.__doc__ is not None
    fields = {field.name for _, union in DOORS for frame in get_args(union) for field in attrs.fields(frame)}
    words = set(re.findall(r"`([a-z_]+)`", wire.__doc__))
    everything = fields | kinds(wire.HubFrame) | kinds(wire.AgentFrame) | kinds(wire.ControlFrame)
    assert words <= everything | {"type", "op", "conflict"}
