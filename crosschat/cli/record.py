"""The list of what `crosschat install` put in place, kept in the folder of the plugin: what there is to take away.

Format 1. What a newer release adds, an older one ignores; what it must not ignore gets another format. Values only.
"""

from __future__ import annotations

import json
from typing import Final

import attrs

from crosschat.cli.json_text import Json

LIST_FORMAT: Final = 1


class NewerFormat(ValueError):
    """A newer release wrote it."""


@attrs.frozen
class Entry:
    """A value of ours in a JSON file of the user's. `key` None: an item of the array at `holder`; else that member of
    the object there."""

    file: str
    holder: tuple[str, ...]
    key: str | None
    value: Json

    @property
    def where(self) -> str:
        return f"{self.file}: {'.'.join((*self.holder, *((self.key,) if self.key else ())))}"


@attrs.frozen
class Container:
    """An array or object that was made for an entry; with an empty `place`, the file itself."""

    file: str
    place: tuple[str, ...]


@attrs.frozen
class Record:
    """What was put into files of the user's."""

    entries: tuple[Entry, ...] = ()
    containers: tuple[Container, ...] = ()

    def and_also(self, other: Record) -> Record:
        """All of both."""
        more = tuple(entry for entry in other.entries if entry not in self.entries)
        return Record((*self.entries, *more), tuple(dict.fromkeys((*self.containers, *other.containers))))


@attrs.frozen(kw_only=True)
class Placed:
    """What was put into a folder, and which directories were made for it."""

    version: str
    home: str  # the data directory, for whoever removes it
    files: dict[str, str]  # path and sha256
    made: tuple[str, ...] = ()  # directories above the folder, outermost first
    hub_url: str | None = None
    record: Record = Record()

    def to_bytes(self) -> bytes:
        fields = attrs.asdict(self)
        if self.hub_url is None:
            del fields["hub_url"]
        if self.record == Record():
            del fields["record"]
        return json.dumps({"format": LIST_FORMAT, **fields}, indent=2).encode() + b"\n"

    @classmethod
    def from_bytes(cls, content: bytes) -> Placed:
        """Raises NewerFormat, or ValueError, KeyError, TypeError or AttributeError for what is no list."""
        found = json.loads(content)
        if found["format"] != LIST_FORMAT:
            raise NewerFormat
        record = found.get("record", {"entries": [], "containers": []})
        url = found.get("hub_url")
        placed = cls(
            version=str(found["version"]), home=str(found["home"]), made=_words(found["made"]),
            files={str(path): str(digest) for path, digest in found["files"].items()},
            hub_url=None if url is None else str(url),
            record=Record(
                tuple(
                    Entry(str(one["file"]), _words(one["holder"]), one["key"], one["value"])
                    for one in record["entries"]
                ),
                tuple(Container(str(one["file"]), _words(one["place"])) for one in record["containers"]),
            ),
        )  # fmt: skip
        if any(path.startswith("/") or ".." in path.split("/") for path in placed.files):
            raise ValueError("a path outside the folder")
        return placed


def _words(found: Json) -> tuple[str, ...]:
    return tuple(map(str, found))
