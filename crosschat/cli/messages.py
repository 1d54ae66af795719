"""`crosschat send` and `crosschat tail`: the person's terminal takes part.

`send` speaks as the terminal (source `cli`), which agents are told. `tail` shows every record that agents can see,
those in threads and between two agents too: it is the person's own machine.
"""

from __future__ import annotations

import sys
from collections import deque
from typing import TYPE_CHECKING, Final, get_args

import click

from crosschat import wire
from crosschat.cli import text
from crosschat.cli.control import new_id, running_hub
from crosschat.cli.options import configuration, json_option, stream_options
from crosschat.limits import CONTENT_BYTES
from crosschat.model import Importance

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crosschat.paths import Configuration

TAIL_ITEMS: Final = 20
TAIL_ITEMS_MAX: Final = 10_000
# Most records are messages and events, some are only cursors: look back further until there are enough.
FIRST_LOOK_BACK: Final = 4
LOOK_BACK_FACTOR: Final = 8
EVENTS: Final = {
    "badge": "put a badge on",
    "flag": "made a task of",
    "claim": "claimed",
    "progress": "began with",
    "release": "freed",
    "resolve": "finished",
}


@click.command()
@click.argument("message", metavar="TEXT")
@click.option("--thread", metavar="ID", help="Answer in the thread of this message.")
@click.option("--importance", type=click.Choice(get_args(Importance)), help="How urgent it is.")
@json_option
@click.pass_obj
def send(home: str | None, message: str, thread: str | None, importance: Importance | None, as_json: bool) -> None:
    """Send a message to the agents.

    TEXT goes to everybody, or to those it mentions (@name), or to who is connected (@here); - reads it from standard
    input. It has arrived in the log when the command ends; that somebody read it is another matter. Starts the hub if
    none runs.

    \b
    Examples:
      crosschat send "@here: deploy at five"
      crosschat send --thread m17-7070 "looks good"
      git log -3 | crosschat send -

    Exit status: 0 sent, 1 refused, 2 wrong option or environment, 3 no hub can be started.
    """
    content = _standard_input() if message == "-" else message
    try:
        size = len(content.encode())
    except UnicodeEncodeError:
        raise click.UsageError("the text is not UTF-8") from None
    if not content.strip():
        raise click.UsageError("the text is empty")
    if size > CONTENT_BYTES:
        raise click.UsageError(
            f"the text has more than {CONTENT_BYTES} bytes: send it in parts, or the path of a file with it"
        )
    with running_hub(configuration(home)) as control:
        request = wire.Send(id=new_id(), cid=new_id(), content=content, thread=thread, importance=importance)
        sent = control.ask(request, wire.Sent)
    if as_json:
        text.echo_json(wire.complete(sent))
        return
    states = ", ".join(f"{count} {state}" for state, count in sent.states.items())
    text.echo(text.plain(f"sent {sent.message}" + (f" ({states})" if states else "")))
    if sent.away:
        text.echo(text.plain(f"away, and will get it on return: {', '.join(sent.away)}"))
    if sent.unresolved:
        text.echo(text.plain(f"nobody is called {', '.join(sent.unresolved)}"), err=True)


def _standard_input() -> str:
    """What comes on standard input, as far as a message can be long. Raises UsageError if it is not UTF-8."""
    try:
        return sys.stdin.buffer.read(CONTENT_BYTES + 1).decode()
    except UnicodeDecodeError as error:
        if error.start > CONTENT_BYTES - 4:  # cut within a character: too long, not wrong
            return "x" * (CONTENT_BYTES + 1)
        raise click.UsageError(f"standard input is not UTF-8 at byte {error.start}") from None


@click.command()
@stream_options(TAIL_ITEMS, TAIL_ITEMS_MAX)
@click.pass_obj
def tail(home: str | None, count: int, follow: bool, as_json: bool) -> None:
    """Show the last messages and task events.

    With --json, one JSON object a line. Starts the hub if none runs.

    \b
    Examples:
      crosschat tail -n 50
      crosschat tail -f --json | jq -r .content

    Exit status: 0 done, 2 wrong option or environment, 3 no hub, or it went away, 130 interrupted.
    """
    chosen = configuration(home)
    with running_hub(chosen) as control:
        head = control.ask(wire.Inspect(id=new_id()), wire.HubStatus).head
    items = _last(chosen, count, head)
    for item in items:
        _print(item, as_json=as_json)
    if count and not items and not follow and not as_json:
        text.echo("nothing has been written yet", err=True)
    if follow:
        with running_hub(chosen) as control:
            for batch in control.follow(chosen.home, wire.Tail(id=new_id(), after_seq=head)):
                for item in batch.items:
                    _print(item, as_json=as_json)


def _last(chosen: Configuration, count: int, head: int) -> list[wire.Item]:
    """The last `count` items up to the record `head`."""
    look_back = count * FIRST_LOOK_BACK
    while count and head:
        after = max(0, head - look_back)
        found: deque[wire.Item] = deque(maxlen=count)
        with running_hub(chosen) as control:
            for batch in control.catch_up(wire.Tail(id=new_id(), after_seq=after), head):
                found.extend(item for item in batch.items if item.seq <= head)
        if len(found) == count or after == 0:
            return list(found)
        look_back *= LOOK_BACK_FACTOR
    return []


def _print(item: wire.Item, *, as_json: bool) -> None:
    text.echo_record(wire.complete(item), _lines(item, item.ts[11:19]), as_json=as_json)


def print_item(item: wire.Item) -> None:
    """A message or an event with its date."""
    for line in _lines(item, item.ts[:19].replace("T", " ")):
        text.echo(line)


def _lines(item: wire.Item, time: str) -> Iterator[str]:
    """`12:03:04 ada → ben, m-…` and below it the text; one line for an event."""
    when = text.styled(time + " ", dim=True)
    who = text.styled(item.from_name, bold=True)
    via = "" if item.source in ("agent", item.from_name) else f" ({text.plain(item.source)})"
    if item.kind in ("message", "reply"):
        where = f" in {item.thread}" if item.thread and item.thread != item.message else ""
        reach = "" if item.to is None else (" @here" if item.here else " private" if item.private else "")
        yield when + who + via + text.styled(f"  {item.message}{where}{reach}", dim=True)
        yield text.body(("…" if item.offset else "") + item.content + ("…" if item.more is not None else ""))
        if item.task is not None and item.task.result:
            yield text.body(f"{item.task.status}: {item.task.result}")
        return
    # The task is as it is now; only of its end that is also how it was.
    state = f", {item.task.status}" if item.kind == "resolve" and item.task is not None else ""
    yield when + who + via + text.plain(f" {EVENTS.get(item.kind, item.kind)} {item.message}{state}")
    if item.content:
        yield text.body(item.content)
