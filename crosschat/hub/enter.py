"""`python -I -S enter.py DOCUMENT`: becomes a program, in a directory and with variables that DOCUMENT says.

DOCUMENT is one argument of JSON in ASCII: {"directory": …, "set": {name: value}, "unset": [names], "command": […]}.
Whatever starts it (tmux, a terminal program, a shell that a terminal program asks) has only this one harmless word to
pass on, so nothing in a path is ever a shell's, tmux's or AppleScript's to interpret.

With "settle_s" it starts the program beside itself, in a session of its own and without a terminal, waits so long
whether it fails, and leaves: its status is then the program's, what that said last is on standard error. A program
that goes on is nobody's child. The standard library alone.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time

CANNOT_RUN = 127
LOOK_S = 0.05
SAID_BYTES = 4096


def main() -> None:
    wanted = json.loads(sys.argv[1])
    if "settle_s" in wanted:
        sys.exit(watched(wanted))
    become(wanted)


def become(wanted: dict) -> None:  # type: ignore[type-arg]  # of a JSON document
    """Does not return."""
    try:
        os.chdir(wanted["directory"])
        for name in wanted["unset"]:
            os.environ.pop(name, None)
        os.environ.update(wanted["set"], PWD=wanted["directory"])
        os.execvp(wanted["command"][0], wanted["command"])
    except OSError as error:
        print(f"{error.filename or wanted['command'][0]}: {error.strerror}", file=sys.stderr, flush=True)
        os._exit(CANNOT_RUN)


def watched(wanted: dict) -> int:  # type: ignore[type-arg]
    """0 if the program ended well or goes on; else its status, 128 + n for signal n."""
    with tempfile.TemporaryFile() as said:
        pid = os.fork()
        if pid == 0:
            os.setsid()
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            become(wanted)
        settled_at = time.monotonic() + wanted["settle_s"]
        while time.monotonic() < settled_at:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                code = os.waitstatus_to_exitcode(status)
                said.seek(0, os.SEEK_END)
                said.seek(max(0, said.tell() - SAID_BYTES))
                if code:
                    os.write(2, said.read())
                return code if code >= 0 else 128 - code
            time.sleep(LOOK_S)
    return 0


if __name__ == "__main__":
    main()
