"""What a soak found: samples of memory, files and times, and whether they stayed as they were. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

GROWTH: Final = 1.25  # how much more memory the last quarter may take than the second
GROWTH_MIB: Final = 6.0


@attrs.frozen(kw_only=True)
class Sample:
    """At one moment, and since the one before. `files`: open descriptors; of the hub while all agents are there."""

    at_s: float
    hub_mib: float
    hub_files: int
    session_mib: float
    session_files: int
    acknowledged: int
    p50_ms: float
    p99_ms: float


@attrs.frozen(kw_only=True)
class Outcome:
    """What the whole run says. `during_restarts_p99_ms` is of messages that were due while the hub came back."""

    minutes: float
    messages: int
    deliveries: int
    holes: int
    leaves: int
    restarts: int
    tool_calls: int
    tool_errors: int
    p50_ms: float
    p99_ms: float
    p99_first_half_ms: float
    p99_second_half_ms: float
    during_restarts_p99_ms: float
    fdatasync_p50_ms: float
    fdatasync_p99_ms: float
    load: float
    problems: tuple[str, ...]
    samples: tuple[Sample, ...]


def problems(samples: Sequence[Sample], holes: int) -> Iterator[str]:
    """What did not stay as it was: the most of the last quarter, against that of the second."""
    if holes:
        yield f"readers saw {holes} holes"
    quarter = len(samples) // 4
    if not quarter:
        return
    before, after = samples[quarter : 2 * quarter], samples[-quarter:]
    for name in ("hub_mib", "session_mib"):
        was, now = (max(getattr(one, name) for one in some) for some in (before, after))
        if now > was * GROWTH + GROWTH_MIB:
            yield f"{name} grew from {was} to {now}"
    for name in ("hub_files", "session_files"):
        was, now = (max(getattr(one, name) for one in some) for some in (before, after))
        if now > was + 2:
            yield f"{name} grew from {was} to {now}"


def in_words(found: Outcome) -> str:
    first, last = found.samples[len(found.samples) // 4], found.samples[-1]
    return (
        f"{found.minutes:g} minutes, {found.messages:,} messages, {found.deliveries:,} deliveries, {found.holes} "
        f"holes, {found.leaves} leaves, {found.restarts} restarts, {found.tool_calls:,} tool calls "
        f"({found.tool_errors} failed); "
        f"acknowledged: p50 {found.p50_ms} ms, p99 {found.p99_first_half_ms} ms in the first half and "
        f"{found.p99_second_half_ms} ms in the second, {found.during_restarts_p99_ms:,.0f} ms while the hub came back; "
        f"hub {first.hub_mib} MiB, then {last.hub_mib}, and {first.hub_files} files, then {last.hub_files}; a session "
        f"{first.session_mib} MiB, then {last.session_mib}; fdatasync p50 {found.fdatasync_p50_ms} ms, p99 "
        f"{found.fdatasync_p99_ms} ms; load {found.load:.1f}"
    )
