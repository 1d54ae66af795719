"""`crosschat pause` and `resume`: whether messages may wake a session. Nothing is withheld from what it reads."""

from __future__ import annotations

import click

from crosschat import wire
from crosschat.cli import text
from crosschat.cli.control import new_id, running_hub
from crosschat.cli.options import configuration, json_option


@click.command()
@click.argument("name")
@json_option
@click.pass_obj
def pause(home: str | None, name: str, as_json: bool) -> None:
    """Let no message wake an agent.

    It still gets everything, and sees it when it looks. NAME is a name or an id, as `crosschat peers` shows them.

    \b
    Examples:
      crosschat pause api-worker

    Exit status: 0 done, 1 there is no such agent, 2 wrong option or environment, 3 no hub.
    """
    _set(home, name, paused=True, as_json=as_json)


@click.command()
@click.argument("name")
@json_option
@click.pass_obj
def resume(home: str | None, name: str, as_json: bool) -> None:
    """Let messages wake an agent again.

    \b
    Examples:
      crosschat resume api-worker

    Exit status: 0 done, 1 there is no such agent, 2 wrong option or environment, 3 no hub.
    """
    _set(home, name, paused=False, as_json=as_json)


def _set(home: str | None, name: str, *, paused: bool, as_json: bool) -> None:
    with running_hub(configuration(home)) as control:
        control.ask(wire.PauseAgent(id=new_id(), cid=new_id(), agent=name, paused=paused), wire.Done)
    if as_json:
        text.echo_json({"agent": name, "paused": paused})
    else:
        text.echo(text.plain(f"{name} is {'paused: no message wakes it' if paused else 'woken by messages again'}"))
