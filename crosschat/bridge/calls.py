"""What each of the ten tools does: checked arguments to requests, answers to the reply's JSON object.

Nothing here touches the wire to the client. A cancel anywhere leaves at most an unconfirmed `cid`, which the next call
with the same arguments takes up.
"""

from __future__ import annotations

from typing import Final, TypeVar, cast

import attrs
import trio

from crosschat import wire
from crosschat.bridge.bells import TOLD, Bells
from crosschat.bridge.client import Link
from crosschat.bridge.evidence import commits_since
from crosschat.bridge.inbox import CallId, Inbox
from crosschat.bridge.report import Report
from crosschat.bridge.requests import Request, Unconfirmed
from crosschat.bridge.views import messages_reply, peer_view, task_view, to_text
from crosschat.bridge.waiting import Call, Waiting
from crosschat.bridge.wake import Wake
from crosschat.errors import Code, Refused
from crosschat.lengths import check_length
from crosschat.limits import PAGE_ITEMS, TOOL_DEADLINE_S, WAIT_DEFAULT_MS
from crosschat.model import Importance, JsonObject, Outcome, Status, TaskFilter, from_iso

EVIDENCE_S: Final = 2.0  # a result's answer waits no longer for the commits that go with it

_Answer = TypeVar("_Answer", wire.Sent, wire.PeerList, wire.Done)


@attrs.frozen
class Session:
    """What the tools of one client share."""

    link: Link
    inbox: Inbox
    waiting: Waiting
    wake: Wake
    bells: Bells
    report: Report
    unconfirmed: Unconfirmed = attrs.field(factory=Unconfirmed)

    def meet(self, client: str = "", version: str = "") -> None:
        """The client has said what it is, or that it does not say."""
        if not self.bells.met:
            self.bells.meet(client, version)
            self.report.post()

    def withdraw(self, call: CallId) -> None:
        """The client cancelled the call."""
        self.inbox.withdraw(call)
        self.link.news()  # what nobody read waits again

    async def ask(self, kind: type[_Answer], request: Request, deadline: float | None = None) -> _Answer:
        within = trio.current_time() + TOOL_DEADLINE_S if deadline is None else deadline
        answer = await self.link.request(request, deadline=within)
        if not isinstance(answer, kind):
            raise Refused(Code.INTERNAL, f"The hub answered {request.type} with {answer.type}")
        return answer


async def send_message(session: Session, given: JsonObject, _: Call) -> JsonObject:
    content, metadata = str(given["content"]), cast("JsonObject | None", given.get("metadata"))
    if not content.strip():
        raise Refused(Code.INVALID, "content must not be empty")
    check_length("content", content)
    check_length("metadata", None if metadata is None else to_text(metadata))
    with session.unconfirmed.cid("send_message", given) as cid:
        sent = await session.ask(
            wire.Sent,
            wire.Send(
                id=session.link.new_id(),
                cid=cid,
                content=content,
                thread=_text(given, "threadId"),
                metadata=metadata,
                importance=cast("Importance | None", given.get("importance")),
            ),
        )
    return _filled(
        messageId=sent.message,
        seq=sent.seq,
        threadId=sent.thread,
        recipients=sent.states or {"stored": 0},
        away=list(sent.away) or None,
        unresolvedMentions=list(sent.unresolved) or None,
    )


async def get_messages(session: Session, given: JsonObject, call: Call) -> JsonObject:
    message = _text(given, "messageId")
    if message is not None and (more := given.keys() - {"messageId", "offset", "markAsRead"}):
        raise Refused(Code.INVALID, f"messageId asks for one message: leave out {', '.join(sorted(more))}")
    if message is None and "offset" in given:
        raise Refused(Code.INVALID, "offset needs the messageId whose text it continues")
    if "before" in given and "after" in given:
        raise Refused(Code.INVALID, "Give before or after, not both")
    if "query" in given:
        return await _search(session, given)
    read = wire.Read(
        id=session.link.new_id(),
        thread=_text(given, "threadId"),
        limit=cast("int", given.get("limit", PAGE_ITEMS)),
        unread=bool(given.get("unreadOnly", False)),
        before=_text(given, "before"),
        after=_text(given, "after"),
        badge=_text(given, "badge"),
        message=message,
        offset=cast("int", given.get("offset", 0)),
    )
    page = await session.link.read(read, deadline=trio.current_time() + TOOL_DEADLINE_S)
    if given.get("markAsRead", True):
        session.inbox.offer_page(call.id, page)
    return messages_reply(
        page.items,
        session.inbox,
        alone=message is not None,
        earlier=page.earlier,
        later=page.later,
        unread=page.unread or None,
    )


async def _search(session: Session, given: JsonObject) -> JsonObject:
    """What was found counts as read by nobody: a search shows parts of messages."""
    if more := given.keys() - {"query", "badge", "before", "limit", "markAsRead"}:
        raise Refused(Code.INVALID, f"query goes with badge, before and limit: leave out {', '.join(sorted(more))}")
    search = wire.Search(
        id=session.link.new_id(),
        query=str(given["query"]),
        badge=_text(given, "badge"),
        before=_text(given, "before"),
        limit=cast("int", given.get("limit", PAGE_ITEMS)),
    )
    page = await session.link.read(search, deadline=trio.current_time() + TOOL_DEADLINE_S)
    return messages_reply(page.items, session.inbox, earlier=page.earlier, notSearchedYet=page.behind or None)


async def wait_for_messages(session: Session, given: JsonObject, call: Call) -> JsonObject:
    waited = await session.waiting.wait(
        call,
        timeout_s=cast("int", given.get("timeoutMs", WAIT_DEFAULT_MS)) / 1000,
        cooldown_s=cast("int", given.get("broadcastCooldownMs", 0)) / 1000,
    )
    if waited.items:
        if session.link.activity.state == "idle":
            session.report.count(rings=1)  # its turn was over: this result begins another
        return {"received": True, **messages_reply(waited.items, session.inbox)}
    away = waited.reason == "timeout" and not session.link.connected
    return _filled(
        received=False,
        reason=waited.reason,
        hub="away" if away else None,
        why=session.link.trouble if away else None,
    )


async def list_peers(session: Session, _: JsonObject, __: Call) -> JsonObject:
    answer = await session.ask(wire.PeerList, wire.Peers(id=session.link.new_id()))
    welcome = session.link.welcome
    peers = [peer_view(peer) for peer in answer.peers if peer.id != session.inbox.agent]
    return _filled(
        you=None if welcome is None else {"name": welcome.name, "id": welcome.agent},
        told=TOLD[session.bells.way],
        dashboard=None if welcome is None else welcome.dashboard,
        peers=peers,
        count=len(peers),
    )


async def set_status(session: Session, given: JsonObject, _: Call) -> JsonObject:
    with session.unconfirmed.cid("set_status", given) as cid:
        done = await _set_status(
            session,
            wire.SetStatus(
                id=session.link.new_id(),
                cid=cid,
                status=cast("Status", given["status"]),
                detail=_text(given, "detail"),
                task=_text(given, "taskMessageId"),
            ),
        )
    return {**given, **_task_of(done)}


async def _set_status(session: Session, request: wire.SetStatus, deadline: float | None = None) -> wire.Done:
    done = await session.ask(wire.Done, request, deadline)
    # The hub keeps the status of a connection only: the next one begins with it.
    session.link.hello = attrs.evolve(session.link.hello, status=request.status, detail=request.detail)
    return done


async def flag_as_task(session: Session, given: JsonObject, _: Call) -> JsonObject:
    wanted = cast("dict[str, str] | None", given.get("filter"))
    with session.unconfirmed.cid("flag_as_task", given) as cid:
        done = await session.ask(
            wire.Done,
            wire.FlagTask(
                id=session.link.new_id(),
                cid=cid,
                message=str(given["messageId"]),
                filter=None
                if not wanted
                else TaskFilter(
                    agent=wanted.get("agentId"),
                    working_dir=wanted.get("workingDirReq"),
                    project=wanted.get("gitProject"),
                ),
            ),
        )
    return {"messageId": given["messageId"], **_task_of(done)}


async def claim_task(session: Session, given: JsonObject, _: Call) -> JsonObject:
    message = str(given["messageId"])
    with session.unconfirmed.cid("claim_task", given) as cid:
        request = wire.ClaimTask(id=session.link.new_id(), cid=cid, message=message)
        done = await session.ask(wire.Done, request)
    return {"messageId": message, **_task_of(done)}


async def resolve_task(session: Session, given: JsonObject, _: Call) -> JsonObject:
    message, status = str(given["messageId"]), cast("Outcome", given["status"])
    result, error = str(given["result"]), _text(given, "error")
    check_length("result", result)
    check_length("error", error)
    with session.unconfirmed.cid("resolve_task", given) as cid:
        done = await session.ask(
            wire.Done,
            wire.ResolveTask(
                id=session.link.new_id(), cid=cid, message=message, status=status, result=result, error=error
            ),
        )
    commits: list[str] = []
    if status == "completed" and done.task is not None and done.task.claimed_at is not None:
        with trio.move_on_after(EVIDENCE_S):
            await _add_commits(session, message, done.task.claimed_at, cid, commits)
    task = _task_of(done, without=("result", "error"))  # the model has just written them
    return {"messageId": message, **task, **_filled(commits=commits or None)}


async def _add_commits(session: Session, message: str, claimed_at: str, cid: str, added: list[str]) -> None:
    """Put what was committed since the claim on the task's message, as far as that goes; `added` tells."""
    try:
        for commit in await commits_since(session.link.hello.cwd, from_iso(claimed_at) // 1000):
            badge = wire.AddBadge(
                id=session.link.new_id(),
                cid=f"{cid}-{commit.digits}",
                message=message,
                badge_type="git-commit",
                value=commit.digits,
                label=commit.subject or None,
            )
            await session.ask(wire.Done, badge)
            added.append(commit.digits)
    except (Refused, ValueError):
        return  # the result stands without


async def add_badge(session: Session, given: JsonObject, _: Call) -> JsonObject:
    with session.unconfirmed.cid("add_badge", given) as cid:
        await session.ask(
            wire.Done,
            wire.AddBadge(
                id=session.link.new_id(),
                cid=cid,
                message=str(given["messageId"]),
                badge_type=str(given["badgeType"]),
                value=str(given["badgeValue"]),
                label=_text(given, "label"),
            ),
        )
    badge = _filled(type=given["badgeType"], value=given["badgeValue"], label=given.get("label"))
    return {"messageId": given["messageId"], "badges": [badge]}


async def clear_session(session: Session, given: JsonObject, _: Call) -> JsonObject:
    deadline = trio.current_time() + TOOL_DEADLINE_S
    messages = bool(given.get("messages", True))
    with session.unconfirmed.cid("clear_session", given) as cid:
        status = wire.SetStatus(id=session.link.new_id(), cid=f"{cid}-s", status="available")
        await _set_status(session, status, deadline)
        if messages:
            clear = wire.ClearChannel(id=session.link.new_id(), cid=cid)
            await session.ask(wire.Done, clear, deadline)
    return {"cleared": messages, "status": "available"}


def _text(given: JsonObject, name: str) -> str | None:
    return cast("str | None", given.get(name))


def _filled(**fields: object) -> JsonObject:
    return {name: value for name, value in fields.items() if value is not None}


def _task_of(done: wire.Done, without: tuple[str, ...] = ()) -> JsonObject:
    if done.task is None:
        return {}
    task = task_view(done.task)
    return {"task": {name: value for name, value in task.items() if name not in without}}
