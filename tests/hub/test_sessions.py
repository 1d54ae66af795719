"""What the events of a session's hooks change, and which of them are held until there is a ring."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, cast

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from crosschat import processes, wire
from crosschat.core.handle import handle
from crosschat.hub.sessions import JOIN_S, may_wait, take_event, wait_for_ring
from crosschat.model import AgentJoined, Slot, WakeMode, Way
from crosschat.processes import Process
from tests.hub.rig import NOW_MS, Middle

if TYPE_CHECKING:
    from collections.abc import Callable

    from crosschat.core.handle import Operation as Asked

Event: TypeAlias = Literal["start", "prompt", "stop", "wait", "notification", "end"]
CLAUDE = Process(pid=100, start=1, parent=1, name="claude")
KEY = CLAUDE.key


class Bridge:
    """Keeps what its hub noted for it."""

    def __init__(self) -> None:
        self.notes: list[wire.Activity] = []

    def offer(self, _: object) -> None:
        pass

    def note(self, frame: bytes) -> None:
        said = wire.decode_hub(frame[frame.index(b"{") :])
        if isinstance(said, wire.Activity):
            self.notes.append(said)


@attrs.define
class Scene:
    middle: Middle
    bridge: Bridge
    started: int = 10  # of the next hook's process

    def join(self) -> None:
        self.middle.router.attach("ada", self.bridge)
        self.middle.presence.arrive("ada", status="available", detail=None, offered=0, now_ms=NOW_MS)

    def say(
        self,
        way: Way = "inbox",
        *,
        wake: WakeMode = "auto",
        hooks: bool = False,
        announced: int = 0,
        idle: bool = False,
    ) -> None:
        said = wire.Waking(wake=wake, way=way, hooks=hooks, announced=announced, idle=idle)
        self.middle.router.take_waking("ada", said)

    async def event(self, event: str, source: str | None = None) -> wire.Brief:
        self.started += 10
        return await take_event(self.middle.router, self.started, made(event, source=source))

    @property
    def activity(self) -> str | None:
        return self.middle.presence.activity_of("ada", NOW_MS)


def made(event: str, *, source: str | None = None, attended: bool = False) -> wire.SessionEvent:
    return wire.SessionEvent(id="h", event=cast("Event", event), source=source, attended=attended)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    """An agent, not connected, whose hooks' pids are the start times of their processes, too."""
    monkeypatch.setattr(processes, "find_agent_process", lambda pid: CLAUDE)
    monkeypatch.setattr(processes, "find", lambda pid: Process(pid=pid, start=pid, parent=100, name="python"))
    middle = Middle()
    joined = AgentJoined(
        seq=2, id="r2", ts=NOW_MS, by="ada", agent="ada", name="ada", cwd="/", session="s", process=KEY
    )
    middle.commit(joined)
    return Scene(middle, Bridge())


async def test_two_hooks_of_a_start_that_come_at_once_name_the_same_agent(scene: Scene, nursery: trio.Nursery) -> None:
    """The first of them has the process go on as the agent whose conversation it resumes."""
    middle, briefs = scene.middle, list[wire.Brief]()
    earlier = AgentJoined(
        seq=middle.next_seq, id="r3", ts=NOW_MS, by="bob", agent="bob", name="bob", cwd="/", session="before"
    )
    middle.commit(earlier)
    scene.join()

    async def hook(event: str, source: str | None) -> None:
        scene.started += 10
        said = attrs.evolve(made(event, source=source), session="before")
        briefs.append(await take_event(middle.router, scene.started, said))

    nursery.start_soon(hook, "wait", None)
    await wait_all_tasks_blocked()
    nursery.start_soon(hook, "start", "resume")
    await wait_all_tasks_blocked()
    while middle.submitted.statistics().current_buffer_used:
        operation = await middle.submitted.receive()
        slot = Slot(middle.next_seq, NOW_MS)
        asked = cast("Asked", operation.frame)
        effects = handle(middle.state, middle.presence, operation.who, asked, slot)
        middle.commit(*effects.records)
        operation.settle(effects)
    await wait_all_tasks_blocked()
    texts = [brief.text for brief in briefs if brief.text is not None]
    assert len(briefs) == 2
    assert texts
    assert all("you are bob" in text for text in texts)


HOLD: list[tuple[str, bool, bool]] = [
    ("stop", True, True),
    ("wait", True, True),
    ("stop", False, False),
    ("wait", False, False),
    ("start", True, False),
    ("prompt", True, False),
    ("end", True, False),
]


@pytest.mark.parametrize(("event", "attended", "held"), HOLD)
def test_only_what_the_session_does_not_wait_for_is_held(event: str, attended: bool, held: bool) -> None:
    assert may_wait(made(event, attended=attended)) is held


async def hold(scene: Scene, nursery: trio.Nursery, briefs: list[wire.Brief]) -> None:
    async def wait() -> None:
        briefs.append(await wait_for_ring(scene.middle.router, 20, made("wait", attended=True)))

    nursery.start_soon(wait)
    await wait_all_tasks_blocked()


async def test_a_hook_waits_where_the_bridge_rings_through_hooks(scene: Scene, nursery: trio.Nursery) -> None:
    scene.join()
    scene.say("wait", hooks=True)
    briefs: list[wire.Brief] = []
    await hold(scene, nursery, briefs)
    assert briefs == []
    assert scene.bridge.notes[-1].hook
    scene.middle.router.waiters.ring("ada", "wake up")
    await wait_all_tasks_blocked()
    assert briefs == [wire.Brief(id="h", known=True, wake=True, text="wake up")]
    assert not scene.bridge.notes[-1].hook


async def test_a_hook_goes_at_once_where_the_inbox_rings(scene: Scene, nursery: trio.Nursery) -> None:
    scene.join()
    scene.say("inbox")
    briefs: list[wire.Brief] = []
    await hold(scene, nursery, briefs)
    assert briefs == [wire.Brief(id="h", known=True)]


async def test_a_hook_that_waits_goes_when_the_inbox_takes_rings_again(scene: Scene, nursery: trio.Nursery) -> None:
    scene.join()
    scene.say("wait", hooks=True)
    briefs: list[wire.Brief] = []
    await hold(scene, nursery, briefs)
    scene.say("inbox")
    await wait_all_tasks_blocked()
    assert briefs == [wire.Brief(id="h", known=True)]


async def test_a_hook_that_comes_before_its_bridge_waits_for_its_word(scene: Scene, nursery: trio.Nursery) -> None:
    briefs: list[wire.Brief] = []
    await hold(scene, nursery, briefs)
    scene.join()
    await wait_all_tasks_blocked()
    assert briefs == []
    scene.say("wait", hooks=True)
    await wait_all_tasks_blocked()
    assert "ada" in scene.middle.router.waiters


async def test_a_hook_whose_bridge_never_comes_goes_after_a_while(
    autojump_clock: MockClock, scene: Scene, nursery: trio.Nursery
) -> None:
    briefs: list[wire.Brief] = []
    await hold(scene, nursery, briefs)
    await trio.sleep(JOIN_S + 1)
    assert briefs == [wire.Brief(id="h")]


async def test_what_hooks_say_is_what_the_session_does(scene: Scene) -> None:
    scene.join()
    for event, source, activity in (
        ("prompt", None, "working"),
        ("notification", "permission_prompt", "waiting"),
        ("notification", "auth_success", "waiting"),
        ("prompt", None, "working"),
        ("stop", None, "idle"),
        ("notification", "elicitation_dialog", "waiting"),
        ("notification", "idle_prompt", "idle"),
        ("wait", None, "idle"),
        ("end", "other", None),
    ):
        await scene.event(event, source=source)
        assert scene.activity == activity, event


async def test_a_stop_that_was_overtaken_by_the_next_prompt_says_nothing(scene: Scene) -> None:
    scene.join()
    await scene.event("prompt")
    late = scene.started + 5
    await scene.event("prompt")
    notes = len(scene.bridge.notes)
    await take_event(scene.middle.router, late, made("stop"))
    assert scene.activity == "working"
    assert len(scene.bridge.notes) == notes


async def test_the_end_of_a_turn_is_told_each_time(scene: Scene) -> None:
    scene.join()
    for _ in range(2):
        await scene.event("stop")
        assert scene.bridge.notes[-1] == wire.Activity(state="idle", turn_ended=True)


async def test_the_clients_own_word_ends_working_and_nothing_else(scene: Scene) -> None:
    scene.join()
    await scene.event("notification", source="permission_prompt")
    scene.say(idle=True)
    assert scene.activity == "waiting"
    await scene.event("prompt")
    scene.say(idle=True)
    assert scene.activity == "idle"
    assert scene.bridge.notes[-1].state == "idle"


async def test_working_is_unknown_half_an_hour_after_the_last_sign_of_life(scene: Scene) -> None:
    scene.join()
    await scene.event("prompt")
    presence = scene.middle.presence
    later = NOW_MS + 1_800_000
    assert presence.activity_of("ada", later) == "working"
    assert presence.activity_of("ada", later + 1) is None
    presence.hear("ada", now_ms=NOW_MS + 60_000)  # it called a tool
    assert presence.activity_of("ada", later + 1) == "working"


@pytest.mark.parametrize(
    ("wake", "told"), [("auto", True), ("hooks", True), ("inbox", False), ("wait", False), ("off", False)]
)
async def test_what_is_unread_stands_beside_a_prompt_where_hooks_may_tell(
    scene: Scene, wake: WakeMode, told: bool
) -> None:
    scene.join()
    scene.say(wake=wake)
    scene.middle.commit(*scene.middle.messages(["hello"], by="bob"))
    brief = await scene.event("prompt")
    assert (brief.text is not None) is told
    assert (await scene.event("prompt")).text is None  # once
    spent = scene.middle.presence.of("ada").spent
    assert (spent.contexts, spent.context_bytes) == ((1, len(brief.text or "")) if told else (0, 0))


async def test_what_a_ring_told_does_not_stand_beside_the_prompt(scene: Scene) -> None:
    scene.join()
    scene.middle.commit(*scene.middle.messages(["hello"], by="bob"))
    scene.say(announced=scene.middle.state.head)
    assert (await scene.event("prompt")).text is None


async def test_a_ring_that_nobody_took_leaves_it_to_the_prompt(scene: Scene) -> None:
    scene.join()
    scene.middle.commit(*scene.middle.messages(["hello"], by="bob"))
    scene.say(announced=scene.middle.state.head)
    scene.say(announced=0)
    assert (await scene.event("prompt")).text is not None


async def test_the_time_of_hooks_counts_that_the_session_waits_for(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    age: Callable[[Process], float] = lambda process: 12.5  # noqa: E731
    monkeypatch.setattr(processes, "age_ms", age)
    scene.join()
    for event in ("start", "prompt", "stop", "wait", "notification", "end"):
        await scene.event(event)
    spent = scene.middle.presence.of("ada").spent
    assert (spent.hooks, spent.hook_ms) == (3, 37.5)
