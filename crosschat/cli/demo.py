"""`crosschat demo`: the main job on a temporary data directory, with real processes, and what it took.

Everything it starts belongs to it and ends with it, however it ends: the sessions' processes first, because they would
start the hub again, then the hub, then the directory. Cleaning up is bounded and not disturbed by a second Ctrl-C.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from crosschat.cli.failure import FAILED
from crosschat.cli.options import json_option

if TYPE_CHECKING:
    import trio

    from crosschat.cli.demo_report import Report
    from crosschat.paths import Home

DEMO_DEADLINE_S: Final = 120.0
# The demo is an agent system of its own: whose terminal it runs in, and the settings made there, are not its business.
FOREIGN_VARIABLES: Final = ("CLAUDE", "CROSSCHAT_")


@click.command()
@click.option("--keep", is_flag=True, help="Keep the data directory, to look into its files.")
@json_option
@click.pass_context
def demo(ctx: click.Context, keep: bool, as_json: bool) -> None:
    """Watch two sessions finish a task and survive a crash of the hub.

    Two real `crosschat serve` processes, each driven by an MCP client, find each other, talk, and finish a task. Then
    the hub is killed while both are sending, and the demo shows that nothing that was acknowledged is lost. It uses a
    temporary data directory and starts a hub of its own; yours is not touched.

    \b
    Examples:
      crosschat demo
      crosschat demo --json | jq .figures

    Exit status: 0 every step succeeded, 1 one failed, 128 + n ended by signal n.
    """
    import trio

    from crosschat.cli.demo_report import Report

    for name in [name for name in os.environ if name.startswith(FOREIGN_VARIABLES)]:
        del os.environ[name]
    report = Report(quiet=as_json)
    caught = trio.run(partial(_run, report, keep=keep))
    if as_json:
        report.print_json()
    else:
        report.print_summary()
    if caught is not None:
        ctx.exit(128 + caught)
    if not report.succeeded:
        ctx.exit(FAILED)


async def _run(report: Report, *, keep: bool) -> int | None:
    """Play the story and clean up. Returns the signal that ended it, if one did; what else failed is in the report."""
    import trio

    caught: list[int] = []
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as story:
            await nursery.start(_cancel_on_signal, story, caught)
            await _play(report, keep=keep)
        report.interrupted = bool(caught)
        nursery.cancel_scope.cancel()
    return caught[0] if caught else None


async def _cancel_on_signal(story: trio.CancelScope, caught: list[int], task_status: trio.TaskStatus[None]) -> None:
    import trio

    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as received:
        task_status.started()
        async for number in received:
            caught.append(number)
            story.cancel()


async def _play(report: Report, *, keep: bool) -> None:
    import trio

    from crosschat.cli.demo_story import Story
    from crosschat.paths import Home

    directory = _temporary_directory()
    home = Home(directory / "home")
    if keep:
        report.kept = os.fspath(directory)
    try:
        with trio.move_on_after(DEMO_DEADLINE_S) as deadline:
            try:
                await Story(report, home, directory).play()
            except Exception as error:
                report.note_failure(error)
        if deadline.cancelled_caught:
            report.note_failure(TimeoutError(f"it was not done after {DEMO_DEADLINE_S:g} s"))
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(_clean_up, report, home, directory, keep)


def _temporary_directory() -> Path:
    """A new one, with a short name: the paths of its sockets have to fit."""
    return Path(os.path.realpath(tempfile.mkdtemp(prefix="cc-demo-")))


def _clean_up(report: Report, home: Home, directory: Path, keep: bool) -> None:
    from crosschat.cli.failure import Failure
    from crosschat.cli.lifecycle import stop_hub

    try:
        stop_hub(home, force=True)
    except Failure as failure:
        report.note_failure(failure)
    if not keep:
        shutil.rmtree(directory, ignore_errors=True)
