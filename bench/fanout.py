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
from .systems import Confirming

if TYPE_CHECKING:
    from .figures import Figures
    from .systems import Reader, Running

WINDOW: Final = 64
SILENCE_S: Final = 30.0
WARM_UP: Final = 20  # messages before the ones that count


def latency(running: Running, *, readers: int, messages: int, size: int, pause_s: float = 0.0) -> Figures:
    """p50 and p99 of the time from the send to the first reader, the last one and the confirmation, if there is one;
    `pause_s` between the messages."""
    crowd = _Crowd(running, readers)
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
    confirmed = [one.confirmed_s for one in times if one.confirmed_s is not None]
    return {**figures, **(percentiles_ms("confirmed", confirmed) if confirmed else {})}


def throughput(running: Running, *, readers: int, messages: int, size: int) -> Figures:
    """Messages and deliveries per second until every reader has every message."""
    crowd = _Crowd(running, readers)
    content = "x" * size
    crowd.stream(content, WARM_UP)
    seconds = crowd.stream(content, messages)
    return {"messages /s": messages / seconds, "deliveries /s": messages * readers / seconds}


@attrs.frozen
class _Times:
    confirmed_s: float | None
    first_s: float
    last_s: float


class _Crowd:
    """The clients of one system, all driven from here."""

    def __init__(self, running: Running, readers: int) -> None:
        self._sender, self._readers = running.open(readers)
        self._confirming = self._sender if isinstance(self._sender, Confirming) else None
        self._selector = selectors.DefaultSelector()
        for client in self._readers if self._confirming is None else [*self._readers, self._confirming]:
            self._selector.register(client, selectors.EVENT_READ)

    def one_message(self, content: str) -> _Times:
        times: list[float] = []
        confirmed: float | None = None
        begun = time.perf_counter()
        self._sender.send(content)
        while len(times) < len(self._readers) or (self._confirming and confirmed is None):
            for client in self._ready():
                came = client.take()
                elapsed = time.perf_counter() - begun
                if client is self._confirming:
                    confirmed = elapsed if came else confirmed
                else:
                    times += [elapsed] * came
        return _Times(confirmed, times[0], times[-1])

    def stream(self, content: str, messages: int) -> float:
        """Seconds until every reader has `messages` messages, the sender having WINDOW of them under way."""
        sent = confirmed = 0
        left = dict.fromkeys(self._readers, messages)
        pacemaker = self._confirming or self._readers[0]
        begun = time.perf_counter()
        while left or (self._confirming and confirmed < messages):
            while sent < messages and sent - confirmed < WINDOW:
                self._sender.send(content)
                sent += 1
            for client in self._ready():
                came = client.take()
                if client is pacemaker:
                    confirmed += came
                if client is self._confirming:
                    continue
                left[client] -= came
                if left[client] <= 0:
                    del left[client]
        return time.perf_counter() - begun

    def _ready(self) -> list[Reader]:
        """The clients to which something came. Raises RuntimeError if nothing comes."""
        ready = [key.fileobj for key, _ in self._selector.select(SILENCE_S)]
        if not ready:
            raise RuntimeError(f"nothing came to a reader of the bench for {SILENCE_S:g} s")
        return ready  # type: ignore[return-value]  # what was registered
