"""Bridges as processes, without MCP's start-up time: what `crosschat serve` is between its stdin and the hub.

Each is an agent of its own, tells what its tools answered, and how long they took. A `Release` makes one, or a hub,
believe that another version is installed.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import attrs

from tests.live.rig import START_S

if TYPE_CHECKING:
    from crosschat.paths import Home

ROOT: Final = Path(__file__).resolve().parents[2]
PATIENT_S: Final = 60.0
ANSWER_S: Final = PATIENT_S + 10
_BRIDGE: Final = """
import json, sys, trio
from pathlib import Path
from crosschat.bridge import calls, client, tools
calls.TOOL_DEADLINE_S = client.TOOL_DEADLINE_S = float(sys.argv[1])
from crosschat.bridge.main import open_session
from crosschat.bridge.waiting import Call
from crosschat.paths import read_environment

async def report(*_): pass

async def serve():
    session = open_session(read_environment(), Path.cwd())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.link.run)
        unread = b""
        async for part in trio.lowlevel.FdStream(0):
            *lines, unread = (unread + part).split(b"\\n")
            for number, line in enumerate(lines):
                asked = json.loads(line)
                began = trio.current_time()
                reply = await tools.answer(session, asked["tool"], asked["arguments"], Call(number, report))
                took_s = trio.current_time() - began
                print(json.dumps({"text": reply.text, "failed": reply.failed, "took_s": took_s}), flush=True)
        nursery.cancel_scope.cancel()

trio.run(serve)
"""
# Runs before anything of the program, because Python imports a module of this name at its start.
_OTHER_PROTOCOL: Final = "from crosschat import model\nmodel.PROTOCOL = {protocol}\n"


@attrs.frozen
class Release:
    """A directory that, first on the path, stands for an installed version."""

    directory: Path

    @classmethod
    def make(cls, place: Path, version: str, protocol: int | None = None, *, broken: bool = False) -> Self:
        """With `broken`, its hub cannot start."""
        directory = place / f"release-{version}"
        information = directory / f"crosschat_hub-{version}.dist-info"
        information.mkdir(parents=True)
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: crosschat-hub\nVersion: {version}\n")
        program = _OTHER_PROTOCOL.format(protocol=protocol) if protocol is not None else ""
        if broken:
            program += "import sys\nif 'crosschat.hub' in sys.orig_argv: sys.exit('broken')\n"
        (directory / "sitecustomize.py").write_text(program)
        return cls(directory)


def environment(home: Home, release: Release | None = None, **more: str) -> dict[str, str]:
    path = [str(release.directory)] if release is not None else []
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join([*path, str(ROOT)]),
        "HOME": str(home.root.parent),
        "CROSSCHAT_HOME": str(home.root),
        **more,
    }


@attrs.frozen
class Answer:
    text: str
    failed: bool
    took_s: float

    @property
    def json(self) -> dict[str, Any]:
        assert not self.failed, self.text
        found: dict[str, Any] = json.loads(self.text)
        return found


class BridgeProcess:
    """In use only inside its `with` block, which ends it.

    Its tools wait longer for the hub than those of a session, so that on a loaded machine slow is not taken for broken.
    """

    def __init__(self, home: Home, name: str, release: Release | None = None, *, deadline_s: float = PATIENT_S) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _BRIDGE, str(deadline_s)],
            env=environment(home, release, CROSSCHAT_NAME=name),
            cwd="/tmp",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self.process:  # which closes its pipes and waits for it
            self.process.kill()

    def begin(self, tool: str, **arguments: object) -> None:
        """Call a tool; `answer` gets what it says."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"tool": tool, "arguments": arguments}).encode() + b"\n")
        self.process.stdin.flush()

    def answer(self, timeout_s: float = ANSWER_S) -> Answer:
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], timeout_s)
        assert readable, "no answer"
        return Answer(**json.loads(self.process.stdout.readline()))

    def call(self, tool: str, **arguments: object) -> Answer:
        self.begin(tool, **arguments)
        return self.answer()

    def works(self, tool: str = "list_peers", **arguments: object) -> dict[str, Any]:
        """The answer of a tool as soon as there is one that is no failure: a caller may have to call again."""
        give_up_at = time.monotonic() + START_S
        while (answer := self.call(tool, **arguments)).failed and time.monotonic() < give_up_at:
            time.sleep(0.1)
        return answer.json


def command(home: Home, *arguments: str, release: Release | None = None) -> subprocess.CompletedProcess[str]:
    """Run `crosschat` of that release."""
    return subprocess.run(
        [sys.executable, "-m", "crosschat", *arguments],
        env=environment(home, release),
        cwd="/tmp",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
