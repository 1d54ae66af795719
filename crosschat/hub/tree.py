"""The running hub: the tree of tasks that holds its parts until it is to stop.

    Hub.run
    └── durable                               outlives every connection: writer, projections, index for search
        └── network                           dies first: supervisor, signals, doors, page

A clean stop tells the bridges, closes the doors, finishes what is queued and brings the files up to date. SIGKILL at
any moment costs nothing that was acked: the next start reads the log.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Protocol

import trio

from crosschat import lock, processes, version
from crosschat.core import views
from crosschat.core.handle import BeginEpoch
from crosschat.hub.contain import contain
from crosschat.hub.control import serve_control
from crosschat.hub.lock import HubNote
from crosschat.hub.parts import Options, Parts
from crosschat.hub.peers import serve_peer
from crosschat.hub.signals import watch_signals
from crosschat.hub.sockets import Door, open_doors, prepare_run_directory
from crosschat.hub.succession import Succession, Will
from crosschat.hub.supervisor import FencedLog
from crosschat.journal.files import RealFiles
from crosschat.journal.projections import project
from crosschat.journal.writer import Operation, write_log
from crosschat.limits import OPERATIONS_QUEUED
from crosschat.model import THE_SYSTEM, iso
from crosschat.wire import PROTOCOL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from crosschat.hub.log import Logger
    from crosschat.hub.recovery import Recovered
    from crosschat.journal.files import Files


class Hub:
    """A hub from its start to its end. `succession`: who gets the lock in the end."""

    def __init__(self, options: Options, log: Logger, files: Files | None = None) -> None:
        self.succession = Succession(version.installed(), Will(idle_stop_s=options.idle_stop_s, port=options.port))
        self._options = options
        self._log = log
        self._files = files or RealFiles()
        self._parts: Parts | None = None
        self._network: trio.CancelScope | None = None
        self._stopped = False

    def stop(self, reason: str, *, until_asked: bool = False) -> None:
        """Begin the clean stop; later calls change nothing. `until_asked`: bridges wait with starting the next hub."""
        if self._stopped:
            return
        self._stopped = True
        self._log.info("stopping", why=reason)
        if self._parts is not None:
            self._parts.farewell(reason, until_asked=until_asked)
        if self._network is not None:
            self._network.cancel()

    async def run(self, recovered: Recovered, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until stopped; `started()` once both sockets accept. Raises JournalBroken."""
        send, receive = trio.open_memory_channel[Operation](OPERATIONS_QUEUED)
        parts = self._parts = Parts(self._options, recovered, send, self.succession, self.stop, self._files, self._log)
        with parts:
            async with trio.open_nursery() as durable:
                written = trio.Event()
                await durable.start(write, parts, receive, written, name="write_log")
                async with send:
                    if recovered.begin_epoch:
                        await parts.router.ask(THE_SYSTEM, BeginEpoch(os.urandom(6).hex()))
                    projecting = await durable.start(project_files, parts, name="project")
                    indexing = await durable.start(index_for_search, parts, name="index for search")
                    with open_place(parts) as doors:
                        async with trio.open_nursery() as network:
                            self._network = network.cancel_scope
                            await serve(parts, network, doors, self.stop, task_status)
                await written.wait()
                projecting.cancel()  # it finishes what the writer has published
                indexing.cancel()  # it goes on where it is at the next start


# --- outliving every connection -------------------------------------------------------------------------------


async def write(
    parts: Parts,
    operations: trio.MemoryReceiveChannel[Operation],
    written: trio.Event,
    *,
    task_status: trio.TaskStatus[None],
) -> None:
    """The writer; `written` is set when it has ended well."""
    router, options = parts.router, parts.options
    await write_log(
        operations,
        log=FencedLog(parts.recovered.log, options.lock_fd, options.home.hub_lock),
        decide=router.decide,
        keys=router.keys,
        apply=router.apply,
        publish=router.publish,
        clock_ms=router.clock_ms,
        on_defect=router.defect,
        stats=parts.stats,
        task_status=task_status,
    )
    written.set()


async def project_files(parts: Parts, *, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
    """The documented files beside the log; `started()` gives the scope that ends it."""
    state = parts.router.state

    def on_trouble(error: Exception) -> None:
        parts.log.warning("files beside the log are behind", exc_info=error)

    with trio.CancelScope() as scope:
        task_status.started(scope)
        await project(
            parts.router.feed,
            home=parts.options.home.root,
            files=parts.files,
            epoch=state.epoch,
            badges_of=partial(views.badge_document, state),
            task_of=partial(views.task_document, state),
            questions_in=partial(views.questions_in, state),
            name_of=state.name_of,
            on_trouble=on_trouble,
        )


async def index_for_search(parts: Parts, *, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
    """The index; `started()` gives the scope that ends it. Disposable: no defect of it is worth a hub."""
    with trio.CancelScope() as scope:
        task_status.started(scope)
        try:
            from crosschat.hub.searching import Searching
        except ImportError as error:  # a Python that was built without SQLite
            parts.log.warning("search is off", error=repr(error))
            return
        searching = Searching(parts.router, parts.options.home.root / "index", parts.files, parts.log)
        parts.router.finder = searching
        await contain(_run, parts.log, "search")(searching)
        searching.trouble = "a defect stopped it; the hub's log has the details"


# --- dying first ----------------------------------------------------------------------------------------------


async def serve(
    parts: Parts,
    network: trio.Nursery,
    doors: tuple[Door, Door],
    stop: Callable[[str], None],
    task_status: trio.TaskStatus[None],
) -> None:
    """Begin everything that a stop cancels, in `network`: the agents' doors first, the page last."""
    agents, control = doors
    await network.start(parts.supervisor.run, doors)
    await network.start(watch_signals, stop)
    network.start_soon(contain(_run, parts.log, "projects"), parts.instances, name="register directories")
    network.start_soon(contain(_run, parts.log, "notify"), parts.notifier, name="notify")
    network.start_soon(contain(_run, parts.log, "silence"), parts.silence, name="tell senders of silence")
    peer = contain(partial(serve_peer, parts.doorway), parts.log, "agent")
    await network.start(_listen, agents, peer, name="serve agents.sock")
    client = contain(partial(serve_control, parts.desk), parts.log, "control")
    await network.start(_listen, control, client, name="serve control.sock")
    sock = parts.browser.claim()
    parts.log.info("serving", pid=os.getpid(), version=parts.version, head=parts.router.feed.head)
    task_status.started()
    if sock is not None:
        await parts.browser.open(network, sock, parts)
    write_note(parts)


@contextmanager
def open_place(parts: Parts) -> Iterator[tuple[Door, Door]]:
    """The run directory with both sockets, the agents' and the control one, as long as they are ours: in the end what
    lies there is taken away, first the note that the hub serves. Raises DataDirectoryError, OSError."""
    home = parts.options.home
    prepare_run_directory(home.run)
    agents, control = open_doors(home.agents_socket, home.control_socket)
    try:
        parts.events.add("hub_started", f"the hub started, version {parts.version}, pid {os.getpid()}")
        parts.watch.clear()
        yield agents, control
    finally:
        if lock.still_ours(parts.options.lock_fd, home.hub_lock):
            with suppress(OSError):
                parts.note.withdraw()
            parts.watch.remove()
        for door in (agents, control):
            door.close()


def write_note(parts: Parts) -> None:
    """Say in `dashboard.lock` that this hub serves."""
    myself = processes.find(os.getpid())
    note = HubNote(
        hub_pid=os.getpid(),
        start_ticks=myself.start if myself is not None else 0,
        boot_id=processes.boot_id(),
        port=parts.browser.port,
        hub_version=parts.version,
        protocol=PROTOCOL,
        started_at=iso(parts.started_ms),
    )
    try:
        parts.note.publish(note)
    except OSError as error:
        parts.log.warning("dashboard.lock not written", error=repr(error))


async def _listen(
    door: Door,
    handler: Callable[[trio.SocketStream], Awaitable[None]],
    *,
    task_status: trio.TaskStatus[object] = trio.TASK_STATUS_IGNORED,
) -> None:
    await trio.serve_listeners(handler, [door.listener], task_status=task_status)


class _Runs(Protocol):
    async def run(self) -> None: ...


async def _run(task: _Runs) -> None:
    await task.run()
