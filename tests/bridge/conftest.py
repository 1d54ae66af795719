from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.bridge.fakes import FakeHub, session_with

if TYPE_CHECKING:
    import trio

    from crosschat.bridge.calls import Session


@pytest.fixture
def hub(request: pytest.FixtureRequest) -> FakeHub:
    hub = FakeHub()
    hub.listening = "away" not in request.fixturenames
    return hub


@pytest.fixture
def away(hub: FakeHub) -> FakeHub:
    """The hub, away from the first moment on."""
    return hub


@pytest.fixture
def session(hub: FakeHub, nursery: trio.Nursery) -> Session:
    """A session whose link runs until the test ends."""
    session = session_with(hub)
    nursery.start_soon(session.link.run)
    return session
