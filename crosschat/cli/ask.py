"""`crosschat ask`: for which uses of a tool every session asks the person, whatever its mode allows."""

from __future__ import annotations

import click

from crosschat import wire
from crosschat.cli import text
from crosschat.cli.control import Control, new_id, running_hub
from crosschat.cli.failure import FAILED, USAGE, Failure
from crosschat.cli.options import configuration, json_option


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def ask(ctx: click.Context, as_json: bool) -> None:
    """Have sessions ask you before they use what you list.

    A rule is written as in Claude Code: Bash(git push:*), Bash(make deploy), WebFetch(domain:example.com),
    Edit(/etc/**), mcp__github. A session that works by itself, in auto mode for example, then shows its dialog, and the
    page shows it too; `claude -p` waits for a page that is open, and without one does not do it. Sessions that run
    follow the list at once. It is no sandbox: what hides a command from a rule is not asked about. The list is changed
    by a person at a terminal, or on the page; a command that runs inside a Claude Code session is refused. Without a
    subcommand the list is shown.

    \b
    Examples:
      crosschat ask add 'Bash(git push:*)'
      crosschat ask add --preset delete
      crosschat ask remove 'Bash(rm:*)'
      crosschat ask list --json

    Exit status: 0 done, 1 refused, 2 wrong option or environment, 3 no hub can be started.
    """
    if ctx.invoked_subcommand is None:
        with running_hub(configuration(ctx.obj)) as control:
            _show(_rules(control), as_json=as_json)


@ask.command(name="list")
@json_option
@click.pass_obj
def list_rules(home: str | None, as_json: bool) -> None:
    """Show the list.

    \b
    Example:
      crosschat ask list
    """
    with running_hub(configuration(home)) as control:
        _show(_rules(control), as_json=as_json)


@ask.command()
@click.argument("rules", metavar="[RULE]...", nargs=-1)
@click.option("--preset", multiple=True, help="A group of rules, see `crosschat ask presets`.")
@json_option
@click.pass_obj
def add(home: str | None, rules: tuple[str, ...], preset: tuple[str, ...], as_json: bool) -> None:
    """Put rules on the list.

    \b
    Example:
      crosschat ask add 'Bash(git push:*)' --preset network
    """
    if not rules and not preset:
        raise Failure("give a rule, such as 'Bash(git push:*)', or --preset", USAGE)
    with running_hub(configuration(home)) as control:
        known = {one.name: one.rules for one in _rules(control).presets}
        for name in preset:
            if name not in known:
                raise Failure(f"there is no preset {name!r}; there are {', '.join(known)}", FAILED)
            rules += known[name]
        for rule in rules:
            answer = _change(control, wire.ChangeRules(id=new_id(), change="add", rule=rule))
        _show(answer, as_json=as_json)


@ask.command()
@click.argument("rules", metavar="RULE...", nargs=-1, required=True)
@json_option
@click.pass_obj
def remove(home: str | None, rules: tuple[str, ...], as_json: bool) -> None:
    """Take rules from the list.

    \b
    Example:
      crosschat ask remove 'Bash(git push:*)'
    """
    with running_hub(configuration(home)) as control:
        for rule in rules:
            answer = _change(control, wire.ChangeRules(id=new_id(), change="remove", rule=rule))
        _show(answer, as_json=as_json)


@ask.command()
@json_option
@click.pass_obj
def presets(home: str | None, as_json: bool) -> None:
    """Show the groups of rules that can be added together.

    \b
    Example:
      crosschat ask presets
    """
    with running_hub(configuration(home)) as control:
        found = _rules(control).presets
    if as_json:
        text.echo_json({"presets": {one.name: list(one.rules) for one in found}})
    else:
        text.print_table(("preset", "rule"), [(one.name, rule) for one in found for rule in one.rules])


def _rules(control: Control) -> wire.Rules:
    return _change(control, wire.ChangeRules(id=new_id()))


def _change(control: Control, frame: wire.ChangeRules) -> wire.Rules:
    return control.ask(frame, wire.Rules)


def _show(answer: wire.Rules, *, as_json: bool) -> None:
    if as_json:
        text.echo_json({"rules": list(answer.rules)})
    elif answer.rules:
        for rule in answer.rules:
            text.echo(text.plain(rule))
    else:
        text.echo("the list is empty: sessions ask as their modes say")
