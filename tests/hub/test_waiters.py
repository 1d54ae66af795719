"""One hook waits for each agent, and gets the ring, or is let go; whoever is to know is told."""

from __future__ import annotations

import trio
from trio.testing import wait_all_tasks_blocked

from crosschat.hub.waiters import Waiters


async def waiting(waiters: Waiters, agent: str, nursery: trio.Nursery) -> list[str | None]:
    """Begin a wait; the list has its outcome once there is one."""
    outcome: list[str | None] = []

    async def wait() -> None:
        outcome.append(await waiters.wait(agent))

    nursery.start_soon(wait)
    await wait_all_tasks_blocked()
    return outcome


async def test_a_ring_goes_to_the_hook_of_that_agent_and_to_it_alone(nursery: trio.Nursery) -> None:
    told: list[tuple[str, bool]] = []
    waiters = Waiters(lambda agent: told.append((agent, agent in waiters)))
    ada, bob = await waiting(waiters, "ada", nursery), await waiting(waiters, "bob", nursery)
    assert waiters.ring("ada", "wake up")
    await wait_all_tasks_blocked()
    assert (ada, bob) == (["wake up"], [])
    assert told == [("ada", True), ("bob", True), ("ada", False)]


async def test_nobody_is_rung_twice_and_nobody_who_does_not_wait(nursery: trio.Nursery) -> None:
    waiters = Waiters(lambda agent: None)
    assert not waiters.ring("ada", "wake up")
    await waiting(waiters, "ada", nursery)
    assert waiters.ring("ada", "wake up")
    assert not waiters.ring("ada", "wake up")


async def test_a_newer_hook_takes_the_place_of_the_older(nursery: trio.Nursery) -> None:
    waiters = Waiters(lambda agent: None)
    older = await waiting(waiters, "ada", nursery)
    newer = await waiting(waiters, "ada", nursery)
    assert (older, newer) == ([None], [])
    assert "ada" in waiters
    waiters.ring("ada", "wake up")
    await wait_all_tasks_blocked()
    assert newer == ["wake up"]


async def test_one_that_is_let_go_or_cancelled_is_forgotten(nursery: trio.Nursery) -> None:
    waiters = Waiters(lambda agent: None)
    outcome = await waiting(waiters, "ada", nursery)
    waiters.dismiss("ada")
    await wait_all_tasks_blocked()
    assert outcome == [None]
    with trio.move_on_after(0):
        await waiters.wait("ada")
    assert "ada" not in waiters
    assert not waiters.ring("ada", "wake up")
