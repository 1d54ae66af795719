"""The documented files in `messages/`: the log again, for people and for `jq`.

    messages/general.jsonl          one line per message of the channel
    messages/threads/<root>.jsonl   one line per reply in that thread
    messages/badges/<id>.json       the badges of one message, as they are now
    messages/tasks/<id>.json        the task that a message is, as it is now, with its result
    index/projected                 up to which seq, and how long every file then was

Invariant: nothing is read from them but by people; deleting or spoiling them costs a rebuild. They
hold no checksum and are not synced. Paths are made of ids that match ID_PATTERN only.

A crash or a cancel leaves files longer than `index/projected` says. The next start cuts them back to
it and writes the rest again, so a line is never there twice. If one is shorter, missing, not whole
or of another epoch, all of them are made anew.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs
import trio

from crosschat.errors import Refused
from crosschat.journal.manifest import Foreign, Manifest
from crosschat.model import ID_PATTERN, USER, About, Badge, Message, Reply, Resolve, iso

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from crosschat.journal.feed import Feed
    from crosschat.journal.files import Files
    from crosschat.model import AnyRecord, JsonObject

ROUND_RECORDS: Final = 1000
ROUND_BYTES: Final = 1024 * 1024
DOCUMENTS: Final = 64  # made and written together; each may have a result of the largest size
PAUSE_S: Final = 0.5  # between two rounds, unless ROUND_RECORDS wait
MANIFEST_RECORDS: Final = 20_000  # so many at most are written again after a crash
MANIFEST_S: Final = 30.0
BACKOFF_S: Final = (0.5, 30.0)
FINISH_S: Final = 2.0

NameOf: TypeAlias = "Callable[[str], str | None]"
StateOf: TypeAlias = "Callable[[str], JsonObject | None]"
QuestionsIn: TypeAlias = "Callable[[str], Iterable[str]]"
_is_id: Final = re.compile(ID_PATTERN).fullmatch


@attrs.frozen
class Round:
    """What some records, up to `seq`, add to the files and change in them; made in the hub's task, written in a
    thread."""

    seq: int
    lines: dict[str, bytes]
    changed: tuple[str, ...]
    """Badge and task files whose content may be another now."""


async def project(
    feed: Feed,
    *,
    home: Path,
    files: Files,
    epoch: str,
    badges_of: StateOf,
    task_of: StateOf,
    questions_in: QuestionsIn,
    name_of: NameOf,
    on_trouble: Callable[[Exception], None],
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Keep the files at most a second or ROUND_RECORDS behind the feed, until cancelled.

    `badges_of` and `task_of` give the state of one message as JSON, None if it has none; where a task
    has an `outcome`, that is the seq of the record with its result and error, which take its place in
    the file. `questions_in` gives the ids of the questions to the person in the thread of a message.
    All are called in this task, about a state that is never behind the feed. An error of the disk goes
    to `on_trouble` and is tried again, ever more slowly: the files fall behind, nothing else does. On
    cancel what is already in the feed is written, for at most FINISH_S.
    """
    manifest = Manifest(home / "messages", home / "index" / "projected", files, epoch)
    composer = _Composer(badges_of, task_of, questions_in, name_of)
    limiter = trio.CapacityLimiter(1)
    task_status.started()
    delay = BACKOFF_S[0]
    saved = trio.current_time()
    stale: list[str] = []
    try:
        while True:
            try:
                if not manifest.opened:
                    stale = await trio.to_thread.run_sync(manifest.open, limiter=limiter)
                if stale:
                    await _write_documents(feed, manifest, composer, stale, limiter)
                    stale = []
                written = await _write_round(feed, manifest, composer, limiter)
                due = trio.current_time() - saved >= MANIFEST_S
                if manifest.unsaved >= MANIFEST_RECORDS or (due and manifest.unsaved):
                    await trio.to_thread.run_sync(manifest.save, limiter=limiter)
                    saved = trio.current_time()
                delay = BACKOFF_S[0]
            except Foreign:
                await trio.lowlevel.checkpoint()
            except (OSError, Refused) as error:
                on_trouble(error)
                await trio.sleep(delay)
                delay = min(delay * 2, BACKOFF_S[1])
            else:
                if written < ROUND_RECORDS:
                    with trio.move_on_after(PAUSE_S):
                        await feed.wait_beyond(manifest.seq + ROUND_RECORDS - 1)
                    await feed.wait_beyond(manifest.seq)
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + FINISH_S):
            await _finish(feed, manifest, composer, limiter, on_trouble)


async def _finish(
    feed: Feed,
    manifest: Manifest,
    composer: _Composer,
    limiter: trio.CapacityLimiter,
    on_trouble: Callable[[Exception], None],
) -> None:
    try:
        while manifest.opened and await _write_round(feed, manifest, composer, limiter):
            pass
        if manifest.opened and manifest.unsaved:
            await trio.to_thread.run_sync(manifest.save, limiter=limiter)
    except (OSError, Refused, Foreign) as error:
        on_trouble(error)


async def _write_round(feed: Feed, manifest: Manifest, composer: _Composer, limiter: trio.CapacityLimiter) -> int:
    """Write what comes next; returns how many records that was. Raises OSError, Refused, Foreign."""
    head = feed.head
    records = await feed.after(manifest.seq, ROUND_RECORDS, ROUND_BYTES)
    if not records:
        manifest.seq = max(manifest.seq, head)  # the rest of the log is a gap
        return 0
    work = composer.compose(records)
    # First what can be written again without harm; the lines and how far they reach come in one step.
    await _write_documents(feed, manifest, composer, work.changed, limiter)
    await trio.to_thread.run_sync(manifest.write, work.seq, work.lines, {}, limiter=limiter)
    return len(records)


async def _write_documents(
    feed: Feed, manifest: Manifest, composer: _Composer, paths: Sequence[str], limiter: trio.CapacityLimiter
) -> None:
    for first in range(0, len(paths), DOCUMENTS):
        documents = await composer.documents(feed, paths[first : first + DOCUMENTS])
        await trio.to_thread.run_sync(manifest.write, manifest.seq, {}, documents, limiter=limiter)


@attrs.frozen
class _Composer:
    badges_of: StateOf
    task_of: StateOf
    questions_in: QuestionsIn
    name_of: NameOf

    def compose(self, records: Iterable[AnyRecord]) -> Round:
        lines: dict[str, list[bytes]] = {}
        changed: dict[str, None] = {}
        answered: dict[str, None] = {}  # threads in which the person replied
        seq = 0
        for record in records:
            seq = record.seq
            if isinstance(record, Reply):
                path = f"threads/{_checked(record.root)}.jsonl"
                lines.setdefault(path, []).append(_line(record, self.name_of))
            elif isinstance(record, Message):
                lines.setdefault("general.jsonl", []).append(_line(record, self.name_of))
            if isinstance(record, About):
                changed[f"badges/{_checked(record.target)}.json"] = None
                if not isinstance(record, Badge):
                    changed[f"tasks/{_checked(record.target)}.json"] = None
            elif isinstance(record, Message) and (record.importance is not None or USER in record.mentions):
                changed[f"badges/{_checked(record.id)}.json"] = None
            if isinstance(record, Reply) and record.by == USER:
                answered[record.root] = None
        for root in answered:
            changed |= {f"badges/{_checked(question)}.json": None for question in self.questions_in(root)}
        joined = {path: b"".join(some) for path, some in lines.items()}
        return Round(seq, joined, tuple(changed))

    async def documents(self, feed: Feed, paths: Iterable[str]) -> dict[str, bytes | None]:
        """The current contents of badge and task files; None where the file must not be. Raises as `Feed.get`."""
        states: dict[str, JsonObject | None] = {}
        outcomes: dict[str, int] = {}
        for path in paths:
            directory, _, name = path.partition("/")
            state_of = self.badges_of if directory == "badges" else self.task_of
            states[path] = state = state_of(name.removesuffix(".json"))
            if state is not None and isinstance(seq := state.pop("outcome", None), int):
                outcomes[path] = seq
        for path, record in zip(outcomes, await feed.get(list(outcomes.values())), strict=True):
            state = states[path]
            if state is not None and isinstance(record, Resolve):  # and not a gap, where the log is damaged
                state["result"] = record.result
                if record.error is not None:
                    state["error"] = record.error
        return {path: _dump(state) if state else None for path, state in states.items()}


def _line(record: Message, name_of: NameOf) -> bytes:
    fields: JsonObject = {
        "seq": record.seq,
        "messageId": record.id,
        "timestamp": iso(record.ts),
        "from": record.by,
        "fromName": name_of(record.by) or record.by,
        "source": record.source,
        "content": record.content,
    }
    if isinstance(record, Reply):
        fields["threadId"] = record.root
    if record.to is not None:
        fields["to"] = list(record.to)
    if record.mentions:
        fields["mentions"] = list(record.mentions)
    if record.private:
        fields["private"] = True
    if record.importance is not None:
        fields["importance"] = record.importance
    if record.metadata is not None:
        fields["metadata"] = record.metadata
    return _dump(fields)


def _dump(value: JsonObject) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _checked(identifier: str) -> str:
    if not _is_id(identifier):
        raise ValueError("this is not an id")
    return identifier
