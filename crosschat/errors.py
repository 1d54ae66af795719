"""What can go wrong, as values: one exception that travels to the asker, one that stops the hub.

`Refused` is a *remote* error: the asker's request is wrong or cannot be served now, only that request
fails, and code, path and remedy go back over the wire. `JournalBroken` is a *local* error: the log can no
longer be trusted to keep a promise, and the hub leaves. Nothing else of ours is raised across modules.
"""

from __future__ import annotations

from enum import StrEnum


class Code(StrEnum):
    """Why a request was refused. The values are part of the wire protocol: a new one is a new protocol version."""

    BAD_FRAME = "bad_frame"  # not a frame of this protocol: syntax, type, unknown field, too deep
    TOO_LARGE = "too_large"  # a named size limit was exceeded
    UNSUPPORTED_PROTOCOL = "unsupported_protocol"  # upgrade one of the two sides
    NOT_JOINED = "not_joined"  # a request came before `hello`
    INVALID = "invalid"  # well formed, but a value is out of its range
    NOT_FOUND = "not_found"  # no such message, task or agent, or not readable by the asker
    FORBIDDEN = "forbidden"  # readable, but this asker may not do that
    CONFLICT = "conflict"  # the state of the thing does not allow it (any more)
    UNKNOWN_MENTION = "unknown_mention"  # every written mention names nobody
    RATE_LIMITED = "rate_limited"  # over the quota; `retry_after_ms` says when
    HUB_FULL = "hub_full"  # no room for another agent or connection
    STORAGE_FULL = "storage_full"  # the disk refuses writes; reads go on
    UNAVAILABLE = "unavailable"  # the hub is away or stopping; nothing was stored as far as known
    SUPERSEDED = "superseded"  # a newer connection or wait of the same agent took over
    INTERNAL = "internal"  # a defect of ours; the log has the details


class Refused(Exception):
    """A request that is answered with an error instead of a result.

    `message` names the cause and the remedy in one or two sentences, for people. `path` points into the
    request (`filter.agentId`), `retry_after_ms` is set where waiting helps.
    """

    def __init__(self, code: Code, message: str, *, path: str | None = None, retry_after_ms: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.path = path
        self.retry_after_ms = retry_after_ms


class JournalBroken(Exception):
    """The log could not be made durable or be read as written; the hub stops and never retries the sync."""


class Displaced(JournalBroken):
    """The data directory is another hub's by now: what was just written may be in nobody's log. The hub leaves."""


class DataDirectoryError(Exception):
    """The data directory cannot be used as it is; nothing in it was changed. The text names the remedy."""


class ConfigurationError(Exception):
    """An environment variable or option has a value that cannot be used; the text names it and the remedy."""
