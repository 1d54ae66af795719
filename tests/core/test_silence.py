"""Senders are told once, together, and without a bell of what nobody read."""

from __future__ import annotations

import pytest

from crosschat.bridge.wake import is_silent
from crosschat.core import snapshot, views
from crosschat.core.handle import TakeUp
from crosschat.core.silence import MESSAGES_NAMED, READERS_NAMED, ReportSilence, uninformed
from crosschat.model import SYSTEM, THE_SYSTEM, Actor, Message
from tests.core.world import World

PATIENCE_S = 600.0


def tell(world: World, *, whom: Actor | None = None) -> list[Message]:
    """What a look at the world says, to `whom` or to everybody who is to be told."""
    agents = list(uninformed(world.state, world.presence, world.now, PATIENCE_S)) if whom is None else [whom.id]
    told = [record for agent in agents for record in world.do(THE_SYSTEM, ReportSilence(agent, PATIENCE_S)).records]
    assert all(isinstance(record, Message) and record.by == SYSTEM and record.private for record in told)
    return told  # type: ignore[return-value]


def wait(world: World, seconds: float = PATIENCE_S + 1) -> None:
    world.now += int(seconds * 1000)


def test_the_sender_is_told_once_who_has_not_read_a_message() -> None:
    world = World()
    ada, ben, cy, _ = (world.join(name) for name in ("ada", "ben", "cy", "dan"))
    sent = world.send(ada, "@ben and @cy: look")
    world.leave(ben)
    assert tell(world) == []
    wait(world)
    (notice,) = tell(world)
    assert notice.to == (ada.id,)
    assert notice.content == f"Not read for more than 10 min:\n{sent} by ben (away), cy (here)"
    assert world.unread_messages(ada) == [notice.id]
    wait(world)
    assert tell(world, whom=ada) == []
    assert list(uninformed(world.state, world.presence, world.now, PATIENCE_S)) == []
    assert world.unread_messages(cy) == [sent]


def test_it_rings_no_bell_and_needs_nobody() -> None:
    world = World()
    ada, _ = world.join("ada"), world.join("ben")
    world.send(ada, "@ben look")
    wait(world)
    (notice,) = tell(world)
    item = views.item_of(world.state, notice)
    assert item is not None
    assert is_silent(item)
    wait(world)
    assert tell(world) == []  # nor is the notice itself something that is not read


def test_who_read_it_meanwhile_is_not_named_and_nothing_is_told_if_all_did() -> None:
    world = World()
    ada, ben, cy = (world.join(name) for name in ("ada", "ben", "cy"))
    world.send(ada, "@ben and @cy: look")
    wait(world)
    world.see_everything(cy)
    assert "by ben (here)" in tell(world)[0].content
    again = world.send(ada, "@ben @cy: and here")
    wait(world)
    assert list(uninformed(world.state, world.presence, world.now, PATIENCE_S)) == [ada.id]
    world.see_everything(ben, cy)
    assert tell(world, whom=ada) == []
    assert world.unread_messages(ben) == []
    assert again


def test_of_a_message_to_everybody_one_reader_is_enough() -> None:
    world = World()
    ada, ben, _ = (world.join(name) for name in ("ada", "ben", "cy"))
    world.send(ada, "hello")
    world.see_everything(ben)
    wait(world)
    assert tell(world) == []
    sent = world.send(ada, "anybody?")
    wait(world)
    assert tell(world)[0].content.endswith(f"{sent} by ben (here), cy (here)")


def test_many_messages_are_one_notice_and_the_next_comes_after_as_long_again() -> None:
    world = World()
    ada, _ = world.join("ada"), world.join("ben")
    sent = [world.send(ada, f"@ben {number}") for number in range(MESSAGES_NAMED + 2)]
    wait(world)
    later = world.send(ada, "@ben and one more")
    (notice,) = tell(world)
    lines = notice.content.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == sent[:MESSAGES_NAMED]
    assert lines[-1] == "and 2 more"
    wait(world, PATIENCE_S)
    assert tell(world) == []
    wait(world, 1)
    assert tell(world)[0].content.endswith(f"{later} by ben (here)")


def test_what_is_overdue_soon_after_a_notice_waits_for_the_next() -> None:
    world = World()
    ada, _ = world.join("ada"), world.join("ben")
    world.send(ada, "@ben look")
    wait(world, PATIENCE_S / 2)
    later = world.send(ada, "@ben and here")
    wait(world, PATIENCE_S / 2 + 1)
    assert len(tell(world)) == 1
    wait(world, PATIENCE_S / 2)
    assert tell(world) == tell(world, whom=ada) == []
    wait(world, PATIENCE_S / 2 + 1)
    assert tell(world)[0].content.endswith(f"{later} by ben (here)")


def test_of_many_readers_some_are_named_and_the_rest_counted() -> None:
    world = World()
    ada, *_ = (world.join(name) for name in ("ada", *(f"r{number}" for number in range(READERS_NAMED + 1))))
    world.send(ada, "anybody?")
    wait(world)
    assert tell(world)[0].content.endswith(f"r{READERS_NAMED - 1} (here), 1 more")


def test_a_short_patience_is_told_in_seconds() -> None:
    world = World()
    ada, _ = world.join("ada"), world.join("ben")
    world.send(ada, "@ben look")
    wait(world, 31)
    (notice,) = world.do(THE_SYSTEM, ReportSilence(ada.id, 30.0)).records
    assert isinstance(notice, Message)
    assert notice.content.startswith("Not read for more than 30 s:")


def test_an_agent_whose_process_goes_on_as_another_is_told_nothing() -> None:
    world = World()
    earlier, _ = world.join("old"), world.join("ben")
    world.leave(earlier)
    ada = world.join("ada")
    world.send(ada, "@ben look")
    world.do(THE_SYSTEM, TakeUp(ada.id, earlier.id))
    wait(world)
    assert tell(world) == []


def test_who_is_away_is_told_when_it_is_back() -> None:
    world = World()
    ada, _ = world.join("ada", process="p"), world.join("ben")
    world.send(ada, "@ben look")
    world.leave(ada)
    wait(world)
    assert tell(world) == []
    world.join("ada", process="p")
    assert len(tell(world)) == 1


@pytest.mark.parametrize("how", ["replay", "snapshot"])
def test_a_restart_repeats_nothing(how: str) -> None:
    world = World()
    ada, _ = world.join("ada", process="p"), world.join("ben")
    world.send(ada, "@ben look")
    wait(world)
    assert len(tell(world)) == 1
    world.state = world.replayed() if how == "replay" else snapshot.load(snapshot.dump(world.state))
    world.join("ada", process="p")
    wait(world)
    assert tell(world) == []


def test_nor_does_a_session_that_goes_on_in_another_process() -> None:
    world = World()
    ada, _ = world.join(process="p", session="s"), world.join("ben")
    world.send(ada, "@ben look")
    wait(world, PATIENCE_S / 2)
    later = world.send(ada, "@ben and here")
    wait(world, PATIENCE_S / 2 + 1)
    assert len(tell(world)) == 1
    world.leave(ada)
    assert world.join(process="q", session="s") == ada
    wait(world, PATIENCE_S / 2)
    assert tell(world) == []
    wait(world, PATIENCE_S / 2 + 1)
    (notice,) = tell(world)
    assert notice.content.splitlines()[1:] == [f"{later} by ben (here)"]


def test_what_an_agent_writes_about_itself_or_another_changes_nothing() -> None:
    world = World()
    ada, ben = world.join("ada"), world.join("ben")
    world.send(ada, "@ben look", metadata={"unreadUpto": 10_000})
    world.send(ben, "@ada look", metadata={"unreadUpto": 10_000})
    wait(world)
    assert sorted(notice.to or () for notice in tell(world)) == sorted([(ada.id,), (ben.id,)])
