"""`crosschat serve`: one MCP server for one client, from its start to its end.

It ends when stdin ends, on SIGINT or SIGTERM, or when the Claude process above it is gone, whatever keeps the pipe
open; never because the hub did. It leaves nothing behind: the hub sees the socket close, and keeps what is unread.
"""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from crosschat import processes, version, websocket, wire
from crosschat.bridge.bells import Bells, hook_bell
from crosschat.bridge.calls import Session
from crosschat.bridge.client import Link
from crosschat.bridge.doorbell import find_doorbell
from crosschat.bridge.inbox import Inbox
from crosschat.bridge.interrupts import note_of, watch_for_idle
from crosschat.bridge.launch import ensure_hub, start_template
from crosschat.bridge.project import project_of
from crosschat.bridge.report import Report
from crosschat.bridge.views import fitting
from crosschat.bridge.waiting import Waiting
from crosschat.bridge.wake import Wake
from crosschat.errors import ConfigurationError
from crosschat.paths import Configuration, read_environment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from crosschat.bridge.handover import Launcher
    from crosschat.bridge.wake import SendRing
    from crosschat.model import WakeMode

END_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
LOOKS: Final = 5
LOOK_AGAIN_S: Final = 0.5
SESSION_VARIABLE: Final = "CLAUDE_CODE_SESSION_ID"


def main(*, template: bool = False) -> int:
    """Serve until the client is gone. The exit status: 0, or 2 if it could not begin, with a line on stderr.

    With `template`, start one for the sessions that follow.
    """
    return serve(None, template=template)


def serve(launcher: Launcher | None, *, template: bool = False) -> int:
    """`main`, for the process of the launcher if there is one."""
    try:
        configuration = read_environment()
        cwd = configuration.cwd or Path.cwd()
    except ConfigurationError as error:
        print(f"crosschat: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"crosschat: the working directory is gone ({error}): start in one that exists", file=sys.stderr)
        return 2
    try:
        for descriptor in (0, 1):
            os.fstat(descriptor)
    except OSError:
        print("crosschat: serve speaks MCP on stdin and stdout, and one of them is closed", file=sys.stderr)
        return 2
    try:
        trio.run(partial(run_bridge, configuration, cwd, launcher, template=template))
    except* KeyboardInterrupt:
        pass
    return 0


def open_session(configuration: Configuration, cwd: Path, launcher: Launcher | None = None) -> Session:
    """Everything of one client, not running yet."""
    open_socket = trio.open_unix_socket if launcher is None else launcher.dial
    home, inbox = configuration.home, Inbox()

    async def start_hub() -> None:
        # Who has seen the data directory makes no new one in its place: it was moved, and may be moved back.
        start = partial(ensure_hub, home, port=configuration.dashboard_port, create=inbox.epoch is None)
        # Abandoned, the thread ends with the process, or its hub comes up: both are what was wanted.
        await trio.to_thread.run_sync(start, abandon_on_cancel=True)

    hello = wire.Hello(
        protocol=wire.PROTOCOL,
        version=version.installed(),
        cwd=os.fspath(cwd),
        name=configuration.name,
        project=project_of(cwd),
        session=os.environ.get(SESSION_VARIABLE) or None,
    )
    link = Link(
        hello, inbox, dial=partial(websocket.dial, home.agents_socket, open_socket=open_socket), start_hub=start_hub
    )
    doorbell = find_doorbell()
    ring = None if doorbell is None else partial(doorbell.ring, open_socket=open_socket)
    return connect(link, configuration.wake, ring)


def connect(link: Link, mode: WakeMode, inbox_bell: SendRing | None) -> Session:
    """A session on this link: what changes there is heard by whoever waits or rings."""
    inbox = link.inbox
    waiting = Waiting(link, inbox, fitting=partial(fitting, inbox=inbox))
    bells = Bells(mode, inbox=inbox_bell, hook=hook_bell(link))

    def ready() -> bool:
        return link.connected and bells.ready and not (link.activity.paused or waiting.pending)

    report = Report(link, bells, budget_s=lambda: wake.budget_s())
    send = bells.ring if bells.any else None
    wake = Wake(inbox, send=send, ready=ready, before=report.ringing, after=report.rung)

    def news() -> None:
        waiting.notify()
        wake.told(link.activity.announced)
        if bells.hear(hook_waits=link.activity.hook):
            wake.try_again()
        wake.activity = link.activity.state
        report.post()

    link.news = news
    return Session(link, inbox, waiting, wake, bells, report)


async def run_bridge(
    configuration: Configuration, cwd: Path, launcher: Launcher | None = None, *, template: bool = False
) -> None:
    """Serve one client on stdin and stdout; returns when it is gone."""
    for number in END_SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # a second one comes too late to matter: it must not kill the ending
    with trio.open_signal_receiver(*END_SIGNALS) as signals:
        session = open_session(configuration, cwd, launcher)
        # All of it lives as long as the client: whichever task notices its end cancels the others.
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_end_on_signal, signals, nursery.cancel_scope)
            pid = os.getpid() if launcher is None else launcher.pid
            nursery.start_soon(_follow_claude, session, pid, nursery.cancel_scope)
            if launcher is not None:
                nursery.start_soon(_end_with_launcher, launcher, nursery.cancel_scope)
            nursery.start_soon(session.link.run)
            nursery.start_soon(session.wake.run)
            # `mcp` takes most of a second to import; the hub is dialled, or started, meanwhile.
            if template:
                nursery.start_soon(_start_template, session.link, configuration)
            if launcher is None:
                serve = await trio.to_thread.run_sync(_import_server, abandon_on_cancel=True)
            else:
                serve = _import_server()  # the template has imported it
            await serve(session, session.link.hello.version)
            nursery.cancel_scope.cancel()


async def _start_template(link: Link, configuration: Configuration) -> None:
    await link.joined.wait()  # so the run directory is there, and this session does not wait for the processor
    await trio.to_thread.run_sync(start_template, configuration.home, abandon_on_cancel=True)


def _import_server() -> Callable[[Session, str], Awaitable[None]]:
    from crosschat.bridge.server import serve_session

    return serve_session


async def _end_on_signal(signals: AsyncIterator[int], bridge: trio.CancelScope) -> None:
    async for _ in signals:
        bridge.cancel()


async def _end_with_launcher(launcher: Launcher, bridge: trio.CancelScope) -> None:
    await launcher.attend()
    bridge.cancel()


async def _follow_claude(session: Session, pid: int, bridge: trio.CancelScope) -> None:
    """A crash of Claude Code may leave our stdin open in a sibling: its process tells."""
    claude = await _find_claude(pid)
    if claude is None:
        if SESSION_VARIABLE in os.environ and processes.are_orphaned(processes.ancestors(pid)[1:]):
            bridge.cancel()  # it was gone before we looked
        return
    async with trio.open_nursery() as nursery:  # the watch ends with the process it is about
        nursery.start_soon(
            watch_for_idle,
            note_of(claude),
            claude,
            lambda: session.link.activity.state == "working",
            partial(session.report.post, idle=True),
        )
        await processes.wait_gone(claude)
        nursery.cancel_scope.cancel()
    bridge.cancel()


async def _find_claude(pid: int) -> processes.Process | None:
    """The Claude Code process above, looked for again while the line to the first process has a gap: one of them ended
    in between, or may not be seen."""
    for _ in range(LOOKS):
        above = processes.ancestors(pid)[1:]
        claude = next((process for process in above if process.is_claude), None)
        if claude is not None or (above and above[-1].is_init):
            return claude
        await trio.sleep(LOOK_AGAIN_S)
    return None
