"""What is measured, behind one face: CrossChat, and whatever it is compared with in the same run.

The harness opens one sender and many readers of a running system, and drives all of them from one thread over plain
sockets, so that every system pays the same for its clients. A system says how it is started, what goes over a sender's
socket for one message, and how many messages the bytes that came to a reader are.

A new system is a module below `bench/versus/` with one class that keeps `System`, listed in `bench/versus/__init__.py`.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

import attrs

from crosschat.wire import Send

from .rig import Client, Counted, PrivateHub, agents, pong, private_hub

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

PING_HEAD: Final = b"\x89\x04"  # a whole ping with four bytes, as trio-websocket sends it
ITEM: Final = b'"seq":'  # one in each message that our hub delivers; contents of the bench have no quotes


class Reader(Protocol):
    """A subscriber. Its socket stays blocking: `take` is called when the kernel says that there is something."""

    def fileno(self) -> int: ...

    def take(self) -> int:
        """Receive once; how many messages of the sender are complete with that. Raises if the connection ended."""


class Sender(Protocol):
    """Who writes."""

    def send(self, content: str) -> None:
        """Hand one message to the system: return when its bytes have left."""


@runtime_checkable
class Confirming(Sender, Reader, Protocol):
    """A sender that is told when a message is accepted: `take` counts that, as a `Reader` counts messages."""


class Running(Protocol):
    """A system that runs. Everything ends with its context."""

    def open(self, readers: int) -> tuple[Sender, Sequence[Reader]]:
        """One sender and its readers, all of them joined when this returns; called once."""


class System(Protocol):
    """`note` says what the system promises, in a line."""

    @property
    def name(self) -> str: ...

    @property
    def note(self) -> str: ...

    def start(self, directory: Path) -> AbstractContextManager[Running]:
        """Start it with everything it writes in `directory`, which is on the disk that is measured and empty."""


@attrs.frozen
class CrossChat:
    """The hub of this installation with raised quotas, and agents at its socket."""

    name: str = "crosschat"
    note: str = "confirms a message once it is synced to the disk"

    @contextmanager
    def start(self, directory: Path) -> Iterator[RunningHub]:
        with private_hub(directory / "h") as hub, ExitStack() as stack:
            yield RunningHub(hub, stack)


@attrs.frozen
class RunningHub:
    """A private hub; its agents are disconnected by `stack`."""

    hub: PrivateHub
    stack: ExitStack

    def open(self, readers: int) -> tuple[Agent, list[Subscriber]]:
        sender, *others = self.stack.enter_context(agents(self.hub.home, readers + 1))
        return Agent(sender), [Subscriber(other.sock, ITEM) for other in others]


class Subscriber(Counted):
    """An agent at the hub's socket, as reader. It answers the hub's pings, which no text of ours looks like."""

    def received(self, chunk: bytes) -> None:
        at = chunk.find(PING_HEAD)
        if at >= 0:
            self.sock.sendall(pong(chunk[at + 2 : at + 2 + PING_HEAD[1]]))


class Agent:
    """An agent at the hub's socket, as sender."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._sent = 0

    def fileno(self) -> int:
        return self.client.sock.fileno()

    def send(self, content: str) -> None:
        self._sent += 1
        self.client.send(Send(id="b", cid=str(self._sent), content=content))

    def take(self) -> int:
        self.client.fill()
        return sum(map(_is_confirmation, self.client.take()))


def _is_confirmation(payload: bytes) -> bool:
    if payload.startswith(b'{"type":"error"'):
        raise RuntimeError(f"the hub refused: {payload.decode()}")
    return payload.startswith(b'{"type":"sent"')
