"""What the demo tells: a transcript while it runs, and at its end the figures, for people or as JSON.

A step fails once, with the innermost cause; what is cut short by a signal is no failure of the step.
"""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import attrs

from crosschat.cli import text
from crosschat.cli.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

COLOURS: Final = ("cyan", "magenta")
SHOWN_CHARS: Final = 100


class DemoFailed(Exception):
    """A step did not show what it should; the text says what was expected and what came."""


@attrs.define
class Step:
    title: str
    ok: bool = False
    ms: float = 0.0
    error: str | None = None


@attrs.define
class Figure:
    label: str
    value: float
    unit: str
    remark: str = ""


class Report:
    """The transcript goes to standard output, or nowhere if `quiet`."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self.steps: list[Step] = []
        self.figures: dict[str, Figure] = {}
        self.dashboard: str | None = None
        self.kept: str | None = None
        self.interrupted = False
        self._colours: dict[str, str] = {}
        self._errors: list[str] = []

    @property
    def succeeded(self) -> bool:
        return bool(self.steps) and not self.interrupted and not self._errors and all(step.ok for step in self.steps)

    # --- while it runs

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """One thing that has to work. Passes on what is raised inside, after noting it."""
        step = Step(title)
        self.steps.append(step)
        self._line()
        self._line(text.styled(title, bold=True))
        began = time.perf_counter()
        try:
            yield
            step.ok = True
        except Exception as error:
            step.error = text.plain(_words(error))
            raise
        finally:
            step.ms = (time.perf_counter() - began) * 1000
            mark = text.styled("✓", fg="green") if step.ok else text.styled("✗", fg="red")
            self._line(f"  {mark} ", step.error or "", text.styled(f"{step.ms:.0f} ms", dim=True) if step.ok else "")

    def said(self, who: str, what: str, took_s: float | None = None) -> None:
        """`who` did or said something, which took so long."""
        colour = self._colours.setdefault(who, COLOURS[len(self._colours) % len(COLOURS)])
        shown = text.plain(what if len(what) <= SHOWN_CHARS else what[: SHOWN_CHARS - 1] + "…")
        took = "" if took_s is None else text.styled(f"  {took_s * 1000:.1f} ms", dim=True)
        self._line("  ", text.styled(f"{who:<5}", fg=colour), shown, took)

    def remark(self, what: str) -> None:
        self._line("  ", text.plain(what))

    def note_failure(self, error: BaseException) -> None:
        """What ended the story. The step it happened in has it already, unless it was cut off."""
        words = text.plain(_words(error))
        if words in (step.error for step in self.steps):
            return
        if self.steps and not self.steps[-1].ok and self.steps[-1].error is None:
            self.steps[-1].error = words
        else:
            self._errors.append(words)

    def figure(self, key: str, label: str, value: float, unit: str = "ms", remark: str = "") -> None:
        self.figures[key] = Figure(label, round(value, 2), unit, remark)

    # --- at its end

    def print_summary(self) -> None:
        if self.figures:
            self._line()
            text.print_table(
                ("measured", "", "", ""),
                [(one.label, f"{one.value:g}", one.unit, one.remark) for one in self.figures.values()],
            )
        self._line()
        for step in self.steps:
            if not step.ok:
                why = step.error or ("interrupted" if self.interrupted else "cut off")
                self._line(text.styled("failed: ", fg="red", bold=True), f"{step.title}: {why}")
        for error in self._errors:
            self._line(text.styled("failed: ", fg="red", bold=True), error)
        if self.succeeded:
            self._line(text.styled(f"all {len(self.steps)} steps succeeded", fg="green", bold=True))
        if self.kept is not None:
            self._line(f"kept: {text.plain(self.kept)}")

    def print_json(self) -> None:
        text.echo_json(
            {
                "ok": self.succeeded,
                "interrupted": self.interrupted,
                "steps": [attrs.asdict(step) for step in self.steps],
                "errors": self._errors,
                "figures": {key: {"value": one.value, "unit": one.unit} for key, one in self.figures.items()},
                "dashboard": self.dashboard,
                "kept": self.kept,
            }
        )

    def _line(self, *parts: str) -> None:
        if not self._quiet:
            text.echo(*parts)


def _words(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, DemoFailed | Failure | TimeoutError):
        return str(error)
    return f"{type(error).__name__}: {error}"  # a defect; the name helps who reports it


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile of at least one value."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]
