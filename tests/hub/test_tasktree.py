"""The live tree of tasks as text."""

from __future__ import annotations

import trio

from crosschat.hub import tasktree


async def test_the_tree_names_each_task_below_the_one_that_holds_it(nursery: trio.Nursery) -> None:
    async def upper(task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as inner:
            inner.start_soon(trio.sleep_forever, name="crosschat.lower one")
            inner.start_soon(trio.sleep_forever, name="lower two")
            task_status.started()

    await nursery.start(upper, name="upper")
    lines = tasktree.lines()
    row = lines.index(next(line for line in lines if line.strip() == "upper"))
    depth = len(lines[row]) - len("upper")
    assert lines[row + 1 : row + 3] == (" " * (depth + 2) + "lower one", " " * (depth + 2) + "lower two")
    nursery.cancel_scope.cancel()
