"""Pairing as the hub does it: who may ask for a code, which keys count, and who is told.

The rules are `core.pairing`'s, what is on disk is the keyring's. A key counts once it is there; a crash before that
leaves the browser unpaired. Changes are made one after the other, each whole, whoever stops waiting for it. A code is
given only to a process with a terminal and no Claude Code process above it: an agent that runs the command gets a
reason instead. That a detached process may look like a person is known; so every pairing is announced in every open
page, in `crosschat status`, in the audit and in the activity log.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final, Protocol

import trio

from crosschat import processes
from crosschat.core.pairing import Key, Pairings, Waiting, from_text, key_id, label_of
from crosschat.errors import Code, Refused
from crosschat.hub.guard import origin_of
from crosschat.hub.signatures import is_point, is_signed
from crosschat.model import iso
from crosschat.pagewire import AwaitPairing, Challenge, Challenged, GetTicket, Pair, Paired, Ticketed, to_sign
from crosschat.wire import KeyView

if TYPE_CHECKING:
    from collections.abc import Callable

    from crosschat.hub.events import EventLog
    from crosschat.hub.keyring import Keyring
    from crosschat.processes import Lookup

FATE_WAIT_S: Final = 3.0  # less than an unauthenticated connection may last
LINEAGE_TRIES: Final = 8


class Told(Protocol):
    """Who hears about changes: the open pages."""

    def keys_changed(self) -> None: ...
    def pairing_asked(self, waiting: Waiting) -> None: ...
    def pairing_over(self, waiting: Waiting) -> None: ...
    def key_revoked(self, key: str) -> None: ...


class Pairing:
    """See the module. Used in the trio thread only."""

    def __init__(
        self,
        keyring: Keyring,
        port: int,
        events: EventLog,
        clock_ms: Callable[[], int],
        clock_s: Callable[[], float] = time.monotonic,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._keyring = keyring
        self._events = events
        self._clock_ms = clock_ms
        self._clock_s = clock_s
        self._random = random
        self._turn = trio.Lock()
        self._news = trio.Event()
        self._seen: dict[str, str] = {}
        self.port = port
        self.origin = origin_of(port)
        self.table = Pairings(keyring.listed(), keyring.vouched, port, random(32))
        self.told: Told | None = None

    # --- what a terminal asks

    def new_code(self, pid: int, lookup: Lookup = processes.find) -> str:
        """A code for the person behind the process `pid`. Raises Refused for anybody else, and while nothing can be
        paired."""
        refuse_all_but_a_person(pid, lookup)
        self._keyring.refuse_if_mute()
        return self.table.new_code(self._random(16), self._clock_s())

    async def revoke(self, identifier: str, by: str | None) -> None:
        """The browser is paired no more; its streams close. `by`: the key of the page that says so, None for a
        terminal. Raises Refused."""
        async with self._turn:
            who = "a terminal" if by is None else self.table.key(by).label
            matching = [key for key in self.table.keys.values() if identifier and key.id.startswith(identifier)]
            if len(matching) != 1:
                known = "`crosschat dashboard --list` shows them."
                raise Refused(Code.NOT_FOUND, f"No single paired browser has the id {identifier[:64]!r}. {known}")
            (key,) = matching
            try:
                await self._keyring.remove(self.table, key, who)
            finally:  # it counts no more even if it could not be taken off the list
                if not self.table.is_vouched(key):
                    self._revoked(key, who)

    def _revoked(self, key: Key, by: str) -> None:
        self.table.forget_tickets(key.id)
        self._events.add("revoked", f"{key.label} ({key.fingerprint}) is not paired any more, by {by}")
        if self.told is not None:
            self.told.key_revoked(key.id)
            self.told.keys_changed()

    def problems(self) -> tuple[str, ...]:
        """What the person should know about the list, for people."""
        return self._keyring.problems(self.table)

    def views(self, current: str | None = None) -> tuple[KeyView, ...]:
        """All browsers that are listed, those too that were paired at another port, and those that do not count."""
        return tuple(
            KeyView(
                id=key.id,
                label=key.label if key.port == self.port else f"{key.label} (at port {key.port})",
                paired_at=iso(key.paired_ms),
                last_seen_at=self._seen.get(key.id),
                current=key.id == current,
                vouched=self.table.is_vouched(key),
            )
            for key in self.table.keys.values()
        )

    # --- what a page asks over HTTP

    async def pair(self, call: Pair) -> Paired:
        """Use a code up for the key of the page. Raises Refused."""
        public = from_text(call.key)
        if not is_point(public):
            raise Refused(Code.INVALID, "key is an uncompressed P-256 point, in base64url.", path="key")
        self._keyring.refuse_if_mute()
        try:
            self.table.take_code(call.code, self._clock_s())
        except Refused as refused:
            self._events.add("pairing_refused", f"a browser gave a wrong code: {refused.message}")
            raise
        key = Key(
            id=key_id(public),
            public=public,
            label=label_of(call.label),
            paired_ms=self._clock_ms(),
            port=self.port,
        )
        async with self._turn:
            self.announce_expired()
            waiting = self.table.propose(key, self._random(12).hex(), self._clock_s())
            if waiting.fate == "paired":
                await self._keyring.add(self.table, key, None)
                self._announce(key, "as the first")
            elif self.told is not None:
                self.told.pairing_asked(waiting)
        return _answer(waiting)

    async def fate(self, call: AwaitPairing) -> Paired:
        """How a pairing stands, as soon as that changes or after `FATE_WAIT_S`. Raises Refused. Cancel-safe."""
        with trio.move_on_after(FATE_WAIT_S):
            while (found := self._fate(call.pairing)).fate == "waiting":
                await self._news.wait()
        return _answer(found)

    def _fate(self, pairing: str) -> Waiting:
        self.announce_expired()
        return self.table.fate(pairing, self._clock_s())

    def challenge(self, call: Challenge) -> Challenged:
        """Something to sign. Raises Refused."""
        return Challenged(challenge=self.table.challenge(call.key, self._random(16), self._clock_s()))

    def ticket(self, call: GetTicket) -> Ticketed:
        """A ticket for a signed challenge. Raises Refused."""
        self.verify(call.key, to_sign(self.origin, call.challenge).encode(), call.signature)
        self.table.answer_challenge(call.key, call.challenge, self._clock_s())
        return Ticketed(ticket=self.table.new_ticket(call.key, self._random(32), self._clock_s()))

    def redeem(self, ticket: str) -> Key | None:
        """The key of a ticket, once."""
        key = self.table.redeem(ticket, self._clock_s())
        if key is not None:
            self._seen[key.id] = iso(self._clock_ms())
        return key

    # --- what a paired page asks

    def verify(self, identifier: str, data: bytes, signature: str) -> Key:
        """The paired key, if the signature over `data` is by it. Raises Refused."""
        key = self.table.key(identifier)
        if not is_signed(key.public, data, from_text(signature)):
            raise Refused(Code.FORBIDDEN, "The signature is not by the key of this browser.", path="signature")
        return key

    async def answer(self, pairing: str, accept: bool, by: str) -> None:
        """The paired page with the key `by` accepts or refuses another browser; the first answer counts. Raises
        Refused."""
        async with self._turn:
            who = self.table.key(by).label  # it may have been revoked while it waited here
            self.announce_expired()
            held = self.table.hold(pairing, self._clock_s())
            key, kept = held.key, False
            try:
                if accept:
                    await self._keyring.add(self.table, key, who)
                kept = True
            finally:  # the browser hears that it is paired once it is, and not before
                if not kept:
                    self.table.let_go(held)
            settled = self.table.settle(held, "paired" if accept else "refused")
            if accept:
                self._announce(key, f"accepted by {who}")
            else:
                self._events.add("pairing_refused", f"{key.label} ({key.fingerprint}), refused by {who}")
            self._over(settled)

    def announce_expired(self) -> None:
        """Tell the pages about pairings that nobody answered in time."""
        for waiting in self.table.expire(self._clock_s()):
            self._events.add("pairing_refused", f"{waiting.key.label} ({waiting.key.fingerprint}): nobody accepted it")
            self._over(waiting)

    # --- inside

    def _over(self, waiting: Waiting) -> None:
        self._news.set()
        self._news = trio.Event()
        if self.told is not None:
            self.told.pairing_over(waiting)

    def _announce(self, key: Key, how: str) -> None:
        self._events.add("paired", f"{key.label} ({key.fingerprint}) is paired, {how}")
        if self.told is not None:
            self.told.keys_changed()


def refuse_all_but_a_person(pid: int, lookup: Lookup = processes.find) -> None:
    """Raise Refused unless `pid` has a terminal and no Claude Code process above it, as far as can be seen."""
    lineage = _lineage(pid, lookup)
    if any(process.is_claude for process in lineage):
        raise Refused(
            Code.FORBIDDEN,
            "This runs inside a Claude Code session, and only the person may do it: run it in a terminal of your own.",
        )
    if not lineage[0].has_terminal:
        raise Refused(Code.FORBIDDEN, "Only a person at a terminal may do this: run it in a terminal of your own.")


def _lineage(pid: int, lookup: Lookup) -> list[processes.Process]:
    """The process and all above it. Raises Refused while that cannot be said, because one of them just ended."""
    for _ in range(LINEAGE_TRIES):
        found = processes.ancestors(pid, lookup)
        if not found:
            break
        top = found[-1]
        # The one above may be another user's and invisible. But one that ended meanwhile would hide those above it:
        # then the kernel has given the process below another parent.
        again = lookup(top.pid)
        if again is not None and (again.start, again.parent) == (top.start, top.parent):
            return found
    raise Refused(Code.FORBIDDEN, "The process that asks cannot be seen: run the command again.")


def _answer(waiting: Waiting) -> Paired:
    key = waiting.key
    pairing = waiting.id if waiting.fate == "waiting" else None
    return Paired(state=waiting.fate, key=key.id, label=key.label, fingerprint=key.fingerprint, pairing=pairing)
