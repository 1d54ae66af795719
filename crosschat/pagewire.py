"""The protocol between the hub and the page in the browser: what the person sees, does and decides there.

It travels over one WebSocket, `/stream` on the browser door, one JSON object a text message, decoded as strictly as
`wire`, with the views of `wire`. The page acts as the person (`source` is `user`): it reads everything. Only a paired
page gets a connection, and it gets it with a ticket from the calls below.

Calls over HTTP, before there is a stream: `POST /api/NAME`
    pair       a code that `crosschat dashboard` printed, and the page's public key; answered by `paired`
    pairing    how that stands, asked by a page whose pairing waits for another one: answered by `paired` as soon as
               it was settled, or after 3 s that it still waits
    challenge  something to sign; answered by `challenged`. `forbidden`: this key is not paired, or not any more
    ticket     the signature over it; answered by `ticketed`. The ticket opens one stream, within 10 s

A call comes from the page's own origin, with `Content-Type: application/json` and `X-CrossChat: 1`. Its body and the
answer to it are one JSON object with the fields of the frame and no `type`; a refusal has the fields of `error` and the
status 4xx, or 5xx if the hub cannot do it now. A key is ECDSA P-256: its public half is the uncompressed point, its id
the first 32 hex digits of SHA-256 over that. What is signed for a ticket is the text
`crosschat.v1 ticket ORIGIN CHALLENGE`, such as `crosschat.v1 ticket http://127.0.0.1:4711 Yc3…`. The stream is opened
with the subprotocols `crosschat.v1` and the ticket, and answers with the first of them. Binary values are base64url
without padding; signatures are with SHA-256, r and s raw, as WebCrypto makes them.

The page to the hub
    open       first frame, within 5 s: which page this is, and where its deliveries go on; answered by `opened`
    send, read, search, peers, flag, badge, release, pause, clear, project, launch   as in `wire`, by the person
    reassign   a claimed or open task goes to `agent`; answered by `done`
    restore    takes the last `clear` back; answered by `done`
    decide     a signed decision on a permission request; answered by `done` once it is on its way to the session
    ask        the rules for which a session asks although its mode would not: `add` one or `remove` one
    pair       accept or refuse another browser that wants to be paired
    revoke     a paired browser is so no longer
    events     what happened: joins, leaves, starts, pairings, decisions; answered by `event_page`

The hub to the page
    opened     who the page is, and from where deliveries begin
    batch, sent, page, peer_list, done, cleared, error, bye   as in `wire`; a batch has everything that readers may see
    people     all agents as they are now; after each change, at most every 250 ms
    needs              what needs the person beside permissions; after each change, at most once a second
    permission         a request that waits for a decision; all of them after `opened`, then each new one
    permission_over    it does not wait any more, and why
    desk       the rules of the ask-list, and the paired browsers
    pairing    another browser wants to be paired and needs a yes from here; with `over`, that has been settled
    event      one thing that happened, as it happens
    event_page, launched   answers
    hub        the hub itself: version, disk, trouble, projects; after each change

A decision is signed over the exact text `payload`: the JSON object {id, digest, hub_nonce, output}, compact and in this
order, as JSON.stringify makes it. `digest` is SHA-256 over the nonce and the bytes the session's hook sent (`raw`, as
UTF-8). `output` is all that the hook will print, character by character. What it may be depends on the event that `raw`
names, PermissionRequest or PreToolUse: see `core.permissions`. It is signed as the challenge is.
"""

from __future__ import annotations

from typing import ClassVar, Final, Literal, TypeAlias, TypeVar, cast, get_args

import attrs

from crosschat.codec import FROM_CLIENT, Bounds, Codec
from crosschat.limits import HUB_JSON_DEPTH, PAGE_ITEMS, SCREEN_FRAME_BYTES
from crosschat.wire import (
    AddBadge,
    Batch,
    Bye,
    ChangeProject,
    ClearChannel,
    Cleared,
    DamageView,
    Done,
    Error,
    FlagTask,
    GuardView,
    KeyView,
    Launch,
    Launched,
    Need,
    Page,
    PauseAgent,
    PeerList,
    Peers,
    PeerView,
    PresetView,
    ProjectView,
    Read,
    ReleaseTask,
    RevokeKey,
    Search,
    Send,
    Sent,
    UnjoinedView,
)

SUBPROTOCOL: Final = "crosschat.v1"


def to_sign(origin: str, challenge: str) -> str:
    """The text whose signature gets a ticket."""
    return f"{SUBPROTOCOL} ticket {origin} {challenge}"


# --- views -------------------------------------------------------------------------------------------------------

Decided = Literal["decided", "answered_elsewhere", "expired", "gone"]
EventKind = Literal[
    "joined", "left", "hub_started", "hub_stopping", "paired", "pairing_refused", "revoked", "decided",
    "answered_elsewhere", "alarm", "cleared", "restored", "launched", "paused", "resumed",
]  # fmt: skip


@attrs.frozen(kw_only=True)
class PermissionView:
    """A session asks for permission. `raw` is all that its hook was given, unchanged: what is shown comes from it.

    `received_at` is when it reached the hub. `printing`: a session without a terminal, so nobody else can answer.
    """

    id: str
    agent: str
    name: str
    cwd: str
    raw: str
    digest: str  # hex
    hub_nonce: str  # hex
    received_at: str
    mode: str | None = None
    printing: bool = False


@attrs.frozen(kw_only=True)
class EventView:
    """One line of the activity log. `text` is for people; `seq` orders the log of events, not the messages."""

    seq: int
    ts: str
    kind: EventKind
    text: str
    agent: str | None = None
    name: str | None = None


# --- calls over HTTP ---------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Pair:
    """`key` is the public half; `label` is what the person will know the browser by."""

    type: ClassVar = "pair"
    code: str
    key: str
    label: str


@attrs.frozen(kw_only=True)
class AwaitPairing:
    type: ClassVar = "pairing"
    pairing: str


@attrs.frozen(kw_only=True)
class Paired:
    """`waiting`: an already paired page has to accept it; ask about `pairing`. `fingerprint` is shown by both."""

    type: ClassVar = "paired"
    state: Literal["paired", "waiting", "refused", "expired"]
    key: str
    label: str
    fingerprint: str
    pairing: str | None = None


@attrs.frozen(kw_only=True)
class Challenge:
    type: ClassVar = "challenge"
    key: str


@attrs.frozen(kw_only=True)
class Challenged:
    type: ClassVar = "challenged"
    challenge: str


@attrs.frozen(kw_only=True)
class GetTicket:
    type: ClassVar = "ticket"
    key: str
    challenge: str
    signature: str


@attrs.frozen(kw_only=True)
class Ticketed:
    type: ClassVar = "ticketed"
    ticket: str


# --- from the page -----------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Open:
    """`epoch` and `after_seq` resume the deliveries; without them they begin with what comes next."""

    type: ClassVar = "open"
    id: str
    protocol: int
    version: str
    epoch: str | None = None
    after_seq: int | None = None


@attrs.frozen(kw_only=True)
class ReassignTask:
    type: ClassVar = "reassign"
    id: str
    cid: str
    message: str
    agent: str


@attrs.frozen(kw_only=True)
class Restore:
    type: ClassVar = "restore"
    id: str
    cid: str


@attrs.frozen(kw_only=True)
class Decide:
    """`request` is the id of the permission request; `signature` is over `payload`, see the module."""

    type: ClassVar = "decide"
    id: str
    request: str
    payload: str
    signature: str


@attrs.frozen(kw_only=True)
class AskRule:
    """A rule of Claude Code, such as `Bash(git push:*)`."""

    type: ClassVar = "ask"
    id: str
    rule: str
    change: Literal["add", "remove"] = "add"


@attrs.frozen(kw_only=True)
class AnswerPairing:
    type: ClassVar = "pair"
    id: str
    pairing: str
    accept: bool


@attrs.frozen(kw_only=True)
class Events:
    """The newest, oldest first, or those before the one numbered `before`."""

    type: ClassVar = "events"
    id: str
    before: int | None = None
    limit: int = PAGE_ITEMS


# --- from the hub ------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Opened:
    """`label` is what the browser was called when it was paired. A `version` other than the page's own: reload."""

    type: ClassVar = "opened"
    id: str
    protocol: int
    version: str
    epoch: str
    after_seq: int
    head: int
    key: str
    label: str
    cleared: int = 0


@attrs.frozen(kw_only=True)
class People:
    type: ClassVar = "people"
    agents: tuple[PeerView, ...] = ()
    unjoined: tuple[UnjoinedView, ...] = ()


@attrs.frozen(kw_only=True)
class Needs:
    type: ClassVar = "needs"
    needs: tuple[Need, ...] = ()


@attrs.frozen(kw_only=True)
class Permission:
    type: ClassVar = "permission"
    request: PermissionView


@attrs.frozen(kw_only=True)
class PermissionOver:
    """`by` is the label of the browser that decided; `behavior` what it decided."""

    type: ClassVar = "permission_over"
    request: str
    how: Decided
    behavior: Literal["allow", "deny"] | None = None
    by: str | None = None


@attrs.frozen(kw_only=True)
class Desk:
    type: ClassVar = "desk"
    rules: tuple[str, ...] = ()
    presets: tuple[PresetView, ...] = ()  # rules that can be added together
    keys: tuple[KeyView, ...] = ()


@attrs.frozen(kw_only=True)
class Pairing:
    """`fingerprint` is of the other browser's key; both pages show it. `over`: nothing to answer any more."""

    type: ClassVar = "pairing"
    pairing: str
    label: str
    fingerprint: str
    over: bool = False


@attrs.frozen(kw_only=True)
class Event:
    type: ClassVar = "event"
    event: EventView


@attrs.frozen(kw_only=True)
class EventPage:
    type: ClassVar = "event_page"
    id: str
    events: tuple[EventView, ...] = ()
    earlier: bool = False


@attrs.frozen(kw_only=True)
class Hub:
    type: ClassVar = "hub"
    version: str
    home: str
    started_at: str
    head: int
    open_tasks: int = 0
    storage_full: bool = False
    launches: str | None = None  # how sessions are started here; None: no way is known
    projects: tuple[ProjectView, ...] = ()
    damage: tuple[DamageView, ...] = ()
    notices: tuple[str, ...] = ()
    guarded: tuple[GuardView, ...] = ()  # threads that the loop guard holds


PageFrame: TypeAlias = (
    Open | Send | Read | Peers | FlagTask | AddBadge | ReleaseTask | PauseAgent | ClearChannel | ReassignTask | Restore
    | Decide | AskRule | AnswerPairing | RevokeKey | Search | Events | ChangeProject | Launch
)  # fmt: skip
ScreenFrame: TypeAlias = (
    Opened | Batch | Sent | Page | PeerList | Done | Cleared | Error | Bye | People | Needs | Permission
    | PermissionOver | Desk | Pairing | Event | EventPage | Launched | Hub
)  # fmt: skip

CallFrame: TypeAlias = Pair | AwaitPairing | Challenge | GetTicket
CallAnswer: TypeAlias = Paired | Challenged | Ticketed | Error
Answered = TypeVar("Answered", Paired, Challenged, Ticketed, Error)

_CODEC: Final = Codec({PageFrame: "type", ScreenFrame: "type"})
_CALLS: Final[dict[str, type[CallFrame]]] = {vars(call)["type"]: call for call in get_args(CallFrame)}
# A permission request carries all that a hook was given, up to 1 MiB, as one string: twice as much when it is escaped.
_FROM_HUB: Final = Bounds(SCREEN_FRAME_BYTES, HUB_JSON_DEPTH)


def decode_page(data: bytes | str) -> PageFrame:
    """A frame from the page. Raises BadFrame."""
    return cast("PageFrame", _CODEC.decode(data, PageFrame, FROM_CLIENT))


def decode_screen(data: bytes | str) -> ScreenFrame:
    """A frame from the hub, for a client that stands in for the page. Raises BadFrame."""
    return cast("ScreenFrame", _CODEC.decode(data, ScreenFrame, _FROM_HUB))


def encode(frame: PageFrame | ScreenFrame) -> bytes:
    """A frame as it goes over the stream. Decoding it gives an equal frame."""
    return _CODEC.tagged("type", frame.type, frame)


def decode_call(name: str, data: bytes) -> CallFrame:
    """The body of `POST /api/NAME`. Raises BadFrame, and KeyError if there is no such call."""
    return _CODEC.decode_as(data, _CALLS[name], FROM_CLIENT)


def encode_call(frame: CallFrame | CallAnswer) -> bytes:
    """The body of a call, or of its answer."""
    return _CODEC.to_json(frame)


def decode_answer(data: bytes, kind: type[Answered]) -> Answered:
    """The answer to a call, for a client that stands in for the page. Raises BadFrame."""
    return _CODEC.decode_as(data, kind, _FROM_HUB)
