"""What a forked process becomes: a hub on hooked files, a real bridge, or an agent that only writes.

Only here is a seeded bug switched on.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from crosschat import version as product_version
from crosschat import wire
from crosschat.bridge import main as bridge_main
from crosschat.hub import main as hub_main
from crosschat.hub import parts
from crosschat.limits import SEGMENT_BYTES
from tests.prove import bugs
from tests.prove.agents import Lost, Socket
from tests.prove.disk import Death, Durable, HookedFiles

if TYPE_CHECKING:
    from collections.abc import Callable


def be_hub(what: dict[str, object], descriptors: list[int]) -> int:
    """`descriptors`: where to say that it serves, the lock or the way to it, and where its errors go."""
    ready, lock, errors = descriptors
    _redirect(os.open(os.devnull, os.O_RDONLY), errors, errors)
    home = Path(str(what["home"]))
    death = Death(**what["death"]) if isinstance(what.get("death"), dict) else None  # type: ignore[arg-type]
    if version := what.get("version"):
        product_version.installed = lambda: str(version)
    if earlier_ms := int(str(what.get("earlier_ms", 0))):
        parts.now_ms = lambda: time.time_ns() // 1_000_000 - earlier_ms
    if bug := what.get("bug"):
        bugs.switch_on(str(bug))
    failing = int(str(what.get("failing", 0)))
    files = HookedFiles(home, Durable(Path(str(what["durable"]))), death, failing=failing)
    options = what.get("options", [])
    way = "--heir-fd" if what.get("heir") else "--lock-fd"
    arguments = [
        "--home", str(home), "--ready-fd", str(ready), way, str(lock), "--stay",
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


def be_speaker(what: dict[str, object], descriptors: list[int]) -> int:
    """An agent that writes one message after the other: for each a line to the first descriptor, with its number, when
    its ack came and how long that took. One that had to be asked again has none."""
    (out,) = descriptors
    trio.run(_speak, str(what["path"]), out)
    return 0


async def _speak(path: str, out: int) -> None:
    number, again = 1, False
    while True:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(path)
            agent = Socket(sock)
            await agent.upgrade()
            await agent.send(wire.Hello(protocol=wire.PROTOCOL, version="prove", cwd="/tmp", name="speaker"))
            while True:
                cid, began = f"speaker-{number}", time.monotonic()
                await agent.send(wire.Send(id=cid, cid=cid, content=cid))
                while (frame := await agent.receive()).get("id") != cid:
                    pass
                if frame["type"] == "sent":
                    now = time.monotonic()
                    os.write(out, b"" if again else b"%d %f %f\n" % (number, now, now - began))
                    number, again = number + 1, False
                await trio.sleep(0.005)
        except (Lost, OSError):
            again = True
            sock.close()
            await trio.sleep(0.02)


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


ROLES: Final[dict[str, Callable[[dict[str, object], list[int]], int]]] = {
    "hub": be_hub, "bridge": be_bridge, "speaker": be_speaker,
}  # fmt: skip
