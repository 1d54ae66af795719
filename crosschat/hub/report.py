"""What the hub says of itself: to `crosschat status`, to programs that collect figures, and to the page.

Made when it is asked for, from the parts as they are then; nothing is kept.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Final

from crosschat import processes
from crosschat.core import attention, views
from crosschat.hub import tasktree
from crosschat.hub.metrics import prometheus
from crosschat.model import iso
from crosschat.pagewire import Hub as HubFrame
from crosschat.wire import PROTOCOL, DamageView, Figures, HubStatus, Inspect, Metrics

if TYPE_CHECKING:
    from crosschat.hub.parts import Parts

DAMAGE_SHOWN: Final = 100
STORAGE_FULL: Final = "the disk is full or read-only: nothing is stored until that changes; reading goes on"


class Report:
    """See the module."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def show(self) -> HubFrame:
        """What the page shows of the hub."""
        parts, state = self._parts, self._parts.router.state
        problem = parts.browser.problem
        return HubFrame(
            version=parts.version,
            home=str(parts.options.home.root),
            started_at=iso(parts.started_ms),
            head=state.head,
            open_tasks=self._open_tasks(),
            storage_full=parts.stats.storage_full,
            guarded=views.guard_views(state),
            damage=self._damage(),
            launches=parts.instances.way,
            projects=parts.instances.views(),
            notices=(*self._notices(), *([problem] if problem else ())),
        )

    def figures(self, asked: Metrics) -> Figures:
        """The same as `inspect` for programs."""
        found = self.inspect(Inspect(id=asked.id))
        return Figures(id=asked.id, text=prometheus(found, self._parts.started_ms / 1000))

    def inspect(self, asked: Inspect) -> HubStatus:
        """What `crosschat status` shows."""
        parts, router, browser, stats = self._parts, self._parts.router, self._parts.browser, self._parts.stats
        state, finder = router.state, router.finder
        measured = bool(stats.times_s)
        return HubStatus(
            id=asked.id,
            pid=os.getpid(),
            version=parts.version,
            protocol=PROTOCOL,
            home=str(parts.options.home.root),
            started_at=iso(parts.started_ms),
            epoch=state.epoch,
            head=state.head,
            agents=views.peer_views(state, router.presence, router.clock_ms()),
            guarded=views.guard_views(state),
            open_tasks=self._open_tasks(),
            queued=router.queued,
            sync_p50_ms=round(stats.percentile_s(50) * 1000, 3) if measured else None,
            sync_p99_ms=round(stats.percentile_s(99) * 1000, 3) if measured else None,
            rss_bytes=processes.resident_bytes(),
            dashboard=browser.page(),
            dashboard_problem=browser.problem,
            browsers=browser.screens.pairing.views() if browser.screens is not None else (),
            pages=browser.screens.count if browser.screens is not None else 0,
            damage=self._damage(),
            notices=(*self._notices(), *((STORAGE_FULL,) if stats.storage_full else ())),
            idle_stop_s=parts.options.idle_stop_s,
            readers=parts.doorway.readers(),
            pending=len(parts.permissions.requests()),
            counters={**self._writer_counts(), **router.counts},
            needs=self._needs(),
            notify_problem=parts.notifier.problem,
            search_behind=finder.behind if finder is not None else 0,
            search_problem=finder.trouble if finder is not None else "this Python has no module sqlite3",
            tree=tasktree.lines() if asked.tree else (),
        )

    def _notices(self) -> tuple[str, ...]:
        parts = self._parts
        pairing = parts.desk.pairing
        listed = pairing.problems() if pairing is not None else ()
        return (*parts.recovered.notices, *parts.permissions.problems(), *listed)

    def _needs(self) -> dict[str, int]:
        router = self._parts.router
        found = attention.needs(router.state, router.presence, router.clock_ms(), self._parts.notifier.patience)
        return dict(Counter(need.kind for need in found))

    def _open_tasks(self) -> int:
        return sum(not task.finished for task in self._parts.router.state.tasks.values())

    def _damage(self) -> tuple[DamageView, ...]:
        return tuple(
            DamageView(file=str(one.file), line=one.line_number, reason=one.reason)
            for one in self._parts.recovered.log.damages[:DAMAGE_SHOWN]
        )

    def _writer_counts(self) -> dict[str, int]:
        stats = self._parts.stats
        return {
            "records": stats.records, "batches": stats.batches, "bytes": stats.bytes, "refused": stats.refused,
            "failed_batches": stats.failed_batches,
        }  # fmt: skip
