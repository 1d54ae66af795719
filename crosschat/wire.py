"""The protocol between the hub and its clients: every frame, decoded strictly and encoded compactly.

A frame is one JSON object. On `agents.sock` it is a WebSocket text message, on `control.sock` a line. What a client
sends on `agents.sock`, and everything the hub sends, carries its kind in `type`; requests on `control.sock` carry it
in `op`. Decoding is strict both ways: unknown or duplicate fields, wrong types, NaN, lone surrogates, more than
32 levels or 256 KiB are a `BadFrame`; nothing is coerced. A field with a default may be left out, and the encoder
leaves it out. Times are ISO 8601 in UTC with milliseconds unless the name ends in a unit.

The agents' door (bridge to hub)
    hello      first frame, within 5 s; everything before it is refused. `epoch` and `after_seq` resume deliveries
    send       a message, or with `thread` a reply; answered by `sent`
    read       a page of history, one message, or what is unread; answered by `page`
    peers      the other agents; answered by `peer_list`
    status     own status; with `task` the claimed task is in progress; answered by `done`
    flag       a message becomes a task; answered by `done`
    claim      take an open task; answered by `done`
    resolve    finish a claimed task; answered by `done`
    badge      put a badge on a message; answered by `done`
    clear      earlier channel messages leave the default reads; answered by `done`
    mark       what was shown to the agent's model: everything up to `upto`, and the single `seqs`; not answered

The control door (command line to hub)
    send, read, peers, clear as above, acting as the person's terminal
    release    free a task, or with `reopen` open a finished one; answered by `done`
    tail       deliveries of everything from now on, or after `after_seq`; answered by `batch` frames for ever
    pause      the agent is not woken any more, or with `paused` false again; answered by `done`
    session    what a Claude Code session does, told by its hooks; answered by `brief`
    inspect    the hub's own state, with `tree` its live tasks; answered by `hub_status`
    stop       the hub stops cleanly; answered by `done` before it goes

From the hub
    welcome    answers `hello`: who the agent is, and from where deliveries begin
    batch      deliveries: all that concerns the reader in `from_seq`..`to_seq`, in order. What was filtered counts,
               so the next batch begins at `to_seq` + 1; anything else is a hole
    sent, page, peer_list, done, hub_status, brief   answers; `id` is the request's
    cleared    earlier messages to everybody left the default reads
    activity   what the session's hooks said last: whether its model works, waits for the person, or is idle
    error      a refused request; with no `id`, a frame that could not be read, or a connection that is refused
    bye        the hub is about to close the connection; dial again after `retry_after_ms`

Requests carry `id`, chosen by the client and echoed. Requests that change something carry `cid`, the client's
idempotency id: sending the same `cid` again with the same content is answered as the first time and changes
nothing; with other content it is a `conflict`. An answer that changes something is sent after the change is durable.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from math import isinf
from typing import TYPE_CHECKING, ClassVar, Final, Literal, NoReturn, TypeAlias, cast, get_args, get_origin

import attrs
from cattrs import BaseConverter, BaseValidationError, Converter, ForbiddenExtraKeysError, transform_error
from cattrs.cols import homogenous_tuple_structure_factory
from cattrs.strategies import configure_tagged_union

from crosschat import model
from crosschat.errors import Code, Refused
from crosschat.limits import FRAME_BYTES, HUB_FRAME_BYTES, HUB_JSON_DEPTH, JSON_DEPTH, PAGE_ITEMS
from crosschat.model import Importance, JsonObject, Outcome, Source, Status, TaskFilter, TaskStatus

if TYPE_CHECKING:
    from types import UnionType

PROTOCOL: Final = 1
PROTOCOLS_SERVED: Final = (1,)
UNKNOWN_FIELDS_SHOWN: Final = 5


class BadFrame(Refused):
    """The bytes are not a frame of this protocol; `path` says where. Costs only its sender."""

    def __init__(self, message: str, *, path: str | None = None, code: Code = Code.BAD_FRAME) -> None:
        super().__init__(code, message, path=path)


# --- what agents see of the log -------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class BadgeView:
    type: str
    value: str
    label: str | None = None


@attrs.frozen(kw_only=True)
class TaskView:
    """A task as of now. `owner` and `claimant` are names; `result` only where the whole task was asked for."""

    status: TaskStatus
    owner: str
    claimant: str | None = None
    claimant_id: str | None = None
    claims: int = 0  # how often it was claimed
    filter: TaskFilter | None = None
    flagged_at: str | None = None
    claimed_at: str | None = None
    finished_at: str | None = None
    result: str | None = None
    error: str | None = None


@attrs.frozen(kw_only=True)
class RecipientView:
    name: str
    state: Literal["stored", "offered", "shown", "answered"]
    away: bool = False


ItemKind = Literal["message", "reply", "badge", "flag", "claim", "progress", "release", "resolve"]


@attrs.frozen(kw_only=True)
class Item:
    """One record as a reader sees it. `message` is the id of the message it is, or is about.

    `content` is the text of a message, the result of a `resolve`, the reason of a `release`, `type=value` of a
    `badge`, and empty for the others. `to` lists the ids it is meant for, `None` is everybody; with `here`, everybody
    who was connected.
    `offset` is where `content` begins in the whole text, in characters, `more` where to go on if it was cut.
    """

    seq: int
    kind: ItemKind
    message: str
    from_id: str
    from_name: str
    source: Source
    ts: str
    content: str = ""
    thread: str | None = None
    to: tuple[str, ...] | None = None
    here: bool = False
    private: bool = False
    importance: Importance | None = None
    metadata: JsonObject | None = None
    badges: tuple[BadgeView, ...] = ()
    task: TaskView | None = None
    replies: int = 0
    recipients: tuple[RecipientView, ...] | None = None
    quiet: bool = False  # the loop guard: it is delivered and wakes nobody
    offset: int = 0
    more: int | None = None


@attrs.frozen(kw_only=True)
class PeerView:
    """An agent as others see it. `silent_s`: seconds since it last asked for anything; `None` if not since start."""

    id: str
    name: str
    connected: bool
    status: Literal["available", "busy", "away"]
    cwd: str
    detail: str | None = None
    project: str | None = None
    task: str | None = None
    silent_s: int | None = None
    unread: int = 0
    claims: tuple[str, ...] = ()
    activity: model.Activity | None = None
    mode: str | None = None
    paused: bool = False


@attrs.frozen(kw_only=True)
class Confirm:
    """What to send back in a `mark` once the page it came with was shown."""

    upto: int | None = None
    seqs: tuple[int, ...] = ()


# --- from clients ----------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Hello:
    """`name` only if the person chose one (CROSSCHAT_NAME). The process is not asked for: the kernel names it.

    `seen_seq` and `seen_ts` are those of the last item that was delivered, so that a log which was replaced by an
    older copy is noticed even when it has grown again.
    """

    type: ClassVar = "hello"
    protocol: int
    version: str
    cwd: str
    name: str | None = None
    project: str | None = None
    session: str | None = None
    epoch: str | None = None
    after_seq: int | None = None
    seen_seq: int | None = None
    seen_ts: str | None = None
    status: Status = "available"
    detail: str | None = None


@attrs.frozen(kw_only=True)
class Send:
    type: ClassVar = "send"
    id: str
    cid: str
    content: str
    thread: str | None = None
    metadata: JsonObject | None = None
    importance: Importance | None = None


@attrs.frozen(kw_only=True)
class Read:
    """A page of the channel, or of `thread`, or of what is `unread`, or of messages with `badge`, or one `message`.

    Newest `limit` items, oldest first, unless `before` or `after` (message ids) say from where. `badge` is
    `type` or `type:value`. `offset` continues the text of a single `message`. A `mark` that was sent before counts in
    the answer.
    """

    type: ClassVar = "read"
    id: str
    thread: str | None = None
    limit: int = PAGE_ITEMS
    unread: bool = False
    before: str | None = None
    after: str | None = None
    badge: str | None = None
    message: str | None = None
    offset: int = 0


@attrs.frozen(kw_only=True)
class Peers:
    type: ClassVar = "peers"
    id: str


@attrs.frozen(kw_only=True)
class SetStatus:
    type: ClassVar = "status"
    id: str
    cid: str
    status: Status
    detail: str | None = None
    task: str | None = None


@attrs.frozen(kw_only=True)
class FlagTask:
    type: ClassVar = "flag"
    id: str
    cid: str
    message: str
    filter: TaskFilter | None = None


@attrs.frozen(kw_only=True)
class ClaimTask:
    type: ClassVar = "claim"
    id: str
    cid: str
    message: str


@attrs.frozen(kw_only=True)
class ResolveTask:
    type: ClassVar = "resolve"
    id: str
    cid: str
    message: str
    status: Outcome
    result: str
    error: str | None = None


@attrs.frozen(kw_only=True)
class AddBadge:
    type: ClassVar = "badge"
    id: str
    cid: str
    message: str
    badge_type: str
    value: str
    label: str | None = None


@attrs.frozen(kw_only=True)
class ClearChannel:
    type: ClassVar = "clear"
    id: str
    cid: str


@attrs.frozen(kw_only=True)
class Mark:
    type: ClassVar = "mark"
    upto: int | None = None
    seqs: tuple[int, ...] = ()


@attrs.frozen(kw_only=True)
class ReleaseTask:
    type: ClassVar = "release"
    id: str
    cid: str
    message: str
    reopen: bool = False


@attrs.frozen(kw_only=True)
class PauseAgent:
    """`agent` is a name or an id. Nothing is withheld from its reads."""

    type: ClassVar = "pause"
    id: str
    cid: str
    agent: str
    paused: bool = True


@attrs.frozen(kw_only=True)
class Tail:
    type: ClassVar = "tail"
    id: str
    after_seq: int | None = None


@attrs.frozen(kw_only=True)
class SessionEvent:
    """Whose session it is the kernel says: the Claude Code process above the one that asks. `source` is what began or
    ended it (startup, resume, clear, compact, …) or the kind of a notification; `mode` its permission mode."""

    type: ClassVar = "session"
    id: str
    event: Literal["start", "prompt", "stop", "notification", "end"]
    session: str | None = None
    source: str | None = None
    mode: str | None = None


@attrs.frozen(kw_only=True)
class Inspect:
    type: ClassVar = "inspect"
    id: str
    tree: bool = False


@attrs.frozen(kw_only=True)
class Stop:
    """With `restart` another hub follows at once; without, bridges start one only when a tool needs it."""

    type: ClassVar = "stop"
    id: str
    restart: bool = False


# --- from the hub ------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Welcome:
    """`after_seq`: deliveries begin behind it. `cursor`: everything up to it was shown. `notices` are for the person
    or model behind the client: a changed name, a restored log. `cleared`: as in `cleared`."""

    type: ClassVar = "welcome"
    protocol: int
    version: str
    agent: str
    name: str
    epoch: str
    after_seq: int
    cursor: int
    head: int
    cleared: int = 0
    dashboard: str | None = None
    notices: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Batch:
    type: ClassVar = "batch"
    from_seq: int
    to_seq: int
    items: tuple[Item, ...] = ()


@attrs.frozen(kw_only=True)
class Sent:
    """`states` counts the recipients by delivery state at the time of the answer; `away` names recipients that are
    not connected, `unresolved` mentions that named nobody."""

    type: ClassVar = "sent"
    id: str
    message: str
    seq: int
    thread: str | None = None
    states: dict[str, int] = attrs.Factory(dict)
    away: tuple[str, ...] = ()
    unresolved: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Page:
    """`earlier` and `later`: there is more in that direction. `unread` counts what stays unread after `confirm`."""

    type: ClassVar = "page"
    id: str
    items: tuple[Item, ...] = ()
    earlier: bool = False
    later: bool = False
    unread: int = 0
    confirm: Confirm | None = None


@attrs.frozen(kw_only=True)
class PeerList:
    type: ClassVar = "peer_list"
    id: str
    peers: tuple[PeerView, ...] = ()


@attrs.frozen(kw_only=True)
class Done:
    type: ClassVar = "done"
    id: str
    seq: int | None = None
    message: str | None = None
    task: TaskView | None = None


@attrs.frozen(kw_only=True)
class Brief:
    """What the model of a session should know now, in `text`. `known`: the session's agent is connected.

    `text` stays the last field: a hook passes it on without parsing JSON.
    """

    type: ClassVar = "brief"
    id: str
    known: bool = False
    text: str | None = None


@attrs.frozen(kw_only=True)
class Activity:
    """Of the agent it is sent to; `state` is None while its hooks have said nothing. `paused`: do not wake it."""

    type: ClassVar = "activity"
    state: model.Activity | None = None
    mode: str | None = None
    paused: bool = False


@attrs.frozen(kw_only=True)
class Cleared:
    """Messages to everybody up to `upto` left the default reads: a client forgets those it still keeps."""

    type: ClassVar = "cleared"
    upto: int


@attrs.frozen(kw_only=True)
class DamageView:
    file: str
    line: int
    reason: str


@attrs.frozen(kw_only=True)
class HubStatus:
    type: ClassVar = "hub_status"
    id: str
    pid: int
    version: str
    protocol: int
    home: str
    started_at: str
    epoch: str
    head: int
    agents: tuple[PeerView, ...] = ()
    open_tasks: int = 0
    queued: int = 0  # operations waiting for the writer
    sync_p50_ms: float | None = None  # of the last syncs of the log
    sync_p99_ms: float | None = None
    rss_bytes: int | None = None
    dashboard: str | None = None
    dashboard_problem: str | None = None
    damage: tuple[DamageView, ...] = ()
    notices: tuple[str, ...] = ()
    idle_stop_s: float | None = None
    tree: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Error:
    type: ClassVar = "error"
    id: str | None = None
    code: Code
    message: str
    path: str | None = None
    retry_after_ms: int | None = None


@attrs.frozen(kw_only=True)
class Bye:
    """`until_asked`: the person stopped the hub. Dial again, but start one only when somebody asks for something."""

    type: ClassVar = "bye"
    reason: str
    retry_after_ms: int
    until_asked: bool = False


AgentFrame: TypeAlias = (
    Hello | Send | Read | Peers | SetStatus | FlagTask | ClaimTask | ResolveTask | AddBadge | ClearChannel | Mark
)
ControlFrame: TypeAlias = (
    Send | Read | Peers | ClearChannel | ReleaseTask | PauseAgent | Tail | SessionEvent | Inspect | Stop
)
HubFrame: TypeAlias = (
    Welcome | Batch | Sent | Page | PeerList | Done | HubStatus | Brief | Activity | Cleared | Error | Bye
)
Answer: TypeAlias = Sent | Page | PeerList | Done | HubStatus | Brief | Error
AnyFrame: TypeAlias = AgentFrame | ControlFrame | HubFrame


# --- decoding and encoding ---------------------------------------------------------------------------------------

_TAG_OF: Final[dict[UnionType, str]] = {AgentFrame: "type", ControlFrame: "op", HubFrame: "type"}
Hook: TypeAlias = Callable[[object, object], object]


def _exactly(kind: type) -> Hook:
    def check(value: object, _: object) -> object:
        if type(value) is not kind:
            raise TypeError(f"expected {_JSON_NAMES[kind]}, got {_JSON_NAMES.get(type(value), 'null')}")
        return value

    return check


_JSON_NAMES: Final[dict[type, str]] = {
    str: "a string", int: "a whole number", float: "a number", bool: "true or false", dict: "an object", list: "a list",
}  # fmt: skip


def _number(value: object, _: object) -> object:
    if type(value) is float or type(value) is int:
        return float(value)
    raise TypeError(f"expected a number, got {_JSON_NAMES.get(type(value), 'null')}")


def _code(value: object, _: object) -> object:
    if type(value) is not str:
        raise TypeError(f"expected a string, got {_JSON_NAMES.get(type(value), 'null')}")
    return Code(value)


def _is_literal(kind: object) -> bool:
    origin: object = get_origin(kind)
    return origin is Literal


def _one_of(kind: object) -> Hook:
    allowed = get_args(kind)

    def check(value: object, _: object) -> object:
        if not isinstance(value, str) or value not in allowed:
            raise ValueError(f"expected one of {', '.join(allowed)}, got {str(value)[:40]!r}")
        return value

    return check


def _is_tuple(kind: object) -> bool:
    origin: object = get_origin(kind)
    return origin is tuple


def _list_for_tuple(kind: type, converter: BaseConverter) -> Hook:
    structure = homogenous_tuple_structure_factory(kind, converter)
    is_list = _exactly(list)

    def check(value: object, target: object) -> object:
        return structure(is_list(value, target), target)

    return check


def _tag_value(frame: type) -> str:
    return str(vars(frame)["type"])


def _strict_converter() -> Converter:
    converter = Converter(forbid_extra_keys=True, omit_if_default=True)
    for kind in (str, int, bool):
        converter.register_structure_hook(kind, _exactly(kind))
    converter.register_structure_hook(float, _number)
    converter.register_structure_hook(Code, _code)
    converter.register_structure_hook_func(lambda kind: kind is object, lambda value, _: value)
    converter.register_structure_hook_func(lambda kind: kind == JsonObject, _exactly(dict))
    converter.register_structure_hook_factory(_is_tuple, _list_for_tuple)
    converter.register_structure_hook_factory(_is_literal, _one_of)
    for union, tag in _TAG_OF.items():
        configure_tagged_union(union, converter, tag_generator=_tag_value, tag_name=tag)
    return converter


def _object_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise BadFrame(f"the field {twice[:64]!r} is there twice")
    return found


def _no_constant(text: str) -> NoReturn:
    raise BadFrame(f"{text} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if isinf(number):
        raise BadFrame(f"the number {text[:32]} is too large")
    return number


@attrs.frozen
class Bounds:
    """What `parse` accepts. The hub's frames may be larger and deeper than any it accepts, because they carry what
    clients sent inside views of it."""

    size: int = FRAME_BYTES
    depth: int = JSON_DEPTH


FROM_CLIENT: Final = Bounds()
FROM_HUB: Final = Bounds(HUB_FRAME_BYTES, HUB_JSON_DEPTH)


def json_depth(value: object) -> int:
    """How many lists and objects lie in each other; breadth first, so hostile depth costs no stack."""
    depth, level = 0, [value]
    while level := [item for item in level if isinstance(item, list | dict)]:
        depth += 1
        level = [inner for item in level for inner in (item.values() if isinstance(item, dict) else item)]
    return depth


def parse(data: bytes | str, bounds: Bounds = FROM_CLIENT) -> JsonObject:
    """One JSON object, strictly: no duplicate fields, NaN, lone surrogates, excess depth or size. Raises BadFrame."""
    try:
        size = len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode())
        if size > bounds.size:
            raise BadFrame(f"a frame has at most {bounds.size} bytes, this one {size}", code=Code.TOO_LARGE)
        text = data if isinstance(data, str) else data.decode()
        value = json.loads(text, object_pairs_hook=_object_once, parse_constant=_no_constant, parse_float=_finite)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise BadFrame(f"more than {bounds.depth} levels") from None
    except UnicodeEncodeError:
        raise BadFrame("a string has half of a surrogate pair") from None
    except UnicodeDecodeError as error:
        raise BadFrame(f"not UTF-8 at byte {error.start}") from None
    except ValueError as error:
        raise BadFrame(f"not JSON: {error}") from None
    if type(value) is not dict:
        raise BadFrame("a frame is a JSON object")
    if text.count("{") + text.count("[") > bounds.depth and json_depth(value) > bounds.depth:
        raise BadFrame(f"more than {bounds.depth} levels")
    return value


def _decode(data: bytes | str, union: UnionType, bounds: Bounds) -> object:
    value, tag = parse(data, bounds), _TAG_OF[union]
    kind = value.get(tag)
    if not isinstance(kind, str) or kind not in _KINDS[union]:
        raise BadFrame(f"unknown {tag} {str(kind)[:64]!r}" if tag in value else f"no {tag!r} in the frame", path=tag)
    try:
        return _CONVERTER.structure(value, cast("type", union))
    except (BaseValidationError, TypeError, ValueError, KeyError, AttributeError) as error:
        cause, _, path = transform_error(error, "", _in_words)[0].rpartition(" @ ")
        raise BadFrame(cause, path=path.lstrip(".") or None) from None


def _in_words(error: BaseException, _: type | None) -> str:
    match error:
        case ForbiddenExtraKeysError():
            names = sorted(str(name)[:64] for name in error.extra_fields)
            return f"unknown field {', '.join(names[:UNKNOWN_FIELDS_SHOWN])}"
        case KeyError():
            return "this field is missing"
        case AttributeError():
            return "expected an object"
        case _:
            return str(error)[:200]


def decode_agent(data: bytes | str) -> AgentFrame:
    """A frame from the agents' door. Raises BadFrame."""
    return cast("AgentFrame", _decode(data, AgentFrame, FROM_CLIENT))


def decode_control(data: bytes | str) -> ControlFrame:
    """A request line from the control door. Raises BadFrame."""
    return cast("ControlFrame", _decode(data, ControlFrame, FROM_CLIENT))


def decode_hub(data: bytes | str) -> HubFrame:
    """A frame from the hub, for its clients. Raises BadFrame."""
    return cast("HubFrame", _decode(data, HubFrame, FROM_HUB))


def request_id(data: bytes | str) -> str | None:
    """The `id` of a request that could not be decoded, if it has one, so that its error can be matched."""
    try:
        found = parse(data).get("id")
    except BadFrame:
        return None
    return found if isinstance(found, str) and len(found) <= 64 else None


def to_json(value: object) -> bytes:
    """Compact UTF-8 JSON of any value of this module; fields at their default are left out."""
    return json.dumps(_CONVERTER.unstructure(value), ensure_ascii=False, separators=(",", ":")).encode()


def complete(value: object) -> JsonObject:
    """The fields of a view or frame for scripts, also those at their default: what is not there is null or empty."""
    return cast("JsonObject", _COMPLETE.unstructure(value))


def encode(frame: AgentFrame | HubFrame) -> bytes:
    """A frame as it goes over the agents' door, or from the hub. Decoding it gives an equal frame."""
    return _with_tag("type", frame)


def encode_control(frame: ControlFrame) -> bytes:
    """A request for the control door, without the line end."""
    return _with_tag("op", frame)


def _with_tag(tag: str, frame: AnyFrame) -> bytes:
    head = f'{{"{tag}":"{frame.type}"'.encode()
    fields = to_json(frame)
    return head + b"}" if fields == b"{}" else head + b"," + fields[1:]


def encode_batch(from_seq: int, to_seq: int, items: Iterable[bytes]) -> bytes:
    """A `Batch` from items that were encoded before with `to_json`: each is encoded once for all its readers."""
    return b'{"type":"batch","from_seq":%d,"to_seq":%d,"items":[%b]}' % (from_seq, to_seq, b",".join(items))


_KINDS: Final = {union: frozenset(map(_tag_value, get_args(union))) for union in _TAG_OF}
_CONVERTER: Final = _strict_converter()
_COMPLETE: Final = Converter()
