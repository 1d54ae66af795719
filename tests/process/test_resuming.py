"""A process called `claude` that goes on with an earlier conversation, which its bridge was not told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

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

# Has the name of Claude Code; starts the bridge at the word `bridge`, runs a hook for each other line.
CLAUDE: Final = """
import ctypes, subprocess, sys
ctypes.CDLL(None).prctl(15, b"claude")
hook, path = sys.argv[1:3]
bridge = None
try:
    for line in sys.stdin.buffer:
        event, given = line.rstrip(b"\\n").split(b" ", 1)
        said = b""
        if event == b"bridge":
            serve = [sys.executable, "-m", "crosschat", "serve"]
            bridge = subprocess.Popen(serve, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        else:
            command = ["/bin/sh", "-c", '"$@"; true', "sh", sys.executable, "-I", "-S", hook, path, event.decode()]
            said = subprocess.run(command, input=given, capture_output=True, check=True).stdout.rstrip(b"\\n")
        sys.stdout.buffer.write(said + b"\\n")
        sys.stdout.buffer.flush()
finally:
    if bridge is not None:
        bridge.stdin.close()
        bridge.wait()
"""


class Claude:
    def __init__(self, hub: HubProcess, session: str, name: str | None = None) -> None:
        self._hub = hub
        variables = {
            "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(hub.home.root.parent),
            "CROSSCHAT_HOME": str(hub.home.root), "CLAUDE_CODE_SESSION_ID": session,
        }  # fmt: skip
        self._process = subprocess.Popen(
            [sys.executable, "-c", CLAUDE, str(HOOK), str(hub.home.control_socket)],
            env=variables if name is None else {**variables, "CROSSCHAT_NAME": name},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> Claude:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=20)

    def do(self, word: str, **given: str) -> str | None:
        """Start the bridge, or run a hook; what the hook told the model."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{word} {json.dumps(given)}\n".encode())
        self._process.stdin.flush()
        said = self._process.stdout.readline().strip()
        answer: dict[str, Any] = json.loads(said) if said else {}
        text = answer.get("hookSpecificOutput", {}).get("additionalContext")
        return str(text) if text is not None else None


@pytest.fixture
def hub() -> Iterator[HubProcess]:
    with short_directory() as place, HubProcess(place / "home", "--stay") as hub:
        yield hub.started()


async def peers(hub: HubProcess) -> tuple[PeerView, ...]:
    """Nobody, while there is no hub."""
    try:
        return (await inspect(hub.home)).agents
    except OSError:
        return ()


async def connected(hub: HubProcess, count: int = 1) -> tuple[PeerView, ...]:
    """Who is connected, once that many are."""
    with trio.fail_after(30):
        while True:
            found = tuple(peer for peer in await peers(hub) if peer.connected)
            if len(found) == count:
                return found
            await trio.sleep(0.02)


async def becomes(hub: HubProcess, agent: str, name: str) -> None:
    """Return when that agent is the one that is connected."""

    async def who() -> list[tuple[str, str]]:
        return [(peer.id, peer.name) for peer in await peers(hub) if peer.connected]

    await eventually_is(who, [(agent, name)])


async def an_earlier_one(hub: HubProcess, name: str | None = None) -> PeerView:
    """An agent with the session `earlier` that has gone, and a message that waits for it."""
    with Claude(hub, "earlier", name) as claude:
        claude.do("bridge")
        (agent,) = await connected(hub)
    await connected(hub, 0)
    command = [sys.executable, "-m", "crosschat", "--home", str(hub.home.root), "send", f"@{agent.name} this waits"]
    await trio.run_process(command, capture_stdout=True)
    return agent


@pytest.mark.parametrize("order", ["hook first", "bridge first"])
async def test_it_is_the_earlier_agent_with_what_waits_for_it(hub: HubProcess, order: str) -> None:
    earlier = await an_earlier_one(hub)
    with Claude(hub, "of the process") as claude:
        if order == "bridge first":
            claude.do("bridge")
            (made_for_it,) = await connected(hub)
            assert made_for_it.id != earlier.id
        brief = claude.do("start", session_id="earlier", source="resume")
        assert brief is not None
        assert f"you are {earlier.name}" in brief
        assert "1 unread from cli" in brief
        if order == "hook first":
            claude.do("bridge")
        await becomes(hub, earlier.id, earlier.name)
        (now,) = await peers(hub)  # and the one that was made for it is seen no more
        assert (now.id, now.name, now.unread) == (earlier.id, earlier.name, 1)


async def test_a_name_that_was_asked_for_stays_with_the_process(hub: HubProcess) -> None:
    earlier = await an_earlier_one(hub)
    with Claude(hub, "of the process", "ada") as claude:
        claude.do("bridge")
        await connected(hub)
        brief = claude.do("start", session_id="earlier", source="resume")
        assert brief is not None
        assert "you are ada" in brief
        await becomes(hub, earlier.id, "ada")


async def test_a_conversation_that_another_process_has_is_not_taken_from_it(hub: HubProcess) -> None:
    with Claude(hub, "earlier") as one, Claude(hub, "of the process") as two:
        one.do("bridge")
        (first,) = await connected(hub)
        two.do("bridge")
        await connected(hub, 2)
        two.do("start", session_id="earlier", source="resume")
        ids = {peer.id for peer in await connected(hub, 2)}
        assert first.id in ids
        assert len(ids) == 2


async def test_one_that_changes_to_an_earlier_conversation_later_stays_who_it_is(hub: HubProcess) -> None:
    earlier = await an_earlier_one(hub)
    with Claude(hub, "of the process") as claude:
        claude.do("bridge")
        (agent,) = await connected(hub)
        assert claude.do("start", session_id="of the process", source="startup") is None
        claude.do("start", session_id="earlier", source="resume")  # chosen in the running session
        (now,) = await connected(hub)
        assert now.id == agent.id != earlier.id


async def test_a_session_that_was_changed_is_not_forgotten_by_a_reconnection(hub: HubProcess) -> None:
    with Claude(hub, "first") as claude:
        claude.do("bridge")
        (agent,) = await connected(hub)
        claude.do("start", session_id="second", source="clear")
        hub.signal(signal.SIGKILL)
        hub.wait()
        await connected(hub)  # with the hub that the bridge has started
        claude.do("stop", session_id="second")
    lines = [json.loads(line) for line in (hub.home.root / "log" / "000001.jsonl").read_text().splitlines()]
    sessions = [line["session"] for line in lines if line["kind"] == "agent" and line["agent"] == agent.id]
    assert sessions[:2] == ["first", "second"]
    assert set(sessions[2:]) <= {"second"}
    stop = [sys.executable, "-m", "crosschat", "--home", str(hub.home.root), "stop", "--force"]
    await trio.run_process(stop, capture_stdout=True)
