"""Sixty-four starters at once find one hub: the short form of the herd, and sixty-four real bridges."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

import pytest

from bench.herd import PROCESSES, TASKS, herd, measure_bridges
from tests.prove.herd import KINDS, obstacle, one_round

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.process, pytest.mark.slow]


@pytest.mark.skipif(obstacle() is not None, reason="looks for hubs and locks in /proc")
def test_there_is_one_hub_in_the_end_and_all_are_connected_to_it(place: Path, long_form: bool) -> None:
    """Five hundred herds in the long form; `make prove` adds up more."""
    seed = random.randrange(1 << 32)
    rounds = -(-500 // KINDS) if long_form else 1
    herds = 0
    with herd() as starters:
        for row in range(rounds):
            room = place / str(row)
            room.mkdir()
            for what, problems in one_round(starters, room, random.Random(seed + row)):
                assert problems == [], (
                    f"{what}, again: python -m tests.prove --part herd --rounds 1 --seed {seed + row}"
                )
                herds += 1
    print(f"{herds} herds of {PROCESSES * TASKS}, seed {seed}")


@pytest.mark.only_long
def test_sixty_four_real_bridges_find_one_hub(place: Path) -> None:
    """Also as a ratio to as many interpreters that import the MCP library and do nothing else."""
    bridges_s, nothing_s = measure_bridges(place)
    lines = [json.loads(line) for line in (place / "bridges" / "logs" / "hub.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines].count("serving") == 1
    print(f"64 bridges {bridges_s:.1f} s, 64 imports {nothing_s:.1f} s: {bridges_s / nothing_s:.2f}")
