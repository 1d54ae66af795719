"""Races for tasks in one process: the hub's own rules, router and writer, under schedules that a seed decides.

What `claims` does with real processes, many times as often. Four tasks at a time are raced for by 2 to 64 agents each;
when each request reaches the writer, what shares a batch with it, and what comes while a batch is being written
is chosen by the seed. The hub dies before a batch is on the disk, in the middle of it, after it, and between two
answers; the next one has the state that the log gives, and whoever was not answered asks again with the same cid.

Winners finish, are freed by the person, are opened again after they finished, or go away: for less than the lease's
grace, longer, or until the moment that it ends, by a clock of the rig's own. What becomes of a lease is decided here
by a second, simpler rule and compared. Everything else is judged by `linear`, and the badge of a task is always its
status.
"""

from __future__ import annotations

import json
import math
from collections import Counter, deque
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs
import trio

from crosschat import wire
from crosschat.core import views
from crosschat.core.handle import Effects, EndLease
from crosschat.core.handle import Operation as Frame
from crosschat.core.presence import Presence
from crosschat.core.state import State
from crosschat.errors import Code, Refused
from crosschat.hub.router import Router
from crosschat.journal.feed import Feed
from crosschat.journal.format import decode, encode, has_more
from crosschat.journal.writer import Operation, write_log
from crosschat.model import THE_CLI, THE_SYSTEM, Actor, AgentJoined, Epoch, Release
from tests.hub.rig import NOW_MS, MemoryLog, silent_log
from tests.prove import linear
from tests.prove.linear import Event, Race
from tests.prove.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from crosschat.core.state import Task
    from crosschat.model import AnyRecord, Slot
    from tests.prove.outcome import Room

LANES: Final = 4  # races at once
CONTENDERS: Final = 64
RACES: Final = 120
DEATHS: Final = 0.03  # of the batches, and as many between answers
GRACE_MS: Final = 600_000
LONGEST_S: Final = 120.0  # a round takes about one
REPORTED: Final = 10


def run(room: Room) -> Outcome:
    """Races in one log, through as many lives of the hub as it takes."""
    return trio.run(World(Random(room.seed)).run)


class Killed(BaseException):
    """The hub is no more. Nothing may catch it."""


@attrs.define(eq=False)
class Wish:
    """What somebody wants done until it is answered. `asked` 0: it was not sent yet."""

    who: Actor
    what: str
    frame: Frame
    asked: int = 0
    event: Event | None = None
    error: Refused | None = None
    seq: int | None = None


Lane: TypeAlias = "Generator[Sequence[Wish]]"


class Disk:
    """The log of all lives: whole lines, and where a life ends. Appended to in the writer's thread."""

    def __init__(self, random: Random) -> None:
        self.lines: list[bytes] = []
        self.dead = False
        self._random = random

    @property
    def next_seq(self) -> int:
        return len(self.lines) + 1

    def append(self, lines: Sequence[bytes]) -> None:
        if self.dead:
            raise Killed
        if self._random.random() < DEATHS:
            self.dead = True
            kept = list(lines[: self._random.randint(0, len(lines))])
            while kept and has_more(kept[-1].rstrip(b"\n")):  # what a start cuts: an operation that is not whole
                kept.pop()
            self.lines += kept
            raise Killed
        self.lines += lines


class World:
    """See the module. `run` once."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._disk = Disk(random)
        self._outcome = Outcome()
        self._counts: Counter[str] = self._outcome.counts
        self._now_ms = NOW_MS
        self._tick = 0
        self._number = 0
        self._left = RACES
        self._races: list[Race] = []
        self._open: list[Wish] = []  # wanted by a lane that waits for it, and not answered
        self._unsent: deque[Wish] = deque()
        self._away: dict[str, int] = {}  # since when, by the hub that runs
        self._owner = Actor("owner")
        self._contenders = [f"c{number}" for number in range(CONTENDERS)]
        self._lanes: dict[Lane, Sequence[Wish]] = {}
        self._write_first()

    def _write_first(self) -> None:
        first: list[AnyRecord] = [Epoch(seq=1, id="r1", ts=NOW_MS, by="system", epoch="e")]
        for name in (self._owner.id, *self._contenders):
            seq = len(first) + 1
            first.append(AgentJoined(seq=seq, id=f"r{seq}", ts=NOW_MS, by=name, agent=name, name=name, cwd="/w"))
        self._disk.lines = [encode(record) for record in first]

    async def run(self) -> Outcome:
        for _ in range(LANES):
            lane = self._lane()
            self._want(lane, next(lane))
        try:
            with trio.fail_after(LONGEST_S):
                while self._lanes:
                    await self._live()
        except trio.TooSlowError:
            self._report(f"it hangs: {[(wish.who.id, wish.what) for wish in self._open]} are not answered")
        log = [json.loads(line) for line in self._disk.lines]
        for race in self._races:
            linear.check(race, self._report)
        linear.check_log(self._races, log, self._report)
        return self._outcome

    def _report(self, problem: str) -> None:
        if len(self._outcome.problems) < REPORTED:
            self._outcome.problems.append(problem)

    # --- one life of the hub

    async def _live(self) -> None:
        self._disk.dead = False
        records = [decode(line) for line in self._disk.lines]
        self._state = State()
        for record in records:
            self._state.apply(record)
        self._presence = Presence(self._now_ms)
        self._away = dict.fromkeys(self._away, self._now_ms)  # the grace period starts anew with the hub
        for name in (self._owner.id, *self._contenders):
            if name not in self._away:
                self._arrive(name)
        memory = MemoryLog()
        memory.records = records
        self._send, receive = trio.open_memory_channel[Operation](math.inf)
        self._router = Router(
            state=self._state, presence=self._presence, feed=Feed(memory), operations=self._send,
            clock_ms=lambda: self._now_ms, log=silent_log(),
        )  # fmt: skip
        self._scope = trio.CancelScope()
        self._find_releases(records)
        self._unsent = deque(self._random.sample(self._open, len(self._open)))
        self._flush()
        with self._scope:
            try:
                await write_log(
                    receive, log=self._disk, decide=self._decide, keys=self._router.keys, apply=self._router.apply,
                    publish=self._router.publish, clock_ms=self._router.clock_ms, on_defect=self._defect,
                )  # fmt: skip
            except Killed:
                self._counts["deaths in the process"] += 1

    def _find_releases(self, records: list[AnyRecord]) -> None:
        """Of leases that ended while nobody was told: their end has no cid, so the log has to say it."""
        for wish in tuple(self._open):
            if isinstance(wish.frame, EndLease) and wish.asked:
                task = self._state.tasks[wish.frame.target]
                if not task.held:
                    target = self._state.message_id(task.target)
                    found = [one.seq for one in records if isinstance(one, Release) and one.target == target]
                    self._answer(wish, found[-1])

    def _defect(self, error: BaseException) -> None:
        self._report(f"a defect: {error!r}")

    def _arrive(self, name: str) -> None:
        self._presence.arrive(name, status="available", detail=None, offered=0, now_ms=self._now_ms)

    def _flush(self) -> None:
        """Some of what is wanted reaches the hub. Whenever nothing is under way, at least one does."""
        fewest = 1 if self._router.queued == 0 else 0
        for _ in range(self._random.randint(fewest, max(fewest, len(self._unsent)))):
            if not self._unsent:
                break
            wish = self._unsent.popleft()
            self._tick += 1
            wish.asked = wish.asked or self._tick
            self._send.send_nowait(Operation(wish.who, wish.frame, partial(self._settled, wish)))

    def _decide(self, who: Actor, frame: object, slot: Slot) -> Effects:
        decision = self._router.decide(who, frame, slot)
        if isinstance(frame, EndLease):
            task = self._state.tasks[frame.target]
            gone_ms = self._away.get(task.claimant or "")
            ends = task.held and gone_ms is not None and slot.now_ms - gone_ms > GRACE_MS
            if ends != bool(decision.records):
                self._report(f"the lease of {task} {'goes on' if ends else 'ends'}, its holder left at {gone_ms}")
            self._counts[f"leases that {'ended' if ends else 'went on'}"] += 1
        return decision

    def _settled(self, wish: Wish, outcome: object) -> None:
        if self._disk.dead:
            return  # it was not said any more
        if isinstance(outcome, Refused):
            wish.error = outcome
            self._answer(wish, None)
        else:
            assert isinstance(outcome, Effects)
            seq = outcome.records[0].seq if outcome.records else outcome.seq
            self._answer(wish, seq)
        if self._random.random() < DEATHS / 4:
            self._disk.dead = True
            self._scope.cancel()
            self._counts["deaths in the process"] += 1
            return
        self._flush()

    # --- lanes

    def _answer(self, wish: Wish, seq: int | None) -> None:
        self._tick += 1
        wish.seq = seq
        wish.event = Event(wish.what, wish.who.id, wish.asked, self._tick, seq)
        self._open.remove(wish)
        lane = next(lane for lane, wishes in self._lanes.items() if wish in wishes)
        if all(one.event is not None for one in self._lanes[lane]):
            del self._lanes[lane]
            try:
                self._want(lane, next(lane))
            except StopIteration:
                if not self._lanes:
                    self._scope.cancel()

    def _want(self, lane: Lane, wishes: Sequence[Wish]) -> None:
        self._lanes[lane] = wishes
        self._open += wishes
        self._unsent.extend(wishes)

    def _lane(self) -> Lane:
        """One race after the other."""
        random, owner = self._random, self._owner
        while self._left > 0:
            sent = self._wish(owner, "send", lambda cid: wire.Send(id=cid, cid=cid, content=f"{cid} do this"))
            yield [sent]
            message = self._state.message_id(sent.seq or 0)
            flag = self._wish(owner, "flag", lambda cid: wire.FlagTask(id=cid, cid=cid, message=message))  # noqa: B023
            yield [flag]
            assert flag.event is not None
            race = Race(message, flag.event)
            self._races.append(race)
            while True:
                there = [name for name in self._contenders if name not in self._away]
                many = random.choice([2, 2, 3, 4, 4, 8, 8, 16, 64])
                claims = [self._claim(name, message) for name in random.sample(there, min(many, len(there)))]
                yield claims
                winner = self._judge(race, claims)
                if winner is None:
                    break
                yield from self._go_on(race, winner)
                if self._task(race).status != "open" or random.random() < 0.2:
                    break
            late = self._claim(random.choice(self._contenders), message)
            yield [late]
            self._note(race, [late])

    def _judge(self, race: Race, claims: list[Wish]) -> str | None:
        """The winner of a race that has ended."""
        self._left -= 1
        self._counts["races in one process"] += 1
        self._counts["claims in one process"] += len(claims)
        self._note(race, claims)
        for wish in claims:
            if wish.error is not None and wish.error.code is not Code.CONFLICT:
                self._report(f"the claim of {race.message} by {wish.who.id} was refused: {wish.error}")
        winners = [wish.who.id for wish in claims if wish.seq is not None]
        if len(winners) != 1:
            self._report(f"{len(winners)} winners of {len(claims)} for {race.message}")
        return winners[0] if winners else None

    def _go_on(self, race: Race, winner: str) -> Lane:
        """What becomes of a task that was claimed."""
        dice = self._random.random()
        if dice < 0.25:
            freed = self._free(race)
            yield [freed]
            self._note(race, [freed])
            return
        if dice < 0.55:
            yield from self._leave(race, winner)
            if not self._task(race).held:
                return
        done = self._resolve(winner, race)
        yield [done]
        self._note(race, [done])
        if done.seq is None:
            self._report(f"{winner} holds {race.message} and could not finish it: {done.error}")
        if self._random.random() < 0.2:
            opened = self._free(race, reopen=True)
            yield [opened]
            self._note(race, [opened])

    def _leave(self, race: Race, winner: str) -> Lane:
        """The winner goes away; perhaps for too long, perhaps it is back before that is noticed."""
        self._away[winner] = self._now_ms
        self._presence.leave(winner, now_ms=self._now_ms)
        self._now_ms += self._random.choice([GRACE_MS // 2, GRACE_MS, GRACE_MS + 1, GRACE_MS * 2])
        target = self._task(race).target
        wish = self._wish(THE_SYSTEM, "release", lambda _: EndLease(target, GRACE_MS))
        if self._random.random() < 0.3:  # it is asked for, and then the winner is there
            self._return(winner)
        yield [wish]
        self._note(race, [wish])
        self._return(winner)
        if wish.seq is not None:
            late = self._resolve(winner, race)
            yield [late]
            self._note(race, [late])
            if late.seq is not None:
                self._report(f"{winner} finished {race.message} after its lease had ended")

    def _return(self, name: str) -> None:
        if self._away.pop(name, None) is not None:
            self._arrive(name)

    def _wish(self, who: Actor, what: str, make: Callable[[str], Frame]) -> Wish:
        self._number += 1
        return Wish(who, what, make(f"{who.id}-{self._number}"))

    def _resolve(self, name: str, race: Race) -> Wish:
        return self._wish(
            Actor(name),
            "resolve",
            lambda cid: wire.ResolveTask(id=cid, cid=cid, message=race.message, status="completed", result=cid),
        )

    def _free(self, race: Race, *, reopen: bool = False) -> Wish:
        return self._wish(
            THE_CLI,
            "release",
            lambda cid: wire.ReleaseTask(id=cid, cid=cid, message=race.message, reopen=reopen),
        )

    def _claim(self, name: str, message: str) -> Wish:
        return self._wish(Actor(name), "claim", lambda cid: wire.ClaimTask(id=cid, cid=cid, message=message))

    def _note(self, race: Race, wishes: list[Wish]) -> None:
        """They are part of the history now; the badge is the status, whatever happened."""
        race.events += [wish.event for wish in wishes if wish.event is not None]
        task = self._task(race)
        badges = [badge.value for badge in views.badges_of(self._state, task.target) if badge.type == "task"]
        if badges != [task.status]:
            self._report(f"{race.message} has the badges {badges} and is {task.status}")

    def _task(self, race: Race) -> Task:
        entry = self._state.message(race.message)
        assert entry is not None
        return self._state.tasks[entry.seq]
