"""A short home for the sockets, and an environment without settings of whoever runs the tests."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from crosschat.cli.main import cli
from crosschat.paths import Home

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("CLAUDE", "CROSSCHAT_")):
            monkeypatch.delenv(name)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """A data directory that does not exist yet; CROSSCHAT_HOME names it."""
    directory = Path(tempfile.mkdtemp(prefix="cc-"))
    monkeypatch.setenv("CROSSCHAT_HOME", str(directory / "h"))
    yield Home(Path(os.path.realpath(directory)) / "h")
    shutil.rmtree(directory)


@pytest.fixture
def run() -> Callable[..., Result]:
    """Run the command line in this process."""

    def invoke(*arguments: str, stdin: bytes | None = None) -> Result:
        return CliRunner().invoke(cli, arguments, input=stdin, prog_name="crosschat")

    return invoke


@pytest.fixture(params=["plain", "with space, 'quote' and $x"])
def user(request: pytest.FixtureRequest, place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without anything in it, and no client on the PATH."""
    directory = place / str(request.param)
    directory.mkdir()
    monkeypatch.setenv("HOME", str(directory))
    monkeypatch.setenv("PATH", str(place / "no-programs"))
    return directory


@pytest.fixture
def plugin(user: Path) -> Path:
    return user / ".claude" / "skills" / "crosschat"
