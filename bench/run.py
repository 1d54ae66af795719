"""A run: scenarios, each measured several times, on every system by turns, with what the disk cost meanwhile.

The systems of one scenario alternate within each repetition, so that whatever else the machine does hits all of them.
Each measurement gets an empty directory on the disk that is measured, and leaves nothing there. Before and after each,
the disk itself is asked how long it takes to sync a few bytes: every table shows that beside its figures.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from crosschat import version

from .figures import Figures, percentile
from .systems import System

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SYNCS: Final = 25  # of the disk, before and after each measurement
SYNC_BYTES: Final = 300  # about a message of 200 bytes in the log


@attrs.frozen(kw_only=True)
class Asked:
    """What is the same for all measurements of a run."""

    agents: tuple[int, ...] = (1, 10, 50)
    messages: int = 2000
    size: int = 200
    rounds: int = 100
    repeat: int = 3
    seed: int = 20_261_124

    @property
    def history(self) -> int:
        """Messages of the history in which pages are read and words are searched."""
        return self.messages * 10

    @property
    def starts(self) -> int:
        """How often what takes long is started for one figure."""
        return max(1, self.rounds // 20)


@attrs.frozen(kw_only=True)
class Case:
    """One measurement: `agents` is 0 where a scenario does not ask for a number."""

    system: System
    directory: Path
    agents: int
    asked: Asked


@attrs.frozen(kw_only=True)
class Scenario:
    """`measure` returns None where this operating system has no such thing. `compared`: other systems than ours can be
    asked."""

    name: str
    title: str
    measure: Callable[[Case], Figures | None]
    by_agents: bool = False
    compared: bool = False


@attrs.frozen(kw_only=True)
class Result:
    """What one system did in one scenario: each figure as often as it was measured."""

    scenario: str
    agents: int
    system: str
    figures: dict[str, tuple[float, ...]]


@attrs.frozen(kw_only=True)
class Table:
    """All systems in one scenario, and the disk meanwhile. `load`: the machine's, over the last minute, at the end."""

    scenario: str
    title: str
    agents: int
    results: tuple[Result, ...]
    fdatasync_p50_ms: float
    fdatasync_p99_ms: float
    load: float


@attrs.frozen(kw_only=True)
class Run:
    """`about`: the machine, the versions and the notes of the systems, in words."""

    about: dict[str, str]
    asked: Asked
    tables: tuple[Table, ...]


def measure_all(
    scenarios: Sequence[Scenario],
    systems: Sequence[System],
    asked: Asked,
    *,
    below: Path,
    begin: Callable[[str], None],
) -> Iterator[Table]:
    """Each scenario's table when it is complete. `begin` is told in words before each of the `steps` measurements."""
    for scenario in scenarios:
        for agents in asked.agents if scenario.by_agents else (0,):
            yield _measure(scenario, _taking_part(scenario, systems), agents, asked, below, begin)


def steps(scenarios: Sequence[Scenario], systems: Sequence[System], asked: Asked) -> int:
    """How many measurements a run has."""
    return sum(
        asked.repeat * len(_taking_part(one, systems)) * (len(asked.agents) if one.by_agents else 1)
        for one in scenarios
    )


def _taking_part(scenario: Scenario, systems: Sequence[System]) -> Sequence[System]:
    return systems if scenario.compared else systems[:1]


def _measure(
    scenario: Scenario,
    systems: Sequence[System],
    agents: int,
    asked: Asked,
    below: Path,
    begin: Callable[[str], None],
) -> Table:
    found: dict[str, list[Figures]] = {system.name: [] for system in systems}
    syncs: list[float] = []
    title = scenario.title.format(agents=agents, s="" if agents == 1 else "s", history=asked.history)
    for repetition in range(1, asked.repeat + 1):
        for system in systems:
            begin(f"{title}: {system.name}, {repetition} of {asked.repeat}")
            with empty_directory(below) as directory:
                syncs += time_syncs(directory)
                figures = scenario.measure(Case(system=system, directory=directory, agents=agents, asked=asked))
                syncs += time_syncs(directory)
            if figures is not None:
                found[system.name].append(figures)
    return Table(
        scenario=scenario.name,
        title=title,
        agents=agents,
        results=tuple(
            Result(scenario=scenario.name, agents=agents, system=name, figures=_gathered(repeated))
            for name, repeated in found.items()
            if repeated
        ),
        fdatasync_p50_ms=statistics.median(syncs) * 1e3,
        fdatasync_p99_ms=percentile(syncs, 0.99) * 1e3,
        load=os.getloadavg()[0],
    )


def _gathered(repeated: Sequence[Figures]) -> dict[str, tuple[float, ...]]:
    return {name: tuple(figures[name] for figures in repeated) for name in repeated[0]}


@contextmanager
def empty_directory(below: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="cc-bench-", dir=below) as directory:
        yield Path(directory).resolve()


def time_syncs(directory: Path, count: int = SYNCS) -> list[float]:
    """Seconds that a write of a few bytes at the end of a file takes with its fdatasync, `count` times."""
    descriptor = os.open(directory / "sync", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    times: list[float] = []
    try:
        for _ in range(count):
            begun = time.perf_counter()
            os.write(descriptor, b"x" * SYNC_BYTES)
            sync(descriptor)
            times.append(time.perf_counter() - begun)
    finally:
        os.close(descriptor)
        os.unlink(directory / "sync")
    return times


sync: Final = os.fdatasync if hasattr(os, "fdatasync") else os.fsync


def about(systems: Sequence[System], below: Path) -> dict[str, str]:
    """Machine and versions, for whoever reads the figures later."""
    return {
        "crosschat": version.installed(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])} {platform.machine()}",
        "processors": f"{os.cpu_count()}",
        "disk": f"{below}",
        "command": " ".join(sys.argv[1:]),
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **{f"system {system.name}": system.note for system in systems},
    }
