"""`python -m bench`: measure a private hub and print a table, or JSON."""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from typing import TYPE_CHECKING

import attrs
from rich.console import Console
from rich.table import Table

from . import scenarios

if TYPE_CHECKING:
    from collections.abc import Callable


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, epilog="example: python -m bench --agents 10,50 --messages 2000"
    )
    parser.add_argument("--agents", default="10,50", help="readers of the fan-out, a list (default 10,50)")
    parser.add_argument("--messages", type=int, default=2000, help="messages of each fan-out (default 2000)")
    parser.add_argument("--rounds", type=int, default=100, help="wake-ups that are timed (default 100)")
    parser.add_argument("--starts", type=int, default=5, help="hub starts that are timed (default 5)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    asked = parser.parse_args()
    measurements: list[Callable[[], scenarios.Figures]] = [
        partial(scenarios.hub_start, asked.starts),
        partial(scenarios.tool_to_tool, asked.rounds),
        *(partial(scenarios.fan_out, int(readers), asked.messages) for readers in asked.agents.split(",")),
    ]
    progress, results = Console(stderr=True), list[scenarios.Figures]()
    for number, measure in enumerate(measurements, 1):
        progress.print(f"measuring {number} of {len(measurements)} …", style="dim")
        results.append(measure())
    if asked.json:
        print(json.dumps([attrs.asdict(figures) for figures in results]))
        return 0
    for figures in results:
        table = Table("figure", "value", title=f"{figures.scenario} ({figures.samples} samples)", title_justify="left")
        for name, value in figures.values.items():
            table.add_row(name, f"{value:,.0f}" if value >= 1000 else f"{value:.2f}")
        Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
