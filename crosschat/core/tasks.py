"""The life of a task, as a table: what may be done in which state, by whom, and what becomes of it.

    open --claim--> claimed --first reply or status--> in_progress --resolve--> completed | failed
    claimed, in_progress --release, or the lease ends--> open         completed, failed --reopen--> open

One winner per claim epoch (`claims` counts them): a claim is decided against committed state, and the writer lets no
second operation on the same task into a batch. A claim is a lease on the claimant's life.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from crosschat.errors import Code, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crosschat.core.presence import Presence
    from crosschat.core.state import Agent, State, Task
    from crosschat.model import Actor, TaskFilter


def refuse_claim(state: State, task: Task | None, identifier: str, who: Actor) -> None:
    """Raise Refused unless `who` may claim the task now."""
    if task is None:
        raise Refused(
            Code.CONFLICT, f"{identifier} is not a task; its author, or you, can make it one with flag_as_task."
        )
    if task.held:
        raise Refused(
            Code.CONFLICT,
            f"{state.name_of(task.claimant or '')} already claimed this task ({task.status}); pick another.",
        )
    if task.finished:
        raise Refused(Code.CONFLICT, f"This task is already {task.status}.")
    if task.owner == who.id:
        raise Refused(Code.FORBIDDEN, "This is your own task; another agent has to claim it.")
    agent = state.agents.get(who.id)
    if agent is None:
        raise Refused(Code.FORBIDDEN, "Only an agent can claim a task.")
    if task.filter is not None:
        _refuse_filter(state, task.filter, agent)


def _refuse_filter(state: State, wanted: TaskFilter, agent: Agent) -> None:
    if wanted.agent is not None and agent.id != wanted.agent and state.directory.find(wanted.agent) != agent.id:
        raise Refused(Code.FORBIDDEN, f"This task is for the agent {wanted.agent!r} only.", path="filter.agentId")
    if wanted.working_dir is not None and not _is_below(agent.cwd, wanted.working_dir):
        raise Refused(
            Code.FORBIDDEN,
            f"This task is for agents working in {wanted.working_dir!r}; you work in {agent.cwd!r}.",
            path="filter.workingDirReq",
        )
    if wanted.project is not None and agent.project != wanted.project:
        raise Refused(
            Code.FORBIDDEN,
            f"This task is for the git project {wanted.project!r}; yours is {agent.project or 'none'!r}.",
            path="filter.gitProject",
        )


def _is_below(directory: str, wanted: str) -> bool:
    path = PurePosixPath(directory)
    return PurePosixPath(wanted) in (path, *path.parents)


def refuse_resolve(state: State, task: Task | None, identifier: str, who: Actor) -> None:
    """Raise Refused unless `who` may finish the task now: only the agent that holds it, or the person."""
    if task is None:
        raise Refused(Code.CONFLICT, f"{identifier} is not a task.")
    if task.finished:
        raise Refused(Code.CONFLICT, f"This task is already {task.status}; nothing was changed.")
    if who.source == "agent" and (not task.held or task.claimant != who.id):
        holder = f"it is held by {state.name_of(task.claimant)}" if task.claimant else "claim it first with claim_task"
        raise Refused(Code.FORBIDDEN, f"You do not hold this task: {holder}.")


def refuse_release(task: Task | None, identifier: str, *, reopen: bool) -> None:
    """Raise Refused unless the task can be freed (`reopen`: a finished one opened again) now."""
    if task is None:
        raise Refused(Code.CONFLICT, f"{identifier} is not a task.")
    if reopen and not task.finished:
        raise Refused(Code.CONFLICT, f"This task is {task.status}, not finished; release it instead of reopening.")
    if not reopen and not task.held:
        raise Refused(Code.CONFLICT, f"This task is {task.status}; nobody holds it.")


def refuse_reassign(state: State, presence: Presence, task: Task | None, identifier: str, agent: Agent) -> None:
    """Raise Refused unless the person may give the task to `agent` now."""
    if task is None:
        raise Refused(Code.CONFLICT, f"{identifier} is not a task; flag it first.")
    if task.finished:
        raise Refused(Code.CONFLICT, f"This task is already {task.status}; open it again first.")
    if task.owner == agent.id:
        raise Refused(Code.FORBIDDEN, f"This is {agent.name}'s own task; another agent has to take it.", path="agent")
    if agent.id not in presence.connected:
        raise Refused(
            Code.CONFLICT,
            f"{agent.name} is away, and a task is held by who is there; mention it instead.",
            path="agent",
        )


def lease_ended(task: Task, presence: Presence, now_ms: int, grace_ms: int) -> bool:
    """Whether the claimant of a held task has been away for longer than the grace period."""
    return task.held and task.claimant is not None and presence.gone_for_ms(task.claimant, now_ms) > grace_ms


def ended_leases(state: State, presence: Presence, now_ms: int, grace_ms: int) -> Iterator[int]:
    """Seqs of the tasks whose lease has ended."""
    for task in state.tasks.values():
        if lease_ended(task, presence, now_ms, grace_ms):
            yield task.target
