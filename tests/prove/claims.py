"""Races for tasks: 2 to 64 agents claim the same task at once, the hub is killed, and they ask again until they know.

One agent makes tasks; a race ends when every contender has its answer. The winner then resolves the task, perhaps after
it was away for a moment, or the person releases it and a second race follows, up to three for a task. Besides, one
agent claims tasks and stays away for longer than the lease's grace, which is short here, and others get them; whoever
was away for less keeps what it holds, also over the death of the hub. What was asked and answered, with its times, must
be explainable by one order (`linear`). In the end the badge of every task says what the task says, and so do the files
of both.
"""

from __future__ import annotations

import json
import math
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING, Final

import trio

from crosschat import wire
from tests.live.rig import Program
from tests.prove import linear
from tests.prove.agents import Lost, Socket
from tests.prove.history import History, read_log
from tests.prove.linear import Event, Race
from tests.prove.lives import Care, Lives
from tests.prove.outcome import Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from tests.prove.outcome import Room

CONTENDERS: Final = 64
AT_ONCE: Final = 24  # races
GRACE_S: Final = 3.0
LONGEST_S: Final = 300.0  # for races that do not end, because the hub is gone for good


def run(room: Room) -> Outcome:
    """One hub that dies again and again while tasks are raced for."""
    return trio.run(_run, room)


async def _run(room: Room) -> Outcome:
    outcome, history = Outcome(), History()
    care = Care(
        seed=room.seed, deaths=2 if room.short else 6, bug=room.bug, quiet_s=(0.3, 0.8) if room.short else (1.0, 3.0),
        options=("--lease-grace-s", str(GRACE_S)),
    )  # fmt: skip
    lives = Lives(room.zygote, room.place, care, outcome, history.report)
    field = Field(room.seed, lives, history, short=room.short)
    try:
        async with trio.open_nursery() as nursery:
            await lives.begin()
            for contender in field.everybody:
                nursery.start_soon(contender.run)
            with trio.fail_after(LONGEST_S):
                await lives.run_beside(field.race)
            nursery.cancel_scope.cancel()
        await lives.finish()
        log, _ = read_log(lives.home)
        field.check(log)
        _compare_files(lives.home, history)
    except* (trio.TooSlowError, AssertionError) as group:
        history.report(f"the rig gave up: {group.exceptions[0]!r}")
    finally:
        for contender in field.everybody:
            contender.program.end()
        await lives.close()
    outcome.problems = history.problems
    for name in ("races", "claims", "claimants that came back", "leases that ended"):
        outcome.counts[name] = history.counts[name]
    return outcome


class Contender:
    """An agent that asks until it is answered, over any number of connections, with the same cid."""

    def __init__(self, name: str, path: Path) -> None:
        self.program = Program(path)
        self.agent = ""
        self._name = name
        self._number = 0
        self._socket: Socket | None = None
        self._open: dict[str, wire.AgentFrame] = {}
        self._answers: dict[str, dict[str, object]] = {}
        self._news = trio.Event()
        self._back_at = 0.0
        self._here = trio.Event()
        self.longest_absence_s = 0.0

    async def leave(self, away_s: float) -> None:
        """Be away for so long, and come back when there is a hub."""
        self._back_at = max(self._back_at, trio.current_time() + away_s)
        if self._socket is not None:
            if self._here.is_set():  # else somebody waits for it already
                self._here = trio.Event()
            await self._socket.close()
        await self._here.wait()

    async def run(self) -> None:
        left = trio.current_time()
        while True:
            while self._back_at > trio.current_time():  # noqa: ASYNC110 - it may be put off meanwhile
                await trio.sleep_until(self._back_at)
            try:
                sock = Socket(self.program.connect())
            except OSError:
                await trio.sleep(0.02)
                continue
            try:
                with trio.fail_after(5):
                    await sock.upgrade()
                    await sock.send(wire.Hello(protocol=wire.PROTOCOL, version="p", cwd="/tmp", name=self._name))
                    frame = await sock.receive()
                if frame["type"] != "welcome":
                    raise Lost
                self.agent = str(frame["agent"])
                self.longest_absence_s = max(self.longest_absence_s, trio.current_time() - left)
                self._socket = sock
                self._here.set()
                for again in tuple(self._open.values()):
                    await sock.send(again)
                while True:
                    self._take(await sock.receive())
            except (Lost, OSError, trio.TooSlowError):
                pass
            if self._socket is not None:
                left = trio.current_time()
            self._socket = None
            with trio.CancelScope(shield=True):
                await sock.close()
            self.program.let_go()
            await trio.sleep(0.01)

    def _take(self, frame: dict[str, object]) -> None:
        identifier = str(frame.get("id"))
        if frame["type"] in ("sent", "done", "error", "page") and identifier in self._open:
            if frame.get("code") == "unavailable":
                raise Lost
            del self._open[identifier]
            self._answers[identifier] = frame
            self._news.set()
            self._news = trio.Event()

    def next_id(self) -> str:
        self._number += 1
        return f"{self._name}-{self._number}"

    async def ask(self, frame: wire.AgentFrame) -> dict[str, object]:
        identifier = str(getattr(frame, "id", ""))
        self._open[identifier] = frame
        if self._socket is not None:
            with suppress(Lost, OSError):  # then it is sent on the next connection
                await self._socket.send(frame)
        while identifier not in self._answers:
            await self._news.wait()
        return self._answers.pop(identifier)


class Field:
    def __init__(self, seed: int, lives: Lives, history: History, *, short: bool) -> None:
        path = lives.home / "run" / "agents.sock"
        self._random = Random(f"{seed} field")
        self._history = history
        self._lives = lives
        self._short = short  # then no lease ends: that takes its time
        self.owner = Contender("owner", path)
        self.contenders = [Contender(f"c{number}", path) for number in range(CONTENDERS)]
        self._loser = Contender("loser", path)
        self.everybody = (self.owner, self._loser, *self.contenders)
        self.races: list[Race] = []
        self._lapses: dict[tuple[str, str], tuple[float, float]] = {}  # of whom: when it left, when it was open again
        self._suspects: list[tuple[str, str]] = []  # by message: what is wrong, unless its lease ended meanwhile

    async def race(self, ending: trio.Event) -> None:
        """Races, some at once, until `ending`; those that run are finished."""
        async with trio.open_nursery() as nursery:
            if not self._short:
                nursery.start_soon(self._lose_leases, ending)
            for _ in range(AT_ONCE):
                nursery.start_soon(self._one_after_the_other, ending)

    async def _begin(self) -> Race:
        identifier = self.owner.next_id()
        sent = await self.owner.ask(wire.Send(id=identifier, cid=identifier, content=f"{identifier} do this"))
        message = str(sent["message"])
        race = Race(message, await self._do(self.owner, "flag", wire.FlagTask, message))
        self.races.append(race)
        return race

    async def _lose_leases(self, ending: trio.Event) -> None:
        """Tasks whose claimant is away for too long are open again, and others get them."""
        while not ending.is_set():
            race = await self._begin()
            race.events.append(await self._do(self._loser, "claim", wire.ClaimTask, race.message))
            left = trio.current_time()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._loser.leave, 3 * GRACE_S)
                while (await self._look(race))["status"] != "open":  # noqa: ASYNC110 - the hub tells nobody but the owner
                    await trio.sleep(0.1)
                self._lapses[race.message, self._loser.agent] = (left, trio.current_time())
                winner = await self._run_once(race)
            if winner is not None:
                race.events.append(await self._do(winner, "resolve", wire.ResolveTask, race.message))

    async def _one_after_the_other(self, ending: trio.Event) -> None:
        while not ending.is_set():
            race = await self._begin()
            message = race.message
            for _ in range(self._random.choice([1, 1, 2, 3])):
                winner = await self._run_once(race)
                if winner is None:
                    break
                self._history.counts["races"] += 1
                if self._random.random() < 0.15:
                    await winner.leave(self._random.uniform(0, GRACE_S / 4))
                    self._history.counts["claimants that came back"] += 1
                if self._random.random() < 0.6:
                    race.events.append(await self._do(winner, "resolve", wire.ResolveTask, message))
                    await self._late(race)
                    break
                race.events.append(await self._release(message))
            await self._look(race)

    async def _run_once(self, race: Race) -> Contender | None:
        """All contenders at once; the winner."""
        many = self._random.choice([2, 2, 3, 4, 4, 8, 8, 16, 64])
        chosen = self._random.sample(self.contenders, many)
        events: list[tuple[Contender, Event]] = []

        async def claim(contender: Contender) -> None:
            events.append((contender, await self._do(contender, "claim", wire.ClaimTask, race.message)))

        async with trio.open_nursery() as nursery:
            for contender in chosen:
                nursery.start_soon(claim, contender)
        race.events += [event for _, event in events]
        self._history.counts["claims"] += len(events)
        winners = {event.seq: contender for contender, event in events if event.seq is not None}
        if len(winners) != 1:
            self._suspects.append((race.message, f"{len(winners)} winners of {many} for {race.message}"))
        return winners[max(winners)] if winners else None

    async def _late(self, race: Race) -> None:
        """One more claims the finished task."""
        race.events.append(await self._do(self._random.choice(self.contenders), "claim", wire.ClaimTask, race.message))

    async def _do(
        self,
        who: Contender,
        what: str,
        kind: type[wire.FlagTask] | type[wire.ClaimTask] | type[wire.ResolveTask],
        message: str,
    ) -> Event:
        identifier = who.next_id()
        if kind is wire.ResolveTask:
            frame: wire.AgentFrame = wire.ResolveTask(
                id=identifier, cid=identifier, message=message, status="completed", result=identifier
            )
        elif kind is wire.ClaimTask:
            frame = wire.ClaimTask(id=identifier, cid=identifier, message=message)
        else:
            frame = wire.FlagTask(id=identifier, cid=identifier, message=message)
        asked = trio.current_time()
        answer = await who.ask(frame)
        seq = answer.get("seq")
        if answer["type"] == "error" and (what != "claim" or answer["code"] != "conflict"):
            self._suspects.append((message, f"{what} of {message} was answered with {answer}"))
        return Event(what, who.agent, asked, trio.current_time(), int(str(seq)) if seq is not None else None)

    async def _release(self, message: str) -> Event:
        """The person's terminal frees the task. Asked again with the same cid until it is answered."""
        cid = f"release {self.owner.next_id()}"
        asked = trio.current_time()
        frame = wire.ReleaseTask(id="r", cid=cid, message=message)
        while True:
            try:
                with trio.fail_after(5):
                    stream = await trio.open_unix_socket(str(self._lives.home / "run" / "control.sock"))
                    async with stream:
                        await stream.send_all(wire.encode_control(frame) + b"\n")
                        said = b""
                        while not said.endswith(b"\n"):
                            part = await stream.receive_some(65536)
                            if not part:
                                raise Lost
                            said += part
                answer = json.loads(said)
                if answer["type"] == "done":
                    return Event("release", "cli", asked, trio.current_time(), answer.get("seq"))
                if answer.get("code") != "unavailable":
                    self._suspects.append((message, f"release of {message} was answered with {answer}"))
                    return Event("release", "cli", asked, trio.current_time(), None)
            except (Lost, OSError, trio.TooSlowError, trio.BrokenResourceError):
                pass  # asked again
            await trio.sleep(0.02)

    async def _look(self, race: Race) -> dict[str, object]:
        """The task, whose badge says the same."""
        identifier = self.owner.next_id()
        page = await self.owner.ask(wire.Read(id=identifier, message=race.message))
        items = page["items"]
        assert isinstance(items, list)
        task: dict[str, object] = items[0]["task"]
        badges = [badge["value"] for badge in items[0]["badges"] if badge["type"] == "task"]
        if badges != [task["status"]]:
            self._history.report(f"{race.message} has the badges {badges} and is {task['status']}")
        return task

    # --- the end

    def check(self, log: list[dict[str, object]]) -> None:
        """Each race by itself: one order explains it, and the log has it so."""
        lapsed = self._check_leases(log)
        for message, what in self._suspects:
            if message not in lapsed:
                self._history.report(what)
        for race in self.races:
            linear.check(race, self._history.report)
        linear.check_log(self.races, log, self._history.report)

    def _check_leases(self, log: list[dict[str, object]]) -> set[str]:
        """The messages whose leases ended. The claimant stayed away then, which on a loaded machine any of them may.
        Its end becomes an event of the race."""
        absences = {one.agent: one.longest_absence_s for one in self.everybody}
        holders: dict[str, str] = {}
        races = {race.message: race for race in self.races}
        lapsed: set[str] = set()
        for record in log:
            message = str(record.get("target"))
            if record["kind"] == "claim":
                holders[message] = str(record["from"])
            elif record["kind"] == "release" and record.get("reason") == "lease_expired" and message in races:
                holder = holders[message]
                left, noticed = self._lapses.get((message, holder), (0.0, math.inf))
                races[message].events.append(Event("release", "system", left, noticed, int(str(record["seq"]))))
                lapsed.add(message)
                if absences[holder] < GRACE_S:
                    self._history.report(f"{message}: its lease ended, and {holder} was away for {absences[holder]} s")
        self._history.counts["leases that ended"] += len(lapsed)
        return lapsed


def _compare_files(home: Path, history: History) -> None:
    for path in (home / "messages" / "tasks").glob("*.json"):
        task = json.loads(path.read_text())
        badges = json.loads((home / "messages" / "badges" / path.name).read_text())["badges"]
        values = [badge["value"] for badge in badges if badge["type"] == "task"]
        if values != [task["status"]]:
            history.report(f"the files of {path.stem} disagree: {values} and {task['status']}")
