"""The kernel refuses what a real hub asks of it: `strace` makes single system calls of its process fail.

Only calls on the log are hit (`-P`), from the moment on that the strace attaches. Nothing is acked that the next start
does not have, the hub leaves with its own status after a failed sync and never syncs again, and after a failed write it
goes on by itself.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from crosschat import wire
from crosschat.errors import Code
from tests.live.rig import Client, HubProcess, Program, inspect, join

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.process]
ATTACH_S = 30.0


@pytest.fixture(autouse=True)
def _strace() -> None:
    if shutil.which("strace") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("strace is missing")
        pytest.skip("strace is missing")


@contextmanager
def injected(hub: HubProcess, what: str, trace: Path) -> Iterator[subprocess.Popen[str]]:
    """`strace` on the hub, which injects `what` into calls on its last segment, until the block ends."""
    segment = max((hub.home.root / "log").iterdir())
    name = what.partition(":")[0]
    command = ["strace", "-f", "-p", str(hub.process.pid), "-o", str(trace), "-P", str(segment)]
    process = subprocess.Popen(
        [*command, "-e", f"trace={name}", "-e", f"inject={what}"], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    line = process.stderr.readline()  # "Process … attached", once every thread is
    if "attached" not in line:
        process.kill()
        process.wait()
        pytest.skip(f"strace may not attach here: {line.strip()}")
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(ATTACH_S)
        process.stderr.close()


async def try_to_post(client: Client, text: str) -> wire.HubFrame | None:
    """The answer; None if the connection ended before one came."""
    await client.send(wire.Send(id=text, cid=text, content=text))
    try:
        return await client.answer(text)
    except AssertionError:
        return None


async def kept(root: Path) -> tuple[list[str], tuple[wire.DamageView, ...]]:
    """The texts that a new hub has, and what it calls damaged."""
    with HubProcess(root, "--stay") as hub, Program(root / "run" / "agents.sock") as program:
        hub.started()
        async with trio.open_nursery() as nursery:
            client = await join(nursery, program.connect())
            page = await client.ask(wire.Read(id="r", limit=100), wire.Page)
            status = await inspect(hub.home)
            nursery.cancel_scope.cancel()
    return [item.content for item in page.items], status.damage


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
async def test_a_sync_that_the_kernel_fails_ends_the_hub_without_an_ack(place: Path, error: str) -> None:
    root, trace = place / "home", place / "trace"
    with HubProcess(root, "--stay") as hub, Program(root / "run" / "agents.sock") as program:
        hub.started()
        async with trio.open_nursery() as nursery:
            client = await join(nursery, program.connect())
            await client.post("before")
            with injected(hub, f"fdatasync:error={error}", trace):
                answer = await try_to_post(client, "lost")
                assert await trio.to_thread.run_sync(hub.wait) == 74
            nursery.cancel_scope.cancel()
    assert answer is None or (isinstance(answer, wire.Error) and answer.code is Code.UNAVAILABLE)
    assert trace.read_text().count("fdatasync(") == 1
    texts, damage = await kept(root)
    assert texts in (["before"], ["before", "lost"])
    assert damage == ()


@pytest.mark.parametrize(
    ("error", "code"), [("ENOSPC", Code.STORAGE_FULL), ("EROFS", Code.STORAGE_FULL), ("EIO", Code.INTERNAL)]
)
async def test_a_write_that_the_kernel_fails_is_refused_and_the_next_one_is_kept(
    place: Path, error: str, code: Code
) -> None:
    root, trace = place / "home", place / "trace"
    with HubProcess(root, "--stay") as hub, Program(root / "run" / "agents.sock") as program:
        hub.started()
        async with trio.open_nursery() as nursery:
            client = await join(nursery, program.connect())
            await client.post("before")
            with injected(hub, f"write:error={error}:when=1", trace):
                answer = await try_to_post(client, "refused")
                assert isinstance(answer, wire.Error)
                assert answer.code is code
                page = await client.ask(wire.Read(id="r", limit=100), wire.Page)  # reads go on
                assert [item.content for item in page.items] == ["before"]
            await client.post("after")  # not before: each thread has a first write of its own
            nursery.cancel_scope.cancel()
        assert hub.stop() == 0
    texts, damage = await kept(root)
    assert texts == ["before", "after"]
    assert damage == ()


async def test_a_write_that_the_kernel_fails_and_that_cannot_be_undone_ends_the_hub(place: Path) -> None:
    root, trace = place / "home", place / "trace"
    with HubProcess(root, "--stay") as hub, Program(root / "run" / "agents.sock") as program:
        hub.started()
        async with trio.open_nursery() as nursery:
            client = await join(nursery, program.connect())
            await client.post("before")
            segment = max((root / "log").iterdir())
            process = subprocess.Popen(  # noqa: ASYNC220
                ["strace", "-f", "-p", str(hub.process.pid), "-o", str(trace), "-P", str(segment), "-e",
                 "trace=write,ftruncate", "-e", "inject=write:error=ENOSPC", "-e", "inject=ftruncate:error=EIO"],
                stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
            assert process.stderr is not None
            attached = process.stderr.readline()
            if "attached" not in attached:
                process.kill()
                pytest.skip(f"strace may not attach here: {attached.strip()}")
            answer = await try_to_post(client, "lost")
            assert await trio.to_thread.run_sync(hub.wait) == 74
            process.wait(ATTACH_S)
            process.stderr.close()
            nursery.cancel_scope.cancel()
    assert answer is None or (isinstance(answer, wire.Error) and answer.code is Code.UNAVAILABLE)
    assert (await kept(root)) == (["before"], ())
