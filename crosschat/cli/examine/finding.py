"""What a check is given and what it gives back. Values only.

A check reports nothing when all is well, or how it is. It changes nothing that stays, never raises for what it was made
to find, and leaves out what another check reports: a cause is named once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, TypeAlias

import attrs

from crosschat import wire
from crosschat.paths import Configuration, Home

Level = Literal["ok", "warning", "problem", "skipped"]


@attrs.frozen
class Finding:
    """`cause` in one sentence, `remedy` in one line; both are for people."""

    level: Level
    cause: str
    remedy: str = ""


def problem(cause: str, remedy: str) -> Finding:
    return Finding("problem", cause, remedy)


def warning(cause: str, remedy: str) -> Finding:
    return Finding("warning", cause, remedy)


def fine(told: str) -> Finding:
    """Nothing is wrong, and this is how it is."""
    return Finding("ok", told)


def skipped(cause: str) -> Finding:
    return Finding("skipped", cause)


@attrs.frozen(kw_only=True)
class Scene:
    """What all checks share. `status` is the hub's own word; without it, `silence` says why there is none, None if no
    hub runs."""

    configuration: Configuration
    status: wire.HubStatus | None = None
    silence: str | None = None

    @property
    def home(self) -> Home:
        return self.configuration.home

    @property
    def is_new(self) -> bool:
        """There is no data directory yet, and so nothing in it."""
        return not self.home.root.exists()


Check: TypeAlias = Callable[[Scene], Iterator[Finding]]
