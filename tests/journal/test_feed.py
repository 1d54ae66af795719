"""The feed: memory or disk, a reader cannot tell; and no reader waits by polling."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from crosschat.journal import feed as feed_module
from crosschat.journal.feed import Feed
from crosschat.journal.files import RealFiles
from crosschat.journal.format import encode
from crosschat.journal.store import Gap, Log, open_directory
from crosschat.journal.writer import Committed
from tests.journal.records import lines, message

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    open_directory(tmp_path / "data", RealFiles())
    log, _ = Log.recover(tmp_path / "data", RealFiles())
    log.append(lines(1, 20))
    yield log
    log.close()


def commit(log: Log, feed: Feed, count: int) -> None:
    new = [message(seq) for seq in range(log.next_seq, log.next_seq + count)]
    committed = [Committed(record, encode(record)) for record in new]
    log.append([item.line for item in committed])
    feed.append(committed)


async def test_records_come_from_disk_and_memory_in_one_order(log: Log) -> None:
    feed = Feed(log)
    commit(log, feed, 10)
    cursor, seen = 0, []
    with trio.fail_after(5):
        while records := await feed.after(cursor, 7, 10**6):
            seen += records
            cursor = records[-1].seq
    assert seen == [message(seq) for seq in range(1, 31)]
    assert await feed.after(30, 7, 10**6) == []
    assert await feed.after(99, 7, 10**6) == []


async def test_limits_hold_in_memory_as_on_disk(log: Log) -> None:
    feed = Feed(log)
    commit(log, feed, 10)
    line = len(lines(25, 25)[0])
    for cursor in (2, 22):
        assert len(await feed.after(cursor, 3, 10**6)) == 3
        assert len(await feed.after(cursor, 100, line * 2 + 5)) == 2
        assert len(await feed.after(cursor, 100, 1)) == 1


async def test_records_are_got_by_seq_from_wherever_they_are(log: Log) -> None:
    feed = Feed(log)
    commit(log, feed, 2)
    assert await feed.get([22, 21]) == [message(22), message(21)]
    assert await feed.get([22, 3, 99]) == [
        message(22), message(3), Gap(99, "there is no such record")
    ]  # fmt: skip


async def test_nothing_is_told_that_was_not_published(log: Log) -> None:
    feed = Feed(log)
    log.append(lines(21, 21))
    assert [record.seq for record in await feed.after(18, 10, 10**6)] == [19, 20]
    assert await feed.get([21]) == [Gap(21, "there is no such record")]
    with pytest.raises(ValueError, match="published after"):
        feed.append([Committed(message(22), b"")])


async def test_memory_is_bounded_and_what_left_it_is_read_from_disk(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "FEED_RECORDS", 5)
    feed = Feed(log)
    commit(log, feed, 20)
    assert len(feed._recent) == 5
    assert [record.seq for record in await feed.after(21, 100, 10**6)] == list(range(22, 41))
    monkeypatch.setattr(feed_module, "FEED_BYTES", 300)
    commit(log, feed, 1)
    assert sum(len(item.line) for item in feed._recent) <= 300


async def test_waiting_readers_are_woken_and_others_are_not(log: Log, autojump_clock: trio.testing.MockClock) -> None:
    feed = Feed(log)
    woken: list[tuple[int, int]] = []

    async def wait(seq: int) -> None:
        woken.append((seq, await feed.wait_beyond(seq)))

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            for seq in (5, 20, 21, 22):
                nursery.start_soon(wait, seq)
            await trio.testing.wait_all_tasks_blocked()
            assert woken == [(5, 20)]
            commit(log, feed, 2)
            await trio.testing.wait_all_tasks_blocked()
            assert sorted(woken) == [(5, 20), (20, 22), (21, 22)]
            nursery.cancel_scope.cancel()
    with trio.fail_after(5):
        assert await feed.wait_beyond(21) == 22


async def test_a_cancelled_read_takes_nothing_away(log: Log) -> None:
    feed = Feed(log)
    with trio.CancelScope() as scope:
        scope.cancel()
        await feed.after(0, 10, 10**6)
    assert scope.cancelled_caught
    assert len(await feed.after(0, 10, 10**6)) == 10


async def test_a_slow_disk_holds_up_only_those_who_read_from_it(log: Log) -> None:
    feed = Feed(log)
    commit(log, feed, 1)
    gate, entered = threading.Event(), threading.Event()
    after = log.after

    def slow(*args: int, **limits: int) -> object:
        entered.set()
        gate.wait(5)
        return after(*args, **limits)

    log.after = slow  # type: ignore[method-assign, assignment]
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(feed.after, 0, 10, 10**6)
            await trio.to_thread.run_sync(entered.wait)
            assert len(await feed.after(20, 10, 10**6)) == 1
            gate.set()
