"""The state as bytes, and back: what a start reads instead of the whole log. Disposable.

Eight bytes say how long the JSON (`_Shape`) is that follows: everything of which there is little, and how long the
columns are. Then come the columns of numbers as they are in memory, of which there is one row for each record of the
log. Nothing has to be parsed or made for each of these, so a million records are read as quickly as their bytes.

Invariant: `load(dump(state))` and a replay of the same records are equal in everything that can be asked. A snapshot is
bound to the log and the machine it was made on by who stores it; here it is only values. `VERSION` changes with any
change of the state's shape, and a snapshot of another version is not used, so it is never migrated.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import attrs
from cattrs.preconf.json import make_converter

from crosschat.core.ledger import Audience
from crosschat.core.state import Agent, State, Task
from crosschat.wire import BadgeView

if TYPE_CHECKING:
    from array import array

VERSION: Final = 5
_SIZE_BYTES: Final = 8


class UnusableSnapshot(Exception):
    """Of another version, or not a snapshot; the log has everything."""


@attrs.frozen
class _Shape:
    """The fields of a State that are not derived from its others; `columns` are the lengths of its columns."""

    version: int
    head: int
    epochs: list[tuple[int, str]]
    columns: list[int]
    authors: list[str]
    audiences: list[Audience]
    circles: list[list[str]]
    guarded: list[int]
    badges: dict[int, tuple[BadgeView, ...]]
    tasks: dict[int, Task]
    agents: dict[str, Agent]
    clears: list[int]
    oldest_request: int
    foreign_ids: dict[str, int]


def dump(state: State) -> bytes:
    """The whole state. About 28 bytes for each remembered request, 28 for each reply, 25 for each other record."""
    columns = _columns(state)
    shape = _Shape(
        version=VERSION,
        head=state.head,
        epochs=state.epochs,
        columns=[len(column) for column in columns],
        authors=state.ledger.author_table,
        audiences=state.ledger.audience_table,
        circles=[sorted(circle) for circle in state.threads.circle_table],
        guarded=sorted(state.threads.guarded),
        badges=state.badges,
        tasks=state.tasks,
        agents=state.agents,
        clears=state.clears,
        oldest_request=state.requests.oldest,
        foreign_ids=state.foreign_ids,
    )
    line = json.dumps(_CONVERTER.unstructure(shape), ensure_ascii=False, separators=(",", ":")).encode()
    return b"".join((len(line).to_bytes(_SIZE_BYTES), line, *(memoryview(column) for column in columns)))


def load(data: bytes | memoryview) -> State:
    """The state that `dump` was given. Raises UnusableSnapshot."""
    try:
        whole = memoryview(data)
        end = _SIZE_BYTES + int.from_bytes(whole[:_SIZE_BYTES])
        values = json.loads(bytes(whole[_SIZE_BYTES:end]))
        if values["version"] != VERSION:
            raise UnusableSnapshot(f"version {values['version']}")
        shape = _CONVERTER.structure(values, _Shape)
        state = State()
        _fill(_columns(state), shape.columns, whole[end:])
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, ExceptionGroup) as error:
        raise UnusableSnapshot(repr(error)) from error
    state.head = shape.head
    state.epochs = shape.epochs
    state.ledger.intern(shape.authors, shape.audiences)
    state.threads.intern([frozenset(circle) for circle in shape.circles])
    state.threads.guarded = set(shape.guarded)
    state.requests.oldest = shape.oldest_request
    state.badges = shape.badges
    open_question = BadgeView(type="question", value="true")
    state.questions = {
        seq
        for seq, badges in shape.badges.items()
        if any(attrs.evolve(one, label=None) == open_question for one in badges)
    }
    state.put_agents(shape.agents.values())
    state.clears = shape.clears
    state.foreign_ids = shape.foreign_ids
    state.foreign_seqs = {seq: identifier for identifier, seq in shape.foreign_ids.items()}
    for task in shape.tasks.values():
        state.put_task(task)
    return state


def _columns(state: State) -> tuple[array[int], ...]:
    return (*state.ledger.columns, state.channel, *state.threads.columns, *state.requests.columns)


def _fill(columns: tuple[array[int], ...], lengths: list[int], data: memoryview) -> None:
    """Put into each column what `data` has of it. Raises ValueError if that is not all."""
    for column, length in zip(columns, lengths, strict=True):
        del column[:]
        column.frombytes(data[: length * column.itemsize])
        if len(column) != length:
            raise ValueError("columns of different length")
        data = data[length * column.itemsize :]
    if data:
        raise ValueError("columns of different length")


_CONVERTER: Final = make_converter()
