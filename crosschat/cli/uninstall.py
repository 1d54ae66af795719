"""`crosschat uninstall`: takes away what `crosschat install` put there, and on request the data."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Final

import attrs
import click

from crosschat import lock
from crosschat.cli import text
from crosschat.cli.arrangement import take_away
from crosschat.cli.earlier import client_files
from crosschat.cli.failure import FAILED, USAGE, Failure
from crosschat.cli.install import person_is_there
from crosschat.cli.installed import echo_kept
from crosschat.cli.lifecycle import stop_hub
from crosschat.cli.options import configuration, json_option
from crosschat.cli.placement import placed_in, remove_plan
from crosschat.paths import run_directory_in

if TYPE_CHECKING:
    from pathlib import Path

    from crosschat.paths import Home

# All that the hub makes in a data directory. `hub.lock` is held until the end.
DATA: Final = (
    "log", "log.new", "log.old", "messages", "imported", "index", "damaged",
    "logs", "run", "hooks", "audit", "ask", "settings.json",
    "instances.json", "dashboard.lock", "FORMAT", "hub.lock",
)  # fmt: skip
IN_RUN: Final = ("agents.sock", "control.sock", "template.sock", "template.lock", "watch")


@click.command()
@click.option("--data", is_flag=True, help="Remove the data directory, too: all messages and tasks.")
@click.option("--yes", is_flag=True, help="Ask nothing.")
@json_option
@click.pass_obj
def uninstall(home: str | None, data: bool, yes: bool, as_json: bool) -> None:
    """Remove the plugin for Claude Code.

    Exactly what was installed is removed, files and entries in Claude Code's settings, and the hub is stopped. What you
    changed in it, or put beside it, is kept and named. Messages and tasks stay, unless --data is given. The program
    itself is removed by what installed it: pip, pipx or uv.

    \b
    Examples:
      crosschat uninstall
      crosschat uninstall --data --yes

    Exit status: 0 it is gone, 1 it cannot be removed, 2 wrong option or environment.
    """
    folder = client_files().plugin
    placed = placed_in(folder)
    recorded = placed.home if placed and home is None else home
    chosen = configuration(recorded).home
    if placed is not None and placed.hub_url is not None and placed.home == str(chosen.root):
        chosen = attrs.evolve(chosen, run_override=run_directory_in(placed.hub_url, "what was recorded"))
    if data:
        _check_data(chosen)
        if not yes:
            _confirm(chosen, as_json=as_json)
    steps = remove_plan(folder, placed) if placed else []
    try:
        removed = take_away(folder, placed, chosen)
        pid = stop_hub(chosen)
        chosen.template_socket.unlink(missing_ok=True)  # by which the template sees that it is not needed
        foreign = _remove_data(chosen) if data else []
    except OSError as error:
        where = error.filename or folder
        raise Failure(
            f"{where} cannot be removed ({error.strerror or error}): mend that, then run this again", FAILED
        ) from None
    if as_json:
        text.echo_json(
            {
                "state": "removed" if placed else "not installed", "folder": str(folder),
                "files": [{"path": step.path, "action": step.action} for step in steps],
                "entries": [entry.where for entry in placed.record.entries] if placed else [],
                "left": [str(path) for path in removed.left], "kept": [str(path) for path in removed.kept],
                "problems": removed.problems, "hubStopped": pid,
                "data": {"home": str(chosen.root), "removed": data, "left": [str(path) for path in foreign]},
            }
        )  # fmt: skip
        return
    text.echo(text.styled("removed" if placed else "was not installed", bold=True), f"  {text.plain(str(folder))}")
    for name in dict.fromkeys(entry.file for entry in placed.record.entries) if placed else ():
        text.echo(f"entries  {text.plain(name)}")
    echo_kept(removed.kept)
    for path in [*removed.left, *foreign]:
        text.echo(f"left     {text.plain(str(path))}: not put there by CrossChat, or changed since")
    for problem in removed.problems:
        text.echo(text.styled("problem ", fg="yellow"), f" {text.plain(problem)}")
    text.echo("hub      " + ("was not running" if pid is None else f"stopped, pid {pid}"))
    text.echo(f"data     {text.plain(str(chosen.root))} {'removed' if data else 'stays; --data removes it'}")
    if placed:
        text.echo(
            'Sessions that are open miss it ("hook failed") until you type /reload-plugins there, or restart them.'
        )


def _check_data(home: Home) -> None:
    """Refuse to remove what does not look like a data directory of ours."""
    if not os.path.lexists(home.root):
        return
    if home.root.is_symlink() or not home.root.is_dir():
        raise Failure(f"{home.root} is not a directory: remove it yourself", FAILED)
    if any(home.root.iterdir()) and not any((home.root / name).is_file() for name in ("FORMAT", "hub.lock")):
        raise Failure(f"{home.root} is no data directory of CrossChat: nothing was removed", FAILED)


def _confirm(home: Home, *, as_json: bool) -> None:
    if as_json or not person_is_there():
        raise Failure(f"--data removes all messages and tasks in {home.root}: confirm with --yes", USAGE)
    click.confirm(f"Remove all messages and tasks in {text.plain(str(home.root))}?", abort=True)


def _remove_data(home: Home) -> list[Path]:
    """Remove what is ours in the data directory, under the hub's lock; returns what is left in it."""
    if home.root.is_dir():
        descriptor = lock.try_hold(home.hub_lock)
        if descriptor is None:
            raise Failure(f"a hub holds {home.hub_lock}: close the sessions, then try again", FAILED)
        try:
            for name in DATA:
                _remove(home.root / name)
            left = sorted(home.root.iterdir())
            if not left:
                home.root.rmdir()
        finally:
            os.close(descriptor)
    else:
        left = []
    if home.run != home.root / "run" and home.run.is_dir() and not home.run.is_symlink():
        for name in IN_RUN:
            _remove(home.run / name)
        if home.run_override is None and not any(home.run.iterdir()):
            home.run.rmdir()  # the one that is ours; a directory the user named is theirs
    return left


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
