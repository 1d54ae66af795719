"""What needs the person: questions until they are answered, tasks without a sign, messages that nobody reads."""

from __future__ import annotations

import pytest

from crosschat.core.attention import LOOKED_AT, NEEDS, UNREAD_WINDOW_S, Patience, needs
from crosschat.core.state import Agent
from crosschat.model import CLI, THE_CLI, THE_USER, iso
from tests.core.world import GRACE_MS, START_MS, World

PATIENCE = Patience(unread_s=600, stuck_s=1800)


def look(world: World) -> list[tuple[str, str]]:
    return [(need.kind, need.message) for need in needs(world.state, world.presence, world.now, PATIENCE)]


def wait(world: World, seconds: float) -> None:
    world.now += int(seconds * 1000)


def test_a_question_is_open_until_the_person_answers_in_its_thread() -> None:
    world = World()
    ada = world.join("ada")
    asked = world.send(ada, "@user: which one?")
    (need,) = needs(world.state, world.presence, world.now, PATIENCE)
    assert (need.kind, need.message, need.agent, need.name, need.since) == (
        "question", asked, ada.id, "ada", iso(START_MS),
    )  # fmt: skip
    world.send(ada, "still waiting", asked)
    assert look(world) == [("question", asked)]
    world.send(THE_USER, "the second", asked)
    assert look(world) == []


def test_a_question_in_a_reply_is_one_too_and_a_badge_opens_and_closes_it() -> None:
    world = World()
    ada = world.join("ada")
    root = world.send(ada, "a plan")
    asked = world.send(ada, "@user: yes or no?", root)
    marked = world.send(ada, "anybody?")
    world.badge(ada, marked, "question", "true")
    assert look(world) == [("question", asked), ("question", marked)]
    world.badge(ada, marked, "question", "answered")
    world.send(THE_USER, "yes", root)
    assert look(world) == []


def test_open_questions_survive_a_restart() -> None:
    world = World()
    asked = world.send(world.join("ada"), "@user: which one?")
    world.state = world.replayed()
    assert look(world) == [("question", asked)]


@pytest.mark.parametrize("begun", [False, True])
def test_a_claimed_task_is_stuck_when_its_claimant_gives_no_sign(begun: bool) -> None:
    world = World()
    ada, ben = world.join("ada"), world.join("ben")
    task = world.send(ada, "please do it")
    world.flag(ada, task)
    world.claim(ben, task)
    world.see_everything(ada, ben)
    wait(world, 1700)
    if begun:
        world.send(ben, "I am on it", task)  # a sign
        world.see_everything(ada)
        wait(world, 1700)
    assert look(world) == []
    world.presence.hear(ben.id, now_ms=world.now)  # it asked the hub for something: a sign, too
    wait(world, 1801)
    world.send(ada, "how is it going?", task)  # a sign of somebody else
    (need,) = needs(world.state, world.presence, world.now, PATIENCE)
    assert (need.kind, need.message, need.name) == ("stuck", task, "ben")
    assert need.since == iso(world.now - 1_801_000)
    world.resolve(ben, task)
    world.see_everything(ada)
    assert look(world) == []


def test_a_task_that_lost_its_claimant_is_shown_until_it_is_claimed_again() -> None:
    world = World()
    ada, ben, cy = world.join("ada"), world.join("ben"), world.join("cy")
    task = world.send(ada, "please do it")
    world.flag(ada, task)
    world.claim(ben, task)
    world.leave(ben)
    wait(world, GRACE_MS / 1000 + 1)
    world.end_leases()
    world.see_everything(ada, cy)
    assert ("reopened", task) in look(world)
    world.claim(cy, task)
    world.see_everything(ada)
    world.presence.hear(cy.id, now_ms=world.now)
    assert look(world) == []


def test_a_task_opened_again_by_the_person_is_shown_and_one_it_released_is_not() -> None:
    world = World()
    ada, ben = world.join("ada"), world.join("ben")
    first, second = world.send(ada, "one"), world.send(ada, "two")
    for task in (first, second):
        world.flag(ada, task)
        world.claim(ben, task)
    world.resolve(ben, first)
    world.release(THE_CLI, first, reopen=True)
    world.release(THE_CLI, second)
    assert look(world) == [("reopened", first)]


def test_a_message_is_unread_for_long_when_none_of_its_recipients_was_shown_it() -> None:
    world = World()
    ada, ben, cy = world.join("ada"), world.join("ben"), world.join("cy")
    direct = world.send(ada, "@ben look")
    everybody = world.send(ada, "hello")
    world.see_everything(cy)  # one reader is enough for a message to everybody, and cy is not asked about the first
    assert look(world) == []
    wait(world, 601)
    assert look(world) == [("unread", direct)]
    world.mark(ben, None, world.seq(direct))
    assert look(world) == []
    assert everybody not in dict(look(world)).values()


def test_what_nobody_was_there_for_or_is_only_chitchat_or_old_or_cleared_needs_nobody() -> None:
    world = World()
    ada = world.join("ada")
    world.send(ada, "is anybody here?")
    world.join("ben")
    world.send(ada, "nice weather", importance="chitchat")
    world.send(ada, "@ben from yesterday")
    wait(world, UNREAD_WINDOW_S + 1)
    cleared = world.send(ada, "this leaves the channel")
    wait(world, 601)
    assert look(world) == [("unread", cleared)]
    world.clear(ada)
    assert look(world) == []


def test_of_a_flood_of_unread_messages_only_so_many_are_looked_at_and_listed() -> None:
    world = World()
    ada, _ = world.join("ada"), world.join("ben")
    for number in range(LOOKED_AT + 10):
        world.send(ada, f"@ben {number}")
    wait(world, 601)
    found = look(world)
    assert len(found) == NEEDS
    first = world.state.message(found[0][1])
    assert first is not None
    assert first.seq == world.state.head - LOOKED_AT + 1


def test_of_a_message_to_everybody_also_what_was_shown_beyond_a_cursor_counts() -> None:
    world = World()
    ada, ben, _ = world.join("ada"), world.join("ben"), world.join("cy")
    world.send(ada, "@ben first")
    everybody = world.send(ada, "hello")
    wait(world, 601)
    assert [kind for kind, _ in look(world)] == ["unread", "unread"]
    world.mark(ben, None, world.seq(everybody))
    assert everybody not in [message for _, message in look(world)]


def test_many_sessions_that_never_come_back_do_not_make_it_slow() -> None:
    """Counted, not timed: to whom a message is not, is not asked about it."""
    world = World()
    ada = world.join("ada")
    for number in range(300):
        world.join(f"old-{number}")
    world.send(ada, "@old-7 look")
    wait(world, 601)
    asked: list[str] = []

    class Watched(dict[str, Agent]):
        def get(self, key: str, default: object = None) -> Agent | None:  # type: ignore[override]
            asked.append(key)
            return super().get(key)

    world.state.agents = Watched(world.state.agents)
    assert len(look(world)) == 1
    assert len(asked) < 10


def test_the_terminal_is_no_reader() -> None:
    world = World()
    ada = world.join("ada")
    sent = world.send(THE_CLI, "@ada: look")
    wait(world, 601)
    (need,) = needs(world.state, world.presence, world.now, PATIENCE)
    assert (need.kind, need.message, need.name) == ("unread", sent, CLI)
    world.see_everything(ada)
    assert look(world) == []
