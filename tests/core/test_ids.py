"""Ids are made here, lead back to their seq, and nothing else passes for one."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosschat.core.ids import make_id, seq_of
from crosschat.model import ID_PATTERN, THE_SYSTEM, Message
from tests.core.world import World


@settings(deadline=None)
@given(st.sampled_from("mar"), st.text(max_size=10), st.integers(1, 2**53))
def test_an_id_leads_back_to_its_seq_and_may_be_a_file_name(letter: str, epoch: str, seq: int) -> None:
    identifier = make_id(letter, epoch, seq)
    assert re.fullmatch(ID_PATTERN, identifier)
    assert seq_of(identifier, letter) == seq
    assert seq_of(identifier, "x") is None


@settings(deadline=None)
@given(st.text(max_size=20))
def test_any_text_is_an_id_or_none_of_ours(text: str) -> None:
    seq = seq_of(text, "m")
    assert seq is None or seq >= 0


@pytest.mark.parametrize(
    "text", ["", "m", "m1", "m1-", "m1-abc", "m1-abcde", "M1-abcd", "m1-ABCD", "m1-abcd\n",
             "m\N{ARABIC-INDIC DIGIT ONE}-abcd", "m-abcd", "../m1-abcd", "m1/abcd", "m" + "1" * 13 + "-abcd"]
)  # fmt: skip
def test_what_has_not_the_form_is_none(text: str) -> None:
    assert seq_of(text, "m") is None


def test_only_the_exact_id_of_a_message_finds_it() -> None:
    world = World()
    author = world.join("author")
    message = world.send(author, "hello")
    seq = world.seq(message)
    assert message == make_id("m", "e1", seq)
    wrong = make_id("m", "another epoch", seq)
    assert wrong != message
    for identifier in (wrong, message.upper(), message + " ", f"m0{message[1:]}", make_id("r", "e1", seq), author.id):
        assert world.state.message(identifier) is None


def test_a_record_that_is_no_message_is_not_found_by_a_messages_id() -> None:
    world = World()
    author = world.join("author")
    message = world.send(author, "hello")
    world.badge(author, message, "project", "x")
    assert world.state.message(make_id("m", "e1", world.state.head)) is None
    assert world.state.message(make_id("m", "e1", world.state.head + 1)) is None
    assert world.state.message(make_id("m", "e1", 1)) is None


def test_messages_of_an_earlier_epoch_keep_their_ids() -> None:
    from crosschat.core.handle import BeginEpoch

    world = World("e1")
    author = world.join("author")
    before = world.send(author, "before")
    world.do(THE_SYSTEM, BeginEpoch("e2"))
    after = world.send(author, "after")
    assert world.state.message_id(world.seq(before)) == before
    assert after == make_id("m", "e2", world.seq(after))
    assert world.page(author) == [before, after]


def test_an_id_that_another_product_made_works_as_well() -> None:
    world = World()
    author = world.join("author")
    foreign = "5f0c9a52-6a2c-4c40-9a52-0e0c5f0c9a52"
    world.state.apply(
        Message(seq=world.state.head + 1, id=foreign, ts=world.now, by="old", content="hello", source="agent")
    )
    assert world.page(author) == [foreign]
    reply = world.send(author, "seen", foreign)
    assert world.page(author, thread=foreign) == [foreign, reply]


def test_of_many_who_notice_a_restored_log_only_the_first_begins_an_epoch() -> None:
    from crosschat.core.handle import BeginEpoch

    world = World()
    before = world.state.epoch
    assert world.do(THE_SYSTEM, BeginEpoch("e2", instead_of=before)).records
    assert not world.do(THE_SYSTEM, BeginEpoch("e3", instead_of=before)).records
    assert world.state.epoch == "e2"
