"""The hub process: holds the lock, recovers the journal, then runs the tree of tasks until it is to stop.

    run_hub
    └── lock held, journal recovered          plain synchronous code, before any task
        └── durable                           outlives every connection: writer, projections
            └── network                       dies first: supervisor, doors, page, signals

A clean stop tells the bridges, closes the doors, finishes what is queued, saves the index and goes. SIGKILL at any
moment costs nothing that was acked: the next start reads the log.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from contextlib import suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import trio

from crosschat import lock, processes
from crosschat.core import snapshot, views
from crosschat.core.handle import BeginEpoch
from crosschat.core.presence import Presence
from crosschat.core.state import State
from crosschat.errors import DataDirectoryError, JournalBroken
from crosschat.hub import tasktree
from crosschat.hub.contain import contain
from crosschat.hub.control import Desk, serve_control
from crosschat.hub.lock import HubNote, read_note_pid, remove_note, write_note
from crosschat.hub.log import Logger, open_log
from crosschat.hub.peers import Doorway, serve_peer
from crosschat.hub.router import Router
from crosschat.hub.settings import Settings
from crosschat.hub.signals import watch_signals
from crosschat.hub.sockets import Door, open_doors, prepare_run_directory
from crosschat.hub.supervisor import Supervisor
from crosschat.hub.webserver import CANONICAL_HOST, Facts, listen, serve_page
from crosschat.journal import index
from crosschat.journal.directory import check_directory, open_directory
from crosschat.journal.feed import Feed
from crosschat.journal.files import Files, RealFiles, exists
from crosschat.journal.projections import project
from crosschat.journal.store import Log
from crosschat.journal.writer import Operation, WriterStats, write_log
from crosschat.limits import IDLE_STOP_S, LEASE_GRACE_S, OPERATIONS_QUEUED, Quotas
from crosschat.model import THE_SYSTEM, iso
from crosschat.paths import Home
from crosschat.wire import PROTOCOL, DamageView, HubStatus, Inspect

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

INDEX_BEHIND_RECORDS: Final = 5_000  # a start that had to read more saves what it learnt before it serves
EXIT_REFUSED: Final = 1
EXIT_JOURNAL: Final = 70  # EX_SOFTWARE: the log can no longer keep its promise


@attrs.frozen(kw_only=True)
class Options:
    """How this hub runs. `port` None: the remembered or any free one. `idle_stop_s` None: it stays."""

    home: Home
    lock_fd: int
    port: int | None = None
    idle_stop_s: float | None = IDLE_STOP_S
    lease_grace_s: float = LEASE_GRACE_S
    quotas: Quotas = attrs.Factory(Quotas)


@attrs.frozen
class Recovered:
    """What the log gave back: the state of its last record, and what people should know."""

    log: Log
    state: State
    notices: tuple[str, ...]
    begin_epoch: bool


def recover(home: Path, files: Files) -> Recovered:
    """Open the data directory and bring the state up to date. Blocks. Raises DataDirectoryError, JournalBroken."""
    notes = open_directory(home, files)
    found = index.load(files, home)
    log, recovery = Log.recover(home, files, found)
    state = _restore(recovery.snapshot)
    restored = state.head
    for record in log.replay(after=restored):
        state.apply(record)
    if state.head - restored > INDEX_BEHIND_RECORDS:
        save_index(log, state, home, files)
    notices = list(notes)
    if recovery.shortened:
        notices.append("the log is older than the index beside it: it was restored from a copy, and a new epoch begins")
    if recovery.cut:
        torn = f"{recovery.cut.file}: {recovery.cut.reason}"
        notices.append(f"the end of the log was torn and was cut ({torn}); a copy is in damaged/")
    return Recovered(log, state, tuple(notices), begin_epoch=recovery.shortened or not state.epochs)


def _restore(found: index.Snapshot | None) -> State:
    """The state a usable snapshot holds, else that of an empty log."""
    if found is not None:
        with suppress(snapshot.UnusableSnapshot):
            return snapshot.load(found.state)
    return State()


def save_index(log: Log, state: State, home: Path, files: Files) -> None:
    """Make the next start quick. Whatever goes wrong costs only that: the log has everything."""
    with suppress(OSError):
        taken = log.snapshot(state.head, epoch=state.epoch, state=snapshot.dump(state))
        if taken is not None:
            index.save(files, home, taken)


class Hub:
    """The pieces of a running hub, and what can be asked of it from outside the doors."""

    def __init__(self, options: Options, log: Logger) -> None:
        self.options = options
        self.log = log
        self.files = RealFiles()
        self.started_ms = time.time_ns() // 1_000_000
        self.version = installed_version()
        self.network: trio.CancelScope | None = None
        self.stopped_because: str | None = None
        self.doorway: Doorway | None = None
        self.stats = WriterStats()
        self.port: int | None = None
        self.page_problem: str | None = None

    @property
    def page(self) -> str | None:
        return f"http://{CANONICAL_HOST}:{self.port}/" if self.port is not None else None

    def stop(self, reason: str, *, until_asked: bool = False) -> None:
        """Begin the clean stop; later calls change nothing. `until_asked`: bridges wait with starting the next hub."""
        if self.stopped_because is None:
            self.stopped_because = reason
            self.log.info("stopping", why=reason)
            if self.doorway is not None:  # while the connections are there
                self.doorway.farewell(reason, until_asked=until_asked)
            if self.network is not None:
                self.network.cancel()

    async def run(self, recovered: Recovered, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until stopped; `started()` once both sockets accept. Raises JournalBroken."""
        feed = Feed(recovered.log)
        send, receive = trio.open_memory_channel[Operation](OPERATIONS_QUEUED)
        router = Router(
            state=recovered.state,
            presence=Presence(self.started_ms),
            feed=feed,
            operations=send,
            clock_ms=_now_ms,
            log=self.log,
        )
        async with trio.open_nursery() as durable:
            await durable.start(
                partial(
                    write_log,
                    receive,
                    log=recovered.log,
                    decide=router.decide,
                    keys=router.keys,
                    apply=router.apply,
                    publish=router.publish,
                    clock_ms=_now_ms,
                    on_defect=router.defect,
                    stats=self.stats,
                )
            )
            async with send:
                if recovered.begin_epoch:
                    await router.ask(THE_SYSTEM, BeginEpoch(os.urandom(6).hex()))
                projecting = await durable.start(self._project, router)
                await self._serve(router, recovered, task_status)
            projecting.cancel()  # it finishes what the writer has published

    async def _project(self, router: Router, *, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
        with trio.CancelScope() as scope:
            task_status.started(scope)
            await project(
                router.feed,
                home=self.options.home.root,
                files=self.files,
                epoch=router.state.epoch,
                badges_of=partial(views.badge_document, router.state),
                task_of=partial(views.task_document, router.state),
                name_of=router.state.name_of,
                on_trouble=self._trouble,
            )

    def _trouble(self, error: Exception) -> None:
        self.log.warning("files beside the log are behind", error=repr(error))

    async def _serve(self, router: Router, recovered: Recovered, task_status: trio.TaskStatus[None]) -> None:
        home, options = self.options.home, self.options
        prepare_run_directory(home.run)
        doors = agents, control = open_doors(home.agents_socket, home.control_socket)
        supervisor = Supervisor(
            router,
            self.stop,
            self.log,
            home.hub_lock,
            options.lock_fd,
            doors,
            options.idle_stop_s,
            options.lease_grace_s,
        )
        doorway = Doorway(
            router, options.quotas, self.version, self.log, lambda: self.page, supervisor, recovered.notices
        )
        self.doorway = doorway
        desk = Desk(router, partial(self.inspect, router, recovered), self.stop, self.log)
        try:
            async with trio.open_nursery() as network:
                self.network = network.cancel_scope
                await network.start(supervisor.run)
                await network.start(watch_signals, self.stop)
                await network.start(
                    _listen, agents, contain(partial(serve_peer, doorway), self.log, "agent"), name="serve agents.sock"
                )
                await network.start(
                    _listen,
                    control,
                    contain(partial(serve_control, desk), self.log, "control"),
                    name="serve control.sock",
                )
                settings = Settings(self.files, home.settings)
                sock = self._claim_port(settings)
                self.log.info("serving", pid=os.getpid(), version=self.version, head=router.feed.head)
                task_status.started()
                if sock is not None:
                    await self._open_page(network, sock, settings)
                self._write_note()
                if self.stopped_because is not None:
                    self.stop(self.stopped_because)
        finally:
            self._remove_note()
            for door in doors:
                door.close()

    def _claim_port(self, settings: Settings) -> socket.socket | None:
        """Listen where the page will be, so that its address is known from the first moment on."""
        sock, self.page_problem = listen(self.options.port, settings.dashboard_port)
        if sock is None:
            self.log.warning("page off", why=self.page_problem)
            return None
        self.port = int(sock.getsockname()[1])
        self.page_problem = settings.problem
        return sock

    async def _open_page(self, network: trio.Nursery, sock: socket.socket, settings: Settings) -> None:
        """The page comes last: agents do not wait for it, and without it they work all the same."""
        await network.start(serve_page, sock, Facts(self.version, PROTOCOL), self.log)
        if self.options.port is None and self.port is not None:
            try:
                settings.remember_port(self.port)
            except OSError as error:
                self.page_problem = f"the page's port cannot be remembered: {error}"

    def _write_note(self) -> None:
        myself = processes.find(os.getpid())
        note = HubNote(
            hub_pid=os.getpid(),
            start_ticks=myself.start if myself is not None else 0,
            boot_id=processes.boot_id(),
            port=self.port,
            hub_version=self.version,
            protocol=PROTOCOL,
            started_at=iso(self.started_ms),
        )
        try:
            write_note(self.files, self.options.home.dashboard_lock, note)
        except OSError as error:
            self.log.warning("dashboard.lock not written", error=repr(error))

    def _remove_note(self) -> None:
        with suppress(OSError):
            if lock.still_ours(self.options.lock_fd, self.options.home.hub_lock):
                remove_note(self.files, self.options.home.dashboard_lock)

    def inspect(self, router: Router, recovered: Recovered, asked: Inspect) -> HubStatus:
        """What `crosschat status` shows."""
        state, stats = router.state, self.stats
        measured = bool(stats.times_s)
        return HubStatus(
            id=asked.id,
            pid=os.getpid(),
            version=self.version,
            protocol=PROTOCOL,
            home=str(self.options.home.root),
            started_at=iso(self.started_ms),
            epoch=state.epoch,
            head=state.head,
            agents=views.peer_views(state, router.presence, _now_ms()),
            open_tasks=sum(not task.finished for task in state.tasks.values()),
            queued=router.queued,
            sync_p50_ms=round(stats.percentile_s(50) * 1000, 3) if measured else None,
            sync_p99_ms=round(stats.percentile_s(99) * 1000, 3) if measured else None,
            rss_bytes=processes.resident_bytes(),
            dashboard=self.page,
            dashboard_problem=self.page_problem,
            damage=tuple(
                DamageView(file=str(one.file), line=one.line_number, reason=one.reason)
                for one in recovered.log.damages[:100]
            ),
            notices=recovered.notices,
            idle_stop_s=self.options.idle_stop_s,
            tree=tasktree.lines() if asked.tree else (),
        )


async def _listen(
    door: Door,
    handler: Callable[[trio.SocketStream], Awaitable[None]],
    *,
    task_status: trio.TaskStatus[object] = trio.TASK_STATUS_IGNORED,
) -> None:
    await trio.serve_listeners(handler, [door.listener], task_status=task_status)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def installed_version() -> str:
    try:
        return version("crosschat-hub")
    except PackageNotFoundError:
        return "0+unknown"  # run from a checkout that was never installed


def main(arguments: list[str] | None = None) -> int:
    """Run a hub as the command line says. Returns the exit status."""
    asked = _parse(arguments)
    home = Home(Path(asked.home), Path(asked.run_dir) if asked.run_dir else None)
    os.umask(0o077)
    try:
        lock_fd = _take_lock(home) if asked.lock_fd is None else asked.lock_fd
        os.set_inheritable(lock_fd, False)
        recovered = recover(home.root, RealFiles())
        log = _open_log(home.logs)
    except (DataDirectoryError, JournalBroken, OSError) as error:
        _report(asked.ready_fd, {"error": str(error)})
        return EXIT_REFUSED
    options = Options(
        home=home,
        lock_fd=lock_fd,
        port=asked.port,
        idle_stop_s=None if asked.stay else asked.idle_stop_s,
        lease_grace_s=asked.lease_grace_s,
        quotas=_quotas(asked.quotas),
    )
    status = 0
    try:
        trio.run(_run, Hub(options, log), recovered, asked.ready_fd)
    except* JournalBroken as broken:
        log.critical("the log failed", error=repr(broken.exceptions[0]))
        status = EXIT_JOURNAL
    except* (DataDirectoryError, OSError) as refused:
        log.critical("cannot serve", error=str(refused.exceptions[0]))
        _report(asked.ready_fd, {"error": str(refused.exceptions[0])})
        status = EXIT_REFUSED
    if status == 0:
        save_index(recovered.log, recovered.state, home.root, RealFiles())
    recovered.log.close()
    log.info("gone", status=status)
    return status


async def _run(hub: Hub, recovered: Recovered, ready_fd: int | None) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(hub.run, recovered)
        _report(ready_fd, {"pid": os.getpid()})


def _open_log(directory: Path) -> Logger:
    files = RealFiles()
    if not exists(files, directory):
        files.mkdir(directory)
    return open_log(directory)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m crosschat.hub", description="The CrossChat hub.")
    parser.add_argument("--home", required=True, help="the data directory")
    parser.add_argument("--run-dir", help="where the sockets are, if not in the data directory")
    parser.add_argument("--lock-fd", type=int, help="a descriptor that holds hub.lock already")
    parser.add_argument("--ready-fd", type=int, help="gets one line of JSON once the hub accepts, or why it does not")
    parser.add_argument("--port", type=int, help="the page's port")
    parser.add_argument("--idle-stop-s", type=float, default=IDLE_STOP_S, help="stop when unused for so long")
    parser.add_argument("--stay", action="store_true", help="do not stop when unused")
    parser.add_argument("--lease-grace-s", type=float, default=LEASE_GRACE_S, help="how long a claimant may be away")
    parser.add_argument("--quotas", type=json.loads, default={}, help="JSON object; raised quotas of a private hub")
    return parser.parse_args(arguments)


def _quotas(changes: dict[str, float]) -> Quotas:
    return Quotas(**changes)  # type: ignore[arg-type]  # an unknown or wrong one ends the start


def _take_lock(home: Home) -> int:
    """For a hub that was started without a lock. Raises DataDirectoryError if the directory has a hub."""
    files = RealFiles()
    check_directory(home.root, files)  # before the lock file is made: what is refused stays as it is
    home.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    held = lock.try_hold(home.hub_lock)
    if held is None:
        pid = read_note_pid(files, home.dashboard_lock)
        raise DataDirectoryError(
            f"A hub is already running on {home.root}" + (f", with pid {pid}." if pid else ".") + " Use that one, or "
            "stop it with `crosschat stop`."
        )
    return held


def _report(ready_fd: int | None, message: dict[str, object]) -> None:
    """Tell who started this hub, and let go of it."""
    if ready_fd is None:
        if "error" in message:
            print(f"crosschat hub: {message['error']}", file=sys.stderr)
        return
    with suppress(OSError):
        os.write(ready_fd, json.dumps(message).encode() + b"\n")
        os.close(ready_fd)
