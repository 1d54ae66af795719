"""The hub process: reads its command line, takes the lock, recovers, runs the tree, and tells by its status how it
ended.

The lock is held from before anything is read until the process is gone; `--lock-fd` passes one that the starter
took, so it is never free in between. `--heir-fd` passes a connection to an older hub, which gives its lock away.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from crosschat import lock, mounts, processes
from crosschat.core.attention import Patience
from crosschat.errors import DataDirectoryError, Displaced, JournalBroken
from crosschat.hub.lock import read_note_pid
from crosschat.hub.log import Logger, open_log
from crosschat.hub.parts import Options
from crosschat.hub.recovery import Recovered, recover, save_index
from crosschat.hub.succession import Will, inherit
from crosschat.hub.tree import Hub
from crosschat.journal.directory import check_directory
from crosschat.journal.files import RealFiles, exists
from crosschat.limits import IDLE_STOP_S, LEASE_GRACE_S, SEGMENT_BYTES, SILENCE_S, STUCK_S, Quotas
from crosschat.paths import Home

if TYPE_CHECKING:
    from crosschat.journal.files import Files

EXIT_REFUSED: Final = 1
EXIT_DEFECT: Final = 70  # EX_SOFTWARE
EXIT_JOURNAL: Final = 74  # EX_IOERR: the log can no longer keep its promise


def main(arguments: list[str] | None = None, *, files: Files | None = None, segment_bytes: int = SEGMENT_BYTES) -> int:
    """Run a hub as the command line says. Returns the exit status.

    `files` and `segment_bytes` are what it stands on; whoever proves it gives others than the real ones.
    """
    asked = _parse(arguments)
    files = files or RealFiles()
    home = Home(Path(asked.home), Path(asked.run_dir) if asked.run_dir else None)
    os.umask(0o077)
    if not asked.debuggable:
        processes.keep_others_out()
    will: Will | None = None
    try:
        if asked.heir_fd is not None:
            lock_fd, will = _inherit(home, asked.heir_fd)
        else:
            _refuse_network(home)
            lock_fd = _take_lock(home) if asked.lock_fd is None else asked.lock_fd
        os.set_inheritable(lock_fd, False)
        recovered = recover(home.root, files, segment_bytes=segment_bytes)
        log = _open_log(home.logs)
    except (DataDirectoryError, JournalBroken, OSError) as error:
        _report(asked.ready_fd, {"error": str(error)})
        return EXIT_REFUSED
    options = Options(
        home=home,
        lock_fd=lock_fd,
        port=asked.port or (will.port if will else None),
        idle_stop_s=None if asked.stay else will.idle_stop_s if will else asked.idle_stop_s,
        lease_grace_s=asked.lease_grace_s,
        patience=Patience(asked.unread_s, asked.stuck_s),
        quotas=_quotas(asked.quotas),
    )
    status, hub = 0, Hub(options, log, files)
    try:
        trio.run(_run, hub, recovered, asked.ready_fd)
    except* Displaced as displaced:
        log.warning("stopped", why=str(displaced.exceptions[0]))
    except* JournalBroken as broken:
        log.critical("the log failed", error=repr(broken.exceptions[0]))
        status = EXIT_JOURNAL
    except* (DataDirectoryError, OSError) as refused:
        log.critical("cannot serve", error=str(refused.exceptions[0]))
        _report(asked.ready_fd, {"error": str(refused.exceptions[0])})
        status = EXIT_REFUSED
    except* Exception as defect:  # the outermost edge: nobody sees a traceback of a detached process
        log.critical("defect", exc_info=defect)
        status = EXIT_DEFECT
    if status == 0 and lock.still_ours(lock_fd, home.hub_lock):  # else the index there is another hub's
        save_index(recovered.log, recovered.state, home.root, files)
    recovered.log.close()
    log.info("gone", status=status)
    hub.succession.hand_over(lock_fd)  # the last act: from here on the directory may be another hub's
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
    parser.add_argument("--heir-fd", type=int, help="a connection to the older hub that this one takes the place of")
    parser.add_argument("--ready-fd", type=int, help="gets one line of JSON once the hub accepts, or why it does not")
    parser.add_argument("--port", type=int, help="the page's port")
    parser.add_argument("--idle-stop-s", type=float, default=IDLE_STOP_S, help="stop when unused for so long")
    parser.add_argument("--stay", action="store_true", help="do not stop when unused")
    parser.add_argument("--lease-grace-s", type=float, default=LEASE_GRACE_S, help="how long a claimant may be away")
    parser.add_argument("--unread-s", type=float, default=SILENCE_S, help="after so long an unread message is shown")
    parser.add_argument("--stuck-s", type=float, default=STUCK_S, help="after so long a silent task is shown")
    parser.add_argument("--debuggable", action="store_true", help="let your other programs look into this process")
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


def _refuse_network(home: Home) -> None:
    """Raises DataDirectoryError."""
    if (why := mounts.refusal(home.root)) is not None:
        raise DataDirectoryError(why)


def _inherit(home: Home, heir_fd: int) -> tuple[int, Will | None]:
    """Have the older hub end, now that this one could run. Raises DataDirectoryError and OSError as the other way."""
    os.set_inheritable(heir_fd, False)
    _refuse_network(home)
    check_directory(home.root, RealFiles())
    inherited = inherit(socket.socket(fileno=heir_fd))
    return inherited or (_take_lock(home), None)  # it ended on its way, and so its lock is free


def _report(ready_fd: int | None, message: dict[str, object]) -> None:
    """Tell who started this hub, and let go of it."""
    if ready_fd is None:
        if "error" in message:
            print(f"crosschat hub: {message['error']}", file=sys.stderr)
        return
    with suppress(OSError):
        os.write(ready_fd, json.dumps(message).encode() + b"\n")
        os.close(ready_fd)
