"""`crosschat projects`: the directories that sessions are started in from the page or with `crosschat launch`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from crosschat import wire
from crosschat.cli import text
from crosschat.cli.control import new_id, running_hub
from crosschat.cli.failure import FAILED, Failure
from crosschat.cli.options import configuration, json_option

if TYPE_CHECKING:
    from crosschat.cli.control import Control


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def projects(ctx: click.Context, as_json: bool) -> None:
    """List the directories that sessions are started in, add or remove one.

    Where a session works is added by itself, and not again once you removed it. Without a subcommand they are listed.
    Starts the hub if none runs.

    \b
    Examples:
      crosschat projects
      crosschat projects add ~/src/app
      crosschat projects remove app

    Exit status: 0 done, 1 refused, 2 wrong option or environment, 3 no hub.
    """
    if ctx.invoked_subcommand is None:
        _list(ctx.obj, as_json=as_json)


@projects.command(name="list")
@json_option
@click.pass_obj
def list_(home: str | None, as_json: bool) -> None:
    """List them: names, paths and the sessions there.

    \b
    Example:
      crosschat projects list --json | jq -r '.projects[].path'
    """
    _list(home, as_json=as_json)


def _list(home: str | None, *, as_json: bool) -> None:
    with running_hub(configuration(home)) as control:
        found = control.ask(wire.Projects(id=new_id()), wire.ProjectList)
        agents = control.ask(wire.Peers(id=new_id()), wire.PeerList).peers
    names = {agent.id: agent.name for agent in agents}
    if as_json:
        text.echo_json({"projects": [wire.complete(one) for one in found.projects], "launches": found.launches})
    elif found.projects:
        text.print_table(
            ("id", "name", "sessions", "directory"),
            [
                (
                    one.id,
                    one.name,
                    " ".join(names.get(agent, agent) for agent in one.agents),
                    one.path + ("" if one.exists else "  (it is gone)"),
                )
                for one in found.projects
            ],
        )
    else:
        text.echo("none: `crosschat projects add DIRECTORY` adds one, and a session's own comes by itself")


@projects.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False))
@json_option
@click.pass_obj
def add(home: str | None, directory: str, as_json: bool) -> None:
    """Add a directory.

    \b
    Example:
      crosschat projects add .
    """
    with running_hub(configuration(home)) as control:
        added = register(control, directory)
    if as_json:
        text.echo_json(wire.complete(added))
    else:
        text.echo(text.plain(f"{added.id} {added.path}"))


@projects.command()
@click.argument("project", metavar="PROJECT")
@json_option
@click.pass_obj
def remove(home: str | None, project: str, as_json: bool) -> None:
    """Remove one, by its id, name or directory. Nothing in the directory is touched.

    \b
    Example:
      crosschat projects remove app
    """
    with running_hub(configuration(home)) as control:
        found = find(control, project)
        if found is None:
            raise Failure(f"no project is called {project!r}: `crosschat projects list` shows them", FAILED)
        control.ask(wire.ChangeProject(id=new_id(), project=found.id), wire.Done)
    if as_json:
        text.echo_json(wire.complete(found))
    else:
        text.echo(text.plain(f"removed {found.path}"))


def register(control: Control, directory: str) -> wire.ProjectView:
    """Add a directory that is there, if it is not registered. Raises Failure."""
    path = os.path.realpath(directory)
    try:
        path.encode()
    except UnicodeEncodeError:
        raise Failure(f"{directory!r} is not UTF-8, so it cannot be registered: rename it", FAILED) from None
    control.ask(wire.ChangeProject(id=new_id(), path=path), wire.Done)
    found = find(control, path)
    if found is None:
        raise Failure(f"{directory} was removed meanwhile: try again", FAILED)
    return found


def find(control: Control, project: str) -> wire.ProjectView | None:
    """The project with this id, directory or name. Raises Failure if several have the name."""
    every = control.ask(wire.Projects(id=new_id()), wire.ProjectList).projects
    path = os.path.realpath(os.path.expanduser(project))
    for match in (
        [one for one in every if one.id == project],
        [one for one in every if one.path == path],
        [one for one in every if one.name == project],
    ):
        if len(match) > 1:
            known = ", ".join(f"{one.id} ({one.path})" for one in match)
            raise Failure(f"several projects are called {project!r}: give the id of one: {known}", FAILED)
        if match:
            return match[0]
    return None
