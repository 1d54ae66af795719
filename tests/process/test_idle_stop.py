"""A client that comes while a hub decides that nobody needs it: at every step of its end, and around the deadline.

No client sees an error, and what it sends is stored once. At a gate the hub stands still, as if the scheduler had
taken the processor away there, until the clients have found it as it is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
import trio

from crosschat import websocket, wire
from crosschat.bridge import calls, client, launch, tools
from crosschat.bridge.main import open_session
from crosschat.bridge.waiting import Call
from crosschat.cli.control import new_id, running_hub
from crosschat.cli.lifecycle import stop_hub
from crosschat.paths import Configuration, Home
from tests.live.rig import ROOT, START_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.process]

GATED: Final = """
import atexit, os, sys
from pathlib import Path
from crosschat.hub import lock, main, peers, sockets, succession, tree
from crosschat.journal.store import Log
step, said, go = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

def gate(name):
    if name == step:
        os.write(said, b"+")
        os.read(go, 1)

def gated(owner, attribute, before=None, after=None):
    real = getattr(owner, attribute)
    def wrapped(*arguments, **named):
        if before:
            gate(before)
        result = real(*arguments, **named)
        if after:
            gate(after(arguments) if callable(after) else after)
        return result
    setattr(owner, attribute, wrapped)

gated(tree.Hub, "stop", before="decided")
gated(peers.Doorway, "farewell", after="told")
gated(lock.NoteFile, "withdraw", before="cancelled", after="note removed")
gated(Path, "unlink", after=lambda arguments: f"{arguments[0].name} unlinked")
gated(sockets.Door, "close", after=lambda arguments: f"{arguments[0].path.name} closed")
gated(main, "save_index", before="log complete")
gated(Log, "close", before="index saved", after="log closed")
gated(succession.Succession, "hand_over", after="gone")
atexit.register(gate, "exit")
sys.exit(main.main(sys.argv[4:]))
"""
STEPS: Final = (
    "decided", "told", "cancelled", "note removed", "agents.sock unlinked", "agents.sock closed",
    "control.sock unlinked", "control.sock closed", "log complete", "index saved", "log closed", "gone", "exit",
)  # fmt: skip


class Clients:
    """A command and a bridge that come at the same time; each sends one message. `met` is set when both have found the
    hub in the state it is in."""

    def __init__(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        self.configuration = Configuration(home=home)
        # Slow is not broken, and a wait for what cannot come any more would be: it never ends here.
        for module in (client, websocket):
            monkeypatch.setattr(module, "HELLO_DEADLINE_S", 1e6)
        for module in (calls, client):
            monkeypatch.setattr(module, "TOOL_DEADLINE_S", START_S)
        self.failures: list[str] = []
        self.began_at: list[float] = []
        self._met = {name: threading.Event() for name in ("command", "bridge")}
        self._threads = [
            threading.Thread(target=self._contained, args=[work], name=name)
            for name, work in (("command", self._command), ("bridge", self._bridge))
        ]
        self._report(monkeypatch, launch, "answers", lambda found: found is not None)
        self._report(monkeypatch, launch, "_take_lock", lambda found: found is None)
        self._report(monkeypatch, websocket, "_check_peer", lambda _: True)  # the bridge's connection is there

    def _report(self, patch: pytest.MonkeyPatch, owner: object, name: str, tells: Callable[[object], bool]) -> None:
        real = getattr(owner, name)

        def reporting(*arguments: object, **named: object) -> object:
            found = real(*arguments, **named)
            thread = threading.current_thread().name
            if tells(found):
                self._met["command" if thread == "command" else "bridge"].set()
            return found

        patch.setattr(owner, name, reporting)

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def meet(self) -> None:
        """Wait until both have seen it."""
        for name, met in self._met.items():
            assert met.wait(START_S), name

    def join(self) -> None:
        for thread in self._threads:
            thread.join(START_S)
            assert not thread.is_alive()

    def _contained(self, work: Callable[[], None]) -> None:
        self.began_at.append(time.time())
        try:
            work()
        except Exception as error:
            self.failures.append(f"{threading.current_thread().name}: {error!r}")

    def _command(self) -> None:
        with running_hub(self.configuration) as control:
            control.ask(wire.Send(id=new_id(), cid=new_id(), content="from the command"), wire.Sent)

    def _bridge(self) -> None:
        async def report(*_: object) -> None:
            await trio.lowlevel.checkpoint()

        async def call() -> None:
            session = open_session(self.configuration, Path("/tmp"))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(session.link.run)
                reply = await tools.answer(session, "send_message", {"content": "from the bridge"}, Call(1, report))
                if reply.failed:
                    self.failures.append(f"bridge: {reply.text}")
                nursery.cancel_scope.cancel()

        trio.run(call)


def stored(home: Home) -> list[str]:
    lines = [json.loads(line) for line in (home.root / "log" / "000001.jsonl").read_bytes().splitlines()]
    return sorted(line["content"] for line in lines if line["kind"] == "message")


@contextmanager
def gated_hub(home: Home, step: str) -> Iterator[Callable[[], None]]:
    """A hub that nobody needs, standing at that step of its end. Gives the function that lets it go on."""
    said, say = os.pipe()
    hear, go = os.pipe()
    ready, report = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", GATED, step, str(say), str(hear), "--home", str(home.root), "--idle-stop-s", "0.5",
         "--ready-fd", str(report)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        pass_fds=[say, hear, report],
    )  # fmt: skip
    for descriptor in (say, hear, report):
        os.close(descriptor)
    try:
        assert os.read(ready, 4096)
        assert os.read(said, 1) == b"+", "it ended without that step"
        yield lambda: os.close(go)
        assert process.wait(START_S) == 0
    finally:
        process.kill()
        process.wait()
        os.close(said)
        os.close(ready)
        stop_hub(home, force=True)


@pytest.mark.parametrize("step", STEPS)
def test_whoever_comes_at_a_step_of_the_end_is_served_without_an_error(
    place: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    home = Home(place / "home")
    with gated_hub(home, step) as go_on:
        clients = Clients(home, monkeypatch)
        clients.start()
        clients.meet()
        go_on()
        clients.join()
        assert clients.failures == [], (home.logs / "hub.jsonl").read_text()
    assert stored(home) == ["from the bridge", "from the command"]


IDLE_S: Final = 0.3


def at(line: dict[str, str]) -> float:
    return datetime.fromisoformat(line["timestamp"]).timestamp()


@pytest.mark.slow
def test_whoever_comes_around_the_deadline_is_served_without_an_error(
    place: Path, monkeypatch: pytest.MonkeyPatch, long_form: bool, record_property: Callable[[str, object], None]
) -> None:
    """Clients come from 50 ms before the deadline to 50 ms after it. A round truly raced if they came between the
    decision and the hub's end, or the decision between their coming and their being served."""
    offsets_ms = range(-50, 51, 1) if long_form else (-50, -20, 0, 20, 50)
    late_s = 0.0  # how much later than planned the last hub decided
    raced = 0
    for row, offset_ms in enumerate(offsets_ms):
        home = Home(place / f"h{row}")
        launch.ensure_hub(home, idle_stop_s=IDLE_S)
        idle_since = time.time()
        clients = Clients(home, monkeypatch)
        time.sleep(max(0.0, idle_since + IDLE_S + late_s + offset_ms / 1000 - time.time()))
        clients.start()
        clients.join()
        served_at = time.time()
        assert clients.failures == [], f"{offset_ms} ms"
        assert stored(home) == ["from the bridge", "from the command"], f"{offset_ms} ms"
        stop_hub(home, force=True)
        lines = [json.loads(line) for line in (home.logs / "hub.jsonl").read_text().splitlines()]
        decided = next((at(line) for line in lines if line["event"] == "stopping" and "nobody" in line["why"]), None)
        if decided is not None:
            late_s = min(0.1, max(0.0, decided - idle_since - IDLE_S))
            gone = next(at(line) for line in lines if line["event"] == "gone")
            raced += min(clients.began_at) <= gone and served_at >= decided
    record_property("raced", f"{raced} of {len(offsets_ms)}")
    print(f"{raced} of {len(offsets_ms)} rounds truly raced")
