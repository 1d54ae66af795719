"""The scripted API, and a home in which CrossChat is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.claude.api import ScriptedApi
from tests.claude.client import Place, client
from tests.live.rig import short_directory

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def api() -> Iterator[ScriptedApi]:
    with ScriptedApi() as api:
        yield api


@pytest.fixture
def bare(api: ScriptedApi) -> Iterator[Place]:
    """A home with the client and nothing else."""
    client()
    with short_directory() as root, Place(root, api) as place:
        yield place


@pytest.fixture
def installed(bare: Place) -> Place:
    """The same after `crosschat install`."""
    bare.crosschat("install")
    return bare
