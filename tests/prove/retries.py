"""Retries: requests whose answers are dropped after they were committed, asked again one to five times, the hub killed.

Each of some agents sends a handful of requests and then throws the answers away, by cutting the connection at once,
after a moment or after some of them; it connects again and sends the same, and again. All answers to one request must
be the same; in the log it is there once; the same cid with another content is a conflict, also after restarts.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Final

import trio

from crosschat import wire
from tests.live.rig import Program, eventually
from tests.prove.agents import Lost, Socket
from tests.prove.history import Asked, History, read_log
from tests.prove.lives import Care, Lives
from tests.prove.outcome import Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from tests.prove.outcome import Room

AGENTS: Final = 6
REQUESTS: Final = 24  # in one handful
SETTLE_S: Final = 60.0
Request = wire.Send | wire.FlagTask | wire.AddBadge


def run(room: Room) -> Outcome:
    """One hub that dies again and again while everything is asked several times."""
    return trio.run(_run, room)


async def _run(room: Room) -> Outcome:
    outcome, history = Outcome(), History()
    care = Care(seed=room.seed, deaths=6 if room.short else 14, bug=room.bug, clean=0.4)
    lives = Lives(room.zygote, room.place, care, outcome, history.report)
    retriers: list[Retrier] = []
    try:
        async with trio.open_nursery() as nursery:
            await lives.begin()
            for number in range(AGENTS):
                random = Random(f"{room.seed} {number}")
                retriers.append(Retrier(f"a{number}", lives.home / "run" / "agents.sock", history, lives, random))
                nursery.start_soon(retriers[-1].run)
            await lives.run()
            for retrier in retriers:
                retrier.ending = True
            await eventually(lambda: all(retrier.ended for retrier in retriers), SETTLE_S)
            nursery.cancel_scope.cancel()
        await lives.finish()
        log, damaged = read_log(lives.home)
        history.verify(log, final=0, damaged=damaged > 0)
    except* (trio.TooSlowError, AssertionError) as group:
        history.report(f"the rig gave up: {group.exceptions[0]!r}")
    finally:
        for retrier in retriers:
            retrier.program.end()
        await lives.close()
    outcome.problems = history.problems
    outcome.counts["retried requests"] = history.counts["retried"]
    outcome.counts["retries"] = history.counts["retries"]
    outcome.counts["conflicts of cids"] = history.counts["conflicts"]
    return outcome


class Retrier:
    """An agent that asks everything several times."""

    def __init__(self, name: str, path: Path, history: History, lives: Lives, random: Random) -> None:
        self.program = Program(path)
        self.ending = False
        self.ended = False
        self._name = name
        self._history = history
        self._durable = lives.durable
        self._random = random
        self._socket: Socket | None = None
        self._agent = ""
        self._number = 0
        self._own: list[str] = []

    async def run(self) -> None:
        while not self.ending:
            await self._ask_several_times(self._compose())
        self.ended = True

    def _compose(self) -> dict[str, Request]:
        """New requests by cid, about messages of its own, so that none is refused."""
        requests: dict[str, Request] = {}
        for _ in range(REQUESTS):
            self._number += 1
            cid = f"{self._name}-{self._number}"
            dice = self._random.random()
            about = self._random.choice(self._own) if self._own and dice > 0.7 else None
            if about is None:
                requests[cid] = wire.Send(id=cid, cid=cid, content=f"{cid} text")
            elif dice > 0.85:
                requests[cid] = wire.FlagTask(id=cid, cid=cid, message=about)
            else:
                requests[cid] = wire.AddBadge(id=cid, cid=cid, message=about, badge_type="mood", value=cid)
        return requests

    async def _ask_several_times(self, requests: dict[str, Request]) -> None:
        times = self._random.randint(2, 6)
        sent: set[str] = set()
        for left in reversed(range(times)):
            chosen = requests if left == 0 or self._random.random() < 0.5 else dict(list(requests.items())[::2])
            while True:  # until it has really been sent; the last time, until all is answered
                try:
                    sock = await self._connected()
                    for cid, frame in chosen.items():
                        self._note(cid, frame, again=cid in sent)
                        sent.add(cid)
                        await sock.send(frame)
                    await self._listen(sock, set(chosen), drop=left > 0)
                    break
                except (Lost, OSError):
                    await self._drop()
                    await trio.sleep(0.01)
        self._history.counts["retried"] += len(requests)
        await self._try_another_content(requests)

    def _note(self, cid: str, frame: Request, *, again: bool) -> None:
        kind = {wire.Send: "message", wire.FlagTask: "flag", wire.AddBadge: "badge"}[type(frame)]
        text = frame.content if isinstance(frame, wire.Send) else ""
        self._history.ask(cid, Asked(self._agent, kind, text, again=True))
        self._history.counts["retries"] += again

    async def _listen(self, sock: Socket, open_: set[str], *, drop: bool) -> None:
        """Take answers; with `drop` only some, and then the connection is cut or kept."""
        enough = self._random.choice([0, 0, len(open_) // 2, len(open_)]) if drop else len(open_)
        while enough > 0 and open_:
            frame = await sock.receive()
            cid = str(frame.get("id"))
            if frame["type"] == "error" and frame.get("code") == "unavailable":
                raise Lost
            if frame["type"] not in ("sent", "done", "error") or cid not in self._history.asked:
                continue
            enough -= cid in open_
            open_.discard(cid)
            if frame["type"] == "error":
                self._history.report(f"{cid} was refused: {frame}")
                continue
            seq = frame.get("seq")
            self._history.ack(cid, int(str(seq)) if seq is not None else None, str(frame["message"]), self._durable.seq)
            if frame["type"] == "sent" and not drop:
                self._own.append(str(frame["message"]))
        if drop and self._random.random() < 0.7:
            await trio.sleep(self._random.choice([0, 0, 0.002, 0.02]))
            await self._drop()

    async def _try_another_content(self, requests: dict[str, Request]) -> None:
        cid = self._random.choice([cid for cid, frame in requests.items() if isinstance(frame, wire.Send)])
        while True:
            try:
                sock = await self._connected()
                await sock.send(wire.Send(id="other", cid=cid, content="something else"))
                while (frame := await sock.receive()).get("id") != "other":
                    pass
            except (Lost, OSError):
                await self._drop()
                await trio.sleep(0.01)
                continue
            if frame.get("code") == "unavailable":
                await self._drop()
                continue
            if frame["type"] != "error" or frame.get("code") != "conflict":
                self._history.report(f"another content for {cid} was answered with {frame}")
            self._history.counts["conflicts"] += 1
            return

    async def _connected(self) -> Socket:
        if self._socket is not None:
            return self._socket
        sock = Socket(self.program.connect())
        with trio.move_on_after(5):
            await sock.upgrade()
            hello = wire.Hello(protocol=wire.PROTOCOL, version="prove", cwd="/tmp", name=self._name)
            await sock.send(hello)
            frame = await sock.receive()
            if frame["type"] == "welcome":
                self._agent = str(frame["agent"])
                self._socket = sock
                return sock
        await sock.close()
        raise Lost

    async def _drop(self) -> None:
        if self._socket is not None:
            await self._socket.close()
            self._socket = None
        self.program.let_go()
