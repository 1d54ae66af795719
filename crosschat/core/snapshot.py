"""The state as bytes, and back: what a start reads instead of the whole log. Disposable.

Invariant: `load(dump(state))` and a replay of the same records are equal in everything that can be asked. A snapshot is
bound to the log it was made from by who stores it; here it is only values. `VERSION` changes with any change of the
state's shape, and a snapshot of another version is not used, so it is never migrated.
"""

from __future__ import annotations

import base64
import json
from array import array
from typing import Final

import attrs
from cattrs.preconf.json import make_converter

from crosschat.core.addressing import Directory
from crosschat.core.ledger import Audience, Ledger
from crosschat.core.remembered import Remembered, Stored
from crosschat.core.state import Agent, State, Task, Thread
from crosschat.wire import BadgeView

VERSION: Final = 4


class UnusableSnapshot(Exception):
    """Of another version, or not a snapshot; the log has everything."""


@attrs.frozen
class _Columns:
    """A ledger: its columns in base64, and the tables their numbers point into."""

    kinds: str
    authors: str
    audiences: str
    roots: str
    times: str
    author_table: list[str]
    audience_table: list[Audience]


@attrs.frozen
class _Thread:
    seqs: list[int]
    replied: dict[str, int]
    drawn_in: list[str]
    run: int


@attrs.frozen
class _Shape:
    """The fields of a State that are not derived from its others."""

    version: int
    head: int
    epochs: list[tuple[int, str]]
    ledger: _Columns
    channel: list[int]
    threads: dict[int, _Thread]
    badges: dict[int, tuple[BadgeView, ...]]
    tasks: dict[int, Task]
    agents: dict[str, Agent]
    clears: list[int]
    requests: Stored
    foreign_ids: dict[str, int]


def dump(state: State) -> bytes:
    """The whole state. About 32 bytes for each remembered request, 25 for each other record."""
    shape = _Shape(
        version=VERSION,
        head=state.head,
        epochs=state.epochs,
        ledger=_columns(state.ledger),
        channel=state.channel.tolist(),
        threads={
            root: _Thread(thread.seqs.tolist(), thread.replied, sorted(thread.drawn_in), thread.run)
            for root, thread in state.threads.items()
        },
        badges=state.badges,
        tasks=state.tasks,
        agents=state.agents,
        clears=state.clears,
        requests=state.requests.store(),
        foreign_ids=state.foreign_ids,
    )
    return json.dumps(_CONVERTER.unstructure(shape), ensure_ascii=False, separators=(",", ":")).encode()


def load(data: bytes) -> State:
    """The state that `dump` was given. Raises UnusableSnapshot."""
    try:
        values = json.loads(data)
        if values["version"] != VERSION:
            raise UnusableSnapshot(f"version {values['version']}")
        shape = _CONVERTER.structure(values, _Shape)
        ledger = _ledger(shape.ledger)
        requests = Remembered.restore(shape.requests)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, ExceptionGroup) as error:
        raise UnusableSnapshot(repr(error)) from error
    state = State()
    state.head = shape.head
    state.epochs = shape.epochs
    state.ledger = ledger
    state.channel = array("Q", shape.channel)
    state.threads = {
        root: Thread(array("Q", thread.seqs), thread.replied, set(thread.drawn_in), thread.run)
        for root, thread in shape.threads.items()
    }
    state.badges = shape.badges
    open_question = BadgeView(type="question", value="true")
    state.questions = {
        seq
        for seq, badges in shape.badges.items()
        if any(attrs.evolve(one, label=None) == open_question for one in badges)
    }
    state.agents = shape.agents
    state.clears = shape.clears
    state.requests = requests
    state.foreign_ids = shape.foreign_ids
    state.foreign_seqs = {seq: identifier for identifier, seq in shape.foreign_ids.items()}
    state.directory = Directory({agent.name: agent.id for agent in shape.agents.values()})
    for task in shape.tasks.values():
        state.put_task(task)
    return state


def _columns(ledger: Ledger) -> _Columns:
    kinds, authors, audiences, roots, times = (base64.b64encode(one.tobytes()).decode() for one in ledger.columns)
    return _Columns(kinds, authors, audiences, roots, times, ledger.author_table, ledger.audience_table)


def _ledger(columns: _Columns) -> Ledger:
    ledger = Ledger()
    texts = (columns.kinds, columns.authors, columns.audiences, columns.roots, columns.times)
    for column, text in zip(ledger.columns, texts, strict=True):
        column.frombytes(base64.b64decode(text))
    if len({len(column) for column in ledger.columns}) != 1:
        raise ValueError("columns of different length")
    ledger.intern(columns.author_table, columns.audience_table)
    return ledger


_CONVERTER: Final = make_converter()
