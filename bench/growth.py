"""`python -m bench.growth`: how cost grows with agents and with history, as plots and in words.

Agents from 1 to 200 on one hub: throughput and latency of a fan-out. Histories of a thousand to a million messages:
start without and with the index, a page anywhere, memory. Everything that was measured goes to `docs/growth.json`, the
plots to `docs/growth-*.svg`, and what is linear and what is not to `docs/growth.md`; `--draw` makes the latter two anew
from the first. What a line says is worked out from the numbers: its slope between the last two decades.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from . import fanout
from .figures import percentile
from .history import await_index
from .plot import Chart, svg
from .reading import ids_to_all, make_history, read_pages
from .rig import own_agent, private_hub, resident_mib, unwind_on_signals
from .run import about as about_run
from .run import empty_directory, time_syncs
from .show import number_in_words
from .systems import CrossChat

if TYPE_CHECKING:
    from collections.abc import Sequence

Curves: TypeAlias = Mapping[str, Mapping[str, float]]  # by name, then by the number it was measured at

AGENTS: Final = (1, 2, 5, 10, 20, 50, 100, 200)
HISTORIES: Final = (1_000, 10_000, 100_000, 1_000_000)
SIZE: Final = 200
ROUNDS: Final = 100
MESSAGES: Final = 1000
DOCS: Final = Path(__file__).parents[1] / "docs"
SEED: Final = 20_261_124
FLAT, LINEAR_FROM, LINEAR_TO = 0.15, 0.85, 1.15  # exponents
# Plots: file, and for each chart its title and its lines, which are names of curves without their unit.
PLOTS: Final = {
    "growth-agents": ("agents", (
        ("per second", ("messages /s", "deliveries /s")),
        ("one message at a time, ms", ("first reader p50 ms", "last reader p50 ms", "last reader p99 ms")),
    )),
    "growth-history": ("messages in the history", (
        ("start of the hub, s", ("start with index s", "start without index s", "index for search made s")),
        ("a page of 50 anywhere, ms", ("page p50 ms", "page p99 ms")),
        ("resident memory, MiB", ("memory MiB",)),
    )),
}  # fmt: skip


def over_agents(counts: Sequence[int], below: Path) -> Curves:
    """One hub for each number of readers: latency first, then throughput."""
    curves: dict[str, dict[str, float]] = {}
    for count in counts:
        say(f"{count} agents")
        for measure, messages in ((fanout.latency, ROUNDS), (fanout.throughput, MESSAGES)):
            with empty_directory(below) as directory, CrossChat().start(directory) as running:
                found = measure(running, readers=count, messages=messages, size=SIZE)
                for name, value in found.items():
                    curves.setdefault(name, {})[str(count)] = value
    return curves


def over_history(counts: Sequence[int], below: Path) -> Curves:
    """For each length: a first start, without the index; a second one, with it; pages."""
    curves: dict[str, dict[str, float]] = {}
    for count in counts:
        say(f"{count} messages")
        with empty_directory(below) as directory:
            make_history(directory / "h", count)
            with private_hub(directory / "h") as hub:
                found = {"start without index s": hub.started_s, "index for search made s": await_index(hub)}
            with private_hub(directory / "h") as hub, own_agent(hub.home, "reader") as agent:
                await_index(hub)
                found["start with index s"] = hub.started_s
                found["memory MiB"] = resident_mib(hub.process.pid)
                times = read_pages(agent, ids_to_all(directory / "h"), ROUNDS, random.Random(SEED))
                found["page p50 ms"] = statistics.median(times) * 1e3
                found["page p99 ms"] = percentile(times, 0.99) * 1e3
        for name, value in found.items():
            curves.setdefault(name, {})[str(count)] = max(value, 1e-3)  # what took no time has no logarithm
    return curves


def exponent(curve: Mapping[str, float]) -> float:
    """How it grows over its last decade: with the number to this power."""
    points = sorted((int(number), value) for number, value in curve.items())
    (most, high) = points[-1]
    low_at, low = next((point for point in reversed(points[:-1]) if point[0] * 10 <= most), points[0])
    return math.log(high / low) / math.log(most / low_at) if most > low_at else 0.0


def grows(curve: Mapping[str, float]) -> str:
    power = exponent(curve)
    if abs(power) < FLAT:
        return "hardly changes"
    if power < 0:
        return f"falls, with the power {power:.2f}"
    if LINEAR_FROM <= power <= LINEAR_TO:
        return "grows linearly"
    return f"grows {'slower' if power < 1 else 'faster'} than linearly, with the power {power:.2f}"


def draw(document: Mapping[str, object], docs: Path) -> None:
    """Plots and words from what was measured."""
    about = cast("Mapping[str, Mapping[str, str]]", document["about"])
    lines = [
        "# How cost grows",
        "",
        "Written by `python -m bench.growth`, which measures it on private hubs with the log's sync on. What is said",
        "of each curve is its slope over the last decade. Load and fdatasync are those at the end of the measurement:",
        "with a load above the number of processors, the curves show what else ran as much as they show CrossChat.",
    ]
    for file, (across, charts) in PLOTS.items():
        curves = cast("Curves", document.get(file, {}))
        if not curves:  # not measured yet
            continue
        drawn = [Chart(title, across, {name: _points(curves[name]) for name in names}) for title, names in charts]
        (docs / f"{file}.svg").write_text(svg(drawn))
        counts = list(next(iter(curves.values())))
        lines += ["", f"## Over {across}", "", f"![{across}]({file}.svg)", ""]
        lines += [f"Measured: {', '.join(f'{name} {value}' for name, value in about[file].items())}", ""]
        lines.append(f"| {across} | {' | '.join(f'{int(count):,}' for count in counts)} | over the last decade it |")
        lines.append("|---" * (len(counts) + 2) + "|")
        for _, names in charts:
            for name in names:
                cells = [number_in_words(curves[name][count]) for count in counts]
                lines.append(f"| {name} | {' | '.join(cells)} | {grows(curves[name])} |")
    (docs / "growth.md").write_text("\n".join(lines) + "\n")


def _points(curve: Mapping[str, float]) -> list[tuple[float, float]]:
    return [(float(number), value) for number, value in curve.items()]


def say(words: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {words}", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description="Plot how cost grows.")
    parser.add_argument("--draw", action="store_true", help="only draw what was measured before")
    parser.add_argument("--only", choices=list(PLOTS), help="measure this one, and keep the other as it was")
    parser.add_argument("--agents", type=_numbers, default=AGENTS, help="with commas; default 1 to 200")
    parser.add_argument("--histories", type=_numbers, default=HISTORIES, help="with commas; default 1000 to 1000000")
    parser.add_argument("--docs", type=Path, default=DOCS, help="where everything goes")
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir()), help="where the hubs write")
    asked = parser.parse_args()
    unwind_on_signals()
    file = asked.docs / "growth.json"
    if asked.draw and not file.exists():
        parser.error(f"--draw: {file} does not exist")
    document: dict[str, object] = json.loads(file.read_text()) if file.exists() else {}
    if not asked.draw:
        about = cast("dict[str, object]", document.setdefault("about", {}))  # of each plot, for one may be kept
        if asked.only != "growth-history":
            document["growth-agents"] = over_agents(asked.agents, asked.directory)
            about["growth-agents"] = conditions(asked.directory)
        if asked.only != "growth-agents":
            document["growth-history"] = over_history(asked.histories, asked.directory)
            about["growth-history"] = conditions(asked.directory)
        file.write_text(json.dumps(document, indent=1) + "\n")
    draw(document, asked.docs)
    return 0


def conditions(below: Path) -> dict[str, str]:
    """Machine, load and disk at the end."""
    known = about_run([], below)
    with empty_directory(below) as directory:
        syncs = time_syncs(directory)
    return {
        **{name: known[name] for name in ("date", "crosschat", "python", "system", "processors")},
        "fdatasync p50 ms": f"{statistics.median(syncs) * 1e3:.2f}",
        "fdatasync p99 ms": f"{percentile(syncs, 0.99) * 1e3:.2f}",
        "load": f"{os.getloadavg()[0]:.1f}",
    }


def _numbers(text: str) -> tuple[int, ...]:
    numbers = tuple(sorted(int(part) for part in text.split(",") if part.isdecimal()))
    if not numbers or numbers[0] < 1 or len(numbers) != text.count(",") + 1:
        raise argparse.ArgumentTypeError(f"{text!r}: write whole numbers from 1 with commas between, as in 1,10,100")
    return numbers


if __name__ == "__main__":
    sys.exit(main())
