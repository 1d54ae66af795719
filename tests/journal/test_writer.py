"""The persistence writer against a log that fails or waits on demand."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs
import pytest
import trio
import trio.testing

from crosschat.errors import Code, JournalBroken, Refused
from crosschat.journal import writer as writer_module
from crosschat.journal.feed import Feed
from crosschat.journal.files import RealFiles
from crosschat.journal.format import decode, encode, has_more
from crosschat.journal.store import Log, NotWritten, open_directory
from crosschat.journal.writer import (
    Committed,
    Operation,
    Outcome,
    WriterStats,
    write_log,
)
from crosschat.limits import BATCH_OPERATIONS
from crosschat.model import THE_CLI, Actor, AnyRecord, Message, Slot
from tests.journal.faulty import Fault, FaultyFiles
from tests.journal.records import message

if TYPE_CHECKING:
    from pathlib import Path


@attrs.frozen
class Decision:
    records: tuple[AnyRecord, ...] = ()
    reply: object = None


@attrs.define(eq=False, slots=False)
class FakeLog:
    """A log in memory. `before` runs in the writer's thread and may wait or raise."""

    lines: list[bytes] = attrs.Factory(list)
    batches: list[int] = attrs.Factory(list)
    before: Callable[[], None] = lambda: None

    @property
    def next_seq(self) -> int:
        return len(self.lines) + 1

    def append(self, lines: Sequence[bytes]) -> None:
        self.before()
        self.lines += lines
        self.batches.append(len(lines))


def full() -> None:
    raise NotWritten(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))


def broken() -> None:
    raise JournalBroken("the sync failed")


@attrs.define(eq=False, slots=False)
class Bench:
    """A writer's surroundings. A frame is the text of a message; `a+b` makes two records, a frame
    that begins with `#` refuses, with `!` is a defect, with `?` asks only; `x:…` touches key x.
    """

    log: FakeLog = attrs.Factory(FakeLog)
    outcomes: list[tuple[str, Decision | Refused]] = attrs.Factory(list)
    events: list[str] = attrs.Factory(list)
    state: list[AnyRecord] = attrs.Factory(list)
    seen: dict[str, int] = attrs.Factory(dict)
    defects: list[BaseException] = attrs.Factory(list)
    stats: WriterStats = attrs.Factory(WriterStats)
    send: trio.MemorySendChannel[Operation] = attrs.field(init=False)
    receive: trio.MemoryReceiveChannel[Operation] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.send, self.receive = trio.open_memory_channel(1000)

    def decide(self, who: Actor, frame: object, slot: Slot) -> Decision:
        text = str(frame)
        self.seen[text] = len(self.state)
        if text.startswith("#"):
            raise Refused(Code.INVALID, "no")
        if text.startswith("!"):
            raise ZeroDivisionError
        if text.startswith("?"):
            return Decision(reply=text)
        parts = text.split("+")
        records = tuple(message(slot.seq + i, part) for i, part in enumerate(parts))
        return Decision(records, reply=slot.seq)

    def keys(self, who: Actor, frame: object) -> frozenset[str]:
        key, colon, _ = str(frame).partition(":")
        return frozenset({key} if colon else ())

    def apply(self, record: AnyRecord) -> None:
        self.state.append(record)
        self.events.append(f"apply {record.seq}")

    def publish(self, committed: Sequence[Committed]) -> None:
        assert all(decode(item.line) == item.record for item in committed)
        self.events.append(f"publish {committed[0].record.seq}..{committed[-1].record.seq}")

    def ask(self, *texts: str) -> None:
        for text in texts:
            self.send.send_nowait(Operation(THE_CLI, text, self.settle(text)))

    def settle(self, text: str) -> Callable[[Outcome], None]:
        def settle(outcome: Outcome) -> None:
            assert isinstance(outcome, Decision | Refused)
            self.outcomes.append((text, outcome))
            self.events.append(f"settle {text}")

        return settle

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        await write_log(
            self.receive, log=self.log, decide=self.decide,
            keys=self.keys,
            apply=self.apply, publish=self.publish, clock_ms=lambda: 5,
            on_defect=self.defects.append, stats=self.stats, task_status=task_status,
        )  # fmt: skip

    async def finish(self, *texts: str) -> None:
        """Ask all of these, then let the writer end by itself."""
        self.ask(*texts)
        self.send.close()
        with trio.fail_after(5):
            await self.run()

    def codes(self) -> list[str]:
        return [
            f"{text} {outcome.reply if isinstance(outcome, Decision) else outcome.code}"
            for text, outcome in self.outcomes
        ]


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_records_are_applied_then_answered_then_published(bench: Bench) -> None:
    await bench.finish("one", "two")
    assert bench.events == ["apply 1", "apply 2", "settle one", "settle two", "publish 1..2"]
    assert bench.codes() == ["one 1", "two 2"]
    assert bench.log.batches == [2]
    assert (bench.stats.batches, bench.stats.records, len(bench.stats.times_s)) == (1, 2, 1)


async def test_nothing_is_told_before_the_sync_has_returned(bench: Bench) -> None:
    entered, gate = threading.Event(), threading.Event()

    def before() -> None:
        entered.set()
        gate.wait(5)

    bench.log.before = before
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.run)
        bench.ask("one")
        await trio.to_thread.run_sync(entered.wait)
        bench.ask("two", "three")
        await trio.testing.wait_all_tasks_blocked()
        assert bench.events == []
        gate.set()
        bench.send.close()
    assert bench.log.batches == [1, 2]  # what came during the sync shares the next one
    assert bench.codes() == ["one 1", "two 2", "three 3"]


async def test_a_batch_is_bounded(bench: Bench) -> None:
    texts = [f"t{number}" for number in range(BATCH_OPERATIONS + 10)]
    await bench.finish(*texts)
    assert bench.log.batches == [BATCH_OPERATIONS, 10]
    big = Bench()
    await big.finish(*["z" * 200_000 + str(number) for number in range(12)])
    assert big.log.batches == [6, 6]


async def test_an_operation_on_the_same_thing_sees_the_one_before_it_committed(
    bench: Bench,
) -> None:
    await bench.finish("k:one", "two", "k:three", "j:four", "k:five")
    assert bench.seen == {"k:one": 0, "two": 0, "k:three": 2, "j:four": 2, "k:five": 4}
    assert bench.log.batches == [2, 2, 1]
    assert [text for text, _ in bench.outcomes] == ["k:one", "two", "k:three", "j:four", "k:five"]


async def test_a_refusal_or_a_defect_costs_only_its_operation(bench: Bench) -> None:
    await bench.finish("one", "#no", "!bug", "two", "\ud800", "z" * 300_000)
    assert bench.codes()[:4] == ["one 1", "#no invalid", "!bug internal", "two 2"]
    assert [code.rpartition(" ")[2] for code in bench.codes()[4:]] == ["invalid", "too_large"]
    assert [type(error) for error in bench.defects] == [ZeroDivisionError]
    assert bench.log.batches == [2]


async def test_records_with_seqs_of_their_own_are_a_defect(bench: Bench) -> None:
    decide = bench.decide
    bench.decide = lambda who, frame, slot: decide(  # type: ignore[method-assign]
        who, frame, Slot(slot.seq + (frame == "bad"), slot.now_ms)
    )
    await bench.finish("one", "bad", "two")
    assert bench.codes() == ["one 1", "bad internal", "two 2"]


async def test_an_operation_of_several_records_is_marked_in_the_log(bench: Bench) -> None:
    await bench.finish("a+b+c", "d")
    assert [has_more(line[:-1]) for line in bench.log.lines] == [True, True, False, False]
    assert bench.codes() == ["a+b+c 1", "d 4"]


async def test_an_answer_without_records_waits_for_its_batch_but_needs_no_sync(
    bench: Bench,
) -> None:
    await bench.finish("?one")
    assert (bench.codes(), bench.log.batches) == (["?one ?one"], [])
    other = Bench()
    await other.finish("one", "?two")
    assert other.events == ["apply 1", "settle one", "settle ?two", "publish 1..1"]


async def test_a_full_disk_refuses_one_batch_and_the_next_may_succeed(bench: Bench) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.run)
        bench.log.before = full
        bench.ask("one", "?two", "#three")
        while len(bench.outcomes) < 3:
            await trio.testing.wait_all_tasks_blocked(0.01)
        bench.log.before = lambda: None
        bench.ask("four")
        bench.send.close()
    assert bench.codes() == ["one storage_full", "?two ?two", "#three invalid", "four 1"]
    assert bench.events[-3:] == ["apply 1", "settle four", "publish 1..1"]
    assert bench.stats.failed_batches == 1


async def test_a_broken_log_ends_the_task_and_nothing_is_acked(bench: Bench) -> None:
    bench.log.before = broken
    other_end = bench.send.clone()
    with pytest.raises(JournalBroken):
        await bench.finish("one", "?two", "k:three", "k:four", "five")
    assert {code.rpartition(" ")[2] for code in bench.codes()} == {"unavailable"}
    assert sorted(text for text, _ in bench.outcomes) == ["?two", "five", "k:four", "k:three", "one"]
    assert bench.state == []
    with pytest.raises(trio.BrokenResourceError):
        other_end.send_nowait(Operation(THE_CLI, "later", bench.settle("later")))
    other_end.close()


async def test_state_that_cannot_take_a_record_ends_the_task(bench: Bench) -> None:
    def apply(record: AnyRecord) -> None:
        raise ZeroDivisionError

    bench.apply = apply  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        await bench.finish("one", "two")
    assert bench.codes() == ["one unavailable", "two unavailable"]
    assert bench.events == ["settle one", "settle two"]


async def test_an_asker_in_trouble_does_not_keep_the_others_waiting(bench: Bench) -> None:
    def settle(outcome: Outcome) -> None:
        raise trio.BrokenResourceError

    bench.send.send_nowait(Operation(THE_CLI, "one", settle))
    await bench.finish("two")
    assert bench.codes() == ["two 2"]
    assert len(bench.defects) == 1


@pytest.mark.parametrize("fails", [False, True])
async def test_a_cancel_in_the_middle_of_the_sync_loses_and_doubles_nothing(bench: Bench, fails: bool) -> None:
    entered, gate = threading.Event(), threading.Event()

    def before() -> None:
        entered.set()
        gate.wait(5)
        if fails:
            full()

    bench.log.before = before
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.run)
        bench.ask("k:one")
        await trio.to_thread.run_sync(entered.wait)
        bench.ask("two", "k:three")
        nursery.cancel_scope.cancel()
        gate.set()
    if fails:
        assert bench.codes()[0] == "k:one storage_full"
        assert (bench.log.lines, bench.state) == ([], [])
    else:
        assert bench.codes()[0] == "k:one 1"
        assert bench.events[:3] == ["apply 1", "settle k:one", "publish 1..1"]
        assert len(bench.log.lines) == 1
    assert bench.codes()[1:] == ["two unavailable", "k:three unavailable"]


async def test_every_operation_is_settled_exactly_once_wherever_the_cancel_comes() -> None:
    texts = ["k:a", "k:b", "c", "#d", "?e", "k:f", "g+h"]
    for step in range(60):
        bench = Bench()
        bench.ask(*texts)
        with trio.CancelScope() as scope:
            counter = CancelAt(step, scope)
            trio.lowlevel.add_instrument(counter)
            try:
                bench.send.close()
                await bench.run()
            finally:
                trio.lowlevel.remove_instrument(counter)
        assert sorted(text for text, _ in bench.outcomes) == sorted(texts), step
        acked = [o.reply for _, o in bench.outcomes if isinstance(o, Decision) and o.records]
        assert len(bench.state) == len(bench.log.lines)
        assert len(acked) <= len(bench.log.lines)


@attrs.define(eq=False)
class CancelAt(trio.abc.Instrument):
    """Cancel when tasks have been stepped so often."""

    left: int
    scope: trio.CancelScope

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.left -= 1
        if self.left == 0:
            self.scope.cancel()


# With the real log


@pytest.mark.parametrize("kind", ["ENOSPC", "EIO"])
async def test_what_was_acked_is_there_and_what_was_refused_is_not(tmp_path: Path, kind: str) -> None:
    for at in range(0, 24):
        home = tmp_path / f"{at}"
        files = FaultyFiles()
        open_directory(home, files)
        log, _ = Log.recover(home, files)
        feed = Feed(log)
        bench = Bench(log=log)  # type: ignore[arg-type]
        bench.publish = feed.append  # type: ignore[method-assign]
        files.fault = Fault(len(files.calls) + at, kind)  # type: ignore[arg-type]
        with suppress(JournalBroken):
            await bench.finish(*[f"k:{number}" for number in range(8)])
        files.fault = None
        log.close()
        acked = [text for text, o in bench.outcomes if not isinstance(o, Refused)]
        assert len(bench.outcomes) == 8
        again, recovery = Log.recover(home, RealFiles())
        there = [record.content for record in again.replay() if isinstance(record, Message)]
        again.close()
        assert recovery.damages == ()
        assert set(acked) <= set(there)
        assert len(there) - len(acked) in (0, 1)  # one more: synced in fact, but nobody was told


# The checks must be able to fail


async def problems(bench: Bench) -> list[str]:
    """What is wrong after a run in which the second write meets a full disk."""
    full_at = iter([False, True, False, False, False])
    bench.log.before = lambda: full() if next(full_at) else None
    await bench.finish("k:1", "k:2", "k:3", "k:4")
    there = [decode(line) for line in bench.log.lines]
    texts = [record.content for record in there if isinstance(record, Message)]
    found = []
    committed = 0
    for text, outcome in bench.outcomes:
        if isinstance(outcome, Decision):
            if text not in texts:
                found.append(f"{text} was acked and is not there")
            if bench.seen[text] != committed:
                found.append(f"{text} did not see what was committed before it")
            if bench.events.index(f"settle {text}") < bench.events.index(f"apply {outcome.reply}"):
                found.append(f"{text} was answered before it was applied")
            committed += 1
    if bench.state != there:
        found.append("the state is not what the log says")
    return found


async def test_the_checks_find_nothing_in_the_writer_as_it_is(bench: Bench) -> None:
    assert await problems(bench) == []
    assert bench.codes() == ["k:1 1", "k:2 storage_full", "k:3 2", "k:4 3"]


async def no_commit(self: object, batch: writer_module._Batch, limiter: trio.CapacityLimiter) -> list[Committed]:
    return batch.committed


@pytest.mark.parametrize("defect", ["ack without a write", "ack what failed", "share a batch"])
async def test_the_checks_find_a_defect_that_was_put_in(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, defect: str
) -> None:
    if defect == "ack without a write":
        monkeypatch.setattr(writer_module._Writer, "commit", no_commit)
    elif defect == "ack what failed":
        monkeypatch.setattr(writer_module._Batch, "refuse", lambda *_, **__: None)
    else:
        bench.keys = lambda who, frame: frozenset()  # type: ignore[method-assign]
    try:
        found = await problems(bench)
    except ValueError as error:
        found = [str(error)]
    assert found


def test_the_percentiles_of_no_times_are_zero() -> None:
    stats = WriterStats()
    assert stats.percentile_s(99) == 0
    stats.times_s.extend(number / 100 for number in range(100))
    assert (stats.percentile_s(50), stats.percentile_s(99)) == (0.5, 0.99)


def test_a_line_in_the_log_is_what_was_published() -> None:
    assert decode(encode(message(1), more=True)) == message(1)
