"""One sender, many readers: how late each message is at the first and at the last of them, and how many go through.

Works on any `Running` system. Latency: one message at a time, the next one when every reader has the one before.
Throughput: `WINDOW` messages under way at a time, confirmed or, where a system confirms nothing, read by the first.
"""

from __future__ import annotations

import selectors
import time
from typing import TYPE_CHECKING, Final

import attrs

from .figures import percentiles_ms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .figures import Figures
    from .systems import Reader, Running, Sender

WINDOW: Final = 64
SILENCE_S: Final = 30.0
WARM_UP: Final = 20  # messages before the ones that count


def latency(
    running: Running, *, readers: int, messages: int, size: int, confirms: bool, pause_s: float = 0.0
) -> Figures:
    """p50 and p99 of the time from the send to the first reader, the last one and the confirmation; `pause_s` between
    the messages."""
    crowd = _Crowd(running, readers, confirms)
    content = "x" * size
    times: list[_Times] = []
    for _ in range(WARM_UP + messages):
        time.sleep(pause_s)
        times.append(crowd.one_message(content))
    times = times[WARM_UP:]
    figures = {
        **percentiles_ms("first reader", [one.first_s for one in times]),
        **percentiles_ms("last reader", [one.last_s for one in times]),
    }
    if confirms:
        figures |= percentiles_ms("confirmed", [one.confirmed_s for one in times])
    return figures


def throughput(running: Running, *, readers: int, messages: int, size: int, confirms: bool) -> Figures:
    """Messages and deliveries per second until every reader has every message."""
    crowd = _Crowd(running, readers, confirms)
    content = "x" * size
    crowd.stream(content, WARM_UP)
    seconds = crowd.stream(content, messages)
    return {"messages /s": messages / seconds, "deliveries /s": messages * readers / seconds}


@attrs.frozen
class _Times:
    confirmed_s: float
    first_s: float
    last_s: float


class _Crowd:
    """The clients of one system, all driven from here."""

    def __init__(self, running: Running, readers: int, confirms: bool) -> None:
        self._sender, self._readers = running.open(readers)
        self._confirms = confirms
        self._selector = selectors.DefaultSelector()
        clients: Sequence[Reader | Sender] = [*self._readers, self._sender] if confirms else self._readers
        for client in clients:
            self._selector.register(client, selectors.EVENT_READ)

    def one_message(self, content: str) -> _Times:
        times: list[float] = []
        confirmed = 0.0 if self._confirms else -1.0
        begun = time.perf_counter()
        self._sender.send(content)
        while len(times) < len(self._readers) or not confirmed:
            for client in self._ready():
                came = client.take()
                elapsed = time.perf_counter() - begun
                if client is self._sender:
                    confirmed = elapsed if came else confirmed
                else:
                    times += [elapsed] * came
        return _Times(confirmed, times[0], times[-1])

    def stream(self, content: str, messages: int) -> float:
        """Seconds until every reader has `messages` messages, the sender having WINDOW of them under way."""
        sent = confirmed = 0
        left = dict.fromkeys(self._readers, messages)
        pacemaker: Reader | Sender = self._sender if self._confirms else self._readers[0]
        begun = time.perf_counter()
        while left or (self._confirms and confirmed < messages):
            while sent < messages and sent - confirmed < WINDOW:
                self._sender.send(content)
                sent += 1
            for client in self._ready():
                came = client.take()
                if client is pacemaker:
                    confirmed += came
                if client is self._sender:
                    continue
                left[client] -= came
                if left[client] <= 0:
                    del left[client]
        return time.perf_counter() - begun

    def _ready(self) -> list[Reader | Sender]:
        """The clients to which something came. Raises RuntimeError if nothing comes."""
        ready = [key.fileobj for key, _ in self._selector.select(SILENCE_S)]
        if not ready:
            raise RuntimeError(f"nothing came to a reader of the bench for {SILENCE_S:g} s")
        return ready  # type: ignore[return-value]  # what was registered
