"""`crosschat compact`: make the log smaller by what is old. The hub stops for it and sessions wait; it starts again
with whoever needs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final

import click

from crosschat import lock
from crosschat.cli import text
from crosschat.cli.failure import FAILED, Failure
from crosschat.cli.lifecycle import stop_hub
from crosschat.cli.options import configuration, json_option
from crosschat.cli.times import Time

if TYPE_CHECKING:
    from crosschat.paths import Home

ATTEMPTS: Final = 20  # a session may start the next hub between the end of the last one and our lock
PAUSE_S: Final = 0.05


@click.command()
@click.option("--before", required=True, type=Time(), metavar="TIME", help="A week ago or longer: 2026-05-04, 30d.")
@json_option
@click.pass_obj
def compact(home: str | None, before: str, as_json: bool) -> None:
    """Take old threads out of the log.

    Threads of which everything is older than TIME go, for good, unless they hold an unfinished task or something that
    an agent has not read though it names it. Everything else stays as it is. Export first what you may want to look up.

    \b
    Examples:
      crosschat export --until 90d -o old.jsonl
      crosschat compact --before 90d

    Exit status: 0 done, 1 refused or failed, and then nothing was changed, 2 wrong option or environment.
    """
    chosen = configuration(home).home
    if not (chosen.root / "FORMAT").exists():
        raise Failure(f"{chosen.root} has no messages", FAILED)
    descriptor = _hold(chosen)
    try:
        command = [sys.executable, "-m", "crosschat.journal", "compact", os.fspath(chosen.root), "--before", before]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    finally:
        os.close(descriptor)
    if done.returncode:
        raise Failure(done.stderr.strip() or f"it ended with status {done.returncode}", FAILED)
    found = json.loads(done.stdout)
    if as_json:
        text.echo_json(found)
        return
    saved = (found["bytes_before"] - found["bytes_after"]) / 1e6
    text.echo(f"{found['messages']} messages and {found['records']} other records were taken out, {saved:.1f} MB")
    text.echo(f"{found['kept']} records are left")


def _hold(home: Home) -> int:
    """The lock of the data directory, with no hub on it."""
    for _ in range(ATTEMPTS):
        stop_hub(home, restart=True)
        descriptor = lock.try_hold(home.hub_lock)
        if descriptor is not None:
            return descriptor
        time.sleep(PAUSE_S)
    raise Failure("sessions start the hub again and again: close them, or try later", FAILED)
