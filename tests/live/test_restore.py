"""An older copy of the log in the place of the newer one, as after restoring a backup: the hub says so and goes on."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import attrs
import pytest
import trio

from crosschat import wire
from tests.live.rig import HELLO, HubProcess, Program, inspect, join

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.process


async def test_an_older_log_beside_a_newer_index_begins_a_new_epoch_and_who_resumes_is_told(place: Path) -> None:
    root, copy = place / "home", place / "copy"
    path = root / "run" / "agents.sock"
    with Program(path) as one, Program(path) as two:
        with HubProcess(root, "--stay") as hub:
            hub.started()
            async with trio.open_nursery() as nursery:
                ada = await join(nursery, one.connect())
                await join(nursery, two.connect())
                await ada.post("kept", cid="kept")
                nursery.cancel_scope.cancel()
            assert hub.stop() == 0
        shutil.copytree(root / "log", copy)
        with HubProcess(root, "--stay") as hub:
            hub.started()
            async with trio.open_nursery() as nursery:
                ada, bob = await join(nursery, one.connect()), await join(nursery, two.connect())
                for number in range(3):
                    await ada.post(f"lost {number}", cid=f"lost {number}")
                await bob.until(lambda: "lost 2" in bob.texts())
                nursery.cancel_scope.cancel()
            before = await inspect(hub.home)
            assert before.epoch == bob.welcome.epoch
            assert hub.stop() == 0
        shutil.rmtree(root / "log")
        copy.rename(root / "log")

        with HubProcess(root, "--stay") as hub:
            hub.started()
            status = await inspect(hub.home)  # nobody has resumed yet
            assert status.epoch != before.epoch
            assert status.head < before.head
            assert status.damage == ()
            assert any("restored from a copy" in notice for notice in status.notices)
            async with trio.open_nursery() as nursery:
                hello = attrs.evolve(HELLO, epoch=before.epoch, after_seq=bob.told)
                again, other = await join(nursery, two.connect(), hello), await join(nursery, one.connect())
                assert (again.welcome.agent, again.welcome.epoch) == (bob.welcome.agent, status.epoch)
                assert any("messages after that copy are gone" in notice for notice in again.welcome.notices)
                sent = await other.post("new", cid="new")
                await again.until(lambda: "new" in again.texts())
                assert not any("lost" in text for text in again.texts())
                page = await again.ask(wire.Read(id="r", message=sent.message), wire.Page)
                assert page.items[0].content == "new"
                nursery.cancel_scope.cancel()
            assert hub.stop() == 0
    channel = [json.loads(line) for line in (root / "messages" / "general.jsonl").read_text().splitlines()]
    assert [line["content"] for line in channel] == ["kept", "new"]

    with HubProcess(root, "--stay") as hub:  # it has been said once
        hub.started()
        later = await inspect(hub.home)
        assert (later.epoch, later.notices) == (status.epoch, ())
