"""What a running hub is made of, put together before its first task. Nothing here waits.

Under the lock and before any socket: what is read here is of no other hub, and what is written here needs no task to
take it back. Leaving them gives back what they hold open.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import attrs

from crosschat import version
from crosschat.core.attention import Patience
from crosschat.core.presence import Presence
from crosschat.hub.asklist import AskList
from crosschat.hub.audit import Audit
from crosschat.hub.browserdoor import BrowserDoor
from crosschat.hub.control import Desk, StopHub
from crosschat.hub.events import EventLog
from crosschat.hub.instances import Instances
from crosschat.hub.launcher import Launcher
from crosschat.hub.lock import NoteFile
from crosschat.hub.notify import Notifier
from crosschat.hub.peers import Doorway
from crosschat.hub.permissions import PermissionDesk
from crosschat.hub.projects import Projects
from crosschat.hub.report import Report
from crosschat.hub.router import Router
from crosschat.hub.settings import Settings
from crosschat.hub.silence import Silence
from crosschat.hub.supervisor import Supervisor
from crosschat.hub.survey import Survey
from crosschat.hub.watchfiles import WatchFiles
from crosschat.journal.feed import Feed
from crosschat.journal.writer import WriterStats
from crosschat.limits import IDLE_STOP_S, LEASE_GRACE_S, Quotas
from crosschat.paths import Home

if TYPE_CHECKING:
    import trio

    from crosschat.hub.log import Logger
    from crosschat.hub.recovery import Recovered
    from crosschat.hub.succession import Succession
    from crosschat.journal.files import Files
    from crosschat.journal.writer import Operation


@attrs.frozen(kw_only=True)
class Options:
    """How this hub runs. `port` None: the remembered or any free one. `idle_stop_s` None: it stays."""

    home: Home
    lock_fd: int
    port: int | None = None
    idle_stop_s: float | None = IDLE_STOP_S
    lease_grace_s: float = LEASE_GRACE_S
    patience: Patience = attrs.Factory(Patience)
    quotas: Quotas = attrs.Factory(Quotas)


class Parts:
    """See the module. Each part is told of the others that it needs, and of no more."""

    def __init__(
        self,
        options: Options,
        recovered: Recovered,
        operations: trio.MemorySendChannel[Operation],
        succession: Succession,
        stop: StopHub,
        files: Files,
        log: Logger,
    ) -> None:
        home = options.home
        self.options = options
        self.recovered = recovered
        self.files = files
        self.log = log
        self.version = version.installed()
        self.started_ms = now_ms()
        self.stats = WriterStats()
        self.note = NoteFile(files, home.dashboard_lock)
        self.settings = settings = Settings(files, home.settings)
        self.events = EventLog(home.logs / "events.jsonl", now_ms, log)
        self.events.read()
        self.router = router = Router(
            state=recovered.state,
            presence=Presence(self.started_ms),
            feed=Feed(recovered.log),
            operations=operations,
            clock_ms=now_ms,
            log=log,
            events=self.events,
        )
        self.supervisor = Supervisor(
            router, stop, log, home.hub_lock, options.lock_fd, self.note, options.idle_stop_s, options.lease_grace_s
        )
        self.browser = browser = BrowserDoor(options.port, settings, self.events, log)
        self.doorway = Doorway(
            router, options.quotas, self.version, log, browser.page, self.supervisor, recovered.notices
        )
        self.audit = Audit(home.root, files, now_ms)
        self.watch = WatchFiles(home.watch, files, log)
        self.permissions = PermissionDesk(
            router=router,
            audit=self.audit,
            watch=self.watch,
            log=log,
        )
        self.survey = Survey(router)
        self.instances = Instances(router, Projects(files, home.root / "instances.json"), Launcher(home), settings, log)
        self.notifier = Notifier(router, settings, options.patience, browser.page, log)
        self.permissions.watch(self.notifier)
        self.silence = Silence(router, lambda: self.notifier.patience.unread_s, log)
        self.report = Report(self)
        self.desk = Desk(
            router, self.report.inspect, stop, succession, self.permissions, self.survey, log,
            metrics=self.report.figures, instances=self.instances, notifier=self.notifier,
            asking=AskList(home.ask, files, settings, log),
        )  # fmt: skip

    def farewell(self, reason: str, *, until_asked: bool) -> None:
        """Tell everybody who is connected that the hub stops, while the connections are there."""
        self.events.add("hub_stopping", f"the hub stops: {reason}")
        self.browser.farewell(reason)
        self.doorway.farewell(reason, until_asked=until_asked)

    def __enter__(self) -> None:
        """For as long as the hub runs."""

    def __exit__(self, *_: object) -> None:
        self.audit.close()


def now_ms() -> int:
    return time.time_ns() // 1_000_000
