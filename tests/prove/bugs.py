"""Seeded bugs: what could go wrong in the product, each planted in a test build and each found by a part of the proof.

A bug is a change of the product's own code, made in memory by whoever asks for it by name: a forked hub (`roles`), or a
test around a part that needs no process. Nothing of this is in the product, and nothing there can switch it on.
"""

from __future__ import annotations

import hashlib
import json
import re
from array import array
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import attrs
import pytest
import trio

from crosschat import codec, wire
from crosschat.bridge.inbox import Inbox
from crosschat.core import handle as rules
from crosschat.core import outcomes, views
from crosschat.core import permissions as permission_rules
from crosschat.core import state as core_state
from crosschat.core.pairing import Key, Pairings
from crosschat.core.remembered import Remembered
from crosschat.hub import (
    audit,
    control,
    guard,
    hooks,
    instances,
    notify,
    pairing,
    peers,
    permissions,
    router,
    succession,
    tree,
    webserver,
)
from crosschat.hub import main as hub_main
from crosschat.hub.delivery import Delivery
from crosschat.hub.recovery import recover
from crosschat.journal import files as journal_files
from crosschat.journal import format as log_format
from crosschat.journal import manifest, recovery, scan, tail, writer
from crosschat.journal.audit import AuditFile
from crosschat.journal.files import Files
from crosschat.journal.format import decode
from crosschat.wire import BadgeView, Hello
from tests.prove import inputs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import ModuleType

    from crosschat.journal.files import Bytes
    from crosschat.journal.index import Snapshot
    from crosschat.model import JsonObject, Receipt


@attrs.frozen
class Bug:
    """`part`: the one that finds it."""

    name: str
    part: str
    plant: Callable[[pytest.MonkeyPatch], None]


def switch_on(name: str) -> None:
    """For the rest of this process."""
    next(bug for bug in BUGS if bug.name == name).plant(pytest.MonkeyPatch())


@attrs.define(eq=False)
class _Except:
    """`Files` of which some calls are others."""

    real: Files
    instead: dict[str, Callable[..., object]]

    def __getattr__(self, name: str) -> object:
        return self.instead.get(name) or getattr(self.real, name)


def _with_files(
    patch: pytest.MonkeyPatch, method: str, instead: Callable[[Files], dict[str, Callable[..., object]]]
) -> None:
    """During that method of the log's tail some calls on files are others."""
    _with_files_of(patch, tail.Tail, "files", method, instead)


def _with_files_of(
    patch: pytest.MonkeyPatch,
    owner: type,
    files: str,
    method: str,
    instead: Callable[[Files], dict[str, Callable[..., object]]],
) -> None:
    original = getattr(owner, method)

    def changed(self: object, *arguments: object) -> object:
        real = getattr(self, files)
        setattr(self, files, _Except(real, instead(real)))
        try:
            return original(self, *arguments)
        finally:
            setattr(self, files, real)

    patch.setattr(owner, method, changed)


def _nothing(*_: object) -> None:
    return None


# --- syncs


def ack_before_sync(patch: pytest.MonkeyPatch) -> None:
    original = writer._Writer.commit

    async def commit(
        self: writer._Writer, batch: writer._Batch, limiter: trio.CapacityLimiter
    ) -> list[writer.Committed]:
        if batch.committed:
            self.settle(batch)
        return await original(self, batch, limiter)

    patch.setattr(writer._Writer, "commit", commit)


def publish_before_sync(patch: pytest.MonkeyPatch) -> None:
    """Readers are told, and the state is changed, before the records are durable."""
    original = writer.write_log

    async def write_log(operations: object, **given: object) -> None:
        log, apply, publish = given["log"], given["apply"], given["publish"]
        done: list[int] = []

        class Early:
            def __getattr__(self, name: str) -> object:
                return getattr(log, name)

            def append(self, lines: Sequence[bytes]) -> None:
                committed = [writer.Committed(decode(line), line) for line in lines]
                trio.from_thread.run_sync(tell, committed)
                log.append(lines)  # type: ignore[attr-defined]

        def tell(committed: list[writer.Committed]) -> None:
            for one in committed:
                apply(one.record)  # type: ignore[operator]
            publish(committed)  # type: ignore[operator]
            done.append(len(committed))

        given |= {"log": Early(), "apply": _nothing, "publish": _nothing}
        await original(operations, **given)  # type: ignore[arg-type]

    patch.setattr(tree, "write_log", write_log)


def no_sync(patch: pytest.MonkeyPatch) -> None:
    _with_files(patch, "append", _without_sync)


def no_directory_sync(patch: pytest.MonkeyPatch) -> None:
    """A new segment's name is left to the file system."""
    _with_files(patch, "_next_segment", lambda _: {"fsync": _nothing})


def no_directory_sync_at_start(patch: pytest.MonkeyPatch) -> None:
    """The rewritten segment is synced, its name is not."""
    original, count = recovery._sync, [0]

    def sync(files: Files, fd: int) -> None:
        count[0] += 1
        if count[0] % 2:
            original(files, fd)

    patch.setattr(recovery, "_sync", sync)


def no_rewrite_at_start(patch: pytest.MonkeyPatch) -> None:
    """What was read at the start is served, whether or not it is on the disk."""
    patch.setattr(recovery, "_sync", _nothing)


def format_not_synced(patch: pytest.MonkeyPatch) -> None:
    from crosschat.journal import directory

    def careless(files: Files, path: Path, data: bytes) -> None:
        fd = files.open(path, "create")
        journal_files.write_all(files, fd, data)
        files.close(fd)

    patch.setattr(directory, "write_atomically", careless)


def retry_sync(patch: pytest.MonkeyPatch) -> None:
    _with_files(patch, "append", _syncing_again)


def _without_sync(_: Files) -> dict[str, Callable[..., object]]:
    return {"fdatasync": _nothing}


def _syncing_again(real: Files) -> dict[str, Callable[..., object]]:
    def again(fd: int) -> None:
        try:
            real.fdatasync(fd)
        except OSError:
            real.fdatasync(fd)

    return {"fdatasync": again}


# --- writes


def ignore_short_write(patch: pytest.MonkeyPatch) -> None:
    def once(files: Files, fd: int, data: Bytes) -> None:
        files.write(fd, data)

    patch.setattr(tail, "write_all", once)


def leave_failed_write(patch: pytest.MonkeyPatch) -> None:
    """A write that failed is not cut back."""
    _with_files(patch, "_write", lambda _: {"truncate": _nothing})


def swallow_sync_error(patch: pytest.MonkeyPatch) -> None:
    def instead(real: Files) -> dict[str, Callable[..., object]]:
        def shrug(fd: int) -> None:
            with suppress(OSError):
                real.fdatasync(fd)

        return {"fdatasync": shrug}

    _with_files(patch, "append", instead)


def failed_sync_is_a_clean_end(patch: pytest.MonkeyPatch) -> None:
    """Who started the hub is not told."""
    patch.setattr(hub_main, "EXIT_JOURNAL", 0)


# --- starts


def trust_stale_index(patch: pytest.MonkeyPatch) -> None:
    original = recovery._lines_of

    def believe(snapshot: Snapshot, numbers: list[int], home: Path, files: Files) -> int | None:
        found = original(snapshot, numbers, home, files)
        return len(snapshot.offsets) // 8 if found is None and len(numbers) >= len(snapshot.segments) else found

    patch.setattr(recovery, "_lines_of", believe)


def cut_at_first_damage(patch: pytest.MonkeyPatch) -> None:
    """Whatever follows a damaged line is taken for a torn end."""
    original = scan.Scan._take

    def take(self: scan.Scan, lines: list[bytes], position: int) -> int:
        if getattr(self, "_file", "") in _broken:
            return position
        before = len(self.damages)
        result = original(self, lines, position)
        if len(self.damages) > before:
            _broken.add(self._file)
            self.whole = min(self.whole, position)
        return result

    _broken: set[str] = set()
    patch.setattr(scan.Scan, "_take", take)
    patch.setattr(scan, "CHUNK_BYTES", 256)


def cut_without_copy(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(recovery, "set_aside", lambda *_: "damaged/nothing")


def keep_torn_tail(patch: pytest.MonkeyPatch) -> None:
    original = scan.Scan.read

    def read(self: scan.Scan, data: object) -> None:
        original(self, data)  # type: ignore[arg-type]
        self.whole = max(self.whole, self.size)

    patch.setattr(scan.Scan, "read", read)


def half_operation_is_whole(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(scan, "has_more", lambda _: False)


def damage_unreported(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(scan.Scan, "_report", _nothing)


def offsets_shifted(patch: pytest.MonkeyPatch) -> None:
    """Counting goes on as if nothing were missing."""
    original = scan.Scan._place

    def place(self: scan.Scan, line: bytes, position: int) -> int | None:
        seq = original(self, line, position)
        if seq is not None and seq > 2 and not self.offsets[seq - 2]:
            self.offsets = array("Q", [*self.offsets[: seq - 2], *self.offsets[seq - 1 :]])
        return seq

    patch.setattr(scan.Scan, "_place", place)


# --- upgrades


def lock_not_handed_over(patch: pytest.MonkeyPatch) -> None:
    """It is let go, and the next hub takes it if nobody else does."""
    patch.setattr(succession.Succession, "hand_over", _nothing)


def two_heirs_are_let_in(patch: pytest.MonkeyPatch) -> None:
    original = succession.Succession.reserve

    def reserve(self: succession.Succession, asker: object, frame: wire.Succeed) -> None:
        self.heir = None
        original(self, asker, frame)

    patch.setattr(succession.Succession, "reserve", reserve)


# --- requests


def cids_forgotten_at_start(patch: pytest.MonkeyPatch) -> None:
    def forgetful(home: Path, files: Files, *, segment_bytes: int) -> object:
        recovered = recover(home, files, segment_bytes=segment_bytes)
        recovered.state.requests = Remembered()
        return recovered

    patch.setattr(hub_main, "recover", forgetful)


def cid_content_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rules, "to_json", lambda _: b"")


def claim_without_epoch(patch: pytest.MonkeyPatch) -> None:
    """Two operations on one task may share a batch, so the second does not see the first."""
    patch.setattr(router, "conflict_keys", lambda *_: frozenset())


def badge_behind_task(patch: pytest.MonkeyPatch) -> None:
    original = views.badges_of

    def badges(state: core_state.State, seq: int) -> tuple[BadgeView, ...]:
        task = state.tasks.get(seq)
        if task is None or task.claims < 2:
            return original(state, seq)
        return (BadgeView(type="task", value="open"), *state.badges.get(seq, ()))

    patch.setattr(views, "badges_of", badges)


# --- readers


def drop_on_slow_reader(patch: pytest.MonkeyPatch) -> None:
    original = Delivery.offer

    def offer(self: Delivery, fresh: router.Fresh) -> None:
        if not self._connection.idle and self.covered == fresh.first - 1:
            self.covered = fresh.last
        original(self, fresh)

    patch.setattr(Delivery, "offer", offer)


def cancelled_wait_counts_as_read(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Inbox, "withdraw", _nothing)


def cursor_confirmed_on_send(patch: pytest.MonkeyPatch) -> None:
    """What left the hub counts as read."""
    original = core_state.State._apply_receipt

    def apply(self: core_state.State, record: Receipt) -> None:
        original(self, record)
        agent = self.agents.get(record.agent)
        if agent is not None and record.state == "offered":
            agent.cursor = max(agent.cursor, *record.seqs)

    patch.setattr(core_state.State, "_apply_receipt", apply)


def resume_too_late(patch: pytest.MonkeyPatch) -> None:
    _resume_elsewhere(patch, 3)


def resume_too_early(patch: pytest.MonkeyPatch) -> None:
    _resume_elsewhere(patch, -3)


def _resume_elsewhere(patch: pytest.MonkeyPatch, step: int) -> None:
    original = peers._Peer._resume

    def resume(self: peers._Peer, hello: Hello, cursor: int) -> tuple[int, tuple[str, ...]]:
        after, notices = original(self, hello, cursor)
        return max(0, min(after + step, self._router.state.head)), notices

    patch.setattr(peers._Peer, "_resume", resume)


def lines_twice_in_files(patch: pytest.MonkeyPatch) -> None:
    """What a killed hub wrote into the documented files is left there, and written again."""
    original = manifest.Manifest._list

    def listed(self: manifest.Manifest) -> dict[str, int]:
        there = original(self)
        for path in list(self.sizes):
            if path.endswith(".jsonl"):
                self.sizes[path] = there.get(path, 0)
        return there

    patch.setattr(manifest.Manifest, "_list", listed)


# --- approvals


def digest_over_parsed(patch: pytest.MonkeyPatch) -> None:
    def digest(nonce: bytes, raw: bytes) -> str:
        return hashlib.sha256(nonce + json.dumps(json.loads(raw)).encode()).hexdigest()

    patch.setattr(permission_rules, "digest", digest)


def key_twice_is_read(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(codec, "_object_once", dict)


def invisible_is_not_shown(patch: pytest.MonkeyPatch) -> None:
    original = permission_rules.read_request

    def read_request(raw: bytes) -> permission_rules.Asked:
        asked = original(raw)
        return attrs.evolve(asked, text=asked.text.replace("\u200b", ""))

    patch.setattr(permission_rules, "read_request", read_request)


def output_is_written_anew(patch: pytest.MonkeyPatch) -> None:
    def encode_verdict(request: str, digest: str, output: str) -> bytes:
        return wire.encode_verdict(request, digest, json.dumps(json.loads(output), separators=(",", ":")))

    patch.setattr(permissions, "encode_verdict", encode_verdict)


def hook_trusts_the_hub(patch: pytest.MonkeyPatch) -> None:
    """It does not compare the digest."""
    original = inputs.load_hook

    def load_hook() -> ModuleType:
        hook = original()
        check = hook.output
        vars(hook)["output"] = lambda line, _: check(line, line[37:101])
        return hook

    patch.setattr(inputs, "load_hook", load_hook)


def allow_before_audit(patch: pytest.MonkeyPatch) -> None:
    _answer_does_not_wait(patch, 0)


def allow_long_before_audit(patch: pytest.MonkeyPatch) -> None:
    _answer_does_not_wait(patch, 0.1)


def _answer_does_not_wait(patch: pytest.MonkeyPatch, late_s: float) -> None:
    """The line of the audit is written when the answer has left."""
    original = audit.Audit.write

    async def later(self: audit.Audit, fields: JsonObject) -> None:
        await trio.sleep(late_s)
        with suppress(OSError):
            await original(self, fields)

    async def write(self: audit.Audit, fields: JsonObject) -> None:
        trio.lowlevel.spawn_system_task(later, self, fields)
        await trio.lowlevel.checkpoint()

    patch.setattr(audit.Audit, "write", write)


def audit_not_synced(patch: pytest.MonkeyPatch) -> None:
    _with_files_of(patch, AuditFile, "_files", "append", _without_sync)


def audit_synced_again(patch: pytest.MonkeyPatch) -> None:
    _with_files_of(patch, AuditFile, "_files", "append", _syncing_again)


def audit_error_overlooked(patch: pytest.MonkeyPatch) -> None:
    original = audit.Audit.write

    async def write(self: audit.Audit, fields: JsonObject) -> None:
        with suppress(OSError):
            await original(self, fields)

    patch.setattr(audit.Audit, "write", write)


def older_decision_is_taken(patch: pytest.MonkeyPatch) -> None:
    """What was signed may be about another request."""
    original = permission_rules.read_decision

    def read_decision(asked: permission_rules.Asked, payload: str, _: str) -> permission_rules.Decision:
        head, found, _rest = payload.partition('"output":')
        return original(asked, payload, head + found)

    patch.setattr(permission_rules, "read_decision", read_decision)


def decided_twice(patch: pytest.MonkeyPatch) -> None:
    """A request that is being decided still counts as pending."""
    original = permissions.PermissionDesk.decide

    async def decide(self: permissions.PermissionDesk, *, request: str, **given: str) -> None:
        waiting = self._waiting.get(request)
        if waiting is not None and waiting.state == "deciding":
            waiting.state = "pending"
        await original(self, request=request, **given)

    patch.setattr(permissions.PermissionDesk, "decide", decide)


# --- the browser door


def _judge_as_if(patch: pytest.MonkeyPatch, name: bytes, right: Callable[[bytes, int], bytes]) -> None:
    """The guard takes the header for what `right` makes of it."""
    original = guard.judge

    def judge(asked: guard.Asked, port: int) -> guard.Refusal | None:
        headers = [(found, right(value, port) if found == name else value) for found, value in asked.headers]
        return original(attrs.evolve(asked, headers=headers), port)

    patch.setattr(webserver, "judge", judge)


def host_not_checked(patch: pytest.MonkeyPatch) -> None:
    _judge_as_if(patch, b"host", lambda _, port: f"127.0.0.1:{port}".encode())


def origin_without_port(patch: pytest.MonkeyPatch) -> None:
    def on_this_host(value: bytes, port: int) -> bytes:
        return f"http://127.0.0.1:{port}".encode() if value.startswith(b"http://127.0.0.1:") else value

    _judge_as_if(patch, b"origin", on_this_host)


def other_sites_may_ask(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(guard, "_judge_site", _nothing)


def answers_may_be_read(patch: pytest.MonkeyPatch) -> None:
    original = guard.headers_of
    patch.setattr(webserver, "headers_of", lambda port: (*original(port), (b"access-control-allow-origin", b"*")))


# --- who may


def signature_not_checked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(pairing, "is_signed", lambda *_: True)


def everybody_is_a_person(patch: pytest.MonkeyPatch) -> None:
    """Also who runs below a session."""
    for module in (pairing, control, hooks, instances, notify):
        patch.setattr(module, "refuse_all_but_a_person", _nothing)


def ticket_is_good_twice(patch: pytest.MonkeyPatch) -> None:
    original, redeemed = Pairings.redeem, dict[str, Key]()

    def redeem(self: Pairings, ticket: str, now_s: float) -> Key | None:
        key = original(self, ticket, now_s) or redeemed.get(ticket)
        if key is not None:
            redeemed[ticket] = key
        return key

    patch.setattr(Pairings, "redeem", redeem)


# --- parsers


def endless_number_is_read(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(codec, "_finite", float)


def half_a_character_is_read(patch: pytest.MonkeyPatch) -> None:
    """From a line of the log."""
    patch.setattr(log_format, "_ESCAPED", re.compile(rb"(?!)"))


def tool_is_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(outcomes, "_use", lambda call: outcomes.Use(call["tool_name"], call["tool_input"]))


BUGS: Final = (
    Bug("ack before sync", "kill", ack_before_sync),
    Bug("publish before sync", "kill", publish_before_sync),
    Bug("no sync", "crash", no_sync),
    Bug("no directory sync for a new segment", "crash", no_directory_sync),
    Bug("no directory sync at the start", "crash", no_directory_sync_at_start),
    Bug("no sync of the rewritten segment", "crash", no_rewrite_at_start),
    Bug("FORMAT is not synced", "crash", format_not_synced),
    Bug("a failed sync is retried", "faults", retry_sync),
    Bug("a short write is ignored", "faults", ignore_short_write),
    Bug("a failed write is left in the log", "faults", leave_failed_write),
    Bug("a failed sync is swallowed", "faults", swallow_sync_error),
    Bug("a stale index is trusted", "damage", trust_stale_index),
    Bug("the log is cut at its first damage", "damage", cut_at_first_damage),
    Bug("what is cut is not copied", "damage", cut_without_copy),
    Bug("damage is not reported", "damage", damage_unreported),
    Bug("records behind a gap move up", "damage", offsets_shifted),
    Bug("a torn end is kept", "crash", keep_torn_tail),
    Bug("half an operation counts", "crash", half_operation_is_whole),
    Bug("a failed sync is a clean end", "ends", failed_sync_is_a_clean_end),
    Bug("the lock is not handed over", "upgrades", lock_not_handed_over),
    Bug("two newer clients may each start a hub", "upgrades", two_heirs_are_let_in),
    Bug("cids are forgotten by a restart", "retries", cids_forgotten_at_start),
    Bug("the content of a repeated cid is ignored", "retries", cid_content_ignored),
    Bug("claims share a batch", "races", claim_without_epoch),
    Bug("the task badge is behind the task", "races", badge_behind_task),
    Bug("a slow reader misses messages", "behind", drop_on_slow_reader),
    Bug("what was sent counts as read", "kill", cursor_confirmed_on_send),
    Bug("a cancelled wait counts as read", "waits", cancelled_wait_counts_as_read),
    Bug("a reader resumes too late", "kill", resume_too_late),
    Bug("a reader resumes too early", "kill", resume_too_early),
    Bug("files have lines twice after a kill", "kill", lines_twice_in_files),
    Bug("the digest is over the parsed request", "inputs", digest_over_parsed),
    Bug("a key that is there twice is read", "inputs", key_twice_is_read),
    Bug("the page is not shown what is invisible", "inputs", invisible_is_not_shown),
    Bug("the output is parsed and written anew", "inputs", output_is_written_anew),
    Bug("the hook does not compare the digest", "inputs", hook_trusts_the_hub),
    Bug("an allow leaves before its line is durable", "approval faults", allow_before_audit),
    Bug("the audit is not synced", "approval faults", audit_not_synced),
    Bug("a failed sync of the audit is retried", "approval faults", audit_synced_again),
    Bug("an audit that cannot be written is overlooked", "approval faults", audit_error_overlooked),
    Bug("a decision on an earlier request is taken", "approval faults", older_decision_is_taken),
    Bug("two decisions on one request are taken", "approval faults", decided_twice),
    Bug("the line of an allow comes late", "approval kills", allow_long_before_audit),
    Bug("the host is not looked at", "door requests", host_not_checked),
    Bug("an origin is compared without its port", "door requests", origin_without_port),
    Bug("another site may ask", "door requests", other_sites_may_ask),
    Bug("every origin may read the answers", "door requests", answers_may_be_read),
    Bug("a signature is not checked", "matrix", signature_not_checked),
    Bug("whoever asks counts as a person", "matrix", everybody_is_a_person),
    Bug("a ticket is good twice", "matrix", ticket_is_good_twice),
    Bug("an endless number is read", "parsers", endless_number_is_read),
    Bug("half a character is read from the log", "parsers", half_a_character_is_read),
    Bug("what a hook says of a tool is not looked at", "parsers", tool_is_not_looked_at),
)
