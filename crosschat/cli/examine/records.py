"""The log and the audit, read as a whole by a process of its own that changes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from crosschat import lock as hub_lock
from crosschat.cli.examine.finding import Finding, Scene, problem, warning

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from crosschat.model import JsonObject

READ_DEADLINE_S: Final = 300.0
FUTURE_S: Final = 300.0
BEHIND_RECORDS: Final = 200_000  # a start reads so many in a few seconds
SEARCH_BEHIND: Final = 10_000
SHOWN: Final = 3


def log(scene: Scene) -> Iterator[Finding]:
    """Every record is intact, the index beside them usable, and none is from the future."""
    root = scene.home.root
    if not (root / "log").is_dir() or not (root / "FORMAT").is_file():
        return
    with _undisturbed(root / "hub.lock", scene):
        found = read(root, "check")
    if isinstance(found, str):
        yield problem(f"The log cannot be read: {found}", "correct that, or restore the directory from a backup")
        return
    yield from _damage(found, scene)
    yield from _index(found, scene)
    yield from _clock(found)


@contextmanager
def _undisturbed(path: Path, scene: Scene) -> Iterator[None]:
    """While no hub runs, none starts: it might cut the end of what is being read. A hub that runs only appends."""
    held = hub_lock.try_hold(path) if scene.status is None and path.is_file() else None
    try:
        yield
    finally:
        if held is not None:
            os.close(held)


def audit(scene: Scene) -> Iterator[Finding]:
    """The chain of permission decisions is unbroken."""
    root = scene.home.root
    path = root / "audit" / "permissions.jsonl"
    if not path.is_file():
        return
    found = read(root, "audit")
    if isinstance(found, str):
        yield problem(f"The audit cannot be read: {found}", f"make {path} readable for you")
        return
    problems = found["problems"]
    assert isinstance(problems, list)
    for one in problems[:SHOWN]:
        yield problem(
            f"{path} line {one['line']}: {one['reason']}.",
            "compare it with a backup: somebody changed who allowed what, or the disk did. No browser counts as paired "
            "until the file is as it was, or moved away and the browser paired again",
        )


def browsers(scene: Scene) -> Iterator[Finding]:
    """The audit vouches for every browser that is listed as paired, also for one of which the hub has not read yet."""
    root = scene.home.root
    listed = _listed(scene.home.settings)
    found = read(root, "audit") if listed else "nobody asks"
    if isinstance(found, str):  # which the check above has told
        return
    paired = found["paired"]
    assert isinstance(paired, dict)
    if found["problems"]:  # and then nobody counts
        return
    unvouched = [key for key, port in listed if paired.get(key) != port]
    for key in unvouched[:SHOWN]:
        yield problem(
            f"{scene.home.settings} lists the browser {key[:8]} as paired, and the audit does not vouch for it: it "
            "counts for nothing, and some program may have written it there.",
            f"crosschat dashboard --revoke {key[:8]} (`crosschat restart` first, if the hub does not know it); if the "
            "browser is yours, pair it again after that",
        )
    if len(unvouched) > SHOWN:
        yield problem(
            f"{len(unvouched) - SHOWN} more browsers are listed that do not count.", "crosschat dashboard --list"
        )


def _listed(settings: Path) -> list[tuple[str, object]]:
    """The browsers that are listed as paired, each with its port."""
    try:
        kept = json.loads(settings.read_bytes())["paired_browsers"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    found = kept if isinstance(kept, list) else []
    return [(str(one.get("id")), one.get("port")) for one in found if isinstance(one, dict)]


def read(root: Path, verb: str) -> JsonObject | str:
    """The report of a verb of `python -m crosschat.journal`, or why there is none."""
    command = [sys.executable, "-m", "crosschat.journal", verb, "--json", os.fspath(root)]
    try:
        done = subprocess.run(
            command,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=READ_DEADLINE_S,
            check=False,
        )
        found: JsonObject = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return f"it takes longer than {READ_DEADLINE_S:g} s"
    except (OSError, ValueError):
        return done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "it says nothing"
    return found


def _damage(found: JsonObject, scene: Scene) -> Iterator[Finding]:
    damages = found["damages"]
    assert isinstance(damages, list)
    for one in damages[:SHOWN]:
        yield problem(
            f"{one['file']} line {one['line_number']} is damaged: {one['reason']}.",
            "keep the file; the other records are served; restore that segment from a backup if you have one",
        )
    if len(damages) > SHOWN:
        yield problem(
            f"{len(damages) - SHOWN} more places of the log are damaged.",
            "python -m crosschat.journal check lists them",
        )
    torn = found["torn"]
    if isinstance(torn, dict) and scene.status is None:
        yield warning(
            f"The end of {torn['file']} is torn, as after a crash.", "nothing: the next start cuts it and keeps a copy"
        )


def _index(found: JsonObject, scene: Scene) -> Iterator[Finding]:
    state, behind = found["index"], found["index_behind"]
    assert isinstance(behind, int)
    root = scene.home.root
    if state in ("unreadable", "foreign"):
        yield warning(
            f"{root / 'index'} does not fit the log.", "nothing: the next start makes it anew; it only takes longer"
        )
    elif scene.status is None and behind > BEHIND_RECORDS:
        yield warning(
            f"The index is {behind} records behind the log.", "nothing: the next start reads them; it only takes longer"
        )
    if scene.status is not None and scene.status.search_behind > SEARCH_BEHIND:
        yield warning(
            f"Search is {scene.status.search_behind} records behind.",
            "wait; if it does not catch up, see `crosschat logs`",
        )


def _clock(found: JsonObject) -> Iterator[Finding]:
    last_ts = found["last_ts"]
    if isinstance(last_ts, int) and last_ts / 1000 > time.time() + FUTURE_S:
        ahead_min = (last_ts / 1000 - time.time()) / 60
        yield problem(
            f"The newest record is dated {ahead_min:.0f} minutes in the future.", "set this machine's clock right"
        )
