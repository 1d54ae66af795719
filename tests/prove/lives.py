"""Hubs that live and die: real processes on one data directory, ended in every way there is.

`Lives` keeps a hub running and ends it again and again: by SIGKILL at a random moment, at a named point
(`disk.POINTS`), with what was not synced taken back as by a power cut, stopped with SIGSTOP before, or cleanly, and
then another version follows. The lock is held here too, all the time, so that no bridge starts a hub of its own.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING, Final

import attrs
import trio

from crosschat import lock
from tests.live.rig import START_S
from tests.prove.disk import POINTS, Death, Durable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.prove.outcome import Outcome
    from tests.prove.zygote import Zygote

QUOTAS: Final = '{"agents": 128, "messages_per_s": 1e6, "messages_burst": 1000000}'
LONGEST_S: Final = 5.0
RARE: Final = ("segment", "snapshot", "start", "projection")


@attrs.frozen(kw_only=True)
class Care:
    """How hubs are treated. `quiet_s`: how long one lives before it is ended; `clean`: the share of clean ends; `soon`:
    one that is to die at a named point reaches it early. `earlier_ms`: how far the first one's clock is behind.
    `failing`: which sync of the log of the first one fails."""

    seed: int
    deaths: int = 20
    quiet_s: tuple[float, float] = (0.1, 0.5)
    clean: float = 0.25
    soon: bool = False
    earlier_ms: int = 0
    failing: int = 0
    segment_bytes: int = 192 * 1024
    bug: str | None = None
    options: tuple[str, ...] = ()


class Hub:
    """One life of a hub process. `lock_fd` holds the lock, or, for an `heir`, is the connection on which it comes."""

    def __init__(
        self,
        zygote: Zygote,
        care: Care,
        home: Path,
        lock_fd: int,
        death: Death | None,
        version: str,
        earlier_ms: int = 0,
        failing: int = 0,
        *,
        heir: bool = False,
    ) -> None:
        self._zygote = zygote
        self.death = death
        reading, writing = os.pipe()
        self._ready = trio.lowlevel.FdStream(reading)
        with open(home.parent / "stderr", "ab") as errors:
            what: dict[str, object] = {
                "role": "hub",
                "home": str(home),
                "durable": str(home.parent / "durable"),
                "death": attrs.asdict(death) if death else None,
                "version": version,
                "bug": care.bug,
                "earlier_ms": earlier_ms,
                "failing": failing,
                "heir": heir,
                "segment_bytes": care.segment_bytes,
                "options": ["--quotas", QUOTAS, *care.options],
            }
            self.pid = zygote.start(what, [writing, lock_fd, errors.fileno()])
        os.close(writing)
        self._pidfd = os.pidfd_open(self.pid)

    async def serving(self) -> bool:
        """Wait until it serves; False if it ended before."""
        said = b""
        with trio.fail_after(START_S):
            while not said.endswith(b"\n"):
                part = await self._ready.receive_some(4096)
                if not part:
                    return False
                said += part
        if b'"pid"' not in said:
            raise AssertionError(f"the hub refused to start: {said.decode()}")
        return True

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    async def gone(self, within_s: float) -> bool:
        with trio.move_on_after(within_s):
            await trio.lowlevel.wait_readable(self._pidfd)
            return True
        return False

    async def end(self) -> int:
        """Its status; killed if it is still there."""
        if not await self.gone(0):
            self.signal(signal.SIGKILL)
            self.signal(signal.SIGCONT)
        await self.gone(START_S)
        os.close(self._pidfd)
        await self._ready.aclose()
        return self._zygote.wait(self.pid)


class Lives:
    """See the module. Its directory is made in `place`; `close` it in the end."""

    def __init__(
        self, zygote: Zygote, place: Path, care: Care, outcome: Outcome, report: Callable[[str], None]
    ) -> None:
        self.care = care
        self.outcome = outcome
        self.home = place / "h"
        self.home.mkdir(mode=0o700)
        self.durable = Durable(place / "durable")
        self.random = Random(care.seed)
        self._zygote = zygote
        self._report = report
        held = lock.try_hold(self.home / "hub.lock")
        assert held is not None
        self._lock = held
        self._lives = 0
        self._earlier_ms = care.earlier_ms
        self._failing = care.failing
        self._finished = False
        self.enough: Callable[[], bool] = lambda: True  # has happened since the start; before that none is ended
        self.hub = self._start(None)

    async def begin(self) -> None:
        """Wait for the first one."""
        assert await self.hub.serving()

    async def finish(self) -> None:
        """Stop the last one cleanly."""
        self.hub.signal(signal.SIGTERM)
        if not await self.hub.gone(START_S):
            self._report("the last stop took too long")
        self._finished = True
        status = await self.hub.end()
        if status != 0:
            self._report(f"the last hub ended with status {status}")

    async def close(self) -> None:
        """End whatever is still there."""
        with trio.CancelScope(shield=True):
            if not self._finished:
                await self.hub.end()
            os.close(self._lock)

    async def run_beside(self, work: Callable[[trio.Event], Awaitable[None]]) -> None:
        """`run`, and `work` besides, which is told when to end by the event."""
        ending = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work, ending)
            await self.run()
            ending.set()

    def _start(self, death: Death | None) -> Hub:
        self._lives += 1
        version = ("0.1.0", "0.1.1")[self._lives % 2]
        return Hub(self._zygote, self.care, self.home, self._lock, death, version, self._earlier_ms, self._failing)

    async def stop_for(self, work: Callable[[], object]) -> None:
        """A clean stop, something that is done to the directory, and a start, with the clock as it is."""
        self.hub.signal(signal.SIGTERM)
        await self.hub.gone(START_S)
        if (status := await self.hub.end()) != 0:
            self._report(f"a clean stop ended with status {status}")
        await trio.to_thread.run_sync(work)
        self._earlier_ms = 0
        self.hub = self._start(None)
        await self.begin()

    async def failed(self, failing: int) -> int:
        """Wait until the hub has left by itself, and start the next one, whose sync number `failing` fails, if it is
        not 0. The status of the one that left."""
        await self.hub.gone(START_S)
        status = await self.hub.end()
        self._failing = failing
        self.hub = self._start(None)
        await self.begin()
        return status

    async def kill(self) -> None:
        """SIGKILL now, and a start."""
        self.hub.signal(signal.SIGKILL)
        await self.hub.end()
        self._count_death(None)
        self.hub = self._start(None)
        await self.begin()

    # --- deaths

    async def run(self) -> None:
        """End as many hubs as is planned; the last one stays, in `hub`."""
        for left in reversed(range(self.care.deaths)):
            await self._die(self.hub)
            death = self._choose() if left else None  # the last one is to stay
            self.hub = self._start(death)
            while not await self.hub.serving():  # it died while it started, as it was told to
                await self.hub.end()
                self._count_death(death)
                death = None
                self.hub = self._start(None)

    def _choose(self) -> Death | None:
        """The death of the next hub, if it is to be at a named point."""
        random = self.random
        if random.random() < 0.3:
            return None
        point = random.choice(POINTS)
        most = 3000 if point == "any call" else 3 if point.startswith(RARE) else 25
        if self.care.soon:
            most = min(most, 300 if point == "any call" else 4)
        return Death(point, random.randint(1, most), random.random() < 0.5, random.randrange(1 << 30))

    def _count_death(self, death: Death | None) -> None:
        self.outcome.counts["kills"] += 1
        if death is not None:
            self.outcome.counts[f"at {death.point}"] += 1
            self.outcome.counts["simulated power cuts"] += death.power

    async def _die(self, hub: Hub) -> None:
        """Let it live for a while, and end it: as it was told to, by SIGKILL, or cleanly."""
        random = self.random
        death = hub.death
        gone = await hub.gone(random.uniform(*self.care.quiet_s) * (2 if death else 1))
        with trio.move_on_after(LONGEST_S):
            while not gone and not self.enough():
                gone = await hub.gone(0.02)
        if gone:
            status = await hub.end()
            if status == -signal.SIGKILL:
                self._count_death(death)
            else:
                self._report(f"the hub left with status {status}")
            return
        clean = random.random() < self.care.clean or (death is not None and death.point.startswith("snapshot"))
        if clean:
            hub.signal(signal.SIGTERM)
            if not await hub.gone(20):
                self._report("a clean stop took more than 20 s")
            status = await hub.end()
            if status == 0:
                self.outcome.counts["restarts"] += 1
            elif status == -signal.SIGKILL:
                self._count_death(death)
            else:
                self._report(f"a clean stop ended with status {status}")
            return
        if random.random() < 0.2:
            hub.signal(signal.SIGSTOP)
            self.outcome.counts["stops"] += 1
            await trio.sleep(random.uniform(0.02, 0.15))
            if random.random() < 0.5:
                hub.signal(signal.SIGCONT)
                await trio.sleep(0.05)
        hub.signal(signal.SIGKILL)
        await hub.end()
        self._count_death(None)
