"""What a search asks of the index, and that the state has the last word about who may find what."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosschat import wire
from crosschat.core import search as rules
from crosschat.core.search import EXCERPT_CHARS, Sought
from crosschat.errors import Code
from crosschat.limits import QUERY_CHARS, QUERY_WORDS
from crosschat.model import THE_CLI, THE_USER, Actor, iso
from tests.core.world import START_MS, World, refused


def seek(world: World, who: Actor, **fields: object) -> Sought:
    return rules.sought(world.state, who, wire.Search(id="1", **fields))  # type: ignore[arg-type]


def found(world: World, who: Actor, **fields: object) -> list[str]:
    """The messages that a search without words means, by a naive look at all of them, newest first."""
    wanted = seek(world, who, **fields)
    return [
        world.state.message_id(seq)
        for seq in range(world.state.head, 0, -1)
        if seq < wanted.below and rules.fits(world.state, who, wanted, seq)
    ]


def marked(world: World, message: str) -> set[str]:
    entry = world.state.message(message)
    assert entry is not None
    return {*rules.lasting_marks(entry), *rules.badge_marks(world.state, entry.seq)}


@pytest.mark.parametrize(
    ("query", "phrases"),
    [
        ("", ()),
        ("  two words ", ("two", "words")),
        ('say "in one go" now', ("say", "in one go", "now")),
        ('an "open quote', ("an", "open quote")),
        ('"" - !!! …', None),
        ("keep c++ && send_message -- x", ("keep", "c++", "send_message", "x")),
        ('NEAR(a b) OR {text}: x*"', ("NEAR(a", "b)", "OR", "{text}:", 'x*"')),
    ],
)
def test_words_and_quoted_runs_of_words_become_phrases(query: str, phrases: tuple[str, ...] | None) -> None:
    world = World()
    if phrases is None:
        with refused(Code.INVALID, "no word"):
            seek(world, THE_CLI, query=query)
    else:
        assert seek(world, THE_CLI, query=query).phrases == phrases


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"limit": 0}, Code.INVALID, "limit"),
        ({"limit": 201}, Code.INVALID, "limit"),
        ({"badge": ":x"}, Code.INVALID, "badge"),
        ({"since": "yesterday"}, Code.INVALID, "since"),
        ({"until": "2026-05-04T03:02:01"}, Code.INVALID, "until"),
        ({"sender": "nobody"}, Code.NOT_FOUND, "No agent is called 'nobody'. list_peers, or `crosschat peers`, shows"),
        ({"party": "nobody"}, Code.NOT_FOUND, "No agent is called 'nobody'."),
        ({"before": "m1-none"}, Code.NOT_FOUND, "no message"),
        ({"query": "x" * (QUERY_CHARS + 1)}, Code.INVALID, "characters"),
        ({"query": "x " * (QUERY_WORDS + 1)}, Code.INVALID, "words"),
    ],
)
def test_a_value_that_means_nothing_is_refused(fields: dict[str, object], code: Code, words: str) -> None:
    with refused(code, words):
        seek(World(), THE_CLI, **fields)


def test_an_agent_finds_what_it_may_read_and_the_person_everything() -> None:
    world = World()
    ada, ben, cy = world.join("ada"), world.join("ben"), world.join("cy")
    public = world.send(ada, "to all")
    secret = world.send(ada, "@ben a secret")
    answer = world.send(ben, "thanks", secret)
    assert found(world, cy) == [public]
    assert found(world, ben) == found(world, ada) == found(world, THE_CLI) == [answer, secret, public]
    assert found(world, THE_USER, sender="ben") == [answer]
    assert found(world, cy, sender="ben") == []


def test_the_traffic_of_an_agent_is_what_it_wrote_and_what_was_addressed_to_it() -> None:
    world = World()
    ada, ben, cy = world.join("ada"), world.join("ben"), world.join("cy")
    public = world.send(ada, "to all")
    direct = world.send(ada, "@ben a secret")
    own = world.send(ben, "my own")
    here = world.send(cy, "@here who is there?")
    reply = world.send(cy, "about yours", own)
    world.send(cy, "about hers", public)
    assert found(world, THE_USER, party="ben") == [reply, here, own, direct]
    assert found(world, cy, party="ben") == [reply, here, own], "what is private stays so"
    assert found(world, THE_USER, party="ben", sender="ada") == [direct]


def test_every_group_of_marks_is_met_by_exactly_what_fits() -> None:
    world = World()
    ada, ben, cy = world.join("ada"), world.join("ben"), world.join("cy")
    messages = [
        world.send(ada, "to all", importance="important"),
        world.send(ada, "@ben a secret"),
        world.send(ben, "@user: well?"),
        world.send(THE_CLI, "hello"),
        world.send(ada, "@here, all of you"),
    ]
    messages.append(world.send(cy, "a reply", messages[0]))
    world.flag(ada, messages[0])
    world.claim(ben, messages[0])
    world.badge(ben, messages[3], "own", "value")
    searches: list[dict[str, object]] = [
        {}, {"sender": "ada"}, {"sender": "cli"}, {"badge": "task"}, {"badge": "task:claimed"}, {"badge": "task:open"},
        {"badge": "importance:high"}, {"badge": "own"}, {"badge": "own:value"}, {"badge": "question:true"},
        {"sender": "ben", "badge": "question"}, {"party": "ben"}, {"party": "cy"}, {"party": "ada", "sender": "cy"},
    ]  # fmt: skip
    for who in (ada, ben, cy, THE_CLI):
        for fields in searches:
            wanted = seek(world, who, **fields)
            by_marks = {
                message for message in messages if all(marked(world, message) & {*group} for group in wanted.marks)
            }
            assert by_marks == set(found(world, who, **fields)), (who, fields)


def test_a_badge_that_is_gone_is_no_match_whatever_the_index_says() -> None:
    world = World()
    ada, ben = world.join("ada"), world.join("ben")
    task = world.send(ada, "do it")
    world.flag(ada, task)
    wanted = seek(world, THE_CLI, badge="task:open")
    assert rules.fits(world.state, THE_CLI, wanted, world.seq(task))
    world.claim(ben, task)
    assert not rules.fits(world.state, THE_CLI, wanted, world.seq(task))


def test_times_are_compared_to_the_second_both_ends_included() -> None:
    world = World()
    ada = world.join("ada")
    sent = []
    for number in range(4):
        world.now = START_MS + number * 60_000 + 500
        sent.append(world.send(ada, f"minute {number}"))
    since, until = iso(START_MS + 60_000), iso(START_MS + 120_000 + 900)
    assert found(world, THE_CLI, since=since, until=until) == [sent[2], sent[1]]
    assert found(world, THE_CLI, since=iso(START_MS + 10**9)) == []


def test_a_page_goes_on_before_the_message_where_the_last_one_ended() -> None:
    world = World()
    ada = world.join("ada")
    sent = [world.send(ada, f"{number}") for number in range(4)]
    assert found(world, THE_CLI, before=sent[2]) == [sent[1], sent[0]]


def test_events_are_no_results() -> None:
    world = World()
    ada = world.join("ada")
    task = world.send(ada, "do it")
    world.flag(ada, task)
    assert found(world, THE_CLI) == [task]


def test_what_was_cleared_from_the_channel_is_found_all_the_same() -> None:
    world = World()
    ada = world.join("ada")
    before = world.send(ada, "old")
    world.clear(ada)
    assert found(world, THE_CLI) == [before]


# --- excerpts


def test_a_short_text_is_shown_whole() -> None:
    assert rules.excerpt("short", ("zzz",)) == (0, 5)


def test_a_long_text_is_shown_around_the_first_phrase_from_the_beginning_of_a_word() -> None:
    text = "lorem ipsum " * 500 + "the needle_in it" + " dolor sit" * 500
    start, end = rules.excerpt(text, ("missing", "NEEDLE-in"))
    assert "the needle_in it" in text[start:end]
    assert end - start <= EXCERPT_CHARS
    assert text[start - 1] == " "
    assert rules.excerpt(text, ()) == (0, EXCERPT_CHARS)


@given(st.text(max_size=3000), st.lists(st.text(min_size=1, max_size=5), max_size=3))
def test_an_excerpt_is_a_part_of_the_text(text: str, phrases: list[str]) -> None:
    start, end = rules.excerpt(text, tuple(phrases))
    assert 0 <= start <= end <= len(text)
    assert end - start <= EXCERPT_CHARS
    assert (end > start) == bool(text)
