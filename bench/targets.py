"""What CrossChat is to reach, and whether a run reached it: `crosschat bench --targets`.

A target that compares is judged within one run. What was not measured (no 2.0.x hub was named, no Linux) is neither met
nor missed, and said so. A figure is the median of the repetitions.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs
from rich.table import Table as Drawing
from rich.text import Text

from .run import Table
from .show import OURS, number_in_words

if TYPE_CHECKING:
    from .run import Asked

AGENTS: Final = 50
HUB_MESSAGES: Final = 100_000
MB_PER_MIB: Final = 2**20 / 1e6
EARLIER: Final = "2.0.x"
SCENARIOS: Final = ("latency", "throughput", "wake", "senders", "hub", "bridge", "commands", "sessions", "memory")

VERDICTS: Final = {True: Text("met", "green"), False: Text("not met", "red"), None: Text("not measured", "dim")}

Found: TypeAlias = tuple[str, bool] | None  # the measured value in words, and whether it is good enough


@attrs.frozen
class Seen:
    """The figures of a run."""

    tables: Sequence[Table]

    def of(self, scenario: str, figure: str, system: str = OURS) -> float | None:
        for table in self.tables:
            for result in table.results:
                if (table.scenario, result.system) == (scenario, system) and table.agents in (0, AGENTS):
                    values = result.figures.get(figure)
                    return statistics.median(values) if values else None
        return None

    def sync_ms(self, scenario: str) -> float:
        """What one sync took meanwhile, p50; 0 if that was not measured."""
        return next((one.fdatasync_p50_ms for one in self.tables if one.scenario == scenario), 0.0)

    def least(self, scenario: str, figure: str, aim: float) -> Found:
        value = self.of(scenario, figure)
        return None if value is None else (number_in_words(value), value >= aim)

    def most(self, scenario: str, figure: str, aim: float, *, times: float = 1.0) -> Found:
        value = self.of(scenario, figure)
        return None if value is None else (number_in_words(value * times), value * times <= aim)

    def rate(self, other: str, aim: float) -> Found:
        """How many times the other's throughput ours is."""
        figure = "deliveries /s"
        ours, theirs = self.of("throughput", figure), self.of("throughput", figure, other)
        if ours is None or not theirs:
            return None
        return f"{ours / theirs:.2f}× ({number_in_words(ours)} / {number_in_words(theirs)})", ours >= aim * theirs

    def last_reader(self, other: str, allowed_ms: float) -> Found:
        figure = "last reader p50 ms"
        ours, theirs = self.of("latency", figure), self.of("latency", figure, other)
        if ours is None or theirs is None:
            return None
        return f"{ours:.2f} (allowed {theirs + allowed_ms:.2f})", ours <= theirs + allowed_ms

    def wake_up(self) -> Found:
        value = self.of("wake", "tool to tool p50 ms")
        if value is None:
            return None
        allowed = self.sync_ms("wake") + 1
        return f"{value:.2f} (allowed {allowed:.2f})", value <= allowed


@attrs.frozen
class Target:
    what: str
    aim: str
    judge: Callable[[Seen], Found]


@attrs.frozen
class Judged:
    """`measured` in words. Both are None where nothing was measured."""

    what: str
    target: str
    measured: str | None
    met: bool | None


def _latency(seen: Seen) -> Found:
    return seen.last_reader("floor", seen.sync_ms("latency") + 0.5)


TARGETS: Final = (
    Target("fan-out to 50, deliveries/s", "≥ 2.5× 2.0.x", lambda seen: seen.rate(EARLIER, 2.5)),
    Target("fan-out to 50, deliveries/s", "≥ 5× naive", lambda seen: seen.rate("naive", 5)),
    Target("fan-out to 50, deliveries/s", "≥ 0.40× floor", lambda seen: seen.rate("floor", 0.4)),
    Target("one message, last of 50, p50 ms", "≤ floor + fdatasync + 0.5", _latency),
    Target("one message, last of 50, p50 ms", "≤ 2.0.x", lambda seen: seen.last_reader(EARLIER, 0)),
    Target("wake-up, tool to tool, p50 ms", "≤ fdatasync + 1", Seen.wake_up),
    Target(
        "acknowledged/s", "≥ 1,200 (1 sender)", lambda seen: seen.least("senders", "1 sender, acknowledged /s", 1200)
    ),
    Target(
        "acknowledged/s",
        "≥ 12,000 (50 senders)",
        lambda seen: seen.least("senders", "50 senders, acknowledged /s", 12_000),
    ),
    Target(
        "bridge start to tools/list, p50 ms", "≤ 100", lambda seen: seen.most("bridge", "by the template p50 ms", 100)
    ),
    Target(
        "a session of ten, PSS, MB",
        "≤ 20",
        lambda seen: seen.most("sessions", "each of ten sessions, shares MiB", 20, times=MB_PER_MIB),
    ),
    Target(
        "hub, 50 agents, 100,000 messages, RSS, MB",
        "≤ 80",
        lambda seen: seen.most("memory", "after the messages, resident MiB", 80, times=MB_PER_MIB),
    ),
    Target("hub start to accepting, p50 ms", "≤ 500", lambda seen: seen.most("hub", "sockets accept p50 ms", 500)),
    Target("hub start to page, p50 ms", "≤ 1,500", lambda seen: seen.most("hub", "page answers p50 ms", 1500)),
    Target("crosschat --help, p50 ms", "≤ 150", lambda seen: seen.most("commands", "--help p50 ms", 150)),
    Target("crosschat status, p50 ms", "≤ 300", lambda seen: seen.most("commands", "status p50 ms", 300)),
)


def plan(asked: Asked) -> list[tuple[tuple[str, ...], Asked]]:
    """Which scenarios are measured, and how: the hub's memory after so many messages that once is enough."""
    asked = attrs.evolve(asked, agents=(AGENTS,))
    return [(SCENARIOS[:-1], asked), (SCENARIOS[-1:], attrs.evolve(asked, messages=HUB_MESSAGES, repeat=1))]


def judge(tables: Sequence[Table]) -> list[Judged]:
    """Every target, in order."""
    seen = Seen(tables)
    found = [(target, target.judge(seen) or (None, None)) for target in TARGETS]
    return [Judged(target.what, target.aim, measured, met) for target, (measured, met) in found]


def draw(judged: Sequence[Judged]) -> Drawing:
    drawing = Drawing(title=Text("targets", style="bold"), title_justify="left", box=None, pad_edge=False,
                      header_style="dim")  # fmt: skip
    for column in ("what", "target", "measured", ""):
        drawing.add_column(column)
    before = ""
    for one in judged:
        what = "" if one.what == before else one.what
        before = one.what
        drawing.add_row(what, one.target, one.measured or "", VERDICTS[one.met])
    return drawing
