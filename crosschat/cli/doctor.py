"""`crosschat doctor`: a table of checks. Each names what is wrong, in one sentence, and what to do, in one line.

The checks are in `examine`; a new one is a function there and a row here. It repairs nothing: whatever it names is
either mended by the hub itself at its next start, or is the person's to decide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs
import click

from crosschat import wire
from crosschat.cli import text
from crosschat.cli.control import Control, NotRunning, new_id
from crosschat.cli.examine import claude, hub, message, place, records
from crosschat.cli.examine.finding import Check, Finding, Scene
from crosschat.cli.failure import FAILED, Failure
from crosschat.cli.options import configuration, json_option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crosschat.cli.examine.finding import Level
    from crosschat.paths import Configuration

ASK_DEADLINE_S: Final = 5.0
# In this order: what comes first may be the cause of what follows. A check of the browser side, of permissions or of
# anything else that is installed belongs beside its like.
CHECKS: Final[dict[str, Check]] = {
    "environment": hub.environment,
    "owner": place.owner,
    "modes": place.modes,
    "mount": place.mount,
    "space": place.space,
    "disk": place.syncs,
    "leftovers": place.leftovers,
    "versions": hub.versions,
    "lock": hub.lock,
    "note": hub.note,
    "log": records.log,
    "audit": records.audit,
    "browsers": records.browsers,
    "hub": hub.own_word,
    "page": hub.page,
    "plugin": claude.plugin,
    "delivery": message.delivery,
}
SLOW_CHECKS: Final[dict[str, Check]] = {"client": claude.client, "sessions": message.sessions}
STYLES: Final[dict[Level, str]] = {"ok": "green", "warning": "yellow", "problem": "red", "skipped": "cyan"}


@attrs.frozen
class Result:
    check: str
    finding: Finding

    def as_json(self) -> dict[str, str]:
        return {"check": self.check, **attrs.asdict(self.finding)}


def look(chosen: Configuration) -> Scene:
    """The hub's own word, if one runs. It starts none: a hub might repair, and so hide, what is to be found."""
    try:
        with Control.open(chosen.home, deadline_s=ASK_DEADLINE_S) as control:
            control.status()  # of a hub that has just begun, wait for its page
            return Scene(configuration=chosen, status=control.ask(wire.Inspect(id=new_id()), wire.HubStatus))
    except NotRunning:
        return Scene(configuration=chosen)
    except Failure as failure:
        return Scene(configuration=chosen, silence=failure.message)


def examine(scene: Scene, checks: dict[str, Check]) -> Iterator[Result]:
    """What each check finds, in order; one that finds nothing is ok, and one that cannot be made is a problem."""
    for name, check in checks.items():
        found: list[Finding] = []
        try:
            found.extend(check(scene))
        except Exception as error:  # an examination goes on, whatever is found in the way
            found.append(Finding("problem", f"The check could not be made: {error!r}.", "report this"))
        for finding in found or [Finding("ok", "")]:
            yield Result(name, finding)


@click.command()
@click.option("--quick", is_flag=True, help="Leave out what takes seconds: Claude Code, and two sessions of our own.")
@json_option
@click.pass_context
def doctor(ctx: click.Context, quick: bool, as_json: bool) -> None:
    """Find out what is wrong, and what to do.

    It looks at the data directory, the hub, the log, the plugin and Claude Code, and sends a real message from end to
    end; no agent is disturbed. It repairs nothing and starts no hub on your data.

    \b
    Examples:
      crosschat doctor
      crosschat doctor --quick --json | jq '.results[] | select(.level == "problem")'

    Exit status: 0 nothing is wrong, warnings perhaps, 1 there is a problem, 2 wrong option or environment.
    """
    chosen = configuration(ctx.obj)
    results: list[Result] = []
    for result in examine(look(chosen), CHECKS if quick else {**CHECKS, **SLOW_CHECKS}):
        results.append(result)
        if not as_json:
            _print(result)
    problems = sum(result.finding.level == "problem" for result in results)
    if as_json:
        text.echo_json(
            {"healthy": problems == 0, "home": str(chosen.home.root), "results": [one.as_json() for one in results]}
        )
    else:
        warnings = sum(result.finding.level == "warning" for result in results)
        text.echo(f"{problems} problems, {warnings} warnings")
    if problems:
        ctx.exit(FAILED)


def _print(result: Result) -> None:
    finding = result.finding
    text.echo(
        text.styled(f"{finding.level:<9}", fg=STYLES[finding.level]), f"{result.check:<12}", text.plain(finding.cause)
    )
    if finding.remedy:
        text.echo(" " * 21, text.styled(f"→ {finding.remedy}", bold=True))
