"""The running hub: its pieces, and the tree of tasks that holds them until it is to stop.

    Hub.run
    └── durable                               outlives every connection: writer, projections
        └── network                           dies first: supervisor, doors, page, signals

A clean stop tells the bridges, closes the doors, finishes what is queued and brings the files up to date. SIGKILL at
any moment costs nothing that was acked: the next start reads the log.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Protocol

import attrs
import trio

from crosschat import lock, processes, version
from crosschat.core import attention, views
from crosschat.core.attention import Patience
from crosschat.core.handle import BeginEpoch
from crosschat.core.presence import Presence
from crosschat.hub import tasktree
from crosschat.hub.asklist import AskList
from crosschat.hub.audit import Audit
from crosschat.hub.contain import contain
from crosschat.hub.control import Desk, serve_control
from crosschat.hub.dashboard import serve_screen
from crosschat.hub.events import EventLog
from crosschat.hub.guard import origin_of
from crosschat.hub.instances import Instances
from crosschat.hub.launcher import Launcher
from crosschat.hub.lock import HubNote, NoteFile
from crosschat.hub.metrics import prometheus
from crosschat.hub.notify import Notifier
from crosschat.hub.pairing import Pairing
from crosschat.hub.peers import Doorway, serve_peer
from crosschat.hub.permissions import PermissionDesk
from crosschat.hub.projects import Projects
from crosschat.hub.router import Router
from crosschat.hub.screens import Screens
from crosschat.hub.settings import Settings
from crosschat.hub.signals import watch_signals
from crosschat.hub.sockets import Door, open_doors, prepare_run_directory
from crosschat.hub.succession import Succession, Will
from crosschat.hub.supervisor import FencedLog, Supervisor
from crosschat.hub.survey import Survey
from crosschat.hub.visits import listen
from crosschat.hub.watchfiles import WatchFiles
from crosschat.hub.webserver import Facts, Site, serve_page
from crosschat.journal.feed import Feed
from crosschat.journal.files import RealFiles
from crosschat.journal.projections import project
from crosschat.journal.writer import Operation, WriterStats, write_log
from crosschat.limits import IDLE_STOP_S, LEASE_GRACE_S, OPERATIONS_QUEUED, Quotas
from crosschat.model import THE_SYSTEM, iso
from crosschat.pagewire import Hub as HubFrame
from crosschat.paths import Home
from crosschat.wire import PROTOCOL, DamageView, Figures, HubStatus, Inspect, Metrics

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

    from crosschat.core.state import State
    from crosschat.hub.log import Logger
    from crosschat.hub.recovery import Recovered
    from crosschat.journal.files import Files


@attrs.frozen(kw_only=True)
class Options:
    """How this hub runs. `port` None: the remembered or any free one. `idle_stop_s` None: it stays."""

    home: Home
    lock_fd: int
    port: int | None = None
    idle_stop_s: float | None = IDLE_STOP_S
    lease_grace_s: float = LEASE_GRACE_S
    patience: Patience = attrs.Factory(Patience)
    quotas: Quotas = attrs.Factory(Quotas)


class Hub:
    """The pieces of a running hub, and what can be asked of it from outside the doors."""

    def __init__(self, options: Options, log: Logger, files: Files | None = None) -> None:
        self.options = options
        self.log = log
        self.files = files or RealFiles()
        self.note = NoteFile(self.files, options.home.dashboard_lock)
        self.started_ms = time.time_ns() // 1_000_000
        self.version = version.installed()
        self.succession = Succession(self.version, Will(idle_stop_s=options.idle_stop_s, port=options.port))
        self.network: trio.CancelScope | None = None
        self.stopped_because: str | None = None
        self.doorway: Doorway | None = None
        self.stats = WriterStats()
        self.port: int | None = None
        self.page_problem: str | None = None
        self.events = EventLog(options.home.logs / "events.jsonl", _now_ms, log)
        self.screens: Screens | None = None
        self.instances: Instances | None = None
        self.notifier: Notifier | None = None

    @property
    def page(self) -> str | None:
        return f"{origin_of(self.port)}/" if self.port is not None else None

    def stop(self, reason: str, *, until_asked: bool = False) -> None:
        """Begin the clean stop; later calls change nothing. `until_asked`: bridges wait with starting the next hub."""
        if self.stopped_because is None:
            self.stopped_because = reason
            self.log.info("stopping", why=reason)
            self.events.add("hub_stopping", f"the hub stops: {reason}")
            if self.screens is not None:
                self.screens.farewell(reason)
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
            events=self.events,
        )
        async with trio.open_nursery() as durable:
            written = trio.Event()
            await durable.start(partial(self._write, receive, router, recovered, written), name="write_log")
            async with send:
                if recovered.begin_epoch:
                    await router.ask(THE_SYSTEM, BeginEpoch(os.urandom(6).hex()))
                projecting = await durable.start(self._project, router, name="project")
                indexing = await durable.start(self._index, router, name="index for search")
                await self._serve(router, recovered, task_status)
            await written.wait()
            projecting.cancel()  # it finishes what the writer has published
            indexing.cancel()  # it goes on where it is at the next start

    async def _write(
        self,
        operations: trio.MemoryReceiveChannel[Operation],
        router: Router,
        recovered: Recovered,
        written: trio.Event,
        *,
        task_status: trio.TaskStatus[None],
    ) -> None:
        await write_log(
            operations,
            log=FencedLog(recovered.log, self.options.lock_fd, self.options.home.hub_lock),
            decide=router.decide,
            keys=router.keys,
            apply=router.apply,
            publish=router.publish,
            clock_ms=_now_ms,
            on_defect=router.defect,
            stats=self.stats,
            task_status=task_status,
        )
        written.set()

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
                questions_in=partial(views.questions_in, router.state),
                name_of=router.state.name_of,
                on_trouble=self._trouble,
            )

    async def _index(self, router: Router, *, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
        with trio.CancelScope() as scope:
            task_status.started(scope)
            try:
                from crosschat.hub.searching import Searching
            except ImportError as error:  # a Python that was built without SQLite
                self.log.warning("search is off", error=repr(error))
                return
            router.finder = searching = Searching(router, self.options.home.root / "index", self.files, self.log)
            await contain(_run, self.log, "search")(searching)  # disposable: no defect of it is worth a hub
            searching.trouble = "a defect stopped it; the hub's log has the details"

    def _trouble(self, error: Exception) -> None:
        self.log.warning("files beside the log are behind", exc_info=error)

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
            self.note,
            options.idle_stop_s,
            options.lease_grace_s,
        )
        doorway = Doorway(
            router,
            options.quotas,
            self.version,
            self.log,
            lambda: self.page,
            supervisor,
            recovered.notices,
        )
        self.doorway = doorway
        survey = Survey(router)
        self.events.read()
        self.events.add("hub_started", f"the hub started, version {self.version}, pid {os.getpid()}")
        settings = Settings(self.files, home.settings)
        audit = Audit(home.root, self.files, _now_ms)
        watch = WatchFiles(home.watch, self.files, self.log)
        watch.clear()
        asking = AskList(home.ask, self.files, settings, self.log)
        permissions = PermissionDesk(router=router, audit=audit, watch=watch, asking=asking, log=self.log)
        inspect = partial(self.inspect, router, recovered, permissions)
        figures = partial(self.figures, router, recovered, permissions)
        projects = Projects(self.files, home.root / "instances.json")
        self.instances = instances = Instances(router, projects, Launcher(home), settings, self.log)
        self.notifier = notifier = Notifier(router, settings, options.patience, lambda: self.page, self.log)
        permissions.watch(notifier)
        desk = Desk(
            router, inspect, self.stop, self.succession, permissions, survey, self.log,
            metrics=figures, instances=instances, notifier=notifier,
        )  # fmt: skip
        try:
            async with trio.open_nursery() as network:
                self.network = network.cancel_scope
                await network.start(supervisor.run)
                await network.start(watch_signals, self.stop)
                network.start_soon(contain(_run, self.log, "projects"), instances, name="register directories")
                network.start_soon(contain(_run, self.log, "notify"), notifier, name="notify")
                await network.start(
                    _listen, agents, contain(partial(serve_peer, doorway), self.log, "agent"), name="serve agents.sock"
                )
                await network.start(
                    _listen,
                    control,
                    contain(partial(serve_control, desk), self.log, "control"),
                    name="serve control.sock",
                )
                sock = self._claim_port(settings)
                self.log.info("serving", pid=os.getpid(), version=self.version, head=router.feed.head)
                task_status.started()
                if sock is not None and self.port is not None:
                    desk.pairing = Pairing(settings, self.port, self.events, _now_ms)
                    screens = Screens(
                        router=router,
                        pairing=desk.pairing,
                        desk=permissions,
                        survey=survey,
                        events=self.events,
                        instances=instances,
                        patience=lambda: notifier.patience,
                        version=self.version,
                        hub=partial(self.show, router, recovered, permissions),
                        log=self.log,
                    )
                    await self._open_page(network, sock, settings, self._site(router, screens))
                self._write_note()
        finally:
            self._remove_note()
            if lock.still_ours(options.lock_fd, home.hub_lock):
                watch.remove()
            for door in doors:
                door.close()
            audit.close()

    def _claim_port(self, settings: Settings) -> socket.socket | None:
        """Listen where the page will be, so that its address is known from the first moment on."""
        sock, self.page_problem = listen(self.options.port, settings.dashboard_port)
        if sock is None:
            self.log.warning("page off", why=self.page_problem)
            return None
        self.port = int(sock.getsockname()[1])
        self.page_problem = settings.problem
        if self.options.port is None and settings.dashboard_port not in (None, self.port):
            self.page_problem = (
                f"port {settings.dashboard_port} is another program's: the page is at port {self.port} until the hub "
                f"starts with {settings.dashboard_port} free again, and has to be paired there; what answers at "
                f"{settings.dashboard_port} is not CrossChat"
            )
            self.events.add("alarm", self.page_problem)
        return sock

    def _site(self, router: Router, screens: Screens) -> Site:
        """What is behind the browser door, and whom the pages hear from."""
        self.screens = screens
        screens.desk.watch(screens)
        screens.instances.projects.changed = partial(screens.stir, "hub")
        screens.instances.launched = self._launched
        router.attach(screens, screens)
        router.presence.on_change = screens.survey.on_news = partial(screens.stir, "people", "hub")
        screens.pairing.told = screens
        self.events.listener = screens
        return Site(Facts(self.version, PROTOCOL), screens.pairing, partial(serve_screen, screens), self.log)

    async def _open_page(self, network: trio.Nursery, sock: socket.socket, settings: Settings, site: Site) -> None:
        """The page comes last: agents do not wait for it, and without it they work all the same."""
        await network.start(serve_page, sock, site)
        if self.options.port is None:
            try:
                settings.remember_port(site.pairing.port)
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
            self.note.publish(note)
        except OSError as error:
            self.log.warning("dashboard.lock not written", error=repr(error))

    def _remove_note(self) -> None:
        with suppress(OSError):
            if lock.still_ours(self.options.lock_fd, self.options.home.hub_lock):
                self.note.withdraw()

    def show(self, router: Router, recovered: Recovered, permissions: PermissionDesk) -> HubFrame:
        """What the page shows of the hub."""
        return HubFrame(
            version=self.version,
            home=str(self.options.home.root),
            started_at=iso(self.started_ms),
            head=router.state.head,
            open_tasks=_open_tasks(router.state),
            guarded=views.guard_views(router.state),
            damage=_damage(recovered),
            launches=self.instances.way if self.instances is not None else None,
            projects=self.instances.views() if self.instances is not None else (),
            notices=(
                *recovered.notices,
                *permissions.problems(),
                *([self.page_problem] if self.page_problem else ()),
            ),
        )

    def _launched(self, project: str, where: str) -> None:
        self.events.add("launched", f"a session was started in {project}, {where}")

    def _needs(self, router: Router) -> dict[str, int]:
        patience = self.notifier.patience if self.notifier is not None else self.options.patience
        found = attention.needs(router.state, router.presence, _now_ms(), patience)
        return dict(Counter(need.kind for need in found))

    def figures(self, router: Router, recovered: Recovered, permissions: PermissionDesk, asked: Metrics) -> Figures:
        """The same for programs."""
        found = self.inspect(router, recovered, permissions, Inspect(id=asked.id))
        return Figures(id=asked.id, text=prometheus(found, self.started_ms / 1000))

    def inspect(self, router: Router, recovered: Recovered, permissions: PermissionDesk, asked: Inspect) -> HubStatus:
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
            guarded=views.guard_views(state),
            open_tasks=_open_tasks(state),
            queued=router.queued,
            sync_p50_ms=round(stats.percentile_s(50) * 1000, 3) if measured else None,
            sync_p99_ms=round(stats.percentile_s(99) * 1000, 3) if measured else None,
            rss_bytes=processes.resident_bytes(),
            dashboard=self.page,
            dashboard_problem=self.page_problem,
            browsers=self.screens.pairing.views() if self.screens is not None else (),
            pages=self.screens.count if self.screens is not None else 0,
            damage=_damage(recovered),
            notices=(*recovered.notices, *permissions.problems()),
            idle_stop_s=self.options.idle_stop_s,
            readers=self.doorway.readers() if self.doorway is not None else (),
            pending=len(permissions.requests()),
            counters={**_writer_counts(stats), **router.counts},
            needs=self._needs(router),
            notify_problem=self.notifier.problem if self.notifier is not None else None,
            search_behind=router.finder.behind if router.finder is not None else 0,
            search_problem=router.finder.trouble if router.finder is not None else "this Python has no module sqlite3",
            tree=tasktree.lines() if asked.tree else (),
        )


def _open_tasks(state: State) -> int:
    return sum(not task.finished for task in state.tasks.values())


def _damage(recovered: Recovered) -> tuple[DamageView, ...]:
    return tuple(
        DamageView(file=str(one.file), line=one.line_number, reason=one.reason) for one in recovered.log.damages[:100]
    )


def _writer_counts(stats: WriterStats) -> dict[str, int]:
    return {
        "records": stats.records, "batches": stats.batches, "bytes": stats.bytes, "refused": stats.refused,
        "failed_batches": stats.failed_batches,
    }  # fmt: skip


class _Runs(Protocol):
    async def run(self) -> None: ...


async def _run(task: _Runs) -> None:
    await task.run()


async def _listen(
    door: Door,
    handler: Callable[[trio.SocketStream], Awaitable[None]],
    *,
    task_status: trio.TaskStatus[object] = trio.TASK_STATUS_IGNORED,
) -> None:
    await trio.serve_listeners(handler, [door.listener], task_status=task_status)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
