"""The ledger keeps for every seq who wrote it, whom it reaches and where it belongs; gaps stay empty."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosschat.core.ledger import KINDS, LATEST_S, Audience, Entry, Ledger

AGENTS = ["a1", "a2", "a3"]
AUDIENCES = st.builds(
    Audience, to=st.none() | st.frozensets(st.sampled_from(AGENTS)), private=st.booleans(), here=st.booleans()
)
ROWS = st.lists(
    st.tuples(
        st.integers(1, 4),
        st.sampled_from(KINDS),
        st.sampled_from(AGENTS),
        AUDIENCES,
        st.integers(0, 9),
        st.integers(0, LATEST_S),
    ),
    max_size=12,
)


@settings(deadline=None)
@given(ROWS)
def test_what_was_entered_is_found_and_the_rest_is_empty(rows: list[tuple[int, str, str, Audience, int, int]]) -> None:
    ledger, expected, seq = Ledger(), dict[int, Entry](), 0
    for step, kind, author, audience, root, at_s in rows:
        seq += step
        ledger.add(seq, kind, author, audience, root, at_s=at_s)
        if kind:
            expected[seq] = Entry(seq, kind, author, audience, root, at_s)
    assert len(ledger) == seq
    for number in range(-1, seq + 3):
        assert ledger.get(number) == expected.get(number)
    for agent in [*AGENTS, "stranger"]:
        for after in (0, seq // 2, seq):
            assert list(ledger.meant_for(agent, after)) == [
                number
                for number, entry in expected.items()
                if number > after
                and entry.author != agent
                and (entry.audience.to is None or agent in entry.audience.to)
            ]


@pytest.mark.parametrize(("given_s", "kept_s"), [(-1, 0), (LATEST_S + 1, LATEST_S), (1 << 40, LATEST_S)])
def test_a_time_that_no_clock_shows_is_kept_as_the_nearest_that_fits(given_s: int, kept_s: int) -> None:
    ledger = Ledger()
    ledger.add(1, "message", "a1", Audience(), at_s=given_s)
    entry = ledger.get(1)
    assert entry is not None
    assert entry.at_s == kept_s


def test_the_last_messages_come_newest_first_without_what_is_about_them() -> None:
    ledger = Ledger()
    for seq, kind in enumerate(["message", "badge", "reply", "", "claim", "message"], 1):
        ledger.add(seq, kind, "a1", Audience())
    assert [entry.seq for entry in ledger.messages_before(7, 9)] == [6, 3, 1]
    assert [entry.seq for entry in ledger.messages_before(6, 1)] == [3]
    assert list(ledger.messages_before(1, 9)) == list(ledger.messages_before(99, 0)) == []


def test_a_seq_is_entered_once_and_in_order() -> None:
    ledger = Ledger()
    ledger.add(3, "message", "a1", Audience())
    for seq in (1, 3):
        with pytest.raises(ValueError, match=f"seq {seq} is not after 3"):
            ledger.add(seq, "message", "a1", Audience())
    assert len(ledger) == 3


def test_a_million_entries_are_kept_as_numbers() -> None:
    ledger = Ledger()
    for seq in range(1, 2001):
        ledger.add(seq, "message", f"a{seq % 3}", Audience(frozenset({"a0", "a1"})))
    assert sum(column.itemsize for column in ledger.columns) <= 24
    assert len(ledger.audience_table) == 1


READABLE = [
    (Audience(), "stranger", True),
    (Audience(frozenset({"a2"})), "stranger", True),  # meant for one, readable by all
    (Audience(frozenset({"a2"}), private=True), "a2", True),
    (Audience(frozenset({"a2"}), private=True), "a1", True),  # the author
    (Audience(frozenset({"a2"}), private=True), "stranger", False),
    (Audience(frozenset(), private=True), "stranger", False),
    (Audience(None, private=True), "stranger", True),
]


@pytest.mark.parametrize(("audience", "agent", "expected"), READABLE)
def test_only_what_is_private_is_kept_from_others(audience: Audience, agent: str, expected: bool) -> None:
    assert Entry(1, "message", "a1", audience, 0).readable_by(agent) is expected
