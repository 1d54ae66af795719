"""Who is connected and what they say they do. Volatile: gone with the hub, told anew by each bridge that returns.

The table changes only through its methods, called by the hub as connections come and go; it is no record and needs
no disk. Times are milliseconds of the clock the hub passes in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from crosschat.model import Activity, Status

if TYPE_CHECKING:
    from collections.abc import Callable


@attrs.frozen
class Live:
    """`offered`: everything up to this seq left the hub for the agent. `gone_ms`: when its connection ended.
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
    mode: str | None = None
    announced: int = 0  # the last seq that a hook told the model is waiting


class Presence:
    """By agent id. An agent that was not seen since the hub started counts as gone since then.

    `on_change` is called after what others see of an agent has changed, other than when it was heard last.
    """

    def __init__(self, started_ms: int) -> None:
        self._started_ms = started_ms
        self._live: dict[str, Live] = {}
        self.connected: frozenset[str] = frozenset()
        self.on_change: Callable[[], None] = lambda: None

    def of(self, agent: str) -> Live:
        return self._live.get(agent) or Live(gone_ms=self._started_ms)

    def seen(self, agent: str) -> bool:
        """Whether it was connected at any time since the hub started."""
        return agent in self._live

    def arrive(self, agent: str, *, status: Status, detail: str | None, offered: int, now_ms: int) -> None:
        """Connected. `offered` is what the agent itself says it has."""
        before = self.of(agent)
        self._live[agent] = attrs.evolve(
            before,
            connected=True,
            status=status,
            detail=detail,
            heard_ms=now_ms,
            offered=offered,
            gone_ms=None,
            since_ms=now_ms,
        )
        self.connected |= {agent}
        self.on_change()

    def leave(self, agent: str, *, now_ms: int) -> None:
        self._live[agent] = attrs.evolve(self.of(agent), connected=False, gone_ms=now_ms, since_ms=now_ms)
        self.connected -= {agent}
        self.on_change()

    def hear(self, agent: str, *, now_ms: int) -> None:
        """It asked for something."""
        self._live[agent] = attrs.evolve(self.of(agent), heard_ms=now_ms)

    def say(self, agent: str, *, status: Status, detail: str | None, task: str | None) -> None:
        self._live[agent] = attrs.evolve(self.of(agent), status=status, detail=detail, task=task)
        self.on_change()

    def act(self, agent: str, *, activity: Activity | None, mode: str | None) -> bool:
        """What its hooks say. True if that is news."""
        live = self.of(agent)
        self._live[agent] = attrs.evolve(live, activity=activity, mode=mode or live.mode)
        self.on_change()
        return live.activity != activity

    def announce(self, agent: str, upto: int) -> None:
        """A hook told the model of what is unread up to there."""
        self._live[agent] = attrs.evolve(self.of(agent), announced=upto)

    def offer(self, agent: str, upto: int) -> None:
        """Everything up to `upto` left the hub for it."""
        live = self.of(agent)
        if upto > live.offered:
            self._live[agent] = attrs.evolve(live, offered=upto)
            self.on_change()

    def gone_for_ms(self, agent: str, now_ms: int) -> int:
        """How long it has been away; 0 while it is connected."""
        live = self.of(agent)
        return 0 if live.connected else max(0, now_ms - (live.gone_ms or self._started_ms))
