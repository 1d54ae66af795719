"""`python -m bench.soak --minutes 30`: does it stay as it was? Twenty agents, fifty messages a second, for long.

Seventeen agents are light clients at the hub's socket, three are real sessions by way of the template, with a tool call
every second. All the time some leave and come back, and the hub is stopped or killed and started again. The quotas are
the usual ones, the log is synced as always. Every ten seconds memory and open files of hub and sessions are noted, and
how long acknowledgements took. Every reader checks that no record is missing or comes twice.

It ends with status 1 if a reader saw a hole, if files stayed open, or if memory grew. The result goes to
`bench/soak.json` of the checkout, or where `--save` says; `bench/README.md` has the last one in a line.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import select
import signal
import sys
import tempfile
import textwrap
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from crosschat import lock
from crosschat.paths import Home
from crosschat.wire import Send

from .figures import percentile
from .memory import children, launched, template
from .rig import Client, Origin, PrivateHub, private_hub, resident_mib, unwind_on_signals
from .run import time_syncs
from .sessions import Session, environment_of, opened
from .soak_result import Outcome, Sample, in_words, problems

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


LIGHT: Final = 17
SESSIONS: Final = 3
RATE: Final = 50.0
SAMPLE_S: Final = 10.0
SAMPLES_LEAST: Final = 6  # so that there are quarters of them to compare
LEAVE_S: Final = 7.0  # then another agent leaves
AWAY_S: Final = 3.0
RESTARTS: Final = 10  # in the whole run, if it is long enough; every third is a kill
RESTART_S: Final = 30.0  # at least, between two of them
SETTLE_S: Final = 3.0  # after a restart, before acknowledgements count as those of a quiet hub
TOOL_S: Final = 1.0
RESULT: Final = Path(__file__).with_suffix(".json")
README: Final = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- soak -->", "<!-- end of soak -->"
BATCH: Final = re.compile(rb'\{"type":"batch","from_seq":(\d+),"to_seq":(\d+)')


class Reader:
    """A light agent over all its connections: what it has, and what it waits for."""

    def __init__(self, origin: Origin, name: str) -> None:
        self.origin, self.name = origin, name
        self.client: Client | None = None
        self.waiting: dict[str, float] = {}  # requests without an answer: when they were due
        self.deliveries = self.holes = 0
        self._upto: int | None = None
        self._epoch: str | None = None

    def join(self) -> None:
        """Raises OSError, RuntimeError if there is no hub."""
        self.client = Client(self.origin.dial(), self.name, epoch=self._epoch, after=self._upto)
        self._epoch = str(self.client.welcome["epoch"])
        after = int(str(self.client.welcome["after_seq"]))
        self.holes += self._upto is not None and after != self._upto
        self._upto = after

    def leave(self) -> None:
        if self.client is not None:
            self.client.sock.close()
        self.client = None

    def send(self, number: int, due: float) -> None:
        """Raises OSError if the hub went."""
        assert self.client is not None
        self.waiting[str(number)] = due
        self.client.send(Send(id=str(number), cid=str(number), content=f"message {number} of a long day"))

    def take(self, now: float) -> list[float]:
        """Receive once; how long the acknowledgements in it took. Raises OSError, RuntimeError if the hub went."""
        assert self.client is not None
        self.client.fill()
        times: list[float] = []
        for payload in self.client.take():
            if batch := BATCH.match(payload):
                self.holes += int(batch[1]) != (self._upto or 0) + 1
                self._upto = int(batch[2])
                self.deliveries += payload.count(b'"seq":')
            elif payload.startswith((b'{"type":"sent"', b'{"type":"error"')):
                answer = json.loads(payload)
                due = self.waiting.pop(str(answer.get("id")), None)
                if due is not None and answer["type"] == "sent":
                    times.append(now - due)
        return times


class Talker:
    """A real session that writes every second and waits all the time for what the others write."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.calls = self.errors = 0
        self._waits = session.call("wait_for_messages", timeoutMs=5000)
        self._sends: int | None = None

    def say(self) -> None:
        if self._sends is None:
            self._sends = self.session.call("send_message", content=f"call {self.calls}", importance="chitchat")

    def take(self) -> None:
        self.session.fill()
        for number, line in self.session.answers().items():
            self.calls += 1
            self.errors += "error" in line or _failed(line["result"])
            if number == self._sends:
                self._sends = None
            else:
                self._waits = self.session.call("wait_for_messages", timeoutMs=5000)


def _failed(result: object) -> bool:
    return isinstance(result, dict) and bool(result.get("isError"))


class Day:
    """The whole run, from one thread. The lock of the directory is held here over all restarts, so that no session
    starts a hub of its own meanwhile."""

    def __init__(self, directory: Path, minutes: float, seed: int) -> None:
        self._home = Home(directory / "h")
        self._length_s = minutes * 60
        self._chance = random.Random(seed)
        self._readers: list[Reader] = []
        self._talkers: list[Talker] = []
        self._hub: PrivateHub | None = None
        self._hub_life = ExitStack()
        self._template = 0
        self._sent = self.leaves = self.restarts = 0
        self._settled_at = 0.0
        self._quiet: list[tuple[float, float]] = []  # when, and how long an acknowledgement took
        self._troubled: list[float] = []
        self._new: list[float] = []  # since the last sample
        self.samples: list[Sample] = []
        self._begun = 0.0

    @property
    def _now(self) -> float:
        return time.perf_counter() - self._begun

    def run(self) -> None:
        """Everything, in order. Nothing that was started is left."""
        self._home.root.mkdir(mode=0o700)
        lock_fd = lock.try_hold(self._home.hub_lock)
        assert lock_fd is not None
        with ExitStack() as stack:
            stack.callback(os.close, lock_fd)
            stack.enter_context(self._hub_life)
            self._start_hub(lock_fd)
            self._template = stack.enter_context(template(self._home))
            for number in range(LIGHT):
                reader = Reader(stack.enter_context(closing(Origin(self._home.agents_socket))), f"light{number}")
                stack.callback(reader.leave)
                reader.join()
                self._readers.append(reader)
            for number in range(SESSIONS):
                command, name = launched(self._home), f"session{number}"
                session = stack.enter_context(opened(command, environment_of(self._home, name)))
                self._talkers.append(Talker(session))
            self._begun = time.perf_counter()
            self._pass_the_time(lock_fd)

    def _start_hub(self, lock_fd: int) -> None:
        self._hub = self._hub_life.enter_context(private_hub(self._home.root, raised=False, lock_fd=lock_fd))

    def _pass_the_time(self, lock_fd: int) -> None:
        every = max(self._length_s / (RESTARTS + 1), RESTART_S)
        leaves_at, says_at, samples_at, restarts_at = LEAVE_S, TOOL_S, SAMPLE_S, every
        back: list[tuple[float, Reader]] = []
        while (now := self._now) < self._length_s:
            self._send_what_is_due(now)
            if now >= says_at:
                says_at += TOOL_S
                for talker in self._talkers:
                    talker.say()
            if now >= leaves_at:
                leaves_at += LEAVE_S
                reader = self._chance.choice([one for one in self._readers if one.client is not None])
                reader.leave()
                back.append((now + AWAY_S, reader))
                self.leaves += 1
            while back and back[0][0] <= now:
                _, reader = back.pop(0)
                if reader.client is None:
                    reader.join()
            if now >= samples_at:
                samples_at += SAMPLE_S
                self._sample(now)
            if now >= restarts_at:
                restarts_at += every
                self._restart(lock_fd)
            due = min(leaves_at, says_at, samples_at, restarts_at, self._sent / RATE)
            self._receive(max(0.0, due - self._now))

    def _send_what_is_due(self, now: float) -> None:
        while self._sent / RATE <= now:
            reader = self._chance.choice([one for one in self._readers if one.client is not None])
            reader.send(self._sent, self._sent / RATE)
            self._sent += 1

    def _receive(self, within_s: float) -> None:
        readers = {reader.client.sock.fileno(): reader for reader in self._readers if reader.client is not None}
        talkers = {talker.session.fileno(): talker for talker in self._talkers}
        readable, _, _ = select.select([*readers, *talkers], [], [], within_s)
        for number in readable:
            if number in talkers:
                talkers[number].take()
                continue
            for took in readers[number].take(self._now):
                self._note(took)

    def _note(self, took: float) -> None:
        now = self._now
        if now - took < self._settled_at:  # it was due before the hub was itself again
            self._troubled.append(took)
        else:
            self._quiet.append((now, took))
            self._new.append(took)

    def _restart(self, lock_fd: int) -> None:
        """Stop the hub, every third time by a kill, start it, and have everybody come back."""
        assert self._hub is not None
        self.restarts += 1
        if self.restarts % 3 == 0:
            self._hub.process.send_signal(signal.SIGKILL)
        self._hub_life.close()
        for reader in self._readers:
            with suppress(OSError, RuntimeError):  # what the hub still said, up to its end
                while reader.client is not None:
                    reader.take(self._now)
            reader.leave()
            reader.waiting.clear()
        self._start_hub(lock_fd)
        for reader in self._readers:
            reader.join()
        self._settled_at = self._now + SETTLE_S

    def _sample(self, now: float) -> None:
        assert self._hub is not None
        connected = sum(reader.client is not None for reader in self._readers) + SESSIONS
        servers = children(self._template)
        self.samples.append(
            Sample(
                at_s=round(now, 1),
                hub_mib=round(resident_mib(self._hub.process.pid), 1),
                hub_files=open_files(self._hub.process.pid) - connected,
                session_mib=round(sum(map(resident_mib, servers)) / len(servers), 1),
                session_files=sum(map(open_files, servers)),
                acknowledged=len(self._new),
                p50_ms=round(percentile(self._new or [0.0], 0.5) * 1e3, 2),
                p99_ms=round(percentile(self._new or [0.0], 0.99) * 1e3, 2),
            )
        )
        self._new = []

    def outcome(self, syncs: Sequence[float]) -> Outcome:
        times = [took for _, took in self._quiet]
        halves = [[took for at, took in self._quiet if (at < self._length_s / 2) == first] for first in (True, False)]
        holes = sum(reader.holes for reader in self._readers)

        def p(values: Sequence[float], part: float) -> float:
            return round(percentile(values, part) * 1e3, 2) if values else 0.0

        return Outcome(
            minutes=self._length_s / 60,
            messages=self._sent,
            deliveries=sum(reader.deliveries for reader in self._readers),
            holes=holes,
            leaves=self.leaves,
            restarts=self.restarts,
            tool_calls=sum(talker.calls for talker in self._talkers),
            tool_errors=sum(talker.errors for talker in self._talkers),
            p50_ms=p(times, 0.5),
            p99_ms=p(times, 0.99),
            p99_first_half_ms=p(halves[0], 0.99),
            p99_second_half_ms=p(halves[1], 0.99),
            during_restarts_p99_ms=p(self._troubled, 0.99),
            fdatasync_p50_ms=p(syncs, 0.5),
            fdatasync_p99_ms=p(syncs, 0.99),
            load=os.getloadavg()[0],
            problems=tuple(problems(self.samples, holes)),
            samples=tuple(self.samples),
        )


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


@contextmanager
def _place(below: Path | None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="cc-soak-", dir=below) as directory:
        yield Path(directory).resolve()


def note(words: str, readme: Path) -> None:
    """Put the line into the README of the checkout; an installation has none."""
    if readme.exists():
        before, _, rest = readme.read_text().partition(BEGIN)
        readme.write_text(f"{before}{BEGIN}\n{textwrap.fill(words, 120)}\n{END}{rest.partition(END)[2]}")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.soak", description="Use a hub for long, and see if it stays."
    )
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=20_261_124)
    parser.add_argument("--directory", type=Path, help="where the hub writes, instead of the temporary directory")
    parser.add_argument("--save", type=Path, default=RESULT, help="where the result goes, instead of beside this file")
    asked = parser.parse_args()
    if asked.minutes * 60 < SAMPLES_LEAST * SAMPLE_S:
        parser.error(f"--minutes {asked.minutes:g}: it takes a minute to have something to compare memory with")
    if sys.platform != "linux":
        print("bench.soak: memory and open files of other processes are read from /proc, so it needs Linux")
        return 2
    unwind_on_signals()
    with _place(asked.directory) as directory:
        syncs = time_syncs(directory)
        day = Day(directory, asked.minutes, asked.seed)
        day.run()
        syncs += time_syncs(directory)
    found = day.outcome(syncs)
    asked.save.write_text(json.dumps(attrs.asdict(found), indent=1) + "\n")
    print(in_words(found))
    if asked.save == RESULT:
        note(in_words(found), README)
    for problem in found.problems:
        print(f"problem: {problem}")
    return 1 if found.problems else 0


if __name__ == "__main__":
    sys.exit(main())
