"""`crosschat cost`: what being connected costs each session, in wake-ups, bytes of its context and time."""

from __future__ import annotations

from typing import Final

import click

from crosschat import wire
from crosschat.cli import text
from crosschat.cli.control import Control, new_id
from crosschat.cli.options import configuration, json_option

BYTES_A_TOKEN: Final = 4  # a usual estimate for English and JSON; it is one
COLUMNS: Final = (
    "name",
    "wake-ups",
    "bytes read",
    "~tokens",
    "in rings",
    "beside prompts",
    "in replies",
    "hooks",
    "ms",
)


@click.command()
@json_option
@click.pass_obj
def cost(home: str | None, as_json: bool) -> None:
    """Show what CrossChat costs each session.

    Since the hub started: how often the session was woken, or told while it worked; how many bytes that and the
    replies of the tools put into its context, with the tokens estimated at four bytes each; and the milliseconds that
    it waited for hooks at a start, a prompt and its end, each from the start of the hook's process to the hub's answer.
    Not in it: the list of the tools (at most 6,000 bytes), and the shell's few milliseconds before a tool of CrossChat.

    \b
    Examples:
      crosschat cost
      crosschat cost --json | jq '.sessions[] | {name, tokens, hookMs}'

    Exit status: 0 done, 2 wrong option or environment, 3 no hub runs.
    """
    with Control.open(configuration(home).home) as control:
        sessions = control.ask(wire.Cost(id=new_id()), wire.CostList).sessions
    if as_json:
        text.echo_json({"sessions": [_for_scripts(session) for session in sessions]})
    elif sessions:
        text.echo(text.plain(f"since {sessions[0].since}"))
        text.print_table(COLUMNS, [_row(session) for session in sessions])
    else:
        text.echo("no session has come since the hub started")


def _bytes(session: wire.CostView) -> int:
    return session.ring_bytes + session.context_bytes + session.reply_bytes


def _for_scripts(session: wire.CostView) -> dict[str, object]:
    return {
        "name": session.name,
        "id": session.id,
        "connected": session.connected,
        "since": session.since,
        "wakeUps": session.rings,
        "bytes": _bytes(session),
        "tokens": _bytes(session) // BYTES_A_TOKEN,
        "ringBytes": session.ring_bytes,
        "promptBytes": session.context_bytes,
        "promptTexts": session.contexts,
        "replyBytes": session.reply_bytes,
        "replies": session.replies,
        "hooks": session.hooks,
        "hookMs": round(session.hook_ms, 1),
    }


def _row(session: wire.CostView) -> tuple[str, ...]:
    return (
        session.name + ("" if session.connected else " (away)"),
        str(session.rings),
        f"{_bytes(session):,}",
        f"{_bytes(session) // BYTES_A_TOKEN:,}",
        f"{session.ring_bytes:,}",
        f"{session.context_bytes:,}",
        f"{session.reply_bytes:,}",
        str(session.hooks),
        f"{session.hook_ms:.0f}",
    )
