"""What readers see of a record, of each other, and of how far a message got."""

from __future__ import annotations

import pytest

from crosschat.core import views
from crosschat.core.handle import Receive
from crosschat.core.presence import Presence, Spent
from crosschat.errors import Code
from crosschat.limits import LOOP_GUARD_MESSAGES, PEERS_AWAY
from crosschat.model import THE_CLI, THE_SYSTEM, THE_USER, Actor, AgentJoined, Cursor, Release, Reply, Resolve, iso
from crosschat.wire import ClaimTask, Done, PauseAgent, PeerView, Send, Sent, SetStatus
from tests.core.world import GRACE_MS, START_MS, World, refused


def states(world: World, message: str) -> dict[str, tuple[str, bool]]:
    """Delivery state, and whether it is away, by name."""
    entry = world.state.message(message)
    assert entry is not None
    return {view.name: (view.state, view.away) for view in views.recipient_views(world.state, world.presence, entry)}


def sent(world: World, who: Actor, message: str, content: str) -> Sent:
    frame = Send(id="r1", cid="c", content=content)
    answer = views.answer(world.state, world.presence, frame, world.seq(message))
    assert isinstance(answer, Sent)
    return answer


def test_a_message_goes_from_stored_to_offered_to_shown_to_answered() -> None:
    world = World()
    a, b = world.join("a"), world.join("b")
    message = world.send(a, "@b look")
    seen = [states(world, message)["b"]]
    world.presence.offer(b.id, world.state.head)
    seen.append(states(world, message)["b"])
    world.mark(b, None, world.seq(message))
    seen.append(states(world, message)["b"])
    world.send(b, "seen", message)
    seen.append(states(world, message)["b"])
    assert seen == [("stored", False), ("offered", False), ("shown", False), ("answered", False)]


def test_a_cursor_behind_a_message_means_that_it_was_shown() -> None:
    world = World()
    a, b = world.join("a"), world.join("b")
    message = world.send(a, "@b look")
    world.mark(b, world.state.head)
    assert states(world, message) == {"b": ("shown", False)}
    later = world.send(a, "@b again")
    assert states(world, later) == {"b": ("stored", False)}


def test_an_earlier_reply_does_not_answer_a_later_message() -> None:
    world = World()
    a, b = world.join("a"), world.join("b")
    root = world.send(a, "@b look")
    world.send(b, "seen", root)
    question = world.send(a, "and this?", root)
    assert states(world, root)["b"][0] == "answered"
    assert states(world, question)["b"][0] == "stored"


def test_recipients_of_a_direct_message_are_those_named_also_while_away() -> None:
    world = World()
    a, b, c = world.join("a"), world.join("b"), world.join("c")
    world.leave(c)
    message = world.send(a, "@b @c look")
    assert states(world, message) == {"b": ("stored", False), "c": ("stored", True)}
    answer = sent(world, a, message, "@b @c look")
    assert (answer.states, answer.away, answer.unresolved) == ({"stored": 2}, ("c",), ())
    assert b.id != c.id


def test_recipients_of_a_message_to_everybody_are_who_is_there_and_who_saw_it() -> None:
    world = World()
    a, b, c, d = (world.join(name) for name in "abcd")
    world.leave(c)
    message = world.send(a, "hello")
    world.mark(d, world.state.head)
    world.leave(d)
    world.join("late")
    assert states(world, message) == {"b": ("stored", False), "c": ("stored", True), "d": ("shown", True)}
    assert sent(world, a, message, "hello").away == ("c",)
    world.presence.offer(b.id, world.state.head)
    assert states(world, message)["b"] == ("offered", False)


def test_the_answer_to_a_send_counts_states_and_names_what_was_not_found() -> None:
    world = World()
    a, b, _ = world.join("a"), world.join("b"), world.join("c")
    message = world.send(a, "@b @c and @nobody")
    world.presence.offer(b.id, world.state.head)
    answer = sent(world, a, message, "@b @c and @nobody")
    assert answer == Sent(
        id="r1", message=message, seq=world.seq(message), states={"stored": 1, "offered": 1}, unresolved=("nobody",)
    )


def test_the_answer_to_a_reply_names_its_root() -> None:
    world = World()
    a = world.join("a")
    root = world.send(a, "a plan")
    reply = world.send(a, "more", root)
    assert sent(world, a, reply, "more").thread == root
    assert sent(world, a, root, "a plan").thread is None


def test_the_answer_to_a_change_has_the_task_as_it_is() -> None:
    world = World()
    a, b = world.join("a"), world.join("b")
    message = world.send(a, "do it")
    world.flag(a, message)
    frame = ClaimTask(id="r1", cid="c", message=message)
    effects = world.do(b, frame)
    answer = views.answer(world.state, world.presence, frame, effects.seq)
    assert answer == Done(id="r1", seq=effects.seq, message=message, task=world.task(message))
    idle = views.answer(world.state, world.presence, SetStatus(id="r2", cid="d", status="busy"), None)
    assert idle == Done(id="r2")


def test_the_person_is_no_recipient_with_a_state() -> None:
    world = World()
    a = world.join("a")
    assert states(world, world.send(a, "@user may I?")) == {}


# --- items


def test_an_item_has_names_beside_ids_and_follows_a_new_name() -> None:
    world = World()
    a, b = world.join("a", process="p"), world.join("b")
    message = world.send(a, "@b look", importance="important", metadata={"k": [1, None]})
    record = world.records[-1]
    item = world.item(record)
    assert (item.kind, item.message, item.from_id, item.from_name) == ("message", message, a.id, "a")
    assert (item.to, item.private, item.here, item.source, item.ts) == ((b.id,), True, False, "agent", iso(world.now))
    assert (item.importance, item.metadata, item.content) == ("important", {"k": [1, None]}, "@b look")
    assert item.thread is None
    world.join("anna", process="p")
    assert world.item(record).from_name == "anna"


def test_an_item_of_a_root_counts_its_replies_and_a_reply_names_its_thread() -> None:
    world = World()
    a = world.join("a")
    root = world.send(a, "a plan")
    record = world.records[-1]
    world.send(a, "more", root)
    world.send(a, "and more", root)
    assert world.item(record).replies == 2
    reply = world.item(world.records[-1])
    assert (reply.kind, reply.thread, reply.replies) == ("reply", root, 0)


def test_an_item_about_a_message_names_it_and_shows_its_task() -> None:
    world = World()
    a, b = world.join("a"), world.join("b")
    root = world.send(a, "a plan")
    part = world.send(a, "this part", root)
    world.flag(a, part)
    world.claim(b, part)
    item = world.item(world.records[-1])
    assert (item.kind, item.message, item.thread, item.from_name, item.private) == ("claim", part, root, "b", True)
    assert item.task is not None
    assert item.task.status == "claimed"
    assert item.badges[0].value == "claimed"
    world.resolve(b, part, result="it works")
    assert world.item(world.last(Resolve)).content == "it works"
    world.release(THE_CLI, part, reopen=True)
    item = world.item(world.last(Release))
    assert (item.content, item.source) == ("reopened", "cli")


@pytest.mark.parametrize(("who", "source"), [(THE_USER, "user"), (THE_CLI, "cli")])
def test_the_source_of_a_message_is_who_sent_it(who: Actor, source: str) -> None:
    world = World()
    world.send(who, "hello")
    assert world.item(world.records[-1]).source == source


def test_records_that_are_not_for_readers_are_no_items() -> None:
    world = World()
    a, b = world.join("a"), world.join("b")
    world.send(a, "hello")
    world.mark(b, world.state.head)
    world.clear(THE_CLI)
    assert views.item_of(world.state, world.last(AgentJoined)) is None
    assert views.item_of(world.state, world.last(Cursor)) is None
    assert views.item_of(world.state, world.records[0]) is None
    assert views.item_of(world.state, world.records[-1]) is None


# --- peers


def test_a_peer_is_seen_with_what_it_says_and_holds() -> None:
    world = World()
    a, b = world.join("a"), world.join("b", cwd="/srv/b", project="app")
    begun, message = world.now, world.send(a, "do it")
    world.flag(a, message)
    world.claim(b, message)
    world.now += 5000
    world.presence.hear(b.id, now_ms=world.now)
    world.presence.say(b.id, status="busy", detail="at it", task=message)
    world.now += 2500
    (peer,) = views.peer_views(world.state, world.presence, world.now, without=a.id)
    assert peer == PeerView(
        id=b.id, name="b", connected=True, status="busy", cwd="/srv/b", detail="at it", project="app", task=message,
        silent_s=2, unread=1, unread_since=iso(begun), claims=(message,), since=iso(begun), cursor=3, offered=3,
    )  # fmt: skip
    world.leave(b)
    (peer,) = views.peer_views(world.state, world.presence, world.now, without=a.id)
    assert (peer.status, peer.connected, peer.since) == ("away", False, iso(world.now))


def test_how_far_each_peer_is_can_be_read_off_its_view() -> None:
    world = World()
    a, b = world.join("a"), world.join("b")
    first, second = world.send(a, "one"), world.send(a, "two")
    seqs = [world.seq(first), world.seq(second)]
    world.presence.offer(b.id, seqs[1])
    world.mark(b, None, seqs[1])
    (peer,) = views.peer_views(world.state, world.presence, world.now, without=a.id)
    assert (peer.offered, peer.shown) == (seqs[1], (seqs[1],))
    assert peer.cursor < seqs[0]
    world.mark(b, seqs[1])
    (peer,) = views.peer_views(world.state, world.presence, world.now, without=a.id)
    assert (peer.cursor, peer.shown) == (seqs[1], ())


def test_a_peer_tells_since_when_the_oldest_of_its_unread_waits() -> None:
    world = World()
    a, b = world.join("a"), world.join("b")

    def waits_since() -> str | None:
        (peer,) = views.peer_views(world.state, world.presence, world.now, without=a.id)
        return peer.unread_since

    assert waits_since() is None
    begun, first = world.now, world.send(a, "one")
    world.now += 60_000
    world.send(a, "two")
    assert waits_since() == iso(begun)
    world.mark(b, world.seq(first))
    assert waits_since() == iso(begun + 60_000)
    world.mark(b, world.state.head)
    assert waits_since() is None


def test_after_a_restart_peers_are_who_holds_a_task_and_the_last_of_the_absent() -> None:
    world = World()
    old = [world.join(f"old-{number}") for number in range(PEERS_AWAY)]
    a, b, c = world.join("a"), world.join("b"), world.join("c")
    message = world.send(a, "do it")
    world.flag(a, message)
    world.claim(old[0], message)
    world.mark(old[1], world.state.head)  # a sign of it that is newer than that of the others
    world.presence = Presence(world.now)
    world.join("d")

    def names() -> list[str]:
        return [peer.name for peer in views.peer_views(world.state, world.presence, world.now)]

    listed = names()
    assert {"old-0", "old-1", "a", "b", "c", "d"} <= set(listed)
    assert len(listed) == PEERS_AWAY + 2
    assert "old-2" not in listed
    (peer,) = [peer for peer in views.peer_views(world.state, world.presence, world.now) if peer.id == b.id]
    assert (peer.silent_s, peer.status, peer.unread) == (None, "away", 1)
    world.presence = Presence(world.now)
    for agent in (*old, a, b, c):
        world.presence.arrive(agent.id, status="available", detail=None, offered=0, now_ms=world.now)
    assert len(names()) == len(old) + 4  # who is there is never left out for who is not


# --- presence


def test_an_agent_counts_as_gone_since_the_hub_started_or_it_left() -> None:
    presence = Presence(START_MS)
    assert presence.gone_for_ms("a1", START_MS + 7) == 7
    assert not presence.seen("a1")
    presence.arrive("a1", status="available", detail=None, offered=3, now_ms=START_MS + 10)
    assert presence.gone_for_ms("a1", START_MS + GRACE_MS) == 0
    assert presence.connected == {"a1"}
    presence.leave("a1", now_ms=START_MS + 20)
    assert presence.gone_for_ms("a1", START_MS + 25) == 5
    assert presence.gone_for_ms("a1", START_MS + 15) == 0  # a clock that went back
    assert presence.connected == frozenset()
    assert presence.seen("a1")


def test_what_was_offered_only_rises_while_connected_and_begins_anew_with_a_connection() -> None:
    presence = Presence(START_MS)
    presence.arrive("a1", status="busy", detail="x", offered=5, now_ms=START_MS)
    presence.offer("a1", 9)
    presence.offer("a1", 7)
    assert presence.of("a1").offered == 9
    presence.arrive("a1", status="available", detail=None, offered=2, now_ms=START_MS)
    assert presence.of("a1").offered == 2


def test_what_was_offered_stays_so_after_the_connection_and_the_hub() -> None:
    world = World()
    a, b = world.join("a"), world.join("b")
    message = world.send(a, "@b look")
    world.do(THE_SYSTEM, Receive(b.id, "offered", (world.seq(message),)))
    assert states(world, message)["b"] == ("offered", False)
    again = world.do(THE_SYSTEM, Receive(b.id, "offered", (world.seq(message),)))
    assert not again.records  # nothing new, no record
    world.do(THE_SYSTEM, Receive(b.id, "shown", (world.seq(message),)))
    assert states(world, message)["b"] == ("shown", False)


def test_agents_that_only_answer_each_other_wake_nobody_after_a_while() -> None:
    world = World()
    a, b = world.join("a"), world.join("b")
    root = world.send(a, "@b ping")

    def quiet(who: Actor, text: str = "pong") -> bool:
        world.send(who, text, root)
        item = views.item_of(world.state, world.last(Reply))
        assert item is not None
        return item.quiet

    assert not any(quiet((a, b)[number % 2]) for number in range(LOOP_GUARD_MESSAGES))
    assert quiet(a)
    assert not quiet(a, "@user help")
    world.flag(a, root)  # a task's change is progress
    assert not quiet(b)
    assert not any(quiet(a) for _ in range(LOOP_GUARD_MESSAGES - 1))
    assert quiet(a)
    assert not quiet(THE_USER)
    assert not quiet(b)


def test_the_guard_holds_back_only_the_replies_that_are_too_many() -> None:
    world = World()
    a, b = world.join("a"), world.join("b")
    root = world.send(a, "@b ping")
    replies = []
    for number in range(LOOP_GUARD_MESSAGES + 3):
        world.send((b, a)[number % 2], "pong", root)
        replies.append(world.last(Reply))

    def quiet() -> list[bool]:
        return [item.quiet for reply in replies if (item := views.item_of(world.state, reply)) is not None]

    assert quiet() == [False] * LOOP_GUARD_MESSAGES + [True] * 3  # also for one that reads all of it later
    world.send(THE_USER, "go on", root)
    assert not any(quiet())


def test_the_threads_that_the_guard_holds_are_shown_and_only_the_person_at_the_page_or_a_task_frees_them() -> None:
    world = World()
    a, b = world.join("a"), world.join("b")
    first, second = world.send(a, "@b ping"), world.send(b, "@a ping")
    for root in (first, second):
        for number in range(LOOP_GUARD_MESSAGES + 1):
            world.send((b, a)[number % 2], "pong", root)
    held = LOOP_GUARD_MESSAGES + 1
    assert [(view.message, view.author, view.replies) for view in views.guard_views(world.state)] == [
        (second, "b", held),
        (first, "a", held),
    ]
    world.send(THE_CLI, "stop it", second)  # a terminal may be an agent's
    assert len(views.guard_views(world.state)) == 2
    world.send(THE_USER, "go on", second)
    world.flag(a, first)
    assert views.guard_views(world.state) == ()


def test_a_used_up_wake_budget_is_shown_until_it_has_room() -> None:
    world = World()
    a = world.join("a")
    until = world.now + 61_500
    world.presence.reach(a.id, wake="auto", way="inbox", hooks=False, rung=0, budget_until_ms=until)
    agent = world.state.agents[a.id]
    assert views.peer_view(world.state, world.presence, agent, world.now).budget_s == 62
    assert views.peer_view(world.state, world.presence, agent, until).budget_s is None
    assert views.peer_view(world.state, world.presence, agent, world.now).way == "inbox"


def test_what_a_session_cost_adds_up() -> None:
    world = World()
    a = world.join("a")
    world.presence.spend(a.id, Spent(rings=1, ring_bytes=300))
    world.presence.spend(a.id, Spent(rings=1, ring_bytes=200, hooks=1, hook_ms=12.5))
    (cost,) = views.cost_views(world.state, world.presence)
    assert (cost.name, cost.rings, cost.ring_bytes, cost.hooks, cost.hook_ms) == ("a", 2, 500, 1, 12.5)


def test_a_paused_agent_is_shown_so_and_gets_everything() -> None:
    world = World()
    a, b = world.join("a"), world.join("b")
    world.do(THE_CLI, PauseAgent(id="1", cid="1", agent="b"))
    agent = world.state.agents[b.id]
    assert views.peer_view(world.state, world.presence, agent, world.now).paused
    message = world.send(a, "@b look")
    assert world.unread_messages(b) == [message]
    assert not world.do(THE_CLI, PauseAgent(id="1", cid="2", agent=b.id)).records
    world.do(THE_CLI, PauseAgent(id="1", cid="3", agent="b", paused=False))
    assert not world.state.agents[b.id].paused
    with refused(Code.NOT_FOUND, "Did you mean b"):
        world.do(THE_CLI, PauseAgent(id="1", cid="4", agent="bb"))
