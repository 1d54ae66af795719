"""Random lives of a hub, against the naive model: whatever happens in whatever order, both agree on everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from crosschat.core import views
from crosschat.core.handle import Effects
from crosschat.core.presence import Presence
from crosschat.core.unread import confirmation, tally_unread
from crosschat.errors import Code, Refused
from crosschat.model import THE_CLI, THE_SYSTEM, THE_USER, USER, Actor, Cursor
from crosschat.wire import AddBadge, ClaimTask, FlagTask, ReleaseTask, ResolveTask, Send, SetStatus
from tests.core.naive import Job, Naive, Row
from tests.core.world import GRACE_MS, World

if TYPE_CHECKING:
    from crosschat.core.requests import Request
    from crosschat.core.state import State

ANY = st.integers(0, 10**6)  # chosen from what there is, modulo its number
WHO = st.integers(0, 4)


def observe(state: State) -> dict[str, object]:
    """Everything that anybody could ask a state."""
    return {
        "head": state.head,
        "epochs": state.epochs,
        "clears": state.clears,
        "channel": list(state.channel),
        "ledger": [state.ledger.get(seq) for seq in range(state.head + 2)],
        "ids": [state.message_id(seq) for seq in range(state.head + 1)],
        "threads": [
            (state.threads.seqs(seq), state.threads.circle(seq), state.repliers(seq, 0))
            for seq in range(state.head + 2)
        ],
        "badges": state.badges,
        "tasks": state.tasks,
        "held": {agent: targets for agent, targets in state.held.items() if targets},
        "agents": {agent: attrs.asdict(known) for agent, known in state.agents.items()},
        "names": {known.name: state.directory.find(known.name) for known in state.agents.values()},
        "requests": list(state.requests.rows()),
    }


class Hub(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.naive = Naive()
        self.ids: dict[int, str] = {}  # agents by number
        self.lives: dict[int, int] = {}  # how many processes an agent had
        self.asked: list[tuple[Actor, Request, int]] = []
        self.cursors: dict[str, int] = {}

    # --- choosing

    def agent(self, number: int) -> Actor:
        known = sorted(self.ids.values())
        return Actor(known[number % len(known)])

    def row(self, number: int) -> Row:
        rows = self.naive.messages()
        return rows[number % len(rows)]

    def identifier(self, row: Row) -> str:
        return self.world.state.message_id(row.seq)

    def ask(self, who: Actor, frame: Request, *, expected: Code | None, changes: bool = True) -> None:
        """Carry it out; it is refused with this code, or else changes something as expected."""
        head, code, effects = self.world.state.head, None, Effects()
        try:
            effects = self.world.do(who, frame)
        except Refused as refused:
            code = refused.code
        assert code is expected
        if code is not None:
            assert self.world.state.head == head
            return
        assert bool(effects.records) is changes
        if effects.seq is not None:
            self.asked.append((who, frame, effects.seq))

    def readable(self, who: Actor, row: Row) -> Code | None:
        return None if self.naive.may_read(who.id, row) else Code.NOT_FOUND

    # --- agents

    @initialize(threads=st.lists(st.none() | ANY, min_size=3, max_size=6))
    def begin_in_the_middle(self, threads: list[int | None]) -> None:
        """Some agents that talk, and a task one of them has claimed: what is worth looking at begins there."""
        for number in range(3):
            self.arrive(number)
        for number, thread in enumerate(threads):
            self.send(number % 3, None, {number % 2} if number % 4 else set(), False, False, thread)
        self.flag(0, 0)
        for number in range(3):
            self.claim(number, 0)

    @rule(what=st.sampled_from(["arrive", "return", "leave", "leave"]), number=ANY)
    def come_or_go(self, what: str, number: int) -> None:
        if what == "arrive":
            self.arrive(number % 5)
        elif what == "return":
            self.return_as_another_process(number % 5)
        else:
            self.leave(number)

    def arrive(self, number: int) -> None:
        process = f"process {number}.{self.lives.setdefault(number, 0)}"
        known = number in self.ids
        agent = self.world.join(f"n{number}", process=process)
        assert self.ids.setdefault(number, agent.id) == agent.id
        self.naive.join(agent.id, f"n{number}", new_record=not known)

    def return_as_another_process(self, number: int) -> None:
        if number in self.ids and not self.naive.peers[self.ids[number]].connected:
            self.lives[number] += 1
            agent = self.world.join(f"n{number}", process=f"process {number}.{self.lives[number]}")
            assert agent.id == self.ids[number]
            self.naive.join(agent.id, f"n{number}", new_record=True)

    def leave(self, number: int) -> None:
        who = self.agent(number)
        if self.naive.peers[who.id].connected:
            self.world.leave(who)
            self.naive.peers[who.id].connected = False
            self.naive.peers[who.id].gone_ms = self.world.now

    # --- messages

    @rule(
        number=ANY,
        person=st.sampled_from([None, None, None, THE_USER, THE_CLI]),
        named=st.sets(WHO, max_size=2),
        here=st.sampled_from([False, False, True]),
        user=st.sampled_from([False, False, True]),
        thread=st.none() | ANY,
    )
    def send(
        self, number: int, person: Actor | None, named: set[int], here: bool, user: bool, thread: int | None
    ) -> None:
        who = person or self.agent(number)
        root = self.row(thread) if thread is not None and self.naive.messages() else None
        names = [f"@n{other}" for other in sorted(named)]
        words = [*names, *(["@here"] if here else []), *(["@user"] if user else []), "text"]
        known = frozenset(self.ids[other] for other in named if other in self.ids)
        expected = None
        if len(known) < len(named) and not known - {who.id} and not here and not user:
            expected = Code.UNKNOWN_MENTION
        if root is not None and expected is None and who.id not in self.naive.participants(self.naive.root(root)):
            expected = self.readable(who, root)
        frame = Send(
            id="1",
            cid=self.world.cid(),
            content=" ".join(words),
            thread=self.identifier(root) if root is not None else None,
        )
        self.ask(who, frame, expected=expected)
        if expected is None:
            self.naive.send(who.id, known, here=here, user=user, thread=root)

    @precondition(lambda self: self.naive.messages())
    @rule(
        number=ANY,
        about=ANY,
        chip=st.sampled_from([("mood", "x"), ("mood", "y"), ("git-commit", "0123abc"), ("git-commit", "abc0123")]),
    )
    def badge(self, number: int, about: int, chip: tuple[str, str]) -> None:
        who, row = self.agent(number), self.row(about)
        frame = AddBadge(id="1", cid=self.world.cid(), message=self.identifier(row), badge_type=chip[0], value=chip[1])
        expected = self.readable(who, row)
        self.ask(who, frame, expected=expected)
        if expected is None:
            self.naive.change("badge", who.id, row)
            self.naive.put_chip(row.seq, *chip)

    # --- tasks

    @precondition(lambda self: self.naive.messages())
    @rule(number=ANY, about=ANY)
    def flag(self, number: int, about: int) -> None:
        who, row = self.agent(number), self.row(about)
        expected, new = self.readable(who, row), row.seq not in self.naive.jobs
        frame = FlagTask(id="1", cid=self.world.cid(), message=self.identifier(row))
        self.ask(who, frame, expected=expected, changes=new)
        if expected is None and new:
            self.naive.change("flag", who.id, row)
            self.naive.jobs[row.seq] = Job(row.author)

    def job(self, number: int) -> tuple[Row, Job]:
        jobs = sorted(self.naive.jobs)
        seq = jobs[number % len(jobs)]
        return self.naive.row(seq), self.naive.jobs[seq]

    @precondition(lambda self: self.naive.jobs)
    @rule(
        what=st.sampled_from(["claim", "begin", "complete", "fail", "release", "reopen"]),
        number=ANY,
        about=ANY,
        who=st.sampled_from(["claimant", "anybody", "person"]),
    )
    def work(self, what: str, number: int, about: int, who: str) -> None:
        if what == "claim":
            self.claim(number, about)
        elif what == "begin":
            self.begin(number, about)
        elif what in ("release", "reopen"):
            self.release(about, what == "reopen")
        else:
            self.resolve(number, about, who == "person", what == "fail", who == "claimant")

    def claim(self, number: int, about: int) -> None:
        who, (row, job) = self.agent(number), self.job(about)
        mine = job.status in ("claimed", "in_progress") and job.claimant == who.id
        expected = self.readable(who, row)
        if expected is None and not mine:
            expected = Code.CONFLICT if job.status != "open" else Code.FORBIDDEN if job.owner == who.id else None
        frame = ClaimTask(id="1", cid=self.world.cid(), message=self.identifier(row))
        self.ask(who, frame, expected=expected, changes=not mine)
        if expected is None and not mine:
            self.naive.change("claim", who.id, row)
            job.status, job.claimant, job.claims = "claimed", who.id, job.claims + 1

    def begin(self, number: int, about: int) -> None:
        who, (row, job) = self.agent(number), self.job(about)
        expected = self.readable(who, row)
        if expected is None and not (job.status in ("claimed", "in_progress") and job.claimant == who.id):
            expected = Code.FORBIDDEN
        frame = SetStatus(id="1", cid=self.world.cid(), status="busy", task=self.identifier(row))
        self.ask(who, frame, expected=expected, changes=job.status == "claimed")
        if expected is None and job.status == "claimed":
            self.naive.change("progress", who.id, row)
            job.status = "in_progress"

    def resolve(self, number: int, about: int, person: bool, failed: bool, claimant: bool) -> None:
        row, job = self.job(about)
        who = THE_USER if person else self.agent(number)
        if claimant and job.claimant is not None:
            who = Actor(job.claimant)
        expected = self.readable(who, row)
        if expected is None and job.status in ("completed", "failed"):
            expected = Code.CONFLICT
        elif expected is None and who.source == "agent" and job.claimant != who.id:
            expected = Code.FORBIDDEN
        frame = ResolveTask(
            id="1",
            cid=self.world.cid(),
            message=self.identifier(row),
            status="failed" if failed else "completed",
            result="x",
        )
        self.ask(who, frame, expected=expected)
        if expected is None:
            self.naive.change("resolve", who.id, row)
            job.status = "failed" if failed else "completed"

    def release(self, about: int, reopen: bool) -> None:
        row, job = self.job(about)
        held, finished = job.status in ("claimed", "in_progress"), job.status in ("completed", "failed")
        expected = None if (finished if reopen else held) else Code.CONFLICT
        frame = ReleaseTask(id="1", cid=self.world.cid(), message=self.identifier(row), reopen=reopen)
        self.ask(THE_CLI, frame, expected=expected)
        if expected is None:
            self.naive.change("release", THE_CLI.id, row)
            job.status, job.claimant = "open", None

    @rule(minutes=st.integers(1, 12))
    def time_passes(self, minutes: int) -> None:
        self.world.now += minutes * 60_000
        self.world.end_leases()
        for seq, job in sorted(self.naive.jobs.items()):
            holder = self.naive.peers.get(job.claimant or "")
            if job.status not in ("claimed", "in_progress") or holder is None or holder.connected:
                continue
            if self.world.now - holder.gone_ms > GRACE_MS:
                row = self.naive.row(seq)
                root = self.naive.root(row)
                self.naive.change("release", THE_SYSTEM.id, row)
                members = frozenset(self.naive.participants(root))
                job.status, job.claimant = "open", None
                self.naive.head += 1
                self.naive.rows.append(
                    Row(self.naive.head, "reply", THE_SYSTEM.id, members, root.private, about=root.seq)
                )

    # --- reading

    @rule(number=ANY, limit=st.integers(1, 6), newest=st.booleans())
    def read(self, number: int, limit: int, newest: bool) -> None:
        """A page is shown and confirmed: the oldest unread, or the newest of the channel."""
        who = self.agent(number)
        page = self.world.select(who, limit=limit, unread=not newest).seqs
        before = self.naive.unread(who.id)
        if not newest:
            assert list(page) == before[:limit]
        confirm, left = confirmation(self.world.state, self.world.state.agents[who.id], page)
        if confirm is not None:
            self.world.mark(who, confirm.upto, *confirm.seqs)
            self.naive.show(who.id, confirm.upto, list(confirm.seqs))
        assert self.naive.unread(who.id) == [seq for seq in before if seq not in page]
        assert left == len(self.naive.unread(who.id))

    @rule(number=ANY, upto=st.none() | st.integers(-1, 60), seqs=st.lists(st.integers(-1, 60), max_size=4))
    def mark(self, number: int, upto: int | None, seqs: list[int]) -> None:
        who = self.agent(number)
        self.world.mark(who, upto, *seqs)
        self.naive.show(who.id, upto, seqs)

    @rule(sure=st.integers(0, 3))
    def clear(self, sure: int) -> None:
        if sure:  # a hub that is cleared all the time has nothing to look at
            return
        self.world.clear(THE_CLI)
        self.naive.cleared = self.naive.head
        self.naive.head += 1

    # --- again

    @precondition(lambda self: self.asked)
    @rule(number=ANY)
    def retry(self, number: int) -> None:
        who, frame, seq = self.asked[number % len(self.asked)]
        effects = self.world.do(who, attrs.evolve(frame, id="again"))
        assert (effects.records, effects.seq) == ((), seq)
        self.ask(who, Send(id="1", cid=frame.cid, content="something else"), expected=Code.CONFLICT)

    @rule()
    def restart(self) -> None:
        replayed = self.world.replayed()
        assert observe(replayed) == observe(self.world.state)
        self.world.state = replayed
        self.world.presence = Presence(self.world.now)
        for peer in self.naive.peers.values():
            peer.connected, peer.gone_ms = False, self.world.now

    # --- what is always so

    @invariant()
    def records_are_dense(self) -> None:
        assert [record.seq for record in self.world.records] == list(range(1, self.naive.head + 1))
        assert self.world.state.head == self.naive.head

    @invariant()
    def audiences_are_as_the_rules_say(self) -> None:
        ledger = self.world.state.ledger
        entries = [entry for seq in range(self.naive.head + 1) if (entry := ledger.get(seq)) is not None]
        found = [(e.seq, e.kind, e.author, e.audience.to, e.audience.private, e.audience.here, e.root) for e in entries]
        assert found == [(r.seq, r.kind, r.author, r.to, r.private, r.here, r.about) for r in self.naive.rows]

    @invariant()
    def everybody_has_unread_what_is_meant_for_it(self) -> None:
        for agent, peer in self.naive.peers.items():
            known = self.world.state.agents[agent]
            assert (known.name, known.cursor) == (peer.name, peer.cursor)
            expected = self.naive.unread(agent)
            assert self.world.unread(Actor(agent)) == expected
            tally = tally_unread(self.world.state, known)
            assert (tally.count, tally.oldest) == (len(expected), expected[0] if expected else None)
            assert known.cursor >= self.cursors.get(agent, 0)
            self.cursors[agent] = known.cursor

    @invariant()
    def nobody_sees_what_is_private_to_others(self) -> None:
        rows = {row.seq: row for row in self.naive.rows}
        channel = [row for row in self.naive.rows if row.kind == "message" and row.seq > self.naive.cleared]
        for who in (*map(Actor, self.naive.peers), THE_USER):
            page = self.world.select(who, limit=200).seqs
            assert list(page) == [row.seq for row in channel if self.naive.may_read(who.id, row)]
            seen = {*page, *(self.world.unread(who) if who.source == "agent" else ())}
            for row in self.naive.messages()[-3:]:
                if self.naive.may_read(who.id, row):
                    seen.update(self.world.select(who, thread=self.identifier(row), limit=200).seqs)
            for badge in ("task", "mood", "git-commit", "question"):
                seen.update(self.world.select(who, badge=badge, limit=200).seqs)
            assert all(self.naive.may_read(who.id, rows[seq]) for seq in seen)

    @invariant()
    def tasks_and_badges_are_as_the_rules_say(self) -> None:
        state = self.world.state
        assert {seq: (task.owner, task.status, task.claimant, task.claims) for seq, task in state.tasks.items()} == {
            seq: (job.owner, job.status, job.claimant, job.claims) for seq, job in self.naive.jobs.items()
        }
        held: dict[str, set[int]] = {}
        for row in self.naive.messages():
            job = self.naive.jobs.get(row.seq)
            chips = [("task", job.status)] if job is not None else []
            badges = [(badge.type, badge.value) for badge in views.badges_of(state, row.seq)]
            assert badges == chips + self.naive.chips.get(row.seq, [])
            view = views.task_of(state, row.seq)
            assert (view.status if view is not None else None) == (job.status if job is not None else None)
            if job is not None and job.claimant is not None and job.status in ("claimed", "in_progress"):
                held.setdefault(job.claimant, set()).add(row.seq)
        assert {agent: targets for agent, targets in state.held.items() if targets} == held

    def teardown(self) -> None:
        assert observe(self.world.replayed()) == observe(self.world.state)
        cursors = [record for record in self.world.records if isinstance(record, Cursor)]
        for agent in self.naive.peers:
            risen = [record.upto for record in cursors if record.agent == agent]
            assert risen == sorted(set(risen))
        assert USER not in self.world.state.agents


TestHub = Hub.TestCase
TestHub.settings = settings(
    max_examples=150,
    stateful_step_count=60,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
