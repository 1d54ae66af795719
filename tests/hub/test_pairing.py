"""Pairing as the hub does it: who is a person, which signatures count, and that a key counts once it is on disk."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import trio

from crosschat import pagewire
from crosschat.core.pairing import to_text
from crosschat.errors import Code, Refused
from crosschat.hub.events import EventLog
from crosschat.hub.pairing import FATE_WAIT_S, SETTING, Pairing, is_point, is_signed, refuse_all_but_a_person
from crosschat.hub.settings import Settings
from crosschat.journal.files import RealFiles
from crosschat.processes import Process
from tests.core.world import refused
from tests.hub.rig import NOW_MS, silent_log
from tests.live.screen import Browser

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trio.testing import MockClock

PORT = 4711

# --- who is a person


def processes(*rows: tuple[int, int, str, bool]) -> Callable[[int], Process | None]:
    """A process table: pid, parent, name, terminal. Who is younger has the higher pid."""
    table = {
        pid: Process(pid=pid, start=pid, parent=parent, name=name, exe=name, has_terminal=terminal)
        for pid, parent, name, terminal in rows
    }
    return table.get


SHELL = ((1, 0, "init", False), (10, 1, "terminal", False), (20, 10, "zsh", True))


def person(pid: int, lookup: Callable[[int], Process | None]) -> None:
    refuse_all_but_a_person(pid, lookup)


def test_a_command_in_a_shell_is_a_persons() -> None:
    person(30, processes(*SHELL, (30, 20, "crosschat", True)))


def test_a_command_without_a_terminal_is_not() -> None:
    with refused(Code.FORBIDDEN, "at a terminal"):
        person(30, processes(*SHELL, (30, 20, "crosschat", False)))


@pytest.mark.parametrize(
    "below",
    [
        [(30, 20, "claude", True), (40, 30, "crosschat", True)],
        [(30, 20, "claude", True), (40, 30, "bash", True), (50, 40, "crosschat", True)],
        [(30, 20, "claude", True), (40, 30, "vim", True), (50, 40, "python3", True), (60, 50, "crosschat", True)],
        [(30, 20, "claude", True), (40, 30, "tmux", True), (50, 40, "script", True), (60, 50, "crosschat", True)],
    ],
    ids=["directly", "in a shell", "through any programs", "through script and tmux"],
)
def test_a_command_below_claude_code_is_not(below: list[tuple[int, int, str, bool]]) -> None:
    with refused(Code.FORBIDDEN, "inside a Claude Code session"):
        person(below[-1][0], processes(*SHELL, *below))


def test_claude_code_is_seen_by_its_executable_too() -> None:
    rows = {
        10: Process(pid=10, start=10, parent=1, name="node", exe="claude", has_terminal=True),
        20: Process(pid=20, start=20, parent=10, name="crosschat", has_terminal=True),
    }
    with refused(Code.FORBIDDEN, "inside a Claude Code session"):
        person(20, rows.get)


def test_a_name_cannot_pass_for_a_place_in_the_tree() -> None:
    with refused(Code.FORBIDDEN, "inside"):
        person(40, processes(*SHELL, (30, 20, "claude", True), (40, 30, ") R 1 1 1 0", True)))


def test_a_parent_that_ends_meanwhile_does_not_hide_what_is_above_it() -> None:
    """The shell between the command and Claude Code ended after the command was looked at: the kernel then gives the
    command another parent, here the one above."""
    table = processes(*SHELL, (30, 20, "claude", True), (60, 30, "crosschat", True))
    before = Process(pid=60, start=60, parent=50, name="crosschat", has_terminal=True)
    looks = iter([before])

    def lookup(pid: int) -> Process | None:
        return next(looks, None) or table(pid) if pid == 60 else table(pid)

    with refused(Code.FORBIDDEN, "inside"):
        person(60, lookup)


def test_a_pid_that_was_used_again_is_not_taken_for_a_parent() -> None:
    """The parent is gone and a younger process has its pid; the one below got another parent, which is looked at."""
    claude = Process(pid=30, start=30, parent=20, name="claude", has_terminal=True)
    young = Process(pid=50, start=500, parent=20, name="zsh", has_terminal=True)
    looks = iter([Process(pid=60, start=60, parent=50, name="crosschat", has_terminal=True)])
    now = Process(pid=60, start=60, parent=30, name="crosschat", has_terminal=True)

    def lookup(pid: int) -> Process | None:
        if pid == 60:
            return next(looks, now)
        return {50: young, 30: claude}.get(pid) or processes(*SHELL)(pid)

    with refused(Code.FORBIDDEN, "inside"):
        person(60, lookup)


def test_a_process_above_that_is_invisible_is_another_users_and_no_reason() -> None:
    person(30, processes((20, 10, "zsh", True), (30, 20, "crosschat", True)))


def test_who_cannot_be_seen_is_refused() -> None:
    with refused(Code.FORBIDDEN, "cannot be seen"):
        person(30, lambda _: None)


def test_a_tree_that_never_holds_still_is_refused() -> None:
    parents = iter(range(1000, 2000))

    def lookup(pid: int) -> Process | None:
        return Process(pid=60, start=60, parent=next(parents), name="x", has_terminal=True) if pid == 60 else None

    with refused(Code.FORBIDDEN, "cannot be seen"):
        person(60, lookup)


# --- signatures


def test_a_signature_is_by_this_key_over_these_bytes() -> None:
    browser, other = Browser(PORT), Browser(PORT)
    text = "what was shown"
    good = bytes_of(browser.sign(text))
    assert is_signed(browser.public, text.encode(), good)
    assert not is_signed(other.public, text.encode(), good)
    assert not is_signed(browser.public, b"what was shown.", good)
    for place in (0, 31, 32, 63):
        bad = bytearray(good)
        bad[place] ^= 1
        assert not is_signed(browser.public, text.encode(), bytes(bad))
    for bad_size in (b"", good[:-1], good + b"\0", bytes(64), b"\xff" * 64):
        assert not is_signed(browser.public, text.encode(), bad_size)


def bytes_of(signature: str) -> bytes:
    from crosschat.core.pairing import from_text

    return from_text(signature)


def test_a_signature_made_elsewhere_is_understood() -> None:
    """RFC 6979, A.2.5: P-256 with SHA-256 over "sample"."""
    public = bytes.fromhex(
        "0460FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6"
        "7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299"
    )
    signature = bytes.fromhex(
        "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716"
        "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8"
    )
    assert is_signed(public, b"sample", signature)
    assert not is_signed(public, b"Sample", signature)


def test_only_a_point_of_the_curve_is_a_key() -> None:
    public = Browser(PORT).public
    assert is_point(public)
    for bad in (b"", public[:-1], public + b"\0", b"\x02" + public[1:33], b"\x04" + bytes(64), b"\0" * 65):
        assert not is_point(bad)
    off = bytearray(public)
    off[-1] ^= 1
    assert not is_point(bytes(off))


# --- keys


class Told:
    """What the open pages were told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def keys_changed(self) -> None:
        self.said.append("keys")

    def pairing_asked(self, waiting: object) -> None:
        self.said.append("asked")

    def pairing_over(self, waiting: object) -> None:
        self.said.append("over")

    def key_revoked(self, key: str) -> None:
        self.said.append(f"revoked {key}")


class Place:
    """A pairing on files below `path`; made again, it is what the next hub finds."""

    def __init__(self, path: Path, port: int = PORT) -> None:
        self.settings = Settings(RealFiles(), path / "settings.json")
        self.events = EventLog(path / "events.jsonl", lambda: NOW_MS, silent_log())
        self.now_s = 0.0
        self.pairing = Pairing(self.settings, port, self.events, lambda: NOW_MS, lambda: self.now_s)
        self.told = Told()
        self.pairing.told = self.told

    def pair(self, browser: Browser) -> pagewire.Paired:
        code = self.pairing.table.new_code(bytes(16), self.now_s)
        return self.pairing.pair(pagewire.Pair(code=code, key=to_text(browser.public), label=browser.label))

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events.page(pagewire.Events(id="e")).events]


def test_a_key_outlives_the_hub_and_is_good_at_its_port_alone(tmp_path: Path) -> None:
    browser = Browser(PORT, "Firefox")
    assert Place(tmp_path).pair(browser).state == "paired"
    (view,) = Place(tmp_path).pairing.views(browser.key)
    assert (view.id, view.label, view.current) == (browser.key, "Firefox", True)
    Place(tmp_path).pairing.challenge(pagewire.Challenge(key=browser.key))
    elsewhere = Place(tmp_path, PORT + 1).pairing
    with refused(Code.FORBIDDEN, "not paired"):
        elsewhere.challenge(pagewire.Challenge(key=browser.key))
    (view,) = elsewhere.views()
    assert view.label == f"Firefox (at port {PORT})"
    assert json.loads((tmp_path / "settings.json").read_text())[SETTING][0]["id"] == browser.key


def test_nothing_that_lets_anybody_in_is_on_disk(tmp_path: Path) -> None:
    place = Place(tmp_path)
    code = place.pairing.table.new_code(bytes(range(16)), 0)
    browser = Browser(PORT)
    place.pairing.pair(pagewire.Pair(code=code, key=to_text(browser.public), label="x"))
    challenge = place.pairing.challenge(pagewire.Challenge(key=browser.key)).challenge
    signature = browser.sign(pagewire.to_sign(browser.origin, challenge))
    ticket = place.pairing.ticket(pagewire.GetTicket(key=browser.key, challenge=challenge, signature=signature)).ticket
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for secret in (code, code.replace("-", ""), challenge, signature, ticket):
        assert secret.encode() not in written
    assert to_text(browser.public).encode() in written


def test_a_further_browser_is_accepted_or_refused_by_a_paired_one(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.pair(Browser(PORT, "first"))
    second, third = Browser(PORT, "second"), Browser(PORT, "third")
    asked = place.pair(second)
    assert (asked.state, place.told.said) == ("waiting", ["keys", "asked"])
    with refused(Code.FORBIDDEN, "not paired"):
        place.pairing.challenge(pagewire.Challenge(key=second.key))
    assert asked.pairing is not None
    place.pairing.answer(asked.pairing, True, "first")
    place.pairing.challenge(pagewire.Challenge(key=second.key))
    other = place.pair(third)
    assert other.pairing is not None
    place.pairing.answer(other.pairing, False, "first")
    with refused(Code.FORBIDDEN, "not paired"):
        place.pairing.challenge(pagewire.Challenge(key=third.key))
    assert place.kinds() == ["paired", "paired", "pairing_refused"]


async def test_a_waiting_page_hears_at_once_what_became_of_it(tmp_path: Path, autojump_clock: MockClock) -> None:
    place = Place(tmp_path)
    place.pair(Browser(PORT, "first"))
    asked = place.pair(Browser(PORT, "second"))
    assert asked.pairing is not None
    call = pagewire.AwaitPairing(pairing=asked.pairing)
    began = trio.current_time()
    assert (await place.pairing.fate(call)).state == "waiting"
    assert trio.current_time() - began == FATE_WAIT_S
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _() -> None:
            assert (await place.pairing.fate(call)).state == "paired"

        await trio.testing.wait_all_tasks_blocked()
        place.pairing.answer(asked.pairing, True, "first")


def test_a_pairing_that_nobody_answered_is_announced_as_over(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.pair(Browser(PORT, "first"))
    place.pair(Browser(PORT, "second"))
    place.now_s = 1e6
    place.pairing.announce_expired()
    assert place.told.said[-1] == "over"
    assert place.kinds()[-1] == "pairing_refused"


def test_revoking_tells_the_pages_and_holds_after_a_restart(tmp_path: Path) -> None:
    place, browser = Place(tmp_path), Browser(PORT)
    place.pair(browser)
    place.pairing.revoke(browser.key[:6], "a terminal")
    assert f"revoked {browser.key}" in place.told.said
    for pairing in (place.pairing, Place(tmp_path).pairing):
        assert pairing.views() == ()
        with refused(Code.FORBIDDEN, "not paired"):
            pairing.challenge(pagewire.Challenge(key=browser.key))
        with refused(Code.FORBIDDEN):
            pairing.verify(browser.key, b"x", browser.sign("x"))


@pytest.mark.parametrize("key", ["", "zz", "0" * 64])
def test_what_names_no_single_browser_revokes_none(tmp_path: Path, key: str) -> None:
    place = Place(tmp_path)
    place.pair(Browser(PORT))
    with refused(Code.NOT_FOUND, "--list"):
        place.pairing.revoke(key, "a terminal")
    assert len(place.pairing.views()) == 1


def test_a_key_that_cannot_be_written_is_not_paired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, browser = Place(tmp_path), Browser(PORT)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(place.settings, "put", full)
    with refused(Code.STORAGE_FULL, "No space left"):
        place.pair(browser)
    assert place.pairing.views() == ()
    monkeypatch.undo()
    place.pair(browser)
    monkeypatch.setattr(place.settings, "put", full)
    with refused(Code.STORAGE_FULL, "Nothing changed"):
        place.pairing.revoke(browser.key, "a terminal")
    place.pairing.challenge(pagewire.Challenge(key=browser.key))


async def test_a_browser_whose_acceptance_cannot_be_written_waits_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    place = Place(tmp_path)
    place.pair(Browser(PORT, "first"))
    asked = place.pair(Browser(PORT, "second"))
    assert asked.pairing is not None
    call = pagewire.AwaitPairing(pairing=asked.pairing)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(place.settings, "put", full)
    with refused(Code.STORAGE_FULL, "No space left"):
        place.pairing.answer(asked.pairing, True, "first")
    assert (await place.pairing.fate(call)).state == "waiting"
    monkeypatch.undo()
    place.pairing.answer(asked.pairing, True, "first")
    assert (await place.pairing.fate(call)).state == "paired"
    assert len(place.pairing.views()) == 2


@pytest.mark.parametrize(
    "kept",
    [
        None, 5, "x", {}, [None], [{}], [[]],
        [{"id": "x", "public_key": "AAAA", "label": "x", "paired_at": "2026-01-01T00:00:00Z", "port": PORT}],
        [{"id": "x", "public_key": 5, "label": "x", "paired_at": "never", "port": PORT}],
    ],
)  # fmt: skip
def test_what_is_no_key_in_the_settings_pairs_nobody(tmp_path: Path, kept: object) -> None:
    (tmp_path / "settings.json").write_text(json.dumps({SETTING: kept}))
    assert Place(tmp_path).pairing.views() == ()


@pytest.mark.parametrize("key", ["", "AAAA", to_text(b"\x04" + bytes(64)), "not base64!"])
def test_a_page_without_a_real_key_does_not_use_the_code_up(tmp_path: Path, key: str) -> None:
    place = Place(tmp_path)
    code = place.pairing.table.new_code(bytes(16), 0)
    with refused(Code.INVALID, "P-256"):
        place.pairing.pair(pagewire.Pair(code=code, key=key, label="x"))
    place.pairing.pair(pagewire.Pair(code=code, key=to_text(Browser(PORT).public), label="x"))


@pytest.mark.parametrize(
    "text",
    ["", "x", "crosschat.v1 ticket http://127.0.0.1:4712 {}", "crosschat.v1 ticket http://localhost:4711 {}", "{}"],
)
def test_a_signature_over_anything_but_this_origin_and_challenge_gets_no_ticket(tmp_path: Path, text: str) -> None:
    place, browser = Place(tmp_path), Browser(PORT)
    place.pair(browser)
    challenge = place.pairing.challenge(pagewire.Challenge(key=browser.key)).challenge
    signature = browser.sign(text.format(challenge))
    with pytest.raises(Refused, match="signature"):
        place.pairing.ticket(pagewire.GetTicket(key=browser.key, challenge=challenge, signature=signature))


def test_a_signed_challenge_gets_one_ticket(tmp_path: Path) -> None:
    place, browser = Place(tmp_path), Browser(PORT)
    place.pair(browser)
    challenge = place.pairing.challenge(pagewire.Challenge(key=browser.key)).challenge
    call = pagewire.GetTicket(
        key=browser.key, challenge=challenge, signature=browser.sign(pagewire.to_sign(browser.origin, challenge))
    )
    ticket = place.pairing.ticket(call).ticket
    with refused(Code.FORBIDDEN, "not open"):
        place.pairing.ticket(call)
    assert place.pairing.redeem(ticket) is not None
    assert place.pairing.redeem(ticket) is None
