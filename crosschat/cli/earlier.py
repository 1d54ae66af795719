"""An earlier CrossChat in Claude Code's settings: found, shown, and on request replaced, and nothing beside it.

Looked for are the MCP server `crosschat` of the user (the npm package's, or one that starts `crosschat serve` by hand:
with the plugin beside it a session would join twice), hooks that run the npm package's scripts, and the command file.
A file that is not strict JSON is reported and left alone. An edited file keeps every other byte, and a dated copy.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Final

import attrs

from crosschat.cli import json_text
from crosschat.cli.failure import FAILED, Failure
from crosschat.cli.json_text import Key
from crosschat.cli.placement import dated, keep_copy, write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crosschat.cli.json_text import Json

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
    found: tuple[Found, ...]
    problems: tuple[str, ...]  # files that could not be looked into, and why


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


def look(files: ClientFiles) -> Findings:
    """What is there of an earlier CrossChat. Changes nothing."""
    found: list[Found] = []
    problems: list[str] = []
    for path, search in ((files.state, _servers), (files.settings, _hooks)):
        try:
            text = path.read_bytes().decode()
            found += [Found(what, path, member) for what, member in search(json_text.parse(text))]
        except FileNotFoundError:
            pass
        except UnicodeDecodeError:
            problems.append(f"{path} is not UTF-8 text, so it was not looked into and is left as it is")
        except json_text.NotStrict as error:
            problems.append(f"{path} is not strict JSON ({error}), so it was not looked into and is left as it is")
        except OSError as error:
            problems.append(f"{path} cannot be read ({error.strerror or error})")
    if files.command.is_file():
        found.append(Found("the command file of an earlier CrossChat", files.command))
    return Findings(tuple(found), tuple(problems))


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


def replace(found: tuple[Found, ...]) -> list[Path]:
    """Take away exactly what was found; returns the copies that were kept. Raises Failure, OSError."""
    kept: list[Path] = []
    for path in dict.fromkeys(one.file for one in found):
        members = [one.member for one in found if one.file == path and one.member]
        if members:
            kept.append(_cut(path, members))
        else:
            copy = dated(path)
            path.rename(copy)
            kept.append(copy)
    return kept


def _cut(path: Path, members: list[tuple[Key, ...]]) -> Path:
    target = Path(os.path.realpath(path))  # it may be a link into a directory of settings
    before = target.read_bytes()
    text = before.decode()
    expected = json_text.parse(text)
    for member in sorted(members, key=_later_first, reverse=True):
        text = json_text.without(text, member)
        holder = expected
        for key in member[:-1]:
            holder = holder[key]
        del holder[member[-1]]
    if json_text.parse(text) != expected:
        raise Failure(f"{path} could not be edited without a loss, and was left as it is: edit it by hand", FAILED)
    copy = keep_copy(target)
    if target.read_bytes() != before:
        copy.unlink()
        raise Failure(f"{path} was changed by another program meanwhile: try again", FAILED)
    write_atomically(target, text.encode(), target.stat().st_mode & 0o777)
    return copy


def _later_first(member: tuple[Key, ...]) -> tuple[tuple[str, int], ...]:
    """Indices after the one that is cut change: the later ones go first."""
    return tuple((key, 0) if isinstance(key, str) else ("", key) for key in member)
