"""Launches with a real tmux, a stand-in for Claude Code, and commands of the person's: what is started, and how it
ends when it does not start."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from crosschat.errors import Code, Refused
from crosschat.hub import launcher as module
from crosschat.hub.launcher import ANOTHER_SESSIONS, PROMPT, Launcher, filled_in
from crosschat.hub.projects import Project
from crosschat.paths import Home
from tests.claude.client import needed
from tests.live.rig import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

# What it is: a script beside it says what to do after it has written down what it was given.
STAND_IN = """#!{python}
import json, os, sys
given = {{"argv": sys.argv[1:], "cwd": os.getcwd(), "env": dict(os.environ), "pid": os.getpid(), "sid": os.getsid(0),
         "descriptors": sorted(os.listdir("/dev/fd"))}}
with open(os.path.join({directory!r}, ".given"), "w") as file:
    json.dump(given, file)
os.rename(os.path.join({directory!r}, ".given"), os.path.join({directory!r}, "given"))
{then}
"""
STAYS = "import time; time.sleep(600)"
HARD = [
    "plain", "two words", "it's \"quoted\"", "$HOME `id` $(id)", "new\nline", "semi;", "#{pane_id} #(touch pwned) #S",
    "%H:%M %%", "-dash", "~", "*?[x]", "back\\slash\\", "ünï ☃", "{directory} {name} {command}", "\\;", "a&b|c>d",
    "trailing ;",
]  # fmt: skip


class Place:
    """A home, a program directory with the stand-in, and a tmux server of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.programs = root / "bin"
        self.programs.mkdir()
        self.work = root / "w"
        self.work.mkdir()
        self.environment = {
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "HOME": str(root),
            "TMUX_TMPDIR": str(root),
            "LANG": "C.UTF-8",
            "TERM": "xterm",
            "SHELL": "/bin/sh",
            **dict.fromkeys(ANOTHER_SESSIONS, "of another session"),
            "TMUX": "/nowhere,1,0",
        }

    def install(self, then: str = STAYS) -> None:
        path = self.programs / "claude"
        path.write_text(STAND_IN.format(python=sys.executable, directory=str(self.root), then=then))
        path.chmod(0o755)

    def launcher(self, *, platform: str = "linux") -> Launcher:
        return Launcher(Home(self.root / "h"), environment=self.environment, platform=platform)

    def project(self, name: str = "plain") -> Project:
        directory = self.work / name
        directory.mkdir(exist_ok=True)
        return Project(str(directory))

    async def given(self) -> dict[str, object]:
        await eventually((self.root / "given").exists)
        found: dict[str, object] = json.loads((self.root / "given").read_text())
        return found

    def tmux(self, *arguments: str) -> str:
        environment = {name: value for name, value in self.environment.items() if name != "TMUX"}
        done = subprocess.run(["tmux", *arguments], env=environment, capture_output=True, text=True, check=False)
        return done.stdout

    def end(self) -> None:
        self.tmux("kill-server")
        if (self.root / "given").exists():
            pid = json.loads((self.root / "given").read_text())["pid"]
            if Path(f"/proc/{pid}/cmdline").exists() and b"claude" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def place() -> Iterator[Place]:
    root = Path(tempfile.mkdtemp(prefix="cc-", dir="/tmp"))
    made = Place(root)
    try:
        yield made
    finally:
        made.end()
        shutil.rmtree(root)


@pytest.fixture
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """For launches that are not looked after: the stand-in says by itself what it was given."""
    monkeypatch.setattr(module, "SETTLE_S", 0.0)


@pytest.fixture
def _tmux() -> None:
    needed("tmux")


@pytest.mark.usefixtures("_tmux", "_at_once")
@pytest.mark.parametrize("name", HARD)
async def test_a_session_begins_in_its_directory_whatever_is_in_the_path(place: Place, name: str) -> None:
    place.install()
    project = place.project(name)
    where = await place.launcher().launch(project, "api")
    assert where == "in tmux: tmux attach -t crosschat"
    given = await place.given()
    assert given["cwd"] == project.path
    assert given["argv"] == [PROMPT]
    assert not list(place.root.rglob("pwned"))
    assert place.tmux("list-windows", "-t", "=crosschat:", "-F", "#{window_name}").split() == ["api"]


@pytest.mark.usefixtures("_tmux", "_at_once")
async def test_the_session_has_its_name_and_the_hubs_place_and_nothing_of_another_session(place: Place) -> None:
    place.install()
    await place.launcher().launch(place.project(), "api")
    given = await place.given()
    environment = given["env"]
    assert isinstance(environment, dict)
    assert environment["CROSSCHAT_NAME"] == "api"
    assert environment["CROSSCHAT_HOME"] == str(place.root / "h")
    assert {name for name in ANOTHER_SESSIONS if name in environment} == {"CROSSCHAT_NAME"}
    assert given["sid"] != os.getsid(0)


@pytest.mark.usefixtures("_tmux", "_at_once")
async def test_a_second_launch_is_a_new_window_of_the_same_session(place: Place) -> None:
    place.install()
    launcher = place.launcher()
    async with trio.open_nursery() as nursery:
        for name in ("one", "two", "three"):
            nursery.start_soon(launcher.launch, place.project(), name)
    windows = place.tmux("list-windows", "-a", "-F", "#{session_name} #{window_name}").splitlines()
    assert sorted(windows) == ["crosschat one", "crosschat three", "crosschat two"]


@pytest.mark.usefixtures("_tmux", "_at_once")
async def test_without_a_name_the_window_is_called_after_the_directory(place: Place) -> None:
    place.install()
    await place.launcher().launch(place.project("my app (old)"), None)
    assert place.tmux("list-windows", "-a", "-F", "#{window_name}").strip() == "my-app-old"
    environment = (await place.given())["env"]
    assert isinstance(environment, dict)
    assert "CROSSCHAT_NAME" not in environment


@pytest.mark.usefixtures("_tmux")
@pytest.mark.parametrize(
    ("then", "words"),
    [
        ("print('not logged in: run claude login'); sys.exit(3)", "with status 3: not logged in: run claude login"),
        ("sys.exit(0)", "claude ended at once, with status 0"),
        ("os.kill(os.getpid(), 9)", "claude ended at once, by signal 9"),
    ],
)
async def test_a_session_that_ends_at_once_says_why_and_leaves_no_window(place: Place, then: str, words: str) -> None:
    place.install(then)
    with pytest.raises(Refused) as refused:
        await place.launcher().launch(place.project(), "api")
    assert refused.value.code is Code.CONFLICT
    assert words in refused.value.message
    assert place.tmux("list-windows", "-a").strip() == ""


@pytest.mark.usefixtures("_tmux")
async def test_a_window_closes_when_its_session_ends_later(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SETTLE_S", 0.3)
    place.install("import time\nwhile not os.path.exists(os.path.join(sys.argv[0] + '.end')): time.sleep(0.02)")
    await place.launcher().launch(place.project(), "api")
    assert place.tmux("list-windows", "-a", "-F", "#{window_name}").strip() == "api"
    Path(f"{place.programs / 'claude'}.end").touch()
    await eventually(lambda: place.tmux("list-windows", "-a").strip() == "")


async def test_a_launch_says_what_is_missing(place: Place) -> None:
    project = place.project()
    with pytest.raises(Refused, match="`claude` is not on the path of the hub"):
        await place.launcher().launch(project, None)
    place.install()
    for name in ("a b", "user", "-x", "x" * 65, "", "a;b"):
        with pytest.raises(Refused) as refused:
            await place.launcher().launch(project, name)
        assert (refused.value.code, refused.value.path) == (Code.INVALID, "name")
    with pytest.raises(Refused, match="is no directory any more"):
        await place.launcher().launch(Project(str(place.root / "gone")), None)
    bare = Launcher(Home(place.root / "h"), environment={**place.environment, "PATH": str(place.programs)})
    assert bare.way is None
    with pytest.raises(Refused, match="There is no tmux here"):
        await bare.launch(project, None)


async def test_claude_is_found_where_its_installer_puts_it(place: Place) -> None:
    place.install()
    target = place.root / ".local" / "bin"
    target.mkdir(parents=True)
    (place.programs / "claude").rename(target / "claude")
    launcher = place.launcher()
    launcher.command = ("/usr/bin/env",)
    await launcher.launch(place.project(), None)
    assert (await place.given())["argv"] == [PROMPT]


# --- the person's own command


@pytest.mark.usefixtures("_at_once")
@pytest.mark.parametrize("name", HARD)
async def test_a_command_gets_directory_and_name_as_they_are(place: Place, name: str) -> None:
    place.install()
    recorder = place.programs / "terminal"
    recorder.write_text(
        f"#!{sys.executable}\nimport json, sys\njson.dump(sys.argv[1:], open({str(place.root / 'arguments')!r}, 'w'))\n"
    )
    recorder.chmod(0o755)
    project = place.project(name)
    launcher = place.launcher()
    launcher.command = ("terminal", "--dir={directory}", "{name}", "{command}", "last")
    assert await launcher.launch(project, "api") == "started with terminal"
    await eventually(
        lambda: (place.root / "arguments").exists() and place.root.joinpath("arguments").stat().st_size > 0
    )
    arguments = json.loads((place.root / "arguments").read_text())
    assert arguments[0] == f"--dir={project.path}"
    assert (arguments[1], arguments[-1]) == ("api", "last")
    document = json.loads(arguments[-2])
    assert (document["directory"], document["command"][1:]) == (project.path, [PROMPT])
    assert arguments[-2].isascii()


def test_what_was_filled_in_is_not_looked_at_again() -> None:
    assert filled_in(["x", "{name}", "{directory}"], "{name}", "{command}", ["c"]) == ["x", "{command}", "{name}", "c"]
    assert filled_in(["x", "{command}", "-{name}"], "/d", "n", ["c", "d"]) == ["x", "c", "d", "-n"]


async def test_what_is_launched_by_a_command_has_nothing_of_the_hub_and_outlives_it(place: Place) -> None:
    place.install()
    held = os.open(place.root, os.O_RDONLY)
    try:
        launcher = place.launcher()
        launcher.command = ("env", "{command}")
        await launcher.launch(place.project(), "api")
        given = await place.given()
        descriptors = given["descriptors"]
        assert isinstance(descriptors, list)
        assert len(descriptors) <= 4  # the standard ones, and the one that lists them
        assert given["sid"] == given["pid"] != os.getsid(0)  # a session of its own: no signal of the hub's reaches it
    finally:
        os.close(held)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo no display >&2; exit 4", "terminal ended at once, with status 4: no display"),
        ("kill -9 $$", "terminal ended at once, by signal 9"),
    ],
)
async def test_a_command_that_fails_says_why(place: Place, script: str, words: str) -> None:
    place.install()
    path = place.programs / "terminal"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    launcher = place.launcher()
    launcher.command = ("terminal",)
    with pytest.raises(Refused) as refused:
        await launcher.launch(place.project(), None)
    assert words in refused.value.message
    path.unlink()
    with pytest.raises(Refused, match="with status 127: terminal: No such file"):
        await launcher.launch(place.project(), None)


def test_a_command_that_cannot_be_one_is_refused(place: Place) -> None:
    launcher = place.launcher()
    for command in ((), ("",), ("no-such-program",), ("sh", "a\0b")):
        with pytest.raises(Refused) as refused:
            launcher.check(command)
        assert refused.value.path == "command"
    launcher.check(("sh", "-c", "true"))


# --- Terminal, on macOS


@pytest.mark.parametrize("name", HARD)
async def test_terminal_is_given_words_that_its_shell_cannot_misread(place: Place, name: str) -> None:
    """The stand-in does what the script says: every word in quotes of the shell, in one line that a shell runs."""
    place.install()
    osascript = place.programs / "osascript"
    osascript.write_text(
        f"#!{sys.executable}\nimport shlex, subprocess, sys\n"
        "assert sys.argv[1] == '-e' and 'quoted form of' in sys.argv[2]\n"
        "line = ' '.join(map(shlex.quote, sys.argv[3:]))\n"
        "assert '\\n' not in line\n"
        "subprocess.Popen(['/bin/sh', '-c', line], start_new_session=True, stdout=subprocess.DEVNULL,"
        " stderr=subprocess.DEVNULL)\n"
    )
    osascript.chmod(0o755)
    project = place.project(name)
    launcher = place.launcher(platform="darwin")
    assert launcher.way == "in a window of Terminal"
    assert await launcher.launch(project, "api") == "in a new window of Terminal"
    given = await place.given()
    assert (given["cwd"], given["argv"]) == (project.path, [PROMPT])


async def test_a_terminal_that_refuses_says_why(place: Place) -> None:
    place.install()
    osascript = place.programs / "osascript"
    osascript.write_text("#!/bin/sh\necho 'Not authorized to send Apple events to Terminal.' >&2\nexit 1\n")
    osascript.chmod(0o755)
    with pytest.raises(Refused, match="Not authorized to send Apple events"):
        await place.launcher(platform="darwin").launch(place.project(), None)


async def test_a_program_that_hangs_is_given_up(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STEP_S", 0.2)
    place.install()
    tmux = place.programs / "tmux"
    tmux.write_text("#!/bin/sh\nexec sleep 60\n")
    tmux.chmod(0o755)
    with pytest.raises(Refused, match=r"tmux did not answer within 0\.2 s"):
        await place.launcher().launch(place.project(), None)
    tmux.unlink()
