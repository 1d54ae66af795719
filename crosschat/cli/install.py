"""`crosschat install`: the plugin for Claude Code, for all sessions of the user."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import click

from crosschat.cli import text
from crosschat.cli.claude_code import TESTED_VERSION, Client, ask_client
from crosschat.cli.earlier import Findings, client_files, look, replace
from crosschat.cli.failure import FAILED, Failure
from crosschat.cli.options import configuration, json_option
from crosschat.cli.placement import place, placed_in, plan
from crosschat.cli.plugin import TOOL_PREFIX, Program, plugin_files

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from crosschat.cli.placement import Step
    from crosschat.paths import Home

PROBE_DEADLINE_S: Final = 60.0
# -I: neither the directory a session works in nor PYTHONPATH can put another module before ours. -P, where the package
# is in the user's own site directory, which -I leaves out, keeps at least that directory away.
OPTIONS: Final = (("-I",), ("-P",))
CACHES: Final = ("/.cache/", "/Caches/", "/uv/archive-v", "/pipx/.cache/")


def this_program(home: Home) -> Program:
    """How a session starts the CrossChat that runs now. Raises Failure if it cannot be started from elsewhere."""
    python = sys.executable
    if not python or not os.access(python, os.X_OK):
        raise Failure(f"the Python that runs this is not to be found ({python or 'no path'}): install it again", FAILED)
    for options in OPTIONS:
        if _imports(python, options):
            return Program(python=os.path.abspath(python), options=options, home=home)
    raise Failure(f"{python} does not find the package from another directory: `pip install` it there", FAILED)


def _imports(python: str, options: tuple[str, ...]) -> bool:
    try:
        done = subprocess.run(
            [python, *options, "-c", "import crosschat.cli.serve"],
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_DEADLINE_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def package_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("crosschat-hub")
    except PackageNotFoundError:
        raise Failure("crosschat is not installed, so its version is not known: pip install .", FAILED) from None


@click.command()
@click.option("--dry-run", is_flag=True, help="Show every file and what would be done; change nothing.")
@click.option("--yes", is_flag=True, help="Ask nothing: replace an earlier CrossChat, too.")
@click.option("--replace-npm", is_flag=True, help="Replace an earlier CrossChat in Claude Code's settings.")
@json_option
@click.pass_obj
def install(home: str | None, dry_run: bool, yes: bool, replace_npm: bool, as_json: bool) -> None:
    """Install the plugin for Claude Code.

    One folder below ~/.claude/skills, for all your sessions: the tools, /crosschat, and hooks. Nothing else is edited,
    unless an earlier CrossChat is in Claude Code's settings and you have it replaced. Run it again after an upgrade, or
    when Python has moved; what is up to date stays as it is.

    \b
    Examples:
      crosschat install --dry-run
      crosschat install --yes

    Exit status: 0 it is installed, 1 it cannot be, 2 wrong option or environment.
    """
    data = configuration(home).home
    files = client_files()
    version = package_version()
    program = this_program(data)
    wanted = plugin_files(program, version)
    placed = placed_in(files.plugin)
    steps = plan(files.plugin, wanted, placed)
    changed = placed is None or placed.version != version or any(step.action != "nothing to do" for step in steps)
    state = "already installed" if not changed else "installed" if placed is None else "updated"
    findings = look(files)
    kept: list[Path] = []
    replaced = False
    client = Client()
    if not dry_run:
        try:
            kept = place(files.plugin, wanted, version=version, home=data.root)
            replaced = _wants_replacement(findings, asked_for=yes or replace_npm, as_json=as_json)
            if replaced:
                kept += replace(findings.found)
        except OSError as error:
            raise Failure(f"{error.filename or files.plugin}: {error.strerror or error}", FAILED) from None
        client = ask_client(files.plugin)
    if as_json:
        text.echo_json(
            {
                "state": state, "dryRun": dry_run, "folder": str(files.plugin), "version": version,
                "command": [program.python, *program.arguments], "environment": program.environment,
                "files": [_file(step) for step in steps], "kept": [str(path) for path in kept],
                "earlier": [{"what": one.what, "where": one.where} for one in findings.found],
                "replaced": replaced, "problems": list(findings.problems),
                "client": {"version": client.version, "loads": client.loads},
            }
        )  # fmt: skip
    elif dry_run:
        _print_plan(files.plugin, steps, state)
        _print_findings(findings, replaced=False)
    else:
        _print_done(files.plugin, program, state, version)
        print_kept(kept)
        _print_findings(findings, replaced=replaced)
        _print_client(client, changed=changed or replaced)


def person_is_there() -> bool:
    """Whether a question can be answered."""
    return sys.stdin.isatty()


def _file(step: Step) -> dict[str, str | None]:
    return {"path": step.path, "action": step.action, "sha256": step.sha256}


def _wants_replacement(findings: Findings, *, asked_for: bool, as_json: bool) -> bool:
    if not findings.found or asked_for:
        return bool(findings.found)
    if as_json or not person_is_there():
        return False
    for one in findings.found:
        text.echo(f"found  {text.plain(one.what)}: {text.plain(one.where)}")
    return click.confirm("Replace exactly that? A dated copy of each file is kept", default=True)


def _print_plan(folder: Path, steps: Iterable[Step], state: str) -> None:
    if state == "already installed":
        text.echo(text.styled("already installed", bold=True), "; nothing would be done")
    text.echo(f"folder  {text.plain(str(folder))}")
    text.print_table(("file", "action", "sha256"), [(step.path, step.action, step.sha256 or "") for step in steps])


def _print_done(folder: Path, program: Program, state: str, version: str) -> None:
    text.echo(text.styled(state, bold=True), f", version {text.plain(version)}")
    text.echo(f"folder  {text.plain(str(folder))}")
    text.echo(f"starts  {text.plain(' '.join([program.python, *program.arguments]))}")
    if any(cache in program.python for cache in CACHES):
        text.echo(
            text.styled("warning", fg="yellow"),
            " that is a temporary environment; `pipx install` or `uv tool install` makes a lasting one",
        )
    text.echo(f"allows  its own ten tools without a prompt ({TOOL_PREFIX}…), and nothing else")


def print_kept(kept: Iterable[Path]) -> None:
    for path in kept:
        text.echo(f"kept    {text.plain(str(path))}")


def _print_findings(findings: Findings, *, replaced: bool) -> None:
    for one in findings.found:
        text.echo(f"{'replaced' if replaced else 'found   '} {text.plain(one.what)}: {text.plain(one.where)}")
    if findings.found and not replaced:
        text.echo("         it is left as it is; `crosschat install --replace-npm` replaces exactly that")
    for problem in findings.problems:
        text.echo(text.styled("problem ", fg="yellow"), f" {text.plain(problem)}")


def _print_client(client: Client, *, changed: bool) -> None:
    name = f"Claude Code {client.version}" if client.version else "Claude Code"
    if client.loads:
        text.echo(f"client  {name} loads the plugin")
    elif client.loads is False:
        text.echo(
            text.styled("problem", fg="yellow"),
            f" {name} does not load it: it is too old (known to work: {TESTED_VERSION}), or the plugin is switched off"
            " there, or by a policy. Without the plugin: `claude mcp add -s user crosschat -- crosschat serve`",
        )
    elif client.version is None:
        text.echo(f"client  no `claude` is on the PATH; the plugin is known to work with version {TESTED_VERSION}")
    else:
        text.echo(f"client  {name} does not say whether it loads the plugin; version {TESTED_VERSION} does")
    if changed:
        text.echo("Sessions that are open: type /reload-plugins in each, or restart it. Then /crosschat joins it.")
