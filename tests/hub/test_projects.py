"""instances.json: what is registered, by whom, and what becomes of a file that is not ours."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import attrs
import pytest
import trio

from crosschat.core.state import Agent
from crosschat.errors import Code, Refused
from crosschat.hub import projects as module
from crosschat.hub.projects import Projects
from crosschat.journal.files import RealFiles

if TYPE_CHECKING:
    from pathlib import Path

AGENT = Agent(
    id="a1", name="ada", cwd="/", project=None, session=None, process=None, explicit=False, joined=1, cursor=1
)  # fmt: skip


def open_projects(place: Path) -> Projects:
    return Projects(RealFiles(), place / "instances.json")


def directory(place: Path, name: str) -> str:
    made = place / name
    made.mkdir(parents=True, exist_ok=True)
    return str(made)


async def test_what_the_person_adds_and_where_sessions_work_is_there_at_the_next_start(tmp_path: Path) -> None:
    projects = open_projects(tmp_path)
    app = await projects.add(directory(tmp_path, "app one"))
    await projects.note([directory(tmp_path, "lib"), app.path, "/no/such/directory", "relative"])
    again = open_projects(tmp_path)
    assert [(one.name, one.automatic, one.id) for one in again.all] == [
        ("app one", False, app.id),
        ("lib", True, projects.all[1].id),
    ]
    assert (tmp_path / "instances.json").stat().st_mode & 0o777 == 0o600
    listed = json.loads((tmp_path / "instances.json").read_text())["projects"]
    assert listed[0] == {"id": app.id, "path": app.path, "name": "app one", "automatic": False}


async def test_a_directory_is_registered_once_by_its_real_path(tmp_path: Path) -> None:
    projects = open_projects(tmp_path)
    real = directory(tmp_path, "real")
    (tmp_path / "link").symlink_to(real)
    first = await projects.add(real)
    assert await projects.add(str(tmp_path / "link")) == first
    assert await projects.add(real + "/../real/") == first
    assert len(projects.all) == 1


async def test_one_that_came_by_itself_becomes_the_persons_when_it_is_added(tmp_path: Path) -> None:
    projects = open_projects(tmp_path)
    await projects.note([directory(tmp_path, "app")])
    assert projects.all[0].automatic
    await projects.add(directory(tmp_path, "app"))
    assert [one.automatic for one in projects.all] == [False]


async def test_what_was_removed_does_not_come_back_by_itself_and_can_be_added_again(tmp_path: Path) -> None:
    projects = open_projects(tmp_path)
    path = directory(tmp_path, "app")
    await projects.note([path])
    await projects.remove(projects.all[0].id)
    again = open_projects(tmp_path)
    await again.note([path])
    assert again.all == ()
    await again.add(path)
    assert len(again.all) == 1
    await again.remove(again.all[0].id)
    with pytest.raises(Refused, match="No project has the id") as refused:
        await again.remove("p123")
    assert refused.value.code is Code.NOT_FOUND


@pytest.mark.parametrize(
    ("path", "code"),
    [("app", Code.INVALID), ("", Code.INVALID), ("/no/such", Code.NOT_FOUND), ("/a\0b", Code.INVALID),
     ("/" + "x" * 5000, Code.INVALID)],
    ids=["relative", "empty", "missing", "zero", "long"],
)  # fmt: skip
async def test_what_is_no_directory_is_not_registered(tmp_path: Path, path: str, code: Code) -> None:
    projects = open_projects(tmp_path)
    with pytest.raises(Refused) as refused:
        await projects.add(path)
    assert refused.value.code is code
    assert not (tmp_path / "instances.json").exists()


async def test_the_persons_home_may_be_written_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    directory(tmp_path, "app")
    assert (await open_projects(tmp_path).add("~/app")).path == str(tmp_path / "app")


async def test_a_file_is_no_project(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(Refused, match="is no directory"):
        await open_projects(tmp_path).add(str(tmp_path / "file"))


async def test_of_those_that_came_by_themselves_the_oldest_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROJECTS_AUTOMATIC", 3)
    monkeypatch.setattr(module, "PROJECTS", 4)
    projects = open_projects(tmp_path)
    await projects.add(directory(tmp_path, "mine"))
    for number in range(5):
        await projects.note([directory(tmp_path, f"d{number}")])
    assert [one.name for one in projects.all] == ["mine", "d2", "d3", "d4"]
    with pytest.raises(Refused, match="which is the most"):
        await projects.add(directory(tmp_path, "another"))


async def test_a_project_shows_who_works_in_it_or_below_and_whether_it_is_there(tmp_path: Path) -> None:
    projects = open_projects(tmp_path)
    app, lib = directory(tmp_path, "b app"), directory(tmp_path, "A lib")
    await projects.add(app)
    await projects.add(lib)
    agents = [
        attrs.evolve(AGENT, cwd=app),
        attrs.evolve(AGENT, id="a2", cwd=f"{app}/sub/dir"),
        attrs.evolve(AGENT, id="a3", cwd=f"{app}lication"),
    ]
    (tmp_path / "A lib").rmdir()
    await projects.look()
    found = projects.views(agents)
    assert [(one.name, one.exists, one.agents) for one in found] == [
        ("A lib", False, ()),
        ("b app", True, ("a1", "a2")),
    ]


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '{"projects": {}}', '{"projects": [{}]}', '{"projects": [{"path": 5}]}',
     '{"projects": [{"path": "relative"}]}', '{"projects": [], "removed": 5}', '{"instances": []}', "[" * 100_000],
)  # fmt: skip
async def test_a_file_that_cannot_be_read_is_reported_and_left_alone(tmp_path: Path, content: str) -> None:
    path = tmp_path / "instances.json"
    path.write_text(content)
    projects = open_projects(tmp_path)
    assert projects.problem is not None
    assert "instances.json" in projects.problem
    with pytest.raises(Refused, match=r"instances\.json"):
        await projects.add(directory(tmp_path, "app"))
    assert path.read_text() == content


async def test_what_cannot_be_written_is_not_registered(tmp_path: Path) -> None:
    projects = Projects(RealFiles(), tmp_path / "gone" / "instances.json")
    with pytest.raises(Refused) as refused:
        await projects.add(directory(tmp_path, "app"))
    assert refused.value.code is Code.STORAGE_FULL
    assert projects.all == ()


async def test_changes_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    projects = open_projects(tmp_path)
    names = ["one", "two", "three", "four"]
    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(projects.add, directory(tmp_path, name))
        nursery.start_soon(projects.note, [directory(tmp_path, "seen")])
    assert {one.name for one in projects.all} == {*names, "seen"}
    assert {one.name for one in open_projects(tmp_path).all} == {*names, "seen"}


async def test_every_change_is_told(tmp_path: Path) -> None:
    projects = open_projects(tmp_path)
    told: list[int] = []
    projects.changed = lambda: told.append(len(projects.all))
    await projects.add(directory(tmp_path, "app"))
    await projects.note([directory(tmp_path, "lib")])
    await projects.note([directory(tmp_path, "lib")])
    await projects.remove(projects.all[0].id)
    assert told == [1, 2, 1]
