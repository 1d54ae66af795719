"""`crosschat export` with a hub and without one: the same lines, whole files, and nothing of an export that failed."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from crosschat import wire
from tests.live.rig import HELLO, HubProcess, Program, join

if TYPE_CHECKING:
    from pathlib import Path

    import trio

pytestmark = pytest.mark.process


def export(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "crosschat", "--home", str(home), "export", *arguments],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


async def talk(hub: HubProcess, nursery: trio.Nursery) -> str:
    """A conversation with a task, private and public; the id of its first message."""
    with Program(hub.home.agents_socket) as one, Program(hub.home.agents_socket) as two:
        ada = await join(
            nursery, one.connect(), wire.Hello(protocol=HELLO.protocol, version="t", cwd="/tmp", name="ada")
        )
        ben = await join(
            nursery, two.connect(), wire.Hello(protocol=HELLO.protocol, version="t", cwd="/tmp", name="ben")
        )
        first = await ada.post("hello **all**\n# not a heading \x1b[31m")
        await ben.post("a reply", thread=first.message)
        await ada.post("@ben between us")
        task = await ada.post("please")
        await ada.ask(wire.FlagTask(id="f", cid="f", message=task.message), wire.Done)
        await ben.ask(wire.ClaimTask(id="c", cid="c", message=task.message), wire.Done)
        resolve = wire.ResolveTask(id="r", cid="r", message=task.message, status="completed", result="done\nwell")
        await ben.ask(resolve, wire.Done)
        badge = wire.AddBadge(id="b", cid="b", message=first.message, badge_type="own", value="v")
        await ada.ask(badge, wire.Done)
        for client in (ada, ben):
            await client.close()
    return first.message


async def test_a_hub_and_the_log_alone_give_the_same_lines(place: Path, nursery: trio.Nursery) -> None:
    with HubProcess(place / "home", "--stay") as hub:
        hub.started()
        first = await talk(hub, nursery)
        running = export(hub.home.root)
        thread = export(hub.home.root, "--thread", first, "--until", "2100-01-01")
        marked = export(hub.home.root, "--format", "markdown", "--since", "1h")
        assert hub.stop() == 0
    alone = export(place / "home")
    assert (running.returncode, alone.returncode) == (0, 0), running.stderr + alone.stderr
    assert running.stdout == alone.stdout
    kinds = [json.loads(line)["kind"] for line in alone.stdout.splitlines()]
    assert kinds == ["message", "reply", "message", "message", "flag", "claim", "resolve", "badge"]
    assert export(place / "home", "--thread", first).stdout == thread.stdout
    assert [json.loads(line)["kind"] for line in thread.stdout.splitlines()] == ["message", "reply", "badge"]
    assert export(place / "home", "--format", "markdown").stdout == marked.stdout
    assert "> # not a heading" in marked.stdout
    assert "\x1b" not in marked.stdout
    assert marked.stdout.startswith("# CrossChat\n")
    nursery.cancel_scope.cancel()


async def test_a_file_is_new_private_and_whole_or_not_there(place: Path, nursery: trio.Nursery) -> None:
    with HubProcess(place / "home", "--stay") as hub:
        hub.started()
        await talk(hub, nursery)
        assert hub.stop() == 0
    target = place / "all.md"
    done = export(place / "home", "-o", str(target), "--json")
    assert json.loads(done.stdout) == {"file": str(target), "lines": 8, "damaged": 0}
    assert target.read_text().startswith("# CrossChat")
    assert target.stat().st_mode & 0o777 == 0o600
    again = export(place / "home", "-o", str(target))
    assert (again.returncode, "is there already" in again.stderr) == (1, True)
    assert export(place / "home", "-o", str(place / "none" / "x")).returncode == 1
    failed = export(place / "home", "-o", str(place / "t.jsonl"), "--thread", "m0-none")
    assert (failed.returncode, "there is no message" in failed.stderr) == (1, True)
    path = place / "home" / "log" / "000001.jsonl"
    path.write_bytes(path.read_bytes().replace(b"between us", b"between u5"))
    damaged = export(place / "home", "-o", str(place / "d.jsonl"))
    assert (damaged.returncode, "damaged in" in damaged.stderr) == (1, True)
    assert len((place / "d.jsonl").read_text().splitlines()) == 7
    assert {one.name for one in place.iterdir()} <= {"home", "home.stderr", "all.md", "d.jsonl"}
    nursery.cancel_scope.cancel()


def test_without_messages_there_is_nothing_to_export(place: Path) -> None:
    done = export(place / "home")
    assert (done.returncode, "no hub has run" in done.stderr) == (1, True)
    assert not (place / "home").exists()
    assert export(place / "home", "--json", "--format", "markdown").returncode == 2
