"""A real message from one end to the other: through the hub that runs, and between two sessions of our own.

The first is addressed to nobody: it is written, synced and delivered like any other, and disturbs no agent. The second
goes through everything a message between agents goes through, MCP included, on a private hub in a temporary directory.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from crosschat import wire
from crosschat.cli.control import Control, new_id
from crosschat.cli.examine.finding import Finding, Scene, problem
from crosschat.cli.failure import Failure
from crosschat.model import PROTOCOL
from crosschat.paths import Home

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXT: Final = "crosschat doctor: this message is to nobody"
LOGS: Final = "see `crosschat logs`, then `crosschat restart`"
DOOR_DEADLINE_S: Final = 5.0
UPGRADE: Final = (
    b"GET /agents HTTP/1.1\r\nHost: crosschat\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def delivery(scene: Scene) -> Iterator[Finding]:
    """The running hub stores a message and delivers it, and lets agents in."""
    if scene.status is None:
        return
    try:
        _send_to_nobody(scene.home)
    except Failure as failure:
        yield problem(f"A test message was not stored and delivered: {failure.message.rstrip('.')}.", LOGS)
    try:
        _knock(scene.home)
    except OSError as error:
        yield problem(f"The agents' door does not answer: {error.strerror or error or 'too slow'}.", LOGS)


def _send_to_nobody(home: Home) -> None:
    """Raises Failure."""
    with Control.open(home) as asking, Control.open(home) as following:
        head = asking.ask(wire.Inspect(id=new_id()), wire.HubStatus).head
        stored = asking.ask(wire.Probe(id=new_id(), cid=new_id(), content=TEXT), wire.Done)
        if stored.seq is None:
            raise Failure("the hub did not say where it is")
        for batch in following.catch_up(wire.Tail(id=new_id(), after_seq=head), stored.seq):
            if any(item.seq == stored.seq and item.content == TEXT for item in batch.items):
                return
    raise Failure("it was stored, and not delivered")


def _knock(home: Home) -> None:
    """A WebSocket handshake without a hello: no agent joins. Raises OSError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        door.settimeout(DOOR_DEADLINE_S)
        door.connect(os.fspath(home.agents_socket))
        door.sendall(UPGRADE)
        said = door.recv(4096)
    if not said.startswith(b"HTTP/1.1 101"):
        raise OSError(f"it said {said[:40]!r} to protocol {PROTOCOL}")


def sessions(scene: Scene) -> Iterator[Finding]:
    """Two sessions of this installation start, find each other, and one gets what the other sends."""
    import trio

    from crosschat.cli.demo_report import DemoFailed

    directory = Path(os.path.realpath(tempfile.mkdtemp(prefix="cc-doctor-")))
    home = Home(directory / "home")
    try:
        trio.run(_exchange, home, directory)
    except* DemoFailed as failed:
        yield problem(f"Two sessions of our own cannot talk: {failed.exceptions[0]}.", "install the package again")
    except* Exception as error:
        yield problem(f"Two sessions of our own cannot talk: {error.exceptions[0]!r}.", "install the package again")
    finally:
        from crosschat.cli.lifecycle import stop_hub

        with suppress(Failure):
            stop_hub(home, force=True)
        shutil.rmtree(directory, ignore_errors=True)


async def _exchange(home: Home, directory: Path) -> None:
    from crosschat.cli.demo_session import open_member

    async with open_member("one", home, directory / "one") as one, open_member("two", home, directory / "two") as two:
        await two.call("list_peers")
        sent = await one.call("send_message", content="@two hello")
        await two.wait_for(lambda message: message.get("messageId") == sent["messageId"], "the message of the other")
