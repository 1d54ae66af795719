"""What a model is told after it forgot, and with a prompt."""

from __future__ import annotations

from crosschat.core import briefs
from tests.core.world import World


def test_the_brief_says_who_one_is_what_one_holds_and_what_waits() -> None:
    world = World()
    ada, ben = world.join("ada"), world.join("ben")
    task = world.send(ada, "@ben count them")
    world.flag(ada, task)
    world.claim(ben, task)
    world.see_everything(ada, ben)
    world.send(ada, "@ben and hurry")
    agent = world.state.agents[ben.id]
    text = briefs.brief(world.state, agent)
    assert "you are ben" in text
    assert f"{task} (claimed)" in text
    assert "1 unread from ada (1)" in text
    assert "consent" in text
    assert "1 of your own tasks" in briefs.brief(world.state, world.state.agents[ada.id])


def test_the_brief_is_bounded_however_much_there_is() -> None:
    world = World()
    ben = world.join("b" * 64)
    for number in range(60):
        author = world.join(f"{'a' * 50}{number}")
        task = world.send(author, "@" + "b" * 64 + " do it")
        world.flag(author, task)
        world.claim(ben, task)
    assert len(briefs.brief(world.state, world.state.agents[ben.id])) <= briefs.BRIEF_CHARS


def test_what_waits_is_said_once() -> None:
    world = World()
    ada, ben = world.join("ada"), world.join("ben")
    agent = world.state.agents[ben.id]
    assert briefs.waiting(world.state, agent) is None
    world.send(ada, "hello")
    assert briefs.waiting(world.state, agent) is not None
    assert briefs.waiting(world.state, agent, after=world.state.head) is None
    world.send(ada, "again")
    assert "2 unread" in (briefs.waiting(world.state, agent, after=world.state.head - 1) or "")
