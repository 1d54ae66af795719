"""A run against one that was saved before: `crosschat bench --compare FILE`, or `python -m bench.compare BEFORE NOW`.

A figure has changed if all its repetitions are beyond all of those before, and else it is within the spread. Whatever
else differs (the machine, the options, the disk that day) is said first, because it explains more than most changes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import attrs
from rich.console import Console, Group
from rich.table import Table as Drawing
from rich.text import Text

from .run_file import NotARun, load
from .show import how_good, number_in_words, spread

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .run import Run, Table

Verdict = Literal["better", "worse", "within the spread"]
# What two runs need not have in common.
OF_ONE_RUN: Final = frozenset({"date", "command"})
STYLES: Final[dict[Verdict, str]] = {"better": "green", "worse": "red", "within the spread": "dim"}


@attrs.frozen
class Change:
    """One figure of one system, before and now; `times` as good as it was."""

    system: str
    figure: str
    before: tuple[float, ...]
    now: tuple[float, ...]

    @property
    def times(self) -> float:
        return how_good(self.figure, statistics.median(self.now), statistics.median(self.before))

    @property
    def verdict(self) -> Verdict:
        if min(self.now) <= max(self.before) and min(self.before) <= max(self.now):
            return "within the spread"
        return "better" if self.times > 1 else "worse"


def changes(before: Table, now: Table) -> list[Change]:
    """Of the figures that both tables have."""
    known = {result.system: result.figures for result in before.results}
    return [
        Change(result.system, name, known[result.system][name], values)
        for result in now.results
        for name, values in result.figures.items()
        if name in known.get(result.system, {})
    ]


def in_common(before: Run, now: Run) -> Iterator[tuple[Table, Table]]:
    tables = {(table.scenario, table.agents): table for table in before.tables}
    for table in now.tables:
        if (table.scenario, table.agents) in tables:
            yield tables[table.scenario, table.agents], table


def differences(before: Run, now: Run) -> list[str]:
    """What else is not the same, in words."""
    options = {name: (value, getattr(now.asked, name)) for name, value in attrs.asdict(before.asked).items()}
    about = {
        name: (before.about.get(name, "–"), now.about.get(name, "–"))
        for name in {**before.about, **now.about}
        if name not in OF_ONE_RUN
    }
    return [f"{name}: {old} before, {new} now" for name, (old, new) in {**about, **options}.items() if old != new]


def to_document(before: Run, now: Run) -> dict[str, object]:
    """The same as is drawn, for scripts."""
    return {
        "differences": differences(before, now),
        "figures": [
            {"scenario": new.scenario, "agents": new.agents, **attrs.asdict(one), "verdict": one.verdict}
            for old, new in in_common(before, now)
            for one in changes(old, new)
        ],
    }


def draw(before: Run, now: Run) -> Group:
    """Everything that can be compared."""
    parts: list[Text | Drawing] = [Text(line, style="yellow") for line in differences(before, now)]
    for old, new in in_common(before, now):
        drawing = Drawing(box=None, pad_edge=False, header_style="dim")
        for column in ("figure", "system"):
            drawing.add_column(column, overflow="fold")
        for column in ("before", "now", "times as good"):
            drawing.add_column(column, justify="right")
        drawing.add_column("")
        for one in changes(old, new):
            drawing.add_row(
                one.figure, one.system, _with_spread(one.before), _with_spread(one.now), f"{one.times:.2f}×",
                Text(one.verdict, style=STYLES[one.verdict]),
            )  # fmt: skip
        disk = (
            f"fdatasync p50 {old.fdatasync_p50_ms:.2f} → {new.fdatasync_p50_ms:.2f} ms, "
            f"p99 {old.fdatasync_p99_ms:.2f} → {new.fdatasync_p99_ms:.2f} ms; load {old.load:.1f} → {new.load:.1f}\n"
        )
        parts += [Text(new.title, style="bold"), drawing, Text(disk, style="dim")]
    if len(parts) == len(differences(before, now)):
        parts.append(Text("the two runs have no scenario in common"))
    return Group(*parts)


def _with_spread(values: Sequence[float]) -> str:
    beside = f" ({spread(values)})" if len(values) > 1 else ""
    return number_in_words(statistics.median(values)) + beside


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description="Show a run against an earlier one.")
    parser.add_argument("before", type=Path, help="what `crosschat bench --save` wrote then")
    parser.add_argument("now", type=Path, help="what it wrote now")
    asked = parser.parse_args()
    try:
        before, now = load(asked.before), load(asked.now)
    except NotARun as error:
        print(f"bench.compare: {error}", file=sys.stderr)
        return 2
    Console(highlight=False, markup=False).print(draw(before, now))
    return 0


if __name__ == "__main__":
    sys.exit(main())
