"""`--live`: the hub that runs, as it is: its history, its sessions, its quotas.

What is written stays in its log, as everything does, and is kept out of everybody's way: it is addressed to the bench's
own agents alone, so no session gets it or is woken; it is in threads marked with a badge, short enough for the loop
guard to have nothing to say; and it is read, so nothing waits for anybody. The pace is one that the quotas allow.
`crosschat compact` takes the threads out like all others, a week later.
"""

from __future__ import annotations

import json
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

import attrs

from crosschat.limits import LOOP_GUARD_MESSAGES
from crosschat.paths import Home
from crosschat.wire import AddBadge, Mark, Peers, Send

from . import fanout
from .figures import percentiles_ms
from .rig import Client, agents
from .run import Case, Scenario
from .sessions import pair_of_sessions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .figures import Figures

PAUSE_S: Final = 0.06  # between messages of one agent: sixteen a second, of the twenty that it may send
BADGE: Final = "bench"
NAME: Final = "bench-"  # the same agents come back, run after run


@attrs.frozen
class Live:
    """The hub that runs there, as a system. It is neither started nor stopped."""

    home: Home
    name: str = "crosschat"
    note: str = "the hub that runs, with its history and its quotas"

    @contextmanager
    def start(self, directory: object) -> Iterator[LiveHub]:
        with ExitStack() as stack:
            yield LiveHub(self.home, stack)


@attrs.frozen
class LiveHub:
    home: Home
    stack: ExitStack

    def open(self, readers: int) -> tuple[Marked, Sequence[Drained]]:
        sender, *others = self.stack.enter_context(agents(self.home, readers + 1, NAME))
        marked = Marked(sender, others)
        self.stack.callback(marked.tidy)
        return marked, [Drained(other) for other in others]


class Drained:
    """An agent that reads."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def fileno(self) -> int:
        return self.client.sock.fileno()

    def take(self) -> int:
        self.client.fill()
        return sum(payload.count(b'"seq":') for payload in self.client.take())


class Marked:
    """An agent that writes to those readers by name, in threads that are marked in the end."""

    def __init__(self, client: Client, readers: Sequence[Client]) -> None:
        self.client = client
        self._readers = readers
        self._names = " ".join(f"@{reader.welcome['name']}" for reader in readers)
        self._run = str(time.time_ns())
        self._sent = 0
        self._head = 0
        self._roots: list[str] = []

    def fileno(self) -> int:
        return self.client.sock.fileno()

    def send(self, content: str) -> None:
        begins = is_first(self._sent)
        thread = None if begins else self._roots[-1]
        text = f"{self._names} {content}" if begins else content
        cid = f"{self._run}-{self._sent}"
        self._sent += 1
        self.client.send(Send(id="b", cid=cid, content=text, thread=thread, importance="chitchat"))

    def take(self) -> int:
        self.client.fill()
        confirmed = 0
        for payload in self.client.take():
            if payload.startswith(b'{"type":"error"'):
                raise RuntimeError(f"the hub refused: {payload.decode()}")
            if payload.startswith(b'{"type":"sent"'):
                sent = json.loads(payload)
                confirmed += 1
                self._head = sent["seq"]
                if not sent.get("thread"):
                    self._roots.append(sent["message"])
        return confirmed

    def tidy(self) -> None:
        """Mark the threads, and everything in them as read by all whom it reached."""
        head = self._head
        for number, root in enumerate(self._roots):
            cid = f"{self._run}-badge{number}"
            badge = AddBadge(id="b", cid=cid, message=root, badge_type=BADGE, value="fan-out")
            head = int(str(self.client.ask(badge)["seq"]))
        for reader in self._readers:
            reader.send(Mark(upto=head))
            reader.ask(Peers(id="p"))  # answered after the mark was taken


def is_first(number: int) -> bool:
    """Whether the message of that number begins a thread."""
    return number % (LOOP_GUARD_MESSAGES - 1) == 0


def latency(case: Case) -> Figures:
    with case.system.start(case.directory) as running:
        return fanout.latency(
            running, readers=case.agents, messages=case.asked.rounds, size=case.asked.size, pause_s=PAUSE_S
        )


def wake_up(case: Case) -> Figures:
    """From tool to tool, through two sessions that join for it."""
    assert isinstance(case.system, Live)
    times: list[float] = []
    roots: list[str] = []
    with pair_of_sessions(case.system.home, names=("bench-one", "bench-two")) as pair:
        for number in range(case.asked.rounds):
            time.sleep(PAUSE_S)
            text = f"round {number}"
            if is_first(number):
                times.append(pair.wake(f"@bench-two {text}").woken_s)
                roots.append(pair.last_sent)
            else:
                times.append(pair.wake(text, threadId=roots[-1]).woken_s)
        for root in roots:
            time.sleep(PAUSE_S)
            pair.one.result(pair.one.call("add_badge", messageId=root, badgeType=BADGE, badgeValue="wake-up"))
        pair.two.result(pair.two.call("get_messages", unreadOnly=True))
        pair.two.result(pair.two.call("list_peers"))  # which says that it has read what it was given
    return percentiles_ms("tool to tool", times)


SCENARIOS: Final = {
    one.name: one
    for one in (
        Scenario(
            name="latency",
            title="your hub: fan-out, one message at a time, {agents} reader{s}",
            measure=latency,
            by_agents=True,
        ),
        Scenario(name="wake", title="your hub: wake-up, from one session's tool to another's", measure=wake_up),
    )
}
