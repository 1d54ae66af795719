"""Whatever fails or is cut short at whatever step: no hook prints an allow that is not in the audit, on the disk.

Every file call of a decision fails in every way, and the hub is cancelled at every step of every task.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from crosschat.errors import Refused
from crosschat.hub.audit import Audit
from crosschat.journal.audit import read_audit
from crosschat.journal.files import RealFiles
from tests.hub.desk import MemoryAudit, World, output, payload
from tests.hub.rig import NOW_MS, CancelAt
from tests.journal.faulty import KINDS, Fault, FaultyFiles

if TYPE_CHECKING:
    from pathlib import Path

    from tests.hub.desk import MemoryHook
    from tests.journal.faulty import Kind

DENY = output({"behavior": "deny", "message": "no"})


class DiskAudit(MemoryAudit):
    """The audit on a disk that fails as it is told."""

    def __init__(self, home: Path, files: FaultyFiles) -> None:
        super().__init__()
        self._real = Audit(home, files, lambda: NOW_MS)

    async def write(self, fields: dict[str, object]) -> None:
        await self._real.write(fields)

    def close(self) -> None:
        self._real.close()


def on_disk(home: Path, digest: str, behavior: str) -> bool:
    """Whether the audit has this decision."""
    chain = read_audit(home, RealFiles())
    return any(line.get("digest") == digest and line.get("behavior") == behavior for line in chain.lines)


async def one_after_the_other(world: World, hooks: list[MemoryHook]) -> None:
    """Three requests: allow, deny, allow. What is refused is refused."""
    for said in (output(), DENY, output()):
        hooks.append(await world.ask())
        view = world.seen.views[-1]
        try:
            await world.decide(view, payload(view, said))
        except Refused:
            hooks[-1].closed.set()
        await hooks[-1].done.wait()


def check(world: World, home: Path, hooks: list[MemoryHook]) -> int:
    """How many allows were printed; each must be on the disk."""
    allowed = [(hook, view) for hook, view in zip(hooks, world.seen.views, strict=False) if hook.printed == output()]
    for hook, view in allowed:
        assert on_disk(home, view.digest, "allow"), hook.said
    return len(allowed)


@pytest.mark.parametrize("forever", [False, True])
@pytest.mark.parametrize("kind", KINDS)
async def test_no_allow_without_its_line_on_a_failing_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind, forever: bool
) -> None:
    at, done, denied, allowed = 0, False, 0, 0
    while not done:
        home = tmp_path / f"{at}"
        home.mkdir()
        files = FaultyFiles(Fault(at, kind, forever))
        hooks: list[MemoryHook] = []
        async with trio.open_nursery() as nursery:
            world = World(home, nursery, monkeypatch, DiskAudit(home, files))
            with trio.fail_after(30):
                await one_after_the_other(world, hooks)
            nursery.cancel_scope.cancel()
        assert len(hooks) == 3
        assert hooks[1].printed == DENY, f"a deny failed at call {at}"
        allowed += check(world, home, hooks)
        denied += 1
        assert files.sync_after_failure == []
        done = len(files.calls) <= at
        at += 1
    assert denied > 10
    assert allowed >= 2


async def test_these_checks_see_an_audit_that_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def skip(*_: object) -> None:
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr(DiskAudit, "write", skip)
    hooks: list[MemoryHook] = []
    async with trio.open_nursery() as nursery:
        world = World(tmp_path, nursery, monkeypatch, DiskAudit(tmp_path, FaultyFiles()))
        await one_after_the_other(world, hooks)
        nursery.cancel_scope.cancel()
    with pytest.raises(AssertionError):
        check(world, tmp_path, hooks)


async def test_no_allow_without_its_line_wherever_the_hub_is_cut_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, allowed = 1, []
    while True:
        home = tmp_path / f"{step}"
        home.mkdir()
        instrument = CancelAt(step)
        hooks: list[MemoryHook] = []
        trio.lowlevel.add_instrument(instrument)
        try:
            with instrument.scope:
                async with trio.open_nursery() as nursery:
                    world = World(home, nursery, monkeypatch, DiskAudit(home, FaultyFiles()))
                    await one_after_the_other(world, hooks)
                    nursery.cancel_scope.cancel()
        finally:
            trio.lowlevel.remove_instrument(instrument)
        allowed.append(check(world, home, hooks))
        assert world.desk.requests() == ()
        if not instrument.scope.cancelled_caught:
            break
        step += 1
    assert step > 30
    assert allowed[-1] == 2
    assert set(allowed) == {0, 1, 2}
