"""The plugin for Claude Code: its files, made from the templates that are shipped, with what is recorded in them.

A template has `@WORD@` where a value goes in: as a JSON value in a `.json` file, as one quoted word in a shell script.
Nothing is read from the machine but the templates, so the same version, interpreter and data directory always give
the same bytes.
"""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING, Final

import attrs

from crosschat.cli.failure import FAILED, USAGE, Failure
from crosschat.paths import Home, read_environment, resource

if TYPE_CHECKING:
    from pathlib import Path


NAME: Final = "crosschat"
SERVER: Final = "hub"
TOOL_PREFIX: Final = f"mcp__plugin_{NAME}_{SERVER}__"  # how Claude Code names the tools of a plugin's server
TEMPLATES: Final = (".claude-plugin/plugin.json", ".mcp.json", "SKILL.md", "hooks/hooks.json", "hooks/session.sh")
SESSION_HOOK: Final = "session.py"  # shipped with the hooks, and run by session.sh


@attrs.frozen
class File:
    path: str  # below the plugin's folder, with slashes
    content: bytes

    @property
    def mode(self) -> int:
        return 0o755 if self.path.endswith(".sh") else 0o644


@attrs.frozen(kw_only=True)
class Program:
    """How a session starts CrossChat."""

    python: str  # absolute; the one the package is installed for
    options: tuple[str, ...]  # of the interpreter
    home: Home

    @property
    def arguments(self) -> list[str]:
        return [*self.options, "-m", "crosschat", "serve"]

    @property
    def environment(self) -> dict[str, str]:
        """What the session's process must be told about the data directory: nothing, if it is the usual one."""
        usual = read_environment({}).home
        told = {} if self.home.root == usual.root else {"CROSSCHAT_HOME": str(self.home.root)}
        if self.home.run_override is not None:
            told["CROSSCHAT_HUB_URL"] = f"unix:{self.home.run_override}"
        return told


def plugin_files(program: Program, version: str) -> tuple[File, ...]:
    """All files of the plugin, in the order of their paths. Raises Failure where one cannot be made."""
    values: dict[str, object] = {
        "VERSION": version,
        "PYTHON": program.python,
        "ARGUMENTS": program.arguments,
        "ENVIRONMENT": program.environment,
        "SOCKET": str(program.home.control_socket),
    }
    for value in (program.python, *program.environment.values()):
        _check_path(value)
    templates, hooks = resource("plugin"), resource("hooks")
    made = [File(name, _fill(name, _read(templates, name), values)) for name in TEMPLATES]
    if hooks is not None and (hooks / SESSION_HOOK).is_file():
        made.append(File(f"hooks/{SESSION_HOOK}", _read(hooks, SESSION_HOOK)))
    return tuple(sorted(made, key=lambda file: file.path))


def stable_hooks(home: Home) -> Path:
    """Where a hook goes that settings name by its path, which no change of the plugin may move."""
    return home.root / "hooks"


def _check_path(path: str) -> None:
    """Claude Code replaces `${NAME}` in what it starts, and a line of its own would end a shell's comment or word."""
    if "${" in path or not path.isprintable():
        raise Failure(
            f"the path {path!r} cannot be written into a plugin: use one without '${{' and control bytes", USAGE
        )


def _read(directory: Path | None, name: str) -> bytes:
    try:
        if directory is not None:
            return (directory / name).read_bytes()
    except OSError:
        pass
    raise Failure(f"the file {name} of the plugin is missing: install the package again", FAILED)


def _fill(name: str, template: bytes, values: dict[str, object]) -> bytes:
    def value(found: re.Match[str]) -> str:
        chosen = values[found[1]]
        return shlex.quote(str(chosen)) if name.endswith(".sh") else json.dumps(chosen, ensure_ascii=False)

    return re.sub(r"@([A-Z]+)@", value, template.decode()).encode()
