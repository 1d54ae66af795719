"""A long history: one million messages, written by the product's own format, and what a hub makes of them.

    python -m bench.history [MESSAGES]

Measured: the start with the index and without it, a page anywhere (the hub's own reading of a page, over its socket),
the search for words, newest first, once the search index has caught up, and the hub's memory.
"""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from crosschat.core.ids import make_id
from crosschat.journal.directory import open_directory
from crosschat.journal.files import RealFiles
from crosschat.journal.format import encode
from crosschat.journal.store import Log
from crosschat.model import AgentJoined, AnyRecord, Epoch, Message

from .rig import RAISED_QUOTAS, resident_mib

if TYPE_CHECKING:
    from collections.abc import Iterator

WORDS = "a quick brown fox jumps over the lazy dog while trio sleeps and the log grows line by line".split()  # noqa: SIM905
EPOCH = "0123456789ab"
START_MS = 1_750_000_000_000


def write(home: Path, messages: int) -> None:
    """A log of so many messages, 200 bytes of text each."""
    files, chance = RealFiles(), random.Random(1)
    open_directory(home, files)
    log, _ = Log.recover(home, files)

    def records() -> Iterator[AnyRecord]:
        yield Epoch(seq=1, id="r1", ts=START_MS, by="system", epoch=EPOCH)
        for number in range(8):
            seq = number + 2
            yield AgentJoined(
                seq=seq, id=f"r{seq}", ts=START_MS, by="system", agent=f"a{number}-0000", name=f"n{number}", cwd="/"
            )
        for number in range(messages):
            seq = number + 10
            text = " ".join(chance.choices(WORDS, k=36)) + f" w{number % 5000}"
            yield Message(
                seq=seq, id=make_id("m", EPOCH, seq), ts=START_MS + number * 10, by=f"a{number % 8}-0000",
                content=text[:200], source="agent", cid=f"{number:016x}", digest=f"send:{number:016x}",
            )  # fmt: skip

    batch: list[bytes] = []
    for record in records():
        batch.append(encode(record))
        if len(batch) == 2000:
            log.append(batch)
            batch = []
    log.append(batch)
    log.close()


class Hub:
    """A hub process; `started_s`: from spawning it to both sockets accepting."""

    def __init__(self, home: Path) -> None:
        reading, writing = os.pipe()
        begun = time.perf_counter()
        command = [sys.executable, "-m", "crosschat.hub", "--home", str(home), "--stay", "--quotas", RAISED_QUOTAS]
        self.process = subprocess.Popen([*command, "--ready-fd", str(writing)], pass_fds=[writing])
        os.close(writing)
        with os.fdopen(reading, "rb") as ready:
            line = ready.readline()
        self.started_s = time.perf_counter() - begun
        if b'"pid"' not in line:
            raise RuntimeError(line.decode())
        self._path = home / "run" / "control.sock"

    def ask(self, **frame: object) -> dict[str, object]:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self._path))
            sock.sendall(json.dumps({"id": "1", **frame}).encode() + b"\n")
            answer: dict[str, object] = json.loads(sock.makefile("rb").readline())
        if answer["type"] == "error":
            raise RuntimeError(answer)
        return answer

    @property
    def rss_mib(self) -> float:
        return resident_mib(self.process.pid)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(120)


def p99_ms(times: list[float]) -> float:
    return sorted(times)[int(len(times) * 0.99)] * 1e3


def timed(hub: Hub, frames: list[dict[str, object]]) -> list[float]:
    times = []
    for frame in frames:
        begun = time.perf_counter()
        hub.ask(**frame)
        times.append(time.perf_counter() - begun)
    return times


def main(messages: int) -> None:
    chance = random.Random(2)
    with tempfile.TemporaryDirectory(prefix="crosschat-history-", dir="/tmp") as directory:
        home = Path(directory) / "h"
        begun = time.perf_counter()
        write(home, messages)
        size = sum(path.stat().st_size for path in (home / "log").iterdir())
        print(f"{messages:,} messages, {size / 1e6:.0f} MB of log, written in {time.perf_counter() - begun:.0f} s")
        hub = Hub(home)
        print(f"start without an index: {hub.started_s:.2f} s, RSS {hub.rss_mib:.0f} MiB", flush=True)
        places = [make_id("m", EPOCH, chance.randrange(300, messages)) for _ in range(300)]
        times = timed(hub, [{"op": "read", "limit": 50, "before": place} for place in places])
        print(f"a page of 50 anywhere: p99 {p99_ms(times):.1f} ms, RSS {hub.rss_mib:.0f} MiB", flush=True)
        give_up_at = time.monotonic() + 900
        behind: object = 1
        while behind and time.monotonic() < give_up_at:
            behind = hub.ask(op="search", limit=20, query="lazy").get("behind", 0)
            time.sleep(1)
        print(f"search index caught up {time.perf_counter() - begun:.0f} s after the first line; behind: {behind}")
        words = [chance.choice(["lazy", "fox", "trio log", f"w{chance.randrange(5000)}"]) for _ in range(200)]
        times = timed(hub, [{"op": "search", "limit": 20, "query": word} for word in words])
        print(f"a search, 20 newest: p99 {p99_ms(times):.1f} ms, RSS {hub.rss_mib:.0f} MiB", flush=True)
        hub.stop()
        hub = Hub(home)
        print(f"start with the index: {hub.started_s:.2f} s, RSS {hub.rss_mib:.0f} MiB")
        hub.stop()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
