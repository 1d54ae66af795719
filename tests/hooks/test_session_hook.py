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

if TYPE_CHECKING:
    from collections.abc import Iterator

HOOK = Path(__file__).parents[2] / "hooks" / "session.py"
pytestmark = pytest.mark.process


class Listener:
    """Answers one connection with `answer`, or hangs with None; keeps what it was sent."""

    def __init__(self, path: Path, answer: bytes | None) -> None:
        self.asked = b""
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


def run(path: Path, event: str, given: object) -> tuple[bytes, dict[str, object] | None]:
    """The hook's output, and the line it would send, as JSON."""
    data = given if isinstance(given, bytes) else json.dumps(given, separators=(",", ":")).encode()
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(HOOK), str(path), event],
        input=data,
        capture_output=True,
        timeout=20,
        check=False,
    )
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
