"""The plugin for Claude Code: its files, made from the templates that are shipped, with what is recorded in them.

A template has `@WORD@` where a value goes in: as a JSON value in a `.json` file, as one quoted word in a shell script.
Nothing is read from the machine but the templates, so the same version, interpreter and data directory always give
the same bytes.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from typing import Final

import attrs

from crosschat.cli.failure import FAILED, USAGE, Failure
from crosschat.paths import Home, read_environment, resource

NAME: Final = "crosschat"
SERVER: Final = "hub"
TOOL_PREFIX: Final = f"mcp__plugin_{NAME}_{SERVER}__"  # how Claude Code names the tools of a plugin's server
SKILL: Final = "SKILL.md"
REGISTERED: Final = "hooks/hooks.json"
TEMPLATES: Final = (".claude-plugin/plugin.json", ".mcp.json", SKILL, REGISTERED)
SCRIPTS: Final = ("*.sh", "*.py")  # of the plugin's templates and of the shipped hooks
LEFT_OVER: Final = (
    f"removing it\n(`claude mcp remove -s user {NAME}`, its entries in `~/.claude/settings.json`, "
    "`${CLAUDE_SKILL_DIR}`)"
)
LAUNCHER: Final = Path(__file__).parents[1] / "bridge" / "launcher.py"


@attrs.frozen
class File:
    path: str  # below the folder it goes to, with slashes
    content: bytes
    private: bool = False

    @property
    def mode(self) -> int:
        return (0o700 if self.private else 0o755) & (0o777 if self.path.endswith(".sh") else 0o666)


@attrs.frozen(kw_only=True)
class Program:
    """How a session starts CrossChat."""

    python: str  # absolute; the one the package is installed for
    options: tuple[str, ...]  # of the interpreter
    home: Home

    @property
    def plain(self) -> list[str]:
        return [*self.options, "-m", "crosschat", "serve"]

    @property
    def arguments(self) -> list[str]:
        """By way of the launcher, which needs no module that is not built in and finds the way without the template."""
        if sys.platform != "linux":  # elsewhere a fork of a process with so many libraries is not known to be safe
            return self.plain
        template = str(self.home.template_socket)
        return ["-I", "-S", str(LAUNCHER), template, self.python, *self.plain, "--template"]

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
    values = _values(program, version)
    templates = resource("plugin")
    made = [File(name, _fill(name, _read(templates, name), values)) for name in TEMPLATES]
    scripts = [File(f"hooks/{name}", content) for name, content in _scripts(values).items()]
    return tuple(sorted((*made, *scripts), key=lambda file: file.path))


def stable_files(program: Program, version: str) -> tuple[File, ...]:
    """The scripts of the hooks for the data directory, where they stay (`Home.hooks`)."""
    return tuple(File(name, content, private=True) for name, content in _scripts(_values(program, version)).items())


def skill_without_plugin(skill: bytes, prefix: str) -> bytes:
    """The text of `/crosschat` for a client that has tools and hooks in its settings."""
    text = skill.decode().replace(TOOL_PREFIX, prefix)
    return re.sub(r"removing\s`\$\{CLAUDE_SKILL_DIR\}`", LEFT_OVER, text).encode()


def _values(program: Program, version: str) -> dict[str, object]:
    for value in (program.python, *program.environment.values()):
        _check_path(value)
    return {
        "VERSION": version,
        "PYTHON": program.python,
        "ARGUMENTS": program.arguments,
        "ENVIRONMENT": program.environment,
        "SOCKET": str(program.home.control_socket),
        "WATCH": str(program.home.watch),
        "ASK": str(program.home.ask),
    }


def _scripts(values: dict[str, object]) -> dict[str, bytes]:
    """Every script that is shipped, by name. Raises Failure if one that `hooks.json` names is missing."""
    templates, hooks = resource("plugin"), resource("hooks")
    places = [place for place in (templates and templates / "hooks", hooks) if place is not None]
    paths = {path.name: path for place in places for kind in SCRIPTS for path in sorted(place.glob(kind))}
    for name in re.findall(r"\$\{CLAUDE_PLUGIN_ROOT\}/hooks/([\w.-]+)", _read(templates, REGISTERED).decode()):
        if name not in paths:
            raise _missing(name)
    read = {name: _read(path.parent, name) for name, path in sorted(paths.items())}
    return {name: _fill(name, content, values) if name.endswith(".sh") else content for name, content in read.items()}


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
    raise _missing(name)


def _missing(name: str) -> Failure:
    return Failure(f"the file {name} of the plugin is missing: install the package again", FAILED)


def _fill(name: str, template: bytes, values: dict[str, object]) -> bytes:
    def value(found: re.Match[str]) -> str:
        chosen = values[found[1]]
        return shlex.quote(str(chosen)) if name.endswith(".sh") else json.dumps(chosen, ensure_ascii=False)

    return re.sub(r"@([A-Z]+)@", value, template.decode()).encode()
