"""How a newer version takes the hub's place: nothing is lost, nobody sees an error, and nobody gets in between.

    the newer client        connects to control.sock and asks (`succeed`). The hub answers `done` to one that is newer,
                            goes on serving, and reserves the succession for that connection.
    the newer client's hub  is started with that connection, imports everything, checks the data directory, and only
                            then says `stop`. If it cannot run, it closes the connection, and nothing has happened.
    the old hub             tells its clients when to come back, finishes what is queued, closes the log, and as its
                            last act sends the descriptor of `hub.lock` over the connection, with how it was set.

A flock belongs to the open file, whoever has a descriptor of it: so it is never free in between, and an older client
that tries to start its own hub meanwhile finds it held. If either hub dies on the way, its copies of the descriptor go
with it, and the next one to need a hub starts one as always.
"""

from __future__ import annotations

import array
import json
import os
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import attrs

from crosschat import version
from crosschat.errors import Code, Refused
from crosschat.limits import IDLE_STOP_S
from crosschat.wire import PROTOCOL, PROTOCOLS_SERVED, Stop, Succeed, encode_control

if TYPE_CHECKING:
    from collections.abc import Callable

SEND_DEADLINE_S: Final = 2.0
DRAIN_DEADLINE_S: Final = 20.0  # the old hub finishes what is queued and saves its index
LINE_BYTES: Final = 64 * 1024
UPGRADE: Final = "`pip install --upgrade crosschat-hub`"


@attrs.frozen(kw_only=True)
class Will:
    """How the old hub was set, which the next one keeps. `idle_stop_s` None: it stays. `port`: it was chosen."""

    idle_stop_s: float | None
    port: int | None


@attrs.define(eq=False)
class Succession:
    """Who may take this hub's place. `heir` is the connection it is reserved for."""

    version: str
    will: Will
    heir: object | None = None
    _way: socket.socket | None = None

    def reserve(self, asker: object, frame: Succeed) -> None:
        """Raises Refused."""
        refuse_protocol(frame.protocol, self.version, newer_may=True)
        if version.key(frame.protocol, frame.version) <= version.key(PROTOCOL, self.version):
            raise Refused(
                Code.FORBIDDEN, f"The hub (version {self.version}) is not older than that: version {frame.version}."
            )
        if self.heir not in (None, asker):
            raise Refused(Code.CONFLICT, "Another client is about to replace this hub.", retry_after_ms=1000)
        self.heir = asker

    def release(self, asker: object) -> None:
        """The connection is gone; if it was the heir's, the next may ask."""
        if self.heir is asker and self._way is None:
            self.heir = None

    def accept(self, asker: object, descriptor: int) -> bool:
        """The connection `descriptor` said stop: whether it is the heir's, to which the lock goes in the end."""
        if self.heir is not asker:
            return False
        self._way = socket.socket(fileno=os.dup(descriptor))
        return True

    def hand_over(self, lock_fd: int) -> None:
        """Give the lock away: this hub touches nothing any more. Without an heir, or if it is gone, nothing happens."""
        if self._way is None:
            return
        with self._way as way, suppress(OSError):
            way.settimeout(SEND_DEADLINE_S)
            socket.send_fds(way, [json.dumps(attrs.asdict(self.will)).encode() + b"\n"], [lock_fd])


def refuse_protocol(protocol: int, hub_version: str, *, newer_may: bool = False) -> None:
    """Raise Refused, which says what to upgrade, unless a client with that protocol is served."""
    if protocol in PROTOCOLS_SERVED or (newer_may and protocol > PROTOCOL):
        return
    hub = f"the hub (version {hub_version}) {PROTOCOL}"
    if protocol < PROTOCOL:
        served = f"{PROTOCOLS_SERVED[0]} to {PROTOCOL}" if len(PROTOCOLS_SERVED) > 1 else str(PROTOCOL)
        text = f"The client speaks protocol {protocol}, {hub}, which serves {served}: upgrade the client with {UPGRADE}"
        raise Refused(Code.UNSUPPORTED_PROTOCOL, f"{text} and restart the session.", path="protocol")
    text = f"The client speaks protocol {protocol}, {hub}: upgrade the hub with {UPGRADE}"
    raise Refused(Code.UNSUPPORTED_PROTOCOL, f"{text} and `crosschat restart`.", path="protocol")


def inherit(
    way: socket.socket, *, deadline_s: float = DRAIN_DEADLINE_S, clock: Callable[[], float] = time.monotonic
) -> tuple[int, Will] | None:
    """Tell the old hub to stop, and return its lock and will; None if it ended without passing them on.

    Blocks. Raises TimeoutError if it takes too long; it may still be about to end.
    """
    give_up_at = clock() + deadline_s
    said = b""
    with way:
        way.settimeout(deadline_s)
        with suppress(BrokenPipeError, ConnectionResetError):
            way.sendall(encode_control(Stop(id="heir", restart=True)) + b"\n")
            while True:
                way.settimeout(max(0.01, give_up_at - clock()))
                part, descriptors = _receive(way)
                if descriptors:
                    return descriptors[0], _will(part)
                if not part or len(said) > LINE_BYTES:
                    return None
                said += part  # the answer to `stop`; whether it came says nothing, the lock does
    return None


def _receive(way: socket.socket) -> tuple[bytes, list[int]]:
    """Bytes, and the descriptors that came with them. The kernel never joins bytes across descriptors."""
    part, ancillary, _, _ = way.recvmsg(LINE_BYTES, socket.CMSG_SPACE(4), getattr(socket, "MSG_CMSG_CLOEXEC", 0))
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    return part, list(descriptors)


def _will(line: bytes) -> Will:
    """What the old hub wrote; a later version may have written more. What cannot be read is as if nothing was set."""
    try:
        found = json.loads(line[line.rfind(b"\n", 0, -1) + 1 :])
        idle_stop_s, port = found["idle_stop_s"], found["port"]
    except (ValueError, KeyError, TypeError):
        return Will(idle_stop_s=IDLE_STOP_S, port=None)
    return Will(
        idle_stop_s=float(idle_stop_s) if isinstance(idle_stop_s, int | float) else None,
        port=port if type(port) is int else None,
    )
