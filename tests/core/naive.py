"""The rules a second time, written to be obvious: lists that are searched, and nothing derived is kept."""

from __future__ import annotations

import attrs

from crosschat.model import CLI, SYSTEM, USER

PERSON = frozenset({USER, CLI, SYSTEM})


@attrs.define
class Row:
    """A record that agents see. `about`: seq of the thread's root, or of the message that was changed."""

    seq: int
    kind: str
    author: str
    to: frozenset[str] | None
    private: bool = False
    here: bool = False
    about: int = 0
    named: frozenset[str] = frozenset()


@attrs.define
class Peer:
    name: str
    cursor: int
    shown: set[int] = attrs.Factory(set)
    connected: bool = True
    gone_ms: int = 0


@attrs.define
class Job:
    owner: str
    status: str = "open"
    claimant: str | None = None
    claims: int = 0


class Naive:
    def __init__(self) -> None:
        self.head = 1  # the epoch's record
        self.rows: list[Row] = []
        self.peers: dict[str, Peer] = {}
        self.jobs: dict[int, Job] = {}
        self.chips: dict[int, list[tuple[str, str]]] = {}
        self.cleared = 0

    # --- asking

    def row(self, seq: int) -> Row:
        return next(row for row in self.rows if row.seq == seq)

    def messages(self) -> list[Row]:
        return [row for row in self.rows if row.kind in ("message", "reply")]

    def root(self, row: Row) -> Row:
        return self.row(row.about) if row.kind == "reply" else row

    def thread(self, root: Row) -> list[Row]:
        return [row for row in self.rows if row.kind == "reply" and row.about == root.seq]

    def may_read(self, who: str, row: Row) -> bool:
        if who in PERSON or not row.private:
            return True
        return who == row.author or row.to is None or who in row.to

    def unread(self, agent: str) -> list[int]:
        peer = self.peers[agent]
        return [
            row.seq
            for row in self.rows
            if row.seq > peer.cursor
            and row.seq not in peer.shown
            and row.author != agent
            and (row.to is None or agent in row.to)
            and not (row.kind == "message" and (row.to is None or row.here) and row.seq <= self.cleared)
        ]

    def participants(self, root: Row) -> set[str]:
        members = {root.author}
        if root.to is not None and not root.here:
            members |= root.to
        for row in self.thread(root):
            members |= {row.author} | row.named
        job = self.jobs.get(root.seq)
        if job is not None and job.claimant is not None:
            members.add(job.claimant)
        return members

    def concerned(self, row: Row, by: str) -> frozenset[str]:
        members = {row.author}
        if row.to is not None and not row.here:
            members |= row.to
        job = self.jobs.get(row.seq)
        if job is not None and job.claimant is not None:
            members.add(job.claimant)
        return frozenset(members - {by, CLI, SYSTEM})

    def connected(self) -> set[str]:
        return {agent for agent, peer in self.peers.items() if peer.connected}

    # --- changing

    def _next(self) -> int:
        self.head += 1
        return self.head

    def change(self, kind: str, by: str, row: Row) -> None:
        self.rows.append(Row(self._next(), kind, by, self.concerned(row, by), private=True, about=row.seq))

    def join(self, agent: str, name: str, *, new_record: bool) -> None:
        if new_record:
            self._next()
        if agent in self.peers:
            self.peers[agent].connected = True
        else:
            self.peers[agent] = Peer(name, self.head)

    def send(self, by: str, named: frozenset[str], *, here: bool, user: bool, thread: Row | None) -> None:
        named = (named - {by}) | ({USER} if user else frozenset())
        if thread is None:
            if here:
                row = Row(0, "message", by, frozenset(named | self.connected()) - {by}, here=True, named=named)
            elif named:
                row = Row(0, "message", by, named, private=True, named=named)
            else:
                row = Row(0, "message", by, None)
        else:
            root = self.root(thread)
            reached = self.participants(root) | named | (self.connected() if here else set())
            to = frozenset(reached - {by, CLI, SYSTEM})
            row = Row(0, "reply", by, to, private=root.private, about=root.seq, named=named)
        if thread is not None and by == USER:
            for asked in (self.root(thread), *self.thread(self.root(thread))):
                if any(kind == "question" for kind, _ in self.chips.get(asked.seq, [])):
                    self.put_chip(asked.seq, "question", "answered")
        row.seq = self._next()
        self.rows.append(row)
        if user:
            self.put_chip(row.seq, "question", "true")
        if thread is not None:
            for seq, job in sorted(self.jobs.items()):
                if job.status == "claimed" and job.claimant == by and self.root(self.row(seq)) == self.root(thread):
                    self.change("progress", by, self.row(seq))
                    job.status = "in_progress"

    def put_chip(self, seq: int, kind: str, value: str) -> None:
        chips = self.chips.setdefault(seq, [])
        chips[:] = [chip for chip in chips if (chip != (kind, value) if kind == "git-commit" else chip[0] != kind)]
        chips.append((kind, value))

    def show(self, agent: str, upto: int | None, seqs: list[int]) -> None:
        """What a mark of an agent does; a number of records follows from it."""
        peer = self.peers[agent]
        head, moved = self.head, min(upto or 0, self.head)
        if moved > peer.cursor:
            peer.cursor = moved
            self._next()
        beyond = {seq for seq in seqs if peer.cursor < seq <= head and seq not in peer.shown}
        if beyond:
            peer.shown |= beyond
            self._next()
