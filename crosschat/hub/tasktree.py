"""The live tree of tasks, as lines of text: what `crosschat status --tasks` shows."""

from __future__ import annotations

from typing import Final

import trio

# What trio calls its own parts of a listener, in the words of the door they belong to.
_TRIO_NAMES: Final = {
    "trio._highlevel_serve_listeners._serve_one_listener": "accept",
    "trio._highlevel_serve_listeners._run_handler": "connection",
}


def lines() -> tuple[str, ...]:
    """One line a task, indented below the task whose nursery holds it."""
    root = trio.lowlevel.current_root_task()
    found: list[str] = []

    def walk(task: trio.lowlevel.Task, depth: int) -> None:
        found.append("  " * depth + _TRIO_NAMES.get(task.name, task.name.removeprefix("crosschat.")))
        for nursery in task.child_nurseries:
            for child in sorted(nursery.child_tasks, key=lambda child: child.name):
                walk(child, depth + 1)

    if root is not None:
        for nursery in root.child_nurseries:
            for child in nursery.child_tasks:
                if not child.name.startswith(("trio.", "<")):  # trio's own system tasks
                    walk(child, 0)
    return tuple(found)
