"""The control door towards clients that say nothing, are too many, or are somebody else's."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from crosschat import wire
from crosschat.errors import Code
from crosschat.hub import control
from crosschat.hub.asklist import AskList
from crosschat.hub.audit import Audit
from crosschat.hub.permissions import PermissionDesk
from crosschat.hub.settings import Settings
from crosschat.hub.succession import Succession, Will
from crosschat.hub.survey import Survey
from crosschat.hub.watchfiles import WatchFiles
from crosschat.journal.files import RealFiles
from crosschat.paths import Home
from crosschat.processes import PeerCredentials
from tests.hub.rig import Middle, silent_log, verbs_of
from tests.live.rig import HubProcess, short_directory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from trio.testing import MockClock

pytestmark = pytest.mark.process
PEERS = wire.encode_control(wire.Peers(id="p")) + b"\n"


@pytest.fixture
def hub() -> Iterator[HubProcess]:
    with short_directory() as place, HubProcess(place / "home", "--stay") as hub:
        yield hub.started()


async def test_one_client_too_many_is_told_and_the_others_are_served(hub: HubProcess) -> None:
    path = str(hub.home.control_socket)
    streams = [await trio.open_unix_socket(path) for _ in range(control.CONNECTIONS)]
    for stream in streams:
        await stream.send_all(PEERS)
        with trio.fail_after(5):
            assert b"peer_list" in await stream.receive_some()
    async with await trio.open_unix_socket(path) as late:
        with trio.fail_after(5):
            said = wire.decode_hub(bytes(await late.receive_some()))
            assert isinstance(said, wire.Error)
            assert said.code is Code.HUB_FULL
            assert await late.receive_some() == b""
    await streams.pop().aclose()
    with trio.fail_after(5):
        while not await answered(path):  # until the hub has seen that one went
            pass
    for stream in streams:
        await stream.aclose()


async def answered(path: str) -> bool:
    async with await trio.open_unix_socket(path) as stream:
        await stream.send_all(PEERS)
        return b"peer_list" in await stream.receive_some()


@pytest.mark.parametrize("said", [b"", b'{"op":'])
async def test_a_client_that_says_nothing_is_put_out_and_does_not_keep_an_unused_hub(said: bytes) -> None:
    with short_directory() as place, HubProcess(place / "home", "--idle-stop-s", "1") as hub:
        path = str(hub.started().home.control_socket)
        async with await trio.open_unix_socket(path) as stream:
            await stream.send_all(said)
            with trio.fail_after(control.FIRST_LINE_S + 10):
                assert await stream.receive_some() == b""  # the hub went, or put it out
                await trio.to_thread.run_sync(hub.process.wait)


# --- in this process, where time can be told what to do


class Caller:
    """A client of the door, and what the door shares."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.middle = Middle("a1")
        succession = Succession("1", Will(idle_stop_s=None, port=None))
        log, router = silent_log(), self.middle.router
        files, nowhere = RealFiles(), Path("/nonexistent")
        permissions = PermissionDesk(
            router=router,
            audit=Audit(nowhere, files, lambda: 0),
            watch=WatchFiles(nowhere, files, log),
            log=log,
        )
        settings = Settings(files, nowhere)
        instances, notifier = verbs_of(router, settings, Home(nowhere))
        self.desk = control.Desk(
            router, _unasked, _never_stopped, succession, permissions, Survey(router), log,
            metrics=_unasked_figures, instances=instances, notifier=notifier,
            asking=AskList(nowhere, files, settings, log),
        )  # fmt: skip
        self._nursery = nursery
        self._streams: list[trio.SocketStream] = []
        self.stream = self.open()

    def open(self) -> trio.SocketStream:
        """Another connection."""
        ours, theirs = (trio.SocketStream(one) for one in trio.socket.socketpair())
        self._nursery.start_soon(self._serve, theirs)
        self._streams.append(ours)
        return ours

    def close(self) -> None:
        for stream in self._streams:
            stream.socket.close()

    async def _serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            await control.serve_control(self.desk, stream)

    async def say(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def hear(self) -> wire.HubFrame | None:
        """The next frame, which came alone; None at the end."""
        with trio.fail_after(100_000):
            received = await self.stream.receive_some()
        return wire.decode_hub(bytes(received)) if received else None

    async def refused(self) -> Code:
        """The code of the error after which the connection ends."""
        error = await self.hear()
        assert isinstance(error, wire.Error)
        assert await self.hear() is None
        return error.code


def _unasked(_: wire.Inspect) -> wire.HubStatus:
    raise AssertionError("nobody asked for it")


def _unasked_figures(_: wire.Metrics) -> wire.Figures:
    raise AssertionError("nobody asks for them")


def _never_stopped(reason: str, *, until_asked: bool = False) -> None:
    raise AssertionError(f"nobody asked for it: {reason}, {until_asked}")


@pytest.fixture
async def caller(autojump_clock: MockClock) -> AsyncIterator[Caller]:
    async with trio.open_nursery() as nursery:
        caller = Caller(nursery)
        yield caller
        caller.close()
        nursery.cancel_scope.cancel()


async def test_the_first_line_has_five_seconds_however_it_is_cut(caller: Caller, autojump_clock: MockClock) -> None:
    began = trio.current_time()
    for byte in PEERS[:9]:
        await caller.say(bytes([byte]))
        await trio.sleep(0.5)
    assert not caller.middle.router.busy
    assert await caller.refused() is Code.BAD_FRAME
    assert trio.current_time() - began == control.FIRST_LINE_S == 5
    assert caller.desk.connections == 0


async def test_who_has_asked_has_a_minute_for_the_next_line(caller: Caller, autojump_clock: MockClock) -> None:
    for _ in range(3):
        await caller.say(PEERS)
        assert isinstance(await caller.hear(), wire.PeerList)
        await trio.sleep(59)
    await caller.say(PEERS)
    assert isinstance(await caller.hear(), wire.PeerList)
    asked = trio.current_time()
    assert await caller.refused() is Code.BAD_FRAME
    assert trio.current_time() - asked == control.NEXT_LINE_S == 60


async def test_a_tail_lasts_as_long_as_its_client_and_keeps_the_hub(caller: Caller, autojump_clock: MockClock) -> None:
    await caller.say(wire.encode_control(wire.Tail(id="t")) + b"\n")
    await trio.sleep(10_000)
    assert caller.middle.router.busy
    caller.middle.commit(*caller.middle.messages(["news"]))
    batch = await caller.hear()
    assert isinstance(batch, wire.Batch)
    assert [item.content for item in batch.items] == ["news"]
    await caller.stream.aclose()
    await trio.testing.wait_all_tasks_blocked()
    assert not caller.middle.router.busy
    assert caller.desk.connections == 0


async def test_even_a_short_request_is_activity_for_the_idle_stop(caller: Caller, autojump_clock: MockClock) -> None:
    seen: list[bool] = []

    async def watch() -> None:
        while True:
            await caller.middle.router.next_activity()
            seen.append(caller.middle.router.busy)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        for number in range(1, 30):  # the order in which tasks run is left to chance
            await trio.testing.wait_all_tasks_blocked()
            await caller.say(PEERS)
            await caller.hear()
            await trio.testing.wait_all_tasks_blocked()
            assert seen.count(True) == number
        nursery.cancel_scope.cancel()


async def test_another_user_is_not_heard(
    caller: Caller, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await caller.say(PEERS)
    assert isinstance(await caller.hear(), wire.PeerList)  # one is there before
    monkeypatch.setattr(control, "peer_credentials", lambda _: PeerCredentials(pid=1, uid=os.getuid() + 1))
    caller.stream = caller.open()
    with suppress(trio.BrokenResourceError):
        await caller.say(PEERS)
        assert await caller.hear() is None
    assert caller.desk.connections == 1
    monkeypatch.setattr(control, "peer_credentials", lambda _: PeerCredentials(pid=1, uid=os.getuid()))
    caller.stream = caller.open()
    await caller.say(PEERS)
    assert isinstance(await caller.hear(), wire.PeerList)
