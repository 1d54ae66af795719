"""What a plot shows and what is said beside it come from the numbers."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import TYPE_CHECKING

import pytest

from bench.growth import PLOTS, draw, grows
from bench.plot import Chart, short, svg

if TYPE_CHECKING:
    from pathlib import Path

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(
    ("power", "words"),
    [
        (0.0, "hardly changes"),
        (1.0, "grows linearly"),
        (0.5, "grows slower than linearly, with the power 0.50"),
        (2.0, "grows faster than linearly, with the power 2.00"),
        (-1.0, "falls, with the power -1.00"),
    ],
)
def test_growth_is_named_by_its_slope(power: float, words: str) -> None:
    assert grows({str(number): 3 * number**power for number in (1, 10, 100, 1000)}) == words


def test_only_the_last_decade_counts() -> None:
    assert grows({"1": 1.0, "10": 500.0, "100": 5000.0}) == "grows linearly"


def test_a_chart_has_every_line_point_and_name() -> None:
    lines = {"a <line>": [(1.0, 5.0), (10.0, 50.0)], "flat": [(1.0, 7.0), (10.0, 7.0)]}
    drawn = ElementTree.fromstring(svg([Chart("title", "agents", lines)]))
    assert len(drawn.findall(f".//{SVG}polyline")) == 2
    assert len(drawn.findall(f".//{SVG}circle")) == 4
    texts = [text.text for text in drawn.iter(f"{SVG}text")]
    assert {"title", "agents", "a <line>", "flat", "1", "10"} <= set(texts)


def test_the_same_value_is_at_the_same_height_and_a_greater_one_higher() -> None:
    drawn = ElementTree.fromstring(svg([Chart("t", "n", {"x": [(1.0, 5.0), (2.0, 5.0), (4.0, 9.0)]})]))
    first, second, third = (float(circle.attrib["cy"]) for circle in drawn.iter(f"{SVG}circle"))
    assert first == second > third


def test_large_numbers_are_short() -> None:
    assert [short(value) for value in (5.0, 2000.0, 1e6)] == ["5", "2k", "1M"]


def test_plots_and_words_are_drawn_from_what_was_measured(tmp_path: Path) -> None:
    curve = {"1000": 1.0, "10000": 10.0}
    document: dict[str, object] = {
        file: {name: curve for _, names in charts for name in names} for file, (_, charts) in PLOTS.items()
    }
    about = {file: {"load": f"{number}.0"} for number, file in enumerate(PLOTS)}
    draw({**document, "about": about}, tmp_path)
    written = (tmp_path / "growth.md").read_text()
    for number, file in enumerate(PLOTS):
        assert f"({file}.svg)\n\nMeasured: load {number}.0\n" in written
        assert f"({file}.svg)" in written
        assert (tmp_path / f"{file}.svg").read_text().startswith("<svg")
    assert "| deliveries /s | 1.00 | 10.00 | grows linearly |" in written
