"""What all streams of pages share, and who tells it what: the router, the permission desk, pairing, the activity log.

Views that every page gets alike are made once. Nothing here waits, and nothing of it outlives the hub.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Literal, Protocol

import attrs
import trio

from crosschat.core import attention, views
from crosschat.errors import Code, Refused
from crosschat.pagewire import Event, Hub, Needs, People, Permission, PermissionOver, ScreenFrame
from crosschat.pagewire import Pairing as PairingFrame

if TYPE_CHECKING:
    from collections.abc import Callable

    from crosschat.core.attention import Patience
    from crosschat.core.pairing import Waiting
    from crosschat.hub.asklist import AskList
    from crosschat.hub.events import EventLog
    from crosschat.hub.instances import Instances
    from crosschat.hub.log import Logger
    from crosschat.hub.pairing import Pairing
    from crosschat.hub.permissions import PermissionDesk
    from crosschat.hub.router import Fresh, Router
    from crosschat.hub.survey import Survey
    from crosschat.pagewire import EventView, PermissionView

SCREENS: Final = 16
NEEDS_S: Final = 1.0  # what needs the person is made no more often, for all pages
POLICY: Final = 1008  # of RFC 6455, 7.4.1

News = Literal["hub", "people", "needs", "desk", "cleared"]
NEWS: Final[tuple[News, ...]] = ("hub", "people", "needs", "desk", "cleared")


class Screen(Protocol):
    """One stream. None of this waits or raises."""

    @property
    def key(self) -> str:
        """The id of the browser's key."""

    def stir(self, *news: News) -> None:
        """Something of this may have changed: look, and send what has."""

    def post(self, frame: ScreenFrame) -> None:
        """Send it soon, in the order of these calls."""

    def end(self, code: int, reason: str) -> None:
        """End the stream, whatever it is doing."""

    def hurry(self) -> None:
        """Have a `send` that hangs end soon: the hub is about to stop."""


class Screens:
    """What all streams share: a reader of the router, a watcher of the permission desk, and told by `Pairing` and
    `EventLog`."""

    def __init__(
        self,
        *,
        router: Router,
        pairing: Pairing,
        desk: PermissionDesk,
        asking: AskList,
        survey: Survey,
        events: EventLog,
        instances: Instances,
        patience: Callable[[], Patience],
        version: str,
        hub: Callable[[], Hub],
        log: Logger,
    ) -> None:
        self.router = router
        self.pairing = pairing
        self.desk = desk
        self.asking = asking
        self.survey = survey
        self.events = events
        self.instances = instances
        self._patience = patience
        self.version = version
        self.hub = hub
        self.log = log
        self.stopping: str | None = None
        self._open: set[Screen] = set()
        self._asking: dict[str, PermissionView] = {view.id: view for view in desk.requests()}
        self._people: People | None = None
        self._needs = Needs()
        self._needs_made_at = -math.inf

    @property
    def count(self) -> int:
        return len(self._open)

    def people(self) -> People:
        """All agents as they are now; made once for all pages."""
        if self._people is None:
            router = self.router
            self._people = People(
                agents=views.peer_views(router.state, router.presence, router.clock_ms()),
                unjoined=self.survey.known.unjoined or (),
            )
        return self._people

    def needs(self) -> Needs:
        """What needs the person, as of `NEEDS_S` ago at most."""
        if not self.needs_are_kept:
            self._needs_made_at = trio.current_time()
            router = self.router
            found = attention.needs(router.state, router.presence, router.clock_ms(), self._patience())
            self._needs = Needs(needs=found)
        return self._needs

    @property
    def needs_are_kept(self) -> bool:
        """Whether they may be older than the last change."""
        return trio.current_time() - self._needs_made_at < NEEDS_S

    def enter(self, screen: Screen) -> None:
        """Raises Refused if there are too many."""
        if len(self._open) >= SCREENS:
            raise Refused(
                Code.HUB_FULL, f"{SCREENS} pages are open, which is the limit: close one.", retry_after_ms=5000
            )
        self._open.add(screen)

    def leave(self, screen: Screen) -> None:
        self._open.discard(screen)

    def stir(self, *news: News) -> None:
        """Something of this may have changed."""
        if "people" in news:
            self._people = None
        for screen in self._open:
            screen.stir(*news)

    def tell(self, frame: ScreenFrame) -> None:
        for screen in tuple(self._open):
            screen.post(frame)

    def farewell(self, reason: str) -> None:
        """The hub is about to stop: the streams are about to be cancelled, and say goodbye."""
        self.stopping = reason
        for screen in self._open:
            screen.hurry()

    # --- what the router tells its readers

    def offer(self, _: Fresh) -> None:
        self.stir("people", "hub")

    def note(self, _: bytes) -> None:
        self.stir("cleared")

    # --- what the permission desk tells

    def asked(self, view: PermissionView) -> None:
        self._asking[view.id] = view
        self.tell(Permission(request=view))

    def over(self, over: PermissionOver) -> None:
        self.tell(over)
        view = self._asking.pop(over.request, None)
        if view is None:
            return
        if over.how == "decided":
            text = f"{over.by} answered {view.name}: {over.behavior}"
            self.events.add("decided", text, agent=view.agent, name=view.name)
        elif over.how == "answered_elsewhere":
            self.events.add(over.how, f"{view.name} was answered in its terminal", agent=view.agent, name=view.name)

    def alarm(self, text: str, *, agent: str, name: str) -> None:
        self.events.add("alarm", text, agent=agent, name=name)
        self.stir("hub")

    # --- what pairing and the activity log tell

    def keys_changed(self) -> None:
        self.stir("desk")

    def pairing_asked(self, waiting: Waiting) -> None:
        self.tell(pairing_frame(waiting))

    def pairing_over(self, waiting: Waiting) -> None:
        self.tell(attrs.evolve(pairing_frame(waiting), over=True))

    def key_revoked(self, key: str) -> None:
        for screen in tuple(self._open):
            if screen.key == key:
                screen.end(POLICY, "this browser is not paired any more")

    def happened(self, event: EventView) -> None:
        self.tell(Event(event=event))


def pairing_frame(waiting: Waiting) -> PairingFrame:
    """What a paired page is asked to accept."""
    key = waiting.key
    return PairingFrame(pairing=waiting.id, label=key.label, fingerprint=key.fingerprint)
