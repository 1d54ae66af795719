"""The control door: JSON lines for the command line, acting as the person's terminal, and for the hooks of sessions.

One request at a time for each connection; `tail` lasts until the client goes. Nothing here can approve a permission: a
hook can ask for one. What a hook was given follows its line as bytes, so that the hub has them unchanged.

A client that says nothing holds nothing up: it has `FIRST_LINE_S` for its first line and `NEXT_LINE_S` for each one
after that, there are at most `CONNECTIONS`, and only a request that is being carried out keeps an idle hub.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final, Protocol

import attrs
import trio

from crosschat.codec import BadFrame
from crosschat.core import views
from crosschat.core.pairing import CODE_S
from crosschat.errors import Code, Refused
from crosschat.hub.asklist import AskList
from crosschat.hub.delivery import follow
from crosschat.hub.hooks import change_rules, take_hook
from crosschat.hub.instances import Instances
from crosschat.hub.log import Logger
from crosschat.hub.notify import Notifier
from crosschat.hub.pages import read_page
from crosschat.hub.pairing import Pairing, refuse_all_but_a_person
from crosschat.hub.permissions import PermissionDesk
from crosschat.hub.router import Router, error_frame
from crosschat.hub.sessions import may_wait, take_event, wait_for_ring
from crosschat.hub.succession import Succession
from crosschat.hub.survey import Survey
from crosschat.limits import FRAME_BYTES, HELLO_DEADLINE_S, WRITE_DEADLINE_S
from crosschat.model import THE_CLI
from crosschat.processes import peer_credentials
from crosschat.wire import (
    AskPermission,
    ChangeProject,
    ChangeRules,
    Configure,
    ControlFrame,
    Cost,
    CostList,
    Done,
    Figures,
    HubFrame,
    HubStatus,
    Inspect,
    KeyList,
    Keys,
    Launch,
    Metrics,
    NewCode,
    PairingCode,
    PeerList,
    Peers,
    Projects,
    Read,
    RevokeKey,
    Search,
    SessionEvent,
    SessionList,
    Sessions,
    Stop,
    Succeed,
    Tail,
    ToolsRan,
    decode_control,
    encode,
    request_id,
)

RECEIVE_BYTES: Final = 64 * 1024
FIRST_LINE_S: Final = HELLO_DEADLINE_S
NEXT_LINE_S: Final = 60.0
CONNECTIONS: Final = 64
BACK_IN_MS: Final = 1000  # a place at a full door is soon free


class StopHub(Protocol):
    """`Hub.stop`."""

    def __call__(self, reason: str, *, until_asked: bool = False) -> None: ...


@attrs.define(eq=False)
class Desk:
    """What all control connections share."""

    router: Router
    inspect: Callable[[Inspect], HubStatus]
    stop: StopHub
    succession: Succession
    permissions: PermissionDesk
    survey: Survey
    log: Logger
    metrics: Callable[[Metrics], Figures] = attrs.field(kw_only=True)
    instances: Instances = attrs.field(kw_only=True)
    notifier: Notifier = attrs.field(kw_only=True)
    asking: AskList = attrs.field(kw_only=True)
    pairing: Pairing | None = None  # as long as there is no page
    connections: int = 0


async def serve_control(desk: Desk, stream: trio.SocketStream) -> None:
    """Serve one client until it closes, breaks the protocol's frame (a line too long), says or takes nothing for too
    long, or is one too many."""
    if peer_credentials(stream.socket).uid != os.getuid():
        return
    try:
        if desk.connections >= CONNECTIONS:
            text = f"{CONNECTIONS} commands are connected, which is the limit."
            await _say(stream, error_frame(None, Refused(Code.HUB_FULL, text, retry_after_ms=BACK_IN_MS)))
            return
        desk.connections += 1
        try:
            await _serve(desk, stream)
        finally:
            desk.connections -= 1
            desk.succession.release(stream)
    except* (trio.BrokenResourceError, trio.TooSlowError):  # in a group, if a tail met it
        pass


async def _serve(desk: Desk, stream: trio.SocketStream) -> None:
    buffer = bytearray()
    allowed_s = FIRST_LINE_S
    while (line := await _next_line(stream, buffer, allowed_s)) is not None:
        desk.router.counts["commands"] += 1
        desk.router.enter()
        try:
            await trio.lowlevel.checkpoint()  # who waits for activity sees it, however short the request is
            if not await _answer(desk, stream, buffer, line):
                return
        finally:
            desk.router.leave()
        allowed_s = NEXT_LINE_S


async def _next_line(stream: trio.SocketStream, buffer: bytearray, allowed_s: float) -> bytes | None:
    """The next line, however it is cut into pieces, within that time; else the client is told, and it is the end."""
    with trio.move_on_after(allowed_s):
        return await _line(stream, buffer)
    await _say(stream, error_frame(None, BadFrame(f"no whole line within {allowed_s:g} s")))
    return None


async def _line(stream: trio.SocketStream, buffer: bytearray) -> bytes | None:
    """The next line without its end; None at the end. A line that is too long is answered and ends the connection."""
    while (end := buffer.find(b"\n")) < 0:
        if len(buffer) > FRAME_BYTES:
            await _say(stream, error_frame(None, BadFrame(f"a line has at most {FRAME_BYTES} bytes")))
            return None
        received = await stream.receive_some(RECEIVE_BYTES)
        if not received:
            return None
        buffer += received
    line = bytes(buffer[:end])
    del buffer[: end + 1]
    return line


async def _say(stream: trio.SocketStream, frame: HubFrame) -> None:
    with trio.fail_after(WRITE_DEADLINE_S):
        await stream.send_all(encode(frame) + b"\n")


async def _answer(desk: Desk, stream: trio.SocketStream, buffer: bytearray, line: bytes) -> bool:
    """Answer one request; False if the connection is of no use after it."""
    try:
        frame = decode_control(line)
    except BadFrame as error:
        await _say(stream, error_frame(request_id(line), error))
        return True
    try:
        if isinstance(frame, AskPermission | ToolsRan):
            await take_hook(desk, stream, buffer, frame)
            return False
        if isinstance(frame, Tail):
            await _tail(desk.router, stream, frame)
        elif isinstance(frame, Succeed):
            desk.succession.reserve(stream, frame)
        if isinstance(frame, SessionEvent) and frame.event in ("stop", "end"):
            pid = peer_credentials(stream.socket).pid
            await desk.permissions.turn_ended(pid, session_too=frame.event == "end")
        if isinstance(frame, SessionEvent) and may_wait(frame):
            await _hold(desk, stream, frame)
            return True
        await _say(stream, await _carry_out(desk, frame, peer_credentials(stream.socket).pid))
    except Refused as refused:
        await _say(stream, error_frame(frame.id, refused))
    finally:
        if isinstance(frame, Stop):  # also if who asked does not wait for the answer
            _stop(desk, stream, frame)
    return True


def _stop(desk: Desk, stream: trio.SocketStream, frame: Stop) -> None:
    if desk.succession.accept(stream, stream.socket.fileno()):
        desk.stop("a newer version takes over", until_asked=False)
    else:
        desk.stop("it restarts" if frame.restart else "the person stopped it", until_asked=not frame.restart)


async def _hold(desk: Desk, stream: trio.SocketStream, frame: SessionEvent) -> None:
    """A hook that may wait, as long as it lives: it takes nobody's place here and keeps no hub. Raises Refused."""
    pid = peer_credentials(stream.socket).pid
    await take_event(desk.router, pid, frame)
    desk.connections -= 1
    desk.router.leave()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_until_closed, stream, nursery.cancel_scope)
            brief = await wait_for_ring(desk.router, pid, frame)
            await _say(stream, brief)
            nursery.cancel_scope.cancel()
    finally:
        desk.router.enter()
        desk.connections += 1


async def _carry_out(desk: Desk, frame: ControlFrame, pid: int) -> HubFrame:
    router = desk.router
    match frame:
        case Read():
            return await read_page(router, THE_CLI, frame)
        case Projects():
            return await desk.instances.list(frame)
        case ChangeProject():
            return await desk.instances.change(frame)
        case Launch():
            return await desk.instances.launch(frame)
        case Configure():
            about = desk.instances if frame.about == "launch" else desk.notifier
            return await about.configure(frame, pid)
        case Search():
            return await router.find(THE_CLI, frame)
        case Peers():
            return PeerList(id=frame.id, peers=views.peer_views(router.state, router.presence, router.clock_ms()))
        case Sessions():
            known = await desk.survey.look()
            return SessionList(id=frame.id, unjoined=known.unjoined, problem=known.problem)
        case Inspect():
            return desk.inspect(frame)
        case Metrics():
            return desk.metrics(frame)
        case NewCode():
            pairing = _pairing(desk)
            code = pairing.new_code(pid)
            first = not pairing.table.usable()
            return PairingCode(id=frame.id, code=code, page=f"{pairing.origin}/pair", seconds=CODE_S, first=first)
        case Keys():
            return KeyList(id=frame.id, keys=_pairing(desk).views())
        case RevokeKey():
            refuse_all_but_a_person(pid)
            await _pairing(desk).revoke(frame.key, None)
            return Done(id=frame.id)
        case Cost():
            return CostList(id=frame.id, sessions=views.cost_views(router.state, router.presence))
        case SessionEvent():
            return await take_event(router, pid, frame)
        case ChangeRules():
            return await change_rules(desk.asking, frame, pid)
        case Stop() | Tail() | Succeed() | AskPermission() | ToolsRan():
            return Done(id=frame.id)
        case _:
            return router.answer(frame, await router.ask(THE_CLI, frame))


def _pairing(desk: Desk) -> Pairing:
    if desk.pairing is None:
        raise Refused(
            Code.UNAVAILABLE, "The page is not there: `crosschat status` says why.", retry_after_ms=BACK_IN_MS
        )
    return desk.pairing


async def _tail(router: Router, stream: trio.SocketStream, frame: Tail) -> None:
    """Send everything that readers may see, from `after_seq` on, until the client is gone. Raises Refused."""
    refused: Refused | None = None

    async def send(batch: bytes, _: int) -> None:
        with trio.fail_after(WRITE_DEADLINE_S):
            await stream.send_all(batch + b"\n")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(_until_closed, stream, nursery.cancel_scope)
        try:
            await follow(router, router.feed.head if frame.after_seq is None else max(0, frame.after_seq), send)
        except Refused as error:  # raised below, where it is not in a group
            refused = error
            nursery.cancel_scope.cancel()
    if refused is not None:
        raise refused


async def _until_closed(stream: trio.SocketStream, scope: trio.CancelScope) -> None:
    while await stream.receive_some(RECEIVE_BYTES):
        pass  # a client that tails has nothing more to say
    scope.cancel()
