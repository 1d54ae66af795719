"""The persistence writer: the one task through which every change of the log goes.

For each batch: take operations, decide each against committed state, write their records and sync
(in a worker thread), apply the records to the state, answer the operations, publish the records.

Invariant: nobody is told of a record, and the state does not have it, before it is durable; and
every decision sees the state of all operations before it, because an operation that touches what
one in the batch touches (`keys`) waits for the next batch. Every operation that was put into the
channel is settled exactly once, whatever ends the task.

A crash loses operations that were not settled, each as a whole (see `encode`'s `more`). A cancel
never interrupts a batch from its sync to its publication: it takes effect before or after it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import attrs
import trio

from crosschat.errors import Code, JournalBroken, Refused
from crosschat.journal.format import encode
from crosschat.journal.tail import NotWritten
from crosschat.limits import BATCH_BYTES, BATCH_OPERATIONS
from crosschat.model import Actor, AnyRecord, Slot

if TYPE_CHECKING:
    from collections.abc import Sequence

TIMES_KEPT: Final = 1024


class Decision(Protocol):
    """What `decide` returns, with whatever else `settle` is to get: the records to commit, all or none."""

    @property
    def records(self) -> tuple[AnyRecord, ...]: ...


Outcome: TypeAlias = "Decision | Refused"


@attrs.define(eq=False)
class Operation:
    """Something that an actor asks for. `settle` is called once, in the writer's task; it only
    passes the outcome on, and must not raise or wait.
    """

    who: Actor
    frame: object
    settle: Callable[[Outcome], None]


@attrs.frozen
class Committed:
    """A durable record and the line it has in the log."""

    record: AnyRecord
    line: bytes


@attrs.define(eq=False)
class WriterStats:
    """Counted since the start. `times_s`: how long the last writes with their sync took. `storage_full`: the last one
    was refused for want of room."""

    batches: int = 0
    records: int = 0
    bytes: int = 0
    refused: int = 0
    failed_batches: int = 0
    storage_full: bool = False
    times_s: deque[float] = attrs.Factory(lambda: deque(maxlen=TIMES_KEPT))

    def percentile_s(self, percent: float) -> float:
        """Of `times_s`, nearest rank; 0 if there is none yet."""
        times = sorted(self.times_s)
        return times[min(len(times) - 1, int(len(times) * percent / 100))] if times else 0.0


class Appends(Protocol):
    """The part of `Log` that the writer uses."""

    @property
    def next_seq(self) -> int: ...
    def append(self, lines: Sequence[bytes]) -> None: ...


async def write_log(
    operations: trio.MemoryReceiveChannel[Operation],
    *,
    log: Appends,
    decide: Callable[[Actor, object, Slot], Decision],
    keys: Callable[[Actor, object], frozenset[str]],
    apply: Callable[[AnyRecord], None],
    publish: Callable[[Sequence[Committed]], None],
    clock_ms: Callable[[], int],
    on_defect: Callable[[BaseException], None],
    stats: WriterStats | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Commit operations until their channel is closed and empty; closes its end of the channel.

    `decide` and `keys` are pure; `decide` may raise Refused, and gives its records the seqs from
    `slot.seq` on. Any other exception of theirs refuses that operation (INTERNAL) and goes to
    `on_defect`. A disk that is full or fails to write refuses the operations of one batch; the next
    may succeed. Raises JournalBroken when the log is; an exception of `apply` or `publish` is not
    caught either, because state and log would disagree. Whenever the task ends, operations that
    are still waiting are refused (UNAVAILABLE).
    """
    writer = _Writer(log, decide, keys, clock_ms, on_defect, stats or WriterStats())
    limiter = trio.CapacityLimiter(1)  # its own: readers may hold all threads of the common one
    task_status.started()
    waiting: Operation | None = None
    batch = _Batch()
    async with operations:
        try:
            while True:
                try:
                    first = waiting or await operations.receive()
                except trio.EndOfChannel:
                    return
                waiting = None
                batch = _Batch()
                waiting = writer.fill(batch, first, operations)
                with trio.CancelScope(shield=True):
                    committed = await writer.commit(batch, limiter)
                for item in committed:
                    apply(item.record)
                writer.settle(batch)
                if committed:
                    publish(committed)
        finally:
            batch.refuse(_STOPPING)
            writer.settle(batch)
            if waiting:
                writer.answer(waiting, _STOPPING)
            writer.refuse_waiting(operations)


_STOPPING: Final = Refused(Code.UNAVAILABLE, "The hub is stopping. Try again in a moment.")
_DEFECT: Final = Refused(Code.INTERNAL, "A defect of the hub; its log has the details.")


@attrs.define(eq=False)
class _Batch:
    """Operations that are decided, with their outcomes, and the lines of all their records."""

    outcomes: list[tuple[Operation, Outcome]] = attrs.Factory(list)
    committed: list[Committed] = attrs.Factory(list)
    keys: set[str] = attrs.Factory(set)
    size: int = 0

    def is_full(self) -> bool:
        return len(self.outcomes) >= BATCH_OPERATIONS or self.size >= BATCH_BYTES

    def refuse(self, refusal: Refused, *, only_with_records: bool = False) -> None:
        """Nothing of it was committed. An answer that needed no record may stand."""
        self.committed.clear()
        self.outcomes = [
            (operation, outcome)
            if isinstance(outcome, Refused) or (only_with_records and not outcome.records)
            else (operation, refusal)
            for operation, outcome in self.outcomes
        ]


@attrs.define(eq=False)
class _Writer:
    log: Appends
    decide: Callable[[Actor, object, Slot], Decision]
    keys: Callable[[Actor, object], frozenset[str]]
    clock_ms: Callable[[], int]
    on_defect: Callable[[BaseException], None]
    stats: WriterStats

    def fill(
        self,
        batch: _Batch,
        first: Operation,
        operations: trio.MemoryReceiveChannel[Operation],
    ) -> Operation | None:
        """Decide `first` and what else is there; returns the one that must wait, if one must."""
        operation = first
        while True:
            if not self._add(batch, operation):
                return operation
            if batch.is_full():
                return None
            try:
                operation = operations.receive_nowait()
            except (trio.WouldBlock, trio.EndOfChannel):
                return None

    def _add(self, batch: _Batch, operation: Operation) -> bool:
        """Decide one; False if it has to see this batch committed first."""
        try:
            keys = self.keys(operation.who, operation.frame)
            if not keys.isdisjoint(batch.keys):
                return False
            slot = Slot(self.log.next_seq + len(batch.committed), self.clock_ms())
            decision = self.decide(operation.who, operation.frame, slot)
            lines = _encode(decision.records, slot)
        except Refused as refused:
            batch.outcomes.append((operation, refused))
            return True
        except Exception as error:
            self.on_defect(error)
            batch.outcomes.append((operation, _DEFECT))
            return True
        batch.outcomes.append((operation, decision))
        batch.committed += lines
        if lines:
            batch.keys |= keys
        batch.size += sum(len(item.line) for item in lines)
        return True

    async def commit(self, batch: _Batch, limiter: trio.CapacityLimiter) -> list[Committed]:
        """Make the batch durable; the records to apply. Raises JournalBroken, batch refused."""
        if not batch.committed:
            return []
        lines = [item.line for item in batch.committed]
        started = time.perf_counter()
        try:
            await trio.to_thread.run_sync(self.log.append, lines, limiter=limiter)
        except NotWritten as failed:
            self.stats.failed_batches += 1
            self.stats.storage_full = failed.refusal.code is Code.STORAGE_FULL
            batch.refuse(failed.refusal, only_with_records=True)
        except JournalBroken:
            self.stats.failed_batches += 1
            batch.refuse(Refused(Code.UNAVAILABLE, "The log failed and the hub stops. Try later."))
            raise
        else:
            self.stats.times_s.append(time.perf_counter() - started)
            self.stats.storage_full = False
            self.stats.batches += 1
            self.stats.records += len(lines)
            self.stats.bytes += batch.size
        return batch.committed

    def settle(self, batch: _Batch) -> None:
        """Answer the operations of a batch, in order; each only once."""
        outcomes, batch.outcomes = batch.outcomes, []
        for operation, outcome in outcomes:
            self.answer(operation, outcome)

    def answer(self, operation: Operation, outcome: Outcome) -> None:
        self.stats.refused += isinstance(outcome, Refused)
        try:
            operation.settle(outcome)
        except Exception as error:  # one asker's trouble must not keep the others waiting
            self.on_defect(error)

    def refuse_waiting(self, operations: trio.MemoryReceiveChannel[Operation]) -> None:
        while True:
            try:
                self.answer(operations.receive_nowait(), _STOPPING)
            except (trio.WouldBlock, trio.EndOfChannel):
                return


def _encode(records: Sequence[AnyRecord], slot: Slot) -> list[Committed]:
    """The lines of one operation. Raises Refused, and ValueError for seqs that are not the slot's."""
    if [record.seq for record in records] != list(range(slot.seq, slot.seq + len(records))):
        raise ValueError("a decision's records have not the seqs that they were offered")
    last = len(records) - 1
    return [Committed(record, encode(record, more=index < last)) for index, record in enumerate(records)]
