"""How a command ends when it cannot do what was asked: one exception, with the exit status it stands for."""

from __future__ import annotations

from typing import IO, Any, Final

import click

FAILED: Final = 1  # refused by the hub, or tried and failed
USAGE: Final = 2  # the command line, or the environment
NO_HUB: Final = 3  # none runs, or none can be started
INTERRUPTED: Final = 130


class Failure(click.ClickException):
    """The text names cause and remedy; it is shown without control bytes, as it may quote what an agent wrote."""

    def __init__(self, message: str, exit_status: int = FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_status  # type: ignore[misc]  # declared per class, read from the instance

    def show(self, file: IO[Any] | None = None) -> None:
        from crosschat.cli.text import plain

        click.echo(f"crosschat: {plain(self.message)}", file=file, err=file is None)
