"""`audit/permissions.jsonl`: who decided what about permissions and which browsers may, as a chain of lines that nobody
changes unseen.

    {"v":1,"n":3,"prev":"<hash of line 2>","ts":"…","event":"…",…,"hash":"<of this line>"}

A line's `hash` is SHA-256 over its bytes up to the comma before `"hash"`, in hex; `prev` is the hash of the line
before, 64 zeros for the first; `n` counts from 1. Whoever changes, inserts or removes a line breaks the chain there,
unless they make every later line anew. What the chain alone cannot show is that lines are missing at the end: note the
last hash elsewhere to see that.

The chain vouches for paired browsers: a line `paired` for the key that it names at the port that it names, until a line
`revoked` names the key. A broken chain vouches for nobody: who broke it may have put the one in or taken the other out.

Written whole, then synced: `append` returns when the line is durable. A write that failed is cut off again and the next
may succeed; after a sync that failed nothing is written any more, because what the disk has is not known. A crash
leaves at most an incomplete line at the end, which the next start copies to `damaged/` and cuts.
"""

from __future__ import annotations

import errno
import hashlib
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import attrs

from crosschat.journal.files import exists, is_directory, read_whole, sync_directory, write_all
from crosschat.journal.recovery import set_aside
from crosschat.model import JsonObject, iso

if TYPE_CHECKING:
    from pathlib import Path

    from crosschat.journal.files import Files

NO_LINE: Final = "0" * 64
LINE_BYTES: Final = 64 * 1024
MOST_BYTES: Final = 1 << 30
_TAIL: Final = b',"hash":"'
_TAIL_BYTES: Final = len(_TAIL) + 64 + len(b'"}')


@attrs.frozen
class Problem:
    """Line `line` does not follow from the one before it."""

    line: int
    reason: str


@attrs.frozen
class Chain:
    """What is in the file. `rows` counts also what is no line of ours; `torn`: bytes of an incomplete last line.
    `paired`: the keys that it vouches for, each with its port."""

    lines: tuple[JsonObject, ...] = ()
    rows: int = 0
    last: str = NO_LINE
    problems: tuple[Problem, ...] = ()
    torn: int = 0
    paired: dict[str, int] = attrs.Factory(dict)


def file_of(home: Path) -> Path:
    return home / "audit" / "permissions.jsonl"


def make_line(number: int, previous: str, now_ms: int, fields: JsonObject) -> tuple[bytes, str]:
    """A line without its end, and its hash."""
    values = {"v": 1, "n": number, "prev": previous, "ts": iso(now_ms), **fields}
    head = json.dumps(values, separators=(",", ":")).encode()[:-1]
    found = hashlib.sha256(head).hexdigest()
    return head + _TAIL + found.encode() + b'"}', found


def read_chain(data: bytes) -> Chain:
    """Every line, and where the chain is broken. What follows a break is checked against the line it stands on."""
    whole, _, torn = data.rpartition(b"\n")
    rows = whole.split(b"\n") if whole or data[:1] == b"\n" else []
    lines: list[JsonObject] = []
    problems: list[Problem] = []
    paired: dict[str, int] = {}
    last = NO_LINE
    for row, line in enumerate(rows, 1):
        values, reason = _check(row, line, last)
        if reason is not None:
            problems.append(Problem(row, reason))
        if values is not None:
            lines.append(values)
            last = str(values.get("hash"))
            _pair(paired, values)
    return Chain(tuple(lines), len(rows), last, tuple(problems), len(torn), {} if problems else paired)


def _pair(paired: dict[str, int], line: JsonObject) -> None:
    match line:
        case {"event": "paired", "key": str(key), "port": int(port)}:
            paired[key] = port
        case {"event": "revoked", "key": str(key)}:
            paired.pop(key, None)


def _check(row: int, line: bytes, last: str) -> tuple[JsonObject | None, str | None]:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        return None, "it is not a line of this file"
    head, tail = line[:-_TAIL_BYTES], line[-_TAIL_BYTES:]
    if not tail.startswith(_TAIL) or values.get("hash") != hashlib.sha256(head).hexdigest():
        return values, "it was changed: its hash is another"
    if values.get("prev") != last:
        return values, "lines before it were changed, added or removed"
    if values.get("n") != row:
        return values, f"it is numbered {str(values.get('n'))[:20]}"
    return values, None


def read_audit(home: Path, files: Files) -> Chain:
    """The file as it is; nothing is changed. Raises OSError."""
    path = file_of(home)
    return read_chain(read_whole(files, path, MOST_BYTES)) if exists(files, path) else Chain()


class AuditFile:
    """The open file. Its calls block; one at a time."""

    def __init__(self, home: Path, files: Files, chain: Chain) -> None:
        """Take it up where it ends, `chain` being what `read_audit` has just found. Raises OSError."""
        self._files = files
        self.path = file_of(home)
        self.broken: str | None = None
        if not is_directory(files, self.path.parent):
            files.mkdir(self.path.parent)
            sync_directory(files, home)
        new = not exists(files, self.path)
        self.problems = chain.problems
        self.last = chain.last
        self._rows = chain.rows
        self._size = 0 if new else files.lstat(self.path).st_size - chain.torn
        if chain.torn:
            set_aside(self.path, self._size, files, home)
        self._fd = files.open(self.path, "create" if new else "append")
        try:
            if chain.torn:
                files.truncate(self._fd, self._size)
            files.fsync(self._fd)
            if new:
                sync_directory(files, self.path.parent)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        self._files.close(self._fd)

    def append(self, now_ms: int, fields: JsonObject) -> None:
        """Returns when the line is durable. Raises OSError; the line is then not in the file, unless a disk that fails
        altogether does not let it be cut off."""
        if self.broken is not None:
            raise OSError(errno.EIO, self.broken)
        line, found = make_line(self._rows + 1, self.last, now_ms, fields)
        if len(line) >= LINE_BYTES:
            raise OSError(errno.EFBIG, f"a line has at most {LINE_BYTES} bytes")
        try:
            write_all(self._files, self._fd, line + b"\n")
        except OSError:
            self._cut_back()
            raise
        try:
            self._files.fdatasync(self._fd)
        except OSError as error:
            self.broken = f"the audit could not be synced ({error.strerror or error}); restart the hub"
            with suppress(OSError):
                self._files.truncate(self._fd, self._size)
            raise
        self._size += len(line) + 1
        self.last = found
        self._rows += 1

    def _cut_back(self) -> None:
        try:
            self._files.truncate(self._fd, self._size)
        except OSError as error:
            self.broken = f"the audit could not be cut back ({error.strerror or error}); restart the hub"
