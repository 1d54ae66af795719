"""The disposable snapshot of the log: where its records are, and the state they add up to.

File `index/snapshot`: one line of JSON (what `Snapshot` has, without the two blobs, and their
sizes), the state as opaque bytes, the offsets as 64-bit integers in this machine's order, and the
SHA-256 of all that. Replaced by rename, so a crash leaves the one before.

Invariant: it can be deleted at any time; it is never the source of truth. It carries size and
CRC-32 of every segment it describes, so that a start believes it only about bytes that are exactly
those it was made from: a stale, damaged or foreign one hides nothing and invents nothing.
"""

from __future__ import annotations

import hashlib
import json
import sys
from typing import TYPE_CHECKING, Final, Literal

import attrs
import cattrs

from crosschat.journal.files import Bytes, exists, read_whole, write_atomically
from crosschat.journal.scan import Damage, Segment

if TYPE_CHECKING:
    from pathlib import Path

    from crosschat.journal.files import Files

VERSION: Final = 1
SNAPSHOT: Final = "index/snapshot"
_BYTES_MAX: Final = 1 << 32
_DIGEST_BYTES: Final = 32


@attrs.frozen(kw_only=True)
class Snapshot:
    """The log up to and including record `seq`, which ends where the last of `segments` does."""

    epoch: str
    seq: int
    seal: str
    """The crc of that record's line: another history may have another record of this seq."""
    segments: tuple[Segment, ...]
    damages: tuple[Damage, ...]
    """What was known to be damaged; the start that uses the snapshot still reports it."""
    offsets: Bytes = attrs.field(repr=False)
    state: Bytes = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class _Header:
    version: int
    byte_order: str
    epoch: str
    seq: int
    seal: str
    segments: tuple[Segment, ...]
    damages: tuple[Damage, ...]
    state_bytes: int
    offsets_bytes: int


def save(files: Files, home: Path, snapshot: Snapshot) -> None:
    """Replace the snapshot on disk. Raises OSError; the one before is then still there."""
    header = _Header(
        version=VERSION,
        byte_order=sys.byteorder,
        epoch=snapshot.epoch,
        seq=snapshot.seq,
        seal=snapshot.seal,
        segments=snapshot.segments,
        damages=snapshot.damages,
        state_bytes=len(snapshot.state),
        offsets_bytes=len(snapshot.offsets),
    )
    line = json.dumps(cattrs.unstructure(header), separators=(",", ":")).encode() + b"\n"
    data = (line, snapshot.state, snapshot.offsets)
    digest = hashlib.sha256()
    for part in data:
        digest.update(part)
    write_atomically(files, home / SNAPSHOT, *data, digest.digest())


def peek(files: Files, home: Path) -> Snapshot | Literal["missing", "unreadable"]:
    """What `load` would find. Changes nothing."""
    try:
        return _parse(read_whole(files, home / SNAPSHOT, _BYTES_MAX))
    except FileNotFoundError:
        return "missing"
    except (OSError, ValueError, TypeError, KeyError, RecursionError, cattrs.BaseValidationError):
        return "unreadable"


def load(files: Files, home: Path) -> Snapshot | None:
    """The snapshot, or None if there is none that can be used; one that is damaged is deleted.

    That it fits the log is not checked here. Raises OSError only if it cannot be deleted.
    """
    path = home / SNAPSHOT
    if not exists(files, path):
        return None
    try:
        return _parse(read_whole(files, path, _BYTES_MAX))
    except (OSError, ValueError, TypeError, KeyError, RecursionError, cattrs.BaseValidationError):
        files.unlink(path)
        return None


def _parse(data: bytes) -> Snapshot:
    whole = memoryview(data)
    if hashlib.sha256(whole[:-_DIGEST_BYTES]).digest() != whole[-_DIGEST_BYTES:]:
        raise ValueError("digest")
    start = data.index(b"\n") + 1
    header = cattrs.structure(json.loads(data[:start]), _Header)
    middle, end = start + header.state_bytes, len(data) - _DIGEST_BYTES
    if (header.version, header.byte_order) != (VERSION, sys.byteorder):
        raise ValueError("made by another version or machine")
    if middle + header.offsets_bytes != end or header.offsets_bytes != 8 * header.seq:
        raise ValueError("sizes")
    return Snapshot(
        epoch=header.epoch,
        seq=header.seq,
        seal=header.seal,
        segments=header.segments,
        damages=header.damages,
        state=whole[start:middle],
        offsets=whole[middle:end],
    )
