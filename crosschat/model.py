"""The values everything else is made of: the records of the log, and who acts. No behaviour, no I/O.

A record is one committed operation and one line of the log. `seq` is global and dense and given by the
single writer; `id` is made by the hub; `by` (written as `from`) is the acting agent's id or one of the
reserved actors. All kinds of format 1 are here, also those whose use comes later, so that no release within
format 1 needs a migration. Ids match `ID_PATTERN`: an id may become part of a file name, nothing else may.

Records that agents see carry `to`, the ids they are meant for, resolved when they were committed; `None` is
everybody. `private` means that nobody else may read it, `here` that `to` was everybody connected.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import ClassVar, Final, Literal, NamedTuple, TypeAlias

import attrs

FORMAT: Final = 1
PROTOCOL: Final = 1  # between the hub and its clients, see `wire`
PROTOCOLS_BACK: Final = 2  # so many earlier ones are served
ID_PATTERN: Final = r"[0-9a-z-]{1,36}"
NAME_PATTERN: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
USER: Final = "user"  # the person at the page
CLI: Final = "cli"  # the person's terminal
SYSTEM: Final = "system"  # the hub itself
NO_PROCESS: Final = ""  # in the place of a process: the agent was given up, and nobody becomes it again
RESERVED_NAMES: Final = frozenset({"here", USER, CLI, SYSTEM})

JsonObject: TypeAlias = dict[str, object]  # as parsed: null, booleans, numbers, strings, lists, objects

Source = Literal["agent", "user", "cli", "system"]
Importance = Literal["important", "comment", "chitchat"]
Status = Literal["available", "busy"]
Activity = Literal["working", "waiting", "idle"]
WakeMode = Literal["auto", "inbox", "hooks", "wait", "off"]  # what the person wants
Way = Literal["inbox", "hooks", "wait", "none"]  # what wakes a session
TaskStatus = Literal["open", "claimed", "in_progress", "completed", "failed"]
Outcome = Literal["completed", "failed"]
ReleaseReason = Literal["released", "lease_expired", "reopened", "reassigned"]
ReceiptState = Literal["offered", "shown", "answered"]


@attrs.frozen
class TaskFilter:
    """Who may claim: every field that is set must fit. Names as in the tool (`agentId` is an id or a name)."""

    agent: str | None = None
    working_dir: str | None = None  # the agent's directory is this one or below it
    project: str | None = None  # the agent's git project


@attrs.frozen(kw_only=True)
class Record:
    """What every line of the log has. `cid` is the client's idempotency id, `digest` the hash of what it asked."""

    kind: ClassVar[str]
    seq: int
    id: str
    ts: int  # ms since the epoch, UTC; an ISO string in the file
    by: str
    cid: str | None = None
    digest: str | None = None


@attrs.frozen(kw_only=True)
class Epoch(Record):
    """The log begins, or continues after an older copy of it was restored: cursors of other epochs are void."""

    kind = "epoch"
    epoch: str


@attrs.frozen(kw_only=True)
class AgentJoined(Record):
    """An agent became known, or its name, session, process or directory changed."""

    kind = "agent"
    agent: str
    name: str
    cwd: str
    project: str | None = None
    session: str | None = None  # Claude Code's session id
    process: str | None = None  # boot id, pid and start time of the process it is pinned to
    explicit: bool = False  # the name was asked for, not derived


@attrs.frozen(kw_only=True)
class Message(Record):
    """A message of the channel."""

    kind = "message"
    content: str
    source: Source
    to: tuple[str, ...] | None = None
    mentions: tuple[str, ...] = ()  # named agents, and `user`
    private: bool = False
    here: bool = False
    importance: Importance | None = None
    metadata: JsonObject | None = None


@attrs.frozen(kw_only=True)
class Reply(Message):
    """A message in the thread of `root`, which is never itself a reply."""

    kind = "reply"
    root: str


@attrs.frozen(kw_only=True)
class About(Record):
    """A change to the message `target`, seen by those in `to` (who they are is decided at commit)."""

    target: str
    to: tuple[str, ...] = ()
    private: bool = True


@attrs.frozen(kw_only=True)
class Badge(About):
    kind = "badge"
    badge_type: str
    value: str
    label: str | None = None


@attrs.frozen(kw_only=True)
class Flag(About):
    """The message is a task from here on."""

    kind = "flag"
    filter: TaskFilter | None = None


@attrs.frozen(kw_only=True)
class Claim(About):
    """`agent` holds the task; `claim_epoch` counts the claims of this task from 1."""

    kind = "claim"
    agent: str
    claim_epoch: int


@attrs.frozen(kw_only=True)
class Progress(About):
    """The claimant began to work."""

    kind = "progress"
    agent: str
    claim_epoch: int


@attrs.frozen(kw_only=True)
class Release(About):
    """The task is open again."""

    kind = "release"
    reason: ReleaseReason


@attrs.frozen(kw_only=True)
class Resolve(About):
    kind = "resolve"
    status: Outcome
    result: str
    error: str | None = None


@attrs.frozen(kw_only=True)
class Clear(Record):
    """Channel messages up to `upto` leave the default reads; with `undo` the clear before it is taken back."""

    kind = "clear"
    upto: int
    undo: bool = False


@attrs.frozen(kw_only=True)
class Cursor(Record):
    """Everything meant for `agent` up to `upto` was shown to it."""

    kind = "cursor"
    agent: str
    upto: int


@attrs.frozen(kw_only=True)
class Receipt(Record):
    """Single records beyond the cursor (`seqs`), or all up to the highest of them for `offered`."""

    kind = "receipt"
    agent: str
    state: ReceiptState
    seqs: tuple[int, ...]


@attrs.frozen(kw_only=True)
class Pause(Record):
    """The person paused or resumed waking `agent`; nothing is withheld from its reads."""

    kind = "pause"
    agent: str
    paused: bool


class Headline(NamedTuple):
    """What is kept in memory of a message or a reply without metadata: the record without its text."""

    seq: int
    id: str
    at_s: int
    by: str
    cid: str | None
    digest: str | None
    to: tuple[str, ...] | None
    mentions: tuple[str, ...]
    private: bool
    here: bool
    importance: Importance | None
    root: str  # empty, if it is not a reply


class Seen(NamedTuple):
    """All that is kept of a cursor."""

    seq: int
    agent: str
    upto: int


Glance: TypeAlias = Headline | Seen


def headline_of(record: Message) -> Headline:
    return Headline(
        record.seq,
        record.id,
        record.ts // 1000,
        record.by,
        record.cid,
        record.digest,
        record.to,
        record.mentions,
        record.private,
        record.here,
        record.importance,
        record.root if isinstance(record, Reply) else "",
    )


AnyRecord: TypeAlias = (
    Epoch | AgentJoined | Message | Reply | Badge | Flag | Claim | Progress | Release | Resolve
    | Clear | Cursor | Receipt | Pause
)  # fmt: skip
RECORD_TYPES: Final[tuple[type[Record], ...]] = (
    Epoch, AgentJoined, Message, Reply, Badge, Flag, Claim, Progress, Release, Resolve, Clear, Cursor, Receipt, Pause,
)  # fmt: skip


@attrs.frozen
class Actor:
    """Who asks: an agent's id, or one of the reserved actors with its own source. Set by the hub, never by a frame."""

    id: str
    source: Source = "agent"


THE_USER: Final = Actor(USER, "user")
THE_CLI: Final = Actor(CLI, "cli")
THE_SYSTEM: Final = Actor(SYSTEM, "system")


@attrs.frozen
class Slot:
    """Where and when a decision would be written: the next free `seq`, and the time in ms since the epoch (UTC)."""

    seq: int
    now_ms: int


_EPOCH_START: Final = datetime(1970, 1, 1, tzinfo=UTC)


def iso(ms: int) -> str:
    """`2026-05-04T03:02:01.123Z` for milliseconds since the epoch; the form used in files and on the wire."""
    minute, rest = divmod(ms, 60_000)
    return f"{_minute(minute)}{rest // 1000:02d}.{rest % 1000:03d}Z"


@lru_cache(maxsize=64)  # times that are written together are mostly near each other
def _minute(minute: int) -> str:
    return (_EPOCH_START + timedelta(minutes=minute)).isoformat(timespec="milliseconds")[:17]


def from_iso(text: str) -> int:
    """The inverse of `iso`. Raises ValueError for anything that is not an ISO 8601 time with a zone."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"time without a zone: {text!r}")
    return (moment - _EPOCH_START) // timedelta(milliseconds=1)
