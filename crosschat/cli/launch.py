"""`crosschat launch`: a session of Claude Code in a registered directory, and the command that opens its window."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import click

from crosschat import wire
from crosschat.cli import text
from crosschat.cli.control import new_id, running_hub
from crosschat.cli.failure import FAILED, Failure
from crosschat.cli.options import configuration, json_option
from crosschat.cli.projects import find, register

if TYPE_CHECKING:
    from typing import Literal

INTO: Final = "into"
DEADLINE_S: Final = 25.0  # longer than the hub itself takes at most
name_option = click.option("--name", metavar="NAME", help="What the session is called; else after its directory.")


class _Launch(click.Group):
    """`launch PROJECT` beside `launch set`: what is no subcommand is a project."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands:
            return INTO, self.commands[INTO], args
        return super().resolve_command(ctx, args)


@click.group(cls=_Launch, subcommand_metavar="PROJECT|DIRECTORY | show | set -- COMMAND... | unset")
@name_option
@json_option
def launch(name: str | None, as_json: bool) -> None:
    """Start a session of Claude Code in a directory.

    PROJECT is the id, the name or the directory of a project; any other directory is added to the projects first. The
    session opens in a new window of the tmux session `crosschat`, on macOS in Terminal, or as the command says that
    `launch set` keeps: its arguments are passed on as they are, {directory} and {name} are filled in, and {command}
    stands for the arguments that start the session (at the end, if it is missing). It is set in a terminal of your own:
    a session cannot do it.

    \b
    Examples:
      crosschat launch ~/src/app --name api
      crosschat launch set -- kitty --directory {directory} {command}
      crosschat launch set -- gnome-terminal --working-directory={directory} -- {command}
      crosschat launch unset

    Exit status: 0 it was started, 1 it was not, 2 wrong option or environment, 3 no hub.
    """


@launch.command(name=INTO, hidden=True)
@click.argument("project")
@name_option
@json_option
@click.pass_context
def into(ctx: click.Context, project: str, name: str | None, as_json: bool) -> None:
    """Start a session in PROJECT."""
    group = ctx.parent.params if ctx.parent is not None else {}
    name, as_json = name or group.get("name"), as_json or bool(group.get("as_json"))
    with running_hub(configuration(ctx.obj)) as control:
        found = find(control, project)
        if found is None and not os.path.isdir(os.path.expanduser(project)):
            raise Failure(f"{project!r} is neither a project nor a directory: `crosschat projects` lists them", FAILED)
        found = found or register(control, os.path.expanduser(project))
        control.again = None  # a launch that was perhaps done is not done again
        answer = control.ask(wire.Launch(id=new_id(), project=found.id, name=name), wire.Launched, within_s=DEADLINE_S)
    if as_json:
        text.echo_json({"project": wire.complete(found), "name": name, "where": answer.where})
    else:
        text.echo(text.plain(f"started in {found.path}, {answer.where}"))


@launch.command()
@json_option
@click.pass_obj
def show(home: str | None, as_json: bool) -> None:
    """Show how sessions are started.

    \b
    Example:
      crosschat launch show
    """
    _configure(home, "show", (), as_json=as_json)


@launch.command(name="set", context_settings={"ignore_unknown_options": True})
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@json_option
@click.pass_obj
def set_(home: str | None, command: tuple[str, ...], as_json: bool) -> None:
    """Start sessions with a command of your own. No shell reads it.

    \b
    Example:
      crosschat launch set -- wezterm start --cwd {directory} -- {command}
    """
    _configure(home, "set", absolute(command), as_json=as_json)


@launch.command()
@json_option
@click.pass_obj
def unset(home: str | None, as_json: bool) -> None:
    """Start sessions in tmux or Terminal again.

    \b
    Example:
      crosschat launch unset
    """
    _configure(home, "unset", (), as_json=as_json)


def absolute(command: tuple[str, ...]) -> tuple[str, ...]:
    """The hub works in another directory: a program that is given by a path is given by a whole one."""
    program = os.path.expanduser(command[0])
    return (os.path.abspath(program) if "/" in program else program, *command[1:])


def _configure(
    home: str | None, change: Literal["show", "set", "unset"], command: tuple[str, ...], *, as_json: bool
) -> None:
    with running_hub(configuration(home)) as control:
        frame = wire.Configure(id=new_id(), about="launch", change=change, command=command)
        answer = control.ask(frame, wire.Configured)
        way = control.ask(wire.Projects(id=new_id()), wire.ProjectList).launches
    if as_json:
        text.echo_json({"command": list(answer.command), "launches": way})
    elif answer.command:
        text.echo(text.plain("sessions are started with: " + " ".join(answer.command)))
    else:
        text.echo(
            text.plain(f"sessions are started {way}" if way else "no way is known: install tmux, or set a command")
        )
