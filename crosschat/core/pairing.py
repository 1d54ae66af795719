"""Which browsers may act as the person: codes to pair with, paired keys, challenges, tickets. Pure.

A browser is a key: the public half of one that it made itself and cannot give away. It gets paired with a one-time
code from a terminal; once there is a paired browser, that one has to accept each further one. A key is good for the
address it was paired at, because a browser keeps it per address: another program that once served that page on another
port cannot use it here.

A key counts if it is vouched for. One that is only listed has been written into a file by somebody; it can do nothing
here but be shown and revoked.

Codes, challenges, tickets and waiting pairings are gone with the hub; only keys are kept, by who owns this table.
Times are seconds of a steady clock. Randomness is an argument.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from typing import TYPE_CHECKING, Final, Literal

import attrs

from crosschat.errors import Code, Refused
from crosschat.limits import NAME_CHARS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

CODE_S: Final = 60.0
CODE_TRIES: Final = 5
ACCEPT_S: Final = 120.0  # how long a further browser waits to be accepted
CHALLENGE_S: Final = 10
TICKET_S: Final = 10.0
KEYS: Final = 16
LISTED: Final = 64  # keys of which the table knows; what is listed beyond that and not vouched for is left out
WAITING: Final = 4
TICKETS: Final = 64  # unused ones; more means that the oldest is not used any more
REMEMBERED: Final = 64  # settled pairings, for the browsers that ask what became of them
ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # without I, L, O, U
CODE_CHARS: Final = 8
_MISREAD: Final = str.maketrans("OIL", "011", " -\t")
_MAC_BYTES: Final = 16

Fate = Literal["paired", "waiting", "refused", "expired"]


@attrs.frozen(kw_only=True)
class Key:
    """A paired browser. `public` is the uncompressed point; it is good on `port` alone."""

    id: str
    public: bytes
    label: str
    paired_ms: int
    port: int

    @property
    def fingerprint(self) -> str:
        """Four groups that two people can compare."""
        return " ".join(self.id[at : at + 4] for at in range(0, 16, 4))


@attrs.frozen
class Waiting:
    """A browser that entered a code, while there are others that may accept it."""

    id: str
    key: Key
    until_s: float
    fate: Fate = "waiting"


@attrs.define
class _OpenCode:
    text: str
    until_s: float
    tries: int = CODE_TRIES


def key_id(public: bytes) -> str:
    return hashlib.sha256(public).hexdigest()[:32]


def label_of(text: str) -> str:
    """A label as it is kept: one line of printable characters."""
    return "".join(char for char in text if char.isprintable()).strip()[:NAME_CHARS] or "a browser"


class Pairings:
    """The table. Invariant: at most one open code, and nothing can be used twice or after its time.

    `vouched` has the ids of the keys that are vouched for, each with the port that it was paired at.
    """

    def __init__(self, listed: Iterable[Key], vouched: Mapping[str, int], port: int, secret: bytes) -> None:
        self.vouched = dict(vouched)
        self.keys: dict[str, Key] = {}
        for key in sorted(listed, key=self.is_vouched, reverse=True):  # whoever adds to the list crowds nobody out
            if len(self.keys) < LISTED:
                self.keys.setdefault(key.id, key)
        self._port = port
        self._secret = secret
        self._code: _OpenCode | None = None
        self._waiting: dict[str, Waiting] = {}
        self._used: dict[str, float] = {}  # challenges that were answered well, until they expire
        self._tickets: dict[str, tuple[str, float]] = {}

    # --- keys

    def is_vouched(self, key: Key) -> bool:
        return self.vouched.get(key.id) == key.port

    def unvouched(self) -> list[Key]:
        """The keys that are listed and do not count."""
        return [key for key in self.keys.values() if not self.is_vouched(key)]

    def usable(self) -> list[Key]:
        """The keys that are good here, in the order they were paired."""
        return [key for key in self.keys.values() if self._is_good(key)]

    def key(self, identifier: str) -> Key:
        """A paired key that is good here. Raises Refused."""
        key = self.keys.get(identifier)
        if key is None or not self._is_good(key):
            told = "This browser is not paired."
            if key is not None and not self.is_vouched(key):
                told = "This browser is listed as paired, but the audit does not vouch for that, so it does not count."
            raise Refused(Code.FORBIDDEN, f"{told} Run `crosschat dashboard` in a terminal of yours.", path="key")
        return key

    def _is_good(self, key: Key) -> bool:
        return key.port == self._port and self.is_vouched(key)

    # --- pairing

    def new_code(self, random: bytes, now_s: float) -> str:
        """A code for the next `CODE_S`; the one before is void. `random` has at least `CODE_CHARS` bytes."""
        text = "".join(ALPHABET[byte % len(ALPHABET)] for byte in random[:CODE_CHARS])
        self._code = _OpenCode(text, now_s + CODE_S)
        return f"{text[:4]}-{text[4:]}"

    def take_code(self, typed: str, now_s: float) -> None:
        """Use the open code up. Raises Refused; each wrong try is counted, and the last one voids the code."""
        code = self._code
        if code is None or now_s >= code.until_s:
            self._code = None
            raise Refused(
                Code.FORBIDDEN,
                f"No code is open: one lasts {CODE_S:g} s. Run `crosschat dashboard` in a terminal for a new one.",
                path="code",
            )
        written = typed.upper().translate(_MISREAD)
        if hmac.compare_digest(written.encode(errors="replace"), code.text.encode()):
            self._code = None
            return
        code.tries -= 1
        if code.tries == 0:
            self._code = None
            raise Refused(
                Code.FORBIDDEN,
                f"This is not the code, for the {CODE_TRIES}th time; it is void now. Run `crosschat dashboard` again.",
                path="code",
            )
        raise Refused(Code.FORBIDDEN, f"This is not the code; {code.tries} more tries until it is void.", path="code")

    def propose(self, key: Key, identifier: str, now_s: float) -> Waiting:
        """Pair `key`: at once if it is the first, else once it was accepted. Raises Refused."""
        self.expire(now_s)
        usable = self.usable()
        if any(known.id == key.id for known in usable):
            raise Refused(Code.CONFLICT, "This browser is paired already; open the page.", path="key")
        if len(usable) >= KEYS:
            raise Refused(
                Code.CONFLICT, f"{KEYS} browsers are paired, which is the limit: revoke one with `crosschat dashboard`."
            )
        if not usable:
            return Waiting(identifier, key, now_s, "paired")
        if sum(waiting.fate == "waiting" for waiting in self._waiting.values()) >= WAITING:
            raise Refused(Code.CONFLICT, f"{WAITING} browsers wait to be accepted already; answer those first.")
        waiting = Waiting(identifier, key, now_s + ACCEPT_S)
        self._waiting[identifier] = waiting
        return waiting

    def hold(self, identifier: str, now_s: float) -> Waiting:
        """The pairing that a person at a paired page answers now; it does not expire until it is settled or let go.
        Raises Refused if it is not waiting (any more)."""
        self.expire(now_s)
        waiting = self._waiting.get(identifier)
        if waiting is None or waiting.fate != "waiting" or waiting.until_s == math.inf:
            raise Refused(Code.CONFLICT, "This browser does not wait to be accepted any more.", path="pairing")
        self._waiting[identifier] = attrs.evolve(waiting, until_s=math.inf)
        return waiting

    def settle(self, held: Waiting, fate: Fate) -> Waiting:
        """It was answered, and that is kept."""
        settled = self._waiting[held.id] = attrs.evolve(held, fate=fate)
        return settled

    def let_go(self, held: Waiting) -> None:
        """The answer could not be kept: it waits on, and can be answered again until its time is over."""
        self._waiting[held.id] = held

    def fate(self, identifier: str, now_s: float) -> Waiting:
        """How a pairing stands. Raises Refused for one that never was or is long over."""
        self.expire(now_s)
        waiting = self._waiting.get(identifier)
        if waiting is None:
            raise Refused(Code.NOT_FOUND, "There is no such pairing; begin again.", path="pairing")
        return waiting

    def waiting(self) -> list[Waiting]:
        return [waiting for waiting in self._waiting.values() if waiting.fate == "waiting"]

    def expire(self, now_s: float) -> list[Waiting]:
        """Give up the pairings whose time is over, and return them."""
        over = [one for one in self.waiting() if now_s >= one.until_s]
        for one in over:
            self._waiting[one.id] = attrs.evolve(one, fate="expired")
        while len(self._waiting) > REMEMBERED:
            del self._waiting[next(iter(self._waiting))]
        return over

    # --- opening a stream

    def challenge(self, identifier: str, random: bytes, now_s: float) -> str:
        """Something for the key to sign within `CHALLENGE_S`. Nothing is kept of it, so a flood of them costs nothing.
        Raises Refused for a key that is not good here."""
        self.key(identifier)
        head = int(now_s + CHALLENGE_S).to_bytes(8, "big") + random[:16]
        return to_text(head + self._mac(identifier, head))

    def answer_challenge(self, identifier: str, challenge: str, now_s: float) -> None:
        """Called when the signature over it is right. Raises Refused if it was not made for this key, or is used or
        over."""
        data = from_text(challenge)
        head, mac = data[:-_MAC_BYTES], data[-_MAC_BYTES:]
        self._used = {used: until for used, until in self._used.items() if until > now_s}
        until = int.from_bytes(head[:8], "big")
        if (
            len(data) != 8 + 16 + _MAC_BYTES
            or not hmac.compare_digest(mac, self._mac(identifier, head))
            or now_s >= until
            or challenge in self._used
        ):
            raise Refused(Code.FORBIDDEN, "This challenge is not open; ask for a new one.", path="challenge")
        self._used[challenge] = float(until)

    def _mac(self, identifier: str, head: bytes) -> bytes:
        return hmac.digest(self._secret, identifier.encode() + b"\0" + head, "sha256")[:_MAC_BYTES]

    def new_ticket(self, identifier: str, random: bytes, now_s: float) -> str:
        """A ticket that opens one stream for this key."""
        while len(self._tickets) >= TICKETS:
            del self._tickets[next(iter(self._tickets))]
        ticket = to_text(random[:32])
        self._tickets[ticket] = (identifier, now_s + TICKET_S)
        return ticket

    def redeem(self, ticket: str, now_s: float) -> Key | None:
        """The key that a ticket was given to, once and in time; None for any other text, or if it was revoked."""
        identifier, until_s = self._tickets.pop(ticket, ("", 0.0))
        key = self.keys.get(identifier)
        return key if key is not None and now_s < until_s and self._is_good(key) else None

    def forget_tickets(self, identifier: str) -> None:
        self._tickets = {text: held for text, held in self._tickets.items() if held[0] != identifier}


def to_text(data: bytes) -> str:
    """Base64url without padding."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def from_text(text: str) -> bytes:
    """The inverse; empty for anything that `to_text` does not make."""
    try:
        data = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    except (NotBase64, UnicodeEncodeError):
        return b""
    return data if to_text(data) == text else b""  # the decoder lets other characters and other last bits pass
