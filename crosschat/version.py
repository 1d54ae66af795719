"""Which release this program is, and which of two is the newer one.

Hub and clients are replaced at different times: after an upgrade the hub that runs may be older than a client, and an
open session's client older than the hub. Who is newer replaces the hub; who is older never does, so however many of
both there are, the hub changes at most once.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final, TypeAlias

DISTRIBUTION: Final = "crosschat-hub"
UNKNOWN: Final = "0+unknown"  # a checkout that was never installed
_PATTERN: Final = re.compile(r"v?(\d+(?:\.\d+)*)[-_.]?(?:(dev|a|alpha|b|beta|c|rc|pre|post)[-_.]?(\d*))?")
_PHASES: Final = {"dev": -4, "a": -3, "alpha": -3, "b": -2, "beta": -2, "c": -1, "rc": -1, "pre": -1, "post": 1}

Key: TypeAlias = tuple[int, tuple[int, ...], int, int]


def installed() -> str:
    """The version of the distribution that this process runs: as it was when first asked."""
    return _installed()


@cache
def _installed() -> str:
    from importlib import metadata

    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return UNKNOWN


def key(protocol: int, version: str) -> Key:
    """Greater for what is newer: the protocol counts first, then the release number, then alpha, beta and so on.

    What cannot be read counts as the oldest of its protocol.
    """
    found = _PATTERN.match(version.strip().lower())
    if found is None:
        return (protocol, (), 0, 0)
    release = tuple(int(part[:9]) for part in found[1].split("."))
    while release and release[-1] == 0:  # 1.0 is 1.0.0
        release = release[:-1]
    return (protocol, release, _PHASES.get(found[2] or "", 0), int((found[3] or "0")[:9]))
