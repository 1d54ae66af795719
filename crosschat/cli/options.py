"""What subcommands share: the environment with `--home` laid over it, and the `--json` option."""

from __future__ import annotations

import os

import click

from crosschat.paths import Configuration, read_environment

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")


def configuration(home: str | None) -> Configuration:
    """The environment, checked. Raises ConfigurationError, which names the variable."""
    if home is None:
        return read_environment()
    if not home:
        raise click.BadParameter("the name of a directory is needed", param_hint="--home")
    return read_environment({**os.environ, "CROSSCHAT_HOME": os.path.abspath(os.path.expanduser(home))})
