"""Starting a session of Claude Code in a registered directory: by the person's own command, in Terminal, or in tmux.

What is started is always the same argument list, `claude` with its first prompt, wrapped into `enter.py`, which takes
directory, variables and command as one harmless argument. No shell line is ever made here. What is started leads a
session of its own, has no descriptor of the hub and none of the variables that say who another session is, and goes
on when the hub ends. Every step is bounded: a launch is over within `LAUNCH_S`. It is looked after for `SETTLE_S`: if
it ends by then, whoever asked is told what it said. Nothing is kept on disk.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from crosschat.errors import Code, Refused
from crosschat.hub import enter
from crosschat.model import NAME_PATTERN, RESERVED_NAMES
from crosschat.programs import finish

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from crosschat.hub.projects import Project
    from crosschat.paths import Home
    from crosschat.programs import Finished

LAUNCH_S: Final = 15.0
STEP_S: Final = 5.0
SETTLE_S: Final = 1.5
LOOK_S: Final = 0.1
HOW_S: Final = 3.0  # tmux knows that a command is dead before it knows how
SAID_CHARS: Final = 500  # of what a launch that failed printed last
SESSION: Final = "crosschat"  # of tmux
PROGRAM: Final = "claude"
PROMPT: Final = "/crosschat"
WHERE_INSTALLERS_PUT_IT: Final = (".local/bin", ".claude/local")
COMMAND: Final = "{command}"
_DEAD: Final = re.compile(r"^Pane is dead.*$", re.MULTILINE)
_FIELD: Final = re.compile(r"\{(directory|name)\}")
# Of the session that happened to start the hub or tmux: the new one would take itself for that.
ANOTHER_SESSIONS: Final = (
    "CLAUDECODE", "CLAUDE_PID", "CLAUDE_PROJECT_DIR", "CLAUDE_PLUGIN_ROOT", "CLAUDE_ENV_FILE", "CLAUDE_CODE_SESSION_ID",
    "CLAUDE_CODE_MESSAGING_SOCKET", "CLAUDE_CODE_MESSAGING_TOKEN", "CLAUDE_CODE_ENTRYPOINT", "CLAUDE_CODE_SSE_PORT",
    "CROSSCHAT_NAME", "CROSSCHAT_CWD",
)  # fmt: skip
# tmux would look for the server that the hub was started in, not for the person's own.
NOT_FOR_TMUX: Final = ("TMUX", "TMUX_PANE")
TERMINAL_SCRIPT: Final = """\
on run argv
  set commandLine to ""
  repeat with part in argv
    set commandLine to commandLine & quoted form of (part as text) & " "
  end repeat
  tell application "Terminal"
    activate
    do script commandLine
  end tell
end run
"""


class Launcher:
    """One launch at a time. `command`: the person's own way, or empty."""

    def __init__(
        self, home: Home, *, environment: Mapping[str, str] = os.environ, platform: str = sys.platform
    ) -> None:
        self._home = home
        self._environment = {
            name: value for name, value in environment.items() if name not in (*ANOTHER_SESSIONS, *NOT_FOR_TMUX)
        }
        self._platform = platform
        self._turn = trio.Lock()
        self.command: tuple[str, ...] = ()

    @property
    def way(self) -> str | None:
        """How sessions are started here, for people; None: nothing is known that could."""
        if self.command:
            return f"with the command {self.command[0]}"
        if self._platform == "darwin" and self._which("osascript"):
            return "in a window of Terminal"
        return f"in tmux, session {SESSION}" if self._which("tmux") else None

    async def launch(self, project: Project, name: str | None) -> str:
        """Start a session; where it is to be found. Raises Refused, which says why it did not start. Cancel-safe: it
        may have been started then."""
        document = self._document(project, name)
        with trio.move_on_after(LAUNCH_S):
            async with self._turn:
                command = [sys.executable, "-I", "-S", enter.__file__, document]
                if self.command:
                    return await self._by_command(project, name, command)
                if self._platform == "darwin" and (osascript := self._which("osascript")):
                    return await self._in_terminal(osascript, command)
                if tmux := self._which("tmux"):
                    return await _Tmux(tmux, self._environment).launch(name or _window_name(project), command)
        if self.way is None:
            raise Refused(
                Code.CONFLICT, "There is no tmux here: install it, or say how with `crosschat launch set -- COMMAND`."
            )
        raise Refused(Code.CONFLICT, f"The launch was not done within {LAUNCH_S:g} s.")

    def check(self, command: Sequence[str]) -> None:
        """Raise Refused unless this can be the person's own way."""
        if not command or not command[0] or any("\x00" in part for part in command):
            raise Refused(Code.INVALID, "A command is a program and its arguments.", path="command")
        if not self._which(command[0]):
            raise Refused(Code.NOT_FOUND, f"There is no program {command[0][:200]!r}.", path="command")

    def _document(self, project: Project, name: str | None) -> str:
        if name is not None and (not re.fullmatch(NAME_PATTERN, name) or name.lower() in RESERVED_NAMES):
            raise Refused(
                Code.INVALID,
                "A name has up to 64 letters, digits, '.', '_' and '-', begins with one of the first two, and is not "
                f"one of {', '.join(sorted(RESERVED_NAMES))}.",
                path="name",
            )
        if not os.path.isdir(project.path):
            raise Refused(Code.NOT_FOUND, f"{project.path} is no directory any more.", path="project")
        program = self._which(PROGRAM)
        if program is None:
            raise Refused(
                Code.CONFLICT,
                f"`{PROGRAM}` is not on the path of the hub. Install Claude Code, or restart the hub from a terminal "
                f"where `{PROGRAM}` runs: `crosschat restart`.",
            )
        variables = {"CROSSCHAT_HOME": os.fspath(self._home.root)}
        if self._home.run_override is not None:
            variables["CROSSCHAT_HUB_URL"] = f"unix:{self._home.run_override}"
        if name is not None:
            variables["CROSSCHAT_NAME"] = name
        return json.dumps(
            {
                "directory": project.path,
                "set": variables,
                "unset": ANOTHER_SESSIONS,
                "command": [program, PROMPT],
            }
        )

    def _which(self, program: str) -> str | None:
        """Also where Claude Code's installers put it: the hub may have been started without these on its path."""
        home = Path(self._environment.get("HOME", "/"))
        places = [
            self._environment.get("PATH", os.defpath),
            *(os.fspath(home / one) for one in WHERE_INSTALLERS_PUT_IT),
        ]
        found = shutil.which(program, path=os.pathsep.join(places))
        return os.path.abspath(found) if found is not None else None

    async def _by_command(self, project: Project, name: str | None, command: Sequence[str]) -> str:
        argv = filled_in(self.command, project.path, name or project.name, command)
        argv[0] = self._which(argv[0]) or argv[0]
        document = {"directory": project.path, "set": {}, "unset": [], "command": argv, "settle_s": SETTLE_S}
        done = await _run([sys.executable, "-I", "-S", enter.__file__, json.dumps(document)], self._environment)
        if done.status:
            raise _failed(self.command[0], _ending(done.status), _text_of(done.err))
        return f"started with {self.command[0]}"

    async def _in_terminal(self, osascript: str, command: Sequence[str]) -> str:
        """Terminal types the line into a shell of its own; `quoted form` leaves the shell nothing to interpret."""
        done = await _run([osascript, "-e", TERMINAL_SCRIPT, *command], self._environment)
        if done.status:
            raise _failed("osascript", f"with status {done.status}", _text_of(done.err))
        return "in a new window of Terminal"


class _Tmux:
    """tmux, as the person has it. A window is made dead or alive, and known by the id of its pane."""

    def __init__(self, program: str, environment: Mapping[str, str]) -> None:
        self._program = program
        self._environment = environment

    async def launch(self, name: str, command: Sequence[str]) -> str:
        """A new window in the session, which is made if there is none. Raises Refused."""
        exists = await self._run("has-session", "-t", f"={SESSION}:", may_fail=True)
        place: tuple[str, ...] = ("new-session", "-s", SESSION, "-x", "200", "-y", "50")
        if exists is not None:
            place = ("new-window", "-t", f"={SESSION}:")
        # Until it has settled, a window that ends stays: what it said is read from it. The window is found again by a
        # name that no other has, because the pane's id is only known when it may be gone already.
        unique = f"launch-{os.urandom(6).hex()}"
        window = f"={SESSION}:={unique}"
        said = await self._run(
            *place, "-d", "-P", "-F", "#{pane_id}", "-n", unique, "--", *command,
            ";", "set-option", "-w", "-t", window, "remain-on-exit", "on",
            ";", "set-option", "-w", "-t", window, "automatic-rename", "off",
            ";", "rename-window", "-t", window, name,
        )  # fmt: skip
        pane = (said or "").strip()
        dead = await self._ended(pane)
        if dead is not None:
            # tmux moves everything up by a line, to say below that the pane is dead.
            words = await self._run("capture-pane", "-p", "-S", "-100", "-t", pane, may_fail=True)
            await self._run("kill-pane", "-t", pane, may_fail=True)
            raise _failed(PROGRAM, dead, _text_of(_DEAD.sub("", words or "").encode()))
        await self._run("set-option", "-u", "-w", "-t", pane, "remain-on-exit", may_fail=True)
        return f"in tmux: tmux attach -t {SESSION}"

    async def _ended(self, pane: str) -> str | None:
        """How the command of the pane ended, if it did before it settled."""
        give_up_at, dead = trio.current_time() + SETTLE_S, False
        how = "#{pane_dead}:#{pane_dead_status}:#{pane_dead_signal}"
        while trio.current_time() < give_up_at:
            said = await self._run("display-message", "-p", "-t", pane, how, may_fail=True)
            is_dead, status, number = (said or "1::").strip().split(":")
            if status or number:
                return f"with status {status}" if status else f"by signal {number}"
            if is_dead == "1":
                if not dead:
                    give_up_at, dead = trio.current_time() + HOW_S, True
                # What it uses to note a login drops the signal by which it would hear of an end at that moment. The end
                # of any other child makes it look after all of them.
                await self._run("run-shell", ":", may_fail=True)
            await trio.sleep(LOOK_S)
        return "and tmux does not say how" if dead else None

    async def _run(self, *arguments: str, may_fail: bool = False) -> str | None:
        """What tmux answers; None if it failed and may. Raises Refused."""
        done = await _run([self._program, *arguments], self._environment)
        if done.status == 0:
            return done.out.decode(errors="replace")
        if may_fail:
            return None
        raise _failed("tmux", f"with status {done.status}", _text_of(done.err))


def filled_in(template: Sequence[str], directory: str, name: str, command: Sequence[str]) -> list[str]:
    """The argument list of the person's own command: `{directory}` and `{name}` filled in, `{command}` in the place of
    an argument, or at the end where there is none. What was filled in is not looked at again."""
    values = {"directory": directory, "name": name}
    filled: list[str] = []
    for part in template:
        if part == COMMAND:
            filled += command
        else:
            filled.append(_FIELD.sub(lambda field: values[field[1]], part))
    return filled if COMMAND in template else [*filled, *command]


async def _run(argv: Sequence[str], environment: Mapping[str, str]) -> Finished:
    """Raises Refused if it cannot be run or does not end in time; it is killed then."""
    try:
        return await finish(argv, environment=environment, timeout_s=STEP_S)
    except OSError as error:
        raise Refused(Code.CONFLICT, f"{argv[0]} cannot be run: {error.strerror or error}.") from None
    except trio.TooSlowError:
        raise Refused(Code.CONFLICT, f"{os.path.basename(argv[0])} did not answer within {STEP_S:g} s.") from None


def _failed(program: str, how: str, said: str) -> Refused:
    return Refused(Code.CONFLICT, f"{program} ended at once, {how}{f': {said}' if said else '.'}")


def _window_name(project: Project) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", project.name).strip("-")[:32] or SESSION


def _ending(status: int) -> str:
    return f"with status {status}" if status < 128 else f"by signal {status - 128}"


def _text_of(said: bytes) -> str:
    return " ".join(said.decode(errors="replace").split())[-SAID_CHARS:]
