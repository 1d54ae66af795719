"""A hub's whole life as a process: start, refusals, signals, kills, a full disk, its place taken, and its end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import trio

from crosschat import lock, pagewire, wire
from crosschat.core.ids import make_id
from crosschat.errors import Code
from crosschat.journal.format import encode
from crosschat.model import Reply
from tests.live.rig import Client, Control, HubProcess, Program, eventually, inspect, join
from tests.live.screen import paired

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.process]

RAISED = ("--quotas", '{"messages_per_s": 1e6, "messages_burst": 1000000}')


def contents(root: Path) -> dict[str, tuple[bytes, int, int]]:
    """Every file and directory below: bytes, mode and time of change."""
    return {
        str(path.relative_to(root)): (
            path.read_bytes() if path.is_file() else b"",
            path.lstat().st_mode,
            path.lstat().st_mtime_ns,
        )
        for path in [root, *sorted(root.rglob("*"))]
        if not path.is_socket()
    }


def log_lines(root: Path) -> list[dict[str, object]]:
    return [json.loads(line) for path in sorted((root / "log").iterdir()) for line in path.read_bytes().splitlines()]


# --- kills


@pytest.mark.slow
async def test_whatever_was_acked_survives_a_kill_in_order_and_without_a_hole(place: Path) -> None:
    root = place / "home"
    acked: dict[str, int] = {}
    with Program(root / "run" / "agents.sock") as one, Program(root / "run" / "agents.sock") as two:
        for kill in range(5):
            with HubProcess(root, "--stay", *RAISED) as hub:
                hub.started()
                async with trio.open_nursery() as nursery:
                    clients = [await join(nursery, program.connect()) for program in (one, two)]
                    for client in clients:
                        nursery.start_soon(_write_until_cut, client, kill, acked)
                    enough = len(acked) + 60 + 30 * kill
                    await eventually(lambda enough=enough: len(acked) >= enough, 20)  # type: ignore[misc]
                    hub.signal(signal.SIGKILL)
                    with trio.fail_after(5):
                        for client in clients:
                            await client.ended.wait()
                    nursery.cancel_scope.cancel()
    lines = log_lines(root)
    with HubProcess(root, "--stay") as hub:  # recovery is the hub's own word, too
        hub.started()
        lines = log_lines(root)
        status = await inspect(hub.home)
    assert status.damage == ()
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    kept = {line["content"]: line["seq"] for line in lines if line["kind"] == "message"}
    assert {text: kept.get(text) for text in acked} == acked
    for author in range(2):
        own = [text for text in acked if text.startswith(f"{author}:")]
        assert sorted(own, key=lambda text: acked[text]) == own
    written = [line["content"] for line in lines if line["kind"] == "message"]
    assert len(written) == len(set(written))


async def _write_until_cut(client: Client, kill: int, acked: dict[str, int]) -> None:
    author = client.welcome.agent
    with suppress(AssertionError, trio.TooSlowError, Exception):
        for number in range(100_000):
            text = f"{author}:{kill}:{number}"
            sent = await client.post(text, cid=text)
            acked[text] = sent.seq


async def test_after_a_kill_names_tasks_and_cursors_are_as_they_were(place: Path, nursery: trio.Nursery) -> None:
    root = place / "home"
    path = root / "run" / "agents.sock"
    with Program(path) as one, Program(path) as two:
        with HubProcess(root, "--stay") as hub:
            hub.started()
            ada, bob = await join(nursery, one.connect()), await join(nursery, two.connect())
            task = await ada.post("please do")
            other = await ada.post("read this")
            await ada.ask(wire.FlagTask(id="f", cid="f", message=task.message), wire.Done)
            await bob.ask(wire.ClaimTask(id="c", cid="c", message=task.message), wire.Done)
            await bob.until(lambda: len(bob.items) >= 2)
            await bob.send(wire.Mark(upto=other.seq))
            await bob.ask(wire.SetStatus(id="s", cid="s", status="busy", task=task.message), wire.Done)
            hub.signal(signal.SIGKILL)
            hub.wait()
        with HubProcess(root, "--stay") as hub:
            hub.started()
            again = await join(nursery, two.connect())
            assert (again.welcome.agent, again.welcome.name) == (bob.welcome.agent, bob.welcome.name)
            assert again.welcome.epoch == bob.welcome.epoch
            assert again.welcome.cursor == other.seq
            page = await again.ask(wire.Read(id="r", message=task.message), wire.Page)
            view = page.items[0].task
            assert view is not None
            assert (view.status, view.claimant_id) == ("in_progress", bob.welcome.agent)
            done = wire.ResolveTask(id="d", cid="d", message=task.message, status="completed", result="did it")
            await again.ask(done, wire.Done)
            returned = await join(nursery, one.connect())
            await returned.until(lambda: any(item.kind == "resolve" for item in returned.items))
            repeated = wire.ResolveTask(id="d2", cid="d", message=task.message, status="completed", result="did it")
            await again.ask(repeated, wire.Done)
            nursery.cancel_scope.cancel()


# --- signals


async def test_a_sigterm_says_bye_removes_what_was_there_and_leaves_everything_complete(
    place: Path, nursery: trio.Nursery
) -> None:
    root = place / "home"
    with HubProcess(root, "--stay", *RAISED) as hub:
        home = hub.started().home
        await eventually(home.dashboard_lock.exists)
        with Program(home.agents_socket) as one:
            ada = await join(nursery, one.connect())
            await ada.post("first")
            for number in range(200):
                await ada.send(wire.Send(id=f"s{number}", cid=f"s{number}", content=f"text {number}"))
            await ada.answer("s150")
            assert hub.stop() == 0
            with trio.fail_after(5):
                await ada.ended.wait()
            (bye,) = ada.said
            assert isinstance(bye, wire.Bye)
            assert bye.retry_after_ms > 0
            assert "SIGTERM" in bye.reason
        nursery.cancel_scope.cancel()
    assert not home.dashboard_lock.exists()
    assert list(home.run.iterdir()) == []
    stored = [line["content"] for line in log_lines(root) if line["kind"] == "message"]
    projected = [json.loads(line)["content"] for line in (root / "messages/general.jsonl").read_bytes().splitlines()]
    assert projected == stored
    assert len(stored) >= 152
    held = lock.try_hold(home.hub_lock)
    assert held is not None
    os.close(held)


async def test_a_second_sigterm_ends_it_at_once(place: Path) -> None:
    with HubProcess(place / "home", "--stay") as hub:
        hub.started()
        async with Control(hub.home.control_socket) as control:
            await control.ask(wire.Inspect(id="i"), wire.HubStatus)
            hub.signal(signal.SIGSTOP)  # so that both are there before it can do anything about the first
            hub.signal(signal.SIGTERM)
            hub.signal(signal.SIGINT)
            hub.signal(signal.SIGCONT)
            assert hub.wait(5) in (0, -signal.SIGINT, -signal.SIGTERM)
    with HubProcess(place / "home", "--stay") as hub:
        hub.started()
        assert (await inspect(hub.home)).damage == ()


async def test_a_stop_is_carried_out_although_who_asked_for_it_is_gone(running_hub: HubProcess) -> None:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.connect(str(running_hub.home.control_socket))
    sock.sendall(wire.encode_control(wire.Stop(id="s")) + b"\n")
    sock.close()
    assert running_hub.wait(5) == 0


# --- one hub per directory


async def test_a_second_hub_on_the_directory_refuses_with_the_pid_of_the_first(running_hub: HubProcess) -> None:
    await eventually(running_hub.home.dashboard_lock.exists)
    with HubProcess(running_hub.home.root) as second:
        said = second.ready()
        assert second.wait() == 1
    assert f"pid {running_hub.process.pid}" in str(said["error"])
    assert "crosschat stop" in str(said["error"])
    assert (await inspect(running_hub.home)).pid == running_hub.process.pid


@pytest.mark.parametrize(
    ("format_", "remedy"),
    [
        (b'{"format":9,"min_reader":9}\n', "Upgrade"),
        (b"{", "Restore it from a backup"),
        (b'{"format":"1","min_reader":true}', "Restore it from a backup"),
        (b"\xff" * 9000, "CROSSCHAT_HOME"),
        (None, "CROSSCHAT_HOME"),
    ],
    ids=["newer", "cut", "wrong types", "too large", "none, but messages"],
)
def test_a_directory_of_another_format_is_refused_with_the_remedy_and_left_untouched(
    place: Path, format_: bytes | None, remedy: str
) -> None:
    root = place / "home"
    (root / "messages" / "threads").mkdir(parents=True, mode=0o700)
    root.chmod(0o700)
    (root / "messages" / "general.jsonl").write_text('{"content":"old"}\n')
    if format_ is not None:
        (root / "FORMAT").write_bytes(format_)
    before = contents(root)
    with HubProcess(root) as hub:
        said = hub.ready()
        assert hub.wait() == 1
    assert remedy in str(said["error"])
    assert contents(root) == before


@pytest.mark.parametrize("content", [["notes.txt"], ["src", "README.md"], [".bashrc"]])
def test_a_directory_with_other_things_in_it_is_refused_and_left_as_it_was(place: Path, content: list[str]) -> None:
    root = place / "project"
    root.mkdir(mode=0o755)
    root.chmod(0o755)
    for name in content:
        (root / name).write_text("mine")
    before = contents(root)
    with HubProcess(root) as hub:
        said = str(hub.ready()["error"])
    assert "empty or new directory" in said
    assert contents(root) == before


@pytest.mark.parametrize("with_format", [False, True])
def test_a_directory_that_a_running_npm_hub_uses_is_refused_and_one_it_left_is_not(
    place: Path, with_format: bool
) -> None:
    root = place / "home"
    root.mkdir(mode=0o700)
    if with_format:
        (root / "FORMAT").write_text('{"format":1,"min_reader":1}')
    note = root / "dashboard.lock"
    note.write_text(json.dumps({"pid": os.getpid(), "port": 3000, "version": "2.0.3"}))
    before = contents(root)
    with HubProcess(root) as hub:
        assert f"npm CrossChat runs on {root}, with pid {os.getpid()}" in str(hub.ready()["error"])
    assert contents(root) == before
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    note.write_text(json.dumps({"pid": int(gone.stdout), "port": 3000, "version": "2.0.3"}))
    with HubProcess(root) as hub:
        hub.started()


# --- the documented files


async def test_questions_results_and_errors_are_in_the_documented_files_also_when_those_are_made_anew(
    place: Path, nursery: trio.Nursery
) -> None:
    root = place / "home"
    messages = root / "messages"
    with HubProcess(root, "--stay") as hub, Program(root / "run" / "agents.sock") as one:
        with Program(hub.started().home.agents_socket) as two:
            ada, bob = await join(nursery, one.connect()), await join(nursery, two.connect())
            question = await ada.post("@user may we?")
            task = await ada.post("do this")
            await ada.ask(wire.FlagTask(id="f", cid="f", message=task.message), wire.Done)
            await bob.ask(wire.ClaimTask(id="c", cid="c", message=task.message), wire.Done)
            done = wire.ResolveTask(
                id="d", cid="d", message=task.message, status="failed", result="as far as it went", error="no more"
            )
            await bob.ask(done, wire.Done)
            nursery.cancel_scope.cancel()
        assert hub.stop() == 0

    def documents() -> tuple[dict[str, object], dict[str, object]]:
        task_file = json.loads((messages / "tasks" / f"{task.message}.json").read_text())
        return task_file, json.loads((messages / "badges" / f"{question.message}.json").read_text())

    before = documents()
    found, asked = before
    assert (found["status"], found["result"], found["error"]) == ("failed", "as far as it went", "no more")
    assert asked["badges"] == [{"type": "question", "value": "true"}]
    for path in messages.rglob("*.json*"):
        path.unlink()
    with HubProcess(root, "--stay") as hub:
        hub.started()
        assert hub.stop() == 0
    assert documents() == before

    last = log_lines(root)[-1]
    seq = int(str(last["seq"])) + 1
    epoch = next(str(line["epoch"]) for line in log_lines(root) if line["kind"] == "epoch")
    answer = Reply(
        seq=seq, id=make_id("m", epoch, seq), ts=0, by="user", content="yes", source="user", root=question.message
    )
    with open(root / "log" / "000001.jsonl", "ab") as log:
        log.write(encode(answer))
    with HubProcess(root, "--stay") as hub:  # it goes on where the files end
        hub.started()
        assert hub.stop() == 0
    assert documents() == (found, asked | {"badges": [{"type": "question", "value": "answered"}]})


# --- its place is taken


@pytest.mark.parametrize("what", ["hub.lock", "agents.sock", "control.sock"])
async def test_a_hub_whose_lock_or_socket_was_replaced_stops_and_leaves_the_newcomer_s_files(
    running_hub: HubProcess, what: str
) -> None:
    home = running_hub.home
    await eventually(home.dashboard_lock.exists)
    path = home.root / what if what == "hub.lock" else home.run / what
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with sock:
        if what == "hub.lock":
            new = home.root / "new"
            new.touch(0o600)
        else:
            new = home.run / "new"
            sock.bind(str(new))
        inode = new.lstat().st_ino
        new.rename(path)
        assert running_hub.wait(10) == 0
        assert path.lstat().st_ino == inode
    assert home.dashboard_lock.exists() == (what == "hub.lock")  # with another lock it is another hub's


async def test_a_hub_whose_place_is_taken_while_it_works_acks_nothing_that_the_next_one_does_not_have(
    place: Path, nursery: trio.Nursery
) -> None:
    root = place / "home"
    acked: dict[str, int] = {}
    with HubProcess(root, "--stay", *RAISED) as old, Program(root / "run" / "agents.sock") as one:
        old.started()
        client = await join(nursery, one.connect())
        nursery.start_soon(_write_until_cut, client, 0, acked)
        await eventually(lambda: len(acked) >= 50, 20)
        for path in (root / "hub.lock", root / "run" / "agents.sock", root / "run" / "control.sock"):
            path.unlink()
        with HubProcess(root, "--stay") as new:
            new.started()
            assert old.wait(10) == 0
            with trio.fail_after(5):
                await client.ended.wait()
            kept = {line["content"]: line["seq"] for line in log_lines(root) if line["kind"] == "message"}
            assert {text: kept.get(text) for text in acked} == acked
            assert (await inspect(new.home)).pid == new.process.pid
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("spoil", ["delete", "replace", "corrupt"])
async def test_dashboard_lock_comes_back_and_the_hub_and_its_clients_notice_nothing(
    running_hub: HubProcess, nursery: trio.Nursery, spoil: str
) -> None:
    note = running_hub.home.dashboard_lock
    await eventually(note.exists)
    before = note.read_bytes()
    with Program(running_hub.home.agents_socket) as one:
        ada = await join(nursery, one.connect())
        match spoil:
            case "delete":
                note.unlink()
            case "replace":
                note.with_name("new").write_text(json.dumps({"hub_pid": 1, "pid": 1}))
                note.with_name("new").rename(note)
            case _:
                note.write_bytes(before[: len(before) // 2])
        await eventually(lambda: note.exists() and note.read_bytes() == before)
        await ada.post("still here")
        assert running_hub.stop() == 0
        nursery.cancel_scope.cancel()
    assert not note.exists()


async def test_a_hub_whose_directory_was_moved_away_stops_and_one_can_start_there(place: Path) -> None:
    root = place / "home"
    with HubProcess(root, "--stay") as hub:
        hub.started()
        root.rename(place / "elsewhere")
        with HubProcess(root, "--stay") as second:
            second.started()
            assert hub.wait(10) == 0
            assert (await inspect(second.home)).pid == second.process.pid


async def test_stale_sockets_and_notes_of_a_killed_hub_are_in_nobody_s_way(place: Path) -> None:
    root = place / "home"
    with HubProcess(root, "--stay") as hub:
        hub.started()
        await eventually(hub.home.dashboard_lock.exists)
        hub.signal(signal.SIGKILL)
        hub.wait()
    assert (root / "run" / "agents.sock").is_socket()
    with HubProcess(root, "--stay") as hub:
        hub.started()
        note = root / "dashboard.lock"
        await eventually(lambda: json.loads(note.read_text())["hub_pid"] == hub.process.pid)
        assert (await inspect(hub.home)).pid == hub.process.pid


# --- idle stop


async def test_a_hub_that_is_not_needed_ends_by_itself_and_takes_its_sockets_with_it(place: Path) -> None:
    with HubProcess(place / "home", "--idle-stop-s", "0.3") as hub:
        home = hub.started().home
        async with await trio.open_unix_socket(str(home.control_socket)) as follower:
            await follower.send_all(wire.encode_control(wire.Tail(id="t")) + b"\n")
            with pytest.raises(subprocess.TimeoutExpired):
                hub.wait(1.0)  # somebody follows
        assert hub.wait(10) == 0
    assert list(home.run.iterdir()) == []
    assert not home.dashboard_lock.exists()


# --- disk trouble


@pytest.fixture
def small_disk(place: Path) -> Iterator[Path]:
    path = place / "disk"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "tmpfs", str(path)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


async def test_on_a_full_disk_sends_are_refused_reads_go_on_and_it_recovers_by_itself(
    small_disk: Path, nursery: trio.Nursery
) -> None:
    root = small_disk / "home"
    with HubProcess(root, "--stay", *RAISED) as hub:
        home = hub.started().home
        with Program(home.agents_socket) as one, Program(home.agents_socket) as two:
            ada, bob = await join(nursery, one.connect()), await join(nursery, two.connect())
            await ada.post("before")
            filler = small_disk / "filler"
            with suppress(OSError), open(filler, "wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
            acked: list[str] = []
            for number in range(200):  # the last page of the log still has room
                text = f"{number}:" + "x" * 5000
                answer = await _try(ada, text)
                if isinstance(answer, wire.Error):
                    break
                acked.append(text)
            assert isinstance(answer, wire.Error)
            assert answer.code is Code.STORAGE_FULL
            page = await bob.ask(wire.Read(id="r"), wire.Page)
            assert page.items[-1].content == (acked[-1] if acked else "before")
            await bob.until(lambda: bob.texts() == ["before", *acked])
            filler.unlink()
            await ada.post("after")
            await bob.until(lambda: bob.texts() == ["before", *acked, "after"])
            channel = root / "messages/general.jsonl"
            await eventually(lambda: channel.exists() and b'"after"' in channel.read_bytes(), 20)
        assert hub.stop() == 0
        nursery.cancel_scope.cancel()


async def test_a_full_disk_is_said_by_status_and_page_until_there_is_room(
    small_disk: Path, nursery: trio.Nursery
) -> None:
    with HubProcess(small_disk / "home", "--stay", *RAISED) as hub:
        home = hub.started().home
        browser = await paired(home)
        with Program(home.agents_socket) as program:
            ada = await join(nursery, program.connect())
            async with browser.stream() as screen:
                assert not (await screen.next(pagewire.Hub)).storage_full

                def said() -> bool:
                    return screen.all(pagewire.Hub)[-1].storage_full

                with suppress(OSError), open(small_disk / "filler", "wb", buffering=0) as file:
                    while True:
                        file.write(bytes(4096))
                for number in range(200):
                    if isinstance(await _try(ada, f"{number}:" + "x" * 5000), wire.Error):
                        break
                await screen.until(said, 20)
                assert any("the disk is full" in notice for notice in (await inspect(home)).notices)
                (small_disk / "filler").unlink()
                await ada.post("after")
                await screen.until(lambda: not said())
                assert not any("the disk is full" in notice for notice in (await inspect(home)).notices)
        nursery.cancel_scope.cancel()


async def _try(client: Client, text: str) -> wire.HubFrame:
    request = client.next_id()
    await client.send(wire.Send(id=request, cid=text[:40], content=text))
    return await client.answer(request)


SYNC_FAILS = """
import errno, os, sys
from crosschat.hub import main
from crosschat.journal.files import RealFiles
real = RealFiles.fdatasync
def fail_when_told(self, fd):
    if os.path.exists(sys.argv[1]):
        with open(sys.argv[1], "a") as calls:
            calls.write("x")
        raise OSError(errno.EIO, "injected")
    real(self, fd)
RealFiles.fdatasync = fail_when_told
sys.exit(main.main(sys.argv[2:]))
"""


async def test_when_the_log_cannot_be_synced_nothing_is_acked_and_the_hub_leaves_with_its_own_status(
    place: Path, nursery: trio.Nursery
) -> None:
    root, trigger = place / "home", place / "fail"
    process = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", SYNC_FAILS, str(trigger), "--home", str(root), "--stay"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        path = root / "run" / "control.sock"
        await eventually(path.is_socket, 30)
        with Program(root / "run" / "agents.sock") as one, Program(root / "run" / "agents.sock") as two:
            ada, bob = await join(nursery, one.connect()), await join(nursery, two.connect())
            await ada.post("kept")
            await bob.until(lambda: bob.texts() == ["kept"])
            trigger.touch()
            await ada.send(wire.Send(id="lost", cid="lost", content="not durable"))
            with trio.fail_after(5):
                await ada.ended.wait()
                await bob.ended.wait()
            status = await trio.to_thread.run_sync(process.wait, 5)
            answer = ada._answers.get("lost")
            assert answer is None or (isinstance(answer, wire.Error) and answer.code is Code.UNAVAILABLE)
            assert bob.texts() == ["kept"]
        assert status == 74
        assert trigger.read_text() == "x"  # never tried again
        nursery.cancel_scope.cancel()
    finally:
        process.kill()
        process.wait()
    with HubProcess(root, "--stay") as hub:
        hub.started()
        assert (await inspect(hub.home)).damage == ()


# --- another user


@pytest.mark.skipif(os.getuid() != 0, reason="becoming another user needs root")
def test_another_user_cannot_connect_even_where_the_directories_would_let_it(running_hub: HubProcess) -> None:
    home = running_hub.home
    script = (
        "import os, socket, sys\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "one = socket.socket(socket.AF_UNIX)\n"
        "try:\n one.connect(sys.argv[1])\nexcept PermissionError:\n print('refused'); sys.exit()\n"
        "one.settimeout(5)\n"
        "try:\n one.sendall(sys.argv[2].encode())\n"
        " print('closed' if not one.recv(100) else 'answered')\nexcept OSError:\n print('closed')\n"
    )
    upgrade = (
        "GET /agents HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    asked = {home.agents_socket: upgrade, home.control_socket: '{"op":"inspect","id":"i"}\n'}

    def try_both() -> set[str]:
        return {
            subprocess.run(
                [sys.executable, "-c", script, str(path), asked[path]],
                capture_output=True,
                text=True,
                timeout=30,
                check=True,
            ).stdout.strip()
            for path in asked
        }

    assert try_both() == {"refused"}
    for path in (home.root.parent, home.root, home.run):
        path.chmod(0o777)
    for path in asked:
        path.chmod(0o777)
    assert try_both() == {"closed"}
