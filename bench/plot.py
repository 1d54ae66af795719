"""Line charts as SVG, both axes logarithmic, since what is plotted spans decades. Pure: text from numbers.

A chart says its unit in its title, and each line its name at its end, so no legend has to be looked up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias
from xml.sax.saxutils import escape

import attrs

Points: TypeAlias = Sequence[tuple[float, float]]

WIDTH: Final = 490
HEIGHT: Final = 300
LEFT, RIGHT, TOP, BOTTOM = 62, 148, 44, 44  # margins: of the numbers, the names of the lines, the title, the axis
COLOURS: Final = ("#1b6ca8", "#b3431e", "#2d7d46", "#7a4fa3")
BETWEEN_NAMES: Final = 13  # pixels, so that two names do not lie on each other


@attrs.frozen
class Chart:
    """`lines` by name, each with at least one point; all numbers are above 0."""

    title: str
    across: str
    lines: Mapping[str, Points]


def svg(charts: Sequence[Chart]) -> str:
    """The charts side by side, as one document."""
    drawn = "".join(
        f'<g transform="translate({number * WIDTH},0)">{_chart(chart)}</g>' for number, chart in enumerate(charts)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH * len(charts)} {HEIGHT}" '
        f'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="#ffffff"/>{drawn}</svg>\n'
    )


def _chart(chart: Chart) -> str:
    points = [point for line in chart.lines.values() for point in line]
    across, up = _Axis([x for x, _ in points], LEFT, WIDTH - RIGHT), _Axis([y for _, y in points], HEIGHT - BOTTOM, TOP)
    parts = [_text(LEFT, 22, chart.title, "font-weight='bold'")]
    for x in across.ticks():
        at = across.place(x)
        parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="#e4e4e4"/>')
        parts.append(_text(at, HEIGHT - BOTTOM + 16, short(x), "text-anchor='middle' fill='#555'"))
    for y in up.ticks():
        at = up.place(y)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}" stroke="#e4e4e4"/>')
        parts.append(_text(LEFT - 6, at + 4, short(y), "text-anchor='end' fill='#555'"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, chart.across, "text-anchor='middle' fill='#555'"))
    names = sorted((up.place(line[-1][1]), name) for name, line in chart.lines.items())
    lowest = -math.inf
    places: dict[str, float] = {}
    for at, name in names:
        lowest = places[name] = max(at, lowest + BETWEEN_NAMES)
    for (name, line), colour in zip(chart.lines.items(), COLOURS, strict=False):
        path = " ".join(f"{across.place(x):.1f},{up.place(y):.1f}" for x, y in line)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [
            f'<circle cx="{p.split(",")[0]}" cy="{p.split(",")[1]}" r="2.5" fill="{colour}"/>' for p in path.split()
        ]
        parts.append(_text(WIDTH - RIGHT + 8, places[name] + 4, name, f"fill='{colour}'"))
    return "".join(parts)


class _Axis:
    """A logarithmic scale that holds all `values`, from pixel `low` to pixel `high`."""

    def __init__(self, values: Sequence[float], low: float, high: float) -> None:
        self._from, self._to = math.log10(min(values)), math.log10(max(values))
        if self._to - self._from < 1:  # a decade at least: what hardly changes is to look so
            middle = (self._from + self._to) / 2
            self._from, self._to = middle - 0.5, middle + 0.5
        self._low, self._high = low, high

    def place(self, value: float) -> float:
        return self._low + (math.log10(value) - self._from) / (self._to - self._from) * (self._high - self._low)

    def ticks(self) -> list[float]:
        """Powers of ten; with few of them 2 and 5 in each decade as well."""
        decades = range(math.floor(self._from), math.ceil(self._to) + 1)
        steps = (1, 2, 5) if self._to - self._from < 2.5 else (1,)
        ticks = [step * 10.0**decade for decade in decades for step in steps]
        return [tick for tick in ticks if self._from - 1e-9 <= math.log10(tick) <= self._to + 1e-9]


def short(value: float) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _text(x: float, y: float, words: str, more: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{escape(words)}</text>'
