"""What subcommands share: the environment with `--home` laid over it, and the `--json` option."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

import click

from crosschat.paths import Configuration, read_environment

Command = TypeVar("Command", bound=Callable[..., object])

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")


def configuration(home: str | None) -> Configuration:
    """The environment, checked. Raises ConfigurationError, which names the variable."""
    if home is None:
        return read_environment()
    if not home:
        raise click.BadParameter("the name of a directory is needed", param_hint="--home")
    return read_environment({**os.environ, "CROSSCHAT_HOME": os.path.abspath(os.path.expanduser(home))})


def stream_options(first: int, most: int) -> Callable[[Command], Command]:
    """`-n`, `-f` and `--json` of a command that shows the end of a stream, and may follow it."""

    def decorate(command: Command) -> Command:
        count = click.option(
            "-n",
            "count",
            type=click.IntRange(0, most),
            default=first,
            show_default=True,
            help="How many to begin with.",
        )
        follow = click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until interrupted.")
        return count(follow(json_option(command)))

    return decorate
