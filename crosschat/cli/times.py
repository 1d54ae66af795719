"""Times as a person writes them: `2026-05-04`, `2026-05-04 15:30`, `today`, or so long ago: `90m`, `3h`, `2d`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

import click

_AGO: Final = re.compile(r"(\d{1,6})\s*([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_time(text: str, now: datetime) -> str:
    """The ISO time, in UTC with milliseconds, that `text` means at `now`; without a zone it is one of `now`'s zone.

    Raises ValueError.
    """
    found = _AGO.fullmatch(text.strip().lower())
    if found is not None:
        moment = now - timedelta(**{_UNITS[found[2]]: int(found[1])})
    elif text.strip().lower() in ("today", "yesterday"):
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        moment = midnight - timedelta(days=1) if text.strip().lower() == "yesterday" else midnight
    else:
        moment = datetime.fromisoformat(text.strip())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=now.tzinfo)
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_duration_s(text: str) -> float:
    """`90s`, `10m`, `2h`, `1d`. Raises ValueError."""
    found = _AGO.fullmatch(text.strip().lower())
    if found is None:
        raise ValueError(text)
    return timedelta(**{_UNITS[found[2]]: int(found[1])}).total_seconds()


class Duration(click.ParamType[float]):
    """An option whose value is a length of time; in seconds."""

    name = "duration"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return parse_duration_s(value)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no length of time: write 90s, 10m, 2h or 1d", param, ctx)


class Time(click.ParamType[str]):
    """An option whose value is such a time."""

    name = "time"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return parse_time(value, datetime.now().astimezone())
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no time: write 2026-05-04, '2026-05-04 15:30', today, 3h or 2d", param, ctx)
