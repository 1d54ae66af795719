"""The permission hook against a desk behind a real socket, below a process that passes for Claude Code."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Literal

import pytest
import trio

from crosschat import processes, wire
from tests.hub.desk import output, request
from tests.live.desk import LiveDesk
from tests.live.prompting import Hook, Session
from tests.live.rig import WAIT_S, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from crosschat.model import JsonObject
    from crosschat.processes import Process

pytestmark = pytest.mark.process
DENY = output({"behavior": "deny", "message": "not so: \u2028 \u202e é"})


@pytest.fixture
async def desk(place: Path) -> AsyncIterator[LiveDesk]:
    async with trio.open_nursery() as nursery:
        desk = LiveDesk(place, nursery)
        yield desk
        desk.close()


@pytest.fixture
async def session(place: Path, desk: LiveDesk) -> AsyncIterator[Session]:
    with Session(place, desk.home) as session:
        desk.know(session)
        yield session


@pytest.mark.parametrize("said", [output(), DENY])
async def test_what_was_decided_is_printed_and_nothing_else(
    desk: LiveDesk, session: Session, said: dict[str, object]
) -> None:
    raw = request(tool_input={"command": "printf '\u202e\\x00' é"})
    hook = session.ask(raw)
    view = await desk.asked()
    assert view.raw.encode() == raw
    assert not view.printing
    await desk.decide(view, said)
    ended = await hook.end()
    assert ended.said == said
    assert ended.err == b""
    assert [line["event"] for line in desk.audited()] == ["decided"]


@pytest.mark.parametrize(
    "form",
    [
        ["sh", "-c", '"$0" request'],
        ["sh", "-c", 'read line; cat - | "$0" request; exit 0'],
        ["env", "sh", "-c", '"$0" request; exit 0'],
    ],
    ids=["sh", "pipe", "env"],
)
async def test_it_works_behind_a_shell(desk: LiveDesk, session: Session, form: list[str]) -> None:
    raw = request()
    hook = session.start([*form, str(session.hooks / "permission.sh")], b"\n" + raw if "read" in form[-1] else raw)
    view = await desk.asked()
    assert view.raw.encode() == raw
    await desk.decide(view)
    assert (await hook.end()).said == output()


async def test_the_largest_input_is_asked_and_a_larger_one_is_not(desk: LiveDesk, session: Session) -> None:
    raw = request(tool_input={"command": ""})
    largest = raw.replace(b'"command": ""', b'"command": "%b"' % (b"x" * ((1 << 20) - len(raw))))
    assert len(largest) == 1 << 20
    larger = session.ask(largest.replace(b"x", b"xx", 1))
    hook = session.ask(largest)
    view = await desk.asked()
    assert view.raw.encode() == largest
    await desk.decide(view)
    assert (await hook.end()).said == output()
    assert (await larger.end()).out == b""
    assert len(desk.seen.views) == 1


async def test_a_hook_that_is_ended_is_gone_from_the_desk(desk: LiveDesk, session: Session) -> None:
    hook = session.ask(request())
    await desk.asked()
    hook.signal(signal.SIGTERM)
    ended = await hook.end()
    assert (ended.out, ended.err) == (b"", b"")
    assert await desk.over() == "answered_elsewhere"


async def test_a_session_that_dies_takes_its_request_along(desk: LiveDesk, session: Session) -> None:
    hook = session.ask(request())
    await desk.asked()
    session.kill()
    assert (await hook.end()).out == b""
    assert await desk.over() == "gone"


async def test_a_hook_that_is_nobodys_is_silent_at_once(desk: LiveDesk, place: Path) -> None:
    with Session(place, desk.home) as stranger:
        assert (await stranger.ask(request()).end()).out == b""
    with Session(place, desk.home, name="clod") as other:
        assert (await other.ask(request()).end()).out == b""
    assert desk.seen.views == []


async def test_a_hook_that_was_forked_twice_is_nobodys(place: Path, desk: LiveDesk, session: Session) -> None:
    given, out, done = (place / name for name in ("given", "out", "done"))
    os.mkfifo(given)
    forks = '("$0" request < "$1" > "$2"; : > "$3") & exit 0'
    names = [str(path) for path in (session.hooks / "permission.sh", given, out, done)]
    await session.start(["sh", "-c", forks, *names], b"").end()  # what it started waits for the other end of the pipe
    await trio.to_thread.run_sync(given.write_bytes, request())
    with trio.fail_after(10):
        while not done.exists():  # noqa: ASYNC110
            await trio.sleep(0.01)
    assert out.read_bytes() == b""
    assert desk.seen.views == []


# --- a parent that dies meanwhile


def behind_a_shell(session: Session) -> Hook:
    """A hook whose parent is a shell; the pid is the shell's."""
    return session.start(["sh", "-c", '"$0" request; exit 0', str(session.hooks / "permission.sh")], request())


def end_and_see(pid: int) -> None:
    """Kill it; returns when the kernel shows it no more."""
    os.kill(pid, signal.SIGKILL)
    give_up_at = time.monotonic() + WAIT_S
    while processes.find(pid) is not None:
        assert time.monotonic() < give_up_at
        time.sleep(0.001)


@pytest.mark.parametrize("looks", range(4))
@pytest.mark.parametrize("victim", ["shell", "session"])
async def test_a_parent_that_dies_between_two_looks_at_the_processes_leads_to_no_other_session(
    place: Path, desk: LiveDesk, session: Session, monkeypatch: pytest.MonkeyPatch, victim: str, looks: int
) -> None:
    """The hub has the hook's pid from the kernel and looks at the hook, the shell, the session and what is above it.
    Whoever died before it was looked at leads nowhere. Who died after that has asked, and a session that is dead by
    then takes its request along."""
    peers: list[int] = []
    found: list[Process] = []
    search = processes.find_agent_process

    def lookup(pid: int) -> Process | None:
        if len(found) == looks:
            end_and_see(victims[victim])
        process = processes.find(pid)
        found.extend([process] if process is not None else [])
        return process

    def search_meanwhile(pid: int) -> Process | None:
        peers.append(pid)
        return search(pid, lookup)

    monkeypatch.setattr(processes, "find_agent_process", search_meanwhile)
    with Session(place, desk.home) as other:
        desk.know(other, "a2")
        hook = behind_a_shell(session)
        victims = {"shell": hook.pid, "session": session.pid}
        if victim == "shell" and looks >= 2:
            view = await desk.asked()
            assert view.agent == "a1"
            await desk.decide(view, DENY)
            await eventually(lambda: processes.find(peers[0]) is None)
            assert json.loads(hook.printed()) == DENY
        elif victim == "session" and looks == 3:
            assert await desk.over() == "gone"
            await eventually(lambda: processes.find(peers[0]) is None)
            assert hook.printed() == b""
            assert [view.agent for view in desk.seen.views] == ["a1"]
        else:
            await eventually(lambda: bool(peers))
            await eventually(lambda: processes.find(peers[0]) is None)
            assert hook.printed() == b""
            assert desk.seen.views == []
        assert [process.pid for process in found[:1]] == peers
    assert processes.find(victims[victim]) is None


async def test_a_shell_that_dies_while_its_request_waits_leaves_it_with_its_session(
    desk: LiveDesk, session: Session
) -> None:
    first, second = behind_a_shell(session), behind_a_shell(session)
    views = [await desk.asked(), await desk.asked(2)]
    for shell in (first, second):
        end_and_see(shell.pid)
    await desk.decide(views[0], DENY)
    await eventually(lambda: any(hook.printed().endswith(b"\n") for hook in (first, second)))
    session.kill()
    await eventually(lambda: len(desk.seen.overs) == 2)
    assert [over.how for over in desk.seen.overs] == ["decided", "gone"]
    silent, told = sorted((first.printed(), second.printed()), key=len)
    assert (silent, json.loads(told)) == (b"", DENY)


async def test_a_session_that_died_while_no_hub_ran_asks_for_nobody_that_came_in_its_place(
    place: Path, desk: LiveDesk, session: Session
) -> None:
    script = session.hooks / "permission.py"
    script.write_text(script.read_text().replace("RETRY_S = 10.0", "RETRY_S = 1.0"))
    hook = session.ask(request())
    await desk.asked()
    desk.close()
    session.kill()
    async with trio.open_nursery() as nursery:
        again = LiveDesk(place, nursery)
        with Session(place, again.home) as resumed:
            again.know(resumed)  # the same agent, in another process
            assert (await hook.end(timeout_s=30)).out == b""
            assert again.seen.views == []
        again.close()


# --- a hub that is restarted or away


async def test_a_restarted_hub_is_asked_anew_and_an_old_decision_is_not_used(
    place: Path, desk: LiveDesk, session: Session
) -> None:
    hook = session.ask(request())
    old = await desk.asked()
    desk.close()
    async with trio.open_nursery() as nursery:
        again = LiveDesk(place, nursery)
        await trio.sleep(0.3)  # it is answered "not mine" until its agent is back
        again.know(session)
        view = await again.asked()
        assert (view.id, view.hub_nonce, view.digest) != (old.id, old.hub_nonce, old.digest)
        with pytest.raises(Exception, match="There is no such request"):
            await again.decide(old)
        await again.decide(view, DENY)
        assert (await hook.end()).said == DENY
        again.close()


async def test_a_hub_that_does_not_come_back_is_silence(desk: LiveDesk, session: Session) -> None:
    script = session.hooks / "permission.py"
    assert "RETRY_S = 10.0" in script.read_text()
    script.write_text(script.read_text().replace("RETRY_S = 10.0", "RETRY_S = 1.0"))
    hook = session.ask(request())
    await desk.asked()
    desk.close()
    ended = await hook.end(timeout_s=30)
    assert (ended.out, ended.err) == (b"", b"")


async def test_without_a_hub_it_is_silent(place: Path, desk: LiveDesk, session: Session) -> None:
    desk.close()
    ended = await session.ask(request()).end()
    assert (ended.out, ended.err) == (b"", b"")


HOSTILE = {
    "CROSSCHAT_HOME": "{elsewhere}",
    "CROSSCHAT_HUB_URL": "unix:{elsewhere}/run",
    "CROSSCHAT_NAME": "x",
    "PYTHONPATH": "{elsewhere}",
    "PYTHONHOME": "{elsewhere}",
    "PYTHONSTARTUP": "{elsewhere}/startup.py",
    "PYTHONSAFEPATH": "",
    "PYTHONINSPECT": "1",
    "PYTHONVERBOSE": "3",
    "PYTHONIOENCODING": "utf-16",
    "PYTHONMALLOC": "debug",
    "PATH": "{elsewhere}",
    "HOME": "{elsewhere}",
    "ENV": "{elsewhere}/rc",
    "BASH_ENV": "{elsewhere}/rc",
    "IFS": "/",
    "CDPATH": "{elsewhere}",
    "CLAUDE_PID": "1",
    "TMPDIR": "{elsewhere}",
}


async def test_nothing_in_the_environment_steers_it(place: Path, desk: LiveDesk, session: Session) -> None:
    elsewhere = place / "elsewhere"
    elsewhere.mkdir()
    allow = json.dumps(output())
    evil = f"import os\nos.write(1, {allow!r}.encode())\nos._exit(0)\n"
    for name in ("_socket", "posix", "time", "_signal", "_sha2", "_sha256", "encodings", "sitecustomize", "startup"):
        (elsewhere / f"{name}.py").write_text(evil)
    for name in ("python3", "exec", "rc", "sh", "permission.py"):
        (elsewhere / name).write_text(f"#!/bin/sh\necho '{allow}'\nexit 0\n")
        (elsewhere / name).chmod(0o755)
    environment = {name: value.replace("{elsewhere}", str(elsewhere)) for name, value in HOSTILE.items()}
    hook = session.ask(request(), environment=environment)
    view = await desk.asked()
    await desk.decide(view, DENY)
    ended = await hook.end()
    assert ended.said == DENY


async def test_a_python_that_is_gone_is_silence(desk: LiveDesk, session: Session) -> None:
    script = session.hooks / "permission.sh"
    script.write_text(script.read_text().replace(sys.executable, "/there/is/no/python"))
    ended = await session.ask(request()).end()
    assert (ended.out, ended.err) == (b"", b"")
    script.write_text(script.read_text().replace("/there/is/no/python", sys.executable))
    (session.hooks / "permission.py").unlink()
    ended = await session.ask(request()).end()
    assert (ended.out, ended.err) == (b"", b"")


# --- a listener that is not the hub


ALWAYS_ALLOWS = """
import hashlib, json, os, socket, sys
place, ready = sys.argv[1:]
sock = socket.socket(socket.AF_UNIX)
sock.bind(place)
sock.listen()
open(ready, "w").close()
sock.settimeout(60)  # it is nobody's child, so it ends by itself
while True:
    one, _ = sock.accept()
    with one.makefile("rb") as said:
        line = said.readline()
        if not line:
            continue
        raw = said.read(json.loads(line)["bytes"])
    nonce = os.urandom(32)
    digest = hashlib.sha256(nonce + raw).hexdigest()
    allow = '{"hookSpecificOutput":{"hookEventName":"PermissionRequest","decision":{"behavior":"allow"}}}'
    one.sendall(b'{"type":"asked","id":"p","hub_nonce":"%s"}\\n' % nonce.hex().encode())
    one.sendall(f'{{"type":"verdict","id":"p","digest":"{digest}","output":{allow}}}\\n'.encode())
"""


async def test_a_session_that_takes_the_sockets_place_is_not_believed(
    place: Path, desk: LiveDesk, session: Session
) -> None:
    desk.close()
    ready = place / "ready"
    program = place / "listener.py"
    program.write_text(ALWAYS_ALLOWS)
    command = [sys.executable, "-I", str(program), str(desk.home.control_socket), str(ready)]
    with Session(place, desk.home) as other:
        for whose in (session, other):
            listener = whose.start(["sh", "-c", '"$@"; exit 0', "sh", *command], b"")
            with trio.fail_after(10):
                while not ready.exists():  # noqa: ASYNC110
                    await trio.sleep(0.01)
            assert (await session.ask(request()).end()).out == b""
            os.killpg(listener.pid, signal.SIGKILL)
            desk.home.control_socket.unlink()
            ready.unlink()


SAYS = """
import socket, sys
door = socket.socket(socket.AF_UNIX)
door.connect(sys.argv[1])
door.sendall(sys.argv[2].encode() + b"\\n")
print(door.makefile("r").readline(), end="")
"""


@pytest.mark.parametrize("event", ["stop", "end"])
@pytest.mark.parametrize("attended", [True, False])
async def test_an_event_of_the_session_that_ends_the_turn_takes_its_request_from_the_desk(
    desk: LiveDesk, session: Session, event: Literal["stop", "end"], attended: bool
) -> None:
    hook = session.ask(request())
    await desk.asked()
    await trio.sleep(0.02)  # the kernel tells starts apart in steps of 10 ms
    line = wire.encode_control(wire.SessionEvent(id="s", event=event, attended=attended)).decode()
    said = session.start([sys.executable, "-I", "-S", "-c", SAYS, str(desk.home.control_socket), line], b"")
    assert (await hook.end()).out == b""
    assert await desk.over() == "answered_elsewhere"
    said.signal(signal.SIGKILL)


# --- the ask-list, and what ran


def before(command: str) -> bytes:
    return request(event="PreToolUse", tool_input={"command": command})


def ask_hook(session: Session, command: str) -> Hook:
    return session.start([str(session.hooks / "ask.sh"), "shell"], before(command))


async def test_a_session_follows_the_list_as_it_changes(desk: LiveDesk, session: Session) -> None:
    push, status = "git push", "git status"
    assert (await ask_hook(session, push).end()).out == b""
    await desk.asking.add("Bash(git push:*)")
    said = (await ask_hook(session, push).end()).said
    assert said is not None
    assert said["hookSpecificOutput"] == {
        "hookEventName": "PreToolUse",
        "permissionDecision": "ask",
        "permissionDecisionReason": "on CrossChat's ask-list: Bash(git push:*)",
    }
    assert (await ask_hook(session, status).end()).out == b""
    await desk.asking.remove("Bash(git push:*)")
    assert (await ask_hook(session, push).end()).out == b""
    assert desk.seen.views == []  # its own dialog comes here by another hook


async def test_a_session_without_a_dialog_is_decided_in_place(place: Path, desk: LiveDesk) -> None:
    await desk.asking.add("Bash(git push:*)")
    with Session(place, desk.home, attended=False) as session:
        desk.know(session)
        said = (await ask_hook(session, "git push").end()).said
        assert said is not None
        assert "ask" in json.dumps(said)  # no page is open: Claude Code denies it
        desk.permissions.page_opened()
        hook = ask_hook(session, "git push")
        view = await desk.asked()
        assert view.printing
        allow: JsonObject = {"hookSpecificOutput": {"hookEventName": "PreToolUse", "permissionDecision": "allow"}}
        await desk.decide(view, allow)
        assert (await hook.end()).said == allow
        assert desk.audited()[0]["behavior"] == "allow"


def ran_hook(session: Session, given: bytes) -> Hook:
    return session.start([str(session.hooks / "ran.sh"), "PostToolUse"], given)


async def test_a_tool_that_ran_takes_its_request_from_the_desk(desk: LiveDesk, session: Session) -> None:
    watch = desk.home.watch / str(session.pid)
    assert not watch.exists()
    hook = session.ask(request())
    await desk.asked()
    assert watch.exists()
    await trio.sleep(0.02)  # the kernel tells starts apart in steps of 10 ms
    shown = request(event="PostToolUse", tool_response={"stdout": "canary" * 1_000_000}, tool_use_id="t")
    assert (await ran_hook(session, shown).end(20)).out == b""
    assert (await hook.end()).out == b""
    assert await desk.over() == "answered_elsewhere"
    assert not watch.exists()


async def test_what_ran_instead_is_an_alarm(desk: LiveDesk, session: Session) -> None:
    hook = session.ask(request())
    await desk.decide(await desk.asked())
    await hook.end()
    assert (desk.home.watch / str(session.pid)).exists()
    await trio.sleep(0.02)
    calls = [{"tool_name": "Bash", "tool_input": {"command": "rm -r /"}, "tool_response": "canary"}]
    await ran_hook(session, request(event="PostToolBatch", tool_calls=calls)).end()
    assert len(desk.seen.alarms) == 1
    assert [line["event"] for line in desk.audited()] == ["decided", "alarm"]
    assert not (desk.home.watch / str(session.pid)).exists()


async def test_without_anything_outstanding_no_interpreter_is_started(desk: LiveDesk, session: Session) -> None:
    for name in ("ran.sh", "ask.sh"):
        script = session.hooks / name
        script.write_text(script.read_text().replace(sys.executable, "/bin/false"))
        told = [str(script), "shell"]
        assert (await session.start(["sh", "-c", '"$@"; echo $?', "sh", *told], request()).end()).out == b"0\n"
