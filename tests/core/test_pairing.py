"""Who may act as the person: nothing is used twice, after its time, by another key, or at another address."""

from __future__ import annotations

import attrs
import pytest

from crosschat.core.pairing import (
    ACCEPT_S,
    CHALLENGE_S,
    CODE_S,
    CODE_TRIES,
    KEYS,
    LISTED,
    REMEMBERED,
    TICKET_S,
    TICKETS,
    WAITING,
    Key,
    Pairings,
    from_text,
    key_id,
    label_of,
    to_text,
)
from crosschat.errors import Code
from tests.core.world import refused

PORT = 4711
ZERO = bytes(32)


def a_key(number: int = 1, port: int = PORT) -> Key:
    public = b"\x04" + number.to_bytes(64, "big")
    return Key(id=key_id(public), public=public, label=f"browser {number}", paired_ms=0, port=port)


def table(*keys: Key, secret: bytes = b"secret") -> Pairings:
    """All of them are vouched for."""
    return Pairings(keys, {key.id: key.port for key in keys}, PORT, secret)


# --- codes


def test_a_code_is_good_once() -> None:
    pairings = table()
    code = pairings.new_code(ZERO, 0)
    pairings.take_code(code, 1)
    with refused(Code.FORBIDDEN, "No code is open"):
        pairings.take_code(code, 2)


@pytest.mark.parametrize("typed", ["0123-4567", "01234567", "o1 23 4567", " 0i23-4567 ", "0l23-4567"])
def test_a_code_may_be_typed_as_people_type(typed: str) -> None:
    pairings = table()
    assert pairings.new_code(bytes(range(16)), 0) == "0123-4567"
    pairings.take_code(typed, 0)


def test_a_code_has_a_time() -> None:
    pairings = table()
    code = pairings.new_code(ZERO, 0)
    with refused(Code.FORBIDDEN, "No code is open"):
        pairings.take_code(code, CODE_S)
    with refused(Code.FORBIDDEN, "No code is open"):
        pairings.take_code(code, 0)  # the clock cannot bring it back


def test_wrong_tries_void_a_code() -> None:
    pairings = table()
    code = pairings.new_code(ZERO, 0)
    for left in range(CODE_TRIES - 1, 0, -1):
        with refused(Code.FORBIDDEN, f"{left} more tries"):
            pairings.take_code("ZZZZ-ZZZZ", 0)
    with refused(Code.FORBIDDEN, "void"):
        pairings.take_code("ZZZZ-ZZZZ", 0)
    with refused(Code.FORBIDDEN, "No code is open"):
        pairings.take_code(code, 0)


@pytest.mark.parametrize("typed", ["", "-", "0000-000", "0000-00000", "\ud800", "0" * 100_000, "\u0660" * 8])
def test_what_is_no_code_is_a_wrong_one(typed: str) -> None:
    pairings = table()
    pairings.new_code(ZERO, 0)
    with refused(Code.FORBIDDEN, "not the code"):
        pairings.take_code(typed, 0)


def test_a_new_code_voids_the_one_before() -> None:
    pairings = table()
    old = pairings.new_code(ZERO, 0)
    new = pairings.new_code(bytes([1] * 16), 0)
    with refused(Code.FORBIDDEN, "not the code"):
        pairings.take_code(old, 0)
    pairings.take_code(new, 0)


def test_all_characters_of_a_code_come_from_the_randomness() -> None:
    seen = {table().new_code(bytes([byte] * 16), 0)[0] for byte in range(256)}
    assert len(seen) == 32


# --- pairing


def test_the_first_browser_is_paired_at_once_and_a_further_one_waits() -> None:
    pairings = table()
    assert pairings.propose(a_key(1), "p1", 0).fate == "paired"
    pairings = table(a_key(1))
    assert pairings.propose(a_key(2), "p2", 0).fate == "waiting"
    assert [waiting.key.label for waiting in pairings.waiting()] == ["browser 2"]


def test_a_browser_paired_at_another_port_is_none_here() -> None:
    elsewhere = a_key(1, port=1)
    pairings = table(elsewhere)
    assert pairings.usable() == []
    assert pairings.propose(attrs.evolve(elsewhere, port=PORT), "p", 0).fate == "paired"
    with refused(Code.FORBIDDEN, "not paired"):
        pairings.challenge(elsewhere.id, ZERO, 0)


def test_an_answer_counts_once() -> None:
    pairings = table(a_key(1))
    pairings.propose(a_key(2), "p", 0)
    assert pairings.settle(pairings.hold("p", 1), "refused").fate == "refused"
    with refused(Code.CONFLICT, "any more"):
        pairings.hold("p", 1)
    assert pairings.fate("p", 1).fate == "refused"
    assert pairings.waiting() == []


def test_what_is_being_answered_is_answered_by_nobody_else_and_does_not_expire() -> None:
    pairings = table(a_key(1))
    pairings.propose(a_key(2), "p", 0)
    held = pairings.hold("p", ACCEPT_S - 1)
    with refused(Code.CONFLICT, "any more"):
        pairings.hold("p", ACCEPT_S - 1)
    assert pairings.expire(ACCEPT_S + 1) == []
    assert pairings.fate("p", ACCEPT_S + 1).fate == "waiting"
    assert pairings.settle(held, "paired").fate == pairings.fate("p", ACCEPT_S + 2).fate == "paired"


def test_an_answer_that_could_not_be_kept_leaves_the_pairing_waiting_for_the_rest_of_its_time() -> None:
    pairings = table(a_key(1))
    pairings.propose(a_key(2), "p", 0)
    for _ in range(2):
        pairings.let_go(pairings.hold("p", 1))
    assert pairings.fate("p", ACCEPT_S - 1).fate == "waiting"
    assert pairings.fate("p", ACCEPT_S).fate == "expired"


def test_a_pairing_that_nobody_answers_expires_and_cannot_be_accepted() -> None:
    pairings = table(a_key(1))
    pairings.propose(a_key(2), "p", 0)
    with refused(Code.CONFLICT, "any more"):
        pairings.hold("p", ACCEPT_S)
    assert pairings.fate("p", ACCEPT_S).fate == "expired"


# --- keys that nothing vouches for


@pytest.mark.parametrize("vouched", [{}, {a_key(1).id: PORT}, {a_key(2).id: PORT + 1}], ids=["none", "other", "port"])
def test_a_key_that_is_only_listed_can_do_nothing(vouched: dict[str, int]) -> None:
    planted = a_key(2)
    pairings = Pairings([planted], vouched, PORT, b"secret")
    for use in (
        lambda: pairings.key(planted.id),
        lambda: pairings.challenge(planted.id, ZERO, 0),
    ):
        with refused(Code.FORBIDDEN, "does not vouch"):
            use()
    assert pairings.redeem(pairings.new_ticket(planted.id, ZERO, 0), 0) is None
    assert (pairings.usable(), pairings.unvouched()) == ([], [planted])
    assert pairings.propose(a_key(3), "p", 0).fate == "paired"  # so nobody waits for what cannot accept


def test_a_key_that_is_vouched_for_no_more_can_do_nothing_either() -> None:
    key = a_key()
    pairings = table(key)
    ticket = pairings.new_ticket(key.id, ZERO, 0)
    del pairings.vouched[key.id]
    assert pairings.redeem(ticket, 1) is None
    with refused(Code.FORBIDDEN, "does not vouch"):
        pairings.key(key.id)


def test_no_number_of_listed_keys_crowds_out_one_that_counts() -> None:
    """Nor does its own id with another port, before or after it."""
    mine = a_key(0)
    planted = [a_key(number) for number in range(1, 2 * LISTED)]
    for listed in ([*planted, mine], [attrs.evolve(mine, port=1), mine], [mine, attrs.evolve(mine, port=1)]):
        pairings = Pairings(listed, {mine.id: PORT}, PORT, b"secret")
        assert pairings.key(mine.id) == mine
        assert len(pairings.keys) <= LISTED


def test_what_never_was_is_not_found() -> None:
    with refused(Code.CONFLICT, "does not wait"):
        table().hold("nothing", 0)
    with refused(Code.NOT_FOUND, "no such pairing"):
        table().fate("nothing", 0)


def test_a_paired_browser_is_not_paired_again() -> None:
    with refused(Code.CONFLICT, "paired already"):
        table(a_key(1)).propose(a_key(1), "p", 0)


def test_there_are_not_too_many_of_anything() -> None:
    full = table(*(a_key(number) for number in range(KEYS)))
    with refused(Code.CONFLICT, "the limit"):
        full.propose(a_key(99), "p", 0)
    pairings = table(a_key(1))
    for number in range(WAITING):
        pairings.propose(a_key(10 + number), f"p{number}", 0)
    with refused(Code.CONFLICT, "answer those first"):
        pairings.propose(a_key(50), "p", 0)
    for number in range(3 * REMEMBERED):
        pairings.expire(1e9 * (number + 1))
        pairings.propose(a_key(100 + number), f"q{number}", 1e9 * (number + 1))
    with refused(Code.NOT_FOUND):
        pairings.fate("q0", 0)


# --- streams


def answered(pairings: Pairings, key: Key, challenge: str, now_s: float) -> str:
    pairings.answer_challenge(key.id, challenge, now_s)
    return pairings.new_ticket(key.id, ZERO, now_s)


def test_a_challenge_leads_to_a_ticket_and_that_to_its_key() -> None:
    key = a_key()
    pairings = table(key)
    ticket = answered(pairings, key, pairings.challenge(key.id, ZERO, 0), 1)
    assert pairings.redeem(ticket, 2) == key
    assert pairings.redeem(ticket, 2) is None


def test_a_challenge_is_answered_once_in_time_and_by_its_key() -> None:
    key, other = a_key(1), a_key(2)
    pairings = table(key, other)
    challenge = pairings.challenge(key.id, ZERO, 0)
    for identifier, now_s in ((other.id, 1.0), (key.id, float(CHALLENGE_S)), ("nobody", 1.0)):
        with refused(Code.FORBIDDEN, "not open"):
            pairings.answer_challenge(identifier, challenge, now_s)
    pairings.answer_challenge(key.id, challenge, 1)
    with refused(Code.FORBIDDEN, "not open"):
        pairings.answer_challenge(key.id, challenge, 1)


@pytest.mark.parametrize("change", [0, 7, 8, 23, 24, 39])
def test_no_byte_of_a_challenge_can_be_changed(change: int) -> None:
    key = a_key()
    pairings = table(key)
    data = bytearray(from_text(pairings.challenge(key.id, ZERO, 0)))
    data[change] ^= 1
    with refused(Code.FORBIDDEN, "not open"):
        pairings.answer_challenge(key.id, to_text(bytes(data)), 1)


@pytest.mark.parametrize("text", ["", "x", "é", "=" * 54, "A" * 54, "A" * 100_000, "\ud800"])
def test_what_is_no_challenge_is_refused(text: str) -> None:
    with refused(Code.FORBIDDEN, "not open"):
        table(a_key()).answer_challenge(a_key().id, text, 1)


def test_another_hub_makes_other_challenges() -> None:
    key = a_key()
    challenge = table(key, secret=b"one").challenge(key.id, ZERO, 0)
    with refused(Code.FORBIDDEN, "not open"):
        table(key, secret=b"other").answer_challenge(key.id, challenge, 1)


def test_a_flood_of_challenges_keeps_nothing() -> None:
    key = a_key()
    pairings = table(key)
    first = pairings.challenge(key.id, ZERO, 0)
    for number in range(10_000):
        pairings.challenge(key.id, number.to_bytes(16, "big"), 0)
    pairings.answer_challenge(key.id, first, 1)


def test_a_ticket_is_good_in_time_and_not_after_its_key_was_revoked() -> None:
    key = a_key()
    pairings = table(key)
    assert pairings.redeem(pairings.new_ticket(key.id, ZERO, 0), TICKET_S) is None
    ticket = pairings.new_ticket(key.id, ZERO, 0)
    del pairings.keys[key.id]
    assert pairings.redeem(ticket, 1) is None
    pairings.keys[key.id] = key
    ticket = pairings.new_ticket(key.id, ZERO, 0)
    pairings.forget_tickets(key.id)
    assert pairings.redeem(ticket, 1) is None


def test_unused_tickets_are_not_kept_for_ever() -> None:
    key = a_key()
    pairings = table(key)
    tickets = [pairings.new_ticket(key.id, number.to_bytes(32, "big"), 0) for number in range(TICKETS + 1)]
    assert pairings.redeem(tickets[0], 1) is None
    assert pairings.redeem(tickets[-1], 1) == key


# --- texts


@pytest.mark.parametrize("text", ["AA==", "AA=", "A", "A-_ ", "AB", "A\n", "é", "AA+/"])
def test_what_the_encoder_does_not_make_is_not_decoded(text: str) -> None:
    assert from_text(text) == b""


@pytest.mark.parametrize("data", [b"\0", b"\xff\xfe", bytes(range(64))])
def test_bytes_are_read_back(data: bytes) -> None:
    assert from_text(to_text(data)) == data


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Firefox", "Firefox"),
        ("a\nb\x1b[31m\u202e", "ab[31m"),
        ("", "a browser"),
        ("\0\n ", "a browser"),
        ("x" * 99, "x" * 64),
    ],
)
def test_a_label_is_one_visible_line(text: str, label: str) -> None:
    assert label_of(text) == label
