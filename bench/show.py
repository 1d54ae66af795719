"""A run as tables for people, and its progress. Each table says what the disk cost while it was measured.

A figure is the median of the repetitions, with the least and the most beside it. Where other systems took part, the
last column says how CrossChat did in the same run: 2.0× is twice as good, 0.5× half as good, whatever the unit.
"""

from __future__ import annotations

import statistics
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from rich.console import Console, Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as Drawing
from rich.text import Text

from .figures import is_rate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .run import Result, Table

OURS: Final = "crosschat"


@contextmanager
def progress(steps: int) -> Iterator[Callable[[str], None]]:
    """A bar on standard error, where that is a terminal; the function in it begins the next step, said in words."""
    columns = (BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=steps)
        begun = False

        def begin(words: str) -> None:
            nonlocal begun
            bar.update(task, description=words, advance=int(begun))
            begun = True

        yield begin


def draw(table: Table) -> Group:
    """Title, figures and what the disk cost; what is too wide for the terminal is folded."""
    compared = len(table.results) > 1
    drawing = Drawing(box=None, pad_edge=False, header_style="dim")
    drawing.add_column("figure", overflow="fold")
    if compared:
        drawing.add_column("system", overflow="fold")
    drawing.add_column("median", justify="right")
    drawing.add_column("least … most", justify="right")
    if compared:
        drawing.add_column("crosschat", justify="right")
    for name in names(table.results):
        for number, result in enumerate(one for one in table.results if name in one.figures):
            values = result.figures[name]
            cells = [number_in_words(statistics.median(values)), spread(values)]
            if compared:
                cells = [result.system, *cells, ratio(table.results, result, name)]
            drawing.add_row("" if number else name, *cells)
    if not table.results:
        drawing.add_row("not measured on this system")
    return Group(Text(table.title, style="bold"), drawing, footing(table))


def names(results: Sequence[Result]) -> list[str]:
    """All figures, in the order in which they were first measured."""
    return list(dict.fromkeys(name for result in results for name in result.figures))


def footing(table: Table) -> Text:
    return Text(
        f"fdatasync p50 {table.fdatasync_p50_ms:.2f} ms, p99 {table.fdatasync_p99_ms:.2f} ms; load {table.load:.1f}\n",
        style="dim",
    )


def number_in_words(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 100 else f"{value:.2f}"


def spread(values: Sequence[float]) -> str:
    return f"{number_in_words(min(values))} … {number_in_words(max(values))}" if len(values) > 1 else ""


def ratio(results: Sequence[Result], other: Result, name: str) -> str:
    """How many times as good CrossChat's median is as the other's."""
    ours = next((one for one in results if one.system == OURS), None)
    if ours is None or ours is other or name not in ours.figures:
        return ""
    return f"{how_good(name, statistics.median(ours.figures[name]), statistics.median(other.figures[name])):.2f}×"


def how_good(name: str, ours: float, theirs: float) -> float:
    """2.0: ours is twice as good."""
    better, worse = (ours, theirs) if is_rate(name) else (theirs, ours)
    return better / worse if worse else float("inf")
