"""Servers that come from the template: the same to client and hub as one that was started plainly, or it is started so.

The hub is a listening socket here: what matters is whom the kernel names at its other end.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pytest
import trio

import crosschat
from crosschat import lock
from crosschat.bridge import launcher, template
from crosschat.bridge.handover import Launcher
from crosschat.bridge.tools import TOOLS
from crosschat.processes import peer_credentials
from tests.live.rig import short_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

CHECKOUT = Path(__file__).parents[2]
PLAIN = (sys.executable, "-c", "print('started plainly', flush=True)")
WAIT_S = 30.0


def until(condition: Callable[[], bool], what: str) -> None:
    give_up_at = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < give_up_at, f"waited in vain for {what}"
        time.sleep(0.01)


class Place:
    """A run directory, with a socket where the hub's would be."""

    def __init__(self, root: Path) -> None:
        self.run, self.nowhere = root / "run", root / "no-directory"
        self.run.mkdir(mode=0o700)
        self.nowhere.touch()
        self.hub = socket.socket(socket.AF_UNIX)
        self.hub.bind(os.fspath(self.run / "agents.sock"))
        self.hub.listen()
        self.hub.settimeout(WAIT_S)
        self._started: list[subprocess.Popen[bytes]] = []

    def close(self) -> None:
        for process in self._started:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                pipe(stream).close()
        self.hub.close()

    @property
    def socket(self) -> Path:
        return self.run / "template.sock"

    def template(self) -> subprocess.Popen[bytes]:
        """A template that listens."""
        process = self._start([sys.executable, "-m", "crosschat.bridge.template", os.fspath(self.socket)], CHECKOUT)

        def listens() -> bool:
            assert process.poll() is None
            with socket.socket(socket.AF_UNIX) as probe:
                return probe.connect_ex(os.fspath(self.socket)) == 0

        until(listens, "the template")
        return process

    def session(self, *, cwd: Path | None = None, program: str = launcher.__file__) -> subprocess.Popen[bytes]:
        """What a client starts."""
        command = [sys.executable, "-I", "-S", program, os.fspath(self.socket), *PLAIN]
        return self._start(command, cwd or self.run)

    def _start(self, command: list[str], cwd: Path) -> subprocess.Popen[bytes]:
        environment = {
            "PATH": os.environ["PATH"],
            "CROSSCHAT_HOME": os.fspath(self.nowhere),  # no hub can be started there
            "CROSSCHAT_HUB_URL": f"unix:{self.run}",
        }
        process = subprocess.Popen(
            command, cwd=cwd, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self._started.append(process)
        return process

    def caller(self) -> int:
        """The pid that the kernel names for the next connection to the hub."""
        connection, _ = self.hub.accept()
        with connection:
            return peer_credentials(connection).pid


@pytest.fixture
def place() -> Iterator[Place]:
    with short_directory() as root:
        made = Place(root)
        try:
            yield made
        finally:
            made.close()


def pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


def ask(session: subprocess.Popen[bytes], number: int, method: str, params: Mapping[str, object]) -> dict[str, Any]:
    message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
    pipe(session.stdin).write(json.dumps(message).encode() + b"\n")
    pipe(session.stdin).flush()
    answer: dict[str, Any] = json.loads(pipe(session.stdout).readline())
    assert answer["id"] == number
    return answer


def begin(session: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
    client = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    assert ask(session, 1, "initialize", client)["result"]["serverInfo"]["name"] == "crosschat"
    return session


def goes_plainly(session: subprocess.Popen[bytes]) -> bool:
    said = pipe(session.stdout).readline()
    return session.wait(WAIT_S) == 0 and said == b"started plainly\n"


@pytest.mark.process
def test_a_session_from_the_template_has_the_ten_tools_and_is_the_launcher_to_the_hub(place: Place) -> None:
    place.template()
    sessions = [begin(place.session()) for _ in range(3)]
    assert {place.caller() for _ in sessions} <= {session.pid for session in sessions}
    for session in sessions:
        listed = ask(session, 2, "tools/list", {})["result"]["tools"]
        assert [tool["name"] for tool in listed] == [tool.name for tool in TOOLS]


@pytest.mark.process
def test_a_hub_that_comes_back_finds_the_launcher_again(place: Place) -> None:
    place.template()
    session = begin(place.session())
    assert [place.caller() for _ in range(2)] == [session.pid] * 2  # each connection is ended, and dialled anew


@pytest.mark.process
def test_the_server_works_where_the_launcher_was_started_with_what_it_was_given(place: Place) -> None:
    place.template()
    elsewhere = place.run / "a place with spaces"
    elsewhere.mkdir()
    (server,) = servers_of(place, place.session(cwd=elsewhere))
    assert Path(f"/proc/{server}/cwd").resolve() == elsewhere.resolve()


def servers_of(place: Place, session: subprocess.Popen[bytes]) -> list[int]:
    """The processes that serve on the session's standard input."""
    begin(session)
    ours = os.readlink(f"/proc/{session.pid}/fd/0")
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) not in (session.pid, os.getpid()):
            try:
                held = {os.readlink(descriptor) for descriptor in (entry / "fd").iterdir()}
            except OSError:
                continue
            if ours in held:
                found.append(int(entry.name))
    return found


@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_launcher_ends_both(place: Place, number: signal.Signals) -> None:
    place.template()
    session = place.session()
    (server,) = servers_of(place, session)
    session.send_signal(number)
    assert session.wait(WAIT_S) == 0
    until(lambda: not Path(f"/proc/{server}").exists(), "the end of the server")


@pytest.mark.process
def test_the_server_ends_with_its_standard_input(place: Place) -> None:
    place.template()
    session = begin(place.session())
    pipe(session.stdin).close()
    assert session.wait(WAIT_S) == 0


@pytest.mark.process
def test_a_killed_launcher_takes_its_server_along_although_the_pipe_stays_open(place: Place) -> None:
    place.template()
    session = place.session()
    (server,) = servers_of(place, session)
    session.kill()
    until(lambda: not Path(f"/proc/{server}").exists(), "the end of the server")


@pytest.mark.process
def test_a_killed_server_ends_its_launcher_with_an_error(place: Place) -> None:
    place.template()
    session = place.session()
    (server,) = servers_of(place, session)
    os.kill(server, signal.SIGKILL)
    assert session.wait(WAIT_S) == launcher.LOST


@pytest.mark.process
def test_sessions_outlive_the_template(place: Place) -> None:
    process = place.template()
    session = begin(place.session())
    process.kill()
    process.wait(WAIT_S)
    assert len(ask(session, 2, "tools/list", {})["result"]["tools"]) == len(TOOLS)
    assert lock.try_hold(template.lock_of(place.socket)) is not None  # no server keeps it from the next one


@pytest.mark.process
def test_a_second_template_leaves_the_place_to_the_first_and_takes_it_after_a_crash(place: Place) -> None:
    first = place.template()
    second = subprocess.run(first.args, cwd=CHECKOUT, capture_output=True, timeout=WAIT_S, check=False)
    assert (second.returncode, second.stdout, second.stderr) == (0, b"", b"")
    first.kill()
    first.wait(WAIT_S)
    place.template()
    begin(place.session())


# --- the plain way


@pytest.mark.process
def test_without_a_template_a_session_starts_plainly(place: Place) -> None:
    assert goes_plainly(place.session())


@pytest.mark.process
def test_a_launcher_of_another_installation_starts_plainly(place: Place) -> None:
    place.template()
    copy = place.run / "launcher.py"
    copy.write_bytes(Path(launcher.__file__).read_bytes())
    assert goes_plainly(place.session(program=os.fspath(copy)))


@pytest.mark.process
@pytest.mark.parametrize("answer", [b"", b"?", None], ids=["leaves", "speaks otherwise", "is silent"])
def test_a_listener_that_is_no_template_is_passed_by(place: Place, answer: bytes | None) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(place.socket))
        listener.listen()
        listener.settimeout(WAIT_S)
        session = place.session()
        connection, _ = listener.accept()
        with connection:
            if answer:
                connection.sendall(answer)
            if answer is not None:
                connection.shutdown(socket.SHUT_RDWR)
            assert goes_plainly(session)


@pytest.mark.process
def test_what_is_no_launcher_costs_the_template_nothing(place: Place) -> None:
    place.template()
    for said in (b"", b"\xff\xff\xff\xff", b"\0\0\0\1x", os.urandom(300)):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(os.fspath(place.socket))
            client.sendall(said)
            client.shutdown(socket.SHUT_WR)
            client.settimeout(WAIT_S)
            assert client.recv(1) == b""
    begin(place.session())


def test_a_template_is_not_valid_any_more_when_code_lock_or_socket_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "template.sock"
    held = lock.try_hold(template.lock_of(path))
    assert held is not None
    with template.listen(path) as listener:
        made = template.Template(listener, path, held, template.code_stamp(), lambda _: 0)
        assert made.valid
        with monkeypatch.context() as changed:
            changed.setattr(template, "code_stamp", lambda: "other")
            assert not made.valid
        assert made.valid
        path.rename(tmp_path / "moved")
        assert not made.valid
        (tmp_path / "moved").rename(path)
        assert made.valid
        template.lock_of(path).unlink()
        assert not made.valid
    os.close(held)


def test_the_stamp_is_of_every_file_of_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = tmp_path / "inner" / "module.py"
    module.parent.mkdir()
    module.touch()
    monkeypatch.setattr(crosschat, "__file__", os.fspath(tmp_path / "__init__.py"))
    before = template.code_stamp()
    assert before == template.code_stamp()
    os.utime(module, ns=(1, 1))
    assert template.code_stamp() != before


# --- dialling

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def sockets() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


async def test_a_dial_is_answered_with_a_connection_or_with_the_error(sockets: Pair) -> None:
    with short_directory() as place:
        ours, theirs = sockets
        standing = threading.Thread(target=stand, args=(theirs,))
        standing.start()
        made = Launcher(ours)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(os.fspath(place / "there"))
        listener.listen()
        with trio.fail_after(WAIT_S), listener:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(made.attend)
                async with await made.dial(place / "there") as stream:
                    await stream.send_all(b"hello")
                with pytest.raises(FileNotFoundError):
                    await made.dial(place / "nowhere")
                with pytest.raises(OSError, match="too long"):
                    await made.dial(place / ("x" * 300))
                (place / "file").touch()
                with pytest.raises(ConnectionRefusedError):
                    await made.dial(place / "file")
                made.tell_status(7)
                await trio.to_thread.run_sync(standing.join)
                theirs.shutdown(socket.SHUT_RDWR)
        assert statuses == [7]


statuses: list[int] = []


def stand(server: socket.socket) -> None:
    statuses.append(launcher.stand_for(server))


async def test_a_cancelled_dial_leaves_nothing_open(sockets: Pair, nursery: trio.Nursery) -> None:
    ours, theirs = sockets
    made = Launcher(ours)
    nursery.start_soon(made.attend)
    with trio.move_on_after(0):
        await made.dial("/nowhere/first")
    reader, writer = os.pipe()
    late = launcher.ANSWER + bytes([made.calls]) + b"\0"
    theirs.sendmsg([late], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, writer.to_bytes(4, sys.byteorder))])
    os.close(writer)
    with trio.fail_after(WAIT_S):  # the pipe ends when the last copy of its writing end is closed
        async with trio.lowlevel.FdStream(reader) as stream:
            assert await stream.receive_some() == b""
    nursery.cancel_scope.cancel()


async def test_a_launcher_that_leaves_ends_the_attendance(sockets: Pair) -> None:
    ours, theirs = sockets
    theirs.close()
    with trio.fail_after(WAIT_S):
        await Launcher(ours).attend()
