"""The short form of every part of the proof, as `make prove PROVE=short` runs it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest

from tests.claude.client import give_up
from tests.prove.kill import commit
from tests.prove.outcome import MISSING, Part, Room
from tests.prove.parts import PARTS
from tests.prove.zygote import Zygote

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(300)]
MINIMUM = {
    "kill": ("deliveries", 5000),
    "deaths": ("kills", 50),
    "crash": ("crash states", 10_000),
    "retries": ("retried requests", 500),
    "claims": ("races", 10),
    "races": ("races in one process", 2000),
    "damage": ("damages", 1900),
    "inputs": ("inputs", 20_000),
    "approval faults": ("approval faults", 500),
    "parsers": ("parser inputs", 20_000),
    "matrix": ("matrix uses", 200),
    "approval kills": ("approval kills", 4),
    "door requests": ("door requests", 1000),
    "behind": ("messages caught up with", 2000),
    "ends": ("failed syncs", 10),
    "waits": ("cancelled waits", 2000),
    "upgrades": ("upgrades", 8),
    "image": ("image power cuts", 10),
}


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with Zygote() as zygote:
        yield zygote


SHORT = [part for part in PARTS if part.short]


@pytest.mark.parametrize("part", SHORT, ids=[part.name for part in SHORT])
def test_nothing_that_is_promised_is_broken(part: Part, zygote: Zygote) -> None:
    if why := part.obstacle():
        (give_up if why.endswith(MISSING) else pytest.skip)(f"not run: {why}")
    seed = Random().getrandbits(32)
    count = 0
    for number in range(part.short):
        place = Path(tempfile.mkdtemp(prefix="prove-", dir="/tmp"))
        found = part.run(Room(place, zygote, seed + number, short=True))
        again = f"python -m tests.prove --part {part.name} --seed {seed + number} --rounds 1"
        assert found.problems == [], f"commit {commit()}, data kept in {place}, again: {again}"
        shutil.rmtree(place)
        count += found.counts[MINIMUM[part.name][0]]
    assert count >= MINIMUM[part.name][1]
