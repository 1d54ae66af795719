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
    search     messages with these words, newest first; answered by `page`
    peers      the other agents; answered by `peer_list`
    status     own status; with `task` the claimed task is in progress; answered by `done`
    flag       a message becomes a task; answered by `done`
    claim      take an open task; answered by `done`
    resolve    finish a claimed task; answered by `done`
    badge      put a badge on a message; answered by `done`
    clear      earlier channel messages leave the default reads; answered by `done`
    mark       what was shown to the agent's model: everything up to `upto`, and the single `seqs`; not answered
    waking     how the session is woken, and what it was told since the last such frame; not answered
    ring       have a hook of the session that waits tell its model `text`; answered by `done`, or refused if none waits

The control door (command line to hub)
    send, read, search, peers, clear as above, acting as the person's terminal
    release    free a task, or with `reopen` open a finished one; answered by `done`
    tail       deliveries of everything from now on, or after `after_seq`; answered by `batch` frames for ever
    pause      the agent is not woken any more, or with `paused` false again; answered by `done`
    session    what a Claude Code session does, told by its hooks; answered by `brief`. That may come late: a stop or
               wait of a session that is `attended` is answered when there is something to tell
    cost       what waking and telling each session cost so far; answered by `cost_list`
    succeed    a client asks to put its own version of the hub in this one's place; answered by `done` if it is newer
               and nobody else is about to. A `stop` on the same connection then passes the lock on, see
               `hub.succession`. Neither of the two may ever change: every version must understand them
    new_code   a code to pair a browser with, for a person at a terminal; answered by `code`
    keys       the paired browsers; answered by `key_list`
    revoke     a paired browser is so no longer, said by a person at a terminal; answered by `done`
    permission  a hook asks about a prompt of its session; `bytes` follow behind the line, all that it was given;
               answered by `asked` and later by `verdict`, or by `no_opinion`
    ran        a hook tells which tools have run; `bytes` follow as above; answered by `done`
    ask        the rules for which a session asks although its mode would not: lists them, adds or removes
               one; answered by `rules`
    sessions   which sessions of Claude Code are not connected; answered by `session_list`
    projects   the registered directories; answered by `project_list`
    project    add or remove one; answered by `done`
    launch     start a session of Claude Code in a registered directory; answered by `launched`
    configure  the command that starts sessions, or that notifies the person; answered by `configured`
    probe      a message to nobody: it goes into the log, and to who follows it; answered by `done`
    metrics    the hub's figures in Prometheus' text format; answered by `figures`
    inspect    the hub's own state, with `tree` its live tasks; answered by `hub_status`
    stop       the hub stops cleanly; answered by `done` before it goes

From the hub
    welcome    answers `hello`: who the agent is, and from where deliveries begin
    batch      deliveries: all that concerns the reader in `from_seq`..`to_seq`, in order. What was filtered counts,
               so the next batch begins at `to_seq` + 1; anything else is a hole
    sent, page, peer_list, done, code, key_list, session_list, hub_status, figures, brief, cost_list   answers; `id`
               is the request's
    asked      the request was taken up, and waits for the person; said again at least every 15 s while it waits
    verdict    the person's decision: `output` is what the hook prints, if `digest` is over its own bytes
    no_opinion  nobody decides here, or not any more: the session's own dialog does
    rules      answers `ask`
    project_list, launched, configured   answers, too
    cleared    earlier messages to everybody left the default reads
    activity   what the session's hooks said last: whether its model works, waits for the person, or is idle, and
               whether one of them waits for a `ring`
    error      a refused request; with no `id`, a frame that could not be read, or a connection that is refused
    bye        the hub is about to close the connection; dial again after `retry_after_ms`

Requests carry `id`, chosen by the client and echoed. Requests that change something carry `cid`, the client's
idempotency id: sending the same `cid` again with the same content is answered as the first time and changes
nothing; with other content it is a `conflict`. An answer that changes something is sent after the change is durable.

Every change of a frame or a code is a new protocol, and a hub serves its own and the two before it. A client that is
newer than the hub replaces it first, so it is older clients that a hub has to serve: requests gain optional fields
only, and a frame or a value that a protocol does not know is not sent to clients that speak it. Fields of the hub's
frames that a client does not know it ignores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final, Literal, TypeAlias, cast

import attrs

from crosschat import model
from crosschat.codec import FROM_CLIENT, FROM_HUB, BadFrame, Codec, parse
from crosschat.errors import Code
from crosschat.limits import PAGE_ITEMS
from crosschat.model import Importance, JsonObject, Outcome, Source, Status, TaskFilter, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

PROTOCOL: Final = model.PROTOCOL
PROTOCOLS_SERVED: Final = range(max(1, PROTOCOL - model.PROTOCOLS_BACK), PROTOCOL + 1)


# --- what agents see of the log -------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class BadgeView:
    type: str
    value: str
    label: str | None = None


@attrs.frozen(kw_only=True)
class PresetView:
    name: str
    rules: tuple[str, ...]


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
    """An agent as others see it. `silent_s`: seconds since it last asked for anything; `None` if not since start.

    `since` is when it came or went. Of what is meant for it, everything up to `cursor` was shown to it, and the single
    seqs `shown` beyond; everything up to `offered` has left the hub for it.
    `unread_since` is when the oldest of what is unread came.
    """

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
    unread_since: str | None = None
    claims: tuple[str, ...] = ()
    activity: model.Activity | None = None
    mode: str | None = None
    paused: bool = False
    wake: model.WakeMode | None = None  # as its CROSSCHAT_WAKE says
    way: model.Way | None = None  # what wakes it now
    budget_s: int | None = None  # its wake budget is used up for so many seconds more
    since: str | None = None
    cursor: int = 0
    offered: int = 0
    shown: tuple[int, ...] = ()


NeedKind = Literal["question", "stuck", "reopened", "unread"]


@attrs.frozen(kw_only=True)
class Need:
    """Something that needs the person, about a `message`: `agent` asks it something (question), gives no sign though
    it holds the task (stuck), owns a task that lost its claimant (reopened), wrote what nobody reads (unread)."""

    kind: NeedKind
    message: str
    seq: int
    agent: str
    name: str
    since: str


@attrs.frozen(kw_only=True)
class KeyView:
    """A paired browser. `current`: the one that this is sent to. Not `vouched`: it is listed as paired, nothing shows
    that it was, and it counts for nothing."""

    id: str
    label: str
    paired_at: str
    last_seen_at: str | None = None
    current: bool = False
    vouched: bool = True


@attrs.frozen(kw_only=True)
class UnjoinedView:
    """A session of Claude Code that is not connected, and what to do about it. `status`: working, waiting or idle."""

    name: str
    cwd: str
    remedy: str
    session: str | None = None
    status: str | None = None


@attrs.frozen(kw_only=True)
class ProjectView:
    """A registered directory. `agents` are the ids of the sessions that work in it or below it."""

    id: str
    path: str
    name: str
    exists: bool = True
    automatic: bool = False  # registered because a session worked there
    agents: tuple[str, ...] = ()


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
class Search:
    """Messages, and results of tasks, with all words of `query`: "several words" in quotes stand beside each other.

    `sender` is a name or an id; so is `party`, whose messages are those it wrote and those addressed to it, which a
    message to everybody is not. `badge` is `type` or `type:value`; `since` and `until` are times, to the second;
    `before` is the id of the message where the page before this one ended. The answer shows of each message the part
    with the first of the words in it.
    """

    type: ClassVar = "search"
    id: str
    query: str = ""
    sender: str | None = None
    party: str | None = None
    badge: str | None = None
    since: str | None = None
    until: str | None = None
    before: str | None = None
    limit: int = PAGE_ITEMS


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
class Waking:
    """`hooks`: hooks of the session may wait and ring. `announced`: what is unread up to there was announced to it.
    `idle`: the client itself says that nothing goes on, whatever its hooks said last. `budget_s`: the wake budget is
    used up for so long. The counts are those since the last such frame: `rings` of any kind that were taken, `replies`
    of tools, and their bytes."""

    type: ClassVar = "waking"
    wake: model.WakeMode
    way: model.Way
    hooks: bool = False
    announced: int = 0
    idle: bool = False
    budget_s: int | None = None
    rings: int = 0
    ring_bytes: int = 0
    replies: int = 0
    reply_bytes: int = 0


@attrs.frozen(kw_only=True)
class Ring:
    type: ClassVar = "ring"
    id: str
    text: str


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
    ended it (startup, resume, clear, compact, …) or the kind of a notification; `mode` its permission mode. `wait`
    tells nothing. `attended`: the session is an interactive one, which does not wait for a hook in the background."""

    type: ClassVar = "session"
    id: str
    event: Literal["start", "prompt", "stop", "wait", "notification", "end"]
    attended: bool = False
    session: str | None = None
    source: str | None = None
    mode: str | None = None


@attrs.frozen(kw_only=True)
class Cost:
    type: ClassVar = "cost"
    id: str


@attrs.frozen(kw_only=True)
class Probe:
    """Whether messages are stored and delivered. No agent gets it, and it is in nobody's unread messages."""

    type: ClassVar = "probe"
    id: str
    cid: str
    content: str


@attrs.frozen(kw_only=True)
class Succeed:
    type: ClassVar = "succeed"
    id: str
    protocol: int
    version: str


@attrs.frozen(kw_only=True)
class NewCode:
    """The person is who the kernel says it is: a process with a terminal and no Claude Code process above it."""

    type: ClassVar = "new_code"
    id: str


@attrs.frozen(kw_only=True)
class Projects:
    type: ClassVar = "projects"
    id: str


@attrs.frozen(kw_only=True)
class Keys:
    type: ClassVar = "keys"
    id: str


@attrs.frozen(kw_only=True)
class RevokeKey:
    """`key` is the id of a paired browser, or its beginning."""

    type: ClassVar = "revoke"
    id: str
    key: str


@attrs.frozen(kw_only=True)
class AskPermission:
    """Whose prompt it is the kernel says: the Claude Code process above the one that asks."""

    type: ClassVar = "permission"
    id: str
    bytes: int


@attrs.frozen(kw_only=True)
class ToolsRan:
    """What follows is the input of a PostToolUse, PostToolUseFailure or PostToolBatch hook, without the answers."""

    type: ClassVar = "ran"
    id: str
    bytes: int


@attrs.frozen(kw_only=True)
class ChangeRules:
    """`rule` as Claude Code writes it, such as `Bash(git push:*)`. Changed only for a terminal of the person's, which
    has no Claude Code process above it."""

    type: ClassVar = "ask"
    id: str
    change: Literal["list", "add", "remove"] = "list"
    rule: str | None = None


@attrs.frozen(kw_only=True)
class ChangeProject:
    """Add the directory `path`, or remove the project `project`."""

    type: ClassVar = "project"
    id: str
    path: str | None = None
    project: str | None = None


@attrs.frozen(kw_only=True)
class Launch:
    """`name` is what the session will be called; without it, it names itself after its directory."""

    type: ClassVar = "launch"
    id: str
    project: str
    name: str | None = None


@attrs.frozen(kw_only=True)
class Configure:
    """The command with which sessions are started, or with which the person is notified: an argument list. `contents`:
    a notification may say what is in a message. Or the `patience`: how long a message may be unread and a task silent
    before that needs the person. Changed, or tried out (`test`, for `notify`), only by a person
    at a terminal."""

    type: ClassVar = "configure"
    id: str
    about: Literal["launch", "notify", "patience"]
    change: Literal["show", "set", "unset", "test"] = "show"
    command: tuple[str, ...] = ()
    contents: bool = False
    unread_s: float | None = None
    stuck_s: float | None = None


@attrs.frozen(kw_only=True)
class Metrics:
    type: ClassVar = "metrics"
    id: str


@attrs.frozen(kw_only=True)
class Inspect:
    type: ClassVar = "inspect"
    id: str
    tree: bool = False


@attrs.frozen(kw_only=True)
class Sessions:
    type: ClassVar = "sessions"
    id: str


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
    """`earlier` and `later`: there is more in that direction. `unread` counts what stays unread after `confirm`.
    `behind` counts the newest records that a search has not seen yet."""

    type: ClassVar = "page"
    id: str
    items: tuple[Item, ...] = ()
    earlier: bool = False
    later: bool = False
    unread: int = 0
    confirm: Confirm | None = None
    behind: int = 0


@attrs.frozen(kw_only=True)
class PeerList:
    type: ClassVar = "peer_list"
    id: str
    peers: tuple[PeerView, ...] = ()


@attrs.frozen(kw_only=True)
class SessionList:
    """`unjoined` is None where it is not known, and `problem` says why."""

    type: ClassVar = "session_list"
    id: str
    unjoined: tuple[UnjoinedView, ...] | None = None
    problem: str | None = None


@attrs.frozen(kw_only=True)
class Done:
    type: ClassVar = "done"
    id: str
    seq: int | None = None
    message: str | None = None
    task: TaskView | None = None


@attrs.frozen(kw_only=True)
class PairingCode:
    """To be typed into the page at `page`, once, within `seconds`. `first`: no browser is paired yet."""

    type: ClassVar = "code"
    id: str
    code: str
    page: str
    seconds: float
    first: bool = False


@attrs.frozen(kw_only=True)
class KeyList:
    type: ClassVar = "key_list"
    id: str
    keys: tuple[KeyView, ...] = ()


@attrs.frozen(kw_only=True)
class Brief:
    """What the model of a session should know now, in `text`. `known`: the session's agent is connected. `wake`: the
    hook that waited wakes the session with it.

    `text` stays the last field: a hook passes it on without parsing the JSON before it.
    """

    type: ClassVar = "brief"
    id: str
    known: bool = False
    wake: bool = False
    text: str | None = None


@attrs.frozen(kw_only=True)
class PermissionAsked:
    """`hub_nonce`, in hex, goes before the hook's bytes in the digest."""

    type: ClassVar = "asked"
    id: str
    hub_nonce: str


@attrs.frozen(kw_only=True)
class Verdict:
    """`digest` in hex. `output` stays the last field: the hook prints its characters without parsing JSON."""

    type: ClassVar = "verdict"
    id: str
    digest: str
    output: JsonObject


NoOpinionReason = Literal[
    "not_mine", "unreadable", "too_large", "full", "nobody", "dialog", "answered_elsewhere", "expired", "gone"
]


@attrs.frozen(kw_only=True)
class NoOpinion:
    """`nobody`: no paired page is open, and the session shows no dialog. `dialog`: it does, and asks again for that."""

    type: ClassVar = "no_opinion"
    id: str
    reason: NoOpinionReason


@attrs.frozen(kw_only=True)
class Rules:
    """`presets`: rules that can be added together, by name."""

    type: ClassVar = "rules"
    id: str
    rules: tuple[str, ...] = ()
    presets: tuple[PresetView, ...] = ()


@attrs.frozen(kw_only=True)
class ProjectList:
    """`launches` says how sessions are started here; None: no way is known."""

    type: ClassVar = "project_list"
    id: str
    projects: tuple[ProjectView, ...] = ()
    launches: str | None = None


@attrs.frozen(kw_only=True)
class Launched:
    """`where` says where the session is to be found, for people."""

    type: ClassVar = "launched"
    id: str
    where: str


@attrs.frozen(kw_only=True)
class Configured:
    """What is set now, nothing if `command` is empty. `problem` is what went wrong the last time it was run."""

    type: ClassVar = "configured"
    id: str
    command: tuple[str, ...] = ()
    contents: bool = False
    unread_s: float | None = None
    stuck_s: float | None = None
    problem: str | None = None


@attrs.frozen(kw_only=True)
class Activity:
    """Of the agent it is sent to; `state` is None while its hooks have said nothing. `paused`: do not wake it. `hook`:
    one of its hooks waits for a `ring`. `turn_ended`: its model has read what its tools answered. `announced`: a hook
    told it of what is unread up to there."""

    type: ClassVar = "activity"
    state: model.Activity | None = None
    mode: str | None = None
    paused: bool = False
    hook: bool = False
    turn_ended: bool = False
    announced: int = 0


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
class GuardView:
    """A thread that wakes nobody any more: `replies` without the person or a change of its task."""

    message: str
    author: str
    replies: int


@attrs.frozen(kw_only=True)
class CostView:
    """What one session cost since `since`. `rings` of any kind reached it, `contexts` are texts that its hooks put
    beside a prompt, `replies` those of its tools; each with the bytes the model reads. `hook_ms` is the time of
    `hooks` runs that the session waited for, each from the start of its process to the hub's answer."""

    id: str
    name: str
    connected: bool
    since: str
    rings: int = 0
    ring_bytes: int = 0
    contexts: int = 0
    context_bytes: int = 0
    replies: int = 0
    reply_bytes: int = 0
    hooks: int = 0
    hook_ms: float = 0.0


@attrs.frozen(kw_only=True)
class CostList:
    type: ClassVar = "cost_list"
    id: str
    sessions: tuple[CostView, ...] = ()


@attrs.frozen(kw_only=True)
class ReaderView:
    """A connected agent as a reader of the log: up to `cursor` it was shown everything, up to `covered` it was told
    all that concerns it; `lag` records are still to be looked at for it, `unsent` bytes wait to leave."""

    id: str
    name: str
    cursor: int
    covered: int
    lag: int = 0
    unsent: int = 0


@attrs.frozen(kw_only=True)
class Figures:
    type: ClassVar = "figures"
    id: str
    text: str


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
    guarded: tuple[GuardView, ...] = ()  # the loop guard's, the newest first
    open_tasks: int = 0
    queued: int = 0  # operations waiting for the writer
    sync_p50_ms: float | None = None  # of the last syncs of the log
    sync_p99_ms: float | None = None
    rss_bytes: int | None = None
    dashboard: str | None = None
    dashboard_problem: str | None = None
    browsers: tuple[KeyView, ...] = ()  # those that are paired
    pages: int = 0  # open ones
    damage: tuple[DamageView, ...] = ()
    notices: tuple[str, ...] = ()
    idle_stop_s: float | None = None
    readers: tuple[ReaderView, ...] = ()
    pending: int = 0  # permission requests that wait for the person
    counters: dict[str, int] = attrs.Factory(dict)  # since the start
    needs: dict[str, int] = attrs.Factory(dict)  # what needs the person, by kind
    notify_problem: str | None = None  # why the last notification failed
    search_behind: int = 0  # records that a search does not see yet
    search_problem: str | None = None
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
    Hello
    | Send
    | Read
    | Search
    | Peers
    | SetStatus
    | FlagTask
    | ClaimTask
    | ResolveTask
    | AddBadge
    | ClearChannel
    | Mark
    | Waking
    | Ring
)
ControlFrame: TypeAlias = (
    Send
    | Read
    | Search
    | Peers
    | ClearChannel
    | ReleaseTask
    | PauseAgent
    | Tail
    | SessionEvent
    | Projects
    | ChangeProject
    | Launch
    | Configure
    | Cost
    | Probe
    | Metrics
    | Succeed
    | NewCode
    | Keys
    | RevokeKey
    | Sessions
    | Inspect
    | AskPermission
    | ToolsRan
    | ChangeRules
    | Stop
)
HubFrame: TypeAlias = (
    Welcome | Batch | Sent | Page | PeerList | Done | PairingCode | KeyList | SessionList | HubStatus | Brief | CostList
    | PermissionAsked | Verdict | NoOpinion | Rules | ProjectList | Launched | Configured | Figures
    | Activity | Cleared | Error | Bye
)  # fmt: skip
Answer: TypeAlias = (
    Sent | Page | PeerList | Done | PairingCode | KeyList | SessionList | HubStatus | Figures | Brief | CostList
    | PermissionAsked | Verdict | NoOpinion | Rules | ProjectList | Launched | Configured | Error
)  # fmt: skip


# --- decoding and encoding ---------------------------------------------------------------------------------------

_CODEC: Final = Codec({AgentFrame: "type", ControlFrame: "op", HubFrame: "type"}, growing=HubFrame)


def decode_agent(data: bytes | str) -> AgentFrame:
    """A frame from the agents' door. Raises BadFrame."""
    return cast("AgentFrame", _CODEC.decode(data, AgentFrame, FROM_CLIENT))


def decode_control(data: bytes | str) -> ControlFrame:
    """A request line from the control door. Raises BadFrame."""
    return cast("ControlFrame", _CODEC.decode(data, ControlFrame, FROM_CLIENT))


def decode_hub(data: bytes | str) -> HubFrame:
    """A frame from the hub, for its clients. Raises BadFrame."""
    return cast("HubFrame", _CODEC.decode(data, HubFrame, FROM_HUB))


def hello_protocol(data: bytes | str) -> int | None:
    """The protocol of a hello, also of one that this version cannot decode; None if it is none. Raises BadFrame."""
    found = parse(data)
    protocol = found.get("protocol")
    return protocol if found.get("type") == Hello.type and type(protocol) is int else None


def request_id(data: bytes | str) -> str | None:
    """The `id` of a request that could not be decoded, if it has one, so that its error can be matched."""
    try:
        found = parse(data).get("id")
    except BadFrame:
        return None
    return found if isinstance(found, str) and len(found) <= 64 else None


def to_json(value: object) -> bytes:
    """Compact UTF-8 JSON of any value of this module; fields at their default are left out."""
    return _CODEC.to_json(value)


def complete(value: object) -> JsonObject:
    """The fields of a view or frame for scripts, also those at their default: what is not there is null or empty."""
    return _CODEC.complete(value)


def encode(frame: AgentFrame | HubFrame) -> bytes:
    """A frame as it goes over the agents' door, or from the hub. Decoding it gives an equal frame."""
    return _CODEC.tagged("type", frame.type, frame)


def encode_control(frame: ControlFrame) -> bytes:
    """A request for the control door, without the line end."""
    return _CODEC.tagged("op", frame.type, frame)


def encode_verdict(request: str, digest: str, output: str) -> bytes:
    """A `Verdict` whose output is these characters, unchanged."""
    return f'{{"type":"verdict","id":"{request}","digest":"{digest}","output":{output}}}'.encode()


def encode_batch(from_seq: int, to_seq: int, items: Iterable[bytes]) -> bytes:
    """A `Batch` from items that were encoded before with `to_json`: each is encoded once for all its readers."""
    return b'{"type":"batch","from_seq":%d,"to_seq":%d,"items":[%b]}' % (from_seq, to_seq, b",".join(items))
