"""The hub's own log, `logs/hub.jsonl`: JSON lines, rotated. No message text, tool input or environment is ever in it.

The text of an exception that nobody foresaw may quote any of these, so of such a one only its kind and where it was
raised are written; an OSError's text is the system's.

Owns the one handler. A crash loses at most the line being written; a full disk costs log lines and nothing else.
"""

from __future__ import annotations

import logging
import os
import traceback
from logging.handlers import RotatingFileHandler
from typing import TYPE_CHECKING, Final, TypeAlias

import structlog

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import TextIOWrapper
    from pathlib import Path

ROTATE_BYTES: Final = 5 * 1024 * 1024
KEPT_FILES: Final = 3
DEEPEST: Final = 40  # characters of indentation, four a level

Logger: TypeAlias = structlog.stdlib.BoundLogger


class _PrivateFile(RotatingFileHandler):
    def _open(self) -> TextIOWrapper:
        return open(self.baseFilename, "a", encoding="utf-8", opener=_private)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _without_words(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    error = event.pop("exc_info", None)
    if isinstance(error, BaseException):
        event["error"] = _kind(error)
        event["exception"] = "\n".join(_places(error))
    return event


def _kind(error: BaseException) -> str:
    name = type(error).__qualname__
    return f"{name}: {error}" if isinstance(error, OSError) else name


def _places(error: BaseException, indent: str = "") -> Iterator[str]:
    """Its kind and the frames it passed, innermost last; then the same of what it holds, and of what caused it."""
    yield indent + _kind(error)
    for frame in traceback.extract_tb(error.__traceback__):
        yield f"{indent}  {frame.filename}:{frame.lineno} in {frame.name}"
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _places(inner, indent + "  | ")
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and len(indent) < DEEPEST:
        yield from _places(before, indent + "  < ")


def open_log(directory: Path) -> Logger:
    """The logger that writes to `directory`/hub.jsonl. Raises OSError if the file cannot be opened."""
    handler = _PrivateFile(directory / "hub.jsonl", maxBytes=ROTATE_BYTES, backupCount=KEPT_FILES, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.Logger("crosschat.hub", logging.INFO)
    logger.addHandler(handler)
    logging.raiseExceptions = False  # a full disk must not print into whatever stderr is
    wrapped: Logger = structlog.wrap_logger(
        logger,
        wrapper_class=structlog.stdlib.BoundLogger,
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _without_words,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
    )
    return wrapped
