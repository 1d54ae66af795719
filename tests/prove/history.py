"""What happened, as the writers and readers saw it, and whether the promises hold for it. No I/O but reading the log.

Owns the rules. While a run goes on it checks what can be seen at once: each reader's coverage has no hole and no
overlap, seqs rise, one seq is one message for all readers, nothing is acked or delivered before it is durable, and a
request that is acked twice is acked the same. In the end the log, read here with nothing of the product's own code, is
compared with what was asked for, what was acked and what each reader got: lost, duplicated, reordered, phantom.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Final

import attrs
import trio

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

SEEN: Final = frozenset({"message", "reply", "badge", "flag", "claim", "progress", "release", "resolve"})
TEXTS: Final = frozenset({"message", "reply"})
REPORTED: Final = 40


@attrs.define
class Asked:
    """One request with a cid. `connection` and `number`: when it was first sent, to check the order of acks. One that
    was sent again may come later: it may have been refused the first time."""

    author: str
    kind: str
    text: str
    connection: int = 0
    number: int = 0
    seq: int | None = None
    message: str | None = None
    acks: int = 0
    again: bool = False


@attrs.define
class Reading:
    """One reader. It goes on over reconnects, so nothing may come to it twice."""

    name: str
    agent: str = ""
    first: int = -1
    told: int = 0
    marked: int = 0  # what it confirmed, or may have
    got: list[int] = attrs.Factory(list)


class History:
    """See the module. `problems` are violations, in words; `counts` what was looked at."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.counts: Counter[str] = Counter()
        self.asked: dict[str, Asked] = {}
        self.readers: dict[str, Reading] = {}
        self._contents: dict[int, tuple[str, str]] = {}

    def report(self, problem: str) -> None:
        if len(self.problems) < REPORTED:
            self.problems.append(problem)
        self.counts["violations"] += 1

    async def end_when_found(self, scope: trio.CancelScope) -> None:
        """A seeded bug needs to be found only once, and may leave nothing that works."""
        while not self.problems:  # noqa: ASYNC110
            await trio.sleep(0.05)
        scope.cancel()

    # --- writers

    def ask(self, cid: str, asked: Asked) -> None:
        self.asked.setdefault(cid, asked)

    def ack(self, cid: str, seq: int | None, message: str | None, durable: int) -> None:
        """The hub said that this was done. `durable` was read after the answer came."""
        one = self.asked[cid]
        if seq is not None and seq > durable:
            self.report(f"acked before durable: {cid} got seq {seq}, durable were {durable}")
        if one.acks and (one.seq, one.message) != (seq, message):
            self.report(f"acked differently: {cid} got {(one.seq, one.message)}, then {(seq, message)}")
        one.seq, one.message = seq, message
        one.acks += 1
        self.counts["acks"] += 1
        if one.acks == 1:
            self.counts[f"acked {one.kind}"] += 1

    # --- readers

    def join(self, name: str, agent: str, after: int, *, forgot: bool = False) -> Reading:
        """`forgot`: the reader has no memory of what it was told, only of what it confirmed; that comes once more."""
        reader = self.readers.setdefault(name, Reading(name))
        if reader.first < 0:
            reader.first = reader.told = reader.marked = after
        elif forgot:
            if after > reader.marked:
                self.report(f"lost: {name} confirmed {reader.marked} and is resumed after {after}")
            reader.got = [seq for seq in reader.got if seq <= after]
            reader.told = after
            self.counts["readers without memory"] += 1
        elif reader.agent != agent:
            self.report(f"{name} was {reader.agent} and came back as {agent}")
        elif after > reader.told:
            self.report(f"lost: {name} had been told up to {reader.told} and is resumed after {after}")
        reader.agent = agent
        return reader

    def batch(self, reader: Reading, first: int, last: int, items: Iterable[dict[str, object]], durable: int) -> None:
        """A frame of deliveries came. `durable` was read after it."""
        if first != reader.told + 1:
            self.report(f"hole or overlap: {reader.name} was told up to {reader.told}, then {first}..{last}")
        if last > durable:
            self.report(f"delivered before durable: {reader.name} got {first}..{last}, durable were {durable}")
        before = first - 1
        for item in items:
            seq = int(str(item["seq"]))
            if not before < seq <= last:
                self.report(f"reordered: {reader.name} got {seq} after {before} in {first}..{last}")
            before = seq
            self.delivery(reader, seq, str(item["kind"]), str(item.get("content", "")))
        reader.told = max(reader.told, last)

    def delivery(self, reader: Reading, seq: int, kind: str, content: str) -> None:
        self.counts["deliveries"] += 1
        if kind in TEXTS and self._contents.setdefault(seq, (kind, content)) != (kind, content):
            self.report(f"two messages with seq {seq}: {self._contents[seq]} and {(kind, content)}")
        reader.got.append(seq)

    # --- the end

    def verify(
        self,
        log: list[dict[str, object]],
        *,
        final: int,
        damaged: bool = False,
        gone: Collection[int] = (),
        cleared_upto: int = 0,
    ) -> None:
        """Compare with the log. `final`: every reader has been told all up to this seq. `damaged`: a power cut left
        lines that are no records, so there may be gaps where nothing was acked. `gone`: what a compaction took out on
        purpose; who was there before got it. `cleared_upto`: who comes later need not get what left the channel."""
        self._verify_log(log, damaged=damaged, gone=gone)
        self._verify_acks(log, gone)
        for reader in self.readers.values():
            if reader.first >= 0:
                self._verify_reader(reader, log, final, gone, cleared_upto)

    def _verify_log(self, log: list[dict[str, object]], *, damaged: bool, gone: Collection[int]) -> None:
        seqs = [int(str(record["seq"])) for record in log]
        if damaged and seqs != sorted(set(seqs)):
            self.report("the log is out of order")
        elif not damaged and sorted({*seqs, *gone}) != list(range(1, len(seqs) + len(gone) + 1)):
            self.report(f"the log is not dense: {len(seqs)} records, {_first_gap(seqs)}")
        cids = Counter((record["from"], record["cid"]) for record in log if "cid" in record)
        for (author, cid), count in cids.items():
            if count > 1:
                self.report(f"duplicated: {count} records of cid {cid} from {author}")
        texts = Counter(str(record["content"]) for record in log if record["kind"] in TEXTS)
        known = {one.text for one in self.asked.values()}
        for record in log:
            if record["kind"] not in TEXTS or record["from"] == "system":
                continue
            text = str(record["content"])
            if texts[text] > 1:
                self.report(f"duplicated: {texts[text]} messages {text[:60]!r}")
            if text not in known:
                self.report(f"phantom: nobody sent {text[:60]!r}")
        self.counts["records"] += len(log)

    def _verify_acks(self, log: list[dict[str, object]], gone: Collection[int]) -> None:
        by_seq = {int(str(record["seq"])): record for record in log}
        orders: dict[tuple[str, int], list[tuple[int, int]]] = {}
        for cid, one in self.asked.items():
            if not one.acks or one.seq is None:
                continue
            record = by_seq.get(one.seq)
            if record is None and one.seq in gone:
                continue
            if record is None:
                self.report(f"lost: {one.kind} {cid} was acked with seq {one.seq}, which is not in the log")
                continue
            if (record["kind"], record.get("from")) != (one.kind, one.author) or (
                one.kind in TEXTS and record["content"] != one.text
            ):
                self.report(f"lost: {one.kind} {cid} was acked with seq {one.seq}, where now is {str(record)[:120]}")
            if not one.again:
                orders.setdefault((one.author, one.connection), []).append((one.number, one.seq))
        for (author, connection), pairs in orders.items():
            pairs.sort()
            if [seq for _, seq in pairs] != sorted(seq for _, seq in pairs):
                self.report(f"reordered: what {author} sent on its connection {connection}")

    def _verify_reader(
        self, reader: Reading, log: list[dict[str, object]], final: int, gone: Collection[int], cleared_upto: int
    ) -> None:
        wanted = [
            int(str(record["seq"]))
            for record in log
            if reader.first < int(str(record["seq"])) <= final and meant_for(record, reader.agent)
        ]
        got = [seq for seq in reader.got if seq <= final and seq not in gone]
        if cleared_upto:
            left = {int(str(one["seq"])) for one in log if may_be_left_out(one, cleared_upto)} - set(got)
            wanted = [seq for seq in wanted if seq not in left]
        if wanted == got:
            return
        for seq in sorted(set(wanted) - set(got))[:3]:
            self.report(f"lost: {reader.name} never got seq {seq}")
        for seq in sorted(set(got) - set(wanted))[:3]:
            self.report(f"phantom: {reader.name} got seq {seq}, which is not for it")
        repeated = [seq for seq, count in Counter(got).items() if count > 1]
        if repeated:
            self.report(f"duplicated: {reader.name} got seq {repeated[0]} again, and {len(repeated) - 1} others")
        if sorted(got) != got:
            self.report(f"reordered: {reader.name}")


def meant_for(record: dict[str, object], agent: str) -> bool:
    """Whether a record of the log is delivered to this agent, by the rules as they are documented."""
    if record["kind"] not in SEEN or record["from"] == agent:
        return False
    to = record.get("to")
    if to is None:
        return record["kind"] in TEXTS and record["kind"] != "reply"
    return isinstance(to, list) and agent in to


def may_be_left_out(record: dict[str, object], cleared_upto: int) -> bool:
    """Whether it left the channel, so that who comes later need not get it: it was for everybody, before a clear."""
    broadcast = record.get("to") is None or record.get("here") is True
    return record["kind"] == "message" and broadcast and int(str(record["seq"])) <= cleared_upto


def read_log(home: Path) -> tuple[list[dict[str, object]], int]:
    """The records, line by line, and how many lines are none."""
    records: list[dict[str, object]] = []
    damaged = 0
    for path in sorted((home / "log").glob("*.jsonl")):
        for line in path.read_bytes().split(b"\n")[:-1]:
            try:
                record = json.loads(line)
            except ValueError:
                damaged += 1
            else:
                if "gone" not in record:
                    records.append(record)
    return records, damaged


def read_gone(home: Path) -> set[int]:
    """The seqs that a compaction took out."""
    found: set[int] = set()
    for path in sorted((home / "log").glob("*.jsonl")):
        for line in path.read_bytes().split(b"\n"):
            if line.startswith(b'{"v":1,"gone":'):
                one = json.loads(line)
                found.update(range(one["gone"], one["upto"] + 1))
    return found


def _first_gap(seqs: list[int]) -> str:
    place = next((place for place, seq in enumerate(seqs, 1) if place != seq), len(seqs))
    return f"at line {place} is {seqs[place - 1 : place]}"
