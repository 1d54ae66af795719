"""Which agent a connecting process is, and what it is called."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosschat.core import views
from crosschat.core.handle import TakeUp
from crosschat.errors import Code
from crosschat.limits import NAME_CHARS, PATH_CHARS, SHORT_TEXT_CHARS
from crosschat.model import NAME_PATTERN, RESERVED_NAMES, THE_SYSTEM, AgentJoined
from tests.core.world import World, refused


def test_a_new_process_is_a_new_agent() -> None:
    world = World()
    first, second = world.join(process="p1"), world.join(process="p2")
    assert first.id != second.id
    assert world.name(first) != world.name(second)


def test_the_same_process_is_the_same_agent_whatever_else_it_says() -> None:
    world = World()
    agent = world.join("api", process="p1", session="s1", cwd="/srv/app")
    for session, cwd in [("s1", "/srv/app"), ("s2", "/srv/app"), (None, "/srv/other")]:
        assert world.join("api", process="p1", session=session, cwd=cwd) == agent
    assert world.state.agents[agent.id].cwd == "/srv/other"
    assert world.state.agents[agent.id].session == "s2"  # it keeps the last one it told


def test_a_newer_bridge_takes_over_while_the_older_one_is_connected() -> None:
    world = World()
    agent = world.join(process="claude")
    assert agent.id in world.presence.connected
    assert world.join(process="claude") == agent


def test_nothing_is_recorded_when_nothing_changed() -> None:
    world = World()
    world.join("api", process="p1")
    before = world.state.head
    world.join("api", process="p1")
    assert world.state.head == before


def test_a_returning_session_takes_up_its_name_messages_and_claims() -> None:
    world = World()
    author = world.join("author")
    agent = world.join(process="p1", session="s1")
    name = world.name(agent)
    task = world.send(author, "do it")
    world.flag(author, task)
    world.claim(agent, task)
    world.see_everything(agent)
    world.leave(agent)
    message = world.send(author, f"@{name} look")
    again = world.join(process="p2", session="s1", cwd="/elsewhere")
    assert again == agent
    assert world.name(again) == name
    assert world.unread_messages(again) == [message]
    assert world.task(task).claimant_id == agent.id


def test_a_returning_name_and_directory_take_up_the_agent() -> None:
    world = World()
    agent = world.join("api", process="p1", session="s1", cwd="/srv/app")
    world.leave(agent)
    assert world.join("api", process="p2", session="s2", cwd="/srv/app") == agent
    world.leave(agent)
    assert world.join("API", process="p3", cwd="/srv/app") == agent
    assert world.name(agent) == "API"


def test_the_same_name_in_another_directory_is_another_agent() -> None:
    world = World()
    agent = world.join("api", process="p1", cwd="/srv/app")
    world.leave(agent)
    other = world.join("api", process="p2", cwd="/srv/other")
    assert other != agent
    assert world.name(agent) == "api"
    assert re.fullmatch("api-[0-9a-z]{4}", world.name(other))


def test_a_derived_name_is_not_taken_up_by_who_asks_for_it() -> None:
    world = World()
    agent = world.join(process="p1", cwd="/srv/app")
    world.leave(agent)
    assert world.join(world.name(agent), process="p2", cwd="/srv/app") != agent


@pytest.mark.parametrize("connected", ["api-docs", "api"])
def test_a_name_with_four_more_letters_is_no_suffix_of_another(connected: str) -> None:
    """`api-docs` is not the `api` whose name was taken, though it looks like it."""
    world = World()
    docs = world.join("api-docs", process="p1", cwd="/srv/app")
    world.leave(docs)
    if connected == "api":
        world.join("api", process="p9", cwd="/srv/other")
    api = world.join("api", process="p2", cwd="/srv/app")
    assert api != docs
    assert world.name(docs) == "api-docs"


def test_a_suffixed_agent_is_taken_up_again_under_the_name_it_asked_for() -> None:
    world = World()
    world.join("api", process="p1", cwd="/srv/one")
    second = world.join("api", process="p2", cwd="/srv/two")
    third = world.join("api", process="p3", cwd="/srv/two")
    names = {world.name(second), world.name(third)}
    assert len(names) == 2
    world.leave(third)
    assert world.join("api", process="p4", cwd="/srv/two") == third
    assert {world.name(second), world.name(third)} == names


def test_a_name_that_became_free_is_given_to_who_asked_for_it() -> None:
    world = World()
    first = world.join("api", process="p1", cwd="/srv/one")
    second = world.join("api", process="p2", cwd="/srv/two")
    world.join("web", process="p1", cwd="/srv/one")  # the first one is called otherwise now
    assert world.name(first) == "web"
    world.join("api", process="p2", cwd="/srv/two")
    assert world.name(second) == "api"


def test_nobody_takes_over_a_connected_agent() -> None:
    world = World()
    agent = world.join("api", process="p1", session="s1", cwd="/srv/app")
    name = world.name(agent)
    for number, asked in enumerate(("api", "API", None)):
        thief = world.join(asked, process=f"thief {number}", session="s1", cwd="/srv/app")
        assert thief != agent
        assert world.name(thief).lower() != name.lower()
    assert world.state.agents[agent.id].process == "p1"
    assert world.name(agent) == name


def test_the_older_process_of_a_session_that_moved_on_is_another_agent() -> None:
    world = World()
    agent = world.join(process="p1", session="s1")
    world.leave(agent)
    assert world.join(process="p2", session="s1") == agent
    assert world.join(process="p1", session="s1") != agent


def test_a_name_that_is_taken_gets_a_suffix_and_a_notice() -> None:
    world = World()
    world.join("Api", process="p1", cwd="/srv/one")
    joined = world.ask_join("api", process="p2", cwd="/srv/two")
    assert re.fullmatch("api-[0-9a-z]{4}", joined.name)
    assert len(joined.notices) == 1
    assert "'api'" in joined.notices[0]
    assert repr(joined.name) in joined.notices[0]
    again = world.ask_join("api", process="p2", cwd="/srv/two")
    assert again.name == joined.name
    assert again.notices == joined.notices


def test_the_name_of_an_absent_agent_is_taken_too() -> None:
    world = World()
    agent = world.join("api", process="p1", cwd="/srv/one")
    world.leave(agent)
    assert world.ask_join("api", process="p2", cwd="/srv/two").name != "api"


def test_a_wanted_name_comes_without_a_notice() -> None:
    world = World()
    assert world.ask_join("api", process="p1").notices == ()
    assert world.ask_join(process="p2").notices == ()


DIRECTORIES = [
    ("/srv/app", "app"),
    ("/srv/my app (2)", "my-app-2"),
    ("/srv/app/", "app"),
    ("/", "agent"),
    ("/srv/...", "agent"),
    ("/srv/---", "agent"),
    ("/srv/.hidden", "hidden"),
    ("/srv/_private_", "private"),
    ("/srv/проект", "agent"),
    ("/srv/проект-x", "x"),
    ("/srv/v1.2", "v1.2"),
    ("/srv/here", "here"),  # with its suffix it is not reserved
    ("/srv/a\nb", "a-b"),
    ("/srv/" + "x" * 200, "x" * (NAME_CHARS - 5)),
    ("/srv/" + "x" * 58 + "-" + "y" * 20, "x" * 58),
]


@pytest.mark.parametrize(("cwd", "base"), DIRECTORIES)
def test_a_derived_name_is_the_directory_and_four_characters(cwd: str, base: str) -> None:
    world = World()
    name = world.name(world.join(process="p1", cwd=cwd))
    assert re.fullmatch(re.escape(base) + "-[0-9a-z]{4}", name)
    assert re.fullmatch(NAME_PATTERN, name)


def test_a_derived_name_stays_while_the_directory_changes() -> None:
    world = World()
    agent = world.join(process="p1", cwd="/srv/one")
    name = world.name(agent)
    assert world.join(process="p1", cwd="/srv/two") == agent
    assert world.name(agent) == name


@pytest.mark.parametrize(
    "name", ["", "-x", ".x", "_x", "a b", "a@b", "é", "x" * 65, "a/b", "a\n", *sorted(RESERVED_NAMES)]
)
def test_what_cannot_be_a_name_is_refused(name: str) -> None:
    with refused(Code.INVALID, "cannot be a name"):
        World().join(name, process="p1")


@pytest.mark.parametrize("name", ["Here", "USER", "System", "cLi"])
def test_a_reserved_name_is_refused_in_any_case(name: str) -> None:
    with refused(Code.INVALID, "cannot be a name"):
        World().join(name, process="p1")


def test_values_out_of_range_are_refused() -> None:
    world = World()
    for cwd in ("", "srv/app", "/" + "x" * PATH_CHARS):
        with refused(Code.INVALID, "cwd"):
            world.join(process="p1", cwd=cwd)
    long = "x" * (SHORT_TEXT_CHARS + 1)
    with refused(Code.INVALID):
        world.join(process="p1", session=long)
    with refused(Code.INVALID):
        world.join(process="p1", project=long)
    assert not world.state.agents


def test_a_new_agent_has_nothing_unread_of_what_was_said_before() -> None:
    world = World()
    world.send(world.join("author"), "earlier")
    assert world.unread(world.join("late")) == []


def test_the_record_of_a_join_has_all_that_identity_needs_after_a_restart() -> None:
    world = World()
    agent = world.join("api", process="p1", session="s1", cwd="/srv/app", project="git@host:app")
    record = world.last(AgentJoined)
    assert (record.agent, record.name, record.process, record.session) == (agent.id, "api", "p1", "s1")
    assert world.replayed().agents == world.state.agents


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["join", "leave"]),
        st.integers(0, 3),  # process
        st.none() | st.sampled_from(["api", "API", "api-docs", "web"]),
        st.none() | st.sampled_from(["s1", "s2"]),
        st.sampled_from(["/srv/app", "/srv/web"]),
    ),
    max_size=20,
)


@settings(deadline=None)
@given(STEPS)
def test_names_stay_unique_and_connected_agents_keep_their_process(
    steps: list[tuple[str, int, str | None, str | None, str]],
) -> None:
    world = World()
    owner: dict[str, str] = {}  # connected agent -> its process
    for step, number, name, session, cwd in steps:
        process = f"p{number}"
        if step == "leave":
            for agent in [agent for agent, held in owner.items() if held == process]:
                world.presence.leave(agent, now_ms=world.now)
                del owner[agent]
            continue
        agent = world.join(name, process=process, session=session, cwd=cwd).id
        assert owner.setdefault(agent, process) == process
        known = [found.name.lower() for found in world.state.agents.values()]
        assert len(set(known)) == len(known)
        assert not RESERVED_NAMES & set(known)
        assert all(re.fullmatch(NAME_PATTERN, found.name) for found in world.state.agents.values())


# --- a process that goes on as an earlier agent


def test_an_agent_is_given_up_for_an_earlier_one_and_nobody_sees_or_reaches_it_any_more() -> None:
    world = World()
    a = world.join("a")
    earlier = world.join(process="p1", session="s1", cwd="/srv/app")
    world.leave(earlier)
    now = world.join(process="p2", session="s2", cwd="/srv/app")
    name = world.state.agents[now.id].name
    assert len(world.do(THE_SYSTEM, TakeUp(now.id, earlier.id)).records) == 2
    world.leave(now)
    back = world.join(process="p2", session="s1", cwd="/srv/app")
    assert back.id == earlier.id
    listed = [peer.id for peer in views.peer_views(world.state, world.presence, world.now)]
    assert sorted(listed) == sorted([a.id, earlier.id])
    with refused(Code.UNKNOWN_MENTION):
        world.send(a, f"@{name} hello")
    sent = world.send(a, "to everybody")
    entry = world.state.message(sent)
    assert entry is not None
    assert [agent.id for agent, _ in views.recipients_of(world.state, world.presence, entry)] == [earlier.id]
    assert world.do(THE_SYSTEM, TakeUp(now.id, a.id)).records == ()  # it has no process any more


def test_nobody_takes_the_place_of_an_agent_that_is_connected() -> None:
    world = World()
    one, two = world.join(process="p1", session="s1"), world.join(process="p2", session="s2")
    assert world.do(THE_SYSTEM, TakeUp(two.id, one.id)).records == ()
