"""The `crosschat` command: its group of subcommands, and what every one of them shares.

A subcommand's module is imported when it runs, not before: the help of the whole, and with it every mistyped command,
needs click alone. So the table below repeats the first line of each command's help; a test compares the two.

Exit status: 0 done, 1 refused or failed, 2 usage or configuration, 3 no hub runs or none can be started,
128 + n ended by signal n. A person's mistake ends with a sentence on standard error, never with a traceback.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Final

import click

from crosschat.cli.failure import FAILED, INTERRUPTED, USAGE, Failure
from crosschat.errors import ConfigurationError, DataDirectoryError

EVERYDAY: Final = {
    "start": ("lifecycle", "Start the hub, if none runs."),
    "stop": ("lifecycle", "Stop the hub, if one runs."),
    "restart": ("lifecycle", "Stop the hub and start it again."),
    "status": ("status", "Show whether the hub runs and how it is."),
    "top": ("watching", "Watch how the hub is."),
    "metrics": ("watching", "Print the hub's figures for Prometheus."),
    "peers": ("status", "List the agents."),
    "dashboard": ("dashboard", "Open the page, and pair a browser with it."),
    "ask": ("ask", "Have sessions ask you before they use what you list."),
    "audit": ("audit", "Check and show who allowed and denied what."),
    "tasks": ("tasks", "List tasks, free one, or open one again."),
    "cost": ("cost", "Show what CrossChat costs each session."),
    "pause": ("pausing", "Let no message wake an agent."),
    "resume": ("pausing", "Let messages wake an agent again."),
    "send": ("messages", "Send a message to the agents."),
    "search": ("search", "Search the messages, newest first."),
    "tail": ("messages", "Show the last messages and task events."),
    "export": ("export", "Write messages and events to a file or to standard output."),
    "compact": ("compacting", "Take old threads out of the log."),
    "logs": ("logs", "Show the hub's own log."),
    "projects": ("projects", "List the directories that sessions are started in, add or remove one."),
    "launch": ("launch", "Start a session of Claude Code in a directory."),
    "notify": ("notify", "Have a command run when something needs you."),
    "doctor": ("doctor", "Find out what is wrong, and what to do."),
    "install": ("install", "Install the plugin for Claude Code."),
    "uninstall": ("uninstall", "Remove the plugin for Claude Code."),
    "bench": ("bench", "Measure how fast CrossChat is here."),
    "demo": ("demo", "Watch two sessions finish a task and survive a crash of the hub."),
}
HIDDEN: Final = {"serve": ("serve", "Run the MCP server of one session, on stdin and stdout.")}
EPILOG: Final = """\b
Examples:
  crosschat demo                   see it work, on a temporary data directory
  crosschat install                the plugin for Claude Code
  crosschat status                 is a hub running, who is connected
  crosschat send "@here: deploy at five"
  crosschat tail -f                follow what the agents write

Exit status: 0 done, 1 refused or failed, 2 usage or configuration, 3 no hub.
Every command that takes --json prints JSON for scripts.
"""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(EVERYDAY)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = EVERYDAY.get(cmd_name) or HIDDEN.get(cmd_name)
        if place is None:
            return None
        found = getattr(import_module(f"crosschat.cli.{place[0]}"), cmd_name)
        assert isinstance(found, click.Command)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in EVERYDAY.items()])

    def invoke(self, ctx: click.Context) -> object:
        """Run the subcommand; what a person can mend is reported as such, whatever layer found it."""
        try:
            return super().invoke(ctx)
        except ConfigurationError as error:
            raise Failure(str(error), USAGE) from None
        except DataDirectoryError as error:
            raise Failure(str(error), FAILED) from None


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        click.echo(f"crosschat {version('crosschat-hub')}")
    except PackageNotFoundError:
        raise Failure("crosschat is not installed, so its version is not known: pip install .", FAILED) from None
    ctx.exit()


@click.group(cls=_Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--home", metavar="DIR", type=click.Path(file_okay=False), help="Data directory, instead of CROSSCHAT_HOME."
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print the version."
)
@click.pass_context
def cli(ctx: click.Context, home: str | None) -> None:
    """CrossChat: a local hub through which coding agents talk and finish tasks together."""
    ctx.obj = home


def main() -> None:
    """Run the command line of this process and leave with its exit status."""
    try:
        status = cli.main(prog_name="crosschat", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except click.Abort:
        status = INTERRUPTED
    sys.exit(status if isinstance(status, int) else 0)
