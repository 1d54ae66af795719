"""What tests of `install` look at: a home as a value, and what the command said."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result

    Run = Callable[..., Result]


def tree(directory: Path) -> dict[str, object]:
    """Everything below a directory: content and mode of files, targets of links, and that a directory is there."""
    found: dict[str, object] = {}
    for path in directory.rglob("*"):
        name = str(path.relative_to(directory))
        if path.is_symlink():
            found[name] = path.readlink()
        elif path.is_dir():
            found[name] = "directory"
        else:
            found[name] = (path.read_bytes(), path.stat().st_mode & 0o777)
    return found


def done(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.output


def installed(run: Run, *options: str) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(done(run("install", "--json", *options)))
    return shown


def plain_way(server: dict[str, Any]) -> list[str]:
    """The interpreter's arguments without the launcher, which has its own before them."""
    if sys.platform != "linux":
        return list(server["args"])
    words: list[str] = server["args"]
    isolated, no_site, launcher, template, python, *arguments, last = words
    assert (isolated, no_site, python, last) == ("-I", "-S", server["command"], "--template")
    assert Path(launcher).is_file()
    assert template.endswith("/template.sock")
    return arguments
