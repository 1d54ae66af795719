"""Real servers, a real hub and an inbox socket: who is rung, with what, and once."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import tempfile
import threading
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from crosschat.bridge.doorbell import SOCKET_VARIABLE, TOKEN_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.process

CHECKOUT = Path(__file__).parents[2]
RUN = "import sys; from crosschat.bridge.main import main; sys.exit(main())"


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="cc-") as place:
        yield Path(place).resolve()
        with suppress(FileNotFoundError, ProcessLookupError):
            os.kill(int(json.loads((Path(place) / "data" / "dashboard.lock").read_text())["hub_pid"]), signal.SIGKILL)


class InboxSocket:
    """Keeps what it is sent, one text per connection."""

    def __init__(self, place: Path) -> None:
        self.place, self.sent = place, list[str]()
        self.rung = threading.Event()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(os.fspath(place))
        self._socket.listen()
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            with connection, connection.makefile("rb") as stream:
                text = stream.read().decode()
            if not text:
                return
            self.sent.append(text)
            self.rung.set()

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(os.fspath(self.place))
        self._thread.join()
        self._socket.close()


@pytest.fixture
def inbox(home: Path) -> Iterator[InboxSocket]:
    inbox = InboxSocket(home / "inbox.sock")
    yield inbox
    inbox.close()


def serve(home: Path, name: str, **variables: str) -> StdioServerParameters:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("CROSSCHAT", "CLAUDE"))}
    named = {"CROSSCHAT_HOME": os.fspath(home / "data"), "CROSSCHAT_NAME": name, "PYTHONPATH": os.fspath(CHECKOUT)}
    return StdioServerParameters(command=sys.executable, args=["-c", RUN], env=kept | named | variables)


async def call(client: Client, tool: str, **arguments: object) -> str:
    result = await client.call_tool(tool, arguments)
    (content,) = result.content
    assert content.type == "text"
    assert not result.is_error, content.text
    return content.text


async def test_a_session_is_rung_once_for_many_messages_and_reads_them_all(home: Path, inbox: InboxSocket) -> None:
    ringing = {SOCKET_VARIABLE: os.fspath(inbox.place), TOKEN_VARIABLE: "the-token"}
    with trio.fail_after(60):
        async with AsyncExitStack() as stack:
            alice = await stack.enter_async_context(
                Client(stdio_client(serve(home, "alice", **ringing)), mode="legacy")
            )
            bob = await stack.enter_async_context(Client(stdio_client(serve(home, "bob")), mode="legacy"))
            await call(alice, "list_peers")
            await call(bob, "list_peers")
            for number in range(30):
                await call(bob, "send_message", content=f"text {number}.")
            assert await trio.to_thread.run_sync(inbox.rung.wait, 10)
            texts = ""
            while "text 29." not in texts:
                texts += await call(alice, "get_messages", unreadOnly=True, limit=200)
            assert [texts.count(f"text {number}.") for number in range(30)] == [1] * 30
            await call(bob, "list_peers")
        auth, message, *_ = inbox.sent[0].splitlines()
        assert json.loads(auth) == {"type": "auth", "token": "the-token"}
        assert "text 0." in json.loads(message)["message"]["content"]
        assert len(inbox.sent) <= 2
