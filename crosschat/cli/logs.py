"""`crosschat logs`: the hub's own log, readable. It has no message texts; it says why the hub did what it did."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, BinaryIO, Final

import click

from crosschat.cli import text
from crosschat.cli.failure import FAILED, Failure
from crosschat.cli.options import configuration, stream_options

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOG_LINES: Final = 50
LOG_LINES_MAX: Final = 100_000
BLOCK_BYTES: Final = 64 * 1024
LINE_BYTES: Final = 256 * 1024  # what is longer is shown in pieces
FOLLOW_POLL_S: Final = 0.2
LEVELS: Final = {"warning": "yellow", "error": "red", "critical": "red"}


@click.command()
@stream_options(LOG_LINES, LOG_LINES_MAX)
@click.pass_obj
def logs(home: str | None, count: int, follow: bool, as_json: bool) -> None:
    """Show the hub's own log.

    With --json, one JSON object a line. It needs no hub and starts none.

    \b
    Examples:
      crosschat logs -n 200
      crosschat logs -f

    Exit status: 0 done, 1 there is no log yet, 2 wrong option or environment, 130 interrupted.
    """
    path = configuration(home).home.logs / "hub.jsonl"
    try:
        with path.open("rb") as log:
            for line in last_lines(log, count):
                _print(line, as_json=as_json)
            if follow:
                _follow(path, log, as_json=as_json)
    except FileNotFoundError:
        raise Failure(f"there is no log yet at {path}: no hub has run with this data directory", FAILED) from None
    except PermissionError as error:
        raise Failure(f"{path} cannot be read: {error.strerror}", FAILED) from None


def last_lines(log: BinaryIO, count: int) -> list[bytes]:
    """The last `count` whole lines; the file is then at their end. A line being written is left for later."""
    position = end = log.seek(0, os.SEEK_END)
    tail = b""
    while position > 0 and tail.count(b"\n") <= count:
        length = min(BLOCK_BYTES, position)
        position -= length
        log.seek(position)
        tail = log.read(length) + tail
    whole, _, rest = tail.rpartition(b"\n")
    log.seek(end - len(rest))
    lines = whole.split(b"\n") if len(rest) < len(tail) else []
    return lines[-count:] if count else []


def _follow(path: Path, log: BinaryIO, *, as_json: bool) -> None:
    """What is appended from now on, also when the log is rotated. Returns only by an exception."""
    while True:
        for line in _whole_lines(log):
            _print(line, as_json=as_json)
        if _replaced(path, log):
            for line in _whole_lines(log):  # what came between the last look and the rotation
                _print(line, as_json=as_json)
            with path.open("rb") as next_log:
                return _follow(path, next_log, as_json=as_json)
        time.sleep(FOLLOW_POLL_S)


def _whole_lines(log: BinaryIO) -> Iterator[bytes]:
    """Lines that are complete; one that is not is read again."""
    while True:
        start = log.tell()
        line = log.readline(LINE_BYTES)
        if not line.endswith(b"\n") and len(line) < LINE_BYTES:
            log.seek(start)
            return
        yield line


def _replaced(path: Path, log: BinaryIO) -> bool:
    try:
        named = path.stat()
    except FileNotFoundError:
        return False  # between the two steps of a rotation
    held = os.fstat(log.fileno())
    return (named.st_dev, named.st_ino) != (held.st_dev, held.st_ino)


def _print(line: bytes, *, as_json: bool) -> None:
    raw = line.decode(errors="replace").rstrip("\n")
    try:
        fields = json.loads(raw)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        if not as_json:  # a line that was cut is not JSON
            text.echo(text.plain(raw))
        return
    text.echo_record(dict(fields), _lines(fields), as_json=as_json)


def _lines(fields: dict[str, object]) -> Iterator[str]:
    when, level, event = (str(fields.pop(name, "")) for name in ("timestamp", "level", "event"))
    traceback = fields.pop("exception", None)
    rest = " ".join(
        f"{name}={value if isinstance(value, str) else text.to_json(value)}" for name, value in fields.items()
    )
    colour = LEVELS.get(level)
    shown = text.styled(f"{level:<8}", fg=colour) if colour else text.plain(f"{level:<8}")
    yield text.styled(when[:23], dim=True) + " " + shown + text.plain(f"{event} {rest}".rstrip())
    if isinstance(traceback, str):
        yield text.body(traceback)
