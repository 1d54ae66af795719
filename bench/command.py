"""One run from the command line's options: measured, shown, saved."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from itertools import chain
from typing import TYPE_CHECKING

import attrs
from rich.console import Console

from . import compare, live, show, targets
from .live import Live
from .rig import unwind_on_signals
from .run import Run, about, measure_all, steps
from .run_file import load, to_document
from .scenarios import SCENARIOS
from .systems import CrossChat
from .versus import missing, others

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from crosschat.paths import Home

    from .run import Asked, Table
    from .systems import System

WIDE = 160  # columns of a table that goes into a file or a pipe


def names(*, on_live: bool) -> list[str]:
    """The scenarios, in the order in which they are measured."""
    return list(live.SCENARIOS if on_live else SCENARIOS)


def measure(
    wanted: Sequence[str],
    asked: Asked,
    *,
    below: Path,
    running: Home | None = None,
    versus: bool = False,
    url: str | None = None,
    to_targets: bool = False,
    save: Path | None = None,
    before: Path | None = None,
    as_json: bool = False,
) -> None:
    """Measure these scenarios, or all if none is named; `running` is where the hub is that is measured, instead of
    private ones. With `versus` those that other systems can take part in, with them, and with the hub of 2.0.x at
    `url`; `to_targets` does so with what the targets need, and says which are met. Tables are printed as they are
    complete, and at the end how they stand against the run in the file `before`.
    As JSON it is one document at the end, with the same conclusions.
    Raises NotARun, before anything is measured, if that holds none; RuntimeError if a system or a client of the bench
    fails, OSError if a file cannot be written."""
    earlier = None if before is None else load(before)
    unwind_on_signals()
    known = SCENARIOS if running is None else live.SCENARIOS
    if to_targets:
        plan = [([SCENARIOS[name] for name in names], how) for names, how in targets.plan(asked)]
    else:
        chosen = [one for name, one in known.items() if name in wanted or (not wanted and one.compared >= versus)]
        plan = [(chosen, asked)]
    systems: list[System] = [CrossChat() if running is None else Live(running)]
    if versus:
        systems += others(url)
        for left_out in missing(url):
            print(f"not compared: {left_out}", file=sys.stderr)
    tables: list[Table] = []
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = WIDE
    with ExitStack() as stack:
        begin = stack.enter_context(show.progress(sum(steps(scenarios, systems, how) for scenarios, how in plan)))
        for table in chain.from_iterable(
            measure_all(scenarios, systems, how, below=below, begin=begin) for scenarios, how in plan
        ):
            tables.append(table)
            if not as_json:
                console.print(show.draw(table))
    run = Run(about=about(systems, below), asked=asked, tables=tuple(tables))
    document = to_document(run)
    if save is not None:
        save.write_text(json.dumps(document, indent=1) + "\n")
    judged = targets.judge(tables) if to_targets else []
    if as_json:
        if judged:
            document["targets"] = [attrs.asdict(one) for one in judged]
        if earlier is not None:
            document["compared"] = compare.to_document(earlier, run)
        print(json.dumps(document))
        return
    if judged:
        console.print(targets.draw(judged))
    if earlier is not None:
        console.print(compare.draw(earlier, run))
