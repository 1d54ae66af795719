"""The live tree of tasks, as lines of text: what `crosschat status --tasks` shows."""

from __future__ import annotations

import trio


def lines() -> tuple[str, ...]:
    """One line a task, indented below the nursery that holds it."""
    root = trio.lowlevel.current_root_task()
    found: list[str] = []

    def walk(task: trio.lowlevel.Task, depth: int) -> None:
        found.append("  " * depth + task.name.removeprefix("crosschat."))
        for nursery in task.child_nurseries:
            for child in sorted(nursery.child_tasks, key=lambda child: child.name):
                walk(child, depth + 1)

    if root is not None:
        for nursery in root.child_nurseries:
            for child in nursery.child_tasks:
                if not child.name.startswith("trio."):
                    walk(child, 0)
    return tuple(found)
