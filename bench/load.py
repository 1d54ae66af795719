"""Senders and contenders at the agents' socket: how long an acknowledgement takes, how many there are in a second.

All clients are driven from one thread; the readers among them are drained, so that no socket fills up.
"""

from __future__ import annotations

import selectors
import time
from typing import TYPE_CHECKING, Final

from crosschat.wire import ClaimTask, FlagTask, Send

from .figures import percentiles_ms
from .rig import Client, agents, private_hub

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .figures import Figures
    from .rig import PrivateHub
    from .run import Case

RATE: Final = 200  # messages per second, which ten sessions in a hurry do not reach
READERS: Final = 10
MANY: Final = 50
CONTENDERS: Final = 10
SILENCE_S: Final = 30.0
SENT: Final = b'{"type":"sent"'


def steady(case: Case) -> Figures:
    """One sender at `RATE` to ten readers. A time begins when the message was due, so a hold-up counts for all that it
    held up."""
    with private_hub(case.directory / "h") as hub, agents(hub.home, READERS + 1) as (sender, *readers):
        times = _send_steadily(sender, readers, case.asked.rounds * 5, "x" * case.asked.size)
        return {**percentiles_ms("acknowledged", times), **log_syncs(hub)}


def _send_steadily(sender: Client, readers: Sequence[Client], messages: int, content: str) -> list[float]:
    times: list[float] = []
    sent, begun = 0, time.perf_counter()
    with _selector([sender, *readers]) as selector:
        while len(times) < messages:
            now = time.perf_counter() - begun
            while sent < messages and sent / RATE <= now:
                sender.send(Send(id="b", cid=str(sent), content=content))
                sent += 1
            due = max(0.0, sent / RATE - (time.perf_counter() - begun)) if sent < messages else SILENCE_S
            for client in _ready(selector, due, may_be_silent=sent < messages):
                client.fill()
                for payload in client.take():
                    if client is sender and payload.startswith(SENT):
                        times.append(time.perf_counter() - begun - len(times) / RATE)
    return times


def senders(case: Case) -> Figures:
    """One sender, then fifty, each with one message under way, to one reader by name."""
    figures: dict[str, float] = {}
    for count in (1, MANY):
        with (
            private_hub(case.directory / f"h{count}") as hub,
            agents(hub.home, count + 1) as (reader, *crowd),
        ):
            messages = case.asked.messages * (1 if count == 1 else 5)
            times, seconds = _send_in_turns(reader, crowd, messages, case.asked.size)
            who = "1 sender" if count == 1 else f"{count} senders"
            figures[f"{who}, acknowledged /s"] = messages / seconds
            figures |= percentiles_ms(who, times)
    return figures


def _send_in_turns(reader: Client, crowd: Sequence[Client], messages: int, size: int) -> tuple[list[float], float]:
    content = "@bench0 ".ljust(size, "x")
    times: list[float] = []
    sent = 0
    since: dict[Client, float] = {}
    with _selector([reader, *crowd]) as selector:
        begun = time.perf_counter()
        idle = list(crowd)
        while len(times) < messages:
            for client in idle[: messages - sent]:
                since[client] = time.perf_counter()
                client.send(Send(id="b", cid=str(sent), content=content))
                sent += 1
            idle = []
            for client in _ready(selector, SILENCE_S):
                client.fill()
                for payload in client.take():
                    if client is not reader and payload.startswith(SENT):
                        times.append(time.perf_counter() - since[client])
                        idle.append(client)
        return times, time.perf_counter() - begun


def claims(case: Case) -> Figures:
    """Ten agents claim the same task at once. Raises RuntimeError if not exactly one gets it."""
    won: list[float] = []
    settled: list[float] = []
    with private_hub(case.directory / "h") as hub, agents(hub.home, CONTENDERS + 1) as (author, *contenders):
        for number in range(case.asked.rounds):
            task = str(author.ask(Send(id="s", cid=f"s{number}", content="a task"))["message"])
            author.ask(FlagTask(id="f", cid=f"f{number}", message=task))
            winner, last = _race(contenders, task, number)
            won.append(winner)
            settled.append(last)
    return {**percentiles_ms("winner told", won), **percentiles_ms("all told", settled)}


def _race(contenders: Sequence[Client], task: str, number: int) -> tuple[float, float]:
    winners: list[float] = []
    waiting = set(contenders)
    with _selector(contenders) as selector:
        begun = time.perf_counter()
        for client in contenders:
            client.send(ClaimTask(id="c", cid=f"c{number}", message=task))
        while waiting:
            for client in _ready(selector, SILENCE_S):
                client.fill()
                for payload in client.take():
                    if payload.startswith(b'{"type":"done"'):
                        winners.append(time.perf_counter() - begun)
                    elif not payload.startswith(b'{"type":"error"'):
                        continue
                    waiting.discard(client)
        last = time.perf_counter() - begun
    if len(winners) != 1:
        raise RuntimeError(f"{len(winners)} agents were told that the task is theirs")
    return winners[0], last


def log_syncs(hub: PrivateHub) -> Figures:
    """What the hub's own writes to the log took, each with its sync."""
    status = hub.ask("inspect")
    return {
        f"log write and sync p{part} ms": float(str(status[f"sync_p{part}_ms"]))
        for part in (50, 99)
        if f"sync_p{part}_ms" in status
    }


def _selector(clients: Sequence[Client]) -> selectors.DefaultSelector:
    selector = selectors.DefaultSelector()
    for client in clients:
        selector.register(client.sock, selectors.EVENT_READ, client)
    return selector


def _ready(selector: selectors.DefaultSelector, within_s: float, *, may_be_silent: bool = False) -> list[Client]:
    ready = [key.data for key, _ in selector.select(within_s)]
    if not ready and not may_be_silent:
        raise RuntimeError(f"nothing came to a client of the bench for {SILENCE_S:g} s")
    return ready
