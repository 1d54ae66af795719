"""The help tells the truth and is quick: the table of commands, examples, exit statuses, and what is imported."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from crosschat.cli import main as main_module
from crosschat.cli.main import EVERYDAY, HIDDEN, cli

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result

CLI = Path(main_module.__file__).parent
HEAVY = {"rich", "trio", "mcp", "cattrs", "anyio", "structlog", "hypercorn", "quart_trio"}


def command(name: str) -> click.Command:
    found = cli.get_command(click.Context(cli), name)
    assert found is not None
    return found


def imported_by(*arguments: str) -> set[str]:
    """Top-level and crosschat modules that a new interpreter imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments], capture_output=True, text=True, timeout=60, check=True
    )
    names = re.findall(r"^import time:.*\|\s+([\w.]+)$", done.stderr, re.MULTILINE)
    return {name if name.startswith("crosschat") else name.split(".")[0] for name in names}


@pytest.mark.parametrize("name", [*EVERYDAY, *HIDDEN])
def test_the_table_of_commands_repeats_the_first_line_of_their_help(name: str) -> None:
    summary = {**EVERYDAY, **HIDDEN}[name][1]
    assert command(name).get_short_help_str(limit=200) == summary


@pytest.mark.parametrize("name", EVERYDAY)
def test_every_command_shows_examples_and_exit_statuses(run: Callable[..., Result], name: str) -> None:
    shown = run(name, "--help")
    assert shown.exit_code == 0
    assert f"crosschat {name}" in shown.output.partition("Examples:")[2]
    assert "Exit status: 0" in shown.output
    assert "--json" in shown.output


@pytest.mark.parametrize("name", ["release", "reopen"])
def test_subcommands_of_tasks_show_an_example(run: Callable[..., Result], name: str) -> None:
    shown = run("tasks", name, "--help")
    assert shown.exit_code == 0
    assert f"crosschat tasks {name} " in shown.output.partition("Example:")[2]


def test_the_help_lists_every_everyday_command_and_not_serve(run: Callable[..., Result]) -> None:
    shown = run("--help")
    assert shown.exit_code == 0
    listed = re.findall(r"^  (\w+)  +\w", shown.output.partition("Commands:")[2], re.MULTILINE)
    assert set(EVERYDAY) <= set(listed)
    assert "serve" not in listed
    assert run("serve", "--help").exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["frobnicate"], ["start", "--frob"], ["start", "--port", "0"], ["start", "--port", "x"], ["send"], ["--home"],
        ["tail", "-n", "-1"], ["tasks", "release"], ["tasks", "--open", "--all"], ["peers", "extra"],
        ["send", "x", "--importance", "huge"], ["logs", "-n", "x"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_wrong_command_line_ends_with_status_2_and_a_sentence(
    run: Callable[..., Result], arguments: list[str]
) -> None:
    shown = run(*arguments)
    assert shown.exit_code == 2
    assert shown.stdout == ""
    assert "Error: " in shown.stderr
    assert isinstance(shown.exception, SystemExit)


def test_the_version_is_that_of_the_installed_package(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: {"crosschat-hub": "9.8.7"}[name])
    assert run("--version").output == "crosschat 9.8.7\n"


def test_the_help_imports_nothing_heavy() -> None:
    found = imported_by("-m", "crosschat", "--help")
    assert "click" in found
    assert not found & HEAVY


def test_status_imports_no_mcp_and_no_server() -> None:
    found = imported_by("-c", "import crosschat.cli.status, crosschat.cli.text; crosschat.cli.text.console()")
    assert "rich" in found
    assert not found & (HEAVY - {"rich", "cattrs", "trio"})


def test_no_command_imports_the_hubs_side() -> None:
    modules = ", ".join(f"crosschat.cli.{path.stem}" for path in CLI.glob("*.py") if path.stem != "__init__")
    found = imported_by("-c", f"import {modules}")
    assert "crosschat.cli.demo_story" in found
    upward = {name for name in found if re.match(r"crosschat\.(hub|core|journal)\b", name)}
    assert not upward
    assert {name for name in found if name.startswith("crosschat.bridge.")} == {"crosschat.bridge.launch"}


def test_ctrl_c_ends_with_status_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(_: click.Context) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(main_module.cli, "invoke", interrupted)
    monkeypatch.setattr(sys, "argv", ["crosschat", "status"])
    with pytest.raises(SystemExit) as ended:
        main_module.main()
    assert ended.value.code == 130
    assert capsys.readouterr().out == ""


def test_a_reader_that_leaves_early_is_no_traceback() -> None:
    script = "import sys; sys.argv[1:] = ['--help']; from crosschat.cli.main import main; input(); main()"
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, said = process.communicate(b"\n", timeout=60)
    assert b"Traceback" not in said
    assert process.returncode in (0, 1)
