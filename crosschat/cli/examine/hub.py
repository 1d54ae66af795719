"""The hub: whether lock, sockets, note and process agree, which version runs, and who can reach its page."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from crosschat import processes, version
from crosschat.cli.examine.finding import Finding, Scene, problem, skipped, warning
from crosschat.cli.lifecycle import lock_held, recorded_pid
from crosschat.model import FORMAT, PROTOCOL

if TYPE_CHECKING:
    from collections.abc import Iterator

REPAIR_S: Final = 2.5
REPAIR_POLL_S: Final = 0.1
LISTEN: Final = "0A"  # the state in /proc/net/tcp
LOOPBACK: Final = "0100007F"
SOCKET_TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


def environment(scene: Scene) -> Iterator[Finding]:
    for variable in scene.configuration.ignored:
        yield warning(f"{variable} is set for another product and ignored.", f"unset {variable}")


def lock(scene: Scene) -> Iterator[Finding]:
    home = scene.home
    if scene.is_new:
        return
    if home.hub_lock.is_symlink() or (home.hub_lock.exists() and not home.hub_lock.is_file()):
        yield problem(f"{home.hub_lock} is not a plain file.", f"rm -r {home.hub_lock}")
        return
    if scene.silence is not None:
        yield problem(f"The hub does not answer: {scene.silence}.", "crosschat restart --force")
    elif scene.status is None and lock_held(home):
        yield problem(
            f"A process holds {home.hub_lock} and does not listen.", "wait a moment, then `crosschat restart --force`"
        )
    elif scene.status is not None and not lock_held(home):
        yield problem(f"A hub answers and does not hold {home.hub_lock}.", "crosschat restart")


def note(scene: Scene) -> Iterator[Finding]:
    """`dashboard.lock` agrees with the hub that answers, which writes it last and repairs it."""
    status, path = scene.status, scene.home.dashboard_lock
    if status is None or status.dashboard is None:
        return
    give_up_at = time.monotonic() + REPAIR_S
    while (pid := recorded_pid(scene.home)) != status.pid and time.monotonic() < give_up_at:
        time.sleep(REPAIR_POLL_S)
    if pid != status.pid:
        said = "is missing" if not path.exists() else f"names process {pid}" if pid is not None else "cannot be read"
        yield warning(f"{path} {said}, the hub is process {status.pid}, and does not repair it.", "crosschat restart")


def versions(scene: Scene) -> Iterator[Finding]:
    ours, status = version.installed(), scene.status
    if status is not None:
        theirs = version.key(status.protocol, status.version)
        if theirs > version.key(PROTOCOL, ours):
            yield warning(
                f"The hub is of version {status.version}, this command of {ours}.",
                "pip install --upgrade crosschat-hub, where this command is",
            )
        elif theirs < version.key(PROTOCOL, ours):
            yield warning(
                f"The hub is of version {status.version}, older than this command ({ours}).", "crosschat restart"
            )
    found = scene.home.root / "FORMAT"
    if not found.exists():
        if not scene.is_new and any((scene.home.root / "log").glob("*")):
            yield problem(
                f"{found} is missing.", 'restore it from a backup; its content is {"format":1,"min_reader":1}'
            )
        return
    try:
        stated = json.loads(found.read_bytes()[:4096])
        newer = stated["min_reader"] > FORMAT
    except (OSError, ValueError, KeyError, TypeError):
        yield problem(
            f"{found} cannot be read.", 'restore it from a backup; its content is {"format":1,"min_reader":1}'
        )
        return
    if newer:
        yield problem("The data were written by a newer CrossChat.", "pip install --upgrade crosschat-hub")


def page(scene: Scene) -> Iterator[Finding]:
    """The page listens on this machine only."""
    status = scene.status
    if status is None:
        return
    if status.dashboard is None:
        yield warning(
            f"The page is off: {status.dashboard_problem or 'it does not say why'}.", "crosschat restart --port PORT"
        )
        return
    if status.dashboard_problem:
        yield warning(f"{status.dashboard_problem.rstrip('.')}.", "see the settings, then `crosschat restart`")
    port = urlsplit(status.dashboard).port
    open_to = listens_on(port, status.pid) if port is not None else []
    if open_to is None:
        yield skipped("the platform does not tell where the page listens")
    elif open_to:
        yield problem(
            f"Port {port} is open on {', '.join(open_to)}, beyond 127.0.0.1.",
            "crosschat restart; if it stays, another program shares the port",
        )


def listens_on(port: int, pid: int) -> list[str] | None:
    """Addresses beyond 127.0.0.1 on which somebody listens with that port; None if that cannot be seen."""
    if sys.platform != "linux":
        found = processes.listening(pid)
        return None if found is None else [host for host, at in found if at == port and host != "127.0.0.1"]
    addresses: list[str] = []
    for table in SOCKET_TABLES:
        try:
            rows = [line.split() for line in table.read_text().splitlines()[1:]]
        except OSError:
            if not addresses and table is SOCKET_TABLES[0]:
                return None
            continue
        for row in rows:
            address, _, hexadecimal = row[1].rpartition(":")
            if row[3] == LISTEN and int(hexadecimal, 16) == port and address != LOOPBACK and _is_ours(row):
                addresses.append(_readable(address))
    return addresses


def _is_ours(row: list[str]) -> bool:
    return int(row[7]) == os.getuid()


def _readable(address: str) -> str:
    if set(address) == {"0"}:
        return "every address"
    packed = b"".join(bytes.fromhex(address[start : start + 8])[::-1] for start in range(0, len(address), 8))
    return ".".join(map(str, packed)) if len(packed) == 4 else packed.hex(":", 2)


def own_word(scene: Scene) -> Iterator[Finding]:
    """What the hub itself reports."""
    if scene.status is None:
        return
    for notice in scene.status.notices:
        yield warning(notice, "see `crosschat logs`")
    if scene.status.search_problem:
        yield warning(f"Search: {scene.status.search_problem}", "crosschat restart; the index is made anew")
