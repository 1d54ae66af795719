from __future__ import annotations

import random

from hypothesis import given, strategies

from crosschat.bridge.inbox import Inbox
from crosschat.wire import Confirm, Mark, Page
from tests.bridge.fakes import ME, PEER, batch, item, welcome


def joined(**limits: int) -> Inbox:
    inbox = Inbox(**limits)
    inbox.resume(welcome())
    return inbox


def seqs(inbox: Inbox) -> list[int]:
    return [one.seq for one in inbox.unread]


def test_what_is_delivered_is_unread_until_a_later_call_confirms_it() -> None:
    inbox = joined()
    assert inbox.add(batch(item(1), item(2)), 200)
    inbox.offer(1, 2)
    assert seqs(inbox) == [1, 2]
    assert inbox.confirm() == Mark(upto=2)
    assert seqs(inbox) == []
    assert inbox.confirm() is None


def test_what_was_filtered_counts_as_shown_with_what_was_shown() -> None:
    inbox = joined()
    inbox.add(batch(item(3), since=1, upto=9), 100)
    inbox.offer(1, 1)
    assert inbox.confirm() == Mark(upto=9)


def test_a_part_of_what_is_unread_is_confirmed_up_to_the_first_that_was_left() -> None:
    inbox = joined()
    inbox.add(batch(item(2), item(5), item(8), since=1), 300)
    inbox.offer(1, 2)
    assert inbox.confirm() == Mark(upto=7)
    assert seqs(inbox) == [8]


def test_the_end_of_the_turn_proves_what_its_calls_showed() -> None:
    inbox = joined()
    inbox.add(batch(item(1), item(2)), 200)
    inbox.offer(1, 1)
    assert inbox.confirm(turn_ended=True) == Mark(upto=1)
    assert seqs(inbox) == [2]


def test_what_may_come_after_the_turn_is_proven_by_the_end_of_the_next_or_by_a_call() -> None:
    inbox = joined()
    inbox.add(batch(item(1), item(2)), 200)
    inbox.offer(1, 1, late=True)
    assert inbox.confirm(turn_ended=True) is None
    assert seqs(inbox) == [1, 2]
    assert inbox.confirm(turn_ended=True) == Mark(upto=1)
    inbox.offer(2, 1, late=True)
    assert inbox.confirm() == Mark(upto=2)


def test_the_end_of_a_turn_proves_nothing_of_a_call_that_was_cancelled() -> None:
    inbox = joined()
    inbox.add(batch(item(1)), 100)
    inbox.offer(1, 1, late=True)
    inbox.confirm(turn_ended=True)
    inbox.withdraw(1)
    assert inbox.confirm(turn_ended=True) is None
    assert seqs(inbox) == [1]


def test_a_cancelled_call_is_shown_again() -> None:
    inbox = joined()
    inbox.add(batch(item(1)), 100)
    inbox.offer(7, 1)
    inbox.withdraw(7)
    assert inbox.confirm() is None
    assert seqs(inbox) == [1]


def test_a_call_that_is_cancelled_before_its_answer_offers_nothing() -> None:
    inbox = joined()
    inbox.add(batch(item(1)), 100)
    inbox.withdraw(7)
    inbox.offer(7, 1)
    assert inbox.confirm() is None


def test_a_hole_is_reported_and_nothing_of_its_batch_is_kept() -> None:
    inbox = joined()
    assert inbox.add(batch(item(1)), 100)
    assert not inbox.add(batch(item(3)), 100)
    assert seqs(inbox) == [1]
    assert inbox.last_seq == 1


def test_what_comes_twice_is_kept_once() -> None:
    inbox = joined()
    inbox.add(batch(item(1), item(2)), 100)
    assert inbox.add(batch(item(1), item(2), item(3)), 100)
    assert seqs(inbox) == [1, 2, 3]


def test_a_message_read_singly_is_not_delivered_again() -> None:
    inbox = joined()
    inbox.offer_page(1, Page(id="r1", confirm=Confirm(seqs=(2,))))
    assert inbox.confirm() == Mark(seqs=(2,))
    inbox.add(batch(item(1), item(2), item(3)), 100)
    assert seqs(inbox) == [1, 3]


def test_an_overflow_keeps_nothing_and_a_page_that_empties_the_hub_makes_it_good() -> None:
    inbox = joined(items_max=3)
    inbox.add(batch(*(item(seq) for seq in range(1, 5))), 400)
    assert not inbox.complete
    assert seqs(inbox) == []
    asked = inbox.dropped
    page = Page(id="r", items=(item(1), item(2)), unread=2, confirm=Confirm(upto=2))
    inbox.offer_page(1, page, dropped=asked)
    assert not inbox.complete
    inbox.confirm()
    page = Page(id="r", items=(item(3), item(4)), unread=0, confirm=Confirm(upto=4))
    inbox.offer_page(2, page, dropped=inbox.dropped)
    assert inbox.complete
    assert inbox.confirm() == Mark(upto=4)


def test_an_overflow_while_a_page_is_read_is_not_made_good_by_it() -> None:
    inbox = joined(items_max=1)
    inbox.add(batch(item(1), item(2)), 100)
    asked = inbox.dropped
    inbox.add(batch(item(3), item(4)), 100)
    inbox.offer_page(1, Page(id="r", confirm=Confirm(upto=2)), dropped=asked)
    assert not inbox.complete


def test_a_cancelled_page_of_the_hub_is_asked_for_again() -> None:
    inbox = joined(items_max=1)
    inbox.add(batch(item(1), item(2)), 100)
    page = Page(id="r", items=(item(1), item(2)), confirm=Confirm(upto=2))
    inbox.offer_page(1, page, dropped=inbox.dropped)
    assert inbox.complete
    inbox.withdraw(1)
    assert not inbox.complete
    assert inbox.confirm() is None


def test_large_texts_overflow_too() -> None:
    inbox = joined(chars_max=1000)
    inbox.add(batch(item(1)), 600)
    inbox.add(batch(item(2)), 600)
    assert not inbox.complete


def test_a_reconnect_continues_and_repeats_what_the_hub_may_not_have_heard() -> None:
    inbox = joined()
    inbox.add(batch(item(1), item(2), item(3)), 100)
    inbox.offer(1, 2)
    inbox.confirm()
    assert inbox.resume(welcome(after=3, cursor=0)) == Mark(upto=2)
    assert seqs(inbox) == [3]
    assert inbox.resume(welcome(after=3, cursor=2)) is None


def test_a_reconnect_that_begins_earlier_delivers_again_and_only_once() -> None:
    inbox = joined()
    inbox.add(batch(item(1), item(2), item(3)), 100)
    inbox.resume(welcome(after=1, cursor=0))
    inbox.add(batch(item(2), item(3), item(4)), 100)
    assert seqs(inbox) == [1, 2, 3, 4]


def test_a_reconnect_that_begins_later_has_missed_something() -> None:
    inbox = joined()
    inbox.add(batch(item(1)), 100)
    inbox.resume(welcome(after=5, cursor=0))
    assert not inbox.complete


def test_a_reconnect_behind_what_a_hook_has_shown_has_missed_nothing() -> None:
    inbox = joined()
    inbox.add(batch(item(1)), 100)
    inbox.resume(welcome(after=5, cursor=5))
    assert inbox.complete
    assert seqs(inbox) == []


def test_a_first_connection_behind_the_cursor_has_missed_something() -> None:
    inbox = Inbox()
    inbox.resume(welcome(after=5, cursor=2))
    assert not inbox.complete


def test_what_a_hook_has_shown_is_not_unread_after_a_reconnect() -> None:
    inbox = joined()
    inbox.add(batch(item(1), item(2)), 100)
    inbox.resume(welcome(after=2, cursor=1))
    assert seqs(inbox) == [2]


def test_another_log_begins_anew() -> None:
    inbox = joined()
    inbox.add(batch(item(1), item(2)), 100)
    inbox.offer(1, 2)
    assert inbox.resume(welcome(after=1, cursor=1, epoch="epoch-2")) is None
    assert seqs(inbox) == []
    assert inbox.confirm() is None
    assert inbox.complete


def test_direct_is_what_names_us_or_changes_what_concerns_us() -> None:
    inbox = joined()
    assert not inbox.is_direct(item(1))
    assert not inbox.is_direct(item(1, to=(ME, PEER), here=True))
    assert not inbox.is_direct(item(1, to=(PEER,)))
    assert inbox.is_direct(item(1, to=(ME,)))
    assert inbox.is_direct(item(1, kind="reply", thread="m0", to=(ME,)))
    assert inbox.is_direct(item(1, kind="resolve"))


@given(seed=strategies.integers(0, 2**32), items_max=strategies.integers(1, 12))
def test_whatever_happens_everything_is_shown_and_confirmed_in_the_end(seed: int, items_max: int) -> None:
    """Deliveries, reads, cancels and reconnects in any order, against a hub that is a list of numbers."""
    rng, inbox = random.Random(seed), Inbox(items_max=items_max)
    head = hub_cursor = calls = 0
    shown: set[int] = set()
    lost_mark = False
    inbox.resume(welcome())

    def call() -> None:
        nonlocal calls, hub_cursor
        calls += 1
        mark = inbox.confirm()
        if mark is not None and not lost_mark:
            hub_cursor = max(hub_cursor, mark.upto or 0)
        cancelled = rng.random() < 0.3
        if inbox.complete:
            count = rng.randint(0, len(inbox.unread))
            found = seqs(inbox)[:count]
            if count:
                inbox.offer(calls, count)
        else:
            unread = [seq for seq in range(1, head + 1) if seq > inbox.cursor]
            found = unread[:3]
            page = Page(
                id="r",
                items=tuple(map(item, found)),
                unread=len(unread) - len(found),
                confirm=Confirm(upto=found[-1]) if found else None,
            )
            inbox.offer_page(calls, page, dropped=inbox.dropped)
        if cancelled:
            inbox.withdraw(calls)
        else:
            shown.update(found)

    for _ in range(60):
        match rng.randint(0, 4):
            case 0 | 1:
                news = range(head + 1, head + rng.randint(1, 4) + 1)
                head = news[-1]
                assert inbox.add(batch(*map(item, news)), 100)
            case 2 | 3:
                call()
            case _:
                after = rng.randint(hub_cursor, inbox.last_seq)
                mark = inbox.resume(welcome(after=after, cursor=hub_cursor))
                hub_cursor = max(hub_cursor, (mark and mark.upto) or 0)
                assert inbox.add(batch(*map(item, range(after + 1, head + 1)), since=after + 1, upto=head), 100)
        confirmed = set(range(1, inbox.cursor + 1))
        assert confirmed <= shown, "confirmed without having been shown"
    for _ in range(2 * head + 60):
        call()
    assert shown == set(range(1, head + 1))


def test_a_clear_takes_what_was_for_everybody_and_leaves_the_rest() -> None:
    inbox = joined()
    inbox.add(batch(item(1), item(2, to=(ME,)), item(3, to=(ME, PEER), here=True), item(4, kind="reply"), item(5)), 500)
    inbox.clear(4)
    assert seqs(inbox) == [2, 4, 5]


def test_a_clear_that_was_missed_is_made_up_for_with_the_next_connection() -> None:
    inbox = joined()
    inbox.add(batch(item(1), item(2)), 200)
    inbox.resume(welcome(2, cursor=0, cleared=1))
    assert seqs(inbox) == [2]


def test_the_last_delivered_item_is_remembered_for_the_next_hello_until_the_log_is_another() -> None:
    inbox = joined()
    inbox.add(batch(item(1), item(2)), 200)
    assert inbox.last_item == (2, item(2).ts)
    inbox.resume(welcome(2, cursor=0))
    assert inbox.last_item == (2, item(2).ts)
    inbox.resume(welcome(0, epoch="another"))
    assert inbox.last_item is None
