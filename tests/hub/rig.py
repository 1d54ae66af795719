"""A router without doors: state, presence and feed in memory, and connections that take bytes when they are told to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
import trio

from crosschat import lock, wire
from crosschat.core.attention import Patience
from crosschat.core.presence import Presence
from crosschat.core.state import State
from crosschat.hub.audit import Audit
from crosschat.hub.instances import Instances
from crosschat.hub.keyring import Keyring
from crosschat.hub.launcher import Launcher
from crosschat.hub.lock import NoteFile
from crosschat.hub.notify import Notifier
from crosschat.hub.projects import Projects
from crosschat.hub.router import Router
from crosschat.hub.settings import Settings
from crosschat.hub.supervisor import Supervisor
from crosschat.journal.feed import Feed
from crosschat.journal.files import RealFiles
from crosschat.journal.format import encode
from crosschat.journal.store import Gap
from crosschat.journal.writer import Committed, Operation
from crosschat.model import AgentJoined, AnyRecord, Clear, Cursor, Epoch, Message
from crosschat.websocket import Closed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from crosschat.hub.log import Logger
    from crosschat.paths import Home

NOW_MS = 1_800_000_000_000


def keyring(home: Path) -> Keyring:
    """On the files below `home`; made again, it is what the next hub finds."""
    files = RealFiles()
    return Keyring(Settings(files, home / "settings.json"), Audit(home, files, lambda: NOW_MS), silent_log())


class MemoryLog:
    """The part of the log that the feed reads. `lost` seqs cannot be read; `gate` closed, an `after` waits."""

    def __init__(self) -> None:
        self.records: list[AnyRecord] = []
        self.lost: set[int] = set()

    @property
    def last_seq(self) -> int:
        return len(self.records)

    def read(self, seqs: Iterable[int]) -> list[AnyRecord | Gap]:
        return [Gap(seq, "lost") if seq in self.lost else self.records[seq - 1] for seq in seqs]

    def after(self, seq: int, *, upto: int, limit_records: int, limit_bytes: int) -> list[AnyRecord]:
        found: list[AnyRecord] = []
        size = 0
        for record in self.records[seq:upto]:
            if record.seq not in self.lost:
                size += len(encode(record))
                if found and (len(found) >= limit_records or size > limit_bytes):
                    break
                found.append(record)
        return found


def silent_log() -> Logger:
    logger: Logger = structlog.wrap_logger(None, processors=[_drop], wrapper_class=structlog.stdlib.BoundLogger)
    return logger


def _drop(_: object, __: str, ___: object) -> str:
    raise structlog.DropEvent


class RecordingLog:
    """What was logged, by event name."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []

    def error(self, event: str, **fields: object) -> None:
        self.events.append((event, fields))

    warning = error


class Middle:
    """A router on a memory log, and commits made without a writer."""

    def __init__(self, *agents: str) -> None:
        self.log = MemoryLog()
        self.state = State()
        first: list[AnyRecord] = [
            Epoch(seq=1, id="r1", ts=NOW_MS, by="system", epoch="e"),
            *(
                AgentJoined(seq=seq, id=f"r{seq}", ts=NOW_MS, by=agent, agent=agent, name=agent, cwd="/repo")
                for seq, agent in enumerate(agents, 2)
            ),
        ]
        for record in first:
            self.log.records.append(record)
            self.state.apply(record)
        self.operations, self.submitted = trio.open_memory_channel[Operation](1000)
        self.presence = Presence(NOW_MS)
        self.feed = Feed(self.log)
        self.router = Router(
            state=self.state,
            presence=self.presence,
            feed=self.feed,
            operations=self.operations,
            clock_ms=lambda: NOW_MS,
            log=silent_log(),
        )

    def commit(self, *records: AnyRecord) -> None:
        """What the writer does after a sync."""
        self.log.records += records
        for record in records:
            self.state.apply(record)
        self.router.publish([Committed(record, encode(record)) for record in records])

    @property
    def next_seq(self) -> int:
        return len(self.log.records) + 1

    def messages(self, texts: Sequence[str], to: tuple[str, ...] | None = None, by: str = "a1") -> list[AnyRecord]:
        """Messages that can be committed next, together."""
        return [
            Message(
                seq=seq,
                id=self.state.message_id(seq),
                ts=NOW_MS,
                by=by,
                content=text,
                source="agent",
                to=to,
                private=to is not None,
            )
            for seq, text in enumerate(texts, self.next_seq)
        ]

    def unseen(self, agent: str) -> AnyRecord:
        """A record that no reader gets."""
        return Cursor(seq=self.next_seq, id=f"r{self.next_seq}", ts=NOW_MS, by="system", agent=agent, upto=0)

    def clear(self) -> Clear:
        return Clear(seq=self.next_seq, id=f"r{self.next_seq}", ts=NOW_MS, by="a1", upto=self.next_seq - 1)


def supervise(router: Router, stop: Callable[[str], None], home: Path, idle_s: float | None = None) -> Supervisor:
    """One that holds the lock of `home` (close its `lock_fd` in the end) and has no doors to watch."""
    held = lock.try_hold(home / "hub.lock")
    assert held is not None
    note = NoteFile(RealFiles(), home / "dashboard.lock")
    return Supervisor(router, stop, silent_log(), home / "hub.lock", held, note, idle_s, 600.0)


def verbs_of(router: Router, settings: Settings, home: Home) -> tuple[Instances, Notifier]:
    """Projects and notifications of a door that is made without the hub's tree; their tasks do not run."""
    projects = Projects(RealFiles(), home.root / "instances.json")
    instances = Instances(router, projects, Launcher(home), settings, silent_log())
    return instances, Notifier(router, settings, Patience(), lambda: None, silent_log())


class FakeConnection:
    """Takes frames at once, or while it is `stuck` keeps them until it is released."""

    def __init__(self) -> None:
        self.batches: list[wire.Batch] = []
        self.largest = 0
        self.closed = False
        self.stuck = False
        self._unsent: list[bytes] = []
        self._change = trio.Event()

    unsent_bytes = 0

    @property
    def idle(self) -> bool:
        return not self._unsent

    def post(self, frame: bytes) -> None:
        if self.closed:
            raise Closed
        self.largest = max(self.largest, len(frame))
        if self.stuck:
            self._unsent.append(frame)
        else:
            self._take(frame)

    def _take(self, frame: bytes) -> None:
        size = frame[1]
        payload = frame[2 if size < 126 else 4 if size == 126 else 10 :]
        batch = wire.decode_hub(payload)
        assert isinstance(batch, wire.Batch)
        self.batches.append(batch)

    def release(self) -> None:
        self.stuck = False
        for frame in self._unsent:
            self._take(frame)
        self._unsent.clear()
        self._stir()

    def close(self) -> None:
        self.closed = True
        self._stir()

    def _stir(self) -> None:
        self._change.set()
        self._change = trio.Event()

    async def drained(self) -> None:
        while self._unsent and not self.closed:
            await self._change.wait()

    def seqs(self) -> list[int]:
        return [item.seq for batch in self.batches for item in batch.items]

    def check_coverage(self, after: int) -> None:
        """Every batch begins where the one before ended."""
        told = after
        for batch in self.batches:
            assert batch.from_seq == told + 1
            assert told < batch.to_seq
            assert all(told < item.seq <= batch.to_seq for item in batch.items)
            told = batch.to_seq


class CancelAt(trio.abc.Instrument):
    """Cancels `scope` before the `step`-th step that any task takes."""

    def __init__(self, step: int) -> None:
        self.left = step
        self.scope = trio.CancelScope()

    def before_task_step(self, _: trio.lowlevel.Task) -> None:
        self.left -= 1
        if self.left == 0:
            self.scope.cancel()
