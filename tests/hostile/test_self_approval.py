"""A session that wants to allow itself something, with a request of its own waiting: everything it can reach is tried.

A real hub, a real hook below a process that passes for Claude Code, and a paired page that only looks on. Whatever the
session tries, the request still waits and the hook has printed nothing. What the threat model says is not stopped is
tried as well: then the person can see it.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import pytest
import trio

from crosschat import pagewire, wire
from crosschat.errors import Code
from crosschat.journal.audit import read_audit
from crosschat.journal.files import RealFiles
from tests.claude.client import needed
from tests.hub.desk import payload, request
from tests.live.prompting import Hook, Session
from tests.live.rig import ROOT, HubProcess, join
from tests.live.screen import _TERMINAL, Browser, Screen, paired

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

pytestmark = [pytest.mark.process, pytest.mark.slow]

COMMAND_S = 60.0


@attrs.frozen
class Scene:
    """A request that waits, who asked, and who looks on."""

    hub: HubProcess
    session: Session
    hook: Hook
    browser: Browser
    screen: Screen
    view: pagewire.PermissionView

    async def still_waits(self) -> None:
        """Nothing was decided, and the person still can."""
        assert self.screen.all(pagewire.PermissionOver) == []
        chain = read_audit(self.hub.home.root, RealFiles())
        assert [line for line in chain.lines if line["event"] == "decided"] == []
        text = payload(self.view)
        await self.screen.ask(self.decision(text), wire.Done)
        assert (await self.hook.end()).said == json.loads(text)["output"]

    def decision(self, text: str, signature: str | None = None) -> pagewire.Decide:
        return pagewire.Decide(
            id=self.screen.next_id(), request=self.view.id, payload=text,
            signature=self.browser.sign(text) if signature is None else signature,
        )  # fmt: skip

    async def run(self, *command: str) -> bytes:
        """What a command below the session prints, both ways."""
        ended = await self.session.start(["sh", "-c", '"$@" 2>&1; echo " status $?"', "sh", *command], b"").end(
            COMMAND_S
        )
        return ended.out


@pytest.fixture
async def scene(running_hub: HubProcess, place: Path) -> AsyncIterator[Scene]:
    async with staged(running_hub, place) as scene:
        yield scene


@asynccontextmanager
async def staged(hub: HubProcess, place: Path) -> AsyncIterator[Scene]:
    browser = await paired(hub.home)
    async with browser.stream() as screen, trio.open_nursery() as nursery:
        with Session(place, hub.home) as session:
            await join(nursery, session.connect(hub.home.agents_socket))
            hook = session.ask(request())
            view = (await screen.next(pagewire.Permission)).request
            yield Scene(hub, session, hook, browser, screen, view)
        nursery.cancel_scope.cancel()


SAYS = """
import socket, sys
door = socket.socket(socket.AF_UNIX)
door.connect(sys.argv[1])
door.settimeout(10)
for line in sys.argv[2:]:
    door.sendall(line.encode() + b"\\n")
    print(door.makefile("r").readline(), end="")
"""


async def test_no_verb_of_the_control_socket_decides(scene: Scene) -> None:
    text = payload(scene.view)
    about = {"request": scene.view.id, "payload": text, "signature": "A" * 86, "behavior": "allow"}
    words = ("decide", "verdict", "allow", "approve", "permission_over", "open", "pair", "ticket")
    lines = [json.dumps({tag: word, "id": "x", **about}) for word in words for tag in ("op", "type")]
    out = await scene.run(sys.executable, "-I", "-c", SAYS, str(scene.hub.home.control_socket), *lines)
    answers = [json.loads(line) for line in out.decode().splitlines()[:-1]]
    assert [one["code"] for one in answers] == ["bad_frame"] * len(lines)
    await scene.still_waits()


async def test_another_hook_of_the_session_cannot_answer_the_first(scene: Scene) -> None:
    """Nor can one that shows the very same bytes; it is a request of its own."""
    again = scene.session.ask(request())
    second = (await scene.screen.next(pagewire.Permission, lambda frame: frame.request.id != scene.view.id)).request
    assert second.raw == scene.view.raw
    answer = await scene.screen.ask(scene.decision(payload(second)), wire.Error)
    assert answer.code is Code.INVALID
    again.signal(15)
    over = await scene.screen.next(pagewire.PermissionOver)
    assert over.request == second.id
    scene.screen.frames.remove(over)
    await scene.still_waits()


async def test_the_command_line_cannot_allow_pair_or_change_the_list(scene: Scene) -> None:
    home = str(scene.hub.home.root)
    for words in (
        ["dashboard", "--no-open"],
        ["dashboard", "--revoke", scene.browser.key],
        ["ask", "add", "Bash"],
        ["ask", "remove", "Bash"],
    ):
        command = [sys.executable, "-m", "crosschat", "--home", home, *words]
        out = await scene.run("env", f"PYTHONPATH={ROOT}", *command)
        assert b"Claude Code session" in out, out
        assert b"status 1" in out
    await scene.still_waits()


def secrets(directory: Path) -> set[str]:
    """Everything in the files of a directory that might be a credential."""
    found: set[str] = set()
    for path in directory.rglob("*"):
        if path.is_file() and not path.is_symlink():
            found |= set(re.findall(r"[A-Za-z0-9_-]{16,}", path.read_text(errors="replace")))
    return found


async def test_nothing_that_lies_in_the_data_directory_is_a_credential(scene: Scene) -> None:
    words = secrets(scene.hub.home.root)
    assert scene.browser.key in words  # its public half is there, so this does look into the files
    for word in sorted(words):
        assert await scene.browser.refused_upgrade(pagewire.SUBPROTOCOL, word) in (401, 403), word
        thief = Browser(scene.browser.port)
        thief.key = scene.browser.key
        ticket = pagewire.GetTicket(key=thief.key, challenge=word, signature=thief.sign(word))
        reply = await thief.request("POST", "/api/ticket", pagewire.encode_call(ticket))
        assert reply.status >= 400, word
        answer = await scene.screen.ask(scene.decision(payload(scene.view), signature=word), wire.Error)
        assert answer.code in (Code.FORBIDDEN, Code.INVALID, Code.BAD_FRAME), word
    await scene.still_waits()


async def test_a_session_that_ends_the_hub_and_answers_itself_is_not_believed(place: Path) -> None:
    """It kills the hub and listens in its place, below its own session: the hook of before falls silent."""
    from tests.live.test_permission_hook import ALWAYS_ALLOWS

    with HubProcess(place / "home", "--stay") as hub:
        async with staged(hub.started(), place) as scene:
            program, ready = place / "listener.py", place / "ready"
            program.write_text(ALWAYS_ALLOWS)
            hub.process.kill()
            hub.process.wait()
            hub.home.control_socket.unlink()
            command = [sys.executable, "-I", str(program), str(hub.home.control_socket), str(ready)]
            listener = scene.session.start(["sh", "-c", '"$@"; exit 0', "sh", *command], b"")
            ended = await scene.hook.end(COMMAND_S)
            os.killpg(listener.pid, signal.SIGKILL)
            assert ready.exists()
            assert (ended.out, ended.err) == (b"", b"")


# --- what is not stopped, and made visible


ASKS = """
import socket, sys
door = socket.socket(socket.AF_UNIX)
door.connect(sys.argv[1])
door.sendall(sys.argv[2].encode() + b"\\n")
with open(sys.argv[3], "wb") as said:
    said.write(door.makefile("rb").readline())
"""


def by_itself(place: Path, *asked: str) -> list[str]:
    """A program that forks, and makes a terminal for its child."""
    shell = 'exec 3>"$4"; exec "$0" -I -S -c "$1" "$2" "$3" 3'
    return ["sh", "-c", shell, sys.executable, _TERMINAL, *asked]


def by_script(place: Path, *asked: str) -> list[str]:
    inner = shlex.join([sys.executable, "-I", "-S", "-c", ASKS, *asked])
    return ["setsid", "--fork", "script", "-q", "-c", inner, "/dev/null"]


def by_tmux(place: Path, *asked: str) -> list[str]:
    inner = shlex.join([sys.executable, "-I", "-S", "-c", ASKS, *asked])
    return ["tmux", "-S", str(place / "tmux"), "-f", "/dev/null", "new-session", "-d", inner]


@pytest.mark.parametrize("detach", [by_itself, by_script, by_tmux])
async def test_a_detached_process_with_a_terminal_gets_a_code_and_the_person_is_asked(
    scene: Scene, place: Path, detach: Callable[..., list[str]]
) -> None:
    """It is not below the session any more, and has a terminal."""
    if detach is by_tmux:
        needed("tmux")
    line = wire.encode_control(wire.NewCode(id="c")).decode()
    said = place / "said"
    command = detach(place, str(scene.hub.home.control_socket), line, str(said))
    await scene.session.start(["sh", "-c", '"$@"; exit 0', "sh", *command], b"").end(COMMAND_S)
    with trio.fail_after(COMMAND_S):
        while not said.exists() or not said.read_bytes().endswith(b"\n"):  # noqa: ASYNC110
            await trio.sleep(0.01)
    code = wire.decode_hub(said.read_bytes().strip())
    assert isinstance(code, wire.PairingCode)
    assert not code.first
    thief = Browser(scene.browser.port, "a thief")
    answer = await thief.pair(code.code)
    assert answer.state == "waiting"
    asked = await scene.screen.next(pagewire.Pairing)
    assert (asked.label, asked.fingerprint) == ("a thief", answer.fingerprint)
    refusal = pagewire.AnswerPairing(id=scene.screen.next_id(), pairing=asked.pairing, accept=False)
    await scene.screen.ask(refusal, wire.Done)
    assert (await scene.screen.next(pagewire.Event, lambda one: one.event.kind == "pairing_refused")).event
    challenge = pagewire.encode_call(pagewire.Challenge(key=thief.key))
    assert (await thief.request("POST", "/api/challenge", challenge)).status >= 400
    await scene.still_waits()


async def test_what_a_copied_key_decides_is_told_in_every_open_page(scene: Scene) -> None:
    """A browser profile that was copied signs as the browser does. The person sees that somebody decided."""
    async with scene.browser.stream() as copy:
        text = payload(scene.view)
        decide = pagewire.Decide(
            id=copy.next_id(), request=scene.view.id, payload=text, signature=scene.browser.sign(text)
        )
        await copy.ask(decide, wire.Done)
    over = await scene.screen.next(pagewire.PermissionOver)
    assert (over.request, over.how, over.behavior) == (scene.view.id, "decided", "allow")
    told = await scene.screen.next(pagewire.Event, lambda one: one.event.kind == "decided")
    assert told.event.agent == scene.view.agent
    lines = read_audit(scene.hub.home.root, RealFiles()).lines
    assert [line.get("key") for line in lines if line.get("event") == "decided"] == [scene.browser.key]


async def test_a_line_of_the_audit_that_somebody_changed_is_said_at_the_next_start(place: Path) -> None:
    with HubProcess(place / "home", "--stay") as hub:
        async with staged(hub.started(), place) as scene:
            await scene.still_waits()
        hub.stop()
        path = hub.home.root / "audit" / "permissions.jsonl"
        path.write_bytes(path.read_bytes().replace(b'"allow"', b'"deny!"'))
        with HubProcess(place / "home", "--stay") as again:
            again.started()
            from tests.live.rig import inspect

            notices = (await inspect(again.home)).notices
            assert any("is not as it was written: line 2" in notice for notice in notices)
