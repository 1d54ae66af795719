"""The document of the page's protocol is the docstring of `pagewire`: it names every call and frame, and no other."""

from __future__ import annotations

import re
from typing import get_args

import attrs
import pytest

from crosschat import pagewire, wire
from crosschat.core import pairing
from crosschat.errors import Code
from crosschat.hub import pairing as hub_pairing
from crosschat.limits import HELLO_DEADLINE_S

SECTIONS = [
    ("Calls over HTTP, before there is a stream: `POST /api/NAME`", pagewire.CallFrame),
    ("The page to the hub", pagewire.PageFrame),
    ("The hub to the page", pagewire.ScreenFrame),
]
DOCUMENT = pagewire.__doc__ or ""
TEXT = " ".join(DOCUMENT.split())


def kinds(union: object) -> set[str]:
    return {str(vars(frame)["type"]) for frame in get_args(union)}


def entries(title: str) -> dict[str, str]:
    """Kind by kind what the document says."""
    lines = DOCUMENT.splitlines()
    found: dict[str, str] = {}
    names: list[str] = []
    for line in lines[lines.index(title) + 1 :]:
        if not line.startswith("    "):
            break
        if line[4] == " ":  # it goes on with the line before
            for name in names:
                found[name] += " " + line.strip()
            continue
        begin = re.match(r"(?:[a-z_]+, )*[a-z_]+", line[4:])
        assert begin is not None, line
        names = begin[0].split(", ")
        for name in names:
            assert name not in found, f"{name} is there twice"
            found[name] = line[4 + begin.end() :].strip()
    return found


@pytest.mark.parametrize(("title", "union"), SECTIONS)
def test_the_document_names_every_frame_of_that_kind_and_no_other(title: str, union: object) -> None:
    assert set(entries(title)) == kinds(union)


def test_every_entry_says_something() -> None:
    for title, _ in SECTIONS:
        assert all(entries(title).values()), title


def test_the_answer_that_is_promised_exists() -> None:
    for title, _ in SECTIONS[:2]:
        for name, text in entries(title).items():
            for answer in re.findall(r"answered by `(\w+)`", text):
                assert answer in kinds(pagewire.ScreenFrame) | kinds(pagewire.CallAnswer), name


def test_no_request_has_the_kind_of_an_answer() -> None:
    assert not kinds(pagewire.PageFrame) & kinds(pagewire.ScreenFrame) - {"pairing"}


def test_requests_have_ids_and_those_for_the_log_have_cids() -> None:
    for frame in get_args(pagewire.PageFrame):
        names = {field.name for field in attrs.fields(frame)}
        assert "id" in names
    logged = {"send", "flag", "badge", "release", "pause", "clear", "reassign", "restore"}
    for frame in get_args(pagewire.PageFrame):
        names = {field.name for field in attrs.fields(frame)}
        assert ("cid" in names) is (vars(frame)["type"] in logged), frame


def test_the_times_it_states_are_those_that_count() -> None:
    assert f"first frame, within {HELLO_DEADLINE_S:g} s" in TEXT
    assert f"opens one stream, within {pairing.TICKET_S:g} s" in TEXT
    assert f"or after {hub_pairing.FATE_WAIT_S:g} s" in TEXT


def test_what_is_to_be_signed_is_as_stated() -> None:
    assert f"`{pagewire.to_sign('ORIGIN', 'CHALLENGE')}`" in TEXT
    assert f"`{pagewire.SUBPROTOCOL}`" in TEXT


def test_fields_and_kinds_that_it_mentions_exist() -> None:
    frames = [frame for union in (*(union for _, union in SECTIONS), pagewire.CallAnswer) for frame in get_args(union)]
    fields = {field.name for frame in frames for field in attrs.fields(frame)}
    every = {str(vars(frame)["type"]) for frame in frames}
    values = {"add", "remove", "user", "wire", "forbidden"}
    mentioned = set(re.findall(r"`([a-z_]+)`", TEXT))
    fields |= {field.name for view in (pagewire.PermissionView, wire.Item) for field in attrs.fields(view)}
    assert mentioned <= fields | every | values | {"type", "output"}
    assert "forbidden" in set(Code)
