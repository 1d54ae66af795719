"""A stand-in for Claude Code, to be killed, with a bridge behind a wrapper whose pipe a sibling keeps open."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import trio

from crosschat import processes
from crosschat.paths import Home
from tests.claude.client import needed
from tests.live.rig import START_S
from tests.process.bridges import environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The promise is five seconds. On a loaded machine an interpreter alone may take that long to start and to end.
GONE_S: Final = START_S

# Stands in for Claude Code: has its name, and starts the server with a pipe whose writing end a sibling has, too.
CLAUDE: Final = """
import ctypes, os, subprocess, sys
ctypes.CDLL(None).prctl(15, b"claude")
reading, writing = os.pipe()
sibling = subprocess.Popen(["sleep", "120"], pass_fds=[writing], start_new_session=True)
server = subprocess.Popen(sys.argv[1:], stdin=reading, stdout=subprocess.DEVNULL)
print(sibling.pid, flush=True)
os.close(reading)
server.wait()
"""
# Stands in for a wrapper with that name, which waits for what it started.
NAMED: Final = """
import ctypes, subprocess, sys
ctypes.CDLL(None).prctl(15, sys.argv[1].encode())
sys.exit(subprocess.call(sys.argv[2:]))
"""
SERVE: Final = """
import os, sys
with open(os.environ["PID_FILE"], "w") as file:
    file.write(str(os.getpid()))
from crosschat.bridge.main import main
sys.exit(main())
"""


def wrapped(wrapper: str, place: Path) -> list[str]:
    """The server's command line behind that wrapper."""
    program = place / "serve.py"
    program.write_text(SERVE)
    serve = [sys.executable, str(program)]
    match wrapper:
        case "none":
            return serve
        case "sh":
            return ["/bin/sh", "-c", '"$@"; exit $?', "sh", *serve]
        case "sh in sh":
            return ["/bin/sh", "-c", '/bin/sh -c "$*; exit" sh; exit', "sh", *serve]
        case "env":
            return ["/usr/bin/env", "A=b", *serve]
        case "npx":
            return npx(place, serve)
        case _:
            return [sys.executable, "-c", NAMED, wrapper, *serve]


def npx(place: Path, serve: list[str]) -> list[str]:
    """The real one, with a package that is a directory here."""
    needed("npx")
    package = place / "package"
    package.mkdir()
    (package / "package.json").write_text('{"name":"cc-serve","version":"1.0.0","bin":{"cc-serve":"serve.sh"}}')
    script = package / "serve.sh"
    script.write_text("#!/bin/sh\n" + " ".join(f"'{word}'" for word in serve) + "\n")
    script.chmod(0o755)
    cache = ["--cache", str(place / "npm")]
    return ["npx", "--offline", "--yes", *cache, f"--package=file:{package}", "cc-serve"]


@contextmanager
def claude(
    place: Path, command: list[str], variables: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """The stand-in with that server. Unless `variables` say otherwise, the data directory is a file, so the bridge
    runs without a hub."""
    nowhere = place / "file"
    nowhere.touch()
    process = subprocess.Popen(
        [sys.executable, "-c", CLAUDE, *command],
        env=variables or environment(Home(nowhere), PID_FILE=str(place / "pid"), CLAUDE_CODE_SESSION_ID="s"),
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    sibling = int(process.stdout.readline())
    try:
        yield process
        assert processes.find(sibling) is not None, "the sibling that keeps the pipe open is gone"
    finally:
        process.kill()
        process.wait()
        os.kill(sibling, signal.SIGKILL)
        process.stdout.close()


def bridge_of(place: Path, *, timeout_s: float = START_S) -> processes.Process:
    """The bridge, as soon as its interpreter runs."""
    give_up_at = time.monotonic() + timeout_s
    while time.monotonic() < give_up_at:
        try:
            found = processes.find(int((place / "pid").read_text()))
        except (FileNotFoundError, ValueError):
            found = None
        if found is not None:
            return found
        time.sleep(0.005)
    raise AssertionError("no bridge came")


def gone_after_s(process: processes.Process) -> float:
    began = time.monotonic()

    async def gone() -> None:
        with trio.fail_after(GONE_S):
            await processes.wait_gone(process)

    trio.run(gone)
    return time.monotonic() - began
