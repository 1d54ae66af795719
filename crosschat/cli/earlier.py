"""An earlier CrossChat in Claude Code's settings: found and shown, so that exactly that can be replaced on request.

Looked for are the MCP server `crosschat` of the user (the npm package's, or one that starts `crosschat serve` by hand:
with the plugin beside it a session would join twice), hooks that run the npm package's scripts, and the command file.
A file that is not strict JSON is reported and left alone.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Final

import attrs

from crosschat.cli import json_file
from crosschat.cli.failure import FAILED, Failure
from crosschat.cli.json_file import JsonFile, NotUsable
from crosschat.cli.json_text import Key
from crosschat.cli.placement import dated

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from crosschat.cli.json_text import Json
    from crosschat.cli.record import Entry

NAME: Final = "crosschat"
NODE_PROGRAMS: Final = frozenset({"node", "nodejs", "npx", "npm", "bun", "bunx", "pnpm", "pnpx", "yarn", "deno", "tsx"})
NODE_SUFFIXES: Final = (".js", ".mjs", ".cjs", ".ts")


@attrs.frozen
class Found:
    what: str  # for people
    file: Path
    member: tuple[Key, ...] = ()  # empty: the whole file

    @property
    def where(self) -> str:
        return f"{self.file}: {'.'.join(map(str, self.member))}" if self.member else str(self.file)


@attrs.frozen
class Findings:
    """`read` has the JSON files as they were when they were looked into, `unread` those that could not be."""

    found: tuple[Found, ...]
    read: dict[Path, JsonFile]
    unread: dict[Path, NotUsable]

    def file(self, path: Path) -> JsonFile:
        """Raises NotUsable."""
        if path in self.unread:
            raise self.unread[path]
        return self.read[path]

    def members(self, path: Path) -> list[tuple[Key, ...]]:
        """What was found in that JSON file."""
        return [one.member for one in self.found if one.file == path and one.member]


@attrs.frozen
class ClientFiles:
    """Where Claude Code keeps what is the user's."""

    directory: Path  # ~/.claude
    state: Path  # ~/.claude.json

    @property
    def settings(self) -> Path:
        return self.directory / "settings.json"

    @property
    def command(self) -> Path:
        return self.directory / "commands" / f"{NAME}.md"

    @property
    def plugin(self) -> Path:
        return self.directory / "skills" / NAME


def client_files() -> ClientFiles:
    """As Claude Code finds them: CLAUDE_CONFIG_DIR moves both. Raises Failure without a home directory."""
    if moved := os.environ.get("CLAUDE_CONFIG_DIR"):
        directory = Path(os.path.abspath(os.path.expanduser(moved)))
        return ClientFiles(directory, directory / ".claude.json")
    try:
        home = Path.home()
    except RuntimeError:
        raise Failure("there is no home directory: set HOME", FAILED) from None
    return ClientFiles(home / ".claude", home / ".claude.json")


def look(files: ClientFiles, ours: Iterable[Entry] = ()) -> Findings:
    """What is there of an earlier CrossChat, beside what is recorded as `ours`. Changes nothing."""
    found: list[Found] = []
    read: dict[Path, JsonFile] = {}
    unread: dict[Path, NotUsable] = {}
    known = {(entry.file, (*entry.holder, entry.key)) for entry in ours}
    for path, search in ((files.state, _servers), (files.settings, _hooks)):
        try:
            read[path] = json_file.read(path)
        except NotUsable as problem:
            unread[path] = problem
            continue
        found += [
            Found(what, path, member) for what, member in search(read[path].value) if (str(path), member) not in known
        ]
    if files.command.is_file():
        found.append(Found("the command file of an earlier CrossChat", files.command))
    return Findings(tuple(found), read, unread)


def _servers(settings: Json) -> Iterator[tuple[str, tuple[Key, ...]]]:
    entry = _get(settings, "mcpServers", NAME)
    if not isinstance(entry, dict):
        return
    words = [word for word in (entry.get("command"), *_list(entry.get("args"))) if isinstance(word, str)]
    if _is_npm(words):
        yield "the MCP server of the npm CrossChat", ("mcpServers", NAME)
    elif "serve" in words and any(PurePath(word).name == NAME for word in words):
        yield "an MCP server that starts `crosschat serve`", ("mcpServers", NAME)


def _hooks(settings: Json) -> Iterator[tuple[str, tuple[Key, ...]]]:
    """Single hooks, or the whole group of a matcher if nothing else is in it."""
    events = _get(settings, "hooks")
    for event, groups in events.items() if isinstance(events, dict) else ():
        for place, group in enumerate(_list(groups)):
            hooks = _list(_get(group, "hooks"))
            ours = [index for index, hook in enumerate(hooks) if _is_npm_hook(hook)]
            what = f"a {event} hook of the npm CrossChat"
            if ours and len(ours) == len(hooks):
                yield what, ("hooks", event, place)
            else:
                yield from ((what, ("hooks", event, place, "hooks", index)) for index in ours)


def _is_npm_hook(hook: Json) -> bool:
    command = _get(hook, "command")
    if not isinstance(command, str):
        return False
    try:
        words = shlex.split(command)
    except ValueError:
        words = command.split()
    return _is_npm([*words, *(word for word in _list(_get(hook, "args")) if isinstance(word, str))])


def _is_npm(words: list[str]) -> bool:
    """Whether a command runs CrossChat with Node: one word names the one, and one the other."""
    names = [PurePath(word).name.lower() for word in words]
    node = any(name in NODE_PROGRAMS or name.endswith(NODE_SUFFIXES) for name in names)
    return node and any(NAME in word.lower() for word in words)


def _get(value: Json, *keys: str) -> Json:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def set_aside(found: Iterable[Found]) -> list[Path]:
    """Rename the whole files among these; returns the copies that are so kept. Raises OSError."""
    return [one.file.rename(dated(one.file)) for one in found if not one.member]
