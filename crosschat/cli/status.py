"""`crosschat status` and `crosschat peers`: the hub's own state and the agents it knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from crosschat import wire
from crosschat.cli import text
from crosschat.cli.control import Control, NotRunning, new_id, page_of, running_hub
from crosschat.cli.failure import NO_HUB, Failure
from crosschat.cli.options import configuration, json_option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crosschat.paths import Configuration

READER_COLUMNS = ("connected", "shown up to", "told up to", "records behind", "bytes unsent")
GUARDED_SHOWN = 5
PEER_COLUMNS = ("name", "state", "activity", "silent", "unread", "tasks", "project", "directory")
UNJOINED_COLUMNS = ("not joined", "activity", "directory")
ACTIVITY = {"working": "working", "waiting": "waiting on you", "idle": "idle", None: "unknown"}


@click.command()
@click.option("--tasks", "tree", is_flag=True, help="Add the hub's live tasks, as a tree.")
@json_option
@click.pass_context
def status(ctx: click.Context, tree: bool, as_json: bool) -> None:
    """Show whether the hub runs and how it is.

    It starts none.

    \b
    Examples:
      crosschat status
      crosschat status --json | jq .dashboard

    Exit status: 0 a hub runs and answers, 2 wrong option or environment, 3 none does.
    """
    chosen = configuration(ctx.obj)
    try:
        with Control.open(chosen.home) as control:
            found = control.status(tree=tree)
            sessions = ask_for_sessions(control)
    except NotRunning as failure:
        _print_absence(chosen, _why_absent(chosen) or failure.message, as_json=as_json)
        ctx.exit(NO_HUB)
    except Failure as failure:
        if not as_json:
            raise
        _print_absence(chosen, failure.message, as_json=True)
        ctx.exit(NO_HUB)
    if as_json:
        told = {"ignored": list(chosen.ignored), **_unjoined_json(sessions)}
        text.echo_json({"running": True, **wire.complete(found), **told})
    else:
        print_status(found, chosen)
        _print_unjoined(sessions)


def _why_absent(chosen: Configuration) -> str | None:
    from crosschat.cli.lifecycle import lock_held

    if lock_held(chosen.home):
        return (
            f"a hub holds {chosen.home.hub_lock} and does not listen yet, or any more: "
            "look again in a moment, or `crosschat restart --force`"
        )
    return None


def _print_absence(chosen: Configuration, reason: str, *, as_json: bool) -> None:
    if as_json:
        text.echo_json({"running": False, "home": str(chosen.home.root), "reason": reason})
    else:
        text.echo(text.styled("not running", bold=True), f": {text.plain(reason)}")
        _print_ignored(chosen)


def _print_ignored(chosen: Configuration) -> None:
    for variable in chosen.ignored:
        text.echo(text.styled("ignored", fg="yellow"), f"  {variable} is set for another product; unset it")


def status_json(found: wire.HubStatus, chosen: Configuration) -> dict[str, object]:
    return {"running": True, **wire.complete(found), "ignored": list(chosen.ignored)}


def print_status(found: wire.HubStatus, chosen: Configuration) -> None:
    stops = "stays" if found.idle_stop_s is None else f"stops after {found.idle_stop_s:g} s without use"
    rows = [
        ("hub", f"running, pid {found.pid}, version {found.version}, since {found.started_at}, {stops}"),
        ("data", found.home),
        ("page", page_of(found)),
        ("browsers", _browsers(found)),
        ("log", f"{found.head} records, {found.queued} waiting{_sync(found)}"),
        ("memory", _size(found.rss_bytes)),
        ("open tasks", str(found.open_tasks)),
        ("needs you", ", ".join(f"{count} {kind}" for kind, count in found.needs.items()) or "nothing"),
        ("requests", f"{found.pending} wait for permission" if found.pending else "none wait for permission"),
        (
            "so far",
            ", ".join(f"{count} {name}" for name, count in found.counters.items() if count) or "nothing",
        ),
        ("agents", f"{sum(agent.connected for agent in found.agents)} connected, {len(found.agents)} known"),
    ]
    for label, value in rows:
        text.echo(text.styled(f"{label:<12}", bold=True), text.plain(value))
    _print_ignored(chosen)
    for label, held in _held_back(found):
        text.echo(text.styled(f"{label:<12}", fg="yellow"), text.plain(held))
    for label, problem in _problems(found):
        text.echo(text.styled(f"{label:<12}", fg="yellow"), text.plain(problem))
    for notice in found.notices:
        text.echo(text.styled("notice      ", fg="yellow"), text.plain(notice))
    for damage in found.damage:
        text.echo(
            text.styled("damage      ", fg="red"), text.plain(f"{damage.file} line {damage.line}: {damage.reason}")
        )
    if found.agents:
        text.echo()
        print_peers(found.agents)
    if found.readers:
        text.echo()
        print_readers(found.readers)
    if found.tree:
        text.echo()
        for line in found.tree:
            text.echo(text.plain(line))


def _held_back(found: wire.HubStatus) -> Iterator[tuple[str, str]]:
    """What wakes nobody, and whom nothing wakes. Nothing of it is kept from being read."""
    if paused := [agent.name for agent in found.agents if agent.paused]:
        yield "paused", f"{', '.join(paused)}: no message wakes them, until `crosschat resume NAME`"
    for agent in found.agents:
        if agent.budget_s is not None:
            yield "wake budget", f"{agent.name} has used it up, for {-(-agent.budget_s // 60)} min more"
    for thread in found.guarded[:GUARDED_SHOWN]:
        yield (
            "loop guard",
            f"{thread.message} by {thread.author}: {thread.replies} replies without the person or a change of its "
            "task; a reply at the page lets it wake again",
        )
    if (more := len(found.guarded) - GUARDED_SHOWN) > 0:
        yield "loop guard", f"{more} threads more: see `crosschat status --json`"


def _browsers(found: wire.HubStatus) -> str:
    if not found.browsers:
        return "none is paired: `crosschat dashboard` pairs one"
    return f"{found.pages} open; paired: " + ", ".join(map(_browser, found.browsers))


def _browser(key: wire.KeyView) -> str:
    return f"{key.label} ({key.paired_at if key.vouched else 'does not count'})"


def _problems(found: wire.HubStatus) -> Iterator[tuple[str, str]]:
    """What does not work, while the hub does."""
    if found.dashboard is not None and found.dashboard_problem is not None:
        yield "page", found.dashboard_problem
    if found.search_problem is not None:
        yield "search", f"is behind: {found.search_problem}"
    elif found.search_behind:
        yield "search", f"does not see the newest {found.search_behind} records yet"
    if found.notify_problem is not None:
        yield "notify", f"the last time it failed: {found.notify_problem}"


def _sync(found: wire.HubStatus) -> str:
    if found.sync_p50_ms is None or found.sync_p99_ms is None:
        return ""
    return f", sync p50 {found.sync_p50_ms:.2f} ms, p99 {found.sync_p99_ms:.2f} ms"


def _size(rss_bytes: int | None) -> str:
    return "not known" if rss_bytes is None else f"{rss_bytes / 1e6:.0f} MB"


def print_readers(readers: tuple[wire.ReaderView, ...]) -> None:
    """Who is connected, and how far."""
    rows = [(one.name, str(one.cursor), str(one.covered), str(one.lag), str(one.unsent)) for one in readers]
    text.print_table(READER_COLUMNS, rows)


def print_peers(peers: tuple[wire.PeerView, ...]) -> None:
    text.print_table(
        PEER_COLUMNS,
        [
            (
                peer.name,
                (peer.status if peer.connected else "away") + (f": {peer.detail}" if peer.detail else ""),
                ACTIVITY[peer.activity] if peer.connected else "",
                "" if peer.silent_s is None else f"{peer.silent_s} s",
                str(peer.unread),
                " ".join(peer.claims),
                peer.project or "",
                peer.cwd,
            )
            for peer in peers
        ],
    )


def ask_for_sessions(control: Control) -> wire.SessionList:
    """The sessions of Claude Code that have not joined; not known where the hub cannot say."""
    try:
        return control.ask(wire.Sessions(id=new_id()), wire.SessionList)
    except Failure as failure:
        return wire.SessionList(id="", problem=failure.message)


def _unjoined_json(found: wire.SessionList) -> dict[str, object]:
    unjoined = None if found.unjoined is None else [wire.complete(session) for session in found.unjoined]
    return {"unjoined": unjoined, "unjoinedProblem": found.problem}


def _print_unjoined(found: wire.SessionList) -> None:
    if found.unjoined is None:
        text.echo()
        text.echo(text.styled("not joined  ", bold=True), text.plain(f"not known: {found.problem}"))
    elif found.unjoined:
        text.echo()
        rows = [(one.name, ACTIVITY.get(one.status, "unknown"), one.cwd) for one in found.unjoined]
        text.print_table(UNJOINED_COLUMNS, rows)
        for remedy in dict.fromkeys(one.remedy for one in found.unjoined):
            text.echo(text.plain(f"To have a session join: {remedy}"))


@click.command()
@json_option
@click.pass_obj
def peers(home: str | None, as_json: bool) -> None:
    """List the agents.

    Those that are away are listed, too: what is sent to them waits for them. So are sessions of Claude Code that have
    not joined, with what to do about it. Starts the hub if none runs.

    \b
    Examples:
      crosschat peers
      crosschat peers --json | jq -r '.peers[].name'

    Exit status: 0 done, 2 wrong option or environment, 3 no hub can be started.
    """
    with running_hub(configuration(home)) as control:
        answer = control.ask(wire.Peers(id=new_id()), wire.PeerList)
        sessions = ask_for_sessions(control)
    if as_json:
        text.echo_json({"peers": [wire.complete(peer) for peer in answer.peers], **_unjoined_json(sessions)})
        return
    if answer.peers:
        print_peers(answer.peers)
    else:
        text.echo("no agent has come yet: a session with `crosschat serve` as its MCP server is one")
    _print_unjoined(sessions)
