"""Fixtures that several tiers share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.live.rig import HubProcess, short_directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="the long form of what is repeated: minutes, not seconds")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--long"):
        for item in items:
            item.add_marker(pytest.mark.timeout(3600))
        return
    left_out = [item for item in items if item.get_closest_marker("only_long")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture
def long_form(request: pytest.FixtureRequest) -> bool:
    """Whether whoever runs the tests has time for many more rounds."""
    return bool(request.config.getoption("--long"))


@pytest.fixture
def place() -> Iterator[Path]:
    """An empty directory with a short path, so that sockets fit below it."""
    with short_directory() as path:
        yield path


@pytest.fixture
def running_hub(place: Path) -> Iterator[HubProcess]:
    """A hub process of its own for one test, without a page."""
    with HubProcess(place / "home", "--stay") as hub:
        yield hub.started()
