"""Start the hub when none answers. Plain synchronous code of the standard library, for the bridge and the CLI.

Whoever wants a hub connects first; who finds nobody takes `hub.lock`, connects once more, and starts the hub with the
locked descriptor, so the lock is never free between starter and hub and of many starters exactly one starts one. The
others keep connecting, and take the lock themselves if the first one's hub did not come up.

Who finds a hub of an older version asks it to make room, and starts its own with that connection (`hub.succession`
has the story); once for each process, so a version that cannot run does not drain the other again and again.

The hub is nobody's child (a shell starts it in the background and leaves), in a session of its own, so it outlives
who started it. A starter that dies half-way leaves either a hub that comes up by itself or a lock that is free.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Final

from crosschat import lock, mounts, version
from crosschat.model import PROTOCOL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from crosschat.paths import Home

START_DEADLINE_S: Final = 10.0
FIRST_PAUSE_S: Final = 0.005
LONGEST_PAUSE_S: Final = 0.1
SUCCEED_DEADLINE_S: Final = 1.0  # a hub that takes longer to say whether it makes room is used as it is
READY_LINE_BYTES: Final = 64 * 1024
# Who an agent is, and the tokens of its session, are no business of the hub, whoever happens to start it.
PRIVATE_VARIABLES: Final = ("CLAUDE", "CROSSCHAT_NAME", "CROSSCHAT_CWD")
CONFIGURATION: Final = "CLAUDE_CONFIG_DIR"  # where the client, when the hub asks it, finds its sessions
# The shell puts the program in the background and exits, which leaves it to init.
DETACH: Final = ("/bin/sh", "-c", '"$@" &', "crosschat-launch")


_failed_to_succeed = False  # this process has tried, and its version of the hub did not come up


class HubUnavailable(Exception):
    """No hub answers and none could be started; the text names the cause and the remedy."""


def ensure_hub(
    home: Home,
    *,
    wait_s: float = START_DEADLINE_S,
    port: int | None = None,
    idle_stop_s: float | None = None,
    stay: bool = False,
    create: bool = True,
) -> None:
    """Return when a hub accepts connections for `home`, starting one if there is none, or only an older one.

    The options are for a hub that is started here; a running one keeps its own, and leaves them to its successor.
    Without `create`, no new data directory is made. Raises HubUnavailable after about `wait_s`, or at once if the hub
    refuses to run, then with the hub's own words, or if the one that runs is too new for this client.
    """
    give_up_at, pause = time.monotonic() + wait_s, FIRST_PAUSE_S

    def start(option: str = "", descriptor: int | None = None) -> None:
        command = hub_command(home, port=port, idle_stop_s=idle_stop_s, stay=stay)
        _start(home, command, give_up_at, option, descriptor)

    while True:
        if answers(home):
            if _succeed(home, start):
                return
        elif not create and not os.path.exists(home.root / "FORMAT"):
            raise HubUnavailable(
                f"the data directory {home.root} is gone: move it back, or begin a new one with `crosschat start`"
            )
        elif _may_be_foreign(home):
            start()
            return
        elif (descriptor := _take_lock(home)) is not None:
            try:
                if not answers(home):
                    start("--lock-fd", descriptor)
            finally:
                os.close(descriptor)  # the hub has its own copy
            return
        if time.monotonic() >= give_up_at:
            raise HubUnavailable(
                f"a hub holds {home.hub_lock} but does not answer on {home.control_socket}: "
                "look at it with `crosschat status`, end it with `crosschat stop`"
            )
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_S)


def _succeed(home: Home, start: Callable[[str, int], None]) -> bool:
    """Put a hub of this version in the place of an older one. False if there may be none now."""
    global _failed_to_succeed
    way = None if _failed_to_succeed else _ask_to_succeed(home)
    if way is None:
        return True
    with way:
        try:
            start("--heir-fd", way.fileno())
        except HubUnavailable:
            _failed_to_succeed = True
            return False
    return True


def _ask_to_succeed(home: Home) -> socket.socket | None:
    """The connection on which the hub agreed to make room; None if it is not older, or for now has no answer.
    Raises HubUnavailable if it is so much newer that it does not serve this client."""
    asked = {"op": "succeed", "id": "succeed", "protocol": PROTOCOL, "version": version.installed()}
    way = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    answer: object = None
    try:
        way.settimeout(SUCCEED_DEADLINE_S)
        way.connect(os.fspath(home.control_socket))
        way.sendall(json.dumps(asked).encode() + b"\n")
        answer = json.loads(_line(way))
    except (OSError, ValueError):  # it hangs or ends: whoever talks to it next will see, and has its own patience
        pass
    kind = answer.get("type") if isinstance(answer, dict) else None
    if kind == "done":
        return way
    way.close()
    if kind == "error" and isinstance(answer, dict) and answer.get("code") == "unsupported_protocol":
        raise HubUnavailable(str(answer.get("message")))
    return None


def _line(way: socket.socket) -> bytes:
    said = b""
    while not said.endswith(b"\n") and len(said) < READY_LINE_BYTES and (part := way.recv(4096)):
        said += part
    return said


def start_template(home: Home) -> None:
    """Start the template of the sessions that follow, if it does not run. Nothing depends on it: it fails silently."""
    command = [sys.executable, "-I", "-m", "crosschat.bridge.template", os.fspath(home.template_socket)]
    with suppress(OSError, subprocess.SubprocessError):
        _detach(command, [])


def answers(home: Home) -> bool:
    """Whether somebody accepts connections on the control socket. Raises HubUnavailable if we may not ask."""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(home.control_socket))
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            return False
        except BlockingIOError:
            return True  # so many are waiting to be accepted that somebody must be there
        except OSError as error:
            raise _cannot_use(home, error) from None
        return True


def hub_command(
    home: Home, *, port: int | None = None, idle_stop_s: float | None = None, stay: bool = False
) -> list[str]:
    """The hub's command line without the inherited descriptors."""
    command = [sys.executable, "-m", "crosschat.hub", "--home", os.fspath(home.root)]
    if home.run_override is not None:
        command += ["--run-dir", os.fspath(home.run_override)]
    if port is not None:
        command += ["--port", str(port)]
    if idle_stop_s is not None:
        command += ["--idle-stop-s", str(idle_stop_s)]
    return [*command, "--stay"] if stay else command


def hub_environment(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environment.items()
        if name == CONFIGURATION or not name.startswith(PRIVATE_VARIABLES)
    }


def _may_be_foreign(home: Home) -> bool:
    """Whether the directory has things in it, beside the hooks of `crosschat install`, and no hub ever was there. Then
    not even a lock file is made in it before the hub itself has looked: it takes the lock, or refuses and leaves
    everything as it was."""
    try:
        if home.hub_lock.exists() or not home.root.is_dir():
            return False
        return any(path != home.hooks for path in home.root.iterdir())
    except OSError as error:
        raise _cannot_use(home, error) from None


def _take_lock(home: Home) -> int | None:
    if (why := mounts.refusal(home.root)) is not None:
        raise HubUnavailable(why)
    try:
        home.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        return lock.try_hold(home.hub_lock)
    except OSError as error:
        raise _cannot_use(home, error) from None


def _cannot_use(home: Home, error: OSError) -> HubUnavailable:
    return HubUnavailable(
        f"the data directory {home.root} cannot be used ({error.strerror or error}: "
        f"{error.filename or home.run}): make it a directory of yours with mode 0700, "
        "or set CROSSCHAT_HOME to another one"
    )


def _start(home: Home, command: list[str], give_up_at: float, option: str, descriptor: int | None) -> None:
    """Start the hub, with the descriptor under that option, and return when it serves."""
    ready, ready_in_hub = os.pipe()
    passed = [ready_in_hub] if descriptor is None else [ready_in_hub, descriptor]
    held = [] if descriptor is None else [option, str(descriptor)]
    try:
        try:
            _detach([*command, *held, "--ready-fd", str(ready_in_hub)], passed)
        except (OSError, subprocess.SubprocessError) as error:
            raise HubUnavailable(f"the hub cannot be started: {error}") from None
        finally:
            os.close(ready_in_hub)
        _await_ready(home, command, ready, give_up_at)
    finally:
        os.close(ready)


def _detach(command: list[str], passed: list[int]) -> None:
    """Start it as nobody's child, with those descriptors. Raises OSError, SubprocessError."""
    subprocess.run(
        [*DETACH, *command],
        check=True,
        cwd="/",
        env=hub_environment(os.environ),
        pass_fds=passed,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _await_ready(home: Home, command: list[str], ready: int, give_up_at: float) -> None:
    by_hand = " ".join(command[:3])
    said = b""
    poll = select.poll()
    poll.register(ready, select.POLLIN)
    while b"\n" not in said and len(said) < READY_LINE_BYTES:
        left_ms = (give_up_at - time.monotonic()) * 1000
        if left_ms <= 0 or not poll.poll(left_ms):
            raise HubUnavailable(
                "the hub was started and is not ready yet: try again in a moment, "
                f"or see why in {home.logs / 'hub.jsonl'}"
            )
        part = os.read(ready, 4096)
        if not part:
            break
        said += part
    try:
        answer = json.loads(said)
    except ValueError:
        raise HubUnavailable(
            f"the hub ended before it was ready: see {home.logs / 'hub.jsonl'}, or run it in "
            f"a terminal with `{by_hand} --home {home.root}`"
        ) from None
    if isinstance(answer, dict) and "error" in answer:
        raise HubUnavailable(str(answer["error"]))
