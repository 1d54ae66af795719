"""`python -m bench.history`: a long history in a real hub: how soon it starts, is searched and is read.

The messages are made here, written with the product's own log, and then served by a hub of its own: words are
distributed as in natural language (the commonest in every third message), every tenth message is private, every fifth
a reply; some are tasks that were done, and agents read what they get.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from itertools import accumulate
from itertools import count as count_from
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from crosschat.core.ids import make_id
from crosschat.journal.directory import open_directory
from crosschat.journal.files import RealFiles
from crosschat.journal.format import encode
from crosschat.journal.store import Log
from crosschat.model import AgentJoined, AnyRecord, Claim, Cursor, Epoch, Flag, Message, Reply, Resolve
from crosschat.wire import Send

from .figures import percentiles_ms
from .rig import PrivateHub, own_agent, private_hub, resident_mib, unwind_on_signals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VOCABULARY: Final = 30_000
WORDS: Final = 30
AGENTS: Final = 20
STEP_MS: Final = 30_000  # a message every half minute: a million are a year
SEED: Final = 20_261_124
EPOCH: Final = "bench"
REPLY_EVERY: Final = 5
MARK_EVERY: Final = 5  # messages, then an agent has read
TASK_EVERY: Final = 100
BATCH: Final = 5_000
ACKS_PER_S: Final = 200
INDEX_S: Final = 600.0
QUERIES: Final[dict[str, dict[str, object]]] = {
    "a common word": {"query": "w1"},
    "two common words": {"query": "w1 w3"},
    "five common words": {"query": "w1 w2 w3 w4 w5"},
    "a common phrase": {"query": '"w1 w2"'},
    "a rare word": {"query": "w25000"},
    "a common and a rare word": {"query": "w1 w29000"},
    "a word of one sender": {"query": "w2", "sender": "agent7"},
    "a word on one day": {"query": "w2", "since": "DAY", "until": "NEXT"},
    "a word long ago": {"query": "w2", "until": "EARLY"},
    "everything of a sender": {"sender": "agent3"},
    "a badge": {"badge": "importance:high", "query": "w1"},
    "no such word": {"query": "w1 nowhere"},
}


def records(count: int, start_ms: int) -> Iterator[AnyRecord]:
    """The whole log, the same for the same count."""
    chance = random.Random(SEED)
    words = [f"w{number}" for number in range(1, VOCABULARY + 1)]
    weights = list(accumulate(1 / rank for rank in range(1, VOCABULARY + 1)))
    yield Epoch(seq=1, id=make_id("r", EPOCH, 1), ts=start_ms, by="system", epoch=EPOCH)
    for number in range(AGENTS):
        seq, agent = number + 2, f"a{number}"
        yield AgentJoined(
            seq=seq, id=make_id("r", EPOCH, seq), ts=start_ms, by=agent, agent=agent, name=f"agent{number}", cwd="/w"
        )
    for number in range(count):
        seq, ts = seq_of_message(number), start_ms + number * STEP_MS
        text = " ".join(chance.choices(words, cum_weights=weights, k=chance.randint(WORDS // 2, WORDS * 3 // 2)))
        message = _message(seq, ts, text, chance)
        if number and number % REPLY_EVERY == 0:
            root = make_id("m", EPOCH, seq_of_message(number - 1 - chance.randrange(min(number, REPLY_EVERY - 1))))
            yield Reply(**attrs.asdict(message, recurse=False), root=root)
        else:
            yield message
        yield from _afterwards(number, seq, ts, message.by)


def seq_of_message(number: int) -> int:
    """Where the message `number`, from 0, is in the log: the inverse of what `records` adds between them."""
    return AGENTS + 2 + number + number // MARK_EVERY + 3 * (number // TASK_EVERY)


def _message(seq: int, ts: int, text: str, chance: random.Random) -> Message:
    author, other = chance.sample(range(AGENTS), 2)
    private = seq % 10 == 0
    return Message(
        seq=seq,
        id=make_id("m", EPOCH, seq),
        ts=ts,
        by=f"a{author}",
        cid=f"{chance.getrandbits(128):032x}",
        digest=f"send:{chance.getrandbits(64):016x}",
        content=text,
        source="agent",
        to=(f"a{other}",) if private else None,
        private=private,
        importance="important" if seq % 1000 == 0 else None,
    )


def _afterwards(number: int, seq: int, ts: int, author: str) -> Iterator[AnyRecord]:
    """What happens to some messages: they become tasks that are done; and agents read."""
    worker, target = f"a{number % AGENTS}", make_id("m", EPOCH, seq)
    names = (make_id("r", EPOCH, seq + more) for more in count_from(1))
    if (number + 1) % TASK_EVERY == 0:
        yield Flag(seq=seq + 1, id=next(names), ts=ts, by=author, target=target)
        yield Claim(seq=seq + 2, id=next(names), ts=ts, by=worker, target=target, agent=worker, claim_epoch=1)
        yield Resolve(
            seq=seq + 3, id=next(names), ts=ts, by=worker, target=target, status="completed", result="w7 is done"
        )
        seq += 3
    if (number + 1) % MARK_EVERY == 0:
        yield Cursor(seq=seq + 1, id=next(names), ts=ts, by="system", agent=worker, upto=seq)


def build(home: Path, count: int, start_ms: int, *, dress: Callable[[Message], str] | None = None) -> None:
    """Write the history into `home`; `dress` makes another text of a message."""
    files = RealFiles()
    open_directory(home, files)
    log, _ = Log.recover(home, files)
    lines: list[bytes] = []
    for record in records(count, start_ms):
        if dress is not None and isinstance(record, Message):
            record = attrs.evolve(record, content=dress(record))
        lines.append(encode(record))
        if len(lines) == BATCH:
            log.append(lines)
            lines.clear()
    log.append(lines)
    log.close()


def timed(hub: PrivateHub, op: str, fields: dict[str, object]) -> tuple[float, int]:
    """How long the answer took, and how many items it has."""
    begun = time.perf_counter()
    answer = hub.ask(op, **fields)
    took = time.perf_counter() - begun
    if answer.get("type") != "page":
        raise SystemExit(f"{op} {fields} was answered with {answer}")
    items = answer.get("items", [])
    return took, len(items) if isinstance(items, list) else 0


def acks(hub: PrivateHub, count: int) -> list[float]:
    """Seconds to the ack of messages that are due at a fixed rate, each from when it was due."""
    times: list[float] = []
    with own_agent(hub.home, "sender") as sender:
        begun = time.perf_counter()
        for number in range(count):
            due = begun + number / ACKS_PER_S
            time.sleep(max(0.0, due - time.perf_counter()))
            sender.ask(Send(id="a", cid=f"{begun}-{number}", content="w1 w2 w3"))
            times.append(time.perf_counter() - due)
    return times


def await_index(hub: PrivateHub) -> float:
    """Seconds until a search sees everything. Raises RuntimeError if it never does."""
    begun = time.perf_counter()
    while hub.ask("inspect").get("search_behind"):
        if time.perf_counter() - begun > INDEX_S:
            raise RuntimeError(f"the index for searches was not complete after {INDEX_S:g} s")
        time.sleep(0.05)
    return time.perf_counter() - begun


def report(name: str, times_s: list[float], note: str = "") -> None:
    values = " · ".join(f"{key.strip()} {value:.2f}" for key, value in percentiles_ms("", times_s).items())
    print(f"{name:<28} {values} {note}", flush=True)


def iso(ms: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ms / 1000))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.history", description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=200, help="times every search and read is repeated")
    parser.add_argument(
        "--keep", type=Path, help="make the history in this directory and keep it, or use the one there"
    )
    asked = parser.parse_args()
    unwind_on_signals()
    start_ms = int(time.time() * 1000) - asked.messages * STEP_MS
    directory = Path(tempfile.mkdtemp(prefix="cc-history-", dir="/tmp"))
    home = asked.keep or directory / "h"
    middle = start_ms + asked.messages // 2 * STEP_MS
    times = {
        "DAY": iso(middle),
        "NEXT": iso(middle + 86_400_000),
        "EARLY": iso(start_ms + asked.messages // 20 * STEP_MS),
    }
    try:
        if not (home / "log").exists():
            begun = time.perf_counter()
            build(home, asked.messages, start_ms)
            print(f"{asked.messages} messages made in {time.perf_counter() - begun:.0f} s")
        with private_hub(home) as hub:
            print(f"first start                  {hub.started_s:.2f} s")
            print(f"index made in                {await_index(hub):.1f} s, {index_mib(home):.0f} MiB")
        with private_hub(home) as hub:
            print(f"start with index             {hub.started_s:.2f} s")
            await_index(hub)
            for name, query in QUERIES.items():
                fields = {key: times.get(str(value), value) for key, value in query.items()}
                found = [timed(hub, "search", fields) for _ in range(asked.rounds)]
                report(name, [took for took, _ in found], f"({found[0][1]} items)")
            chance = random.Random(SEED)
            anchors = [
                make_id("m", EPOCH, seq_of_message(chance.randrange(asked.messages))) for _ in range(asked.rounds)
            ]
            report("a page anywhere", [timed(hub, "read", {"before": anchor, "limit": 50})[0] for anchor in anchors])
            report(f"ack at {ACKS_PER_S} messages/s", acks(hub, 10 * asked.rounds))
            print(f"hub's memory                 {resident_mib(hub.process.pid):.0f} MiB")
    finally:
        shutil.rmtree(directory)
    return 0


def index_mib(home: Path) -> float:
    return sum(path.stat().st_size for path in (home / "index").glob("search.sqlite*")) / 2**20


if __name__ == "__main__":
    sys.exit(main())
