"""The records that an npm CrossChat's messages, badges and tasks become. Pure: values in, values out.

Every id that a message had is kept where it can be an id here; a second message of the same id, and one with an id
that cannot be, gets one made from its bytes. Messages come in the order of their times, a thread's root before its
replies; agents come after all of them, so that nothing old is unread to anybody.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Final

import attrs

from crosschat.model import (
    ID_PATTERN,
    NAME_PATTERN,
    RESERVED_NAMES,
    SYSTEM,
    USER,
    AgentJoined,
    AnyRecord,
    Badge,
    Claim,
    Epoch,
    Flag,
    JsonObject,
    Message,
    Progress,
    Reply,
    Resolve,
    Source,
    TaskFilter,
    from_iso,
)

CONTENT_CHARS: Final = 40_000  # what is kept of one that does not fit
_SOURCES: Final[dict[str, Source]] = {USER: "user", SYSTEM: "system"}
_is_id: Final = re.compile(ID_PATTERN).fullmatch
_is_name: Final = re.compile(NAME_PATTERN).fullmatch
_BADGE_TYPE: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")
_IDS: Final = ("messageId", "id", "uuid")
_TEXTS: Final = ("content", "text", "message", "body")
_TIMES: Final = ("timestamp", "ts", "createdAt", "time", "date")
_AUTHORS: Final = ("fromName", "from", "sender", "senderName", "author", "name", "instanceName", "peerId")
_AUTHOR_IDS: Final = ("fromPeerId", "fromId", "peerId", "from", "senderId", "instanceId", "agentId")
_ROOTS: Final = ("threadId", "parentMessageId", "replyTo")
_KNOWN: Final = frozenset({*_IDS, *_TEXTS, *_TIMES, *_AUTHORS, *_AUTHOR_IDS, *_ROOTS, "source", "metadata", "badges"})


@attrs.define(eq=False)
class OldMessage:
    id: str
    author: str
    name: str
    ts: int
    content: str
    channel: str | None
    root: str | None
    source: Source
    metadata: JsonObject


@attrs.define(eq=False)
class Old:
    """Everything that was read, as far as it could be."""

    epoch: str = ""
    unreadable: int = 0
    messages: dict[str, OldMessage] = attrs.Factory(dict)
    badges: dict[str, list[JsonObject]] = attrs.Factory(dict)
    tasks: dict[str, JsonObject] = attrs.Factory(dict)
    names: dict[str, str] = attrs.Factory(dict)  # of sessions, by id
    places: dict[str, str] = attrs.Factory(dict)  # their directories

    def take_line(self, channel: str | None, thread: str | None, value: object) -> bool:
        """A line of a channel's or thread's file; False if it is no message."""
        if not is_message(value) or not isinstance(value, dict):
            return False
        raw = json.dumps(value, sort_keys=True)
        identifier = safe_id(_text(value, _IDS) or "", raw)
        before = self.messages.get(identifier)
        new = self._message(identifier, channel, thread, value)
        if before is not None:
            if (before.content, before.ts) == (new.content, new.ts):
                return True  # the same once more
            new.id = safe_id("", raw)
        self.messages[new.id] = new
        if isinstance(found := value.get("badges"), list):  # those in a file of their own are newer
            self.badges.setdefault(new.id, [badge for badge in found if isinstance(badge, dict)])
        return True

    def _message(self, identifier: str, channel: str | None, thread: str | None, value: JsonObject) -> OldMessage:
        author = value.get("from")
        nested = author if isinstance(author, dict) else {}
        name = _text(value, _AUTHORS) or _text(nested, ("name", "id")) or "unknown"
        said = _text(value, _AUTHOR_IDS) or _text(nested, ("id", "peerId")) or name
        person = value.get("source") == "user" or name.lower() in (USER, "dashboard")
        metadata = dict(found) if isinstance(found := value.get("metadata"), dict) else {}
        rest = {key: item for key, item in value.items() if key not in _KNOWN}
        if channel not in (None, "general"):
            rest["channel"] = channel
        if rest:
            metadata["imported"] = rest
        if value.get("source") == SYSTEM:
            author_id = SYSTEM
        else:
            author_id = USER if person else safe_id(said if said != name else f"old-{name}".lower(), f"agent {said}")
        if author_id not in (USER, SYSTEM):
            self.names.setdefault(author_id, name)
        content = _text(value, _TEXTS)
        root = thread or _text(value, _ROOTS)
        return OldMessage(
            identifier, author_id, name, _time(value, _TIMES), content or "(empty)", channel,
            safe_id(root, root) if root else None, _SOURCES.get(author_id, "agent"), metadata,
        )  # fmt: skip

    def take_document(self, directory: str, identifier: str, value: object) -> bool:
        """The badges or the task of one message; False if the file is neither."""
        target = safe_id(identifier, identifier)
        if directory == "tasks":
            if isinstance(value, dict):
                self.tasks[target] = value
            return isinstance(value, dict)
        found = value.get("badges", []) if isinstance(value, dict) else value
        if not isinstance(found, list):
            return False
        self.badges[target] = [badge for badge in found if isinstance(badge, dict)]
        return True

    def take_instances(self, value: object) -> None:
        """The sessions; of them names and directories."""
        found = value.get("instances", value) if isinstance(value, dict) else value
        entries = list(found.values()) if isinstance(found, dict) else found if isinstance(found, list) else []
        for entry in entries:
            if isinstance(entry, dict) and (name := _text(entry, ("name", "instanceName"))):
                said = _text(entry, ("id", "instanceId", "peerId")) or f"old-{name}".lower()
                identifier = safe_id(said, f"agent {said}")
                self.names.setdefault(identifier, name)
                self.places[identifier] = _text(entry, ("cwd", "path", "directory")) or "/"


def is_message(value: object) -> bool:
    """Whether it has an id and a text."""
    return (
        isinstance(value, dict) and bool(_text(value, _IDS)) and any(isinstance(value.get(key), str) for key in _TEXTS)
    )


def safe_id(wanted: str, otherwise: str) -> str:
    """`wanted` in lower case if that can be an id, else one made from `otherwise`."""
    lower = wanted.lower()
    return lower if _is_id(lower) else f"old-{hashlib.sha256(otherwise.encode(errors='replace')).hexdigest()[:20]}"


def compose(old: Old) -> tuple[list[AnyRecord], int]:
    """The records of the new log, and how many badges and tasks have no message."""
    records: list[AnyRecord] = [Epoch(seq=1, id="r1", ts=0, by=SYSTEM, epoch=old.epoch)]
    for message in _in_order(old):
        records.append(_record(old, message, len(records) + 1))
    homeless = 0
    for target, badges in sorted(old.badges.items()):
        homeless += len(badges) if target not in old.messages else 0
        for badge in badges if target in old.messages else ():
            records += _badge(badge, target, len(records) + 1)
    for target, task in sorted(old.tasks.items()):
        homeless += target not in old.messages
        if target in old.messages:
            records += _task(old, task, target, len(records) + 1)
    taken: set[str] = set()
    for agent in sorted(old.names):
        seq = len(records) + 1
        name = _unique_name(old.names[agent], taken)
        cwd = old.places.get(agent, "/")
        records.append(AgentJoined(seq=seq, id=f"r{seq}", ts=_last(old), by=SYSTEM, agent=agent, name=name, cwd=cwd))
    first = min((message.ts for message in old.messages.values()), default=0)
    records[0] = Epoch(seq=1, id="r1", ts=first, by=SYSTEM, epoch=old.epoch)
    return records, homeless


def _last(old: Old) -> int:
    return max((message.ts for message in old.messages.values()), default=0)


def _root(old: Old, message: OldMessage) -> OldMessage | None:
    """The message that begins its thread, if it is a reply and that is there."""
    seen: set[str] = set()
    root = message
    while root.root is not None and root.root in old.messages and root.id not in seen:
        seen.add(root.id)
        root = old.messages[root.root]
    return root if root is not message and root.id not in seen else None


def _in_order(old: Old) -> list[OldMessage]:
    """By time; a reply after its root."""

    def place(message: OldMessage) -> tuple[int, int]:
        root = _root(old, message)
        return (message.ts, 0) if root is None else (max(message.ts, root.ts), 1)

    return sorted(old.messages.values(), key=place)


def _record(old: Old, message: OldMessage, seq: int) -> Message:
    root = _root(old, message)
    metadata = dict(message.metadata)
    if root is None and message.root is not None:
        metadata["imported"] = {**_imported(metadata), "threadId": message.root}
    content, kept = _whole(message.content), metadata or None
    if root is None:
        return Message(
            seq=seq, id=message.id, ts=message.ts, by=message.author, content=content, source=message.source,
            metadata=kept,
        )  # fmt: skip
    to = tuple(sorted({root.author} - {message.author, USER, SYSTEM}))
    return Reply(
        seq=seq, id=message.id, ts=message.ts, by=message.author, content=content, source=message.source,
        metadata=kept, to=to, root=root.id,
    )  # fmt: skip


def _imported(metadata: JsonObject) -> JsonObject:
    found = metadata.get("imported")
    return found if isinstance(found, dict) else {}


def _badge(badge: JsonObject, target: str, seq: int) -> list[AnyRecord]:
    kind = (_text(badge, ("type", "badgeType")) or "").lower()
    value = _text(badge, ("value", "badgeValue")) or "true"
    if kind == "task" or not _BADGE_TYPE.fullmatch(kind):
        return []  # the task's badge follows the task
    label = _text(badge, ("label",))
    ts = _time(badge, _TIMES)
    return [
        Badge(
            seq=seq, id=f"r{seq}", ts=ts, by=SYSTEM, target=target, private=False, badge_type=kind,
            value=_whole(value)[:200], label=_whole(label)[:200] if label else None,
        )
    ]  # fmt: skip


def _task(old: Old, task: JsonObject, target: str, seq: int) -> list[AnyRecord]:
    status = (_text(task, ("status",)) or _badge_of_task(old, target) or "open").replace("-", "_")
    wanted = task.get("filter")
    found = wanted if isinstance(wanted, dict) else {}
    condition = TaskFilter(
        _text(found, ("agentId",)), _text(found, ("workingDirReq", "workingDir")), _text(found, ("gitProject",))
    )
    ts = _time(task, ("flaggedAt", "createdAt", *_TIMES)) or old.messages[target].ts
    records: list[AnyRecord] = [
        Flag(
            seq=seq, id=f"r{seq}", ts=ts, by=SYSTEM, target=target, private=False,
            filter=condition if condition != TaskFilter() else None,
        )
    ]  # fmt: skip
    said = _text(task, ("claimant", "claimantId", "claimedBy", "claimedById", "assignee"))
    if status == "open" or (said is None and status not in ("completed", "failed")):
        return records
    if (holder := _text(task, ("claimantId",))) and (named := _text(task, ("claimantName",))):
        old.names.setdefault(safe_id(holder, f"agent {holder}"), named)
    agent = _agent(old, said or "unknown")
    at = _time(task, ("claimedAt",)) or ts
    records.append(
        Claim(seq=seq + 1, id=f"r{seq + 1}", ts=at, by=agent, target=target, private=False, agent=agent, claim_epoch=1)
    )
    if status in ("in_progress", "completed", "failed"):
        records.append(
            Progress(
                seq=seq + 2, id=f"r{seq + 2}", ts=at, by=agent, target=target, private=False, agent=agent,
                claim_epoch=1,
            )
        )  # fmt: skip
    if status in ("completed", "failed"):
        end = _time(task, ("completedAt", "resolvedAt", "finishedAt")) or at
        result, error = _text(task, ("result",)) or "", _text(task, ("error",))
        records.append(
            Resolve(
                seq=seq + 3, id=f"r{seq + 3}", ts=end, by=agent, target=target, private=False,
                status="completed" if status == "completed" else "failed", result=_whole(result),
                error=_whole(error) if error else None,
            )
        )  # fmt: skip
    return records


def _badge_of_task(old: Old, target: str) -> str | None:
    """The status, where the task's own file has none: the badge has it."""
    for badge in old.badges.get(target, ()):
        if _text(badge, ("type", "badgeType")) == "task":
            return _text(badge, ("value", "badgeValue"))
    return None


def _agent(old: Old, said: str) -> str:
    """The agent that is called so, by id or name."""
    identifier = safe_id(said, f"agent {said}")
    if identifier in old.names:
        return identifier
    named = next((known for known, name in sorted(old.names.items()) if name == said), None)
    if named is None:
        named = safe_id(f"old-{said}".lower(), f"agent {said}")
        old.names[named] = said
    return named


def _unique_name(wanted: str, taken: set[str]) -> str:
    """A name that can be one here and that nobody else has."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", wanted).strip("._-")[:56] or "unknown"
    if name.lower() in RESERVED_NAMES or not _is_name(name):
        name = f"old-{name}"
    base, count = name, 1
    while name.lower() in taken:
        count += 1
        name = f"{base}-{count}"
    taken.add(name.lower())
    return name


def cut(record: AnyRecord) -> AnyRecord:
    """The record with as much of it as fits in any case."""
    if isinstance(record, Message):
        text = f"{record.content[:CONTENT_CHARS]}\n[cut: the whole is in imported/]"
        return attrs.evolve(record, content=text, metadata=None)
    if isinstance(record, Resolve):
        return attrs.evolve(record, result=record.result[:CONTENT_CHARS], error=None)
    return record


def _whole(text: str) -> str:
    """Without halves of characters, which cannot be stored."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _text(value: JsonObject, keys: tuple[str, ...]) -> str | None:
    for key in keys:
        found = value.get(key)
        if isinstance(found, str) and found:
            return found
        if isinstance(found, int | float) and not isinstance(found, bool):
            return str(found)
    return None


def _time(value: JsonObject, keys: tuple[str, ...]) -> int:
    """Milliseconds; 0 if there is none that can be read."""
    for key in keys:
        found = value.get(key)
        if isinstance(found, str):
            try:
                return max(0, from_iso(found))
            except ValueError:
                continue
        if isinstance(found, int | float) and not isinstance(found, bool) and 0 <= found < 253_402_300_799_999:
            return int(found if found > 1e11 else found * 1000)
    return 0
