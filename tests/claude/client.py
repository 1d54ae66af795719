"""The real Claude Code for tests: a pinned version, a home of its own, and an API that plays parts instead of a model.

The client is fetched from npm once and kept in the user's cache. It sees nothing of the machine it runs on but the
PATH: no credentials, settings or variables of whoever runs the tests, and no network but the loopback. Everything it
starts ends with the `with` block of its `Place`.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import attrs
import pytest
import trio

from crosschat.processes import find, wait_gone

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.claude.api import ScriptedApi

VERSION: Final = "2.1.330"
OLD_VERSION: Final = "2.1.128"  # loads no plugin from a folder
FETCH_S: Final = 300.0
RUN_S: Final = 60.0
WAIT_S: Final = 30.0
READY: Final = {"manual": "manual mode on", "auto": "auto mode on", "bypassPermissions": "bypass permissions on"}
TOOLS: Final = "mcp__plugin_crosschat_hub__"


def needed(*programs: str) -> None:
    """Skip the test with the reason if one is missing. In CI that is a failure: there everything is to be seen."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        give_up(f"needs {' and '.join(missing)}")


def give_up(reason: str) -> None:
    """Skip the test for that reason, or fail it in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@cache
def client(version: str = VERSION) -> Path:
    """The client's program, fetched if it is not there yet. One process fetches, others wait for it."""
    package = f"@anthropic-ai/claude-code@{version}"
    cache_directory = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place = cache_directory / "crosschat-tests" / f"claude-code-{version}"
    place.mkdir(parents=True, exist_ok=True)
    with open(place / "lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _program(place) is None:
            needed("npm")
            (place / "package.json").write_text('{"private": true}')
            command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", package]
            try:
                fetched = subprocess.run(
                    command, cwd=place, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=FETCH_S,
                    check=False,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                give_up(f"npm did not fetch {package} within {FETCH_S:g} s")
            else:
                if fetched.returncode != 0 or _program(place) is None:
                    give_up(f"npm could not fetch {package}: {fetched.stderr[-500:]}")
    found = _program(place)
    assert found is not None
    return found


def _program(place: Path) -> Path | None:
    system = {"Linux": "linux", "Darwin": "darwin"}.get(platform.system(), "")
    packages = sorted(place.glob(f"node_modules/@anthropic-ai/claude-code-{system}-*/claude"))
    return packages[0] if packages else None


@attrs.frozen
class Run:
    """A finished `claude -p`: what it printed, event by event."""

    events: list[dict[str, Any]]

    @property
    def start(self) -> dict[str, Any]:
        return next(event for event in self.events if event.get("subtype") == "init")

    @property
    def end(self) -> dict[str, Any]:
        return next(event for event in self.events if event["type"] == "result")

    @property
    def our_tools(self) -> set[str]:
        return {name.removeprefix(TOOLS) for name in self.start["tools"] if name.startswith(TOOLS)}

    def hooks(self, event: str) -> list[dict[str, Any]]:
        """How the hooks of that event ended."""
        return [one for one in self.events if one.get("subtype") == "hook_response" and one.get("hook_event") == event]


class Place:
    """A home, a project and the data directory in it, below an empty directory with a short path."""

    def __init__(self, root: Path, api: ScriptedApi, *, home: str = "my 'own' home", version: str = VERSION) -> None:
        self.client = client(version)
        self._root, self.home, self.project = root, root / home, root / "project"
        self.project.mkdir()
        (self.home / ".claude").mkdir(parents=True)
        state = {
            "hasCompletedOnboarding": True,
            "theme": "dark",
            "customApiKeyResponses": {"approved": ["dummy"], "rejected": []},
            "projects": {str(self.project): {"hasTrustDialogAccepted": True, "hasCompletedProjectOnboarding": True}},
        }
        (self.home / ".claude.json").write_text(json.dumps(state, indent=2))
        self.environment = {
            "PATH": f"{self.client.parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.home),
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
            "ANTHROPIC_API_KEY": "dummy",
            "ANTHROPIC_BASE_URL": api.url,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
            # Otherwise a turn begins without the tools of a server that a loaded machine has not started yet.
            "MCP_CONNECTION_NONBLOCKING": "false",
            "MCP_CONNECT_TIMEOUT_MS": "30000",
        }
        self._started: list[subprocess.Popen[str]] = []
        self.terminals: list[Terminal] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for terminal in self.terminals:
            terminal.close()
        for process in self._started:
            process.kill()
            process.communicate()
        for lock in self._root.glob("**/hub.lock"):
            self.crosschat("--home", str(lock.parent), "stop", "--force")

    @property
    def plugin(self) -> Path:
        return self.home / ".claude" / "skills" / "crosschat"

    def crosschat(self, *arguments: str) -> str:
        """Run our command line as the user of this home; returns what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "crosschat", *arguments], cwd="/", env=self.environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=RUN_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def tree(self) -> dict[str, str]:
        """Every file below ~/.claude/skills with its content."""
        skills = self.plugin.parent
        return {str(path.relative_to(skills)): path.read_text() for path in skills.rglob("*") if path.is_file()}

    def begin(self, prompt: str, *options: str) -> subprocess.Popen[str]:
        """Start `claude -p`; `finish` waits for it."""
        command = [str(self.client), "-p", prompt, "--output-format", "stream-json", "--verbose", *options]
        process = subprocess.Popen(
            command, cwd=self.project, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self._started.append(process)
        return process

    def finish(self, process: subprocess.Popen[str]) -> Run:
        printed, _ = process.communicate(timeout=RUN_S)
        assert process.returncode == 0, printed
        return Run([json.loads(line) for line in printed.splitlines()])

    def run(self, prompt: str, *options: str) -> Run:
        return self.finish(self.begin(prompt, *options))

    def directory(self, name: str) -> Path:
        """Another project, which clients trust that are started from here on, while none runs."""
        made = self.project.parent / name
        made.mkdir()
        state = json.loads((self.home / ".claude.json").read_text())
        state["projects"][str(made)] = state["projects"][str(self.project)]
        (self.home / ".claude.json").write_text(json.dumps(state))
        return made

    def terminal(self, *options: str, cwd: Path | None = None, mode: str = "manual", **variables: str) -> Terminal:
        """The interactive client in the project, or in `cwd`, ready for input."""
        made = Terminal(self, (*options, "--permission-mode", mode), cwd or self.project, variables)
        self.terminals.append(made)
        made.wait_for(lambda screen: READY[mode] in screen, "an input line")
        return made

    def session(self, *options: str, cwd: Path | None = None, mode: str = "manual", **variables: str) -> Terminal:
        """The same, once its server has joined the hub: a machine that is slow to start it makes no difference."""
        before = len(self.peers())
        made = self.terminal(*options, cwd=cwd, mode=mode, **variables)
        made.wait_for(lambda _: len(self.peers()) > before, "that the session has joined")
        return made

    def peers(self) -> list[dict[str, Any]]:
        """The connected agents, as others see them."""
        listed = json.loads(self.crosschat("peers", "--json"))["peers"]
        return [agent for agent in listed if agent["connected"]]


class Terminal:
    """The interactive client in a tmux of its own."""

    def __init__(self, place: Place, options: tuple[str, ...], cwd: Path, variables: dict[str, str]) -> None:
        needed("tmux")
        self._socket = place.project.parent / f"tmux{len(place.terminals)}"
        environment = [f"{name}={value}" for name, value in (place.environment | variables).items()]
        command = shlex.join(["env", "-i", *environment, str(place.client), *options])
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", "150", "-y", "50", "-c", str(cwd), command)
        self._pid = int(self._tmux("display-message", "-p", "#{pane_pid}"))

    def close(self) -> None:
        """End the client as a closed window does, and tmux with it; returns when its process is gone."""
        process = find(self._pid)
        self._kill_tmux()
        if process is not None:
            trio.run(wait_gone, process)

    def _kill_tmux(self) -> None:
        command = ["tmux", "-S", str(self._socket), "kill-server"]
        subprocess.run(command, capture_output=True, timeout=RUN_S, check=False)

    def _tmux(self, *words: str) -> str:
        environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TERM": "xterm-256color"}
        done = subprocess.run(
            ["tmux", "-S", str(self._socket), *words], env=environment, capture_output=True, text=True, timeout=RUN_S,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def screen(self) -> str:
        return self._tmux("capture-pane", "-p")

    def press(self, key: str) -> None:
        self._tmux("send-keys", key)

    def type(self, line: str) -> float:
        """Type a line and send it off; returns when, on the monotonic clock. The client takes what comes at once with
        an Enter for pasted text, so it waits until the line is on the screen."""
        self._tmux("send-keys", "-l", line)
        self.wait_for(lambda screen: line[-20:] in screen, f"the input {line!r}")
        sent_at = time.monotonic()
        self._tmux("send-keys", "Enter")
        return sent_at

    def wait_for(self, condition: Callable[[str], bool], what: str) -> str:
        """The screen, once the condition holds."""
        give_up_at = time.monotonic() + WAIT_S
        while not condition(screen := self.screen):
            assert time.monotonic() < give_up_at, f"{what} did not appear:\n{screen}"
            time.sleep(0.05)
        return screen
