"""What a running hub tells about itself: status, figures, and a log that quotes nobody."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest
import trio

from crosschat import wire
from crosschat.paths import Home
from tests.hub.test_metrics import samples
from tests.live.rig import Control, HubProcess, Program, eventually, inspect, join
from tests.process.bridges import command, environment

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.process]


async def test_status_and_figures_tell_how_far_each_agent_is_and_what_was_done(
    running_hub: HubProcess, nursery: trio.Nursery
) -> None:
    home = running_hub.home
    with Program(home.agents_socket) as one, Program(home.agents_socket) as two:
        ada, bob = await join(nursery, one.connect()), await join(nursery, two.connect())
        for text in ("one", "two", "three"):
            sent = await ada.post(text)
        await bob.until(lambda: len(bob.items) == 3)
        await bob.ask(wire.Peers(id="p"), wire.PeerList)
        status = await inspect(home)
        told = {reader.id: reader for reader in status.readers}
        assert told.keys() == {ada.welcome.agent, bob.welcome.agent}
        assert (told[bob.welcome.agent].covered, told[bob.welcome.agent].lag) == (sent.seq, status.head - sent.seq)
        assert told[bob.welcome.agent].cursor < sent.seq
        assert status.pending == 0
        assert status.counters["joins"] == 2
        assert status.counters["frames"] >= 3
        assert status.counters["records"] >= 3
        async with Control(home.control_socket) as control:
            found = samples((await control.ask(wire.Metrics(id="m"), wire.Figures)).text)
        assert found["crosschat_log_head"] == status.head
        assert found['crosschat_agents{state="connected"}'] == 2
        assert found[f'crosschat_unread_messages{{agent="{bob.welcome.name}"}}'] == 3
        assert found['crosschat_sync_seconds{quantile="0.99"}'] > 0
        await bob.close()
        await eventually(lambda: bob.ended.is_set())
        assert {reader.id for reader in (await inspect(home)).readers} == {ada.welcome.agent}
        shown = await trio.to_thread.run_sync(command, home, "status")
        assert "records behind" in shown.stdout
        nursery.cancel_scope.cancel()


def test_top_shows_a_hub_that_comes_and_goes_and_metrics_prints_its_figures(running_hub: HubProcess) -> None:
    home = running_hub.home
    looking = subprocess.Popen(
        [sys.executable, "-m", "crosschat", "top", "--json", "--interval", "0.1"],
        env=environment(home),
        stdout=subprocess.PIPE,
    )
    try:
        assert looking.stdout is not None
        assert json.loads(looking.stdout.readline())["running"] is True
        assert samples(command(home, "metrics").stdout)["crosschat_pages"] == 0
        assert json.loads(command(home, "metrics", "--json").stdout)["crosschat_pages"] == 0
        running_hub.stop()
        while json.loads(looking.stdout.readline())["running"]:
            pass
        assert looking.poll() is None
    finally:
        looking.kill()
        looking.communicate()
    assert command(home, "metrics").returncode == 3
    shown = command(home, "top", "-n", "2", "--interval", "0.1")
    assert shown.returncode == 0
    assert shown.stdout.count("not running") == 2


CANARY: Final = "canary-7f3a"
# A hub with a defect whose exception quotes what was asked, in a peer's task and in the writer's.
DEFECTIVE: Final = """
import sys
from crosschat.hub import main, peers
from crosschat.hub.router import Router
async def read_page(router, who, frame):
    try:
        raise KeyError(frame)
    except KeyError as error:
        raise RuntimeError(f"cannot read {frame}") from error
peers.read_page = read_page
real = Router.decide
def decide(self, who, frame, slot):
    if getattr(frame, "content", "").startswith("break"):
        raise ValueError(frame)
    return real(self, who, frame, slot)
Router.decide = decide
sys.exit(main.main(sys.argv[1:]))
"""


async def test_the_log_holds_nothing_that_was_said_asked_or_set(place: Path, nursery: trio.Nursery) -> None:
    root = place / "home"
    home = Home(root)
    ready, report = os.pipe()
    with open(place / "stderr", "wb") as errors:
        hub = subprocess.Popen(  # noqa: ASYNC220
            [sys.executable, "-c", DEFECTIVE, "--home", str(root), "--stay", "--ready-fd", str(report)],
            env={**environment(home), "SECRET": f"{CANARY}-env"},
            stderr=errors,
            pass_fds=[report],
        )
    os.close(report)
    try:
        assert b"pid" in await trio.to_thread.run_sync(os.read, ready, 4096)
        with Program(home.agents_socket) as one:
            ada = await join(nursery, one.connect())
            sent = await ada.post(f"{CANARY}-text")
            await ada.send(wire.Send(id="m", cid="m", content="x", metadata={CANARY: f"{CANARY}-metadata"}))
            await ada.send(wire.SetStatus(id="s", cid="s", status="busy", detail=f"{CANARY}-detail"))
            await ada.send(
                wire.AddBadge(id="b", cid="b", message=sent.message, badge_type="x", value=f"{CANARY}-badge")
            )
            await ada.socket.send_message(json.dumps({"type": "send", "id": "g", CANARY: f"{CANARY}-field"}))
            await ada.send(wire.Send(id="d", cid="d", content=f"break {CANARY}"))
            assert isinstance(await ada.answer("d"), wire.Error)
            await ada.send(wire.Read(id="r", message=f"{CANARY}-id"))  # which costs the connection, here
            with trio.fail_after(5):
                await ada.ended.wait()
        async with Control(home.control_socket) as control:
            await control.write(b'{"op":"session","id":"1","event":"prompt","session":"' + CANARY.encode() + b'"}\n')
            await control.frame()
            await control.write(b'{"op":"' + CANARY.encode() + b'"}\n')
            await control.frame()
            asked = json.dumps({"tool_name": "Bash", "tool_input": {"command": f"echo {CANARY}-tool"}}).encode()
            await control.write(b'{"op":"permission","id":"2","bytes":%d}\n' % len(asked) + asked)
            await control.frame()
        hub.terminate()
        assert await trio.to_thread.run_sync(hub.wait) == 0
    finally:
        hub.kill()
        hub.wait()
        os.close(ready)
    nursery.cancel_scope.cancel()
    written = b"".join(path.read_bytes() for path in home.logs.iterdir())
    events = [json.loads(line) for line in written.splitlines()]
    assert {"contained", "defect"} <= {event.get("event") for event in events}
    assert any("RuntimeError" in event.get("exception", "") and "read_page" in event["exception"] for event in events)
    assert any("KeyError" in event.get("exception", "") for event in events)
    assert CANARY.encode() not in written
    assert CANARY.encode() not in (place / "stderr").read_bytes()
    assert CANARY.encode() in (root / "log" / "000001.jsonl").read_bytes()  # where it belongs
