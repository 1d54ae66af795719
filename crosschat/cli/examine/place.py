"""The data directory as a place: whose it is, who may look into it, on what disk it lies, and what was left in it."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from crosschat import mounts
from crosschat.cli.examine.finding import Finding, Scene, fine, problem, skipped, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

LEAST_FREE_BYTES: Final = 256 * 1024 * 1024
LEAST_FREE_FILES: Final = 1000
SYNCS: Final = 15
SLOW_SYNC_S: Final = 0.05
SHOWN: Final = 3


def owner(scene: Scene) -> Iterator[Finding]:
    root = scene.home.root
    if not os.path.lexists(root):
        if not os.access(_nearest(root), os.W_OK | os.X_OK):
            yield problem(
                f"{root} does not exist and cannot be made.", f"make {_nearest(root)} writable, or set CROSSCHAT_HOME"
            )
        return
    if root.is_symlink() or not root.is_dir():
        yield problem(f"{root} is not a directory.", "set CROSSCHAT_HOME to the directory itself")
        return
    others = [path for path in (root, *_inside(root)) if path.lstat().st_uid != os.getuid()]
    if others:
        yield problem(f"{_some(others)} belongs to another user.", f"chown -R {os.getuid()} {root}")
    links = [path for path in _inside(root) if path.is_symlink()]
    if links:
        yield problem(f"{_some(links)} is a symbolic link.", "put the real file or directory in its place")


def modes(scene: Scene) -> Iterator[Finding]:
    root, run = scene.home.root, scene.home.run
    if not root.is_dir():
        return
    places = [root, *_inside(root)]
    if run != root / "run" and run.is_dir():
        places += [run, *_inside(run)]
    open_to_others = [path for path in places if not path.is_symlink() and path.lstat().st_mode & 0o077]
    hooks = scene.home.hooks
    open_to_others = [path for path in open_to_others if hooks != path and hooks not in path.parents]
    if open_to_others:
        yield problem(f"{_some(open_to_others)} can be used by others.", f"chmod -R go= {root} {run}")


def mount(scene: Scene) -> Iterator[Finding]:
    found = mounts.mount_of(scene.home.root)
    if found is None:
        yield skipped("the platform does not tell on which file system the data directory is")
        return
    if (why := mounts.refusal(scene.home.root)) is not None:
        yield problem(why.split(". ")[0] + ".", "set CROSSCHAT_HOME to a directory on a disk of this machine")
    if found.read_only:
        yield problem(f"{found.point} is mounted read-only.", f"remount it: mount -o remount,rw {found.point}")


def space(scene: Scene) -> Iterator[Finding]:
    try:
        found = os.statvfs(_nearest(scene.home.root))
    except OSError as error:
        yield skipped(f"the file system does not tell how much is free: {error.strerror}")
        return
    free = found.f_bavail * found.f_frsize
    if free < LEAST_FREE_BYTES:
        yield problem(f"{free // (1024 * 1024)} MiB are free where the data directory is.", "free space on that disk")
    if found.f_files and found.f_favail < LEAST_FREE_FILES:
        yield problem(f"{found.f_favail} more files fit where the data directory is.", "remove files from that disk")


def syncs(scene: Scene) -> Iterator[Finding]:
    """How long the disk takes to make a small write durable, which every acknowledgement waits for."""
    folder = scene.home.root / "index"
    if scene.is_new:
        return
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        yield skipped("there is no index directory to write a test file into")
        return
    try:
        taken = sync_times_s(folder)
    except OSError as error:
        yield problem(
            f"a test file cannot be written and synced: {error.strerror or error}.", "see the disk and its mount"
        )
        return
    median = sorted(taken)[len(taken) // 2]
    if median > SLOW_SYNC_S:
        yield warning(
            f"a sync takes {median * 1000:.0f} ms, and every send waits for one.",
            "put CROSSCHAT_HOME on a faster disk of this machine",
        )
    else:
        yield fine(f"A sync takes {median * 1000:.1f} ms.")


def sync_times_s(folder: Path) -> list[float]:
    """Raises OSError."""
    sync = getattr(os, "fdatasync", os.fsync)
    taken = []
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
        for _ in range(SYNCS):
            os.write(file.fileno(), bytes(4096))
            began = time.perf_counter()
            sync(file.fileno())
            taken.append(time.perf_counter() - began)
    return taken


def leftovers(scene: Scene) -> Iterator[Finding]:
    home = scene.home
    if scene.is_new:
        return
    if scene.status is None and scene.silence is None:
        stale = [
            path for path in (home.agents_socket, home.control_socket, home.dashboard_lock) if os.path.lexists(path)
        ]
        if stale:
            yield warning(f"{_some(stale)} was left by a hub that was killed.", "nothing: the next start removes it")
    cut_short = [path for path in _inside(home.root) if path.name.startswith((".crosschat-new-", ".doctor-"))]
    cut_short += [path for path in home.root.glob(".*.new") if _age_s(path) > 60]
    if cut_short:
        yield warning(f"{_some(cut_short)} was left by an attempt that was cut short.", f"rm -r {_some(cut_short)}")
    damaged = list((home.root / "damaged").glob("*"))
    if damaged:
        yield warning(
            f"{len(damaged)} copies of what was cut or set aside are in {home.root / 'damaged'}.",
            "look at them, and delete them when you need them no more",
        )
    for name in ("agents.sock", "control.sock"):
        path = home.run / name
        if os.path.lexists(path) and not path.is_socket():
            yield problem(f"{path} is in the place of the hub's socket and is none.", f"rm -r {path}")


def _nearest(path: Path) -> Path:
    """The path, or the nearest directory above it that is there."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _inside(root: Path) -> list[Path]:
    """What is in the directory and below, without following links; what vanishes meanwhile is left out."""
    found: list[Path] = []
    for folder, directories, files in os.walk(root):
        found += [Path(folder, name) for name in (*directories, *files) if os.path.lexists(Path(folder, name))]
    return found


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.lstat().st_mtime
    except OSError:
        return 0.0


def _some(paths: list[Path]) -> str:
    shown = ", ".join(str(path) for path in paths[:SHOWN])
    return shown if len(paths) <= SHOWN else f"{shown} and {len(paths) - SHOWN} more"
