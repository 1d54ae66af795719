"""`crosschat top` and `crosschat metrics`: how the hub is from moment to moment, for a person and for programs."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Final

import click

from crosschat import wire
from crosschat.cli import text
from crosschat.cli.control import Control, new_id
from crosschat.cli.failure import Failure
from crosschat.cli.options import configuration, json_option
from crosschat.cli.status import print_status, status_json

if TYPE_CHECKING:
    from crosschat.paths import Configuration

CLEAR: Final = "\x1b[H\x1b[2J"
RATES: Final = ("records", "frames", "commands")


@click.command()
@click.option("-n", "count", type=click.IntRange(1), help="How often, instead of until interrupted.")
@click.option("--interval", type=click.FloatRange(0.1, 3600), default=2.0, show_default=True, help="Seconds between.")
@json_option
@click.pass_obj
def top(home: str | None, count: int | None, interval: float, as_json: bool) -> None:
    """Watch how the hub is.

    What `crosschat status` shows, again and again, with how much happened in between. It starts no hub, and goes on
    when the hub goes and comes. With --json, one JSON object a line.

    \b
    Examples:
      crosschat top
      crosschat top -n 10 --interval 1 --json | jq .counters.records

    Exit status: 0 done, 2 wrong option or environment, 130 interrupted.
    """
    chosen = configuration(home)
    before: wire.HubStatus | None = None
    looked = 0
    while True:
        found, trouble = _look(chosen)
        if as_json:
            text.echo_json({"running": False, "reason": trouble} if found is None else status_json(found, chosen))
            sys.stdout.flush()
        else:
            _show(found, trouble, before, chosen, interval)
        before, looked = found, looked + 1
        if count is not None and looked >= count:
            return
        time.sleep(interval)


def _look(chosen: Configuration) -> tuple[wire.HubStatus | None, str]:
    try:
        with Control.open(chosen.home) as control:
            return control.ask(wire.Inspect(id=new_id()), wire.HubStatus), ""
    except Failure as failure:
        return None, failure.message


def _show(
    found: wire.HubStatus | None, trouble: str, before: wire.HubStatus | None, chosen: Configuration, interval: float
) -> None:
    if sys.stdout.isatty():
        click.echo(CLEAR, nl=False)
    if found is None:
        text.echo(text.styled("not running", bold=True), f": {text.plain(trouble)}")
        return
    print_status(found, chosen)
    if before is not None and before.pid == found.pid:
        grown = ((name, found.counters.get(name, 0) - before.counters.get(name, 0)) for name in RATES)
        text.echo()
        text.echo(", ".join(f"{more / interval:.1f} {name}/s" for name, more in grown))


@click.command()
@json_option
@click.pass_obj
def metrics(home: str | None, as_json: bool) -> None:
    """Print the hub's figures for Prometheus.

    In its text format, as the hub gives them to any program that sends the line {"op":"metrics","id":"1"} to its
    control socket. It starts no hub.

    \b
    Examples:
      crosschat metrics > /var/lib/node_exporter/crosschat.prom
      crosschat metrics --json | jq '.["crosschat_log_head"]'

    Exit status: 0 done, 2 wrong option or environment, 3 no hub runs.
    """
    chosen = configuration(home)
    with Control.open(chosen.home) as control:
        found = control.ask(wire.Metrics(id=new_id()), wire.Figures)
    if as_json:
        samples = (line.rpartition(" ") for line in found.text.splitlines() if not line.startswith("#"))
        text.echo_json({name: float(value) for name, _, value in samples})
    else:
        click.echo(found.text, nl=False)
