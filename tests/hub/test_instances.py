"""Projects and launches as verbs: sessions register where they work, and start nothing."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from crosschat import wire
from crosschat.errors import Code, Refused
from crosschat.hub import instances as module
from crosschat.hub.instances import Instances, arguments_in
from crosschat.hub.launcher import Launcher
from crosschat.hub.projects import Projects
from crosschat.hub.settings import Settings
from crosschat.journal.files import RealFiles
from crosschat.model import AgentJoined
from crosschat.paths import Home
from tests.hub.rig import NOW_MS, Middle, silent_log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PID = 4242
A_SESSION = 4243


def instances(middle: Middle, place: Path) -> Instances:
    home = Home(place)
    settings = Settings(RealFiles(), home.settings)
    projects = Projects(RealFiles(), place / "instances.json")
    return Instances(middle.router, projects, Launcher(home), settings, silent_log())


@asynccontextmanager
async def running(made: Instances) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        await nursery.start(made.run)
        yield
        nursery.cancel_scope.cancel()


def joined(middle: Middle, agent: str, cwd: Path) -> AgentJoined:
    seq = middle.next_seq
    return AgentJoined(seq=seq, id=f"r{seq}", ts=NOW_MS, by=agent, agent=agent, name=agent, cwd=str(cwd))


async def names(made: Instances, count: int) -> list[str]:
    """Of the projects, once there are so many."""
    with trio.fail_after(5):
        while len(made.projects.all) < count:  # noqa: ASYNC110
            await trio.sleep(0.01)
    return [project.name for project in made.projects.all]


async def test_where_a_session_joins_becomes_a_project(tmp_path: Path) -> None:
    middle = Middle("a1")
    made = instances(middle, tmp_path)
    for name in ("app", "lib"):
        (tmp_path / name).mkdir()
    async with running(made):
        middle.commit(joined(middle, "a2", tmp_path / "app"))
        assert await names(made, 1) == ["app"]
        middle.commit(*middle.messages(["something else"]))
        middle.commit(joined(middle, "a3", tmp_path / "lib"))
        assert await names(made, 2) == ["app", "lib"]
        middle.presence.arrive("a2", status="available", detail=None, offered=0, now_ms=NOW_MS)
        listed = await made.list(wire.Projects(id="1"))
        assert {one.name: one.agents for one in listed.projects} == {"app": ("a2",), "lib": ()}


async def test_the_disk_may_be_full_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.01)
    middle = Middle("a1")
    home = tmp_path / "h"
    made = instances(middle, home)
    async with running(made):
        middle.commit(joined(middle, "a2", tmp_path))
        await trio.sleep(0.05)
        assert made.projects.all == ()
        home.mkdir()
        await names(made, 1)


async def test_a_project_is_added_or_removed_never_both(tmp_path: Path) -> None:
    made = instances(Middle("a1"), tmp_path)
    await made.change(wire.ChangeProject(id="1", path=str(tmp_path)))
    (project,) = made.projects.all
    for frame in (wire.ChangeProject(id="2"), wire.ChangeProject(id="3", path="/", project=project.id)):
        with pytest.raises(Refused) as refused:
            await made.change(frame)
        assert refused.value.code is Code.INVALID
    await made.change(wire.ChangeProject(id="4", project=project.id))
    assert made.projects.all == ()


async def test_only_a_registered_directory_can_be_launched_and_no_name_twice(tmp_path: Path) -> None:
    middle = Middle("ada")
    made = instances(middle, tmp_path)
    with pytest.raises(Refused) as refused:
        await made.launch(wire.Launch(id="1", project=str(tmp_path)))
    assert refused.value.code is Code.NOT_FOUND
    await made.change(wire.ChangeProject(id="2", path=str(tmp_path)))
    middle.presence.arrive("ada", status="available", detail=None, offered=0, now_ms=NOW_MS)
    with pytest.raises(Refused, match="connected already"):
        await made.launch(wire.Launch(id="3", project=made.projects.all[0].id, name="Ada"))


async def test_the_command_is_kept_shown_and_forgotten(tmp_path: Path) -> None:
    middle = Middle("a1")
    made = instances(middle, tmp_path)

    async def configure(change: str, *command: str) -> wire.Configured:
        frame = wire.Configure(id="1", about="launch", change=change, command=command)  # type: ignore[arg-type]
        return await made.configure(frame, PID)

    assert (await configure("set", "sh", "-c", "exec true", "{directory}")).command == (
        "sh", "-c", "exec true", "{directory}",
    )  # fmt: skip
    assert made.way == "with the command sh"
    assert instances(middle, tmp_path).way == "with the command sh"
    with pytest.raises(Refused, match="There is no program"):
        await configure("set", "no-such-program")
    with pytest.raises(Refused):
        await configure("set")
    assert (await configure("show")).command[0] == "sh"
    with pytest.raises(Refused, match="To try a launch"):
        await configure("test")
    assert (await configure("unset")).command == ()
    assert instances(middle, tmp_path).way != "with the command sh"


@pytest.fixture(autouse=True)
def _a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "refuse_all_but_a_person", refuse_a_session)


def refuse_a_session(pid: int) -> None:
    """Of the two processes of these tests one is a session's."""
    if pid == A_SESSION:
        raise Refused(Code.FORBIDDEN, "Only a person at a terminal may do this.")


async def test_a_session_cannot_change_what_the_hub_runs(tmp_path: Path) -> None:
    made = instances(Middle("a1"), tmp_path)
    for change in ("set", "unset"):
        frame = wire.Configure(id="1", about="launch", change=change, command=("sh",))
        with pytest.raises(Refused) as refused:
            await made.configure(frame, A_SESSION)
        assert refused.value.code is Code.FORBIDDEN
        assert made.way != "with the command sh"
    await made.configure(wire.Configure(id="2", about="launch"), A_SESSION)


@pytest.mark.parametrize("value", [None, "sh", 5, {}, ["sh", 5], [None]])
def test_a_setting_that_is_no_argument_list_is_none(value: object) -> None:
    assert arguments_in(value) == ()


def test_no_frame_of_an_agent_is_one_of_these_verbs() -> None:
    from typing import get_args

    assert not {wire.Projects, wire.ChangeProject, wire.Launch, wire.Configure} & set(get_args(wire.AgentFrame))
