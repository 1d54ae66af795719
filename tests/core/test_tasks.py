"""The life of a task: who may do what in which state, and what becomes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs
import pytest

from crosschat.core.handle import EndLease, conflict_keys
from crosschat.core.tasks import ended_leases
from crosschat.errors import Code
from crosschat.limits import CONTENT_BYTES, SHORT_TEXT_CHARS
from crosschat.model import (
    SYSTEM,
    THE_CLI,
    THE_SYSTEM,
    THE_USER,
    Actor,
    Claim,
    Flag,
    Progress,
    Release,
    Reply,
    Resolve,
    TaskFilter,
)
from crosschat.pagewire import ReassignTask
from crosschat.wire import ClaimTask, ResolveTask, Send, SetStatus
from tests.core.world import GRACE_MS, World, refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from crosschat.core.handle import Effects, Operation

SAME: Final = "same"


@attrs.frozen
class Scene:
    """A message of `author` in one state of a task; in the later ones `worker` has claimed it."""

    world: World
    message: str
    author: Actor
    worker: Actor
    other: Actor

    def actor(self, name: str) -> Actor:
        return {"user": THE_USER, "cli": THE_CLI}.get(name) or getattr(self, name)

    @property
    def status(self) -> str:
        badges = dict(self.world.badges(self.message))
        return badges.get("task", "none")


def scene(status: str, wanted: TaskFilter | None = None) -> Scene:
    world = World()
    author, worker, other = world.join("author"), world.join("worker"), world.join("other")
    message = world.send(author, "do it")
    made = Scene(world, message, author, worker, other)
    if status != "none":
        world.flag(author, message, wanted)
    if status not in ("none", "open"):
        world.claim(worker, message)
    if status in ("in_progress", "completed", "failed"):
        world.begin(worker, message)
    if status in ("completed", "failed"):
        world.resolve(worker, message, failed=status == "failed")
    assert made.status == status
    return made


OPERATIONS: dict[str, Callable[[Scene, Actor], Effects | str]] = {
    "flag": lambda s, who: s.world.flag(who, s.message),
    "flag with another filter": lambda s, who: s.world.flag(who, s.message, TaskFilter(project="p")),
    "claim": lambda s, who: s.world.claim(who, s.message),
    "begin": lambda s, who: s.world.begin(who, s.message),
    "reply": lambda s, who: s.world.send(who, "on it", s.message),
    "complete": lambda s, who: s.world.resolve(who, s.message),
    "fail": lambda s, who: s.world.resolve(who, s.message, failed=True),
    "release": lambda s, who: s.world.release(who, s.message),
    "reopen": lambda s, who: s.world.release(who, s.message, reopen=True),
}
STATES = ["none", "open", "claimed", "in_progress", "completed", "failed"]
AGENTS = ["author", "worker", "other"]
PERSON = ["user", "cli"]
C, F = Code.CONFLICT, Code.FORBIDDEN
NONE, OPEN, CLAIMED, BEGUN, DONE, FAILED = STATES
NOT_WORKER = ["author", "other"]
#   operation                   who         none    open     claimed  begun   done    failed
TABLE: list[tuple[str, list[str], list[Code | str]]] = [
    ("flag",                     AGENTS,     [OPEN,  SAME,    SAME,    SAME,   SAME,   SAME]),
    ("flag with another filter", AGENTS,     [OPEN,  C,       C,       C,      C,      C]),
    ("claim",                    ["author"], [C,     F,       C,       C,      C,      C]),
    ("claim",                    ["worker"], [C,     CLAIMED, SAME,    SAME,   C,      C]),
    ("claim",                    ["other"],  [C,     CLAIMED, C,       C,      C,      C]),
    ("claim",                    PERSON,     [C,     F,       C,       C,      C,      C]),
    ("begin",                    ["worker"], [F,     F,       BEGUN,   SAME,   F,      F]),
    ("begin",                    NOT_WORKER, [F,     F,       F,       F,      F,      F]),
    ("reply",                    ["worker"], [NONE,  OPEN,    BEGUN,   BEGUN,  DONE,   FAILED]),
    ("reply",                    NOT_WORKER, [NONE,  OPEN,    CLAIMED, BEGUN,  DONE,   FAILED]),
    ("reply",                    PERSON,     [NONE,  OPEN,    CLAIMED, BEGUN,  DONE,   FAILED]),
    ("complete",                 ["worker"], [C,     F,       DONE,    DONE,   C,      C]),
    ("complete",                 NOT_WORKER, [C,     F,       F,       F,      C,      C]),
    ("complete",                 PERSON,     [C,     DONE,    DONE,    DONE,   C,      C]),
    ("fail",                     ["worker"], [C,     F,       FAILED,  FAILED, C,      C]),
    ("fail",                     NOT_WORKER, [C,     F,       F,       F,      C,      C]),
    ("fail",                     PERSON,     [C,     FAILED,  FAILED,  FAILED, C,      C]),
    ("release",                  PERSON,     [C,     C,       OPEN,    OPEN,   C,      C]),
    ("reopen",                   PERSON,     [C,     C,       C,       C,      OPEN,   OPEN]),
]  # fmt: skip
CASES = [
    pytest.param(operation, who, status, expected, id=f"{who} may or may not {operation} what is {status}")
    for operation, everyone, row in TABLE
    for who in everyone
    for status, expected in zip(STATES, row, strict=True)
]


@pytest.mark.parametrize(("operation", "who", "status", "expected"), CASES)
def test_every_operation_in_every_state_by_everybody(
    operation: str, who: str, status: str, expected: Code | str
) -> None:
    made = scene(status)
    head = made.world.state.head
    if isinstance(expected, Code):
        with refused(expected):
            OPERATIONS[operation](made, made.actor(who))
        assert made.world.state.head == head
        assert made.status == status
        return
    OPERATIONS[operation](made, made.actor(who))
    assert made.status == (status if expected == SAME else expected)
    if expected == SAME:
        assert made.world.state.head == head
    assert made.world.replayed().tasks == made.world.state.tasks


def test_a_task_tells_who_what_and_when() -> None:
    made = scene("open")
    world = made.world
    world.now += 1000
    world.claim(made.worker, made.message)
    view = world.task(made.message)
    assert (view.status, view.owner, view.claimant, view.claimant_id) == (
        "claimed", "author", "worker", made.worker.id,
    )  # fmt: skip
    assert view.claims == 1
    assert view.flagged_at is not None
    assert view.claimed_at is not None
    assert view.flagged_at < view.claimed_at
    assert view.finished_at is None
    world.now += 1000
    world.resolve(made.worker, made.message)
    assert world.task(made.message).finished_at is not None


# --- who is told


def test_a_change_reaches_those_concerned_and_never_who_made_it() -> None:
    world = World()
    author, worker, other = world.join("author"), world.join("worker"), world.join("other")
    task = world.send(author, "@worker do it")
    for who in (author, worker, other):
        world.see_everything(who)
    world.flag(author, task)
    assert world.last(Flag).to == (worker.id,)
    world.claim(worker, task)
    assert world.last(Claim).to == (author.id,)
    world.begin(worker, task)
    assert world.last(Progress).to == (author.id,)
    world.resolve(worker, task)
    assert world.last(Resolve).to == (author.id,)
    world.release(THE_CLI, task, reopen=True)
    assert set(world.last(Release).to) == {author.id, worker.id}
    assert world.unread(other) == []


def test_nobody_but_those_concerned_may_read_a_change() -> None:
    made = scene("claimed")
    entry = made.world.state.ledger.get(made.world.last(Claim).seq)
    assert entry is not None
    assert entry.readable_by(made.author.id)
    assert entry.readable_by(made.worker.id)
    assert not entry.readable_by(made.other.id)


def test_the_author_gets_the_result_and_any_reader_may_see_it_later() -> None:
    made = scene("in_progress")
    world = made.world
    world.see_everything(made.author)
    world.resolve(made.worker, made.message, failed=True, result="half of it")
    record = world.last(Resolve)
    assert world.unread(made.author) == [record.seq]
    assert world.item(record).content == "half of it\n\nError: why"
    assert world.state.tasks[world.seq(made.message)].outcome == record.seq
    assert world.can_read(made.other, made.message)


@pytest.mark.parametrize("by", ["name", "id", "other case"])
def test_who_a_task_is_for_is_told_of_it(by: str) -> None:
    made = scene("none")
    wanted = {"name": "worker", "id": made.worker.id, "other case": "WORKER"}[by]
    made.world.see_everything(made.worker)
    made.world.flag(made.author, made.message, TaskFilter(agent=wanted))
    assert made.world.last(Flag).to == (made.worker.id,)
    assert made.world.unread(made.worker) == [made.world.state.head]


def test_a_task_on_a_private_message_is_not_told_to_who_may_not_read_it() -> None:
    world = World()
    author, _, other = world.join("author"), world.join("worker"), world.join("other")
    message = world.send(author, "@worker secret")
    with refused(Code.INVALID, "cannot read"):
        world.flag(author, message, TaskFilter(agent="other"))
    assert world.unread(other) == []


# --- filters


def test_a_filter_lets_only_that_agent_claim() -> None:
    for wanted in ("worker", "WORKER"):
        made = scene("open", TaskFilter(agent=wanted))
        with refused(Code.FORBIDDEN, "for the agent"):
            made.world.claim(made.other, made.message)
        made.world.claim(made.worker, made.message)
        assert made.status == "claimed"


def test_a_filter_may_give_the_agents_id() -> None:
    made = scene("none")
    made.world.flag(made.author, made.message, TaskFilter(agent=made.worker.id))
    with refused(Code.FORBIDDEN):
        made.world.claim(made.other, made.message)
    made.world.claim(made.worker, made.message)


DIRECTORIES = [
    ("/srv/app", "/srv/app", True),
    ("/srv/app", "/srv/app/", True),
    ("/srv/app/src/x", "/srv/app", True),
    ("/srv/app", "/", True),
    ("/srv", "/srv/app", False),
    ("/srv/application", "/srv/app", False),
    ("/srv/App", "/srv/app", False),
]


@pytest.mark.parametrize(("cwd", "wanted", "allowed"), DIRECTORIES)
def test_a_filter_lets_only_agents_in_or_below_a_directory_claim(cwd: str, wanted: str, allowed: bool) -> None:
    world = World()
    author, worker = world.join("author", cwd="/home"), world.join("worker", cwd=cwd)
    message = world.send(author, "do it")
    world.flag(author, message, TaskFilter(working_dir=wanted))
    if allowed:
        world.claim(worker, message)
    else:
        with refused(Code.FORBIDDEN, "agents working in"):
            world.claim(worker, message)


@pytest.mark.parametrize("project", [None, "other"])
def test_a_filter_lets_only_agents_of_a_git_project_claim(project: str | None) -> None:
    world = World()
    author, stranger = world.join("author"), world.join("stranger", project=project)
    worker = world.join("worker", project="app")
    message = world.send(author, "do it")
    world.flag(author, message, TaskFilter(project="app"))
    with refused(Code.FORBIDDEN, repr(project or "none")):
        world.claim(stranger, message)
    world.claim(worker, message)


def test_every_part_of_a_filter_has_to_fit() -> None:
    world = World()
    author, worker = world.join("author"), world.join("worker", cwd="/srv/app", project="app")
    message = world.send(author, "do it")
    world.flag(author, message, TaskFilter(agent="worker", working_dir="/srv/app", project="web"))
    with refused(Code.FORBIDDEN, "git project"):
        world.claim(worker, message)


def test_a_filter_that_nobody_can_fit_by_mistake_is_refused() -> None:
    made = scene("none")
    for wanted, code in [
        (TaskFilter(agent="workre"), Code.NOT_FOUND),
        (TaskFilter(agent="nobody-at-all"), Code.NOT_FOUND),
        (TaskFilter(working_dir="srv/app"), Code.INVALID),
        (TaskFilter(working_dir=""), Code.INVALID),
        (TaskFilter(project="x" * (SHORT_TEXT_CHARS + 1)), Code.INVALID),
        (TaskFilter(working_dir="/" + "x" * 5000), Code.INVALID),
    ]:
        with refused(code):
            made.world.flag(made.author, made.message, wanted)
    with refused(Code.NOT_FOUND, "Did you mean worker"):
        made.world.flag(made.author, made.message, TaskFilter(agent="workre"))
    assert made.status == "none"


def test_anybody_who_reads_a_message_may_make_it_a_task_of_its_author() -> None:
    made = scene("none")
    made.world.flag(made.worker, made.message)
    assert made.world.task(made.message).owner == "author"
    made.world.claim(made.worker, made.message)


# --- one winner


def test_of_two_claims_the_first_wins_and_the_second_learns_who() -> None:
    made = scene("open")
    made.world.claim(made.worker, made.message)
    with refused(Code.CONFLICT, "worker already claimed this task"):
        made.world.claim(made.other, made.message)


def test_operations_on_one_task_never_share_a_batch() -> None:
    made = scene("claimed")
    state, message = made.world.state, made.message
    frames: list[tuple[Actor, Operation]] = [
        (made.other, ClaimTask(id="1", cid="a", message=message)),
        (made.worker, ResolveTask(id="1", cid="b", message=message, status="completed", result="x")),
        (made.worker, SetStatus(id="1", cid="c", status="busy", task=message)),
        (made.worker, Send(id="1", cid="d", content="on it", thread=message)),
        (THE_SYSTEM, EndLease(made.world.seq(message), GRACE_MS)),
    ]
    keys = [conflict_keys(state, who, frame) for who, frame in frames]
    assert all(f"message:{message}" in found for found in keys)


def test_replies_in_one_thread_never_share_a_batch() -> None:
    """The second one's audience has the first one's author in it."""
    world = World()
    a, b, c = world.join("a"), world.join("b"), world.join("c")
    root = world.send(a, "a plan")
    reply = world.send(b, "yes", root)
    first = conflict_keys(world.state, b, Send(id="1", cid="x", content="x", thread=root))
    second = conflict_keys(world.state, c, Send(id="1", cid="y", content="y", thread=reply))
    elsewhere = conflict_keys(world.state, c, Send(id="1", cid="z", content="z"))
    assert first & second
    assert not first & elsewhere


def test_each_claim_has_a_number_of_its_own() -> None:
    made = scene("open")
    world = made.world
    for epoch, who in enumerate((made.worker, made.other, made.worker), start=1):
        world.claim(who, made.message)
        record = world.last(Claim)
        assert (record.claim_epoch, record.agent) == (epoch, who.id)
        world.begin(who, made.message)
        assert world.last(Progress).claim_epoch == epoch
        world.release(THE_CLI, made.message)
    assert world.task(made.message).claims == 3


def test_a_released_task_forgets_its_claimant_and_may_be_claimed_by_another() -> None:
    made = scene("in_progress")
    made.world.release(THE_USER, made.message)
    view = made.world.task(made.message)
    assert (view.status, view.claimant, view.claimed_at) == ("open", None, None)
    assert not made.world.state.held.get(made.worker.id)
    with refused(Code.FORBIDDEN, "claim it first"):
        made.world.resolve(made.worker, made.message)
    made.world.claim(made.other, made.message)
    assert made.world.state.held[made.other.id] == {made.world.seq(made.message)}


def reassign(made: Scene, agent: Actor) -> Effects:
    frame = ReassignTask(id="1", cid=made.world.cid(), message=made.message, agent=agent.id)
    return made.world.do(THE_USER, frame)


@pytest.mark.parametrize("status", ["open", "claimed", "in_progress"])
def test_the_person_gives_a_task_to_an_agent_whoever_holds_it(status: str) -> None:
    made = scene(status)
    reassign(made, made.other)
    view = made.world.task(made.message)
    assert (view.status, view.claimant_id) == ("claimed", made.other.id)
    assert not made.world.state.held.get(made.worker.id)
    assert made.other.id in made.world.last(Claim).to
    if status != "open":
        assert made.world.last(Release).reason == "reassigned"
        assert made.worker.id in made.world.last(Release).to
    assert made.world.last(Claim).claim_epoch == (1 if status == "open" else 2)
    made.world.resolve(made.other, made.message)


def test_giving_a_task_to_who_holds_it_changes_nothing() -> None:
    made = scene("in_progress")
    assert reassign(made, made.worker).records == ()
    assert made.world.task(made.message).status == "in_progress"


def test_a_task_is_given_only_to_another_agent_that_is_there_and_can_read_it() -> None:
    made = scene("open")
    with refused(Code.FORBIDDEN, "own task"):
        reassign(made, made.author)
    made.world.leave(made.other)
    with refused(Code.CONFLICT, "away"):
        reassign(made, made.other)
    with refused(Code.NOT_FOUND, "No agent"):
        reassign(made, Actor("nobody"))
    done = scene("completed")
    with refused(Code.CONFLICT, "open it again"):
        reassign(done, done.other)
    world = World()
    a, b, c = world.join("a"), world.join("b"), world.join("c")
    private = world.send(a, "@b secret")
    frame = ReassignTask(id="1", cid="x", message=private, agent=c.id)
    with refused(Code.CONFLICT, "not a task"):
        world.do(THE_USER, frame)
    world.flag(b, private)
    with refused(Code.INVALID, "cannot read"):
        world.do(THE_USER, frame)


def test_a_reopened_task_forgets_its_result() -> None:
    made = scene("completed")
    made.world.release(THE_CLI, made.message, reopen=True)
    assert made.world.last(Release).reason == "reopened"
    task = made.world.state.tasks[made.world.seq(made.message)]
    assert (task.status, task.outcome, task.finished_at) == ("open", None, None)
    made.world.claim(made.other, made.message)
    made.world.resolve(made.other, made.message, result="again")
    assert made.status == "completed"


def test_the_first_reply_begins_every_task_that_was_claimed_in_the_thread() -> None:
    world = World()
    author, worker = world.join("author"), world.join("worker")
    root = world.send(author, "a plan")
    part = world.send(author, "the first part", root)
    elsewhere = world.send(author, "something else")
    for message in (part, elsewhere):
        world.flag(author, message)
        world.claim(worker, message)
    world.send(worker, "on it", root)
    assert world.task(part).status == "in_progress"
    assert world.task(elsewhere).status == "claimed"
    reply, progress = world.records[-2:]
    assert isinstance(reply, Reply)
    assert isinstance(progress, Progress)
    assert progress.target == part
    head = world.state.head
    world.send(worker, "half done", root)
    assert world.state.head == head + 1


# --- the same answer


def test_resolving_twice_with_the_same_cid_is_the_same_answer() -> None:
    made = scene("claimed")
    first = made.world.resolve(made.worker, made.message, cid="r1")
    head = made.world.state.head
    again = made.world.resolve(made.worker, made.message, cid="r1")
    assert again.seq == first.seq
    assert again.records == ()
    assert made.world.state.head == head


def test_resolving_again_with_another_cid_or_another_result_is_a_conflict() -> None:
    made = scene("claimed")
    made.world.resolve(made.worker, made.message, cid="r1")
    with refused(Code.CONFLICT, "already completed"):
        made.world.resolve(made.worker, made.message, cid="r2")
    with refused(Code.CONFLICT, "cid"):
        made.world.resolve(made.worker, made.message, cid="r1", result="something else")
    with refused(Code.CONFLICT, "cid"):
        made.world.resolve(made.worker, made.message, cid="r1", failed=True)


def test_a_retried_resolve_is_answered_the_same_after_the_task_was_reopened() -> None:
    made = scene("claimed")
    first = made.world.resolve(made.worker, made.message, cid="r1")
    made.world.release(THE_CLI, made.message, reopen=True)
    assert made.world.resolve(made.worker, made.message, cid="r1").seq == first.seq
    assert made.status == "open"


def test_a_retried_claim_does_not_claim_again() -> None:
    made = scene("open")
    first = made.world.claim(made.worker, made.message, cid="k1")
    made.world.release(THE_CLI, made.message)
    made.world.claim(made.other, made.message)
    assert made.world.claim(made.worker, made.message, cid="k1").seq == first.seq
    assert made.world.task(made.message).claimant == "other"


@pytest.mark.parametrize("field", ["result", "error"])
def test_a_result_that_is_too_long_is_refused_and_the_task_stays(field: str) -> None:
    made = scene("claimed")
    text = {"result": "x", "error": "x"} | {field: "é" * (CONTENT_BYTES // 2 + 1)}
    frame = ResolveTask(id="1", cid="c", message=made.message, status="failed", **text)
    with refused(Code.TOO_LARGE, field):
        made.world.do(made.worker, frame)
    assert made.status == "claimed"


# --- the lease


@pytest.mark.parametrize("status", ["claimed", "in_progress"])
def test_a_claimant_that_stays_away_loses_the_task_and_the_thread_says_so(status: str) -> None:
    made = scene(status)
    world = made.world
    world.leave(made.worker)
    world.see_everything(made.author, made.worker, made.other)
    world.now += GRACE_MS
    assert list(ended_leases(world.state, world.presence, world.now, GRACE_MS)) == []
    world.now += 1
    assert list(ended_leases(world.state, world.presence, world.now, GRACE_MS)) == [world.seq(made.message)]
    effects = world.end_leases()
    assert made.status == "open"
    release, notice = effects.records
    assert isinstance(release, Release)
    assert release.reason == "lease_expired"
    assert release.by == SYSTEM
    assert set(release.to) == {made.author.id, made.worker.id}
    assert isinstance(notice, Reply)
    assert notice.source == "system"
    assert "worker has been away for more than 10 min" in notice.content
    for who in (made.author, made.worker):
        assert world.unread(who) == [release.seq, notice.seq]
    assert world.unread(made.other) == []
    assert world.page(made.other, thread=made.message)[-1] == world.state.message_id(notice.seq)
    assert world.end_leases().records == ()


@pytest.mark.parametrize("status", ["open", "claimed", "in_progress", "completed", "failed"])
def test_a_lease_does_not_end_while_the_claimant_is_there(status: str) -> None:
    made = scene(status)
    made.world.now += 10 * GRACE_MS
    assert made.world.end_leases().records == ()
    assert made.status == status


def test_a_claimant_that_returned_before_the_decision_keeps_the_task() -> None:
    made = scene("claimed")
    world = made.world
    world.leave(made.worker)
    world.now += GRACE_MS + 1
    (target,) = ended_leases(world.state, world.presence, world.now, GRACE_MS)
    world.join("worker")  # between the look and the decision
    assert world.do(THE_SYSTEM, EndLease(target, GRACE_MS)).records == ()
    assert made.status == "claimed"


def test_a_task_that_was_finished_before_the_decision_stays_finished() -> None:
    made = scene("claimed")
    world = made.world
    world.leave(made.worker)
    world.now += GRACE_MS + 1
    (target,) = ended_leases(world.state, world.presence, world.now, GRACE_MS)
    world.resolve(THE_USER, made.message)
    assert world.do(THE_SYSTEM, EndLease(target, GRACE_MS)).records == ()
    assert made.status == "completed"


def test_the_grace_period_starts_anew_when_the_hub_starts() -> None:
    from crosschat.core.presence import Presence

    made = scene("claimed")
    world = made.world
    world.leave(made.worker)
    world.now += 10 * GRACE_MS
    world.presence = Presence(world.now)
    assert world.end_leases().records == ()
    world.now += GRACE_MS + 1
    assert len(world.end_leases().records) == 2


def test_the_notice_in_a_private_thread_is_private() -> None:
    world = World()
    author, worker, other = world.join("author"), world.join("worker"), world.join("other")
    message = world.send(author, "@worker secret")
    world.flag(author, message)
    world.claim(worker, message)
    world.leave(worker)
    world.now += GRACE_MS + 1
    world.end_leases()
    notice = world.last(Reply)
    assert notice.private
    assert not world.can_read(other, notice.id)
    assert world.can_read(author, notice.id)


@pytest.mark.parametrize("target", [0, 1, 999])
def test_the_end_of_a_lease_on_what_is_no_task_does_nothing(target: int) -> None:
    assert World().do(THE_SYSTEM, EndLease(target, GRACE_MS)).records == ()
