"""Whom a message reaches and who may read it; threads follow their root."""

from __future__ import annotations

import pytest

from crosschat.errors import Code
from crosschat.limits import CONTENT_BYTES, METADATA_BYTES
from crosschat.model import CLI, THE_CLI, THE_USER, USER, Message, Reply
from tests.core.world import World, refused


def test_a_message_without_mentions_reaches_everybody_but_its_author() -> None:
    world = World()
    a, b, c = world.join("a"), world.join("b"), world.join("c")
    message = world.send(a, "hello")
    assert [world.unread_messages(who) for who in (a, b, c)] == [[], [message], [message]]
    assert world.last(Message).to is None


def test_a_direct_message_reaches_and_is_readable_by_those_named_the_author_and_the_person_only() -> None:
    world = World()
    a, b, c = world.join("a"), world.join("b"), world.join("c")
    message = world.send(a, "@b secret")
    assert [world.unread_messages(who) for who in (a, b, c)] == [[], [message], []]
    assert [world.can_read(who, message) for who in (a, b, c, THE_USER, THE_CLI)] == [True, True, False, True, True]
    assert [world.page(who) for who in (a, b, c, THE_USER)] == [[message], [message], [], [message]]


def test_an_unreadable_message_looks_as_if_it_were_not_there() -> None:
    world = World()
    a, _, c = world.join("a"), world.join("b"), world.join("c")
    message = world.send(a, "@b secret")
    for identifier in (message, "m99-0000"):
        with refused(Code.NOT_FOUND, f"There is no message {identifier!r} that you can read."):
            world.select(c, message=identifier)


def test_an_unreadable_message_cannot_be_answered_flagged_claimed_resolved_begun_or_badged() -> None:
    world = World()
    a, _, c = world.join("a"), world.join("b"), world.join("c")
    message = world.send(a, "@b secret")
    world.flag(a, message)
    head = world.state.head
    for attempt in (
        lambda: world.send(c, "me too", message),
        lambda: world.flag(c, message),
        lambda: world.claim(c, message),
        lambda: world.resolve(c, message),
        lambda: world.begin(c, message),
        lambda: world.badge(c, message, "project", "x"),
    ):
        with refused(Code.NOT_FOUND, "that you can read"):
            attempt()
    assert world.state.head == head


def test_an_agent_that_is_away_gets_a_direct_message_when_it_returns() -> None:
    world = World()
    a, b = world.join("a"), world.join("b", process="p1")
    world.leave(b)
    message = world.send(a, "@b look")
    assert world.unread_messages(world.join("b", process="p2")) == [message]


def test_here_reaches_who_is_connected_and_who_is_named_and_all_may_read_it() -> None:
    world = World()
    a, b, c, d = (world.join(name) for name in "abcd")
    world.leave(c)
    world.leave(d)
    message = world.send(a, "@here and @d look")
    assert [world.unread_messages(who) for who in (a, b, c, d)] == [[], [message], [], [message]]
    assert all(world.can_read(who, message) for who in (a, b, c, d))


def test_here_with_nobody_connected_is_still_sent() -> None:
    world = World()
    a, b = world.join("a"), world.join("b")
    world.leave(b)
    message = world.send(a, "@here anyone?")
    assert world.unread_messages(b) == []
    assert world.can_read(b, message)


def test_a_mention_of_nobody_is_refused_before_anything_is_stored() -> None:
    world = World()
    a, _ = world.join("a"), world.join("bob")
    head = world.state.head
    with refused(Code.UNKNOWN_MENTION, "@bob"):
        world.send(a, "@bobb look")
    assert world.state.head == head


def test_a_partly_known_address_reaches_the_known_ones_and_the_rest_is_reported() -> None:
    world = World()
    a, b, c = world.join("a"), world.join("b"), world.join("c")
    message = world.send(a, "@b and @nobody look")
    assert [world.unread_messages(who) for who in (b, c)] == [[message], []]


# --- the person


def test_a_question_to_the_person_is_private_and_marked() -> None:
    world = World()
    a, b = world.join("a"), world.join("b")
    message = world.send(a, "@user may I?")
    assert world.unread_messages(b) == []
    assert not world.can_read(b, message)
    assert world.can_read(THE_USER, message)
    assert world.badges(message) == [("question", "true")]
    assert world.last(Message).mentions == (USER,)


def test_the_answer_of_the_person_wakes_the_asker_and_answers_the_question() -> None:
    world = World()
    a, b = world.join("a"), world.join("b")
    question = world.send(a, "@user may I?")
    answer = world.send(THE_USER, "yes", question)
    assert world.unread_messages(a) == [answer]
    assert world.unread_messages(b) == []
    assert world.badges(question) == [("question", "answered")]
    assert world.last(Reply).source == "user"


def test_the_answer_answers_every_question_of_that_thread_and_of_no_other() -> None:
    world = World()
    a, b = world.join("a"), world.join("b")
    other = world.send(a, "@user and this?")
    root = world.send(a, "a plan")
    first = world.send(b, "@user good?", root)
    second = world.send(a, "@user really?", root)
    world.send(THE_USER, "yes", first)
    assert [world.badges(m) for m in (root, first, second)] == [
        [], [("question", "answered")], [("question", "answered")],
    ]  # fmt: skip
    assert world.badges(other) == [("question", "true")]


def test_only_the_person_answers_a_question() -> None:
    world = World()
    a, b = world.join("a"), world.join("b")
    root = world.send(a, "@user and @b may I?")
    world.send(b, "I think so", root)
    world.send(THE_CLI, "a note", root)
    assert world.badges(root) == [("question", "true")]


def test_the_person_may_address_and_read_everything() -> None:
    world = World()
    a, b = world.join("a"), world.join("b")
    direct = world.send(THE_USER, "@a hello")
    assert [world.unread_messages(who) for who in (a, b)] == [[direct], []]
    for source in (THE_USER, THE_CLI):
        message = world.send(source, "all")
        assert [world.unread_messages(who)[-1] for who in (a, b)] == [message, message]
        assert world.last(Message).source == source.source
        assert world.last(Message).by == source.id


# --- threads


def test_a_reply_reaches_the_participants_and_whoever_is_mentioned() -> None:
    world = World()
    a, b, c, d = (world.join(name) for name in "abcd")
    root = world.send(a, "a plan")
    world.see_everything(a, b, c, d)
    first = world.send(b, "I like it", root)
    assert [world.unread_messages(who) for who in (a, b, c, d)] == [[first], [], [], []]
    second = world.send(c, "me too, @d?", root)
    assert [world.unread_messages(who) for who in (a, b, c, d)] == [[first, second], [second], [], [second]]
    third = world.send(d, "no", root)  # who was mentioned takes part
    assert [world.unread_messages(who)[-1:] for who in (a, b, c)] == [[third]] * 3
    assert all(world.can_read(who, m) for who in (a, b, c, d) for m in (root, first, second, third))


def test_the_id_of_a_reply_given_as_thread_means_its_root() -> None:
    world = World()
    a, b = world.join("a"), world.join("b")
    root = world.send(a, "a plan")
    first = world.send(b, "I like it", root)
    second = world.send(a, "thanks", first)
    assert world.last(Reply).root == root
    assert world.page(b, thread=second) == [root, first, second]


def test_a_thread_follows_its_private_root() -> None:
    world = World()
    a, b, c = world.join("a"), world.join("b"), world.join("c")
    root = world.send(a, "@b secret")
    reply = world.send(b, "understood", root)
    assert world.last(Reply).private
    assert [world.can_read(who, reply) for who in (a, b, c, THE_USER)] == [True, True, False, True]
    assert world.unread_messages(c) == []
    with refused(Code.NOT_FOUND):
        world.page(c, thread=root)


def test_who_is_drawn_into_a_private_thread_reads_from_there_on_only() -> None:
    world = World()
    a, b, c = world.join("a"), world.join("b"), world.join("c")
    root = world.send(a, "@b secret")
    before = world.send(b, "understood", root)
    drawing = world.send(a, "@c joins us", root)
    after = world.send(b, "welcome", root)
    assert [world.can_read(c, m) for m in (root, before, drawing, after)] == [False, False, True, True]
    assert world.page(c, thread=drawing) == [drawing, after]
    assert world.send(c, "thanks", drawing) in world.unread_messages(b)


def test_a_reply_in_an_open_thread_that_names_one_is_readable_by_all() -> None:
    world = World()
    a, b, c = world.join("a"), world.join("b"), world.join("c")
    root = world.send(a, "a plan")
    reply = world.send(a, "@b your part", root)
    assert world.unread_messages(b)[-1] == reply
    assert reply not in world.unread_messages(c)
    assert world.can_read(c, reply)


def test_a_reply_to_a_message_to_everybody_here_reaches_only_who_took_part() -> None:
    world = World()
    a, b, c = world.join("a"), world.join("b"), world.join("c")
    root = world.send(a, "@here who can?")
    world.see_everything(a, b, c)
    world.send(b, "I", root)
    assert [len(world.unread_messages(who)) for who in (a, b, c)] == [1, 0, 0]


def test_here_in_a_thread_reaches_who_is_connected() -> None:
    world = World()
    a, b, c = world.join("a"), world.join("b"), world.join("c")
    root = world.send(a, "@b secret")
    reply = world.send(a, "@here the secret is out", root)
    assert [world.unread_messages(who)[-1:] for who in (b, c)] == [[reply], [reply]]
    assert not world.can_read(c, root)


def test_the_claimant_takes_part_in_the_thread_of_its_task() -> None:
    world = World()
    a, b, c = world.join("a"), world.join("b"), world.join("c")
    root = world.send(a, "do it")
    world.flag(a, root)
    world.claim(b, root)
    world.see_everything(a, b, c)
    reply = world.send(c, "mind the gap", root)
    assert world.unread_messages(b) == [reply]


def test_the_command_line_and_the_hub_are_no_recipients() -> None:
    world = World()
    a = world.join("a")
    root = world.send(THE_CLI, "a note")
    world.send(a, "seen", root)
    assert CLI not in (world.last(Reply).to or ())


def test_an_unknown_thread_is_an_error() -> None:
    world = World()
    with refused(Code.NOT_FOUND):
        world.send(world.join("a"), "hello", "m99-0000")


# --- limits


@pytest.mark.parametrize("content", ["", " ", "\n\t "])
def test_an_empty_message_is_refused(content: str) -> None:
    world = World()
    with refused(Code.INVALID, "empty"):
        world.send(world.join("a"), content)


@pytest.mark.parametrize("letter", ["x", "é", "€", "\N{GRINNING FACE}"])
def test_the_size_of_a_message_counts_bytes(letter: str) -> None:
    world = World()
    a = world.join("a")
    content = letter * (CONTENT_BYTES // len(letter.encode()))
    world.send(a, content)
    with refused(Code.TOO_LARGE, str(CONTENT_BYTES)):
        world.send(a, content + letter)


def test_the_size_of_metadata_is_limited_as_json() -> None:
    world = World()
    a = world.join("a")
    room = METADATA_BYTES - len('{"k":""}')
    world.send(a, "x", metadata={"k": "x" * room})
    with refused(Code.TOO_LARGE, "metadata"):
        world.send(a, "x", metadata={"k": "x" * (room + 1)})


def test_who_was_drawn_into_a_private_thread_answers_there_by_the_id_it_was_shown() -> None:
    world = World()
    alice, bob, carol, dave = (world.join(name) for name in ("alice", "bob", "carol", "dave"))
    root = world.send(alice, "@bob secret")
    drawn = world.send(bob, "@carol what do you think?", root)
    answer = world.send(carol, "fine", root)
    assert world.can_read(alice, answer)
    assert not world.can_read(carol, root)  # from there on, not before
    assert world.select(carol, thread=root).seqs == (world.seq(drawn), world.seq(answer))
    with refused(Code.NOT_FOUND):
        world.send(dave, "me too", root)
    with refused(Code.NOT_FOUND):
        world.select(dave, thread=root)
