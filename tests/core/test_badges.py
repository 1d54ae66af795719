"""Badges: which there are, who sets them, and that the task badge is the task."""

from __future__ import annotations

import pytest

from crosschat.core import views
from crosschat.errors import Code
from crosschat.limits import BADGES, SHORT_TEXT_CHARS
from crosschat.model import Badge
from crosschat.wire import BadgeView
from tests.core.world import World, refused


@pytest.mark.parametrize(
    ("importance", "value"), [("important", "high"), ("comment", "normal"), ("chitchat", "low"), (None, None)]
)
def test_the_importance_of_a_message_is_a_badge(importance: str | None, value: str | None) -> None:
    world = World()
    message = world.send(world.join("a"), "hello", importance=importance)  # type: ignore[arg-type]
    assert world.badges(message) == ([("importance", value)] if value else [])


def test_the_last_badge_of_a_type_wins() -> None:
    world = World()
    a, b = world.join("a"), world.join("b")
    message = world.send(a, "hello", importance="chitchat")
    world.badge(b, message, "importance", "high")
    world.badge(b, message, "project", "one")
    world.badge(a, message, "project", "two", "Two")
    assert world.badges(message) == [("importance", "high"), ("project", "two")]
    assert BadgeView(type="project", value="two", label="Two") in views.badges_of(world.state, world.seq(message))


def test_a_message_carries_several_commits_each_once() -> None:
    world = World()
    a = world.join("a")
    message = world.send(a, "hello")
    for commit in ("0123abc", "abcdef0123", "0123abc"):
        world.badge(a, message, "git-commit", commit)
    assert world.badges(message) == [("git-commit", "abcdef0123"), ("git-commit", "0123abc")]


def test_any_other_type_is_a_plain_chip() -> None:
    world = World()
    a = world.join("a")
    message = world.send(a, "hello")
    world.badge(a, message, "mood", "sunny ☀")
    assert world.badges(message) == [("mood", "sunny ☀")]


@pytest.mark.parametrize(
    ("kind", "value", "code"),
    [
        ("task", "open", Code.FORBIDDEN),
        ("task", "anything", Code.FORBIDDEN),
        ("importance", "urgent", Code.INVALID),
        ("importance", "High", Code.INVALID),
        ("question", "false", Code.INVALID),
        ("git-commit", "0123ab", Code.INVALID),
        ("git-commit", "0123ABC", Code.INVALID),
        ("git-commit", "0" * 41, Code.INVALID),
        ("git-commit", "HEAD", Code.INVALID),
        ("project", "", Code.INVALID),
        ("project", " ", Code.INVALID),
        ("project", "x" * (SHORT_TEXT_CHARS + 1), Code.INVALID),
        ("", "x", Code.INVALID),
        ("Mood", "x", Code.INVALID),
        ("1mood", "x", Code.INVALID),
        ("-mood", "x", Code.INVALID),
        ("mood:x", "x", Code.INVALID),
        ("mood\n", "x", Code.INVALID),
        ("m" * 33, "x", Code.INVALID),
        ("Task", "open", Code.INVALID),
    ],
)
def test_a_badge_that_cannot_be_is_refused(kind: str, value: str, code: Code) -> None:
    world = World()
    a = world.join("a")
    message = world.send(a, "hello")
    with refused(code):
        world.badge(a, message, kind, value)
    assert world.badges(message) == []


def test_a_label_is_short() -> None:
    world = World()
    a = world.join("a")
    message = world.send(a, "hello")
    world.badge(a, message, "mood", "x", "y" * SHORT_TEXT_CHARS)
    with refused(Code.INVALID, "label"):
        world.badge(a, message, "mood", "x", "y" * (SHORT_TEXT_CHARS + 1))


@pytest.mark.parametrize("kind", ["m" * 32, "m", "a-1"])
@pytest.mark.parametrize("value", ["x", "x" * SHORT_TEXT_CHARS])
def test_a_badge_at_its_limits_is_accepted(kind: str, value: str) -> None:
    world = World()
    a = world.join("a")
    message = world.send(a, "hello")
    world.badge(a, message, kind, value)
    assert world.badges(message) == [(kind, value)]


def test_the_task_badge_is_the_task_and_stands_first() -> None:
    world = World()
    a, b = world.join("a"), world.join("b")
    message = world.send(a, "do it", importance="important")
    world.flag(a, message)
    seen = [world.badges(message)]
    world.claim(b, message)
    seen.append(world.badges(message))
    world.begin(b, message)
    seen.append(world.badges(message))
    world.resolve(b, message)
    seen.append(world.badges(message))
    assert seen == [
        [("task", status), ("importance", "high")] for status in ("open", "claimed", "in_progress", "completed")
    ]
    assert [world.task(message).status] == [world.badges(message)[0][1]]


def test_a_badge_wakes_only_those_concerned() -> None:
    world = World()
    a, b, c = world.join("a"), world.join("b"), world.join("c")
    message = world.send(a, "hello")
    world.see_everything(a, b, c)
    world.badge(b, message, "mood", "x")
    assert world.last(Badge).to == (a.id,)
    world.badge(a, message, "mood", "y")
    assert world.last(Badge).to == ()
    assert [len(world.unread(who)) for who in (a, b, c)] == [1, 0, 0]
    direct = world.send(a, "@b secret")
    world.badge(a, direct, "mood", "z")
    assert world.last(Badge).to == (b.id,)


def test_a_badge_may_be_set_on_a_reply() -> None:
    world = World()
    a = world.join("a")
    reply = world.send(a, "more", world.send(a, "hello"))
    world.badge(a, reply, "git-commit", "0123abc")
    assert world.badges(reply) == [("git-commit", "0123abc")]


def test_the_documents_of_a_message_have_its_badges_and_its_task() -> None:
    world = World()
    a, b = world.join("a"), world.join("b")
    message = world.send(a, "do it", importance="important")
    assert views.task_document(world.state, message) is None
    assert views.badge_document(world.state, world.send(a, "plain")) is None
    assert views.badge_document(world.state, "m99-0000") is None
    world.flag(a, message)
    world.claim(b, message)
    assert views.badge_document(world.state, message) == {
        "messageId": message,
        "badges": [{"type": "task", "value": "claimed"}, {"type": "importance", "value": "high"}],
    }
    document = views.task_document(world.state, message)
    assert document is not None
    assert (document["messageId"], document["status"], document["claimant"]) == (message, "claimed", "b")
    assert None not in document.values()


def test_a_message_has_a_bounded_number_of_badges_and_replacing_one_is_always_possible() -> None:
    world = World()
    a = world.join("a")
    message = world.send(a, "hello")
    for number in range(BADGES):
        world.badge(a, message, "git-commit", f"{number:07x}")
    with refused(Code.CONFLICT):
        world.badge(a, message, "project", "app")
    world.badge(a, message, "git-commit", f"{0:07x}", label="again")
    assert len(world.state.badges[world.seq(message)]) == BADGES
