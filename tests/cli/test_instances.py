"""`crosschat projects`, `launch` and `notify`: what is asked of the hub, and what is shown."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from crosschat import wire
from crosschat.errors import Code
from tests.cli.fake_hub import FakeHub

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from click.testing import Result

    from crosschat.paths import Home

    Run = Callable[..., Result]


class Hub:
    """Answers like a hub with these projects."""

    def __init__(self, *projects: wire.ProjectView) -> None:
        self.projects = list(projects)
        self.commands: dict[str, tuple[str, ...]] = {}
        self.problem: str | None = None

    def __call__(self, frame: wire.ControlFrame) -> Iterable[wire.HubFrame]:
        match frame:
            case wire.Projects():
                yield wire.ProjectList(
                    id=frame.id, projects=tuple(self.projects), launches="in tmux, session crosschat"
                )
            case wire.ChangeProject(path=str() as path):
                self.projects.append(
                    wire.ProjectView(id=f"p{len(self.projects)}", path=path, name=os.path.basename(path))
                )
                yield wire.Done(id=frame.id)
            case wire.Launch():
                yield wire.Launched(id=frame.id, where="in tmux: tmux attach -t crosschat")
            case wire.Configure(about="patience"):
                yield wire.Configured(id=frame.id, unread_s=frame.unread_s or 600, stuck_s=frame.stuck_s or 1800)
            case wire.Configure():
                if frame.change in ("set", "unset"):
                    self.commands[frame.about] = frame.command
                yield wire.Configured(
                    id=frame.id,
                    command=self.commands.get(frame.about, ()),
                    contents=frame.contents,
                    problem=self.problem,
                )
            case wire.Peers():
                peer = wire.PeerView(id="a1", name="ada", connected=True, status="busy", cwd="/")
                yield wire.PeerList(id=frame.id, peers=(peer,))
            case _:
                yield wire.Done(id=frame.id)


APP = wire.ProjectView(id="p1", path="/src/app", name="app", agents=("a1",))
GONE = wire.ProjectView(id="p2", path="/src/lib", name="lib", exists=False, automatic=True)


def asked(hub: FakeHub, kind: type) -> list[wire.ControlFrame]:
    return [frame for frame in hub.asked if isinstance(frame, kind)]


@pytest.mark.parametrize("arguments", [["projects"], ["projects", "list"]])
def test_projects_are_listed_with_their_sessions(run: Run, home: Home, arguments: list[str]) -> None:
    with FakeHub(home, Hub(APP, GONE)):
        shown = run(*arguments)
        as_json = run(*arguments, "--json")
    assert [line.split()[:3] for line in shown.output.splitlines()[1:]] == [
        ["p1", "app", "ada"],
        ["p2", "lib", "/src/lib"],
    ]
    assert "(it is gone)" in shown.output
    assert json.loads(as_json.output)["projects"][1]["automatic"] is True


def test_an_empty_list_says_what_to_do(run: Run, home: Home) -> None:
    with FakeHub(home, Hub()):
        assert "crosschat projects add" in run("projects").output


def test_a_directory_is_added_by_its_real_path(run: Run, home: Home, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with FakeHub(home, Hub()) as hub:
        shown = run("projects", "add", str(tmp_path / "link"), "--json")
        assert run("projects", "add", str(tmp_path / "none")).exit_code == 2
    assert json.loads(shown.output)["path"] == str(tmp_path / "real")
    (change,) = asked(hub, wire.ChangeProject)
    assert isinstance(change, wire.ChangeProject)
    assert change.path == str(tmp_path / "real")


@pytest.mark.parametrize("project", ["p1", "app", "/src/app", "/src/../src/app/"])
def test_a_project_is_removed_by_id_name_or_directory(run: Run, home: Home, project: str) -> None:
    with FakeHub(home, Hub(APP, GONE)) as hub:
        assert run("projects", "remove", project).output == "removed /src/app\n"
    (change,) = asked(hub, wire.ChangeProject)
    assert isinstance(change, wire.ChangeProject)
    assert (change.project, change.path) == ("p1", None)


def test_a_name_that_several_projects_have_is_not_guessed(run: Run, home: Home) -> None:
    twin = wire.ProjectView(id="p3", path="/other/app", name="app")
    with FakeHub(home, Hub(APP, twin)) as hub:
        shown = run("projects", "remove", "app")
        assert run("projects", "remove", "none").exit_code == 1
    assert shown.exit_code == 1
    assert "p1 (/src/app), p3 (/other/app)" in shown.stderr
    assert not asked(hub, wire.ChangeProject)


# --- launch


@pytest.mark.parametrize("arguments", [["app", "--name", "api"], ["--name", "api", "app"], ["p1", "--name=api"]])
def test_a_project_is_launched_with_its_name(run: Run, home: Home, arguments: list[str]) -> None:
    with FakeHub(home, Hub(APP)) as hub:
        shown = run("launch", *arguments)
    assert shown.output == "started in /src/app, in tmux: tmux attach -t crosschat\n"
    (launch,) = asked(hub, wire.Launch)
    assert isinstance(launch, wire.Launch)
    assert (launch.project, launch.name) == ("p1", "api")


def test_a_directory_that_is_no_project_yet_becomes_one(run: Run, home: Home, tmp_path: Path) -> None:
    with FakeHub(home, Hub()) as hub:
        shown = run("launch", str(tmp_path), "--json")
    assert json.loads(shown.output)["project"]["path"] == str(tmp_path)
    assert [frame.type for frame in hub.asked] == ["projects", "project", "projects", "launch"]


def test_what_is_neither_project_nor_directory_is_refused(run: Run, home: Home) -> None:
    with FakeHub(home, Hub(APP)) as hub:
        shown = run("launch", "nothing")
    assert (shown.exit_code, asked(hub, wire.Launch)) == (1, [])
    assert "neither a project nor a directory" in shown.stderr


def test_a_launch_that_fails_says_why(run: Run, home: Home) -> None:
    def script(frame: wire.ControlFrame) -> Iterable[wire.HubFrame]:
        if isinstance(frame, wire.Launch):
            yield wire.Error(id=frame.id, code=Code.CONFLICT, message="claude ended at once, with status 3: log in")
        else:
            yield from Hub(APP)(frame)

    with FakeHub(home, script):
        shown = run("launch", "app")
    assert (shown.exit_code, shown.stderr) == (1, "crosschat: claude ended at once, with status 3: log in\n")


def test_launch_alone_shows_its_help(run: Run, home: Home) -> None:
    assert "Examples:" in run("launch").output


@pytest.mark.parametrize("about", ["launch", "notify"])
def test_a_command_is_set_shown_and_forgotten_argument_by_argument(run: Run, home: Home, about: str) -> None:
    hub = Hub()
    command = ("term", "--dir={directory}", "-x", "two words", "--json", "{command}")
    with FakeHub(home, hub):
        assert run(about, "set", "--", *command).exit_code == 0
        assert hub.commands[about] == command
        assert json.loads(run(about, "show", "--json").output)["command"] == list(command)
        assert "term --dir={directory} -x two words" in run(about, "show").output
        run(about, "unset")
        assert hub.commands[about] == ()
        assert run(about, "set").exit_code == 2


def test_a_program_given_by_a_path_is_kept_by_a_whole_one(
    run: Run, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub()
    monkeypatch.chdir("/tmp")
    with FakeHub(home, hub):
        run("notify", "set", "--", "./tell", "./me")
        assert hub.commands["notify"] == (f"{os.path.realpath('/tmp')}/tell", "./me")


def test_a_notification_that_fails_its_test_is_status_1(run: Run, home: Home) -> None:
    hub = Hub()
    hub.commands["notify"] = ("tell",)
    with FakeHub(home, hub) as fake:
        assert "it ran" in run("notify", "test").output
        hub.problem = "tell ended with status 1"
        shown = run("notify", "test")
        assert run("notify").exit_code == 0
    assert (shown.exit_code, "tell ended with status 1" in shown.stderr) == (1, True)
    assert [frame.change for frame in fake.asked if isinstance(frame, wire.Configure)] == ["test", "test", "show"]


def test_how_long_is_too_long_is_said_in_lengths_of_time(run: Run, home: Home) -> None:
    with FakeHub(home, Hub()) as hub:
        shown = run("notify", "after", "--unread", "2h")
        run("notify", "after", "--json")
        assert run("notify", "after", "--stuck", "soon").exit_code == 2
    assert shown.output == "unread messages after 7200 s, silent tasks after 1800 s\n"
    asked_for = [(frame.change, frame.unread_s) for frame in hub.asked if isinstance(frame, wire.Configure)]
    assert asked_for == [("set", 7200.0), ("show", None)]
