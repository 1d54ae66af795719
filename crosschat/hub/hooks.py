"""Hooks of sessions at the control door: a line that says how many bytes follow, and those bytes, unchanged.

A hook that asks for permission keeps its connection until it has its answer. It takes nobody's place at the door
meanwhile, and keeps no hub: the desk bounds how many wait.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

import attrs
import trio

from crosschat.codec import BadFrame
from crosschat.hub.asklist import PRESETS
from crosschat.hub.pairing import refuse_all_but_a_person
from crosschat.limits import HELLO_DEADLINE_S, HOOK_BYTES, WRITE_DEADLINE_S
from crosschat.processes import peer_credentials
from crosschat.wire import AskPermission, ChangeRules, Done, NoOpinion, Rules, ToolsRan, encode

if TYPE_CHECKING:
    from crosschat.hub.asklist import AskList
    from crosschat.hub.control import Desk

BYTES_S: Final = HELLO_DEADLINE_S  # what a line announced is there within this
RECEIVE_BYTES: Final = 64 * 1024


@attrs.frozen
class _Hook:
    """A connection as the permission desk knows it."""

    stream: trio.SocketStream

    async def say(self, line: bytes) -> None:
        with trio.fail_after(WRITE_DEADLINE_S):
            await self.stream.send_all(line + b"\n")

    async def until_closed(self) -> None:
        with suppress(trio.BrokenResourceError):
            await self.stream.receive_some(RECEIVE_BYTES)


async def take_hook(desk: Desk, stream: trio.SocketStream, buffer: bytearray, frame: AskPermission | ToolsRan) -> None:
    """Serve a hook; the connection is of no use after that. `buffer` is what has been received behind the line. Raises
    Refused for what cannot be read."""
    hook = _Hook(stream)
    if not 0 <= frame.bytes <= HOOK_BYTES:
        await hook.say(encode(NoOpinion(id=frame.id, reason="too_large")))
        return
    raw: bytes | None = None
    with trio.move_on_after(BYTES_S):
        raw = await _bytes(stream, buffer, frame.bytes)
    if raw is None:
        raise BadFrame(f"not {frame.bytes} bytes within {BYTES_S:g} s")
    pid = peer_credentials(stream.socket).pid
    if isinstance(frame, ToolsRan):
        await desk.permissions.ran(pid, raw)
        await hook.say(encode(Done(id=frame.id)))
        return
    desk.connections -= 1
    desk.router.leave()
    try:
        await desk.permissions.serve(hook, pid, frame.id, raw)
    finally:
        desk.router.enter()
        desk.connections += 1


async def _bytes(stream: trio.SocketStream, buffer: bytearray, size: int) -> bytes | None:
    """So many bytes; None at an early end."""
    while len(buffer) < size:
        received = await stream.receive_some(RECEIVE_BYTES)
        if not received:
            return None
        buffer += received
    raw = bytes(buffer[:size])
    del buffer[:size]
    return raw


async def change_rules(asking: AskList, frame: ChangeRules, pid: int) -> Rules:
    """The ask-list, for the process `pid`; changed first, if it is the person's terminal. Raises Refused."""
    if frame.change != "list":
        refuse_all_but_a_person(pid)
        await (asking.add if frame.change == "add" else asking.remove)(frame.rule or "")
    return Rules(id=frame.id, rules=asking.rules, presets=PRESETS)
