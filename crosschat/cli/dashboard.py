"""`crosschat dashboard`: open the page, pair a browser with it, list the paired ones and end a pairing.

The hub gives a code only to a person at a terminal; this command cannot vouch for anybody, and says what the hub said.
The code is shown and typed by hand: it is in no address, argument, environment or file.
"""

from __future__ import annotations

import getpass
import os
import socket
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from crosschat import wire
from crosschat.cli import text
from crosschat.cli.control import Control, new_id, page_of, running_hub
from crosschat.cli.failure import USAGE, Failure
from crosschat.cli.options import configuration, json_option

if TYPE_CHECKING:
    from collections.abc import Mapping

COLUMNS = ("id", "browser", "paired", "last seen")
NOT_VOUCHED = (
    "is listed as paired, and the audit does not vouch for it: some program may have written it into settings.json. "
    "End it with `crosschat dashboard --revoke {}`; if it is yours, pair it again after that."
)


@click.command()
@click.option("--list", "listing", is_flag=True, help="List the paired browsers.")
@click.option("--revoke", metavar="ID", help="End the pairing of one; its open pages close.")
@click.option("--no-open", is_flag=True, help="Open no browser.")
@json_option
@click.pass_obj
def dashboard(home: str | None, listing: bool, revoke: str | None, no_open: bool, as_json: bool) -> None:
    """Open the page, and pair a browser with it.

    Prints a code to type into the page, which is good for a minute and for one browser. The first browser is paired
    at once; each further one has to be accepted in a page that is paired already. Starts the hub if none runs. Only a
    person can do this: a command that runs inside a Claude Code session is refused. ID is one of --list, or its
    beginning. A browser that --list calls an alarm is listed, and counts for nothing: nobody paired it here.

    \b
    Examples:
      crosschat dashboard
      crosschat dashboard --no-open
      crosschat dashboard --list
      crosschat dashboard --revoke 3f9a

    Exit status: 0 done, 1 refused, 2 wrong option or environment, 3 no hub can be started.
    """
    if listing and revoke is not None:
        raise Failure("give --list or --revoke, not both", USAGE)
    with running_hub(configuration(home)) as control:
        if listing:
            _list(control, as_json=as_json)
        elif revoke is not None:
            _revoke(control, revoke, as_json=as_json)
        else:
            _pair(control, open_it=not no_open, as_json=as_json)


def _list(control: Control, *, as_json: bool) -> None:
    keys = control.ask(wire.Keys(id=new_id()), wire.KeyList).keys
    if as_json:
        text.echo_json({"browsers": [wire.complete(key) for key in keys]})
    elif keys:
        text.print_table(COLUMNS, [(key.id[:8], key.label, key.paired_at, _last_seen(key)) for key in keys])
        for key in keys:
            if not key.vouched:
                text.echo(
                    text.styled("alarm", fg="red"), text.plain(f"  {key.id[:8]} {NOT_VOUCHED.format(key.id[:8])}")
                )
    else:
        text.echo("no browser is paired: `crosschat dashboard` pairs one")


def _last_seen(key: wire.KeyView) -> str:
    return (key.last_seen_at or "not since the hub started") if key.vouched else "does not count"


def _revoke(control: Control, key: str, *, as_json: bool) -> None:
    control.ask(wire.RevokeKey(id=new_id(), key=key), wire.Done)
    if as_json:
        text.echo_json({"revoked": key})
    else:
        text.echo(text.plain(f"{key} is not paired any more; its open pages were closed"))


def _pair(control: Control, *, open_it: bool, as_json: bool) -> None:
    status = control.status()
    if status.dashboard is None:
        raise Failure(f"the page is {page_of(status)}")
    answer = control.ask(wire.NewCode(id=new_id()), wire.PairingCode)
    tunnel = None if has_desktop(os.environ, sys.platform) else tunnel_to(answer.page, os.environ)
    opened = open_it and tunnel is None and _open(answer.page)
    if as_json:
        shown = wire.complete(answer)
        text.echo_json(
            {name: shown[name] for name in ("page", "code", "seconds", "first")} | {"opened": opened, "tunnel": tunnel}
        )
        return
    text.echo("page  ", text.styled(answer.page, bold=True), "" if opened else "  (open it in a browser)")
    text.echo("code  ", text.styled(answer.code, bold=True), f"  (type it there within {answer.seconds:g} s)")
    if not answer.first:
        text.echo("      a browser is paired already: its page has to accept this one")
    if tunnel is not None:
        text.echo("There is no desktop here. To use a browser of another machine, run this there and leave it open:")
        text.echo(text.plain(f"  {tunnel}"))


def has_desktop(environment: Mapping[str, str], platform: str) -> bool:
    """Whether a browser opened here would be seen by the person."""
    if platform == "darwin":
        return "SSH_CONNECTION" not in environment
    return any(environment.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))


def tunnel_to(page: str, environment: Mapping[str, str]) -> str:
    """The command that makes the page's address lead here from another machine."""
    port = urlsplit(page).port
    connection = environment.get("SSH_CONNECTION", "").split()  # client address and port, then this end's
    host = connection[2] if len(connection) == 4 else socket.gethostname()
    return f"ssh -L {port}:127.0.0.1:{port} {getpass.getuser()}@{host}"


def _open(page: str) -> bool:
    """Have the person's browser open the page; False if there is none."""
    import webbrowser

    try:
        return webbrowser.open(page)
    except webbrowser.Error:
        return False
