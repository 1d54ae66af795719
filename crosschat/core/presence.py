"""Who is connected and what they say they do. Volatile: gone with the hub, told anew by each bridge that returns.

The table changes only through its methods, called by the hub as connections come and go; it is no record and needs
no disk. Times are milliseconds of the clock the hub passes in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from crosschat.limits import ACTIVITY_KNOWN_S
from crosschat.model import Activity, Status, WakeMode, Way


@attrs.frozen(kw_only=True)
class Spent:
    """What a session was told, and how long it waited for hooks, since the hub started. See `wire.CostView`."""

    rings: int = 0
    ring_bytes: int = 0
    contexts: int = 0
    context_bytes: int = 0
    replies: int = 0
    reply_bytes: int = 0
    hooks: int = 0
    hook_ms: float = 0.0


if TYPE_CHECKING:
    from collections.abc import Callable


@attrs.define
class Live:
    """Replaced as a whole by what changes it, but for `heard_ms` and `offered`, which every message changes: those
    `Presence` sets in place.

    `offered`: everything up to this seq left the hub for the agent. `gone_ms`: when its connection ended.
    `since_ms`: when it came or went."""

    connected: bool = False
    status: Status = "available"
    detail: str | None = None
    task: str | None = None
    heard_ms: int | None = None
    offered: int = 0
    gone_ms: int | None = None
    since_ms: int | None = None
    activity: Activity | None = None
    activity_ms: int = 0  # when that was said
    mode: str | None = None
    announced: int = 0  # the last seq that a hook told the model is waiting
    rung: int = 0  # the last seq that a ring told it of
    wake: WakeMode | None = None
    way: Way | None = None  # None: its bridge has not said yet
    hooks: bool = False  # hooks of the session may wait and ring
    budget_until_ms: int = 0  # the wake budget is used up until then
    prompted: int = 0  # the start of the process of the last prompt's hook
    spent: Spent = attrs.Factory(Spent)


class Presence:
    """By agent id. An agent that was not seen since the hub started counts as gone since then.

    `on_change` is called after what others see of an agent has changed, other than when it was heard last.
    """

    def __init__(self, started_ms: int) -> None:
        self.started_ms = started_ms
        self._live: dict[str, Live] = {}
        self.connected: frozenset[str] = frozenset()
        self.on_change: Callable[[], None] = lambda: None

    def of(self, agent: str) -> Live:
        return self._live.get(agent) or Live(gone_ms=self.started_ms)

    def seen(self, agent: str) -> bool:
        """Whether it was connected at any time since the hub started."""
        return agent in self._live

    def arrive(self, agent: str, *, status: Status, detail: str | None, offered: int, now_ms: int) -> None:
        """Connected. `offered` is what the agent itself says it has. How it is woken it says next."""
        self._live[agent] = attrs.evolve(
            self.of(agent),
            connected=True,
            status=status,
            detail=detail,
            heard_ms=now_ms,
            offered=offered,
            gone_ms=None,
            since_ms=now_ms,
            way=None,
            hooks=False,
        )
        self.connected |= {agent}
        self.on_change()

    def leave(self, agent: str, *, now_ms: int) -> None:
        self._live[agent] = attrs.evolve(self.of(agent), connected=False, gone_ms=now_ms, since_ms=now_ms)
        self.connected -= {agent}
        self.on_change()

    def hear(self, agent: str, *, now_ms: int) -> None:
        """It asked for something."""
        self._live.setdefault(agent, self.of(agent)).heard_ms = now_ms

    def say(self, agent: str, *, status: Status, detail: str | None, task: str | None) -> None:
        self._live[agent] = attrs.evolve(self.of(agent), status=status, detail=detail, task=task)
        self.on_change()

    def act(self, agent: str, *, activity: Activity | None, now_ms: int, mode: str | None = None) -> bool:
        """What its hooks say. True if that is news."""
        live = self.of(agent)
        self._live[agent] = attrs.evolve(live, activity=activity, activity_ms=now_ms, mode=mode or live.mode)
        self.on_change()
        return live.activity != activity

    def prompt(self, agent: str, process_start: int) -> None:
        """The hook of a prompt began then, in the kernel's measure."""
        live = self.of(agent)
        self._live[agent] = attrs.evolve(live, prompted=max(live.prompted, process_start))

    def activity_of(self, agent: str, now_ms: int) -> Activity | None:
        """What it does, as far as that is known: nobody tells that a turn was broken off, so "working" counts only for
        so long after the last sign of life."""
        live = self.of(agent)
        sign_ms = max(live.activity_ms, live.heard_ms or 0)
        if live.activity == "working" and now_ms - sign_ms > ACTIVITY_KNOWN_S * 1000:
            return None
        return live.activity

    def announce(self, agent: str, upto: int) -> None:
        """A hook told the model of what is unread up to there."""
        self._live[agent] = attrs.evolve(self.of(agent), announced=upto)

    def reach(self, agent: str, *, wake: WakeMode, way: Way, hooks: bool, rung: int, budget_until_ms: int) -> None:
        """How its session is woken, and up to where it was rung, as its bridge says."""
        self._live[agent] = attrs.evolve(
            self.of(agent), wake=wake, way=way, hooks=hooks, rung=rung, budget_until_ms=budget_until_ms
        )
        self.on_change()

    def spend(self, agent: str, more: Spent) -> None:
        """Add to what its session cost."""
        live = self.of(agent)
        before, added = attrs.asdict(live.spent), attrs.asdict(more)
        self._live[agent] = attrs.evolve(live, spent=Spent(**{name: before[name] + added[name] for name in before}))

    def offer(self, agent: str, upto: int) -> None:
        """Everything up to `upto` left the hub for it."""
        live = self._live.setdefault(agent, self.of(agent))
        if upto > live.offered:
            live.offered = upto
            self.on_change()

    def gone_for_ms(self, agent: str, now_ms: int) -> int:
        """How long it has been away; 0 while it is connected."""
        live = self.of(agent)
        return 0 if live.connected else max(0, now_ms - (live.gone_ms or self.started_ms))
