"""The README is true: its commands, variables, tools, limits and make targets are those of the program."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any, cast

import click
import pytest

from crosschat import limits, paths
from crosschat.bridge.tools import TOOLS
from crosschat.cli.main import EVERYDAY, cli

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def rows(heading: str) -> dict[str, list[str]]:
    """The table below a heading, by the code in its first column."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    cells = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in section.splitlines()
        if line[:3] == "| `"
    ]
    return {row[0].strip("`"): row[1:] for row in cells}


def test_every_command_is_in_the_table_and_nothing_else() -> None:
    assert set(rows("Command line")) == {f"crosschat {name}" for name in EVERYDAY}


def test_every_command_line_in_the_readme_exists() -> None:
    context = click.Context(cli)
    shown = re.findall(r"crosschat (?:--home DIR )?([a-z]+)(?: (release|reopen))?", README)
    assert len(shown) > 15
    for name, subcommand in shown:
        found = cli.get_command(context, name)
        assert found is not None, name
        if subcommand:
            assert isinstance(found, click.Group)
            assert subcommand in found.commands


@pytest.mark.parametrize("name", EVERYDAY)
def test_options_named_for_a_command_exist(name: str) -> None:
    found = cli.get_command(click.Context(cli), name)
    assert found is not None
    known = {option for parameter in found.params for option in parameter.opts}
    named = re.findall(r"`(-[-a-z]*\w)`", rows("Command line")[f"crosschat {name}"][0])
    assert set(named) <= known
    assert "--json" in known


def test_the_configurations_for_other_clients_are_three_lines_that_start_the_server() -> None:
    section = README.split("\n### Other MCP clients\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```(toml|json)\n(.*?)```", section, re.DOTALL)
    assert [kind for kind, _ in blocks] == ["toml", "json"]
    for kind, block in blocks:
        assert len(block.splitlines()) == 3
        servers = tomllib.loads(block)["mcp_servers"] if kind == "toml" else json.loads(block)["mcpServers"]
        assert servers == {"crosschat": {"command": "crosschat", "args": ["serve"]}}
    assert cli.get_command(click.Context(cli), "serve") is not None


def test_the_variables_are_exactly_those_that_are_read() -> None:
    read = set(re.findall(r'"(CROSSCHAT_[A-Z_]+)"', Path(paths.__file__).read_text()))
    assert set(rows("Environment variables")) == read


def test_the_tools_are_exactly_those_that_are_served_with_their_parameters() -> None:
    table = rows("The ten tools")
    assert set(table) == {tool.name for tool in TOOLS}
    assert len(TOOLS) == 10
    for tool in TOOLS:
        schema = cast("dict[str, Any]", tool.schema)
        expected = {name if name in schema.get("required", []) else f"{name}?" for name in schema.get("properties", {})}
        assert set(re.findall(r"`([^`]+)`", table[tool.name][0])) == expected


def test_the_limits_are_those_of_the_program() -> None:
    quotas = limits.Quotas()
    section = " ".join(README.split("\n## Limits\n")[1].split("\n## ")[0].split())
    for words in (
        f"{limits.CONTENT_BYTES // 1024} KiB",
        f"{limits.METADATA_BYTES // 1024} KiB",
        f"{quotas.messages_per_s:g} messages a second",
        f"{quotas.messages_burst} in a burst",
        f"{quotas.agents} sessions",
    ):
        assert words in section
    assert limits.WAIT_MAX_MS == 10 * 60 * 1000
    assert limits.LEASE_GRACE_S == 10 * 60
    assert limits.IDLE_STOP_S == 5 * 60
    assert "five minutes after nobody needs it" in README


def test_make_targets_in_the_readme_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"make ([a-z]+)\b", README))
    assert {"demo", "test", "run"} <= named <= targets
