"""What a forked process becomes: a hub on hooked files, or a real bridge. Only here is a seeded bug switched on."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from crosschat import version as product_version
from crosschat.bridge import main as bridge_main
from crosschat.hub import main as hub_main
from crosschat.limits import SEGMENT_BYTES
from tests.prove import bugs
from tests.prove.disk import Death, Durable, HookedFiles

if TYPE_CHECKING:
    from collections.abc import Callable


def be_hub(what: dict[str, object], descriptors: list[int]) -> int:
    """`descriptors`: where to say that it serves, the lock, and where its errors go."""
    ready, lock, errors = descriptors
    _redirect(os.open(os.devnull, os.O_RDONLY), errors, errors)
    home = Path(str(what["home"]))
    death = Death(**what["death"]) if isinstance(what.get("death"), dict) else None  # type: ignore[arg-type]
    if version := what.get("version"):
        product_version.installed = lambda: str(version)
    if bug := what.get("bug"):
        bugs.switch_on(str(bug))
    files = HookedFiles(home, Durable(Path(str(what["durable"]))), death)
    options = what.get("options", [])
    arguments = [
        "--home", str(home), "--ready-fd", str(ready), "--lock-fd", str(lock), "--stay",
        *(options if isinstance(options, list) else []),
    ]  # fmt: skip
    return hub_main.main(arguments, files=files, segment_bytes=int(str(what.get("segment_bytes", SEGMENT_BYTES))))


def be_bridge(what: dict[str, object], descriptors: list[int]) -> int:
    """`descriptors`: standard input, output and error."""
    _redirect(*descriptors)
    environment = what["environment"]
    assert isinstance(environment, dict)
    for name in [name for name in os.environ if name.startswith(("CROSSCHAT", "CLAUDE"))]:
        del os.environ[name]
    os.environ.update(environment)
    signal.signal(signal.SIGUSR1, _tell_tasks)
    return bridge_main.main()


def _tell_tasks(*_: object) -> None:
    """Where every task stands, on standard error: the rig asks for it when a bridge seems to hang."""
    tasks = [trio.lowlevel.current_root_task()]
    while tasks:
        task = tasks.pop()
        if task is not None:
            frames = []
            coroutine: object = task.coro
            while coroutine is not None:
                frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "ag_frame", None)
                if frame is not None:
                    frames.append(f"{frame.f_code.co_filename.rsplit('/', 1)[-1]}:{frame.f_lineno}")
                coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "ag_await", None)
            print(task.name, " > ".join(frames), file=sys.stderr, flush=True)
            tasks += [child for nursery in task.child_nurseries for child in nursery.child_tasks]


def _redirect(*descriptors: int) -> None:
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)


ROLES: Final[dict[str, Callable[[dict[str, object], list[int]], int]]] = {"hub": be_hub, "bridge": be_bridge}
