"""Where a peer's failure stops: the only broad `except` of the hub.

A handler that runs inside ends quietly whatever happens in it; what was not foreseen goes to the log. A cancellation
from outside passes through, alone: also from a group in which it travels together with a failure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from crosschat.hub.log import Logger

Stream = TypeVar("Stream")


def contain(
    handler: Callable[[Stream], Awaitable[None]], log: Logger, what: str
) -> Callable[[Stream], Awaitable[None]]:
    """The handler for `trio.serve_listeners`, made harmless: it ends its own connection and nothing else."""

    async def contained(stream: Stream) -> None:
        try:
            await handler(stream)
        except* Exception as group:  # whatever one peer does costs that peer only
            for error in group.exceptions:
                log.error("contained", what=what, error=repr(error), exc_info=error)
        finally:
            if isinstance(stream, trio.abc.AsyncResource):
                await trio.aclose_forcefully(stream)

    return contained
