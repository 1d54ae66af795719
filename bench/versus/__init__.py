"""What CrossChat is compared with, in the same run: a module each, with a class that keeps `bench.systems.System`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import broadcast, redis
from .broadcast import Broadcast
from .earlier import Earlier
from .floor import Floor
from .naive import Naive
from .redis import Redis

if TYPE_CHECKING:
    from ..systems import System


def others(url: str | None) -> list[System]:
    """All that can be had here, cheapest first. `url`: of a hub of 2.0.x, if there is one."""
    found: list[System] = [Floor(), Floor(synced=True)]
    if redis.is_present():
        found.append(Redis())
    if broadcast.is_present():
        found.append(Broadcast())
    found.append(Naive())
    if url is not None:
        found.append(Earlier(url))
    return found


def missing(url: str | None) -> list[str]:
    """What was left out, and how to have it."""
    left_out = [] if redis.is_present() else [f"redis: {redis.PROGRAM} is not installed"]
    if not broadcast.is_present():
        left_out.append("websockets: the library is not installed (pip install websockets)")
    if url is None:
        left_out.append("2.0.x: no hub was named (--url)")
    return left_out
