"""`crosschat start`, `stop` and `restart`: the hub's process, seen from the outside.

A hub has ended when its lock is free, not when it said that it goes: only then can the next one begin.
"""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Final

import click

from crosschat import lock, version, wire
from crosschat.bridge.launch import HubUnavailable, answers
from crosschat.cli import text
from crosschat.cli.control import Control, NotRunning, new_id, page_of, running_hub
from crosschat.cli.failure import FAILED, NO_HUB, Failure
from crosschat.cli.options import configuration, json_option
from crosschat.model import PROTOCOL
from crosschat.processes import Grip

if TYPE_CHECKING:
    from crosschat.paths import Configuration, Home

STOP_DEADLINE_S: Final = 10.0
LOCK_POLL_S: Final = 0.02

port_option = click.option(
    "--port", type=click.IntRange(1, 65535), help="Port of the page, instead of CROSSCHAT_DASHBOARD_PORT."
)
stay_option = click.option("--stay", is_flag=True, help="Keep the hub when nobody needs it.")
force_option = click.option(
    "--force", is_flag=True, help="Kill a hub that does not stop; nothing acknowledged is lost."
)


def lock_held(home: Home) -> bool:
    """Whether a hub has the data directory, or is just coming or going."""
    if not home.hub_lock.exists():
        return False
    try:
        descriptor = lock.try_hold(home.hub_lock)
    except OSError as error:
        raise Failure(f"{home.hub_lock} cannot be used: {error.strerror or error}", FAILED) from None
    if descriptor is None:
        return True
    os.close(descriptor)
    return False


def recorded_pid(home: Home) -> int | None:
    """The pid that the hub wrote down for people. Nothing is signalled because of it: it may be stale or anybody's."""
    try:
        pid = json.loads(home.dashboard_lock.read_bytes())["hub_pid"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return pid if type(pid) is int else None


def stop_hub(
    home: Home, *, restart: bool = False, force: bool = False, deadline_s: float = STOP_DEADLINE_S
) -> int | None:
    """End the hub and return its pid, or None if none ran. Raises Failure if it is still there after the deadline.

    Without `restart`, sessions that are open do not start the next hub before they need it.

    Signals go only to the process that the kernel names as the listener of the control socket, never to whatever else
    has its pid by then.
    """
    give_up_at = time.monotonic() + deadline_s
    hub = _ask_to_stop(home, give_up_at, restart=restart)
    if hub is None and not lock_held(home):
        return None
    while hub is None and time.monotonic() < give_up_at and lock_held(home):
        time.sleep(LOCK_POLL_S)  # it is coming, and then listens, or going
        hub = _ask_to_stop(home, give_up_at, restart=restart)
    with hub or nullcontext():
        return _await_end(home, hub, give_up_at, force_s=deadline_s if force else None)


def _await_end(home: Home, hub: Grip | None, give_up_at: float, *, force_s: float | None) -> int | None:
    """As `stop_hub`, of the hub that was asked to stop, if one listened."""
    pid = None if hub is None else hub.pid
    if _lock_freed(home, give_up_at):
        return pid
    if hub is None:
        recorded = recorded_pid(home)
        hint = "" if recorded is None else f"; the last hub was process {recorded}"
        raise Failure(f"a process holds {home.hub_lock} and does not listen{hint}: end that process", FAILED)
    if force_s is None:
        raise Failure(f"the hub (pid {pid}) does not stop: wait, or end it with `crosschat stop --force`", FAILED)
    hub.send(signal.SIGKILL)
    if not _lock_freed(home, time.monotonic() + force_s):
        raise Failure(f"the hub (pid {pid}) was killed, and another process holds {home.hub_lock}", FAILED)
    return pid


def _ask_to_stop(home: Home, give_up_at: float, *, restart: bool) -> Grip | None:
    """The hub that was asked, if one listens; the caller closes it."""
    try:
        control = Control.open(home, deadline_s=max(0.1, (give_up_at - time.monotonic()) / 2))
    except NotRunning:
        return None
    with control:
        hub = Grip(control.pid)  # while the connection is open its pid is nobody else's
        try:
            control.ask(wire.Stop(id=new_id(), restart=restart), wire.Done)
        except Failure:
            hub.send(signal.SIGTERM)  # it listens, and does not answer or does not want to
        control.wait_closed(give_up_at)
    return hub


def _lock_freed(home: Home, give_up_at: float) -> bool:
    while lock_held(home):
        if time.monotonic() >= give_up_at:
            return False
        time.sleep(LOCK_POLL_S)
    return True


def _start(chosen: Configuration, *, port: int | None, stay: bool, idle_stop_s: float | None = None) -> wire.HubStatus:
    with running_hub(chosen, port=port, stay=stay, idle_stop_s=idle_stop_s) as control:
        return control.status()


def _report(status: wire.HubStatus, word: str, *, as_json: bool) -> None:
    if as_json:
        text.echo_json(
            {
                "pid": status.pid,
                "started": word == "started",
                "home": status.home,
                "dashboard": status.dashboard,
                "dashboardProblem": status.dashboard_problem,
                "stays": status.idle_stop_s is None,
            }
        )
        return
    text.echo(text.styled(f"hub {word}", bold=True), f", pid {status.pid}")
    text.echo(f"page  {text.plain(page_of(status))}")
    text.echo(f"data  {text.plain(status.home)}")


@click.command()
@stay_option
@port_option
@json_option
@click.pass_obj
def start(home: str | None, stay: bool, port: int | None, as_json: bool) -> None:
    """Start the hub, if none runs.

    Sessions and commands start it by themselves; this is for keeping one. A hub that runs keeps its own options.

    \b
    Examples:
      crosschat start --stay        until the machine goes down
      crosschat start --port 8123   with the page on that port

    Exit status: 0 it runs, 2 wrong option or environment, 3 it cannot be started.
    """
    chosen = configuration(home)
    try:
        was_there = answers(chosen.home)
    except HubUnavailable as error:
        raise Failure(str(error), NO_HUB) from None
    status = _start(chosen, port=port, stay=stay)
    _report(status, "runs already" if was_there else "started", as_json=as_json)
    if stay and status.idle_stop_s is not None:
        text.echo("it still stops when nobody needs it: `crosschat restart --stay` changes that", err=True)


@click.command()
@force_option
@json_option
@click.pass_obj
def stop(home: str | None, force: bool, as_json: bool) -> None:
    """Stop the hub, if one runs.

    It comes back by itself as soon as a session or a command needs it. That none runs is no failure.

    \b
    Examples:
      crosschat stop
      crosschat stop --force        a hub that hangs

    Exit status: 0 none runs now, 1 it does not stop.
    """
    pid = stop_hub(configuration(home).home, force=force)
    if as_json:
        text.echo_json({"stopped": pid is not None, "pid": pid})
    else:
        text.echo("no hub was running" if pid is None else f"hub stopped, pid {pid}")


@click.command()
@stay_option
@port_option
@force_option
@json_option
@click.pass_obj
def restart(home: str | None, stay: bool, port: int | None, force: bool, as_json: bool) -> None:
    """Stop the hub and start it again.

    Sessions wait meanwhile and go on by themselves. A hub that was started with --stay keeps staying.

    \b
    Examples:
      crosschat restart             after an upgrade
      crosschat restart --stay

    Exit status: 0 it runs, 1 the old one does not stop, 3 the new one cannot be started.
    """
    chosen = configuration(home)
    idle_stop_s: float | None = None
    before = _inspect_quietly(chosen.home)
    if before is not None:
        _refuse_older(before)
        stay = stay or before.idle_stop_s is None
        idle_stop_s = None if stay else before.idle_stop_s
    stop_hub(chosen.home, restart=True, force=force)
    _report(_start(chosen, port=port, stay=stay, idle_stop_s=idle_stop_s), "started", as_json=as_json)


def _refuse_older(hub: wire.HubStatus) -> None:
    """An older program never replaces a newer hub: its data may be of a newer format, and others need it."""
    ours = version.installed()
    if version.key(hub.protocol, hub.version) > version.key(PROTOCOL, ours):
        raise Failure(
            f"the hub is of version {hub.version}, this command of {ours}: restart it with the newer one, or upgrade "
            "this with `pip install --upgrade crosschat-hub`",
            FAILED,
        )


def _inspect_quietly(home: Home) -> wire.HubStatus | None:
    """How the hub is set, or None if none runs or it does not say: a restart is for that case too."""
    try:
        with Control.open(home, deadline_s=2.0) as control:
            return control.ask(wire.Inspect(id=new_id()), wire.HubStatus)
    except Failure:
        return None
