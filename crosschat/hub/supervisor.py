"""Watches over what the hub rests on: its lock, its sockets, its data directory, the agents' processes, and its use.

If the lock file, a socket or the data directory is not the hub's any more, somebody replaced it and there may be
another hub: this one stops cleanly and leaves the place to the rightful one. Until it notices, `FencedLog` sees to it
that nothing is acked which the other one may not have. `dashboard.lock` is only a note, and is repaired. An agent
whose process ended is put out even if a child of it keeps the connection open. A claim whose claimant stays away is
freed. A hub that nobody needs ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import trio

from crosschat import lock
from crosschat.core.handle import EndLease
from crosschat.core.tasks import ended_leases
from crosschat.errors import Displaced, Refused
from crosschat.hub.lock import NoteFile
from crosschat.hub.log import Logger
from crosschat.hub.router import Router
from crosschat.journal.writer import Appends
from crosschat.model import THE_SYSTEM
from crosschat.processes import Process, wait_gone

if TYPE_CHECKING:
    from crosschat.hub.sockets import Door

CHECK_INTERVAL_S: Final = 1.0


@attrs.frozen
class FencedLog:
    """The log, appended to only as long as the lock is this hub's.

    Another hub takes the lock before it reads the log. So if the lock is still ours *after* a sync, whoever comes
    later finds those records; if it is not, they may have gone into a file that the other one has replaced.
    """

    log: Appends
    lock_fd: int
    lock_path: Path

    @property
    def next_seq(self) -> int:
        return self.log.next_seq

    def append(self, lines: Sequence[bytes]) -> None:
        """As `Log.append`. Raises also Displaced."""
        self.log.append(lines)
        if not lock.still_ours(self.lock_fd, self.lock_path):
            raise Displaced("hub.lock or the data directory was replaced or removed")


@attrs.define(eq=False)
class Supervisor:
    """`stop` ends the hub with a reason. Times are seconds; `idle_stop_s` None is never."""

    router: Router
    stop: Callable[[str], None]
    log: Logger
    lock_path: Path
    lock_fd: int
    note: NoteFile
    idle_stop_s: float | None
    lease_grace_s: float
    _nursery: trio.Nursery | None = None

    async def run(
        self, doors: Sequence[Door] = (), *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Until cancelled. Its nursery holds a watch for every connected agent's process."""
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self._watch_place, doors)
            self._nursery.start_soon(self._end_leases)
            if self.idle_stop_s is not None:
                self._nursery.start_soon(self._stop_when_idle, self.idle_stop_s)
            task_status.started()

    def watch(self, process: Process, gone: Callable[[], None]) -> trio.CancelScope:
        """Call `gone` once when the process has ended, unless the returned scope is cancelled before."""
        scope = trio.CancelScope()

        async def watch_process() -> None:
            with scope:
                while not await self._ended(process):
                    pass
                gone()

        if self._nursery is None:
            raise RuntimeError("the supervisor does not run")
        self._nursery.start_soon(watch_process, name=f"watch process {process.pid}")
        return scope

    async def _ended(self, process: Process) -> bool:
        """Wait for the end of the process; False, a second later, if no descriptor was free to watch it."""
        try:
            await wait_gone(process)
        except OSError as error:
            self.log.warning("process not watched", pid=process.pid, error=repr(error))
            await trio.sleep(CHECK_INTERVAL_S)
            return False
        return True

    async def _watch_place(self, doors: Sequence[Door]) -> None:
        said: str | None = None
        while True:
            await trio.sleep(CHECK_INTERVAL_S)
            if not lock.still_ours(self.lock_fd, self.lock_path):
                self.stop("hub.lock or the data directory was replaced or removed")
                return
            for door in doors:
                if not door.in_place:
                    self.stop(f"{door.path.name} was replaced or removed")
                    return
            said = self._keep_note(said)

    def _keep_note(self, said: str | None) -> str | None:
        """Repair the note. The same trouble is logged once, not every second: `said` is what was logged last."""
        try:
            done = self.note.keep()
        except OSError as error:
            done = repr(error)
        if done != said and done is not None:
            self.log.warning("dashboard.lock was changed", done=done)
        return done

    async def _end_leases(self) -> None:
        grace_ms = int(self.lease_grace_s * 1000)
        interval_s = min(5.0, max(0.05, self.lease_grace_s / 10))
        while True:
            await trio.sleep(interval_s)
            router = self.router
            for target in tuple(ended_leases(router.state, router.presence, router.clock_ms(), grace_ms)):
                try:
                    await router.ask(THE_SYSTEM, EndLease(target, grace_ms))
                except Refused as refused:
                    self.log.warning("lease not ended", why=refused.message)

    async def _stop_when_idle(self, idle_s: float) -> None:
        while True:
            while self.router.busy:
                await self.router.next_activity()
            with trio.move_on_after(idle_s):
                while not self.router.busy:
                    await self.router.next_activity()
            if not self.router.busy:
                self.stop(f"nobody needed it for {idle_s:g} s")
                return
