"""A plain, blocking client of the hub's control door: one JSON line asks, one answers.

A hub that goes while it is asked, because it restarts, makes room for a newer version or stops unused, is no failure
of a command that may start one: it is asked again, with the same `cid`, which the next hub answers as this one would
have. Every wait is bounded but one: `follow` waits for the next delivery as long as a hub lives. An answer is refused
above `ANSWER_BYTES` before it is looked at. Whatever goes wrong is one exception, `Failure`, with cause, remedy and
exit status; `NotRunning` is the one callers treat apart. The hub is asked nothing unless the kernel says that it is
a process of ours. Closing the connection leaves nothing behind on either side.
"""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING, Final, TypeVar, get_args

import attrs

from crosschat import codec, wire
from crosschat.cli.failure import FAILED, NO_HUB, Failure
from crosschat.errors import Code
from crosschat.processes import peer_credentials

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from crosschat.paths import Configuration, Home

ANSWER_DEADLINE_S: Final = 10.0
ANSWER_BYTES: Final = 8 * 1024 * 1024
RECEIVE_BYTES: Final = 64 * 1024
AGAIN_PAUSE_S: Final = 0.05
CROWD_PAUSE_S: Final = 0.02
FOLLOW_PATIENCE_S: Final = 10.0  # whoever needs a hub starts one; who only follows waits so long for that
PAGE_DEADLINE_S: Final = 3.0  # the page comes up after the doors
PAGE_POLL_S: Final = 0.02

Asking = (
    wire.Send
    | wire.Read
    | wire.Search
    | wire.Peers
    | wire.ClearChannel
    | wire.ReleaseTask
    | wire.PauseAgent
    | wire.Tail
    | wire.NewCode
    | wire.Keys
    | wire.RevokeKey
    | wire.Sessions
    | wire.Projects
    | wire.ChangeProject
    | wire.Launch
    | wire.Configure
    | wire.Cost
    | wire.ChangeRules
    | wire.Inspect
    | wire.Metrics
    | wire.Probe
    | wire.Stop
)
Expected = TypeVar("Expected", bound=wire.Answer)


class NotRunning(Failure):
    """Nobody listens on the control socket."""

    def __init__(self, home: Home) -> None:
        super().__init__(f"no hub runs for {home.root}: start one with `crosschat start`", NO_HUB)


class _Gone(Failure):
    """The hub ended the connection, or says that it is about to: the question may be asked again."""

    def __init__(self, why: str = "the hub went away: try again, `crosschat logs` says why it left") -> None:
        super().__init__(why, NO_HUB)


def new_id() -> str:
    return os.urandom(8).hex()


class Control:
    """An open connection. `pid` is the hub's, from the kernel. `again` opens the next one when a hub goes."""

    def __init__(self, sock: socket.socket, *, deadline_s: float = ANSWER_DEADLINE_S) -> None:
        """Takes the connected socket, and closes it when the other end is another user's. Raises Failure."""
        self._sock = sock
        self.again: Callable[[], Control] | None = None
        self._deadline_s = deadline_s
        self._unread = bytearray()
        try:
            peer = peer_credentials(sock)
        except OSError as error:
            sock.close()
            raise Failure(f"the kernel does not say who listens on the control socket: {error}", NO_HUB) from None
        if peer.uid != os.getuid():
            sock.close()
            raise Failure(
                f"the control socket is user {peer.uid}'s, not yours: set CROSSCHAT_HOME to a directory of your own",
                NO_HUB,
            )
        self.pid = peer.pid

    @classmethod
    def open(cls, home: Home, *, deadline_s: float = ANSWER_DEADLINE_S) -> Control:
        """Connect to the hub that runs. Raises NotRunning, or Failure if the socket cannot be used."""
        return cls(_connect(home, deadline_s), deadline_s=deadline_s)

    def __enter__(self) -> Control:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._sock.close()

    def ask(self, frame: Asking, expected: type[Expected], *, within_s: float | None = None) -> Expected:
        """The hub's answer within the deadline, or `within_s`. Raises Failure for a refusal, for silence and for
        nonsense."""
        give_up_at = time.monotonic() + (within_s or self._deadline_s)
        while True:
            try:
                return self._ask_once(frame, expected, give_up_at)
            except _Gone:
                if self.again is None or time.monotonic() >= give_up_at:
                    raise
            time.sleep(AGAIN_PAUSE_S)
            self._take(self.again())

    def _ask_once(self, frame: Asking, expected: type[Expected], give_up_at: float) -> Expected:
        self._send(frame)
        while True:
            answer = self._receive(give_up_at)
            if isinstance(answer, expected) and answer.id == frame.id:
                return answer
            self._refuse(answer, frame.id)

    def _take(self, other: Control) -> None:
        """Go on with the connection of another one."""
        self._sock.close()
        self._sock, self.pid, self._unread = other._sock, other.pid, bytearray()

    def follow(self, home: Home, tail: wire.Tail) -> Iterator[wire.Batch]:
        """Deliveries until the caller stops asking for them. When the hub goes, the next one goes on where it ended.
        That nobody starts one for `FOLLOW_PATIENCE_S` is a Failure."""
        while True:
            try:
                self._send(tail)
                while True:
                    if batch := self._delivery(tail, None):
                        tail = attrs.evolve(tail, after_seq=batch.to_seq)
                        yield batch
            except _Gone as gone:
                self._take(_next_hub(home, gone))

    def catch_up(self, tail: wire.Tail, head: int) -> Iterator[wire.Batch]:
        """Deliveries up to the record `head`; the hub reports also where nothing is to be seen. Raises Failure."""
        upto = tail.after_seq or 0
        while upto < head:
            try:
                self._send(attrs.evolve(tail, after_seq=upto))
                while upto < head:
                    if batch := self._delivery(tail, time.monotonic() + self._deadline_s):
                        yield batch
                        upto = batch.to_seq
            except _Gone:
                if self.again is None:
                    raise
                self._take(self.again())

    def _delivery(self, tail: wire.Tail, give_up_at: float | None) -> wire.Batch | None:
        frame = self._receive(give_up_at)
        if isinstance(frame, wire.Batch):
            return frame
        self._refuse(frame, tail.id)
        return None

    def status(self, *, tree: bool = False) -> wire.HubStatus:
        """The hub's own state; of one that has just begun, when its page is up, or its reason to stay down is known."""
        give_up_at = time.monotonic() + PAGE_DEADLINE_S
        while True:
            found = self.ask(wire.Inspect(id=new_id(), tree=tree), wire.HubStatus)
            if found.dashboard or found.dashboard_problem or time.monotonic() >= give_up_at:
                return found
            time.sleep(PAGE_POLL_S)

    def wait_closed(self, give_up_at: float) -> None:
        """Return when the hub closed the connection, which it does at the latest when it ends, or at `give_up_at`."""
        try:
            while (left := give_up_at - time.monotonic()) > 0:
                self._sock.settimeout(left)
                if not self._sock.recv(RECEIVE_BYTES):
                    return
        except OSError:
            return

    def _send(self, frame: Asking) -> None:
        try:
            self._sock.settimeout(self._deadline_s)
            self._sock.sendall(wire.encode_control(frame) + b"\n")
        except TimeoutError:
            raise self._silent() from None
        except OSError:
            pass  # it may have said why before it closed; if not, reading says that it is gone

    def _receive(self, give_up_at: float | None) -> wire.HubFrame:
        line = self._line(give_up_at)
        try:
            return wire.decode_hub(line)
        except codec.BadFrame as error:
            raise Failure(
                f"the hub's answer makes no sense here ({error.message}): hub and command may be of different "
                "versions; try `crosschat restart`",
                FAILED,
            ) from None

    def _line(self, give_up_at: float | None) -> bytes:
        searched = 0
        while (end := self._unread.find(b"\n", searched)) < 0:
            searched = len(self._unread)
            if searched > ANSWER_BYTES:
                raise Failure(f"the hub's answer is larger than {ANSWER_BYTES} bytes: ask for less", FAILED)
            left = None if give_up_at is None else give_up_at - time.monotonic()
            if left is not None and left <= 0:
                raise self._silent()
            try:
                self._sock.settimeout(left)
                part = self._sock.recv(RECEIVE_BYTES)
            except TimeoutError:
                raise self._silent() from None
            except OSError:
                part = b""
            if not part:
                raise _Gone
            self._unread += part
        line = bytes(self._unread[:end])
        del self._unread[: end + 1]
        return line

    def _silent(self) -> Failure:
        return Failure(
            f"the hub (pid {self.pid}) does not answer within {self._deadline_s:g} s: "
            "try again, or `crosschat restart --force`",
            NO_HUB,
        )

    def _refuse(self, frame: wire.HubFrame, asked: str) -> None:
        """Raise what the frame means for a question that it does not answer; nothing for one that is not about it."""
        match frame:
            case wire.Error(id=about) if about in (None, asked):
                later = "" if frame.retry_after_ms is None else f" (try again in {frame.retry_after_ms / 1000:g} s)"
                if frame.code in (Code.UNAVAILABLE, Code.HUB_FULL):  # which says only that it cannot answer now
                    raise _Gone(frame.message + later)
                raise Failure(frame.message + later, FAILED)
            case wire.Bye():
                raise _Gone(f"the hub is leaving ({frame.reason}): try again in a moment")
            case _ if isinstance(frame, get_args(wire.Answer)) and frame.id == asked:
                raise Failure(f"the hub answered with {frame.type!r}: try `crosschat restart`", FAILED)
            case _:
                return


def _connect(home: Home, deadline_s: float) -> socket.socket:
    """As `Control.open`. In a crowd of starters more may wait than the hub has room for: then it is tried again."""
    give_up_at = time.monotonic() + deadline_s
    while True:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(deadline_s)
        try:
            sock.connect(os.fspath(home.control_socket))
            return sock
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            sock.close()
            raise NotRunning(home) from None
        except OSError as error:
            sock.close()
            if not isinstance(error, BlockingIOError) or time.monotonic() >= give_up_at:
                raise Failure(f"{home.control_socket} cannot be used: {error.strerror or error}", NO_HUB) from None
        time.sleep(CROWD_PAUSE_S)


def page_of(status: wire.HubStatus) -> str:
    """Where the hub's page is, or why it is not."""
    return status.dashboard or f"off: {status.dashboard_problem or 'still starting'}"


def _next_hub(home: Home, gone: _Gone) -> Control:
    """A connection to the hub that somebody starts. Raises the failure if nobody does."""
    give_up_at = time.monotonic() + FOLLOW_PATIENCE_S
    while True:
        time.sleep(AGAIN_PAUSE_S)
        try:
            return Control.open(home)
        except NotRunning:
            if time.monotonic() >= give_up_at:
                raise gone from None


def running_hub(
    chosen: Configuration, *, port: int | None = None, stay: bool = False, idle_stop_s: float | None = None
) -> Control:
    """A connection to the hub, which is started if none runs, also later if it goes meanwhile. Raises Failure."""
    from crosschat.bridge.launch import HubUnavailable, ensure_hub

    def connect() -> Control:
        give_up_at = time.monotonic() + ANSWER_DEADLINE_S
        while True:
            try:
                ensure_hub(chosen.home, port=port or chosen.dashboard_port, stay=stay, idle_stop_s=idle_stop_s)
            except HubUnavailable as error:
                raise Failure(str(error), NO_HUB) from None
            try:
                return Control.open(chosen.home)
            except NotRunning:  # it stopped unused between the two, or makes room for another
                if time.monotonic() >= give_up_at:
                    raise

    found = connect()
    found.again = connect
    return found
