"""Live, slow, catching up, live again: one cursor, no gap and no repeat at any seam."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest
import trio
import trio.lowlevel
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from crosschat.hub.delivery import CATCH_UP_RECORDS, Delivery
from crosschat.limits import FRAME_BYTES
from crosschat.websocket import Closed
from tests.hub.rig import FakeConnection, Middle
from tests.live.rig import eventually

if TYPE_CHECKING:
    from crosschat.model import AnyRecord
    from crosschat.websocket import Connection


class Reader:
    """An agent `a2` that is offered what is committed."""

    def __init__(self, middle: Middle, after: int | None = None) -> None:
        self.connection = FakeConnection()
        self.start = middle.feed.head if after is None else after
        connection: Connection = self.connection  # type: ignore[assignment]  # as much of it as a delivery uses
        self.delivery = Delivery(middle.router, connection, "a2", self.start)
        middle.router.attach("a2", self)
        middle.presence.arrive("a2", status="available", detail=None, offered=self.start, now_ms=0)

    def offer(self, fresh: object) -> None:
        self.delivery.offer(fresh)  # type: ignore[arg-type]

    def note(self, frame: bytes) -> None:
        """Nothing to do."""


async def test_a_live_reader_gets_each_commit_as_one_batch_at_once() -> None:
    middle = Middle("a1", "a2")
    reader = Reader(middle)
    middle.commit(*middle.messages(["one", "two"]))
    middle.commit(*middle.messages(["three"]))
    assert [[item.content for item in batch.items] for batch in reader.connection.batches] == [
        ["one", "two"],
        ["three"],
    ]
    reader.connection.check_coverage(reader.start)


async def test_what_does_not_concern_the_reader_is_covered_by_the_next_batch() -> None:
    middle = Middle("a1", "a2", "a3")
    reader = Reader(middle)
    middle.commit(*middle.messages(["secret"], to=("a3",)))
    middle.commit(middle.unseen("a1"))
    middle.commit(*middle.messages(["mine"], by="a2"))
    assert reader.connection.batches == []
    middle.commit(*middle.messages(["hello"]))
    assert [item.content for item in reader.connection.batches[0].items] == ["hello"]
    reader.connection.check_coverage(reader.start)


async def test_a_slow_reader_costs_no_frames_and_then_catches_up_from_the_feed(nursery: trio.Nursery) -> None:
    middle = Middle("a1", "a2")
    reader = Reader(middle)
    nursery.start_soon(reader.delivery.run)
    reader.connection.stuck = True
    for number in range(CATCH_UP_RECORDS + 10):
        middle.commit(*middle.messages([f"text {number}"]))
    await wait_all_tasks_blocked()
    assert len(reader.connection._unsent) == 1
    reader.connection.release()
    await wait_all_tasks_blocked()
    assert len(reader.connection.seqs()) == CATCH_UP_RECORDS + 10
    reader.connection.check_coverage(reader.start)
    nursery.cancel_scope.cancel()


async def test_a_commit_too_large_for_one_frame_arrives_in_frames_of_the_protocol_s_size(
    nursery: trio.Nursery,
) -> None:
    middle = Middle("a1", "a2")
    reader = Reader(middle)
    nursery.start_soon(reader.delivery.run)
    middle.commit(*middle.messages([chr(97 + row) * 32_000 for row in range(20)]))
    middle.commit(*middle.messages(["\x01" * 30_000 for row in range(8)]))  # six times as long as JSON
    await wait_all_tasks_blocked()
    assert len(reader.connection.seqs()) == 28
    assert reader.connection.largest <= FRAME_BYTES + 10
    reader.connection.check_coverage(reader.start)
    nursery.cancel_scope.cancel()


async def test_a_message_committed_while_lost_records_are_passed_over_is_not_lost_too(nursery: trio.Nursery) -> None:
    middle = Middle("a1", "a2")
    for text in ("x", "y"):  # on disk before the feed began, and unreadable
        (record,) = middle.messages([text])
        middle.log.records.append(record)
        middle.state.apply(record)
    middle.log.lost = {4, 5}
    feed = type(middle.feed)(middle.log)
    middle.router.feed = feed
    reader = Reader(middle, after=3)
    read = middle.log.after

    def read_while_somebody_sends(seq: int, **limits: int) -> object:
        found = read(seq, **limits)
        trio.from_thread.run_sync(lambda: middle.commit(*middle.messages(["meanwhile"])))
        middle.log.after = read  # type: ignore[method-assign]
        return found

    middle.log.after = read_while_somebody_sends  # type: ignore[assignment, method-assign]
    nursery.start_soon(reader.delivery.run)
    with trio.fail_after(5):
        while not reader.connection.batches:
            await trio.lowlevel.checkpoint()
    assert [item.content for item in reader.connection.batches[0].items] == ["meanwhile"]
    nursery.cancel_scope.cancel()


async def test_delivery_ends_when_the_connection_is_closed_while_it_waits(nursery: trio.Nursery) -> None:
    middle = Middle("a1", "a2")
    reader = Reader(middle)
    reader.connection.stuck = True
    middle.commit(*middle.messages(["one"]))
    middle.commit(*middle.messages(["two"]))
    nursery.start_soon(_close_once_it_waits, reader)
    with trio.fail_after(5), pytest.raises(Closed):
        await reader.delivery.run()


async def _close_once_it_waits(reader: Reader) -> None:
    await wait_all_tasks_blocked()
    reader.connection.close()


async def test_catching_up_leaves_out_what_was_cleared_or_shown_meanwhile(nursery: trio.Nursery) -> None:
    middle = Middle("a1", "a2")
    reader = Reader(middle)
    reader.connection.stuck = True
    middle.commit(*middle.messages(["one"]))
    middle.commit(*middle.messages(["two", "three"]))
    middle.commit(middle.clear())
    middle.commit(*middle.messages(["four", "five"]))
    middle.state.agents["a2"].shown.add(middle.feed.head)
    reader.connection.release()
    nursery.start_soon(reader.delivery.run)
    await wait_all_tasks_blocked()
    texts = [item.content for batch in reader.connection.batches for item in batch.items]
    assert texts == ["one", "four"]
    reader.connection.check_coverage(reader.start)
    nursery.cancel_scope.cancel()


STEP: st.SearchStrategy[tuple[str, list[str]]] = st.one_of(
    st.tuples(st.just("commit"), st.lists(st.sampled_from(["all", "a2", "a3", "own", "unseen", "big"]), max_size=6)),
    st.tuples(st.sampled_from(["stick", "release", "breathe", "settle"]), st.just([])),
)


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(STEP, max_size=25), behind=st.integers(0, 30))
def test_no_schedule_of_commits_and_slowness_leaves_a_hole_or_a_repeat(
    steps: list[tuple[str, list[str]]], behind: int
) -> None:
    trio.run(_play, steps, behind)


async def _play(steps: list[tuple[str, list[str]]], behind: int) -> None:
    middle = Middle("a1", "a2", "a3")
    for number in range(behind):  # history from before, that only the disk has
        (record,) = middle.messages([f"old {number}"])
        middle.log.records.append(record)
        middle.state.apply(record)
    middle.feed = middle.router.feed = type(middle.feed)(middle.log)
    reader = Reader(middle, after=4)
    expected = [4 + number + 1 for number in range(behind)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader.delivery.run)
        for action, kinds in steps:
            match action:
                case "commit":
                    expected += _commit(middle, kinds)
                case "stick":
                    reader.connection.stuck = True
                case "release":
                    reader.connection.release()
                case "breathe":
                    await trio.lowlevel.checkpoint()
                case _:
                    await wait_all_tasks_blocked()
        reader.connection.release()
        await eventually(lambda: reader.delivery.covered >= middle.feed.head)
        nursery.cancel_scope.cancel()
    assert reader.connection.seqs() == expected
    reader.connection.check_coverage(4)
    assert middle.presence.of("a2").offered == reader.delivery.told


def _commit(middle: Middle, kinds: list[str]) -> list[int]:
    """Commit records of these kinds at once; returns the seqs that concern a2."""
    records: list[AnyRecord] = []
    for kind in kinds:
        seq = middle.next_seq + len(records)
        record = (
            middle.unseen("a1")
            if kind == "unseen"
            else middle.messages(
                ["x" * 60_000 if kind == "big" else kind],
                to=(kind,) if kind in ("a2", "a3") else None,
                by="a2" if kind == "own" else "a1",
            )[0]
        )
        records.append(attrs.evolve(record, seq=seq))
    if records:
        middle.commit(*records)
    return [record.seq for record, kind in zip(records, kinds, strict=True) if kind in ("all", "a2", "big")]
