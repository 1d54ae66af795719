"""`crosschat doctor` names each fault that is seeded, and no other, and raises no alarm where all is well."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

from crosschat import mounts, wire
from crosschat.cli import doctor as doctor_module
from crosschat.cli.claude_code import Client
from crosschat.cli.control import Control
from crosschat.cli.doctor import CHECKS, SLOW_CHECKS, examine, look
from crosschat.cli.examine import claude, message, place
from crosschat.cli.examine.finding import Finding, Scene
from crosschat.cli.install import this_program
from crosschat.errors import Code
from crosschat.journal.audit import NO_LINE, make_line
from crosschat.journal.format import encode
from crosschat.model import Message
from crosschat.paths import Configuration, Home
from tests.cli.fake_hub import FakeHub, hub_status
from tests.live.rig import HubProcess, short_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from click.testing import Result

pytestmark = [pytest.mark.process]
LOG = Path("log/000001.jsonl")


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    """A data directory that a hub made, wrote two messages into, and left."""
    with short_directory() as directory, HubProcess(directory / "h", "--stay") as hub:
        with Control.open(hub.started().home) as control:
            for text in ("one", "two"):
                control.ask(wire.Send(id=text, cid=text, content=text), wire.Sent)
        assert hub.stop() == 0
        yield directory / "h"


@pytest.fixture
def data(home: Home, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A copy of it, where CROSSCHAT_HOME points, and a Claude Code that loads the plugin."""
    shutil.copytree(template, home.root)
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(tmp_path / "claude"))
    monkeypatch.setattr(claude, "ask_client", lambda _: Client("/bin/claude", "2.1.330", "yes"))
    monkeypatch.setattr(claude, "this_program", cache(this_program))
    monkeypatch.setattr("crosschat.cli.install.ask_client", lambda _: Client("/bin/claude", "2.1.330", "yes"))
    return home


@pytest.fixture
def installed(data: Home, run: Callable[..., Result]) -> Home:
    done = run("install", "--yes")
    assert done.exit_code == 0, done.output
    return data


def scene(home: Home, status: wire.HubStatus | None = None) -> Scene:
    return Scene(configuration=Configuration(home=home), status=status)


def alarms(found: Scene, *left_out: str) -> dict[str, list[str]]:
    """Check by check what is wrong, without the two that take seconds."""
    checks = {**CHECKS, "client": claude.client}
    results = examine(found, {name: check for name, check in checks.items() if name not in left_out})
    wrong: dict[str, list[str]] = {}
    for one in results:
        if one.finding.level != "ok":
            assert one.finding.remedy, one
            assert "\n" not in one.finding.remedy
            wrong.setdefault(one.check, []).append(one.finding.cause)
    return wrong


def status_of(home: Home, **fields: object) -> wire.HubStatus:
    """What a healthy hub of this program would say."""
    from crosschat import version

    home.dashboard_lock.write_text('{"hub_pid":4242}')
    home.dashboard_lock.chmod(0o600)
    found = hub_status(wire.Inspect(id="i"), home, version=version.installed(), dashboard="http://127.0.0.1:1/")
    changed: wire.HubStatus = attrs.evolve(found, **fields)  # type: ignore[arg-type]  # whatever the test wants
    return changed


# --- no alarm where all is well


def test_a_healthy_directory_without_a_hub_raises_no_alarm(installed: Home) -> None:
    assert alarms(look(Configuration(home=installed))) == {}


def test_a_healthy_hub_raises_no_alarm_and_its_agents_are_not_disturbed(installed: Home) -> None:
    with HubProcess(installed.root, "--stay") as hub:
        hub.started()
        for _ in range(2):
            found = look(Configuration(home=installed))
            assert found.status is not None
            assert alarms(found) == {}
        with Control.open(installed) as control:
            assert control.ask(wire.Inspect(id="i"), wire.HubStatus).agents == ()
            told = control.ask(wire.Read(id="r", limit=50), wire.Page)
        assert [item.to for item in told.items if item.content == message.TEXT] == [(), ()]


def test_where_nothing_is_yet_nothing_is_wrong_and_nothing_is_made(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(tmp_path / "claude"))
    assert alarms(look(Configuration(home=home)), "client", "plugin") == {}
    assert not home.root.exists()


@pytest.mark.slow
def test_two_sessions_of_our_own_can_talk_and_leave_nothing(monkeypatch: pytest.MonkeyPatch, data: Home) -> None:
    before = set(Path("/tmp").glob("cc-doctor-*"))
    assert [one.finding.level for one in examine(scene(data), {"sessions": message.sessions})] == ["ok"]
    assert set(Path("/tmp").glob("cc-doctor-*")) == before
    monkeypatch.setattr(sys, "executable", "/bin/false")
    (failed,) = examine(scene(data), {"sessions": message.sessions})
    assert failed.finding.level == "problem"
    assert set(Path("/tmp").glob("cc-doctor-*")) == before


# --- one seeded fault a row: what is done to the directory, which check names it, and a word of the cause


def spoil_log(root: Path) -> None:
    data = bytearray((root / LOG).read_bytes())
    data[data.index(b'"one"') + 1] ^= 1
    (root / LOG).write_bytes(data)


def tear_log(root: Path) -> None:
    with open(root / LOG, "ab") as log:
        log.write(b'{"v":1,"seq":')


def date_in_the_future(root: Path) -> None:
    last = json.loads((root / LOG).read_bytes().splitlines()[-1])
    record = Message(
        seq=last["seq"] + 1, id="m-future", ts=int((time.time() + 7200) * 1000), by="cli", content="later", source="cli"
    )  # fmt: skip
    with open(root / LOG, "ab") as log:
        log.write(encode(record))


def foreign_index(root: Path) -> None:
    """Of a log whose first segment was longer."""
    shutil.copy(root / LOG, root / "kept")
    spoil = (root / LOG).read_bytes().splitlines(keepends=True)
    (root / LOG).write_bytes(b"".join(spoil[:-1]))
    (root / "kept").unlink()


def leave_sockets(root: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(root / "run" / "agents.sock"))
    (root / "run" / "agents.sock").chmod(0o600)


def write(path: str, content: str) -> Callable[[Path], None]:
    def seed(root: Path) -> None:
        target = root / path
        if target.exists():
            target.unlink()
        target.parent.mkdir(mode=0o700, exist_ok=True)
        target.write_text(content)
        target.chmod(0o600)

    return seed


def old_attempt(root: Path) -> None:
    write(".settings.json.new", "{}")(root)
    os.utime(root / ".settings.json.new", (0, 0))


def rewrite_audit(root: Path) -> None:
    """The second of three decisions is another now."""
    lines, last = [], NO_LINE
    for number in (1, 2, 3):
        line, last = make_line(number, last, 0, {"event": "decided", "behavior": "deny"})
        lines.append(line)
    lines[1] = lines[1].replace(b"deny", b"allow")
    write("audit/permissions.jsonl", b"\n".join(lines).decode() + "\n")(root)


def plant_browser(root: Path) -> None:
    """One is vouched for, and one is written beside it."""
    line, _ = make_line(1, NO_LINE, 0, {"event": "paired", "key": "a" * 32, "port": 4711})
    write("audit/permissions.jsonl", line.decode() + "\n")(root)
    listed = [{"id": letter * 32, "port": 4711} for letter in "ab"]
    write("settings.json", json.dumps({"paired_browsers": [*listed, 5]}))(root)


def lock_directory(root: Path) -> None:
    (root / "hub.lock").unlink()
    (root / "hub.lock").mkdir(mode=0o700)


FAULTS: list[tuple[Callable[[Path], object], str, str]] = [
    (lambda root: (root / "FORMAT").chmod(0o644), "modes", "FORMAT can be used by others"),
    (lambda root: root.chmod(0o755), "modes", "can be used by others"),
    (lambda root: (root / "messages" / "link").symlink_to("/etc/hosts"), "owner", "symbolic link"),
    (leave_sockets, "leftovers", "agents.sock was left by a hub"),
    (write("damaged/log-000001", "x"), "leftovers", "1 copies of what was cut"),
    (old_attempt, "leftovers", ".settings.json.new was left"),
    (write("run/control.sock", ""), "leftovers", "in the place of the hub's socket"),
    (write("FORMAT", '{"format":9,"min_reader":9}'), "versions", "written by a newer CrossChat"),
    (write("FORMAT", "{"), "versions", "FORMAT cannot be read"),
    (lambda root: (root / "FORMAT").unlink(), "versions", "FORMAT is missing"),
    (lock_directory, "lock", "hub.lock is not a plain file"),
    (spoil_log, "log", "is damaged"),
    (tear_log, "log", "torn"),
    (date_in_the_future, "log", "minutes in the future"),
    (write("index/snapshot", "garbage"), "log", "index does not fit"),
    (foreign_index, "log", "index does not fit"),
    (rewrite_audit, "audit", "line 2: it was changed"),
    (plant_browser, "browsers", "lists the browser bbbbbbbb as paired"),
]


@pytest.mark.parametrize(("seed", "check", "words"), FAULTS, ids=[f"{row[1]}: {row[2]}" for row in FAULTS])
def test_a_fault_of_the_directory_is_named_and_nothing_else(
    installed: Home, seed: Callable[[Path], object], check: str, words: str
) -> None:
    seed(installed.root)
    left_out = ("log",) if check == "versions" else ()  # without its format a log is nobody's to read
    found = alarms(look(Configuration(home=installed)), *left_out)
    assert list(found) == [check], found
    assert any(words in cause for cause in found[check]), found


@pytest.mark.skipif(os.getuid() != 0, reason="giving a file away needs root")
def test_a_file_of_somebody_else_is_named(installed: Home) -> None:
    os.chown(installed.root / "FORMAT", 12345, -1)
    found = alarms(look(Configuration(home=installed)))
    assert list(found) == ["owner"]
    assert "FORMAT belongs to another user" in found["owner"][0]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("30 1 0:40 / {root} rw - nfs4 server:/x rw", "network file system (nfs4"),
        ("30 1 0:40 / {root} rw - fuse.sshfs a@b:/ rw", "network file system (fuse.sshfs"),
        ("30 1 0:40 / {root} ro,nosuid - ext4 /dev/sda1 rw", "mounted read-only"),
    ],
)
def test_a_mount_that_will_not_do_is_named(
    installed: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, words: str
) -> None:
    table = tmp_path / "mountinfo"
    table.write_text("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n" + line.format(root=installed.root) + "\n")
    monkeypatch.setattr(mounts, "TABLE", table)
    found = alarms(look(Configuration(home=installed)))
    assert list(found) == ["mount"]
    assert words in found["mount"][0]


def test_a_full_and_a_slow_disk_are_named(installed: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.statvfs(installed.root)
    full = os.statvfs_result([*real[:4], 10, *real[5:]])
    with monkeypatch.context() as patch:
        patch.setattr(os, "statvfs", lambda _: full)
        assert list(alarms(scene(installed))) == ["space"]
    with monkeypatch.context() as patch:
        patch.setattr(place, "sync_times_s", lambda _: [0.2] * 15)
        assert "200 ms" in alarms(scene(installed))["disk"][0]

    def fail(_: Path) -> list[float]:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(place, "sync_times_s", fail)
    assert "Input/output error" in alarms(scene(installed))["disk"][0]


def test_a_lock_without_a_listener_and_a_hub_without_an_answer_are_named(installed: Home) -> None:
    with open(installed.hub_lock) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "does not listen" in alarms(look(Configuration(home=installed)))["lock"][0]
    with FakeHub(installed, lambda _: [], closes=True):
        installed.control_socket.chmod(0o600)
        found = alarms(look(Configuration(home=installed)))
    assert list(found) == ["lock"]
    assert "went away" in found["lock"][0]


@contextmanager
def held(home: Home) -> Iterator[None]:
    """The lock, as a hub has it."""
    with open(home.hub_lock) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.mark.parametrize(
    ("fields", "check", "words"),
    [
        ({"version": "999.0"}, "versions", "The hub is of version 999.0"),
        ({"version": "0.0.1"}, "versions", "older than this command"),
        ({"pid": 4243}, "note", "names process 4242, the hub is process 4243"),
        ({"notices": ("the end of the log was torn",)}, "hub", "the end of the log was torn"),
        ({"search_problem": "no such module: fts5"}, "hub", "no such module"),
        ({"search_behind": 1_000_000}, "log", "1000000 records behind"),
        ({"dashboard": None, "dashboard_problem": "port 8123 is taken"}, "page", "port 8123 is taken"),
        ({"dashboard_problem": "settings.json cannot be read"}, "page", "settings.json cannot be read"),
    ],
)
def test_what_is_wrong_with_a_hub_is_named(installed: Home, fields: dict[str, object], check: str, words: str) -> None:
    with held(installed):
        found = alarms(scene(installed, status=status_of(installed, **fields)), "delivery")
    assert list(found) == [check], found
    assert words in found[check][0]


def test_a_hub_that_does_not_hold_the_lock_is_named(installed: Home) -> None:
    assert list(alarms(scene(installed, status=status_of(installed)), "delivery")) == ["lock"]


def test_a_page_that_is_open_to_the_network_is_named(installed: Home) -> None:
    with held(installed), socket.socket() as everywhere:
        everywhere.bind(("0.0.0.0", 0))
        everywhere.listen()
        page = f"http://127.0.0.1:{everywhere.getsockname()[1]}/"
        found = alarms(scene(installed, status=status_of(installed, dashboard=page)), "delivery")
    assert list(found) == ["page"]
    assert "every address" in found["page"][0]


def test_a_variable_of_another_product_is_named(installed: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    from crosschat.paths import read_environment

    monkeypatch.setenv("CROSSCHAT_HUB_URL", "http://127.0.0.1:3000")
    assert list(alarms(Scene(configuration=read_environment()))) == ["environment"]


# --- the plugin and Claude Code


def plugin_folder() -> Path:
    return Path(os.environ["CLAUDE_CONFIG_DIR"]) / "skills" / "crosschat"


def test_a_plugin_that_is_not_installed_is_named(data: Home) -> None:
    found = alarms(look(Configuration(home=data)))
    assert list(found) == ["plugin"]
    assert "not installed" in found["plugin"][0]


def test_every_file_of_plugin_and_hooks_that_was_changed_or_is_missing_is_named(installed: Home) -> None:
    folders = [plugin_folder(), installed.hooks]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file() and path.name[0] != "."]
    assert len(files) > 5
    for path in files:
        kept, mode = path.read_bytes(), path.stat().st_mode
        path.write_bytes(kept + b"\n# more")
        assert [one.cause.partition(" since")[0] for one in claude.plugin(scene(installed))] == [f"{path} was changed"]
        path.unlink()
        assert [one.cause for one in claude.plugin(scene(installed))] == [f"{path} is missing."]
        path.write_bytes(kept)
        path.chmod(mode)
    assert alarms(scene(installed)) == {}


@pytest.mark.parametrize(
    ("client", "words"),
    [
        (Client(), "No `claude`"),
        (Client("/bin/claude"), "does not say its version"),
        (Client("/bin/claude", "2.1.330", "no"), "does not load the plugin"),
        (Client("/bin/claude", "2.1.0", "too old"), "2.1.0 does not load"),
    ],
)
def test_a_client_that_does_not_load_the_plugin_is_named(
    installed: Home, monkeypatch: pytest.MonkeyPatch, client: Client, words: str
) -> None:
    monkeypatch.setattr(claude, "ask_client", lambda _: client)
    found = alarms(scene(installed))
    assert list(found) == ["client"]
    assert words in found["client"][0]


def test_the_client_that_is_found_is_told_with_its_version(installed: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = claude.client(scene(installed))
    assert (found.level, found.cause) == ("ok", "Claude Code 2.1.330 at /bin/claude: it loads the plugin.")
    monkeypatch.setattr(claude, "ask_client", lambda _: Client("/bin/claude", "2.1.330", "not known"))
    (found,) = claude.client(scene(installed))
    assert (found.level, "does not say whether" in found.cause) == ("ok", True)


def test_how_long_a_sync_takes_is_told(installed: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "sync_times_s", lambda _: [0.0012] * 15)
    (found,) = place.syncs(scene(installed))
    assert (found.level, found.cause) == ("ok", "A sync takes 1.2 ms.")


# --- the message


def test_a_hub_that_stores_nothing_and_one_without_its_other_door_are_named(installed: Home) -> None:
    def answer(frame: wire.ControlFrame) -> list[wire.HubFrame | bytes]:
        if isinstance(frame, wire.Probe):
            return [wire.Error(id=frame.id, code=Code.STORAGE_FULL, message="The disk is full.")]
        return [hub_status(frame, installed)]

    with FakeHub(installed, answer):
        causes = [
            one.finding.cause for one in examine(scene(installed, status=status_of(installed)), {"d": message.delivery})
        ]
    assert len(causes) == 2
    assert "The disk is full" in causes[0]
    assert "agents' door" in causes[1]


def test_a_message_that_is_stored_and_not_delivered_is_named(installed: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message, "_knock", lambda _: None)

    def answer(frame: wire.ControlFrame) -> list[wire.HubFrame | bytes]:
        match frame:
            case wire.Probe():
                return [wire.Done(id=frame.id, seq=5)]
            case wire.Tail():
                return [wire.Batch(from_seq=1, to_seq=5)]
            case _:
                return [hub_status(frame, installed, head=4)]

    with FakeHub(installed, answer):
        (found,) = examine(scene(installed, status=status_of(installed)), {"d": message.delivery})
    assert "not delivered" in found.finding.cause


# --- the command


def test_the_command_prints_each_check_and_ends_with_its_status(
    run: Callable[..., Result], installed: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = run("doctor", "--quick")
    assert shown.exit_code == 0
    assert [line.split()[1] for line in shown.stdout.splitlines()[:-1]] == list(CHECKS)
    assert shown.stdout.splitlines()[-1] == "0 problems, 0 warnings"
    spoil_log(installed.root)
    failed = run("doctor", "--quick", "--json")
    assert failed.exit_code == 1
    document = json.loads(failed.stdout)
    assert document["healthy"] is False
    (problem, *_) = [one for one in document["results"] if one["level"] == "problem"]
    assert (problem["check"], bool(problem["cause"]), bool(problem["remedy"])) == ("log", True, True)
    assert {one["check"] for one in document["results"]} == set(CHECKS)
    ran: list[str] = []

    def running(name: str) -> Callable[[Scene], Iterator[Finding]]:
        def check(_: Scene) -> Iterator[Finding]:
            ran.append(name)
            return iter(())

        return check

    monkeypatch.setattr(doctor_module, "SLOW_CHECKS", {name: running(name) for name in SLOW_CHECKS})
    run("doctor")
    assert ran == list(SLOW_CHECKS)


def test_a_check_that_cannot_be_made_is_a_problem_and_the_others_go_on(data: Home) -> None:
    def broken(_: Scene) -> Iterator[Finding]:
        raise RuntimeError("unforeseen")

    results = list(examine(scene(data), {"broken": broken, "environment": CHECKS["environment"]}))
    assert [one.finding.level for one in results] == ["problem", "ok"]
    assert "unforeseen" in results[0].finding.cause


def test_the_whole_command_runs_as_a_program(data: Home) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "crosschat", "doctor", "--quick", "--json"],
        env={**os.environ, "CROSSCHAT_HOME": str(data.root)}, cwd=Path(__file__).parents[2],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout)["healthy"] is True
