"""`crosschat tasks`: which tasks there are, and the person's way to free one or open one again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from crosschat import wire
from crosschat.cli import text
from crosschat.cli.control import Control, new_id, running_hub
from crosschat.cli.options import configuration, json_option
from crosschat.limits import PAGE_ITEMS_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crosschat.model import TaskStatus

UNFINISHED: Final[tuple[TaskStatus, ...]] = ("open", "claimed", "in_progress")
EVERY: Final[tuple[TaskStatus, ...]] = (*UNFINISHED, "completed", "failed")
EXCERPT_CHARS: Final = 60


@click.group(invoke_without_command=True)
@click.option("--open", "only_open", is_flag=True, help="Only those that nobody holds.")
@click.option("--all", "finished_too", is_flag=True, help="Finished ones too.")
@json_option
@click.pass_context
def tasks(ctx: click.Context, only_open: bool, finished_too: bool, as_json: bool) -> None:
    """List tasks, free one, or open one again.

    Without a subcommand, unfinished tasks are listed, oldest first. Starts the hub if none runs.

    \b
    Examples:
      crosschat tasks
      crosschat tasks --all --json | jq -r '.tasks[].message'
      crosschat tasks release m17-7070

    Exit status: 0 done, 1 refused, 2 wrong option or environment, 3 no hub can be started.
    """
    if ctx.invoked_subcommand is not None:
        return
    if only_open and finished_too:
        raise click.UsageError("--open and --all exclude each other")
    wanted = UNFINISHED[:1] if only_open else EVERY if finished_too else UNFINISHED
    with running_hub(configuration(ctx.obj)) as control:
        found = sorted((item for state in wanted for item in _with_state(control, state)), key=lambda item: item.seq)
    if as_json:
        text.echo_json({"tasks": [wire.complete(item) for item in found]})
    elif found:
        text.print_table(("task", "state", "owner", "claimed by", "text"), [_row(item) for item in found])
    else:
        text.echo("no tasks" if finished_too else "none; `crosschat tasks --all` shows finished ones too")


def _with_state(control: Control, state: TaskStatus) -> Iterator[wire.Item]:
    """All tasks of that state, a page at a time, newest page first."""
    before: str | None = None
    while True:
        read = wire.Read(id=new_id(), badge=f"task:{state}", limit=PAGE_ITEMS_MAX, before=before)
        page = control.ask(read, wire.Page)
        yield from page.items
        if not page.earlier or not page.items:
            return
        before = page.items[0].message


def _row(item: wire.Item) -> tuple[str, ...]:
    task = item.task
    shown = " ".join(item.content.split())
    if len(shown) > EXCERPT_CHARS:
        shown = shown[: EXCERPT_CHARS - 1] + "…"
    if task is None:
        return (item.message, "", item.from_name, "", shown)
    return (item.message, task.status, task.owner, task.claimant or "", shown)


@tasks.command()
@click.argument("task_id", metavar="ID")
@json_option
@click.pass_obj
def release(home: str | None, task_id: str, as_json: bool) -> None:
    """Take a claimed task from its claimant; it is open again.

    \b
    Example:
      crosschat tasks release m17-7070
    """
    _free(home, task_id, reopen=False, as_json=as_json)


@tasks.command()
@click.argument("task_id", metavar="ID")
@json_option
@click.pass_obj
def reopen(home: str | None, task_id: str, as_json: bool) -> None:
    """Open a finished task again.

    \b
    Example:
      crosschat tasks reopen m17-7070
    """
    _free(home, task_id, reopen=True, as_json=as_json)


def _free(home: str | None, task_id: str, *, reopen: bool, as_json: bool) -> None:
    with running_hub(configuration(home)) as control:
        request = wire.ReleaseTask(id=new_id(), cid=new_id(), message=task_id, reopen=reopen)
        answer = control.ask(request, wire.Done)
    if as_json:
        text.echo_json({"message": task_id, "task": wire.complete(answer.task) if answer.task else None})
    else:
        text.echo(text.plain(f"{task_id} is {answer.task.status if answer.task else 'open'} now"))
