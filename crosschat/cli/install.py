"""`crosschat install`: the plugin for Claude Code, for all sessions of the user."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import click

from crosschat.cli import text
from crosschat.cli.arrangement import HUB_URL, arrange, carry_out, form_of, plan
from crosschat.cli.claude_code import ask_client
from crosschat.cli.earlier import client_files, look
from crosschat.cli.failure import FAILED, USAGE, Failure
from crosschat.cli.installed import Shown
from crosschat.cli.options import configuration, json_option
from crosschat.cli.placement import placed_in
from crosschat.cli.plugin import Program, plugin_files
from crosschat.paths import Home, run_directory_in

if TYPE_CHECKING:
    from crosschat.cli.arrangement import Form
    from crosschat.cli.claude_code import Client
    from crosschat.cli.earlier import ClientFiles, Findings
    from crosschat.cli.record import Placed

PROBE_DEADLINE_S: Final = 60.0
# -I: neither the directory a session works in nor PYTHONPATH can put another module before ours. -P, where the package
# is in the user's own site directory, which -I leaves out, keeps at least that directory away.
OPTIONS: Final = (("-I",), ("-P",))


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
@click.option("--settings", "in_settings", is_flag=True, help="Register in Claude Code's settings, without a plugin.")
@click.option("--hub-url", metavar="unix:DIR", help="Record where the sockets are, for sessions and hooks.")
@json_option
@click.pass_obj
def install(
    home: str | None, dry_run: bool, yes: bool, replace_npm: bool, in_settings: bool, hub_url: str | None, as_json: bool
) -> None:
    """Install the plugin for Claude Code.

    One folder below ~/.claude/skills, for all your sessions: the tools, /crosschat, and hooks, whose scripts lie in the
    data directory, too. Nothing else is edited, unless an earlier CrossChat is in Claude Code's settings and you have
    it replaced. Run it again after an upgrade, or when Python has moved; what is up to date stays as it is.

    A Claude Code that is too old for such a folder gets the same in its settings: the server by `claude mcp add`, hooks
    and a rule for each of the ten tools in ~/.claude/settings.json, of which a dated copy is kept.

    \b
    Examples:
      crosschat install --dry-run
      crosschat install --yes
      crosschat install --hub-url unix:/run/user/1000/crosschat

    Exit status: 0 it is installed, 1 it cannot be, 2 wrong option or environment.
    """
    files = client_files()
    placed = placed_in(files.plugin)
    program, version = this_program(_data(home, hub_url, placed)), package_version()
    client = ask_client(plugin_files(program, version))
    quiet = as_json or dry_run or yes or not person_is_there()
    form = _form(client, placed, files, in_settings=in_settings, quiet=quiet)
    whole = arrange(form, files, program, version)
    findings = look(files, ours=placed.record.entries if placed is not None else ())
    replacing = bool(findings.found) and (yes or replace_npm or (not quiet and _wants_replacement(findings)))
    prepared = plan(whole, findings, replacing=replacing)
    kept: list[Path] = []
    try:
        if not dry_run:
            kept = carry_out(prepared, client.program)
    except OSError as error:
        where = error.filename or files.plugin
        raise Failure(
            f"{where} cannot be written ({error.strerror or error}): mend that, then run this again", FAILED
        ) from None
    shown = Shown(prepared, findings, client, kept, dry_run=dry_run)
    if as_json:
        text.echo_json(shown.as_json())
    else:
        shown.echo()


def _data(home: str | None, hub_url: str | None, placed: Placed | None) -> Home:
    """The data directory, with the place of its sockets. What was recorded stays, unless something else is given.

    A variable of the environment does not say where the sockets are: hooks read none, because a project's settings can
    set them, and would not meet the sessions. Raises Failure, ConfigurationError.
    """
    told = configuration(home)
    data = attrs.evolve(told.home, run_override=None)
    if placed is not None and not told.home_given:
        data = Home(Path(placed.home))
    if hub_url is None and placed is not None and placed.home == str(data.root):
        hub_url = placed.hub_url
    run = run_directory_in(hub_url, "--hub-url") if hub_url is not None else None
    if told.home.run_override not in (None, run):
        url = f"unix:{told.home.run_override}"
        raise Failure(
            f"{HUB_URL} is {url!r}, and hooks do not read it: record it with --hub-url {shlex.quote(url)}, or unset it",
            USAGE,
        )
    return attrs.evolve(data, run_override=run)


def _form(client: Client, placed: Placed | None, files: ClientFiles, *, in_settings: bool, quiet: bool) -> Form:
    """Raises Failure if the person does not want the only form that the client can load."""
    if in_settings or (client.loads == "not known" and placed is not None and form_of(placed) == "settings"):
        return "settings"
    if client.loads != "too old":
        return "plugin"
    if not quiet:
        text.echo(f"Claude Code {client.version} is too old to load a plugin from {text.plain(str(files.plugin))}.")
        if not click.confirm(f"Register in its settings instead ({files.settings}, {files.state})?", default=True):
            raise Failure("nothing was installed: a newer Claude Code loads the plugin", FAILED)
    return "settings"


def person_is_there() -> bool:
    """Whether a question can be answered."""
    return sys.stdin.isatty()


def _wants_replacement(findings: Findings) -> bool:
    for one in findings.found:
        text.echo(f"found  {text.plain(one.what)}: {text.plain(one.where)}")
    return click.confirm("Replace exactly that? A dated copy of each file is kept", default=True)
