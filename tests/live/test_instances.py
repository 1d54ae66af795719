"""Projects, launches and notifications of a real hub: from the page and the terminal, and never from an agent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from crosschat import pagewire, wire
from crosschat.errors import Code
from tests.claude.client import needed
from tests.live.rig import HELLO, Control, HubProcess, Program, eventually, eventually_is, inspect, join
from tests.live.screen import at_a_terminal, paired

if TYPE_CHECKING:
    from collections.abc import Iterator

    import trio

STAND_IN = """#!{python}
import os, sys, time
fields = [os.getcwd(), os.environ["CROSSCHAT_NAME"], os.environ["CROSSCHAT_HOME"], str(os.getpid()), *sys.argv[1:]]
with open({place!r} + "/.given", "w") as file:
    file.write("\\n".join(fields))
os.rename({place!r} + "/.given", {place!r} + "/given")
time.sleep(600)
"""


@contextmanager
def hub_with_claude(place: Path) -> Iterator[HubProcess]:
    """A hub that finds a stand-in for Claude Code, and a tmux server of its own."""
    programs = place / "bin"
    programs.mkdir()
    (programs / "claude").write_text(STAND_IN.format(python=sys.executable, place=str(place)))
    (programs / "claude").chmod(0o755)
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "TMUX_TMPDIR": str(place), "HOME": str(place)}
    environment |= {"LANG": "C.UTF-8", "SHELL": "/bin/sh"}
    try:
        with HubProcess(place / "home", "--stay", environment=environment) as hub:
            yield hub.started()
    finally:
        subprocess.run(["tmux", "kill-server"], env=environment, capture_output=True, check=False)


async def given(place: Path) -> list[str]:
    await eventually((place / "given").exists, 20)
    return (place / "given").read_text().split("\n")


async def test_the_page_starts_a_session_that_outlives_the_hub_and_does_not_hold_its_lock(place: Path) -> None:
    needed("tmux")
    work = place / "it's a $(dir)"
    work.mkdir()
    with hub_with_claude(place) as hub:
        browser = await paired(hub.home)
        async with browser.stream() as screen:
            await screen.ask(wire.ChangeProject(id="p", path=str(work)), wire.Done)
            state = await screen.next(pagewire.Hub, lambda one: len(one.projects) == 1)
            assert state.launches == "in tmux, session crosschat"
            (project,) = state.projects
            assert (project.name, project.exists, project.automatic) == (work.name, True, False)
            launch = wire.Launch(id="l", project=project.id, name="api")
            launched = await screen.ask(launch, wire.Launched, 20)
            assert launched.where == "in tmux: tmux attach -t crosschat"
            directory, name, home, pid, *arguments = await given(place)
            assert (directory, name, home, arguments) == (str(work), "api", str(hub.home.root), ["/crosschat"])
            events = await screen.ask(pagewire.Events(id="e"), pagewire.EventPage)
            assert [event.kind for event in events.events].count("launched") == 1
            refused = await screen.ask(wire.Launch(id="m", project=str(work)), wire.Error)
            assert refused.code is Code.NOT_FOUND
        hub.signal(signal.SIGKILL)
        hub.wait()
        os.kill(int(pid), 0)  # it is still there
        with HubProcess(hub.home.root, "--stay") as next_hub:
            next_hub.started()
            listed = (await inspect(next_hub.home)).head
            assert listed > 0
        os.kill(int(pid), signal.SIGKILL)


async def test_an_agent_has_no_frame_to_launch_or_to_register(running_hub: HubProcess, nursery: trio.Nursery) -> None:
    with Program(running_hub.home.agents_socket) as program:
        ada = await join(nursery, program.connect())
        for frame in (
            wire.Launch(id="1", project="p1"),
            wire.ChangeProject(id="2", path="/"),
            wire.Projects(id="3"),
            wire.Configure(id="4", about="launch", change="set", command=("sh",)),
        ):
            await ada.socket.send_message(json.dumps({"type": frame.type, **wire.complete(frame)}))
            answer = await ada.answer(frame.id)
            assert isinstance(answer, wire.Error)
            assert answer.code is Code.BAD_FRAME
        nursery.cancel_scope.cancel()


async def test_where_an_agent_works_is_listed_with_it(
    running_hub: HubProcess, place: Path, nursery: trio.Nursery
) -> None:
    work = place / "app"
    work.mkdir()
    with Program(running_hub.home.agents_socket) as program:
        hello = wire.Hello(protocol=HELLO.protocol, version="test", cwd=str(work))
        ada = await join(nursery, program.connect(), hello)
        async with Control(running_hub.home.control_socket) as control:

            async def listed() -> list[tuple[str, tuple[str, ...]]]:
                answer = await control.ask(wire.Projects(id="p"), wire.ProjectList)
                return [(project.path, project.agents) for project in answer.projects]

            await eventually_is(listed, [(str(work), (ada.welcome.agent,))])
        nursery.cancel_scope.cancel()


async def test_a_question_of_an_agent_runs_the_persons_command(place: Path, nursery: trio.Nursery) -> None:
    with HubProcess(place / "home", "--stay") as hub:
        hub.started()
        command = ("/bin/sh", "-c", f"cat > {place}/told.new; mv {place}/told.new {place}/told")
        frame = wire.Configure(id="c", about="notify", change="set", command=command)
        assert isinstance(at_a_terminal(hub.home, frame), wire.Configured)
        with Program(hub.home.agents_socket) as program:
            ada = await join(nursery, program.connect())
            sent = await ada.post("@user may I?")
            await eventually((place / "told").exists, 20)
            document = json.loads((place / "told").read_text())
            assert (document["kind"], document["session"], document["message"]) == (
                "question", ada.welcome.name, sent.message,
            )  # fmt: skip
            assert "may I" not in (place / "told").read_text()
            status = await inspect(hub.home)
            assert (status.needs, status.notify_problem) == ({"question": 1}, None)
        nursery.cancel_scope.cancel()


def test_a_command_below_claude_code_cannot_set_what_the_hub_runs(place: Path) -> None:
    """The program above is a copy of the shell called `claude`, as the kernel names Claude Code."""
    with HubProcess(place / "home", "--stay") as hub:
        hub.started()
        claude = place / "claude"
        claude.write_bytes(Path("/bin/sh").read_bytes())
        claude.chmod(0o700)
        request = wire.encode_control(wire.Configure(id="c", about="launch", change="set", command=("sh",))).decode()
        ask = (
            "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
            "s.sendall(sys.argv[2].encode() + b'\\n'); print(s.makefile().readline())"
        )
        script = f'"{sys.executable}" -I -S -c "$0" "$1" "$2"; true'
        done = subprocess.run(
            [claude, "-c", script, ask, str(hub.home.control_socket), request],
            capture_output=True, text=True, timeout=30, check=True,
        )  # fmt: skip
        answer = wire.decode_hub(done.stdout)
        assert isinstance(answer, wire.Error)
        assert answer.code is Code.FORBIDDEN


@pytest.fixture(autouse=True)
def _no_stand_in_stays(place: Path) -> Iterator[None]:
    yield
    with suppress(FileNotFoundError, ProcessLookupError, IndexError, ValueError):
        pid = int((place / "given").read_text().split("\n")[3])
        if b"claude" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)
