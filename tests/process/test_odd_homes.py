"""Where people keep their data, and how their machines are set up: it works there, or says why not and what to do."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

import pytest

from crosschat.cli.lifecycle import stop_hub
from crosschat.paths import Home, run_directory
from tests.live.rig import ROOT, START_S
from tests.process import netmount
from tests.process.bridges import PATIENT_S, BridgeProcess, Release, command

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.process]
AS_ROOT = pytest.mark.skipif(os.getuid() != 0, reason="mounting, and being another user, needs root")


def run(*arguments: str, umask: int = 0o022, **variables: str) -> subprocess.CompletedProcess[str]:
    """`crosschat` with an environment of nothing else than is needed and `variables`."""
    return subprocess.run(
        [sys.executable, "-m", "crosschat", *arguments],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **variables},
        cwd="/",
        umask=umask,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextmanager
def stopped(*homes: Home) -> Iterator[None]:
    try:
        yield
    finally:
        for home in homes:
            stop_hub(home, force=True)
            if home.run != home.root / "run":
                shutil.rmtree(home.run, ignore_errors=True)


def works(home: Home) -> None:
    """A message goes in by the command line and comes out at a session."""
    with BridgeProcess(home, "ada") as ada:
        ada.works()
        done = command(home, "send", "@ada hello")
        assert (done.returncode, done.stderr) == (0, "")
        told = ada.works("get_messages", limit=50)["messages"]
        assert told[-1]["content"] == "@ada hello"


def test_a_home_directory_with_a_path_of_two_hundred_characters(place: Path) -> None:
    user = place / ("a" * 90) / ("b" * 90)
    user.mkdir(parents=True)
    home = Home(user / ".crosschat")
    assert len(str(user)) > 190
    with stopped(home):
        done = run("send", "hello", HOME=str(user))
        assert (done.returncode, done.stderr) == (0, "")
        assert home.control_socket.is_socket()
        assert home.run == run_directory(home.root) != home.root / "run"
        assert len(os.fsencode(home.control_socket)) < 104
        assert stat.S_IMODE(home.run.stat().st_mode) == 0o700
        works_there = command(home, "send", "again")
        assert works_there.returncode == 0
        assert json.loads(command(home, "status", "--json").stdout)["home"] == str(home.root)
        assert command(home, "stop").returncode == 0
        assert not any(path.is_socket() for path in home.run.iterdir())


@pytest.mark.parametrize("umask", [0o000, 0o077], ids=oct)
def test_whatever_the_umask_is_files_are_for_the_user_alone(place: Path, umask: int) -> None:
    home = Home(place / "home")
    with stopped(home):
        done = run("send", "hello", umask=umask, CROSSCHAT_HOME=str(home.root))
        assert (done.returncode, done.stderr) == (0, "")
        assert run("peers", umask=umask, CROSSCHAT_HOME=str(home.root)).returncode == 0
        modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in [home.root, *home.root.rglob("*")]}
        assert len(modes) > 15
        wrong = {str(path): oct(mode) for path, mode in modes.items() if mode != (0o700 if path.is_dir() else 0o600)}
        assert wrong == {}


def test_two_homes_of_one_user_have_two_hubs_that_know_nothing_of_each_other(place: Path) -> None:
    one, two = Home(place / "one"), Home(place / "two")
    with stopped(one, two):
        works(one)
        works(two)
        pids = {json.loads(command(home, "status", "--json").stdout)["pid"] for home in (one, two)}
        assert len(pids) == 2


AS_USER: Final = """
import json, os, socket, sys
from importlib import import_module
from pathlib import Path
from tests.prove.zygote import PRELOADED
for name in PRELOADED:
    import_module(name)  # this user may not be able to read them
from crosschat import wire
from crosschat.cli.control import Control, new_id
from crosschat.cli.lifecycle import stop_hub
from crosschat.hub import main, searching
from crosschat.paths import Home

uid, home, other = int(sys.argv[1]), Home(Path(sys.argv[2])), Home(Path(sys.argv[3]))
os.setgroups([])
os.setgid(uid)
os.setuid(uid)
ready, report = os.pipe()
if os.fork() == 0:
    os._exit(main.main(["--home", str(home.root), "--ready-fd", str(report), "--stay"]))
os.close(report)  # so that a hub that ends unsaid is seen
assert b"pid" in os.read(ready, 4096)

def tried(work):
    try:
        work()
    except OSError as error:
        return type(error).__name__
    return "done"

with Control.open(home) as control:
    control.ask(wire.Send(id=new_id(), cid=new_id(), content=f"of {uid}"), wire.Sent)
    print("ready", flush=True)
    sys.stdin.readline()  # the other one runs as well
    page = control.ask(wire.Read(id=new_id()), wire.Page)
    status = control.ask(wire.Inspect(id=new_id()), wire.HubStatus)
    sockets = [other.agents_socket, other.control_socket]
    found = {
        "texts": [item.content for item in page.items],
        "home": status.home,
        "sockets": [tried(lambda: socket.socket(socket.AF_UNIX).connect(str(path))) for path in sockets],
        "files": [tried(lambda: os.listdir(other.root)), tried(lambda: os.open(other.hub_lock, os.O_RDWR))],
    }
    print(json.dumps(found), flush=True)
    sys.stdin.readline()  # the other one has looked
stop_hub(home)
"""


@AS_ROOT
def test_two_users_have_two_hubs_at_once_and_get_nothing_of_each_other(place: Path) -> None:
    place.chmod(0o711)
    homes = {uid: place / str(uid) for uid in (65_534, 65_533)}
    users: dict[int, subprocess.Popen[str]] = {}
    with ExitStack() as stack:
        for uid, other in zip(homes, reversed(homes), strict=True):
            homes[uid].mkdir(mode=0o700)
            os.chown(homes[uid], uid, uid)
            process = subprocess.Popen(
                [sys.executable, "-c", AS_USER, str(uid), str(homes[uid]), str(homes[other])],
                cwd=ROOT, env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )  # fmt: skip
            users[uid] = stack.enter_context(process)
            stack.callback(process.kill)
        for step in ("ready", "found"):
            said = {uid: user.stdout.readline() for uid, user in users.items() if user.stdout is not None}
            if step == "ready":
                assert set(said.values()) == {"ready\n"}
            else:
                for uid, line in said.items():
                    assert json.loads(line) == {
                        "texts": [f"of {uid}"],
                        "home": str(homes[uid]),
                        "sockets": ["PermissionError"] * 2,
                        "files": ["PermissionError"] * 2,
                    }
            for user in users.values():
                assert user.stdin is not None
                print(file=user.stdin, flush=True)
        assert [user.wait(START_S) for user in users.values()] == [0, 0]


def refused(home: Home, *words: str) -> None:
    """Nobody can work there, everybody is told why, and nothing is made."""
    done = command(home, "send", "hello")
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr, done.stderr
    with BridgeProcess(home, "ada") as ada:
        answer = ada.call("list_peers")
        assert answer.failed
        assert answer.took_s < PATIENT_S  # at once, not at the deadline
        for word in words:
            assert word in answer.text, answer.text


@AS_ROOT
def test_a_home_on_a_read_only_file_system_is_refused_with_the_remedy(place: Path) -> None:
    disk = place / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,mode=0700", "tmpfs", str(disk)], check=True)
    try:
        refused(Home(disk / "home"), "Read-only file system", "CROSSCHAT_HOME")
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_home_in_a_directory_that_may_not_be_written_is_refused_with_the_remedy(place: Path) -> None:
    closed = place / "closed"
    closed.mkdir(mode=0o500)
    refused(Home(closed / "home"), "Permission denied", "CROSSCHAT_HOME")
    closed.chmod(0o700)


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs"])
@pytest.mark.parametrize("exists", [False, True])
def test_a_home_on_a_network_file_system_is_refused_with_the_remedy_and_left_alone(
    place: Path, kind: str, exists: bool
) -> None:
    home = Home(place / "net" / "home")
    home.root.parent.mkdir()
    if exists:
        home.root.mkdir(mode=0o700)
        (home.root / "hub.lock").touch()
    (place / "mountinfo").write_text(
        f"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n30 22 0:40 / {place / 'net'} rw - {kind} server:/x rw\n"
    )
    release = Release.make(place, "1.0")
    with open(release.directory / "sitecustomize.py", "a") as program:
        table = str(place / "mountinfo")
        program.write(f"from pathlib import Path\nfrom crosschat import mounts\nmounts.TABLE = Path({table!r})\n")
    done = command(home, "send", "hello", release=release)
    assert done.returncode == 3
    assert f"network file system ({kind}" in done.stderr
    assert "CROSSCHAT_HOME" in done.stderr
    with BridgeProcess(home, "ada", release) as ada:
        assert "network file system" in ada.call("list_peers").text
    assert [path.name for path in home.root.parent.rglob("*")] == (["home", "hub.lock"] if exists else [])


@pytest.mark.skipif(netmount.obstacle() is not None, reason=str(netmount.obstacle()))
@pytest.mark.parametrize("kind", ["fuse.sshfs", "fuse.rclone"])
def test_a_home_on_a_real_mount_of_a_network_is_refused_with_the_remedy_and_not_touched(place: Path, kind: str) -> None:
    point = place / "net"
    point.mkdir()
    home = Home(point / "home")
    with netmount.netmount(point, kind) as mounted:
        for line in (["start"], ["send", "hello"]):
            done = command(home, *line)
            assert done.returncode == 3
            assert f"network file system ({kind}, mounted at {point})" in done.stderr
            assert "Set CROSSCHAT_HOME to a directory on a disk of this machine" in done.stderr
        with BridgeProcess(home, "ada") as ada:
            assert "network file system" in ada.call("list_peers").text
        found = json.loads(command(home, "doctor", "--quick", "--json").stdout)
        assert [one["level"] for one in found["results"] if one["check"] == "mount"] == ["problem"]
    assert mounted.asked, "nobody looked"
    assert mounted.changes == set()
    assert not list(point.iterdir())


@AS_ROOT
def test_a_home_of_another_user_is_refused_with_the_remedy_and_left_alone(place: Path) -> None:
    home = Home(place / "home")
    with stopped(home):
        assert command(home, "send", "hello").returncode == 0
    for path in [home.root, *home.root.rglob("*")]:
        os.chown(path, 54321, 54321)
    (home.root / "hub.lock").chmod(0o666)
    before = {path: path.lstat().st_mtime_ns for path in home.root.rglob("*")}
    refused(home, "belongs to the user with the id 54321", "CROSSCHAT_HOME")
    assert {path: path.lstat().st_mtime_ns for path in home.root.rglob("*")} == before


@AS_ROOT
def test_without_a_home_directory_the_variable_is_named(place: Path) -> None:
    """Neither HOME nor an entry among the users, as in some containers."""
    program = "import os, crosschat.cli.status; from crosschat.cli.main import main; os.setuid(54321); main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "status"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "set HOME, or CROSSCHAT_HOME" in done.stderr


def test_crosschat_home_alone_is_enough(place: Path) -> None:
    home = Home(place / "home")
    with stopped(home):
        assert run("send", "hello", CROSSCHAT_HOME=str(home.root)).returncode == 0
        works(home)
