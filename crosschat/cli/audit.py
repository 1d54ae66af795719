"""`crosschat audit`: who allowed and denied what, and whether the record of it is as it was written.

Reads the file itself, in a process of its own, and asks no hub: a check does not depend on what is checked.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, Final

import click

from crosschat.cli import text
from crosschat.cli.failure import FAILED, Failure
from crosschat.cli.options import configuration, json_option

READ_S: Final = 120.0
LINES: Final = 50
COLUMNS: Final = ("when", "session", "tool", "what", "by", "waited", "digest")
SHOWN: Final = {"answered_elsewhere": "answered in the terminal", "not_run": "allowed, did not run", "ran": "ran"}


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def audit(ctx: click.Context, as_json: bool) -> None:
    """Check and show who allowed and denied what.

    Every decision on a permission request is a line of audit/permissions.jsonl, written to the disk before an allow
    takes effect, and so is every pairing of a browser and its end. Each line has the hash of the one before it, so a
    line that was changed, added or removed breaks the chain. Lines missing at the end do not: keep the last hash that
    `verify` prints elsewhere to notice that. Without a subcommand the last 50 lines are shown.

    \b
    Examples:
      crosschat audit verify
      crosschat audit show --last 20
      crosschat audit show --json | jq '.lines[] | select(.event == "alarm")'

    Exit status: 0 done and unbroken, 1 broken or not to be read, 2 wrong option or environment.
    """
    if ctx.invoked_subcommand is None:
        _show(_read(ctx.obj), LINES, as_json=as_json)


@audit.command()
@json_option
@click.pass_obj
def verify(home: str | None, as_json: bool) -> None:
    """Check the chain from its first line on.

    \b
    Example:
      crosschat audit verify
    """
    chain = _read(home)
    problems = chain["problems"]
    if as_json:
        text.echo_json({"lines": chain["rows"], "last": chain["last"], "torn": chain["torn"], "problems": problems})
    else:
        text.echo(f"{chain['rows']} lines, the last with the hash {chain['last']}")
        for problem in problems:
            text.echo(text.styled("broken", fg="red"), text.plain(f"  line {problem['line']}: {problem['reason']}"))
        if chain["torn"]:
            text.echo("an incomplete line at the end, which is being written or left by a crash; it does not count")
        if not problems:
            text.echo("the chain is unbroken")
    if problems:
        raise SystemExit(FAILED)


@audit.command()
@click.option(
    "--last", default=LINES, metavar="N", type=click.IntRange(1), help=f"So many lines, {LINES} if not given."
)
@json_option
@click.pass_obj
def show(home: str | None, last: int, as_json: bool) -> None:
    """Show the last decisions and alarms.

    \b
    Example:
      crosschat audit show --last 100
    """
    _show(_read(home), last, as_json=as_json)


def _show(chain: dict[str, Any], last: int, *, as_json: bool) -> None:
    lines = chain["lines"][-last:]
    if as_json:
        text.echo_json({"lines": lines, "problems": chain["problems"]})
    elif lines:
        text.print_table(COLUMNS, [_row(line) for line in lines])
    else:
        text.echo("nothing was decided yet")
    if chain["problems"] and not as_json:
        text.echo(text.styled("broken", fg="red"), " the chain is: see `crosschat audit verify`")


def _read(home: str | None) -> dict[str, Any]:
    root = configuration(home).home.root
    command = [sys.executable, "-P", "-m", "crosschat.journal", "audit", str(root), "--json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=READ_S, check=False)
        found: dict[str, Any] = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise Failure(f"the audit in {root} was not read within {READ_S:g} s", FAILED) from None
    except ValueError:
        raise Failure(done.stderr.strip() or f"the audit in {root} cannot be read", FAILED) from None
    return found


def _row(line: dict[str, Any]) -> tuple[str, ...]:
    event = str(line.get("event"))
    what = str(line.get("behavior")) if event == "decided" else SHOWN.get(event, event)
    waited = f"{line['waited_ms'] / 1000:.1f} s" if isinstance(line.get("waited_ms"), int) else ""
    by = f"{line['label']} ({str(line.get('key'))[:8]})" if "label" in line else ""
    if event in ("paired", "revoked"):
        what, by = f"{event} {by}", str(line.get("by") or "a code from a terminal")
    named = (line.get("ts"), line.get("name"), line.get("tool"))
    return (*(str(one or "") for one in named), what, by, waited, str(line.get("digest", ""))[:12])
