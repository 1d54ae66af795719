"""How much memory sessions and the hub take: resident, and in shares where pages are shared (PSS). Linux only.

A session of Claude Code is a launcher, and a server that is forked from the template; the template is there once. What
ten sessions take is the sum of the shares of all of these, so nothing is counted twice or left out.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from crosschat.cli.plugin import Program
from crosschat.wire import Send

from .rig import Client, agents, end, private_hub, resident_mib
from .sessions import PLAIN, environment_of, opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crosschat.paths import Home

    from .figures import Figures
    from .run import Case

SESSIONS: Final = 10
AGENTS: Final = 50
BURST: Final = 64
START_S: Final = 30.0


def sessions(case: Case) -> Figures | None:
    """Ten sessions that have listed their tools and sent a message, by way of the template; one started plainly."""
    if sys.platform != "linux":
        return None
    with private_hub(case.directory / "h") as hub, template(hub.home) as pid, ExitStack() as stack:
        command = launched(hub.home)
        open_ones = [
            stack.enter_context(opened(command, environment_of(hub.home, f"s{number}"))) for number in range(SESSIONS)
        ]
        for session in open_ones:
            session.result(session.call("send_message", content="here"))
        launchers = sum(share_mib(session.process.pid) for session in open_ones)
        servers = sum(share_mib(child) for child in children(pid))
        together = share_mib(pid) + launchers + servers
        plain = stack.enter_context(opened(PLAIN, environment_of(hub.home, "plain")))
        plain.result(plain.call("send_message", content="here"))
        return {
            "each of ten sessions, shares MiB": together / SESSIONS,
            "the template alone, share MiB": share_mib(pid),
            "one session without template, share MiB": share_mib(plain.process.pid),
            "one session without template, resident MiB": resident_mib(plain.process.pid),
        }


def hub(case: Case) -> Figures | None:
    """The hub with nobody, and with fifty agents after that many messages to all of them."""
    if sys.platform != "linux":
        return None
    with private_hub(case.directory / "h") as one:
        empty = resident_mib(one.process.pid)
        with agents(one.home, AGENTS) as (sender, *readers):
            _send_to_all(sender, readers, case.asked.messages, case.asked.size)
            return {
                "just started, resident MiB": empty,
                "after the messages, resident MiB": resident_mib(one.process.pid),
                "after the messages, share MiB": share_mib(one.process.pid),
            }


def _send_to_all(sender: Client, readers: list[Client], messages: int, size: int) -> None:
    content = "x" * size
    for begin in range(0, messages, BURST):
        numbers = range(begin, min(begin + BURST, messages))
        for number in numbers:
            sender.send(Send(id="b", cid=str(number), content=content))
        for reader in readers:
            left = len(numbers)
            while left > 0:
                left -= reader.receive().count(b'"seq":')
        confirmed = 0
        while confirmed < len(numbers):
            confirmed += sender.receive().startswith(b'{"type":"sent"')


@contextmanager
def template(home: Home) -> Iterator[int]:
    """A template for the sessions of this data directory, by pid; it ends with the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "crosschat.bridge.template", str(home.template_socket)], stdin=subprocess.DEVNULL
    )
    try:
        await_listener(home.template_socket)
        yield process.pid
    finally:
        end(process)


def launched(home: Home) -> list[str]:
    """What Claude Code starts, as installed."""
    return [sys.executable, *Program(python=sys.executable, options=(), home=home).arguments]


def await_listener(path: Path) -> None:
    """Return when somebody listens there. Raises RuntimeError if nobody does."""
    give_up_at = time.monotonic() + START_S
    while True:
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(path)) == 0:
                return
        if time.monotonic() > give_up_at:
            raise RuntimeError(f"nobody listens on {path} after {START_S:g} s")
        time.sleep(0.005)


def share_mib(pid: int) -> float:
    """Proportional set size of a process: each of its pages divided by how many processes have it."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"the kernel does not tell the memory of process {pid}")


def children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in listed.split()]
