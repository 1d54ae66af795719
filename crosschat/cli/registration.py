"""What a client that loads no plugin from its folder gets in its settings instead: hooks, allow rules, the MCP server.

Each value of ours is an `Entry`: an item of an array, or a member of an object, in a file of the user's. An entry that
is there already is the user's own and stays theirs; what is put in is recorded first (in the list that `placement`
keeps), so that an attempt that was cut short can be completed, and taken away as exactly. Taken away is what is still
equal to what was put in, and an array, object or file that was made for it, if it is empty then.

The server goes into the client's state by the client's own `claude mcp add`.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from crosschat.cli import json_file
from crosschat.cli.failure import FAILED, Failure
from crosschat.cli.json_text import Draft, Json, Key
from crosschat.cli.plugin import TOOL_PREFIX as PLUGIN_PREFIX
from crosschat.cli.record import Container, Entry, Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

NAME: Final = "crosschat"
TOOL_PREFIX: Final = f"mcp__{NAME}__"  # how Claude Code names the tools of a server in its settings
# A client ignores the whole file if it does not know the name of one event in it; these are old enough.
EVENTS: Final = frozenset(
    {
        "PreToolUse", "PostToolUse", "Notification", "UserPromptSubmit", "Stop", "SubagentStop", "PreCompact",
        "SessionStart", "SessionEnd", "PermissionRequest",
    }
)  # fmt: skip
SERVER: Final = ("mcpServers", NAME)
ADD_DEADLINE_S: Final = 60.0
WAITS: Final[Json] = ["wait"]  # the arguments of a hook that does nothing but wait
HOOK_S: Final = 5


def settings_entries(settings: Path, hooks: Json, scripts: Path) -> tuple[Entry, ...]:
    """The plugin's hooks, in the shell form that older clients know, and a rule for each tool by its exact name, in the
    place of the hook that allows them."""
    matchers = [str(group.get("matcher")) for group in hooks["hooks"]["PreToolUse"]]
    (tools,) = [found[1] for matcher in matchers if (found := re.fullmatch(r"\^mcp__\w+__\(\?:([\w|]+)\)\$", matcher))]
    rules = [TOOL_PREFIX + tool for tool in tools.split("|")]
    entries = [Entry(str(settings), ("permissions", "allow"), None, rule) for rule in rules]
    for event, groups in hooks["hooks"].items():
        for group in groups:
            registered = [
                _in_shell(_at_once(hook), scripts)
                for hook in group["hooks"]
                if "CLAUDE_PLUGIN_ROOT" in hook["command"] and hook.get("args") != WAITS
            ]
            if event in EVENTS and registered:
                entries.append(Entry(str(settings), ("hooks", event), None, {**_group(group), "hooks": registered}))
    return tuple(entries)


def _group(group: dict[str, Json]) -> dict[str, Json]:
    """Its matcher names our tools as they are called here, also behind a `mcp__(?!`."""
    if "matcher" not in group:
        return group
    theirs, here = (prefix.removeprefix("mcp__") for prefix in (PLUGIN_PREFIX, TOOL_PREFIX))
    return {**group, "matcher": group["matcher"].replace(theirs, here)}


def _at_once(hook: dict[str, Json]) -> dict[str, Json]:
    """A hook that may wait in the background, as one that does not: an older client might stand still with it."""
    if not hook.get("asyncRewake"):
        return hook
    kept = {name: value for name, value in hook.items() if name not in ("async", "asyncRewake")}
    return {**kept, "args": [*hook["args"], "now"], "timeout": HOOK_S}


def _in_shell(hook: dict[str, Json], scripts: Path) -> dict[str, Json]:
    """A command that says nothing and succeeds when its script is gone."""
    named = re.sub(r"\$\{CLAUDE_PLUGIN_ROOT\}/hooks/([\w.-]+)", lambda found: str(scripts / found[1]), hook["command"])
    if "args" not in hook:
        return {**hook, "command": named}
    script = shlex.quote(named)
    words = " ".join([script, *map(shlex.quote, hook["args"])])
    kept = {name: value for name, value in hook.items() if name != "args"}
    return {**kept, "command": f"if [ -x {script} ]; then exec {words}; fi"}


def server_entry(state: Path, command: str, arguments: Sequence[str], environment: Mapping[str, str]) -> Entry:
    """As `claude mcp add` writes it."""
    value = {"type": "stdio", "command": command, "args": list(arguments), "env": dict(environment)}
    return Entry(str(state), SERVER[:1], SERVER[1], value)


@attrs.frozen(kw_only=True)
class Change:
    """What happens to one file: `gone` and `new` are entries, `made` the containers of the new ones. `changed`: what
    was put in and is not as it was; it stays. `created`: the file was made for the entries, and none is left."""

    file: json_file.JsonFile
    draft: Draft
    gone: tuple[Entry, ...]
    new: tuple[Entry, ...]
    made: tuple[Container, ...]
    changed: tuple[Entry, ...]
    created: bool


def plan(
    file: json_file.JsonFile,
    wanted: Sequence[Entry],
    record: Record,
    *,
    without: Sequence[tuple[Key, ...]] = (),
    by_client: bool = False,
) -> Change:
    """Bring the entries of a file from what is recorded to what is `wanted`, and take out the members `without`, which
    are there and another's. With `by_client`, what is new is left for the client to put in. Changes nothing yet.
    Raises Failure."""
    draft, path = file.draft(), str(file.path)
    if not isinstance(draft.value, dict):
        raise json_file.NotUsable(f"{path} is not a JSON object: it is left as it is, correct it by hand", FAILED)
    containers = [one.place for one in record.containers if one.file == path]
    obsolete = [entry for entry in record.entries if entry.file == path and entry not in wanted]
    gone = {place: entry for entry in obsolete if (place := _place(draft, entry)) is not None}
    changed = [entry for entry in obsolete if entry not in gone.values() and _member(draft, entry) is not None]
    draft.remove([*without, *gone])
    if not wanted:
        _remove_empty(draft, containers)
    new = [entry for entry in wanted if _place(draft, entry) is None]
    made: list[Container] = []
    for entry in new:
        if _member(draft, entry) is not None:
            raise Failure(f"{entry.where} is there and another's: rename it or take it out, then try again", FAILED)
        if not by_client:
            made += [Container(path, place) for place in _put_in(draft, entry)]
    if new and file.content is None and not by_client:
        made.append(Container(path, ()))
    return Change(
        file=file, draft=draft, gone=tuple(gone.values()), new=tuple(new), made=tuple(made), changed=tuple(changed),
        created=() in containers and draft.value == {} and file.content is not None,
    )  # fmt: skip


def recorded(change: Change, wanted: Sequence[Entry], record: Record) -> Record:
    """What is to be recorded once the change is made."""
    path = str(change.file.path)
    entries = [one for one in record.entries if one.file != path or one in wanted]
    containers = [one for one in record.containers if one.file != path or wanted]
    return Record((*entries, *change.new), tuple(dict.fromkeys((*containers, *change.made))))


def carry_out(change: Change) -> list[Path]:
    """The copy that was kept, if one was. Raises Failure, OSError, and then the file is as it was."""
    if change.created:
        change.file.path.unlink()
    elif change.draft.value != change.file.value and (copy := json_file.replace(change.file, change.draft)):
        return [copy]
    return []


def take_away(record: Record) -> tuple[list[Path], list[str]]:
    """Take everything out again; the copies that were kept, and what could not be taken out and why."""
    kept: list[Path] = []
    problems: list[str] = []
    for name in dict.fromkeys(entry.file for entry in record.entries):
        try:
            change = plan(json_file.read(Path(name)), (), record)
            problems += [f"{entry.where} was changed since, and stays" for entry in change.changed]
            kept += carry_out(change)
        except Failure as failure:
            problems.append(failure.message)
    return kept, problems


def _place(draft: Draft, entry: Entry) -> tuple[Key, ...] | None:
    """Where the entry is, or None."""
    if entry.key is not None:
        return (*entry.holder, entry.key) if _member(draft, entry) == entry.value else None
    holder = draft.at(entry.holder)
    if not isinstance(holder, list) or entry.value not in holder:
        return None
    return (*entry.holder, holder.index(entry.value))


def _member(draft: Draft, entry: Entry) -> Json:
    """What is in the place of an entry that is a member of an object, its own value or another."""
    holder = draft.at(entry.holder)
    return holder.get(entry.key) if isinstance(holder, dict) and entry.key is not None else None


def _remove_empty(draft: Draft, places: Iterable[tuple[str, ...]]) -> None:
    for place in sorted(places, key=len, reverse=True):
        if place and draft.at(place) in ([], {}):
            draft.remove([place])


def _put_in(draft: Draft, entry: Entry) -> list[tuple[str, ...]]:
    """Put the entry in; the places of what had to be made for it. Raises Failure where something else is."""
    made: list[tuple[str, ...]] = []
    for depth, key in enumerate(entry.holder):
        place = entry.holder[: depth + 1]
        kind: type = list if depth + 1 == len(entry.holder) and entry.key is None else dict
        found = draft.at(place)
        if found is None and key not in draft.at(entry.holder[:depth]):
            draft.add(entry.holder[:depth], key, kind())
            made.append(place)
        elif not isinstance(found, kind):
            what = "an array" if kind is list else "an object"
            raise Failure(
                f"{entry.file}: {'.'.join(place)} is not {what}: it is left as it is, correct it by hand", FAILED
            )
    draft.add(entry.holder, entry.key, entry.value)
    return made


def add_server(program: str, entry: Entry) -> None:
    """Have the client add the server, which is not there yet. Raises Failure."""
    value = entry.value
    variables = [word for name, text in value["env"].items() for word in ("-e", f"{name}={text}")]
    command = [program, "mcp", "add", "-s", "user", NAME, *variables, "--", value["command"], *value["args"]]
    by_hand = shlex.join(["claude", *command[1:]])
    try:
        done = subprocess.run(
            command, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=ADD_DEADLINE_S,
            check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise Failure(f"`claude mcp add` cannot be run ({error}); by hand: {by_hand}", FAILED) from None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or "no reason given")[:300]
        raise Failure(f"`claude mcp add` failed: {said}", FAILED)
    if json_file.read(Path(entry.file)).draft().at(SERVER) != value:
        raise Failure(f"`claude mcp add` left another entry than expected in {entry.file}: look at it there", FAILED)
