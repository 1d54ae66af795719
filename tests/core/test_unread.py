"""What is unread, and what showing a page confirms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from crosschat.core.handle import MARKED_SEQS, Receive
from crosschat.core.unread import CURSOR_STEP, FEW, confirmation, tally_unread
from crosschat.model import THE_CLI, THE_SYSTEM, Actor, Clear, Cursor, Receipt
from tests.core.world import World

if TYPE_CHECKING:
    from crosschat.core.state import Agent


def agent(world: World, who: Actor) -> Agent:
    return world.state.agents[who.id]


def chat(count: int) -> tuple[World, Actor, Actor, list[int]]:
    """Two agents and the seqs of so many messages from the first to the second."""
    world = World()
    a, b = world.join("a"), world.join("b")
    return world, a, b, [world.seq(world.send(a, f"message {number}")) for number in range(count)]


def show(world: World, who: Actor, page: list[int]) -> int:
    """Show a page and confirm it; returns how much stays unread."""
    confirm, left = confirmation(world.state, agent(world, who), page)
    if confirm is not None:
        world.mark(who, confirm.upto, *confirm.seqs)
    return left


def test_a_tally_goes_on_from_the_last_one_however_much_came_since() -> None:
    world, a, b, seqs = chat(1)
    counts = []
    for more in (0, 1, FEW, FEW + 1, 3):
        for number in range(more):
            world.send(a, f"more {number}")
        tally = tally_unread(world.state, agent(world, b))
        counts.append(tally.count)
        assert (tally.count, tally.oldest) == (len(world.unread(b)), seqs[0])
        assert tally == tally_unread(world.state, agent(world, b))
    assert counts == [1, 2, FEW + 2, 2 * FEW + 3, 2 * FEW + 6]
    world.mark(b, seqs[0])
    assert tally_unread(world.state, agent(world, b)).count == 2 * FEW + 5
    world.clear(THE_CLI)
    assert tally_unread(world.state, agent(world, b)).count == 0


def test_nobody_has_its_own_messages_unread() -> None:
    world, a, b, seqs = chat(3)
    assert world.unread(a) == []
    assert world.unread(b) == seqs
    assert tally_unread(world.state, agent(world, b)).count == 3


def test_showing_the_oldest_moves_the_cursor_to_just_before_the_next_unread_one() -> None:
    world, a, b, seqs = chat(3)
    own = world.seq(world.send(b, "from b"))
    last = world.seq(world.send(a, "last"))
    confirm, left = confirmation(world.state, agent(world, b), seqs)
    assert confirm is not None
    assert (confirm.upto, confirm.seqs, left) == (own, (), 1)
    show(world, b, seqs)
    assert world.unread(b) == [last]


def test_showing_all_of_it_moves_the_cursor_to_the_end() -> None:
    world, _, b, seqs = chat(3)
    head = world.state.head
    assert show(world, b, seqs) == 0
    assert agent(world, b).cursor == head
    assert world.unread(b) == []


def test_showing_the_newest_never_skips_what_is_older() -> None:
    world, _, b, seqs = chat(5)
    before = agent(world, b).cursor
    confirm, left = confirmation(world.state, agent(world, b), seqs[3:])
    assert confirm is not None
    assert confirm.seqs == tuple(seqs[3:])
    assert (confirm.upto or 0) < seqs[0]
    assert left == 3
    show(world, b, seqs[3:])
    assert world.unread(b) == seqs[:3]
    assert agent(world, b).cursor in range(before, seqs[0])


def test_what_was_shown_beyond_is_not_shown_again_and_is_forgotten_once_passed() -> None:
    world, _, b, seqs = chat(5)
    show(world, b, [seqs[1], seqs[3]])
    assert world.unread(b) == [seqs[0], seqs[2], seqs[4]]
    show(world, b, [seqs[0]])
    assert agent(world, b).cursor == seqs[2] - 1  # it steps over the second, which was shown
    assert agent(world, b).shown == {seqs[3]}
    show(world, b, [seqs[2], seqs[4]])
    assert agent(world, b).shown == set()
    assert world.unread(b) == []


def test_a_page_without_anything_unread_confirms_nothing() -> None:
    """Else every read would write a record, which the next read would confirm in turn."""
    world, _, b, seqs = chat(3)
    show(world, b, seqs)
    assert confirmation(world.state, agent(world, b), seqs) == (None, 0)
    assert confirmation(world.state, agent(world, b), []) == (None, 0)


def test_a_cursor_that_fell_far_behind_is_moved_even_so() -> None:
    world, a, b, seqs = chat(1)
    c = world.join("c")
    show(world, b, seqs)
    while world.state.head - agent(world, b).cursor < CURSOR_STEP:
        world.send(a, "@c not for b")
    assert world.unread(b) == []
    confirm, left = confirmation(world.state, agent(world, b), [])
    assert confirm is not None
    assert (confirm.upto, left) == (world.state.head, 0)
    assert len(world.unread(c)) > 200


def test_a_page_of_what_is_meant_for_others_confirms_nothing_unread() -> None:
    world = World()
    a, b, c = world.join("a"), world.join("b"), world.join("c")
    world.see_everything(c)
    seqs = [world.seq(world.send(a, "a plan")), world.seq(world.send(a, "@b secret"))]
    assert show(world, c, [seqs[1]]) == 1
    assert world.unread(c) == seqs[:1]
    assert world.unread(b) == seqs


def test_a_cursor_only_rises_and_never_beyond_what_there_is() -> None:
    world, a, b, seqs = chat(3)
    world.mark(b, 10**30)
    assert world.last(Cursor).upto == seqs[-1]
    records = len(world.records)
    for upto in (seqs[0], 0, -5, None):
        world.mark(b, upto)
    assert len(world.records) == records
    assert world.unread(b) == []
    later = world.seq(world.send(a, "later"))
    assert world.unread(b) == [later]


def test_marks_of_what_is_not_there_are_left_out() -> None:
    world, _, b, seqs = chat(3)
    world.mark(b, None, -1, 0, 10**30, seqs[2], world.state.head + 1)
    assert world.last(Receipt).seqs == (seqs[2],)
    records = len(world.records)
    world.mark(b, None, seqs[2])
    world.mark(b, None, *range(10**6, 10**6 + 10))
    assert len(world.records) == records


def test_one_mark_has_so_many_single_receipts_and_no_more() -> None:
    world = World()
    a, b = world.join("a"), world.join("b")
    for _ in range(MARKED_SEQS + 10):
        world.send(a, "hello")
    seqs = world.unread(b)
    world.mark(b, None, *seqs)
    assert len(world.last(Receipt).seqs) == MARKED_SEQS
    assert world.unread(b) == seqs[MARKED_SEQS:]


def test_a_mark_of_nobody_is_left_out() -> None:
    world, *_ = chat(1)
    head = world.state.head
    assert world.mark(THE_CLI, 1, 1).records == ()
    assert world.mark(Actor("a99-0000"), 1).records == ()
    assert world.do(THE_SYSTEM, Receive("a99-0000", "shown", (1,))).records == ()
    assert world.do(THE_SYSTEM, Receive("a99-0000", "shown", ())).records == ()
    assert world.state.head == head


def test_unread_messages_and_receipts_outlast_a_restart() -> None:
    world, _, b, seqs = chat(4)
    show(world, b, [seqs[1]])
    before = world.unread(b)
    world.state = world.replayed()
    assert world.unread(b) == before


def test_a_clear_takes_unread_broadcasts_away_and_leaves_what_was_meant_for_one() -> None:
    world = World()
    a, b, c = world.join("a"), world.join("b"), world.join("c")
    plain = world.send(a, "hello all")
    here = world.send(a, "@here hello")
    direct = world.send(a, "@b look")
    root = world.send(b, "a plan")
    reply = world.send(a, "good", root)
    task = world.send(b, "do it")
    world.flag(b, task)
    claim = world.claim(a, task).seq
    assert world.unread_messages(b) == [plain, here, direct, reply]
    world.clear(THE_CLI)
    assert world.unread_messages(b) == [direct, reply]
    assert claim in world.unread(b)
    assert world.unread_messages(c) == []
    after = world.send(a, "hello again")
    assert world.unread_messages(c) == [after]


def test_a_clear_that_is_taken_back_brings_everything_back() -> None:
    world, _, b, seqs = chat(2)
    world.clear(THE_CLI)
    assert world.unread(b) == []
    record = world.last(Clear)
    for _ in range(2):  # the second has nothing left to take back
        world.state.apply(
            Clear(seq=world.state.head + 1, id="r9-0000", ts=world.now, by="user", upto=record.upto, undo=True)
        )
        assert world.unread(b) == seqs
    assert world.state.cleared_upto == 0


def test_of_two_clears_only_the_last_is_taken_back() -> None:
    world, a, b, _ = chat(2)
    world.clear(THE_CLI)
    first = world.state.cleared_upto
    late = world.seq(world.send(a, "later"))
    world.clear(THE_CLI)
    assert world.unread(b) == []
    world.state.apply(Clear(seq=world.state.head + 1, id="r9-0000", ts=world.now, by="user", upto=0, undo=True))
    assert world.state.cleared_upto == first
    assert world.unread(b) == [late]


@settings(deadline=None)
@given(st.lists(st.sets(st.integers(0, 11)), max_size=8))
def test_whatever_is_shown_in_whatever_order_the_rest_is_unread(pages: list[set[int]]) -> None:
    world, _, b, seqs = chat(12)
    shown: set[int] = set()
    for page in pages:
        shown |= page
        cursor = agent(world, b).cursor
        left = show(world, b, sorted(seqs[number] for number in page))
        expected = [seq for number, seq in enumerate(seqs) if number not in shown]
        assert world.unread(b) == expected
        assert left == len(expected)
        assert agent(world, b).cursor >= cursor
