"""Who is meant by a text: a table of what is written and whom it names."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosschat.core.addressing import Directory, Mentions, audience_of, find_mentions, refuse_unknown
from crosschat.core.ledger import Audience
from crosschat.errors import Code, Refused
from crosschat.model import USER
from tests.core.world import refused

NAMES = {
    "alice": "a1",
    "bob": "a2",
    "Carol": "a3",
    "api": "a4",
    "api-worker-c3d4": "a5",
    "web-1111": "a6",
    "web-2222": "a7",
    "v1.2": "a8",
    "odd_": "a9",
    "me": "a0",
}
DIRECTORY = Directory(NAMES)


def found(text: str) -> Mentions:
    return find_mentions(text, DIRECTORY, "a0")


def names(*agents: str, unresolved: tuple[str, ...] = (), here: bool = False, user: bool = False) -> Mentions:
    return Mentions(tuple(NAMES[agent] for agent in agents), here, user, unresolved)


ROWS: list[tuple[str, Mentions]] = [
    # no mention
    ("", names()),
    ("hello", names()),
    ("@", names()),
    ("@ alice", names()),
    ("@-alice", names()),
    # where a mention stands
    ("@alice", names("alice")),
    ("look, @alice", names("alice")),
    ("first\n@alice\n", names("alice")),
    ("(@alice) [@bob] {@Carol}", names("alice", "bob", "Carol")),
    ("\"@alice\" and '@bob'", names("alice", "bob")),
    ("**@alice** *@bob*", names("alice", "bob")),
    ("cc:@alice,@bob;@Carol|@api", names("alice", "bob", "Carol", "api")),
    ("@alice @bob @alice", names("alice", "bob")),
    ("@bob @alice", names("bob", "alice")),
    # what follows a name
    ("@alice, go", names("alice")),
    ("@alice: go", names("alice")),
    ("@alice! @bob?", names("alice", "bob")),
    ("ask @alice.", names("alice")),
    ("ask @alice...", names("alice")),
    ("@alice's idea", names("alice")),
    ("@alice- yes", names("alice")),
    ("@alice_", names("alice")),
    ("@alice/", names("alice")),
    ("@v1.2", names("v1.2")),
    ("@v1.2.", names("v1.2")),
    ("@odd_", names("odd_")),
    # exact, other case, base name; the longest
    ("@ALICE @Bob @carol", names("alice", "bob", "Carol")),
    ("@api", names("api")),
    ("@api-worker", names("api-worker-c3d4")),
    ("@API-Worker", names("api-worker-c3d4")),
    ("@api-worker-c3d4", names("api-worker-c3d4")),
    ("@api-worker.", names("api-worker-c3d4")),
    ("@web-1111", names("web-1111")),
    ("@web", names(unresolved=("web",))),  # two are called so
    ("@api-wroker", names(unresolved=("api-wroker",))),  # a slip must not reach @api
    ("@alicex", names(unresolved=("alicex",))),
    ("@nobody @nobody", names(unresolved=("nobody",))),
    ("@alice and @nobody", names("alice", unresolved=("nobody",))),
    # groups and reserved names
    ("@here", names(here=True)),
    ("@HERE, all", names(here=True)),
    ("@here.com", names(unresolved=("here.com",))),
    ("@user?", names(user=True)),
    ("@User.", names(user=True)),
    ("@user @here @alice", names("alice", here=True, user=True)),
    ("@system @cli", names(unresolved=("system", "cli"))),
    # code
    ("`@alice`", names()),
    ("`a @alice b` @bob", names("bob")),
    ("``a ` @alice``", names()),
    ("`a` @alice `b`", names("alice")),
    ("` @alice", names("alice")),
    ("`` @alice `", names("alice")),
    ("`a\n@alice`", names()),
    ("```\n@alice\n```", names()),
    ("```\n@alice\n```\n@bob", names("bob")),
    ("@bob\n```py\n@alice\n```\n", names("bob")),
    ("   ~~~\n@alice\n   ~~~\n@bob", names("bob")),
    ("````\n```\n@alice\n````\n@bob", names("bob")),
    ("```\n~~~\n@alice\n```\n@bob", names("bob")),
    ("```\n@alice", names()),  # a fence that is not closed ends with the text
    ("text ```@alice``` @bob", names("bob")),
    ("```x``` @alice", names("alice")),  # a span, though it stands where a fence may
    ("~~~ `x` ~~~\n@alice", names()),  # an info string of tildes may hold anything
    # addresses, paths, packages
    ("x@here.com", names()),
    ("mail bob@alice or a.b+c@bob", names()),
    ("git@alice:repo.git", names()),
    ("https://host/@alice", names()),
    ("_@alice_ and not everybody", names("alice")),
    ("**@alice**, not everybody", names("alice")),
    ("@types/node", names()),
    ("@alice/core and more", names("alice")),  # a name that is known is meant, so that it goes to nobody else
    ("@nobody/core", names()),
    ("@alice/@bob", names("alice", "bob")),
    ("see...@alice", names("alice")),
    ("@alice.Thanks", names("alice")),
    ("@alice-x", names(unresolved=("alice-x",))),
    ("npm i @types/node, @alice", names("alice")),
    ("@@alice", names()),
    # other scripts: a name ends where its letters end, and a word before it is no address
    ("@alice\N{FULLWIDTH COMMA}请看", names("alice")),
    ("@alice请看", names("alice")),
    ("请@alice看", names("alice")),
    ("«@alice» „@bob“", names("alice", "bob")),
    ("@alicé", names(unresolved=("alic",))),
    ("@élodie", names()),
]


@pytest.mark.parametrize(("text", "expected"), ROWS)
def test_a_text_names_exactly_those(text: str, expected: Mentions) -> None:
    assert found(text) == expected


def test_naming_oneself_addresses_nobody_and_is_no_unknown_name() -> None:
    assert found("@me here, ready") == Mentions()
    assert found("@me: thanks, @alice") == names("alice")
    refuse_unknown(found("@me here, ready"), DIRECTORY)


def test_a_name_that_is_also_a_longer_ones_base_is_taken_exactly() -> None:
    directory = Directory({"api": "a1", "api-c3d4": "a2"})
    assert directory.find("api") == "a1"
    assert directory.find("API") == "a1"
    assert directory.find("api-c3d4") == "a2"


def test_an_empty_directory_finds_nobody() -> None:
    assert find_mentions("@alice @here", Directory({}), "a0") == Mentions(here=True, unresolved=("alice",))


def test_only_unknown_names_are_refused_with_candidates_and_the_remedy() -> None:
    with refused(Code.UNKNOWN_MENTION, "@alise"):
        refuse_unknown(found("@alise, look"), DIRECTORY)
    with refused(Code.UNKNOWN_MENTION, "@alice"):
        refuse_unknown(found("@alise, look"), DIRECTORY)
    with refused(Code.UNKNOWN_MENTION, "backticks"):
        refuse_unknown(found("@zzzzzz"), DIRECTORY)


def test_an_ambiguous_name_is_refused_with_all_it_could_mean() -> None:
    with refused(Code.UNKNOWN_MENTION, "@web-1111, @web-2222"):
        refuse_unknown(found("@web, look"), DIRECTORY)


def test_the_refusal_of_many_names_stays_short() -> None:
    text = " ".join(f"@{'n' * 60}{number}" for number in range(400))
    with pytest.raises(Refused) as caught:
        refuse_unknown(found(text), DIRECTORY)
    assert len(caught.value.message) < 1000


@pytest.mark.parametrize("text", ["hello", "@alice @nobody", "@here @nobody", "@user @nobody"])
def test_a_text_with_a_known_name_is_not_refused(text: str) -> None:
    refuse_unknown(found(text), DIRECTORY)


def test_the_own_name_does_not_turn_a_slip_into_a_broadcast() -> None:
    with refused(Code.UNKNOWN_MENTION, "@alise"):
        refuse_unknown(found("@me to @alise: the password is …"), DIRECTORY)


CONNECTED = frozenset({"a0", "a1", "a2"})
AUDIENCES: list[tuple[str, Audience]] = [
    ("hello", Audience()),
    ("@me ready", Audience()),
    ("@alice", Audience(frozenset({"a1"}), private=True)),
    ("@alice @api", Audience(frozenset({"a1", "a4"}), private=True)),
    ("@user", Audience(frozenset({USER}), private=True)),
    ("@user @alice", Audience(frozenset({USER, "a1"}), private=True)),
    ("@here", Audience(frozenset({"a1", "a2"}), here=True)),  # everybody connected, without the author
    ("@here @api", Audience(frozenset({"a1", "a2", "a4"}), here=True)),  # and who is named, though away
    ("@here @user", Audience(frozenset({"a1", "a2", USER}), here=True)),
]


@pytest.mark.parametrize(("text", "expected"), AUDIENCES)
def test_the_audience_follows_from_the_mentions(text: str, expected: Audience) -> None:
    assert audience_of(found(text), CONNECTED, "a0") == expected


PIECES = st.sampled_from(
    ["@", "`", "``", "```", "~~~", "\n", " ", "/", ".", "-", "_", "alice", "bob", "here", "user", "é", "x", "请"]
)
TEXTS = st.text(max_size=60) | st.lists(PIECES, max_size=25).map("".join)


@settings(deadline=None)
@given(TEXTS)
def test_any_text_has_mentions_of_known_agents_only(text: str) -> None:
    mentions = found(text)
    assert set(mentions.agents) <= set(NAMES.values()) - {"a0"}
    assert len(set(mentions.agents)) == len(mentions.agents)
    for name in mentions.unresolved:
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name)
        assert DIRECTORY.find(name) is None


@settings(deadline=None)
@given(TEXTS)
def test_nothing_in_a_fence_is_a_mention(text: str) -> None:
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 3)
    assert found(f"{fence}\n{text}\n{fence}\n") == Mentions()
    assert found(f"{fence}\n{text}\n{fence}\n@alice") == names("alice")


@settings(deadline=None)
@given(st.lists(st.sampled_from(sorted(NAMES.keys() - {"me"})), min_size=1, max_size=6))
def test_names_written_with_spaces_are_all_found_in_order(written: list[str]) -> None:
    text = " ".join(f"@{name}" for name in written)
    assert found(text) == names(*dict.fromkeys(written))
