"""The real process, driven over its pipes: by the official client in both eras, and by hand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from crosschat.bridge.tools import BUDGET_BYTES, TOOLS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

pytestmark = pytest.mark.process

CHECKOUT = Path(__file__).parents[2]
RUN = "import sys; from crosschat.bridge.main import main; sys.exit(main())"
NO_HUB = "unix:/nowhere/at/all"
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    """A data directory of its own, in which no hub can be started: its root is a file."""
    with tempfile.NamedTemporaryFile(prefix="cc-") as file:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("CROSSCHAT", "CLAUDE"))}
        yield {**kept, "CROSSCHAT_HOME": file.name, "PYTHONPATH": str(CHECKOUT)}


def bridge(environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", RUN],
        env=dict(environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def tell(process: subprocess.Popen[bytes], *messages: object) -> None:
    assert process.stdin is not None
    for message in messages:
        process.stdin.write(json.dumps(message).encode() + b"\n")
    process.stdin.flush()


def hear(process: subprocess.Popen[bytes]) -> dict[str, object]:
    assert process.stdout is not None
    answer = json.loads(process.stdout.readline())
    assert isinstance(answer, dict)
    return answer


@pytest.mark.parametrize(("mode", "version"), [("legacy", "2025-11-25"), ("auto", "2026-07-28")])
async def test_the_official_client_finds_and_calls_the_ten_tools(
    environment: dict[str, str], mode: str, version: str
) -> None:
    server = StdioServerParameters(command=sys.executable, args=["-c", RUN], env=environment)
    with trio.fail_after(30):
        async with Client(stdio_client(server), mode=mode) as client:
            assert client.protocol_version == version
            assert client.server_info is not None
            assert client.server_info.name == "crosschat"
            listed = await client.list_tools()
            assert [tool.name for tool in listed.tools] == [tool.name for tool in TOOLS]
            text = listed.model_dump_json(by_alias=True, exclude_none=True) + str(client.instructions)
            assert len(text.encode()) < BUDGET_BYTES
            reported: list[float] = []

            async def report(progress: float, total: float | None, message: str | None) -> None:
                reported.append(progress)

            waited = await client.call_tool("wait_for_messages", {"timeoutMs": 50}, progress_callback=report)
            assert waited.structured_content is None
            assert not waited.is_error
            (content,) = waited.content
            assert content.type == "text"
            reply = json.loads(content.text)
            assert "CROSSCHAT_HOME" in reply.pop("why")
            assert reply == {"received": False, "reason": "timeout", "hub": "away"}
            assert reported == [0]
            failed = await client.call_tool("send_message", {"content": "hello"})
            assert failed.is_error
            (content,) = failed.content
            assert content.type == "text"
            assert "CROSSCHAT_HOME" in content.text


def test_it_ends_with_its_input(environment: dict[str, str]) -> None:
    process = bridge(environment)
    tell(process, INITIALIZE)
    assert hear(process)["id"] == 1
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (0, b"", b"")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_while_the_input_stays_open_and_a_wait_is_under_way(
    environment: dict[str, str], number: signal.Signals
) -> None:
    process = bridge(environment)
    call = {"name": "wait_for_messages", "arguments": {}, "_meta": {"progressToken": 9}}
    tell(process, INITIALIZE, {"jsonrpc": "2.0", "method": "notifications/initialized"})
    tell(process, {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": call})
    assert hear(process)["id"] == 1
    assert hear(process)["method"] == "notifications/progress"
    process.send_signal(number)
    assert process.wait(10) == 0
    _, err = process.communicate()
    assert err == b""


def test_garbage_is_answered_and_the_next_message_served(environment: dict[str, str]) -> None:
    process = bridge(environment)
    assert process.stdin is not None
    process.stdin.write(b"garbage\n")
    tell(process, INITIALIZE)
    answers = [hear(process), hear(process)]
    assert {answer["id"] for answer in answers} == {None, 1}
    process.communicate(timeout=10)


def test_a_client_that_is_gone_ends_it(environment: dict[str, str]) -> None:
    process = bridge(environment)
    assert process.stdout is not None
    process.stdout.close()
    tell(process, INITIALIZE)
    assert process.wait(10) == 0
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.close()
    process.stderr.close()


BAD = [
    ({"CROSSCHAT_NAME": "two words"}, "CROSSCHAT_NAME"),
    ({"CROSSCHAT_CWD": "/no/such/place"}, "CROSSCHAT_CWD"),
    ({"CROSSCHAT_HUB_URL": "tcp:1"}, "CROSSCHAT_HUB_URL"),
    ({"CROSSCHAT_DASHBOARD_PORT": "x"}, "CROSSCHAT_DASHBOARD_PORT"),
]


@pytest.mark.parametrize(("wrong", "variable"), BAD, ids=lambda value: str(value)[:24])
def test_a_bad_variable_is_one_line_that_names_it(
    environment: dict[str, str], wrong: dict[str, str], variable: str
) -> None:
    process = bridge({**environment, **wrong})
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out) == (2, b"")
    assert variable in err.decode()
    assert err.count(b"\n") == 1


def test_a_closed_stdout_is_one_line(environment: dict[str, str]) -> None:
    command = f"exec {sys.executable} -c '{RUN}' >&-"
    done = subprocess.run(["/bin/sh", "-c", command], env=environment, capture_output=True, timeout=10, check=False)
    assert done.returncode == 2
    assert b"stdin and stdout" in done.stderr
    assert done.stderr.count(b"\n") == 1


CLAUDE = """
import os, subprocess, sys, time
child = subprocess.Popen(["/bin/sh", "-c", "exec " + sys.argv[1]], stdin=int(sys.argv[2]), close_fds=False)
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="names a process by its executable in /proc")
def test_it_ends_when_claude_is_killed_though_the_pipe_stays_open(environment: dict[str, str], tmp_path: Path) -> None:
    """A stand-in named `claude`, killed while somebody else holds the writing end of the bridge's stdin."""
    claude = tmp_path / "claude"
    base = Path(sys.executable).resolve()
    claude.write_bytes(base.read_bytes())
    claude.chmod(0o755)
    program = tmp_path / "bridge.py"
    program.write_text(RUN)
    read, write = os.pipe()
    inherited = {**environment, "PYTHONHOME": str(base.parents[1])}
    command = [str(claude), "-c", CLAUDE, f"env -u PYTHONHOME {sys.executable} {program}", str(read)]
    parent = subprocess.Popen(command, env=inherited, pass_fds=(read,), stdout=subprocess.PIPE)
    assert parent.stdout is not None
    try:
        pid = int(parent.stdout.readline())
        handle = os.pidfd_open(pid)
        os.write(write, json.dumps(INITIALIZE).encode() + b"\n")
        assert b'"id":1' in parent.stdout.readline()
        parent.kill()

        async def gone() -> None:
            with trio.fail_after(5):
                await trio.lowlevel.wait_readable(handle)

        trio.run(gone)
        os.close(handle)
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
        os.close(read)
        os.close(write)
