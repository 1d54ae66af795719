"""`crosschat bench`: how fast CrossChat is on this machine, measured on private hubs that are gone afterwards.

What measures is `bench/` of a checkout, and `crosschat/_bench` of an installation; this is its face. It is imported
when the command runs, for it needs what no other command does.
"""

from __future__ import annotations

import os
import tempfile
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import click

from crosschat.cli import text
from crosschat.cli.control import Control
from crosschat.cli.failure import FAILED, USAGE, Failure
from crosschat.cli.options import configuration, json_option
from crosschat.paths import resource

if TYPE_CHECKING:
    from types import ModuleType

    from crosschat.paths import Home

AGENTS_MOST: Final = 500
MESSAGES_MOST: Final = 1_000_000
SIZE_MOST: Final = 30_000  # below the limit of a message
# Whose terminal it runs in, and the settings made there, are not its business.
FOREIGN_VARIABLES: Final = ("CLAUDE", "CROSSCHAT_")


class Numbers(click.ParamType[tuple[int, ...]]):
    """Whole numbers from 1 to `most`, with commas between them."""

    name = "numbers"

    def __init__(self, most: int) -> None:
        self._most = most

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        try:
            found = tuple(int(part) for part in str(value).split(","))
        except ValueError:
            found = ()
        if not found or not all(1 <= number <= self._most for number in found):
            self.fail(f"{value!r}: write whole numbers from 1 to {self._most} with commas between, as in 1,10,50")
        return found


@click.command()
@click.argument("scenarios", metavar="[SCENARIO]...", nargs=-1)
@click.option(
    "--agents", type=Numbers(AGENTS_MOST), default="1,10,50", show_default=True, help="Readers of a fan-out, a list."
)
@click.option(
    "--messages",
    type=click.IntRange(1, MESSAGES_MOST),
    default=2000,
    show_default=True,
    help="Messages of what is counted per second.",
)
@click.option(
    "--size", type=click.IntRange(16, SIZE_MOST), default=200, show_default=True, help="Bytes of each message."
)
@click.option(
    "--rounds", type=click.IntRange(1, 100_000), default=100, show_default=True, help="Repetitions of what is timed."
)
@click.option(
    "--repeat", type=click.IntRange(1, 100), default=3, show_default=True, help="Measurements, each on a new hub."
)
@click.option(
    "--directory",
    type=click.Path(exists=True, file_okay=False, writable=True, path_type=Path),
    help="Where the hubs write, instead of the temporary directory: its disk is what is measured.",
)
@click.option("--live", is_flag=True, help="Measure the hub that runs, as it is, instead of private ones.")
@click.option("--seed", type=int, default=20_261_124, help="For what is picked by chance; the same picks the same.")
@click.option(
    "--compare",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Show the run against one that was saved.",
)
@click.option("--versus", is_flag=True, help="Measure beside it the least that can be done, and other software.")
@click.option("--url", metavar="URL", help="A hub of CrossChat 2.0.x for --versus, as in ws://127.0.0.1:1234/ws/agent.")
@click.option(
    "--targets", is_flag=True, help="Measure what the project's targets need, with 50 agents, and say which are met."
)
@click.option(
    "--save",
    metavar="FILE",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write the run, as JSON.",
)
@json_option
@click.pass_obj
def bench(
    home: str | None,
    scenarios: tuple[str, ...],
    agents: tuple[int, ...],
    messages: int,
    size: int,
    rounds: int,
    repeat: int,
    directory: Path | None,
    live: bool,
    seed: int,
    compare: Path | None,
    versus: bool,
    url: str | None,
    targets: bool,
    save: Path | None,
    as_json: bool,
) -> None:
    """Measure how fast CrossChat is here.

    Every hub that is measured is a private one on a temporary directory, with its log synced as always and its quotas
    raised; yours is not touched, unless --live says so. Figures depend on the disk and on what else runs: each table
    says how long the disk takes to sync.

    \b
    Examples:
      crosschat bench                              everything, a few minutes
      crosschat bench wake --rounds 500
      crosschat bench throughput --agents 1,10,50,100 --messages 10000
      crosschat bench --save before.json           and after a change:
      crosschat bench --compare before.json
      crosschat bench --versus --agents 50         beside a bare loop, redis and others
      crosschat bench --targets                    ten minutes
      crosschat bench --live --agents 5            your hub, with its history and quotas

    Exit status: 0 done, 1 something failed, 2 wrong option, 3 no hub runs for --live.
    """
    command = _bench("command")
    known = command.names(on_live=live)
    unknown = [name for name in scenarios if name not in known]
    if unknown:
        where = " with --live" if live else ""
        raise click.UsageError(f"there is no scenario {unknown[0]!r}{where}: use one of {', '.join(known)}")
    if url is not None and not _is_address(url):
        raise click.UsageError(f"--url {url!r}: write it as ws://127.0.0.1:1234/ws/agent")
    if live and (versus or targets or url is not None or directory is not None):
        raise click.UsageError("--live measures your hub alone: leave --versus, --targets, --url and --directory out")
    if targets and scenarios:
        raise click.UsageError("--targets measures what it needs: name no scenario beside it")
    if save is not None and not os.access(save.parent, os.W_OK):
        raise click.UsageError(f"--save {save}: nothing can be written to the directory {save.parent}")
    running = _running(home) if live else None
    for name in [name for name in os.environ if name.startswith(FOREIGN_VARIABLES)]:
        del os.environ[name]
    asked = _bench("run").Asked(agents=agents, messages=messages, size=size, rounds=rounds, repeat=repeat, seed=seed)
    below = directory or (running.root.parent if running else Path(tempfile.gettempdir()))
    try:
        command.measure(
            scenarios,
            asked,
            below=below,
            running=running,
            versus=versus or targets or url is not None,
            url=url,
            to_targets=targets,
            save=save,
            before=compare,
            as_json=as_json,
        )
    except _bench("run_file").NotARun as error:
        raise Failure(str(error), USAGE) from None
    except (RuntimeError, OSError) as error:
        raise Failure(f"the measurement failed: {error}", FAILED) from error


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme == "ws" and bool(parts.hostname) and parts.port != 0
    except ValueError:  # the port is no number
        return False


def _running(home: str | None) -> Home:
    """Where the hub is. Raises NotRunning."""
    found = configuration(home).home
    with Control.open(found) as control:
        status = control.status()
    agents = sum(agent.connected for agent in status.agents)
    text.echo(
        f"measuring the hub of {found.root} as it is, with {status.head} records and {agents} agents: it is busier "
        "meanwhile, and the messages stay in its log. They go to agents of the bench alone, in threads with the badge "
        "`bench`, and count as read; from a week on, `crosschat compact --before 7d` takes them out with what else is "
        "as old.",
        err=True,
    )
    return found


def _bench(module: str) -> ModuleType:
    """A module of the benchmarks, from where they are: in the package, or beside it in a checkout."""
    place = resource("bench")
    if place is None:
        raise Failure("this installation has no benchmarks: install the package again", USAGE)
    return import_module(f"bench.{module}" if place.name == "bench" else f"crosschat.{place.name}.{module}")
