"""What the hooks of a session tell the hub: a process called `claude` with a real bridge and the real hook below it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
import trio

from tests.live.rig import HubProcess, eventually_is, inspect, short_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crosschat.wire import PeerView

ROOT: Final = Path(__file__).resolve().parents[2]
HOOK: Final = ROOT / "hooks" / "session.py"
pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform != "linux", reason="the name of a process is set with prctl, which Linux has"),
]

# Stands in for Claude Code: has its name, runs the bridge, and runs the hook once for each line it is given.
CLAUDE: Final = """
import ctypes, subprocess, sys
ctypes.CDLL(None).prctl(15, b"claude")
hook, path = sys.argv[1:3]
serve = [sys.executable, "-m", "crosschat", "serve"]
bridge = subprocess.Popen(serve, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
try:
    for line in sys.stdin.buffer:
        event, given = line.rstrip(b"\\n").split(b" ", 1)
        command = ["/bin/sh", "-c", '"$@"; true', "sh", sys.executable, "-I", "-S", hook, path, event.decode()]
        done = subprocess.run(command, input=given, capture_output=True, check=True)
        sys.stdout.buffer.write(done.stdout.rstrip(b"\\n") + b"\\n")
        sys.stdout.buffer.flush()
finally:
    bridge.stdin.close()
    bridge.wait()
"""


class Session:
    """A stand-in with one bridge, called `ada`."""

    def __init__(self, hub: HubProcess) -> None:
        self._hub = hub
        self._process = subprocess.Popen(
            [sys.executable, "-c", CLAUDE, str(HOOK), str(hub.home.control_socket)],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(ROOT),
                "HOME": str(hub.home.root.parent),
                "CROSSCHAT_HOME": str(hub.home.root),
                "CROSSCHAT_NAME": "ada",
                "CLAUDE_CODE_SESSION_ID": "first",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def hook(self, event: str, **given: str) -> dict[str, object] | None:
        """Run the hook; what it printed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{event} {json.dumps(given)}\n".encode())
        self._process.stdin.flush()
        said = self._process.stdout.readline().strip()
        return json.loads(said) if said else None

    async def view(self) -> PeerView | None:
        found = [peer for peer in (await inspect(self._hub.home)).agents if peer.connected]
        return found[0] if found else None

    async def activity(self) -> str | None:
        view = await self.view()
        return view.activity if view is not None else None

    async def is_there(self) -> bool:
        return await self.view() is not None

    def close(self) -> None:
        self._process.communicate(timeout=20)


@pytest.fixture
def hub() -> Iterator[HubProcess]:
    with short_directory() as place, HubProcess(place / "home", "--stay") as hub:
        yield hub.started()


@pytest.fixture
def session(hub: HubProcess) -> Iterator[Session]:
    session = Session(hub)
    try:
        yield session
    finally:
        session.close()


async def joined(session: Session) -> None:
    with trio.fail_after(30):
        while not await session.is_there():  # noqa: ASYNC110
            await trio.sleep(0.02)


async def test_hooks_tell_who_works_waits_and_is_idle(session: Session) -> None:
    await joined(session)
    assert await session.activity() is None
    for event, given, activity in (
        ("prompt", {}, "working"),
        ("notification", {"notification_type": "permission_prompt"}, "waiting"),
        ("notification", {"notification_type": "auth_success"}, "waiting"),
        ("notification", {"notification_type": "idle_prompt"}, "idle"),
        ("prompt", {}, "working"),
        ("stop", {}, "idle"),
        ("end", {"reason": "other"}, None),
    ):
        session.hook(event, session_id="first", **given)
        assert await session.activity() == activity, event


async def test_a_model_that_forgot_gets_a_brief_and_its_session_is_known_by_the_new_id(
    hub: HubProcess, session: Session
) -> None:
    await joined(session)
    assert session.hook("start", session_id="first", source="startup") is None
    said = session.hook("start", session_id="second", source="clear")
    assert said is not None
    output = said["hookSpecificOutput"]
    assert isinstance(output, dict)
    assert output["hookEventName"] == "SessionStart"
    assert "you are ada" in output["additionalContext"]
    log = (hub.home.root / "log" / "000001.jsonl").read_text()
    assert '"session":"second"' in log


async def test_a_hook_that_runs_below_no_session_changes_nothing_and_learns_nothing(
    hub: HubProcess, session: Session
) -> None:
    await joined(session)
    command = [sys.executable, "-I", "-S", str(HOOK), str(hub.home.control_socket), "start"]
    given = json.dumps({"session_id": "first", "source": "clear"}).encode()
    done = await trio.run_process(command, stdin=given, capture_stdout=True)
    assert done.stdout == b""
    await eventually_is(session.activity, None)
