"""`crosschat notify`: a command of the person's that is run when something needs them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from crosschat import wire
from crosschat.cli import text
from crosschat.cli.control import new_id, running_hub
from crosschat.cli.failure import FAILED
from crosschat.cli.launch import absolute
from crosschat.cli.options import configuration, json_option
from crosschat.cli.times import Duration

if TYPE_CHECKING:
    from typing import Literal


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def notify(ctx: click.Context, as_json: bool) -> None:
    """Have a command run when something needs you.

    It is run once for each permission request, question to you, stuck or reopened task and message that nobody reads,
    for at most 10 seconds, with one line of JSON on its standard input: kind, session, message, since, count and page.
    What was written is not in it, unless you set --contents. No shell reads the command. It notifies, and decides
    nothing. It is set in a terminal of your own: a session cannot do it. Without a subcommand it is shown.

    \b
    Examples:
      crosschat notify set -- notify-send CrossChat "Something needs you"
      crosschat notify set -- curl -s --data-binary @- https://ntfy.sh/your-secret-topic
      crosschat notify test
      crosschat notify unset

    Exit status: 0 done, 1 refused, or the test failed, 2 wrong option or environment, 3 no hub.
    """
    if ctx.invoked_subcommand is None:
        _configure(ctx.obj, "show", as_json=as_json)


@notify.command()
@json_option
@click.pass_obj
def show(home: str | None, as_json: bool) -> None:
    """Show the command.

    \b
    Example:
      crosschat notify show
    """
    _configure(home, "show", as_json=as_json)


@notify.command(name="set", context_settings={"ignore_unknown_options": True})
@click.option("--contents", is_flag=True, help="Also tell what was written: `text`, up to 300 characters.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@json_option
@click.pass_obj
def set_(home: str | None, contents: bool, command: tuple[str, ...], as_json: bool) -> None:
    """Set the command: a program and its arguments.

    \b
    Example:
      crosschat notify set --contents -- ~/bin/tell-me
    """
    _configure(home, "set", absolute(command), contents=contents, as_json=as_json)


@notify.command()
@json_option
@click.pass_obj
def unset(home: str | None, as_json: bool) -> None:
    """Notify no more.

    \b
    Example:
      crosschat notify unset
    """
    _configure(home, "unset", as_json=as_json)


@notify.command()
@json_option
@click.pass_obj
def test(home: str | None, as_json: bool) -> None:
    """Run the command now, with the kind `test`.

    \b
    Example:
      crosschat notify test
    """
    _configure(home, "test", as_json=as_json)


@notify.command()
@click.option("--unread", type=Duration(), metavar="TIME", help="A message that nobody has read for so long.")
@click.option("--stuck", type=Duration(), metavar="TIME", help="A claimed task without a sign of its claimant.")
@json_option
@click.pass_obj
def after(home: str | None, unread: float | None, stuck: float | None, as_json: bool) -> None:
    """Say after how long an unread message or a silent task needs you, on the page and in `crosschat status`, too.

    The session that sent an unread message is then told as well, once, with its next read.
    Without an option it is shown; 10 minutes and half an hour, if you never said.

    \b
    Example:
      crosschat notify after --unread 1h --stuck 2h
    """
    request = wire.Configure(
        id=new_id(),
        about="patience",
        change="show" if unread is None and stuck is None else "set",
        unread_s=unread,
        stuck_s=stuck,
    )
    with running_hub(configuration(home)) as control:
        found = control.ask(request, wire.Configured)
    if as_json:
        text.echo_json({"unreadSeconds": found.unread_s, "stuckSeconds": found.stuck_s})
    else:
        text.echo(f"unread messages after {found.unread_s:g} s, silent tasks after {found.stuck_s:g} s")


def _configure(
    home: str | None,
    change: Literal["show", "set", "unset", "test"],
    command: tuple[str, ...] = (),
    *,
    contents: bool = False,
    as_json: bool,
) -> None:
    request = wire.Configure(id=new_id(), about="notify", change=change, command=command, contents=contents)
    with running_hub(configuration(home)) as control:
        found = control.ask(request, wire.Configured, within_s=20.0)
    if as_json:
        text.echo_json({"command": list(found.command), "contents": found.contents, "problem": found.problem})
    elif not found.command:
        text.echo("no command is set: you are not notified")
    else:
        with_contents = " (with what was written)" if found.contents else ""
        text.echo(text.plain("notified with: " + " ".join(found.command) + with_contents))
        if change == "test" and found.problem is None:
            text.echo("it ran")
    if found.problem is not None and not as_json:
        text.echo(text.plain(f"the last time it failed: {found.problem}"), err=True)
    if change == "test" and found.problem is not None:
        sys.exit(FAILED)
