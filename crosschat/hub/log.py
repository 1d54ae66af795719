"""The hub's own log, `logs/hub.jsonl`: JSON lines, rotated. No message text, tool input or environment is ever in it.

Owns the one handler. A crash loses at most the line being written; a full disk costs log lines and nothing else.
"""

from __future__ import annotations

import logging
import os
from logging.handlers import RotatingFileHandler
from typing import TYPE_CHECKING, Final, TypeAlias

import structlog

if TYPE_CHECKING:
    from io import TextIOWrapper
    from pathlib import Path

ROTATE_BYTES: Final = 5 * 1024 * 1024
KEPT_FILES: Final = 3

Logger: TypeAlias = structlog.stdlib.BoundLogger


class _PrivateFile(RotatingFileHandler):
    def _open(self) -> TextIOWrapper:
        return open(self.baseFilename, "a", encoding="utf-8", opener=_private)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


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
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
    )
    return wrapped
