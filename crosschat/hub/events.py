"""The activity log: what happened around the messages. Joins, leaves, starts, pairings, decisions.

Kept in memory, the newest `KEPT`, and in `logs/events.jsonl` for the next hub. The file is appended to without a sync
and rewritten when it has grown to twice that: a crash may lose the last lines, a full disk costs lines and nothing
else. A line that was cut short ends where the next one begins. It is for people; what has to be proven is in the log of
messages and in the audit.
"""

from __future__ import annotations

import json
import os
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol, get_args

from crosschat.model import iso
from crosschat.pagewire import EventKind, EventPage, Events, EventView

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from crosschat.hub.log import Logger

KEPT: Final = 1000
PAGE_MAX: Final = 200
LINE_BYTES: Final = 4096
_KINDS: Final = frozenset(get_args(EventKind))


class Hears(Protocol):
    def happened(self, event: EventView) -> None:
        """Take it without waiting. Never raises."""


class EventLog:
    """See the module. `read` what an earlier hub left, before the first `add`."""

    def __init__(self, path: Path, clock_ms: Callable[[], int], log: Logger) -> None:
        self._path = path
        self._clock_ms = clock_ms
        self._log = log
        self._events: deque[EventView] = deque(maxlen=KEPT)
        self._lines = 0
        self._torn = False  # the end of the file is, or may be, half a line
        self._last = 0
        self.listener: Hears | None = None

    def read(self) -> None:
        """Take up what is in the file; what is no event there is left out."""
        try:
            with open(self._path, "rb", opener=_opener) as file:
                size = os.fstat(file.fileno()).st_size
                file.seek(max(0, size - 2 * KEPT * LINE_BYTES))
                data = file.read()
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                self._log.warning("events not read", error=repr(error))
            return
        lines = data.splitlines()
        self._lines = len(lines)
        self._torn = not data.endswith(b"\n") and data != b""
        for line in lines[-KEPT:]:
            if (event := _event(line)) is not None and event.seq > self._last:
                self._events.append(event)
                self._last = event.seq

    def add(self, kind: EventKind, text: str, *, agent: str | None = None, name: str | None = None) -> None:
        """Something happened now."""
        self._last += 1
        event = EventView(seq=self._last, ts=iso(self._clock_ms()), kind=kind, text=text[:1000], agent=agent, name=name)
        self._events.append(event)
        self._write(event)
        if self.listener is not None:
            self.listener.happened(event)

    def page(self, asked: Events) -> EventPage:
        """The newest, or those before one, oldest first."""
        limit = max(1, min(asked.limit, PAGE_MAX))
        found = [event for event in self._events if asked.before is None or event.seq < asked.before]
        return EventPage(id=asked.id, events=tuple(found[-limit:]), earlier=len(found) > limit)

    def _write(self, event: EventView) -> None:
        try:
            if self._lines >= 2 * KEPT:
                self._rewrite()
            else:
                with open(self._path, "ab", opener=_opener) as file:
                    file.write(b"\n" * self._torn + _line(event))
                self._lines += 1
            self._torn = False
        except OSError as error:
            self._torn = True
            self._log.warning("event not written", error=repr(error))

    def _rewrite(self) -> None:
        beside = self._path.with_suffix(".new")
        with open(beside, "wb", opener=_opener) as file:
            file.writelines(map(_line, self._events))
        os.replace(beside, self._path)
        self._lines = len(self._events)


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _line(event: EventView) -> bytes:
    fields = {
        "seq": event.seq, "ts": event.ts, "kind": event.kind, "text": event.text,
        "agent": event.agent, "name": event.name,
    }  # fmt: skip
    kept = {key: value for key, value in fields.items() if value is not None}
    return json.dumps(kept, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _event(line: bytes) -> EventView | None:
    try:
        fields = json.loads(line)
        event = EventView(**fields)
    except (ValueError, TypeError, RecursionError):
        return None
    texts = (event.ts, event.text, event.agent or "", event.name or "")
    if type(event.seq) is not int or event.kind not in _KINDS or not all(type(text) is str for text in texts):
        return None
    return event
