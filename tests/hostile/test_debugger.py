"""A program of the person's, which is not root, that wants to look into a running hub as a debugger does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest

from tests.live.rig import ROOT, START_S

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.process,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks through /proc"),
]

USER: Final = 65_534  # whom a test that runs as root becomes: root may do all of this
# The hub is its own child, of its own user, which is more than a session has.
LOOKS: Final = """
import ctypes, json, os, sys
from importlib import import_module
from tests.prove.zygote import PRELOADED
for name in PRELOADED:
    import_module(name)  # this user may not be able to read them
from crosschat.hub import main

uid, home, *options = sys.argv[1:]
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(int(uid))
    os.setuid(int(uid))
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(4, 1, 0, 0, 0)  # dumpable again, which the change of the user has ended
ready, report = os.pipe()
hub = os.fork()
if hub == 0:
    os._exit(main.main(["--home", home, "--ready-fd", str(report), "--stay", *options]))
assert b"pid" in os.read(ready, 4096)

def tried(work):
    try:
        work()
    except (PermissionError, FileNotFoundError):  # where foreign processes are hidden, it is one
        return "refused"
    return "done"

def trace():
    if libc.ptrace(0x4206, hub, None, None) != 0:  # PTRACE_SEIZE
        raise OSError(ctypes.get_errno(), "ptrace")

try:
    found = {
        "memory": tried(lambda: os.open(f"/proc/{hub}/mem", os.O_RDWR)),
        "environment": tried(lambda: open(f"/proc/{hub}/environ", "rb").read()),
        "open files": tried(lambda: os.listdir(f"/proc/{hub}/fd")),
        "trace": tried(trace),
    }
finally:
    os.kill(hub, 9)
    os.waitpid(hub, 0)
print(json.dumps(found))
"""


def look(place: Path, *options: str) -> dict[str, str]:
    """What became of each attempt on a hub with these options."""
    home = place / f"home{len(options)}"
    home.mkdir(mode=0o700)
    if os.getuid() == 0:
        place.chmod(0o711)
        os.chown(home, USER, USER)
    done = subprocess.run(
        [sys.executable, "-c", LOOKS, str(USER), str(home), *options],
        cwd=ROOT, env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}, text=True, check=True,
        stdout=subprocess.PIPE, timeout=START_S,
    )  # fmt: skip
    found: dict[str, str] = json.loads(done.stdout)
    return found


def test_its_memory_its_variables_what_it_has_open_and_its_steps_are_refused(place: Path) -> None:
    """With `--debuggable`, which is for tests, the kernel lets the same program do it."""
    assert set(look(place).values()) == {"refused"}
    allowed = look(place, "--debuggable")
    assert {what: allowed[what] for what in ("memory", "environment", "open files")} == dict.fromkeys(
        ("memory", "environment", "open files"), "done"
    )
