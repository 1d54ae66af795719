"""What a start finds on disk: the data directory checked, the log recovered, the state of its last record.

Plain synchronous code, before any task and socket, under the lock. Nothing here is needed again while the hub runs but
`save_index`, which a clean stop calls so that the next start is quick.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

import attrs

from crosschat.core import snapshot
from crosschat.core.state import State
from crosschat.journal import index
from crosschat.journal.directory import open_directory
from crosschat.journal.store import Log
from crosschat.limits import SEGMENT_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from crosschat.journal.files import Files

INDEX_BEHIND_RECORDS: Final = 5_000  # a start that had to read more saves what it learnt before it serves


@attrs.frozen
class Recovered:
    """What the log gave back: the state of its last record, and what people should know."""

    log: Log
    state: State
    notices: tuple[str, ...]
    begin_epoch: bool


def recover(home: Path, files: Files, *, segment_bytes: int = SEGMENT_BYTES) -> Recovered:
    """Open the data directory and bring the state up to date. Blocks. Raises DataDirectoryError, JournalBroken."""
    notes = open_directory(home, files)
    found = index.load(files, home)
    log, recovery = Log.recover(home, files, found, segment_bytes=segment_bytes)
    state = _restore(recovery.snapshot)
    restored = state.head
    with _without_collecting():
        state.apply_all(log.glances(after=restored))
    if state.head - restored > INDEX_BEHIND_RECORDS:
        save_index(log, state, home, files)
    notices = list(notes)
    if recovery.shortened:
        notices.append("the log is older than the index beside it: it was restored from a copy, and a new epoch begins")
    if recovery.cut:
        torn = f"{recovery.cut.file}: {recovery.cut.reason}"
        notices.append(f"the end of the log was torn and was cut ({torn}); a copy is in damaged/")
    return Recovered(log, state, tuple(notices), begin_epoch=recovery.shortened or not state.epochs)


@contextmanager
def _without_collecting() -> Iterator[None]:
    """Nothing that is made here is garbage in a cycle, and looking for some in a state that grows takes long."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _restore(found: index.Snapshot | None) -> State:
    """The state a usable snapshot holds, else that of an empty log."""
    if found is not None:
        with suppress(snapshot.UnusableSnapshot):
            return snapshot.load(found.state)
    return State()


def save_index(log: Log, state: State, home: Path, files: Files) -> None:
    """Make the next start quick. Whatever goes wrong costs only that: the log has everything."""
    with suppress(OSError):
        taken = log.snapshot(state.head, epoch=state.epoch, state=snapshot.dump(state))
        if taken is not None:
            index.save(files, home, taken)
