"""Each seeded bug is found by the part of the proof that is there for it; without it that part finds nothing."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.prove import bugs
from tests.prove.outcome import Room
from tests.prove.parts import PARTS
from tests.prove.zygote import ROOT, Zygote

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(300)]
ROUNDS: Final = 12
FORKED: Final = (
    "kill", "retries", "claims", "behind", "ends", "upgrades", "image", "door requests", "approval kills", "matrix",
)  # fmt: skip


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with Zygote() as zygote:
        yield zygote


@pytest.mark.parametrize("bug", bugs.BUGS, ids=[bug.name for bug in bugs.BUGS])
def test_a_seeded_bug_is_found(bug: bugs.Bug, zygote: Zygote, monkeypatch: pytest.MonkeyPatch) -> None:
    part = next(part for part in PARTS if part.name == bug.part)
    if part.name not in FORKED:
        bug.plant(monkeypatch)
    for seed in range(ROUNDS):
        place = Path(tempfile.mkdtemp(prefix="prove-", dir="/tmp"))
        name = bug.name if part.name in FORKED else None
        try:
            if part.run(Room(place, zygote, seed, short=True, bug=name)).problems:
                return
        finally:
            shutil.rmtree(place, ignore_errors=True)
    pytest.fail(f"{bug.name}: {part.name} found nothing in {ROUNDS} rounds")


def test_there_are_enough_of_them_and_no_two_are_called_the_same() -> None:
    assert len({bug.name for bug in bugs.BUGS}) == len(bugs.BUGS) >= 15
    assert f"; {len(bugs.BUGS)} bugs planted on purpose" in (ROOT / "README.md").read_text()
