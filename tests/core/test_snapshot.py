"""The state as bytes: equal to a replay, never half believed."""

from __future__ import annotations

import pytest

from crosschat.core import snapshot, unread, views
from crosschat.core.handle import BeginEpoch, TakeUp
from crosschat.core.remembered import Remembered
from crosschat.core.snapshot import UnusableSnapshot
from crosschat.core.state import State
from crosschat.limits import LOOP_GUARD_MESSAGES
from crosschat.model import THE_SYSTEM, Message, TaskFilter
from tests.core.world import World


def everything(state: State) -> dict[str, object]:
    """What can be asked of a state, in comparable form."""
    entries = [state.ledger.get(seq) for seq in range(1, state.head + 1)]
    ids = [state.message_id(seq) for seq in range(1, state.head + 1)]
    return {
        "head": (state.head, state.epochs, state.cleared_upto, list(state.channel)),
        "entries": entries,
        "ids": [(identifier, state.message(identifier)) for identifier in ids],
        "threads": [
            (state.threads.seqs(seq), state.threads.circle(seq), state.threads.run(seq), state.threads.place(seq))
            for seq in range(1, state.head + 1)
        ],
        "guarded": state.threads.guarded,
        "tasks": state.tasks,
        "questions": state.questions,
        "held": {agent: targets for agent, targets in state.held.items() if targets},
        "badges": {seq: views.badges_of(state, seq) for seq in range(1, state.head + 1)},
        "agents": state.agents,
        "unread": {agent.id: list(unread.unread(state, agent)) for agent in state.agents.values()},
        "requests": list(state.requests.rows()),
        "names": [state.directory.find(agent.name) for agent in state.agents.values()],
    }


@pytest.fixture
def world() -> World:
    """A bit of everything."""
    world = World()
    ada, ben = world.join("ada", session="s1", project="app"), world.join("ben")
    earlier = world.join()
    world.leave(earlier)
    world.do(THE_SYSTEM, TakeUp(world.join().id, earlier.id))
    world.send(ada, "hello, everybody é☃")
    asked = world.send(ada, "@ben please, and @user: which one?", importance="important")
    world.flag(ada, asked, TaskFilter(agent="ben", working_dir="/srv"))
    world.claim(ben, asked)
    world.send(ben, "on it", asked)
    world.mark(ada, None, world.state.head)
    world.resolve(ben, asked, result="done")
    world.badge(ada, asked, "question", "true", "Which one?")
    left_open = world.send(ben, "@ada another one")
    world.flag(ben, left_open)
    world.claim(ada, left_open)
    world.clear(ben)
    world.leave(ada)
    world.do(THE_SYSTEM, BeginEpoch("e2"))
    imported = Message(
        seq=world.state.head + 1, id="0c-of-another-product", ts=world.now, by="old-cy", content="", source="agent"
    )
    world.state.apply(imported)
    world.records.append(imported)
    return world


def test_a_loaded_snapshot_answers_everything_as_the_state_it_was_made_from(world: World) -> None:
    loaded = snapshot.load(snapshot.dump(world.state))
    assert everything(loaded) == everything(world.state)


def test_records_applied_to_a_loaded_snapshot_continue_it(world: World) -> None:
    half = len(world.records) // 2
    begun = State()
    for record in world.records[:half]:
        begun.apply(record)
    continued = snapshot.load(snapshot.dump(begun))
    for record in world.records[half:]:
        continued.apply(record)
    assert everything(continued) == everything(world.state)


def test_a_thread_that_the_loop_guard_holds_back_stays_so(world: World) -> None:
    cy, dan = world.join("cy"), world.join("dan")
    root = world.send(cy, "@dan begin")
    for number in range(LOOP_GUARD_MESSAGES + 1):
        world.send((cy, dan)[number % 2], "and so on", root)
    assert world.state.threads.guarded
    assert everything(snapshot.load(snapshot.dump(world.state))) == everything(world.state)


def test_which_request_is_forgotten_next_stays_so() -> None:
    state = State()
    state.requests = Remembered(3)
    for seq in range(1, 6):
        state.requests.add("a", f"c{seq}", "digest", seq)
    loaded = snapshot.load(snapshot.dump(state))
    assert [seq for *_, seq in loaded.requests.rows()] == [3, 4, 5]


def test_an_empty_state_survives() -> None:
    assert everything(snapshot.load(snapshot.dump(State()))) == everything(State())


def test_a_snapshot_of_another_version_is_not_used(world: World) -> None:
    data = snapshot.dump(world.state)
    version = b'"version":%d,' % snapshot.VERSION
    assert data.count(version) == 1
    with pytest.raises(UnusableSnapshot, match="version"):
        snapshot.load(data.replace(version, b'"version":%d,' % (snapshot.VERSION - 1)))


@pytest.mark.parametrize("data", [b"", b"{", b"null", b"[]", b"{}", b'{"version":1}', b"\xff", b'{"version":5}'])
@pytest.mark.parametrize("sized", [False, True])
def test_what_is_no_snapshot_is_not_used(data: bytes, sized: bool) -> None:
    with pytest.raises(UnusableSnapshot):
        snapshot.load(len(data).to_bytes(8) + data if sized else data)


def test_columns_of_different_length_are_not_used(world: World) -> None:
    data = snapshot.dump(world.state)
    for other in (data[:-1], data + b"\0"):
        with pytest.raises(UnusableSnapshot, match="length"):
            snapshot.load(other)
