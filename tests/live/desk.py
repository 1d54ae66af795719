"""A permission desk behind a real control socket in this process, so that a test can decide as a page does."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import attrs
import trio

from crosschat.hub import control
from crosschat.hub.asklist import AskList
from crosschat.hub.audit import Audit
from crosschat.hub.permissions import PermissionDesk
from crosschat.hub.settings import Settings
from crosschat.hub.sockets import open_doors, prepare_run_directory
from crosschat.hub.succession import Succession, Will
from crosschat.hub.survey import Survey
from crosschat.hub.watchfiles import WatchFiles
from crosschat.journal.audit import read_audit
from crosschat.journal.files import RealFiles
from crosschat.paths import Home
from tests.hub.desk import Seen, output, payload
from tests.hub.rig import NOW_MS, Middle, silent_log, verbs_of
from tests.live.rig import WAIT_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from crosschat import wire
    from crosschat.journal.files import Files
    from crosschat.model import JsonObject
    from crosschat.pagewire import PermissionView
    from tests.live.prompting import Session


class LiveDesk:
    """The desk and its door, open until `close`. `home` may be used again by the next one, as after a restart."""

    def __init__(self, place: Path, nursery: trio.Nursery, files: Files | None = None) -> None:
        self.home = Home(place / "home")
        self.home.root.mkdir(mode=0o700, exist_ok=True)
        prepare_run_directory(self.home.run)
        self.files, log = files or RealFiles(), silent_log()
        self.middle, self.seen = Middle("a1", "a2"), Seen()
        self.settings = Settings(self.files, self.home.settings)
        watch = WatchFiles(self.home.watch, self.files, log)
        watch.clear()
        self.audit = Audit(self.home.root, self.files, lambda: NOW_MS)
        self.permissions = PermissionDesk(
            router=self.middle.router,
            audit=self.audit,
            watch=watch,
            log=log,
        )
        self.permissions.watch(self.seen)
        self.asking = AskList(self.home.ask, self.files, self.settings, log)
        instances, notifier = verbs_of(self.middle.router, self.settings, self.home)
        shared = control.Desk(
            self.middle.router, _no_status, _no_stop, Succession("1", Will(idle_stop_s=None, port=None)),
            self.permissions, Survey(self.middle.router), log,
            metrics=_no_figures, instances=instances, notifier=notifier, asking=self.asking,
        )  # fmt: skip
        self._nursery = nursery
        self._scope = trio.CancelScope()
        (self._door,) = open_doors(self.home.control_socket)
        nursery.start_soon(self._serve, partial(control.serve_control, shared))

    async def _serve(self, handler: Callable[[trio.SocketStream], Awaitable[None]]) -> None:
        try:
            with self._scope:
                await trio.serve_listeners(handler, [self._door.listener])
        finally:
            self.audit.close()

    def close(self) -> None:
        """End it as a stop does. A second time changes nothing."""
        if not self._scope.cancel_called:
            self._door.close()
            self._scope.cancel()

    def know(self, session: Session, agent: str = "a1") -> None:
        """The session's agent is connected."""
        state = self.middle.state
        state.agents[agent] = attrs.evolve(state.agents[agent], process=session.process.key)
        self.middle.presence.arrive(agent, status="available", detail=None, offered=0, now_ms=NOW_MS)

    async def asked(self, count: int = 1) -> PermissionView:
        """The request that came as the `count`th."""
        with trio.fail_after(WAIT_S):
            while len(self.seen.views) < count:  # noqa: ASYNC110
                await trio.sleep(0.001)
        return self.seen.views[count - 1]

    async def over(self) -> str:
        """How the first request that is over ended."""
        with trio.fail_after(WAIT_S):
            while not self.seen.overs:  # noqa: ASYNC110
                await trio.sleep(0.001)
        return self.seen.overs[0].how

    async def decide(self, view: PermissionView, said: JsonObject | None = None) -> None:
        await self.permissions.decide(
            key="k1", label="my browser", request=view.id, payload=payload(view, output() if said is None else said),
            signature="sig",
        )  # fmt: skip

    def audited(self) -> list[JsonObject]:
        chain = read_audit(self.home.root, RealFiles())
        assert chain.problems == ()
        return list(chain.lines)


def _no_status(_: wire.Inspect) -> wire.HubStatus:
    raise AssertionError("nobody asks for it")


def _no_figures(_: wire.Metrics) -> wire.Figures:
    raise AssertionError("nobody asks for them")


def _no_stop(reason: str, *, until_asked: bool = False) -> None:
    raise AssertionError(f"nobody asks for it: {reason}, {until_asked}")
