"""When to ring: the session is told that something waits, as seldom as will do.

Rules
    silent     what the hub marks quiet, `chitchat`, badges that are evidence, and the steps of a task (claimed, begun)
               never ring; its result, and that it is open again, do. A `comment` rings only while the session is not
               known to be working.
    once       one ring announces everything unread. While that stays unread there are reminders with growing pauses,
               then silence; what is new meanwhile waits for the reminder, unless it is meant for this agent by name,
               by the person, or about a task: then the pause is short, and doubles.
    not now    no ring while a wait_for_messages is pending, which gets it, while the person has paused the waking,
               while there is no bell, or while the hub is away, for then nothing could be read. What is in a tool's
               result counts as read here, and what a hook told the model of as announced.
    budget     so many rings an hour; task events and what has to do with the person are exempt. It limits the waking
               and never the delivery.

`Schedule` decides and is pure; `Wake` is the task that does it. A ring nobody took announces nothing and is tried
again later. A cancel leaves nothing behind.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs
import trio

from crosschat import wire
from crosschat.bridge.doorbell import Ring, Unheard, compose
from crosschat.model import USER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crosschat.bridge.inbox import Inbox

REMINDERS_S: Final = (120.0, 600.0, 1800.0)  # after the ring, the first reminder, the second
URGENT_S: Final = 10.0  # what is urgent waits so long behind an unread ring, then twice as long, …
GAP_S: Final = 1.0  # between any two rings
GATHER_S: Final = 0.02  # after news, for what comes with it
WAKES_PER_HOUR: Final = 60
HOUR_S: Final = 3600.0
FIRST_PAUSE_S: Final = 5.0  # after a ring that nobody took
LONGEST_PAUSE_S: Final = 60.0
TASK_EVENTS: Final = frozenset({"flag", "claim", "progress", "release", "resolve"})
STEPS: Final = frozenset({"claim", "progress"})  # of a task, that its author need not act upon
EVIDENCE: Final = "git-commit="  # how the content of such a badge begins
WORKING: Final = "working"

SendRing: TypeAlias = Callable[[Ring], Awaitable[None]]


@attrs.frozen
class Plan:
    """Ring at `at`, on the caller's clock (inf: not before something changes), for `items`, the most urgent first.

    `unread` counts all that is unread, or is None if there is more than is known here; `announced` are the numbers of
    what the ring would announce. `free`: it does not count against the budget.
    """

    at: float = math.inf
    items: tuple[wire.Item, ...] = ()
    unread: int | None = 0
    announced: frozenset[int] = frozenset()
    free: bool = False


class Schedule:
    """What was announced, and when. Pure: the time comes in."""

    def __init__(self, inbox: Inbox, *, per_hour: int = WAKES_PER_HOUR) -> None:
        self._inbox, self._per_hour = inbox, per_hour
        self._log: tuple[str | None, str] = (None, "")  # whose numbers `_announced` has
        self._announced: frozenset[int] = frozenset()
        self._more_announced = False  # that the hub has more than is known here
        self._rings = 0  # since when something announced has been unread
        self._last = -math.inf
        self._counted: deque[float] = deque()  # when the rings of the last hour were that count

    def plan(self, now: float, activity: str | None = None) -> Plan:
        """What to do if nothing changes."""
        waiting = [item for item in self._inbox.unseen if not is_silent(item)]
        more = not self._inbox.complete
        self._forget_read(waiting, more)
        audible = [item for item in waiting if activity != WORKING or not self._is_mere_comment(item)]
        new = [item for item in audible if item.seq not in self._announced]
        old = [item for item in audible if item.seq in self._announced]
        urgent = [item for item in new if self._is_urgent(item)]
        soon, later = self._pauses_s()
        ways = [
            (bool(urgent), soon, any(map(is_exempt, urgent))),
            (bool(new) or (more and not self._more_announced), later, False),
            (self._may_remind() and (bool(old) or self._more_announced), later, any(map(is_exempt, old))),
        ]
        within = self._budget_at(now)
        due = [(max(self._last + pause, -math.inf if free else within), free) for wanted, pause, free in ways if wanted]
        if not due:
            return Plan()
        at, free = min(due, key=lambda one: (one[0], not one[1]))
        told = sorted(new, key=lambda item: not self._is_urgent(item)) or old
        announced = frozenset(item.seq for item in waiting)
        return Plan(at, tuple(told), None if more else len(self._inbox.unseen), announced, free)

    def rung(self, plan: Plan, now: float) -> None:
        """The ring of this plan was taken."""
        self._announced = plan.announced
        self._more_announced = plan.unread is None
        self._rings += 1
        self._last = now
        if not plan.free:
            self._counted.append(now)

    def told(self, upto: int, now: float) -> None:
        """A hook told the model of what is unread up to there: that announces it, and is no ring."""
        self._forget_read([item for item in self._inbox.unseen if not is_silent(item)], not self._inbox.complete)
        news = {item.seq for item in self._inbox.unseen if item.seq <= upto and not is_silent(item)} - self._announced
        if news:
            self._announced |= news
            self._rings += 1
            self._last = now

    def budget_s(self, now: float) -> int | None:
        """For how long the budget is used up; None while it is not."""
        at = self._budget_at(now)
        return None if at <= now else math.ceil(min(at - now, HOUR_S))

    def _forget_read(self, waiting: Sequence[wire.Item], more: bool) -> None:
        log = (self._inbox.epoch, self._inbox.agent)
        kept = self._announced if log == self._log else frozenset()
        self._log = log
        self._announced = kept.intersection(item.seq for item in waiting)
        self._more_announced = self._more_announced and more
        if not self._announced and not self._more_announced:
            self._rings = 0

    def _pauses_s(self) -> tuple[float, float]:
        """After the last ring: before what is urgent, and before anything else."""
        if not self._rings:
            return GAP_S, GAP_S
        later = REMINDERS_S[min(self._rings, len(REMINDERS_S)) - 1]
        return min(URGENT_S * 2 ** min(self._rings - 1, 10), later), later

    def _may_remind(self) -> bool:
        return 0 < self._rings <= len(REMINDERS_S)

    def _budget_at(self, now: float) -> float:
        """When the budget has room."""
        while self._counted and self._counted[0] <= now - HOUR_S:
            self._counted.popleft()
        if len(self._counted) < self._per_hour:
            return -math.inf
        return self._counted[-self._per_hour] + HOUR_S if self._per_hour else math.inf

    def _is_urgent(self, item: wire.Item) -> bool:
        return self._inbox.is_direct(item) or is_exempt(item)

    def _is_mere_comment(self, item: wire.Item) -> bool:
        return item.importance == "comment" and not self._is_urgent(item)


def is_silent(item: wire.Item) -> bool:
    """It never rings."""
    evidence = item.kind == "badge" and item.content.startswith(EVIDENCE)
    return item.quiet or item.importance == "chitchat" or item.kind in STEPS or evidence


def is_exempt(item: wire.Item) -> bool:
    """The budget does not hold it back: a task event, or the person is involved."""
    return item.kind in TASK_EVENTS or item.source == "user" or (item.to is not None and USER in item.to)


def local_time() -> str:
    return time.strftime("%H:%M:%S")


class Wake:
    """The doorbell of one session. Without `send` it never rings. `ready`: whether a ring makes sense at all now.
    `before` is called with the last seq that a ring announces, `after` with the ring, or None if nobody took it.

    `rings` and `bytes` count what went into the session's context, `unheard` the attempts that nobody took.
    """

    def __init__(
        self,
        inbox: Inbox,
        *,
        send: SendRing | None,
        ready: Callable[[], bool],
        per_hour: int = WAKES_PER_HOUR,
        say_time: Callable[[], str] = local_time,
        before: Callable[[int], None] = lambda upto: None,
        after: Callable[[Ring | None], None] = lambda ring: None,
    ) -> None:
        self.rings = self.bytes = self.unheard = 0
        self._inbox, self._send, self._ready, self._say_time = inbox, send, ready, say_time
        self._before, self._after = before, after
        self._schedule = Schedule(inbox, per_hour=per_hour)
        self._news = trio.Event()
        self._activity: str | None = None
        self._pause_s = FIRST_PAUSE_S
        self._not_before = -math.inf

    @property
    def activity(self) -> str | None:
        """What the session does, as far as the hub knows: working, waiting (for its user), idle, or None."""
        return self._activity

    @activity.setter
    def activity(self, value: str | None) -> None:
        self._activity = value
        self.notify()

    def told(self, upto: int) -> None:
        """A hook told the model of what is unread up to there."""
        self._schedule.told(upto, trio.current_time())

    def try_again(self) -> None:
        """There is a bell that was not there: what nobody took need not wait."""
        self._pause_s, self._not_before = FIRST_PAUSE_S, -math.inf
        self.notify()

    def budget_s(self) -> int | None:
        """For how long the wake budget is used up; None while it is not."""
        return self._schedule.budget_s(trio.current_time())

    def notify(self) -> None:
        """Something was delivered or read, a wait began or ended, or the link changed."""
        self._news.set()

    async def run(self) -> None:
        """Ring whenever it is time, for ever; return at once if there is no doorbell."""
        if self._send is None:
            return
        while True:
            self._news = trio.Event()
            now = trio.current_time()
            plan = self._schedule.plan(now, self._activity) if self._ready() else Plan()
            at = max(plan.at, self._not_before)
            if at <= now:
                await self._ring(plan, self._send)
                continue
            with trio.move_on_at(at):
                await self._news.wait()
                await trio.sleep(GATHER_S)

    async def _ring(self, plan: Plan, send: SendRing) -> None:
        to_me = bool(plan.items) and self._inbox.is_direct(plan.items[0])
        ring = compose(plan.items, plan.unread, self._say_time(), to_me=to_me)
        self._before(self._inbox.last_seq)
        try:
            await send(ring)
        except Unheard as unheard:
            self.unheard += 1
            self._pause_s = REMINDERS_S[0] if unheard.refused else self._pause_s
            self._not_before = trio.current_time() + self._pause_s
            self._pause_s = min(2 * self._pause_s, max(LONGEST_PAUSE_S, self._pause_s))
            self._after(None)
        else:
            self._pause_s, self._not_before = FIRST_PAUSE_S, -math.inf
            self._schedule.rung(plan, trio.current_time())
            self.rings += 1
            self.bytes += len(ring.content.encode())
            self._after(ring)
