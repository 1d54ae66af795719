"""The page's side of a running hub: the port it has, why it has none, and the pages that are open.

No agent waits for it, and without it they all work. The port is taken first, so that the page's address is known from
the first moment on; what answers there comes last, because its framework takes longer to import than all the rest.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from crosschat.hub.dashboard import serve_screen
from crosschat.hub.guard import origin_of
from crosschat.hub.keyring import Keyring
from crosschat.hub.pairing import Pairing
from crosschat.hub.screens import Screens
from crosschat.hub.visits import listen
from crosschat.hub.webserver import Facts, Site, serve_page
from crosschat.wire import PROTOCOL

if TYPE_CHECKING:
    import socket

    import trio

    from crosschat.hub.events import EventLog
    from crosschat.hub.log import Logger
    from crosschat.hub.parts import Parts
    from crosschat.hub.settings import Settings


class BrowserDoor:
    """`wanted` is the port that was chosen; without one it is the remembered or any free one. `problem` says what is
    wrong with the page, if something is."""

    def __init__(self, wanted: int | None, settings: Settings, events: EventLog, log: Logger) -> None:
        self._wanted = wanted
        self._settings = settings
        self._events = events
        self._log = log
        self.port: int | None = None
        self.problem: str | None = None
        self.screens: Screens | None = None

    def page(self) -> str | None:
        """The page's address, once it has one."""
        return f"{origin_of(self.port)}/" if self.port is not None else None

    def claim(self) -> socket.socket | None:
        """Listen where the page will be; None, and a `problem`, if that is not possible."""
        settings = self._settings
        sock, self.problem = listen(self._wanted, settings.dashboard_port)
        if sock is None:
            self._log.warning("page off", why=self.problem)
            return None
        self.port = int(sock.getsockname()[1])
        self.problem = settings.problem
        if self._wanted is None and settings.dashboard_port not in (None, self.port):
            self.problem = (
                f"port {settings.dashboard_port} is another program's: the page is at port {self.port} until the hub "
                f"starts with {settings.dashboard_port} free again, and has to be paired there; what answers at "
                f"{settings.dashboard_port} is not CrossChat"
            )
            self._events.add("alarm", self.problem)
        return sock

    async def open(self, network: trio.Nursery, sock: socket.socket, parts: Parts) -> None:
        """Serve the page on the claimed socket, from `network`, and return once it answers."""
        port = int(sock.getsockname()[1])
        keyring = Keyring(self._settings, parts.audit, self._log)
        pairing = parts.desk.pairing = Pairing(keyring, port, self._events, parts.router.clock_ms)
        for problem in pairing.problems():
            self._events.add("alarm", problem)
        self.screens = screens = Screens(
            router=parts.router,
            pairing=pairing,
            desk=parts.permissions,
            asking=parts.desk.asking,
            survey=parts.survey,
            events=self._events,
            instances=parts.instances,
            patience=lambda: parts.notifier.patience,
            version=parts.version,
            hub=parts.report.show,
            log=self._log,
        )
        self._have_told(screens)
        site = Site(Facts(parts.version, PROTOCOL), pairing, partial(serve_screen, screens), self._log)
        await network.start(serve_page, sock, site)
        if self._wanted is None:
            try:
                self._settings.remember_port(port)
            except OSError as error:
                self.problem = f"the page's port cannot be remembered: {error}"

    def _have_told(self, screens: Screens) -> None:
        """Whom the pages hear from."""
        screens.desk.watch(screens)
        screens.asking.changed.append(partial(screens.stir, "desk"))
        screens.instances.projects.changed = partial(screens.stir, "hub")
        screens.instances.launched = self._launched
        screens.router.attach(screens, screens)
        screens.router.presence.on_change = screens.survey.on_news = partial(screens.stir, "people", "hub")
        screens.pairing.told = screens
        screens.events.listener = screens

    def _launched(self, project: str, where: str) -> None:
        self._events.add("launched", f"a session was started in {project}, {where}")

    def farewell(self, reason: str) -> None:
        """The hub is about to stop."""
        if self.screens is not None:
            self.screens.farewell(reason)
