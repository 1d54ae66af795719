"""The ask-list: for which tool calls a session asks the person although its mode would not. Pure.

A rule is written as in Claude Code: a tool, or a tool with what it is used for in parentheses.

    Bash(git push:*)              commands that begin so, also behind `&&`, `sudo`, `env` and the like
    Bash(make deploy)             this command
    WebFetch(domain:example.com)  pages of this host and those below it
    Edit(/etc/**)                 files; also Write and NotebookEdit. `**` crosses directories, `~` is the home
    mcp__github, mcp__github__merge_pull_request    a server, or one tool of it

The hook of a session tests for a file of the tool's group before it starts anything, so each group has a file of its
own, with a rule a line, and none while it has no rules. It brings questions before the person; it is no sandbox: what
hides a command from the rule (a script, an alias, `eval`) is not asked about.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from crosschat.errors import Code, Refused

if TYPE_CHECKING:
    from collections.abc import Iterable

GROUPS: Final = {
    "Bash": "shell",
    "WebFetch": "web",
    "WebSearch": "web",
    "Edit": "files",
    "Write": "files",
    "NotebookEdit": "files",
}
MCP: Final = "mcp"
PRESETS: Final[dict[str, tuple[str, ...]]] = {
    "push": (
        "Bash(git push:*)", "Bash(gh pr merge:*)", "Bash(gh release create:*)", "Bash(npm publish:*)",
        "Bash(cargo publish:*)", "Bash(twine upload:*)", "Bash(docker push:*)",
    ),
    "delete": (
        "Bash(rm:*)", "Bash(rmdir:*)", "Bash(shred:*)", "Bash(unlink:*)", "Bash(git clean:*)",
        "Bash(git reset --hard:*)", "Bash(git branch -D:*)", "Bash(find * -delete:*)", "Bash(dd:*)",
    ),
    "network": (
        "Bash(curl:*)", "Bash(wget:*)", "Bash(ssh:*)", "Bash(scp:*)", "Bash(sftp:*)", "Bash(rsync:*)", "Bash(nc:*)",
        "WebFetch",
    ),
}  # fmt: skip
RULES: Final = 200
RULE_CHARS: Final = 300
_RULE: Final = re.compile(r"([A-Za-z][A-Za-z0-9_.-]*)(?:\((.+)\))?")


def group_of(rule: str) -> str:
    """The group whose file has the rule. Raises Refused for what is no rule."""
    found = _RULE.fullmatch(rule)
    if found is None or len(rule) > RULE_CHARS or not rule.isprintable():
        raise _no_rule(rule, "write it as Claude Code does, such as 'Bash(git push:*)'")
    tool, use = found.groups()
    if tool.startswith("mcp__"):
        if use is not None:
            raise _no_rule(rule, "a rule for an MCP tool has nothing in parentheses")
        return MCP
    if tool not in GROUPS:
        raise _no_rule(rule, f"the tools that can be asked about are {', '.join(GROUPS)} and mcp__…")
    if tool == "WebSearch" and use is not None:
        raise _no_rule(rule, "a rule for WebSearch has nothing in parentheses")
    if tool == "WebFetch" and use is not None and not re.fullmatch(r"domain:[\w.-]+", use):
        raise _no_rule(rule, "write WebFetch(domain:example.com), or WebFetch for every page")
    return GROUPS[tool]


def _no_rule(rule: str, remedy: str) -> Refused:
    return Refused(Code.INVALID, f"{rule[:80]!r} is no rule: {remedy}.", path="rule")


def with_rule(rules: tuple[str, ...], rule: str) -> tuple[str, ...]:
    """The list with the rule; unchanged if it is there. Raises Refused."""
    group_of(rule)
    if rule in rules:
        return rules
    if len(rules) >= RULES:
        raise Refused(Code.CONFLICT, f"There are {RULES} rules, which is the limit. Remove one first.", path="rule")
    return (*rules, rule)


def without_rule(rules: tuple[str, ...], rule: str) -> tuple[str, ...]:
    """The list without it. Raises Refused if it is not there."""
    if rule not in rules:
        raise Refused(Code.NOT_FOUND, f"{rule[:80]!r} is not in the list: see `crosschat ask list`.", path="rule")
    return tuple(one for one in rules if one != rule)


def kept(stored: object) -> tuple[str, ...]:
    """The rules among what was stored; what is none is left out."""
    found: tuple[str, ...] = ()
    for one in stored if isinstance(stored, list) else []:
        try:
            found = with_rule(found, str(one))
        except Refused:
            continue
    return found


def files_for(rules: Iterable[str]) -> dict[str, bytes]:
    """The content of each group's file, by its name; groups without rules have none."""
    lines: dict[str, list[str]] = {}
    for rule in rules:
        lines.setdefault(group_of(rule), []).append(f"{rule}\n")
    return {group: "".join(found).encode() for group, found in lines.items()}
