"""Claude Code's side: the plugin and its hooks as they were installed, and whether the client loads them.

What `crosschat install` would do is the measure: whatever it would add or replace is missing or was changed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from crosschat import version
from crosschat.cli.arrangement import arrange, form_of, plan
from crosschat.cli.claude_code import TESTED_VERSION, ask_client
from crosschat.cli.earlier import client_files, look
from crosschat.cli.examine.finding import Finding, Scene, fine, problem, warning
from crosschat.cli.failure import Failure
from crosschat.cli.install import this_program
from crosschat.cli.placement import placed_in
from crosschat.cli.plugin import plugin_files
from crosschat.paths import Home, run_directory_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crosschat.cli.placement import Step
    from crosschat.cli.record import Placed

INSTALL = "crosschat install"


def plugin(scene: Scene) -> Iterator[Finding]:
    """Plugin and hooks are there and as they were written."""
    files = client_files()
    try:
        placed = placed_in(files.plugin)
        if placed is None:
            yield warning("The plugin for Claude Code is not installed.", INSTALL)
            return
        findings = look(files, ours=placed.record.entries)
        whole = arrange(form_of(placed), files, this_program(_recorded(placed)), version.installed())
        prepared = plan(whole, findings, replacing=False)
    except Failure as failure:
        yield problem(failure.message, INSTALL)
        return
    if placed.home != str(scene.home.root):
        yield warning(
            f"The plugin uses {placed.home}, not {scene.home.root}.",
            f"crosschat --home {scene.home.root} install, or unset CROSSCHAT_HOME",
        )
    yield from _files(files.plugin, prepared.folder, placed)
    yield from _files(whole.stable, prepared.hooks, placed)
    for change in prepared.changes:
        for entry in (*change.new, *change.gone):
            yield problem(f"{entry.where} is not as it was installed.", INSTALL)
    for one in findings.found:
        yield warning(f"{one.what} is still there: {one.where}.", "crosschat install --replace-npm")


def _recorded(placed: Placed) -> Home:
    run = run_directory_in(placed.hub_url, "the recorded --hub-url") if placed.hub_url is not None else None
    return Home(Path(placed.home), run)


def _files(folder: Path, steps: list[Step], placed: Placed) -> Iterator[Finding]:
    for step in steps:
        path = folder / step.path
        match step.action:
            case "nothing to do":
                continue
            case "add":
                yield problem(f"{path} is missing.", INSTALL)
            case "keep a copy and replace" | "keep a copy and remove":
                yield problem(
                    f"{path} was changed since it was installed.", f"look at it, then `{INSTALL}`, which keeps a copy"
                )
            case _ if placed.version != version.installed():
                yield warning(f"{path} is of version {placed.version}.", INSTALL)
            case _:
                yield warning(f"{path} is not as this program would install it.", INSTALL)


def client(scene: Scene) -> Iterator[Finding]:
    """Which Claude Code is there, and whether it loads the plugin."""
    try:
        found = ask_client(plugin_files(this_program(scene.home), version.installed()))
    except Failure as failure:
        yield problem(failure.message, "install the package again")
        return
    if found.program is None:
        yield warning("No `claude` is on the PATH.", f"install Claude Code; version {TESTED_VERSION} is known to work")
    elif found.version is None:
        yield warning(f"{found.program} does not say its version.", "run `claude --version` and see why")
    elif found.loads == "no":
        yield problem(
            "Claude Code does not load the plugin: it is switched off there, or by a policy.", "switch it on in /plugin"
        )
    elif found.loads == "too old":
        yield warning(
            f"Claude Code {found.version} does not load plugins from a folder.",
            "upgrade it, or `crosschat install --settings`",
        )
    else:
        loads = "it loads the plugin" if found.loads == "yes" else "it does not say whether it loads the plugin"
        yield fine(f"Claude Code {found.version} at {found.program}: {loads}.")
