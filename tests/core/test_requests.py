"""A request that is repeated changes nothing, and who asks has its own cids."""

from __future__ import annotations

import attrs
import pytest

from crosschat.core import views
from crosschat.core.handle import CID_CHARS, conflict_keys
from crosschat.core.requests import Request
from crosschat.errors import Code
from crosschat.limits import METADATA_DEPTH, SHORT_TEXT_CHARS
from crosschat.model import THE_CLI, THE_USER, Actor, Clear, Message
from crosschat.pagewire import ReassignTask
from crosschat.wire import (
    AddBadge,
    Batch,
    ClaimTask,
    ClearChannel,
    FlagTask,
    Page,
    ReleaseTask,
    ResolveTask,
    Send,
    SetStatus,
    decode_hub,
    encode,
)
from tests.core.world import World, refused


@attrs.frozen
class Asked:
    world: World
    who: Actor
    frame: Request
    other: Request  # the same cid, other content


def asked(kind: str) -> Asked:
    """A world in which that request can be carried out, and has not been."""
    world = World()
    author, worker, third = world.join("author"), world.join("worker"), world.join("third")
    message = world.send(author, "do it")
    second = world.send(author, "and this")
    if kind in ("claim", "resolve", "release", "reassign", "status"):
        world.flag(author, message)
    if kind in ("resolve", "release", "reassign", "status"):
        world.claim(worker, message)
    rows: dict[str, tuple[Actor, Request, Request]] = {
        "send": (author, Send(content="x", id="1", cid="k"), Send(content="x", importance="comment", id="1", cid="k")),
        "reply": (
            author,
            Send(content="x", thread=message, id="1", cid="k"),
            Send(content="x", thread=second, id="1", cid="k"),
        ),
        "flag": (author, FlagTask(message=message, id="1", cid="k"), FlagTask(message=second, id="1", cid="k")),
        "claim": (worker, ClaimTask(message=message, id="1", cid="k"), ClaimTask(message=second, id="1", cid="k")),
        "resolve": (
            worker,
            ResolveTask(message=message, status="completed", result="x", id="1", cid="k"),
            ResolveTask(message=message, status="completed", result="y", id="1", cid="k"),
        ),
        "badge": (
            author,
            AddBadge(message=message, badge_type="mood", value="x", id="1", cid="k"),
            AddBadge(message=message, badge_type="mood", value="x", label="X", id="1", cid="k"),
        ),
        "status": (
            worker,
            SetStatus(status="busy", task=message, id="1", cid="k"),
            SetStatus(status="available", task=message, id="1", cid="k"),
        ),
        "release": (
            THE_CLI,
            ReleaseTask(message=message, id="1", cid="k"),
            ReleaseTask(message=message, reopen=True, id="1", cid="k"),
        ),
        "reassign": (
            THE_USER,
            ReassignTask(message=message, agent=third.id, id="1", cid="k"),
            ReassignTask(message=message, agent=worker.id, id="1", cid="k"),
        ),
        "clear": (THE_CLI, ClearChannel(id="1", cid="k"), Send(content="x", id="1", cid="k")),
    }
    who, frame, other = rows[kind]
    return Asked(world, who, frame, other)


KINDS = ["send", "reply", "flag", "claim", "resolve", "badge", "status", "release", "reassign", "clear"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_cid_with_the_same_content_is_answered_as_before(kind: str) -> None:
    made = asked(kind)
    first = made.world.do(made.who, made.frame)
    assert first.records
    assert first.seq == first.records[0].seq
    head = made.world.state.head
    again = made.world.do(made.who, attrs.evolve(made.frame, id="another request"))
    assert again.records == ()
    assert again.seq == first.seq
    assert made.world.state.head == head


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_cid_with_other_content_is_a_conflict(kind: str) -> None:
    made = asked(kind)
    made.world.do(made.who, made.frame)
    head = made.world.state.head
    with refused(Code.CONFLICT, "This cid was used for another request"):
        made.world.do(made.who, made.other)
    assert made.world.state.head == head


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_is_remembered_over_a_restart(kind: str) -> None:
    made = asked(kind)
    first = made.world.do(made.who, made.frame)
    made.world.state = made.world.replayed()
    assert made.world.do(made.who, made.frame).seq == first.seq
    with refused(Code.CONFLICT, "cid"):
        made.world.do(made.who, made.other)


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_and_its_repetition_never_share_a_batch(kind: str) -> None:
    made = asked(kind)
    one = conflict_keys(made.world.state, made.who, made.frame)
    assert one & conflict_keys(made.world.state, made.who, made.other)
    assert f"cid:{made.who.id}:k" in one


def test_a_refused_request_is_not_remembered() -> None:
    world = World()
    a = world.join("a")
    with refused(Code.UNKNOWN_MENTION):
        world.send(a, "@bob look", cid="k")
    world.join("bob")
    assert world.send(a, "@bob look", cid="k")
    with refused(Code.CONFLICT):
        world.send(a, "something else", cid="k")


def test_a_retry_is_answered_though_it_would_be_refused_now() -> None:
    world = World()
    a, b = world.join("a"), world.join("bob", process="p")
    first = world.send(a, "@bob look", cid="k")
    world.join("robert", process="p")  # nobody is called bob any more
    assert world.name(b) == "robert"
    assert world.send(a, "@bob look", cid="k") == first


def test_cids_of_different_agents_are_different() -> None:
    world = World()
    a, b = world.join("a"), world.join("b")
    first, second = world.send(a, "hello", cid="k"), world.send(b, "something else", cid="k")
    assert first != second
    keys = [conflict_keys(world.state, who, Send(id="1", cid="k", content="x")) for who in (a, b)]
    assert not keys[0] & keys[1]


@pytest.mark.parametrize("cid", ["", "x" * (CID_CHARS + 1)])
def test_a_cid_has_a_length(cid: str) -> None:
    world = World()
    a = world.join("a")
    with refused(Code.INVALID, "cid"):
        world.do(a, Send(id="1", cid=cid, content="x"))


def test_only_the_first_record_of_a_request_carries_its_cid() -> None:
    world = World()
    author, worker = world.join("author"), world.join("worker")
    message = world.send(author, "do it")
    world.flag(author, message)
    world.claim(worker, message)
    effects = world.do(worker, Send(id="1", cid="k", content="on it", thread=message))
    assert [record.cid for record in effects.records] == ["k", None]
    assert [record.seq for record in effects.records] == [world.state.head - 1, world.state.head]


def test_a_status_without_a_task_changes_nothing_durable() -> None:
    world = World()
    a = world.join("a")
    assert world.do(a, SetStatus(id="1", cid="k", status="busy", detail="x" * SHORT_TEXT_CHARS)).records == ()
    with refused(Code.INVALID, "detail"):
        world.do(a, SetStatus(id="1", cid="k", status="busy", detail="x" * (SHORT_TEXT_CHARS + 1)))


def test_every_record_has_the_time_and_place_of_its_slot() -> None:
    world = World()
    a = world.join("a")
    world.now += 5
    world.send(a, "hello")
    record = world.last(Message)
    assert (record.ts, record.seq, record.by) == (world.now, world.state.head, a.id)


def test_a_clear_hides_what_was_there_when_it_was_asked() -> None:
    world = World()
    a = world.join("a")
    world.send(a, "hello")
    head = world.state.head
    world.clear(THE_CLI)
    assert world.last(Clear).upto == head


def test_whatever_metadata_is_accepted_can_be_read_by_everybody() -> None:
    world = World()
    a = world.join("a")
    deepest: dict[str, object] = {}
    for _ in range(METADATA_DEPTH - 1):
        deepest = {"in": deepest}
    message = world.send(a, "deep", metadata=deepest)
    item = views.item_of(world.state, world.last(Message))
    assert item is not None
    assert item.message == message
    for frame in (Batch(from_seq=1, to_seq=9, items=(item,)), Page(id="1", items=(item,))):
        assert decode_hub(encode(frame)) == frame
    with refused(Code.INVALID, "nested"):
        world.send(a, "deeper", metadata={"in": deepest})
