"""The session hook as Claude Code runs it: its input on stdin, a socket of ours at the other end."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from crosschat.processes import Process, find, wait_gone

if TYPE_CHECKING:
    from collections.abc import Iterator

HOOK = Path(__file__).parents[2] / "hooks" / "session.py"
pytestmark = pytest.mark.process


class Listener:
    """Answers one connection with `answer`, or hangs with None; keeps what it was sent."""

    def __init__(self, path: Path, answer: bytes | None) -> None:
        self.asked = b""
        self.heard = threading.Event()
        self._answer = answer
        self._done = threading.Event()
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.bind(str(path))
        self._sock.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._sock.accept()
        with connection:
            self.asked = connection.recv(1 << 20)
            self.heard.set()
            if self._answer is None:
                self._done.wait(30)
            else:
                connection.sendall(self._answer)

    def close(self) -> None:
        self._done.set()
        with socket.socket(socket.AF_UNIX) as poke:  # frees an accept that nobody came to
            poke.connect(self._sock.getsockname())
        self._thread.join(10)
        self._sock.close()


@pytest.fixture
def path() -> Iterator[Path]:
    place = tempfile.mkdtemp(prefix="cc-", dir="/tmp")
    yield Path(place) / "c.sock"
    shutil.rmtree(place)


def start(
    path: Path, event: str, given: object, *words: str, attended: bool = True
) -> subprocess.CompletedProcess[bytes]:
    """Run the hook as a session does that has a person before it, or none."""
    data = given if isinstance(given, bytes) else json.dumps(given, separators=(",", ":")).encode()
    return subprocess.run(
        [sys.executable, "-I", "-S", str(HOOK), str(path), event, *words],
        input=data,
        capture_output=True,
        timeout=30,
        check=False,
        env={"CLAUDE_CODE_ENTRYPOINT": "cli" if attended else "sdk-cli", "SECRET": "canary"},
    )


def run(path: Path, event: str, given: object) -> tuple[bytes, dict[str, object] | None]:
    """The hook's output, and the same as JSON, of a session without a person."""
    done = start(path, event, given, attended=False)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout, json.loads(done.stdout) if done.stdout else None


def exchange(
    path: Path, event: str, given: object, answer: bytes
) -> tuple[dict[str, object], dict[str, object] | None]:
    listener = Listener(path, answer)
    try:
        _, said = run(path, event, given)
    finally:
        listener.close()
    return json.loads(listener.asked), said


def test_a_start_is_told_and_the_brief_becomes_context(path: Path) -> None:
    given = {"session_id": "s-1", "transcript_path": "/t", "source": "clear", "permission_mode": "auto"}
    text = 'you are "ada" }\n\\ é'
    answer = (
        json.dumps({"type": "brief", "id": "h", "known": True, "text": text}, separators=(",", ":")).encode() + b"\n"
    )
    asked, said = exchange(path, "start", given, answer)
    assert asked == {"op": "session", "id": "h", "event": "start", "session": "s-1", "source": "clear", "mode": "auto"}
    assert said == {"hookSpecificOutput": {"hookEventName": "SessionStart", "additionalContext": text}}


def test_nothing_that_was_typed_leaves_the_hook(path: Path) -> None:
    given = {"session_id": "s", "permission_mode": "default", "prompt": 'secret "source":"canary" and more'}
    asked, said = exchange(path, "prompt", given, b'{"type":"brief","id":"h","known":true}\n')
    assert asked == {"op": "session", "id": "h", "event": "prompt", "session": "s", "mode": "default"}
    assert said is None


def test_an_event_whose_output_nobody_reads_prints_nothing(path: Path) -> None:
    _, said = exchange(path, "stop", {"session_id": "s"}, b'{"type":"brief","id":"h","text":"x"}\n')
    assert said is None


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\n",
        b"nonsense\n",
        b'{"type":"error","text":"x"}\n',
        b'{"type":"brief","id":"h","text":7}\n',
        b"x" * 99_999,
    ],
)
def test_an_odd_answer_is_silence(path: Path, answer: bytes) -> None:
    listener = Listener(path, answer)
    try:
        assert run(path, "start", {"session_id": "s"})[0] == b""
    finally:
        listener.close()


@pytest.mark.parametrize(
    "given", [b"", b"\xff\xfe", b"[]", b'{"session_id":5}', b'{"session_id":"' + b"x" * 5000 + b'"}']
)
def test_odd_input_still_tells_the_event(path: Path, given: bytes) -> None:
    asked, _ = exchange(path, "stop", given, b'{"type":"brief","id":"h"}\n')
    assert asked == {"op": "session", "id": "h", "event": "stop"}


def test_without_a_hub_it_is_silent(path: Path) -> None:
    assert run(path, "start", {"session_id": "s"}) == (b"", None)


def test_a_hub_that_hangs_is_given_up(path: Path) -> None:
    listener = Listener(path, None)
    try:
        assert run(path, "start", {"session_id": "s"}) == (b"", None)
    finally:
        listener.close()


@pytest.mark.parametrize("arguments", [[], ["/nowhere"], ["/nowhere", "unknown"]])
def test_odd_arguments_are_silence(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(HOOK), *arguments], input=b"", capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


# --- the ones that wait

WAKE = b'{"type":"brief","id":"h","known":true,"wake":true,"text":"two \\"new\\" \\u00e9\\nlines"}\n'
GO = b'{"type":"brief","id":"h","known":true}\n'


@pytest.mark.parametrize("event", ["stop", "wait"])
def test_a_ring_wakes_the_session_with_its_text(path: Path, event: str) -> None:
    listener = Listener(path, WAKE)
    try:
        done = start(path, event, {"session_id": "s"})
    finally:
        listener.close()
    assert (done.returncode, done.stdout, done.stderr.decode()) == (2, b"", 'two "new" é\nlines\n')
    assert json.loads(listener.asked) == {"op": "session", "id": "h", "event": event, "session": "s", "attended": True}


@pytest.mark.parametrize("answer", [GO, b"nonsense\n", b'{"type":"brief","id":"h","text":"x"}\n'])
def test_without_a_ring_it_goes_in_silence(path: Path, answer: bytes) -> None:
    listener = Listener(path, answer)
    try:
        done = start(path, "wait", {"session_id": "s"})
    finally:
        listener.close()
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_hub_that_dies_while_one_waits_is_found_again_and_not_told_twice(path: Path) -> None:
    asked = Hubs(path, b"", b"", WAKE)
    try:
        done = start(path, "stop", {"session_id": "s"})
    finally:
        asked.close()
    assert done.returncode == 2
    assert [json.loads(line)["event"] for line in asked.lines] == ["stop", "wait", "wait"]


def test_a_hook_that_is_to_go_at_once_does_not_wait(path: Path) -> None:
    listener = Listener(path, GO)
    try:
        done = start(path, "stop", {"session_id": "s"}, "now")
    finally:
        listener.close()
    assert done.returncode == 0
    assert "attended" not in json.loads(listener.asked)


def test_a_session_without_a_person_does_not_look_for_a_hub_that_dies_before_it_answers(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(path))
        door.listen()
        hook = subprocess.Popen(
            [sys.executable, "-I", "-S", str(HOOK), str(path), "stop", "now"], stdin=subprocess.PIPE, env={}
        )
        assert hook.stdin is not None
        hook.stdin.close()
        connection, _ = door.accept()
        connection.recv(1, socket.MSG_PEEK)  # it is there, and closing with it unread resets the connection
        connection.close()
        try:
            assert hook.wait(20) == 0  # one that looks again does so for a minute
        finally:
            hook.kill()
            hook.wait()


def test_a_session_without_a_person_does_not_wait_for_a_hub_that_is_not_there(path: Path) -> None:
    assert start(path, "wait", {"session_id": "s"}, attended=False).returncode == 0
    listener = Listener(path, GO)
    try:
        start(path, "stop", {"session_id": "s"}, attended=False)
    finally:
        listener.close()
    assert "attended" not in json.loads(listener.asked)


def test_a_waiting_hook_ends_with_its_session(path: Path) -> None:
    listener = Listener(path, None)
    run_hook = f"""import subprocess, sys
hook = subprocess.Popen([sys.executable, "-I", "-S", {str(HOOK)!r}, {str(path)!r}, "wait"], stdin=subprocess.PIPE,
    stdout=subprocess.DEVNULL, env={{"CLAUDE_CODE_ENTRYPOINT": "cli"}})
hook.stdin.close()
print(hook.pid, flush=True)
sys.stdin.read()"""
    session = subprocess.Popen([sys.executable, "-c", run_hook], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert session.stdout is not None
        hook = find(int(session.stdout.readline()))
        assert hook is not None
        assert listener.heard.wait(10)
        session.communicate()
        trio.run(ended, hook)
    finally:
        listener.close()


async def ended(process: Process) -> None:
    with trio.fail_after(30):
        await wait_gone(process)


class Hubs:
    """Listens for several connections, one after the other, and ends each after its answer."""

    def __init__(self, path: Path, *answers: bytes) -> None:
        self.lines: list[bytes] = []
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.bind(str(path))
        self._sock.listen()
        self._thread = threading.Thread(target=self._serve, args=answers)
        self._thread.start()

    def _serve(self, *answers: bytes) -> None:
        for answer in answers:
            connection, _ = self._sock.accept()
            with connection:
                self.lines.append(connection.recv(1 << 20))
                connection.sendall(answer)

    def close(self) -> None:
        self._thread.join(30)
        self._sock.close()


def test_nothing_of_the_environment_reaches_the_hub(path: Path) -> None:
    for event in ("start", "prompt", "stop", "wait", "notification", "end"):
        listener = Listener(path, GO)
        try:
            done = start(path, event, {"session_id": "s"})
        finally:
            listener.close()
            path.unlink()
        assert b"canary" not in listener.asked + done.stdout + done.stderr
