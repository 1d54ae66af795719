"""A stand-in for Claude Code at a terminal: a process called `claude` with the real bridge and the real hook below it.

The bridge is driven as in `Session`. `prompt` does what Claude Code does where a dialog would appear: it starts the
permission hook with the request, and goes by what that prints.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import termios
import time
from typing import TYPE_CHECKING, Any, Final

from tests.browser.rig import ANSWER_S, Session
from tests.live.rig import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from crosschat.model import JsonObject

HOOK: Final = ROOT / "hooks" / "permission.py"
_CLAUDE: Final = """
import json, os, subprocess, sys
python, orders, hook, control = sys.argv[1:]
bridge = subprocess.Popen([python, "-m", "crosschat", "serve"])
hooks = {}
for line in open(int(orders)):
    order = json.loads(line)
    if "kill" in order:
        hooks[order["kill"]].terminate()
        continue
    with open(order["raw"], "rb") as given, open(order["out"], "wb") as out:
        command = [python, "-I", "-S", hook, control]
        hooks[order["out"]] = subprocess.Popen(command, stdin=given, stdout=out)
    hooks[order["out"]].wait() if order.get("wait") else None
"""


class Claude(Session):
    """In use inside its `with` block."""

    def __init__(self, home: Path, name: str, directory: Path) -> None:
        program = home.parent / "claude"
        if not program.exists():
            program.symlink_to(sys.executable)
        self._place = home.parent
        self._prompts = 0
        self._terminal = os.openpty()
        orders, self._orders = os.pipe()
        control = home / "run" / "control.sock"
        super().__init__(
            home, name, directory,
            command=[str(program), "-I", "-S", "-c", _CLAUDE, sys.executable, str(orders), str(HOOK), str(control)],
            pass_fds=[orders],
            preexec=lambda: fcntl.ioctl(self._terminal[1], termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(orders)

    def __exit__(self, *_: object) -> None:
        os.close(self._orders)
        super().__exit__()
        for end in self._terminal:
            os.close(end)

    def prompt(self, tool: str, tool_input: JsonObject, **more: object) -> Prompt:
        """Ask for permission, as the hook of this session does; the answer is what the hook prints."""
        fields = {
            "session_id": "s", "cwd": str(self._place), "prompt_id": f"p{self._prompts}", "permission_mode": "default",
            "hook_event_name": "PermissionRequest", "tool_name": tool, "tool_input": tool_input, **more,
        }  # fmt: skip
        return self.prompt_raw(json.dumps(fields, ensure_ascii=False))

    def prompt_raw(self, raw: str) -> Prompt:
        self._prompts += 1
        given = self._place / f"{self.name}-{self._prompts}.in"
        printed = self._place / f"{self.name}-{self._prompts}.out"
        given.write_text(raw)
        self._order({"raw": str(given), "out": str(printed)})
        return Prompt(printed, self)

    def _order(self, order: dict[str, str]) -> None:
        os.write(self._orders, json.dumps(order).encode() + b"\n")


class Prompt:
    """A request that was put before the person."""

    def __init__(self, printed: Path, session: Claude) -> None:
        self._printed = printed
        self._session = session

    def answer(self) -> dict[str, Any]:
        """The decision that the hook printed. Fails the test if there is none in time."""
        give_up_at = time.monotonic() + ANSWER_S
        while not self.printed():
            assert time.monotonic() < give_up_at, "the hook printed nothing"
            time.sleep(0.02)
        found: dict[str, Any] = json.loads(self.printed())["hookSpecificOutput"]["decision"]
        return found

    def printed(self) -> str:
        return self._printed.read_text() if self._printed.exists() else ""

    def answer_in_the_terminal(self) -> None:
        """A plain no there: Claude Code ends the hook."""
        self._session._order({"kill": str(self._printed)})
