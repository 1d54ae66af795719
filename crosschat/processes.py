"""What the kernel says about processes: who is at the other end of a socket, who started whom, who is gone.

The only module with Linux and macOS branches for this: Linux reads /proc and waits on pidfds; macOS asks psutil and
waits with kqueue. A process is pinned by pid *and* start time, because pids are used again. Everything here is
advice about a moment that has passed by the time the caller reads it, except `wait_gone`, which starts from a
handle on the process itself. Owns no state; a cancel closes the handle.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol, Self

import attrs

MAX_ANCESTORS: Final = 64
# What may stand between Claude Code and its MCP server without being a program of its own right.
WRAPPERS: Final = frozenset({"sh", "dash", "bash", "zsh", "env", "uv", "uvx", "npx", "crosschat-launch"})
WRAPPER_PREFIXES: Final = ("npm exec",)
CLAUDE: Final = "claude"
_PR_SET_DUMPABLE: Final = 4  # <sys/prctl.h>
_PT_DENY_ATTACH: Final = 31  # <sys/ptrace.h> of macOS


@attrs.frozen
class Process:
    """`start`: clock ticks since boot on Linux, microseconds since the epoch on macOS."""

    pid: int
    start: int
    parent: int
    name: str  # the command name the kernel keeps, at most 15 bytes on Linux
    exe: str | None = None  # base name of the executable, where it can be read
    has_terminal: bool = False

    @property
    def pin(self) -> tuple[int, int]:
        """The same for one process while it lives, whatever it calls itself."""
        return self.pid, self.start

    @property
    def key(self) -> str:
        """Names this process and no other of this machine, ever: boot, pid and start time."""
        return f"{boot_id()}:{self.pid}:{self.start}"

    @property
    def is_claude(self) -> bool:
        return CLAUDE in (self.exe, self.name)

    @property
    def is_init(self) -> bool:
        """Orphans become its children: the first process, or the one of a login session."""
        return self.pid == 1 or self.name == "systemd"

    @property
    def is_wrapper(self) -> bool:
        return self.name in WRAPPERS or self.name.startswith(WRAPPER_PREFIXES)


Lookup = Callable[[int], "Process | None"]


@attrs.frozen
class PeerCredentials:
    pid: int
    uid: int


class HasOptions(Protocol):
    """A socket of the standard library, or trio's."""

    def getsockopt(self, level: int, optname: int, buflen: int, /) -> bytes: ...


def peer_credentials(sock: HasOptions) -> PeerCredentials:
    """Who called connect() or listen() on the other end, as the kernel recorded it. Raises OSError."""
    if sys.platform == "linux":
        pid, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return PeerCredentials(pid, uid)
    local_level, local_peercred, local_peerpid = 0, 1, 2  # <sys/un.h>; struct xucred begins with version and uid
    _, uid = struct.unpack("II", sock.getsockopt(local_level, local_peercred, 76)[:8])
    (pid,) = struct.unpack("i", sock.getsockopt(local_level, local_peerpid, 4))
    return PeerCredentials(pid, uid)


def find(pid: int) -> Process | None:
    """The process as it is now, or None if there is none that we may see."""
    if sys.platform == "linux":
        return _from_proc(pid)
    return _from_psutil(pid)


def ancestors(pid: int, lookup: Lookup = find) -> list[Process]:
    """The process and those above it, nearest first, as far as they can be seen."""
    found: list[Process] = []
    while pid > 0 and len(found) < MAX_ANCESTORS:
        process = lookup(pid)
        if process is None or any(process.pid == known.pid for known in found):
            break
        if found and process.start > found[-1].start:
            break  # a parent is never younger: this pid was used again
        found.append(process)
        pid = process.parent
    return found


def find_agent_process(pid: int, lookup: Lookup = find) -> Process | None:
    """The Claude process above `pid`, if only known wrappers stand between them; else None."""
    for process in ancestors(pid, lookup)[1:]:
        if process.is_claude:
            return process
        if not process.is_wrapper:
            return None
    return None


def are_orphaned(above: list[Process]) -> bool:
    """Whether the process with those ancestors is below nothing but wrappers and the one that orphans are given to."""
    return bool(above) and above[-1].is_init and all(process.is_wrapper for process in above[:-1])


class Grip:
    """A process, held from a moment at which it is known to have this pid: what is signalled is it, and no other that
    may have the pid by then. Works also for one that /proc hides, as a hub is where foreign processes are hidden."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._handle: int | None = None
        self._seen: Process | None = None
        if sys.platform == "linux":
            with suppress(ProcessLookupError):
                self._handle = os.pidfd_open(pid)
        else:
            self._seen = find(pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go; it cannot be signalled any more."""
        if self._handle is not None:
            os.close(self._handle)
        self._handle = self._seen = None

    def send(self, number: signal.Signals) -> bool:
        """False if it has ended. Raises PermissionError."""
        with suppress(ProcessLookupError):
            if sys.platform == "linux":
                if self._handle is not None:
                    signal.pidfd_send_signal(self._handle, number)
                    return True
            elif self._seen is not None and not _is_another(self._seen):
                os.kill(self.pid, number)
                return True
        return False

    async def gone(self) -> None:
        """Return when it has ended. Cancel-safe."""
        import trio

        if self._handle is not None:
            await trio.lowlevel.wait_readable(self._handle)
        elif self._seen is not None:
            await wait_gone(self._seen)


def _is_another(process: Process) -> bool:
    """Whether its pid was used again. One that cannot be seen is not: a handle was got, and it tells the rest."""
    found = find(process.pid)
    return found is not None and found.start != process.start


def is_unattended(process: Process) -> bool:
    """Whether this Claude process shows nobody a dialog: it has no terminal, or was told to print (`-p`)."""
    return not process.has_terminal or any(map(_prints, _arguments(process.pid)))


def _prints(argument: str) -> bool:
    """`--print`, `-p`, or a few short options together such as `-cp`."""
    short = argument[1:] if argument[:1] == "-" else ""
    return argument == "--print" or (short.isalpha() and len(short) <= 4 and "p" in short)


def _arguments(pid: int) -> list[str]:
    if sys.platform == "linux":
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").removesuffix("\0").split("\0")[1:]
        except OSError:
            return []
    import psutil

    try:
        return psutil.Process(pid).cmdline()[1:]
    except psutil.Error:
        return []


async def wait_gone(process: Process) -> None:
    """Return when the process has ended, at once if it is not there any more. Cancel-safe."""
    import trio  # the command line needs the rest of this module and no event loop

    if sys.platform == "linux":
        try:
            handle = os.pidfd_open(process.pid)
        except ProcessLookupError:
            return
        try:
            if not _is_another(process):
                await trio.lowlevel.wait_readable(handle)
        finally:
            os.close(handle)
    else:
        await _wait_gone_kqueue(process)


async def _wait_gone_kqueue(process: Process) -> None:
    """A queue of its own for each watch: trio's own queue takes one watcher for a pid."""
    import trio

    names = vars(select)  # the constants are absent from the stubs of other platforms
    event = names["kevent"](
        process.pid,
        filter=names["KQ_FILTER_PROC"],
        flags=names["KQ_EV_ADD"] | names["KQ_EV_ONESHOT"],
        fflags=names["KQ_NOTE_EXIT"],
    )
    queue = names["kqueue"]()
    try:
        with suppress(ProcessLookupError):
            queue.control([event], 0, 0)
            if not _is_another(process):
                await trio.lowlevel.wait_readable(queue.fileno())
    finally:
        queue.close()


def _from_proc(pid: int) -> Process | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:  # the first one is there also where foreign processes are hidden, and orphans are its children
        return Process(pid=1, start=0, parent=0, name="init") if pid == 1 else None
    # A process may be called ") R 1 1 1 0": what follows the last parenthesis is the kernel's.
    head, _, tail = stat.rpartition(b")")
    fields = tail.split()
    if len(fields) < 20 or fields[0] in (b"Z", b"X"):
        return None
    name = head.partition(b"(")[2].decode(errors="replace")
    exe: str | None = None
    with suppress(OSError):
        exe = os.path.basename(os.readlink(f"/proc/{pid}/exe")).removesuffix(" (deleted)")
    return Process(
        pid=pid, start=int(fields[19]), parent=int(fields[1]), name=name, exe=exe, has_terminal=fields[4] != b"0"
    )


def _from_psutil(pid: int) -> Process | None:
    import psutil

    try:
        found = psutil.Process(pid)
        with found.oneshot():
            start, parent, name = int(found.create_time() * 1_000_000), found.ppid(), found.name()
            terminal = found.terminal()
    except psutil.Error:
        return None
    exe: str | None = None
    with suppress(psutil.Error):
        exe = os.path.basename(found.exe()) or None
    return Process(pid=pid, start=start, parent=parent, name=name, exe=exe, has_terminal=terminal is not None)


def age_ms(process: Process) -> float:
    """How long ago the process began, in ms. Linux keeps starts in steps of 10 ms, so one figure is off by up to half
    a step either way, and a mean of many is not."""
    if sys.platform == "linux":
        tick_ms = 1000 / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) * 1000 - (process.start + 0.5) * tick_ms
    return time.time() * 1000 - process.start / 1000


def keep_others_out() -> None:
    """Have the kernel refuse other programs of this user a look into this process, whose memory decisions depend on.
    Linux: it is not dumpable any more, which a program that it starts does not inherit; macOS: no debugger may attach.
    Root still can."""
    import ctypes

    libc = ctypes.CDLL(None)
    if sys.platform == "linux":
        libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    else:
        libc.ptrace(_PT_DENY_ATTACH, 0, None, 0)


def boot_id() -> str:
    """Differs after each boot, so that pid and start time of an earlier one are never taken for a live process."""
    if sys.platform == "linux":
        try:
            return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            return "unknown"
    import psutil

    return str(int(psutil.boot_time()))


def resident_bytes() -> int | None:
    """Resident memory of this process, where the platform tells."""
    if sys.platform == "linux":
        try:
            return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except OSError:
            return None
    import psutil

    return int(psutil.Process().memory_info().rss)


def mounted() -> list[tuple[str, str, list[str]]]:
    """Mount point, file system and options of everything that is mounted; for macOS, where psutil tells."""
    import psutil

    return [(one.mountpoint, one.fstype, one.opts.split(",")) for one in psutil.disk_partitions(all=True)]


def listening(pid: int) -> list[tuple[str, int]] | None:
    """Where the process listens with TCP; for macOS, where psutil tells. None if it does not."""
    import psutil

    try:
        found = psutil.Process(pid).net_connections("tcp")
    except psutil.Error:
        return None
    return [(one.laddr.ip, one.laddr.port) for one in found if one.status == psutil.CONN_LISTEN and one.laddr]
