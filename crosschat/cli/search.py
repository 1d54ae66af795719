"""`crosschat search`: messages by their words, sender, badge and time."""

from __future__ import annotations

import sys

import click

from crosschat import wire
from crosschat.cli import text
from crosschat.cli.control import new_id, running_hub
from crosschat.cli.messages import print_item
from crosschat.cli.options import configuration, json_option
from crosschat.cli.times import Time
from crosschat.limits import PAGE_ITEMS, PAGE_ITEMS_MAX


@click.command()
@click.argument("words", nargs=-1)
@click.option(
    "--from", "sender", metavar="NAME", help="Only what this agent wrote; user is the person, cli the terminal."
)
@click.option(
    "--with", "party", metavar="NAME", help="Only what this agent wrote or was sent by name, @here or thread."
)
@click.option("--badge", metavar="BADGE", help="Only with this badge: type or type:value, such as task:open.")
@click.option("--since", type=Time(), metavar="TIME", help="Not before this time: 2026-05-04, today, 3h, 2d.")
@click.option("--until", type=Time(), metavar="TIME", help="Not after it.")
@click.option("--before", metavar="ID", help="Go on with what is older than this message.")
@click.option(
    "--limit", type=click.IntRange(1, PAGE_ITEMS_MAX), default=PAGE_ITEMS, show_default=True, help="At most so many."
)
@json_option
@click.pass_obj
def search(
    home: str | None,
    words: tuple[str, ...],
    sender: str | None,
    party: str | None,
    badge: str | None,
    since: str | None,
    until: str | None,
    before: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """Search the messages, newest first.

    A message is found if all WORDS are in it, or in the result of its task, each as a whole word; an argument of
    several words is found as they stand. Messages between two agents are searched, too. Starts the hub if none runs.

    \b
    Examples:
      crosschat search deploy staging
      crosschat search "connection refused" --from api --since 2d
      crosschat search --badge question:true --json | jq -r '.messages[].message'

    Exit status: 0 something was found, 1 nothing was or it was refused, 2 wrong option or environment, 3 no hub.
    """
    if not (words or sender or party or badge or since or until):
        raise click.UsageError("say what to search for: words, --from, --with, --badge, --since or --until")
    request = wire.Search(
        id=new_id(),
        query=" ".join(f'"{word}"' if " " in word and '"' not in word else word for word in words),
        sender=sender,
        party=party,
        badge=badge,
        since=since,
        until=until,
        before=before,
        limit=limit,
    )
    with running_hub(configuration(home)) as control:
        page = control.ask(request, wire.Page)
    if as_json:
        text.echo_json(
            {"messages": [wire.complete(item) for item in page.items], "more": page.earlier, "behind": page.behind}
        )
    else:
        _print(page)
    if not page.items:
        sys.exit(1)


def _print(page: wire.Page) -> None:
    for item in page.items:
        print_item(item)
    if not page.items:
        text.echo("nothing was found", err=True)
    elif page.earlier:
        text.echo(text.plain(f"there is more: --before {page.items[-1].message}"), err=True)
    if page.behind:
        text.echo(f"the newest {page.behind} records are not searched yet: try again in a moment", err=True)
