"""Races for tasks: 2 to 64 agents claim the same task at once, the hub is killed, and they ask again until they know.

One agent makes tasks; a race ends when every contender has its answer. The winner then resolves the task, or the person
releases it and a second race follows, up to three for a task. What was asked and answered, with its times, must be
explainable by one order in which things happened one at a time (linearizable): one claim wins each epoch; a refused
claim overlaps a time at which the task was held or finished; what ended before another began comes before it. In the
end the badge of every task says what the task says, and so do the files of both.
"""

from __future__ import annotations

import json
from contextlib import suppress
from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING, Final

import attrs
import trio

from crosschat import wire
from tests.live.rig import Program
from tests.prove.agents import Lost, Socket
from tests.prove.history import History, read_log
from tests.prove.lives import Care, Lives
from tests.prove.outcome import Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from tests.prove.outcome import Room

CONTENDERS: Final = 64
AT_ONCE: Final = 24  # races
LONGEST_S: Final = 300.0  # for races that do not end, because the hub is gone for good


def run(room: Room) -> Outcome:
    """One hub that dies again and again while tasks are raced for."""
    return trio.run(_run, room)


async def _run(room: Room) -> Outcome:
    outcome, history = Outcome(), History()
    care = Care(seed=room.seed, deaths=2 if room.short else 5, bug=room.bug, quiet_s=(1.0, 3.0))
    lives = Lives(room.zygote, room.place, care, outcome, history.report)
    field = Field(room.seed, lives, history)
    try:
        async with trio.open_nursery() as nursery:
            await lives.begin()
            for contender in (field.owner, *field.contenders):
                nursery.start_soon(contender.run)
            with trio.fail_after(LONGEST_S):
                await lives.run_beside(field.race)
            field.check()
            nursery.cancel_scope.cancel()
        await lives.finish()
        log, _ = read_log(lives.home)
        field.check_log(log)
        _compare_files(lives.home, history)
    except* (trio.TooSlowError, AssertionError) as group:
        history.report(f"the rig gave up: {group.exceptions[0]!r}")
    finally:
        for contender in (field.owner, *field.contenders):
            contender.program.end()
        await lives.close()
    outcome.problems = history.problems
    outcome.counts["races"] = history.counts["races"]
    outcome.counts["claims"] = history.counts["claims"]
    return outcome


@attrs.frozen
class Event:
    """One request about a task: when it was asked first and answered, and `seq` if it was done, None if refused."""

    what: str
    agent: str
    asked: float
    answered: float
    seq: int | None
    claims: int


@attrs.define(eq=False)
class Race:
    message: str
    flagged: Event
    events: list[Event] = attrs.Factory(list)


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

    async def run(self) -> None:
        while True:
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
                self._socket = sock
                for again in tuple(self._open.values()):
                    await sock.send(again)
                while True:
                    self._take(await sock.receive())
            except (Lost, OSError, trio.TooSlowError):
                pass
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
    def __init__(self, seed: int, lives: Lives, history: History) -> None:
        path = lives.home / "run" / "agents.sock"
        self._random = Random(f"{seed} field")
        self._history = history
        self._lives = lives
        self.owner = Contender("owner", path)
        self.contenders = [Contender(f"c{number}", path) for number in range(CONTENDERS)]
        self.races: list[Race] = []

    async def race(self, ending: trio.Event) -> None:
        """Races, some at once, until `ending`; those that run are finished."""
        async with trio.open_nursery() as nursery:
            for _ in range(AT_ONCE):
                nursery.start_soon(self._one_after_the_other, ending)

    async def _one_after_the_other(self, ending: trio.Event) -> None:
        while not ending.is_set():
            identifier = self.owner.next_id()
            sent = await self.owner.ask(wire.Send(id=identifier, cid=identifier, content=f"{identifier} do this"))
            message = str(sent["message"])
            flagged = await self._do(self.owner, "flag", wire.FlagTask, message)
            race = Race(message, flagged)
            self.races.append(race)
            for _ in range(self._random.choice([1, 1, 2, 3])):
                winner = await self._run_once(race)
                if winner is None:
                    break
                self._history.counts["races"] += 1
                if self._random.random() < 0.6:
                    race.events.append(await self._do(winner, "resolve", wire.ResolveTask, message))
                    await self._late(race)
                    break
                race.events.append(await self._release(message))
            await self._compare_views(race)

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
        winners = [contender for contender, event in events if event.seq is not None]
        if len(winners) != 1:
            self._history.report(f"{len(winners)} winners of {many} for {race.message}")
        return winners[0] if winners else None

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
        seq, task = answer.get("seq"), answer.get("task")
        if answer["type"] == "error" and (what != "claim" or answer["code"] != "conflict"):
            self._history.report(f"{what} of {message} was answered with {answer}")
        claims = int(str(task.get("claims", 0))) if isinstance(task, dict) else 0
        return Event(what, who.agent, asked, trio.current_time(), int(str(seq)) if seq is not None else None, claims)

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
                    return Event("release", "cli", asked, trio.current_time(), answer.get("seq"), 0)
                if answer.get("code") != "unavailable":
                    self._history.report(f"release of {message} was answered with {answer}")
                    return Event("release", "cli", asked, trio.current_time(), None, 0)
            except (Lost, OSError, trio.TooSlowError, trio.BrokenResourceError):
                pass  # asked again
            await trio.sleep(0.02)

    async def _compare_views(self, race: Race) -> None:
        identifier = self.owner.next_id()
        page = await self.owner.ask(wire.Read(id=identifier, message=race.message))
        items = page["items"]
        assert isinstance(items, list)
        badges = [badge["value"] for badge in items[0]["badges"] if badge["type"] == "task"]
        if badges != [items[0]["task"]["status"]]:
            self._history.report(f"{race.message} has the badges {badges} and is {items[0]['task']['status']}")

    # --- the end

    def check(self) -> None:
        """Each race by itself: one order explains it."""
        for race in self.races:
            self._check(race)

    def _check(self, race: Race) -> None:
        done = sorted((event for event in race.events if event.seq is not None), key=lambda one: one.seq or 0)
        for earlier, later in pairwise(done):
            if later.answered < earlier.asked:
                self._history.report(
                    f"{race.message}: {later} was answered before {earlier} was asked, and comes after it"
                )
        held_by: str | None = None
        for event in done:
            if event.what == "claim":
                if held_by is not None:
                    self._history.report(f"{race.message}: claimed by {event.agent} while {held_by} held it")
                held_by = event.agent
            elif event.what == "release":
                held_by = None
        opened = [race.flagged, *(event for event in done if event.what == "release")]
        taken = [event for event in done if event.what == "claim"]
        for event in race.events:
            if event.what == "claim" and event.seq is None:
                self._check_refused(race, event, opened, taken)

    def _check_refused(self, race: Race, event: Event, opened: list[Event], taken: list[Event]) -> None:
        """Not if the task was open all the time between asking and answer."""
        for index, opening in enumerate(opened):
            next_taken = taken[index] if index < len(taken) else None
            if opening.answered < event.asked and (next_taken is None or next_taken.asked > event.answered):
                self._history.report(f"{race.message}: {event.agent} was refused while the task was open")

    def check_log(self, log: list[dict[str, object]]) -> None:
        """The log has exactly the claims that won, each with the next number."""
        for race in self.races:
            claims = [record for record in log if record.get("target") == race.message and record["kind"] == "claim"]
            won = sorted(event.seq or 0 for event in race.events if event.what == "claim" and event.seq is not None)
            if [record["seq"] for record in claims] != won:
                self._history.report(
                    f"{race.message}: the log has claims {[record['seq'] for record in claims]}, won were {won}"
                )
            if [record["claim_epoch"] for record in claims] != list(range(1, len(claims) + 1)):
                self._history.report(f"{race.message}: the claims are not numbered from 1")


def _compare_files(home: Path, history: History) -> None:
    for path in (home / "messages" / "tasks").glob("*.json"):
        task = json.loads(path.read_text())
        badges = json.loads((home / "messages" / "badges" / path.name).read_text())["badges"]
        values = [badge["value"] for badge in badges if badge["type"] == "task"]
        if values != [task["status"]]:
            history.report(f"the files of {path.stem} disagree: {values} and {task['status']}")
