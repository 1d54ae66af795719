"""Pairing as the hub does it: who is a person, which signatures count, and that a key counts once it is on disk."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import trio

from crosschat import pagewire
from crosschat.core.pairing import to_text
from crosschat.errors import Code, Refused
from crosschat.hub.audit import Audit
from crosschat.hub.events import EventLog
from crosschat.hub.keyring import SETTING, Keyring
from crosschat.hub.pairing import FATE_WAIT_S, Pairing, refuse_all_but_a_person
from crosschat.hub.settings import Settings
from crosschat.hub.signatures import is_point, is_signed
from crosschat.journal.audit import AuditFile, file_of, read_audit
from crosschat.journal.files import RealFiles
from crosschat.processes import Process
from tests.core.world import refused
from tests.hub.rig import NOW_MS, silent_log
from tests.live.screen import Browser

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trio.testing import MockClock

    from crosschat.model import JsonObject

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


def full(*_: object) -> None:
    raise OSError(28, "No space left on device")


async def full_later(*_: object) -> None:
    await trio.lowlevel.checkpoint()
    full()


class Place:
    """A pairing on files below `path`; made again, it is what the next hub finds."""

    def __init__(self, path: Path, port: int = PORT) -> None:
        self.path, files = path, RealFiles()
        self.settings = Settings(files, path / "settings.json")
        self.audit = Audit(path, files, lambda: NOW_MS)
        self.keyring = keyring = Keyring(self.settings, self.audit, silent_log())
        self.events = EventLog(path / "events.jsonl", lambda: NOW_MS, silent_log())
        self.now_s = 0.0
        self.pairing = Pairing(keyring, port, self.events, lambda: NOW_MS, lambda: self.now_s)
        self.told = Told()
        self.pairing.told = self.told

    async def pair(self, browser: Browser) -> pagewire.Paired:
        code = self.pairing.table.new_code(bytes(16), self.now_s)
        return await self.pairing.pair(pagewire.Pair(code=code, key=to_text(browser.public), label=browser.label))

    def lines(self) -> tuple[JsonObject, ...]:
        """What the audit has."""
        return read_audit(self.path, RealFiles()).lines

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events.page(pagewire.Events(id="e")).events]


async def test_a_key_outlives_the_hub_and_is_good_at_its_port_alone(tmp_path: Path) -> None:
    browser = Browser(PORT, "Firefox")
    assert (await Place(tmp_path).pair(browser)).state == "paired"
    (view,) = Place(tmp_path).pairing.views(browser.key)
    assert (view.id, view.label, view.current) == (browser.key, "Firefox", True)
    Place(tmp_path).pairing.challenge(pagewire.Challenge(key=browser.key))
    elsewhere = Place(tmp_path, PORT + 1).pairing
    with refused(Code.FORBIDDEN, "not paired"):
        elsewhere.challenge(pagewire.Challenge(key=browser.key))
    (view,) = elsewhere.views()
    assert view.label == f"Firefox (at port {PORT})"
    assert json.loads((tmp_path / "settings.json").read_text())[SETTING][0]["id"] == browser.key


async def test_nothing_that_lets_anybody_in_is_on_disk(tmp_path: Path) -> None:
    place = Place(tmp_path)
    code = place.pairing.table.new_code(bytes(range(16)), 0)
    browser = Browser(PORT)
    await place.pairing.pair(pagewire.Pair(code=code, key=to_text(browser.public), label="x"))
    challenge = place.pairing.challenge(pagewire.Challenge(key=browser.key)).challenge
    signature = browser.sign(pagewire.to_sign(browser.origin, challenge))
    ticket = place.pairing.ticket(pagewire.GetTicket(key=browser.key, challenge=challenge, signature=signature)).ticket
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for secret in (code, code.replace("-", ""), challenge, signature, ticket):
        assert secret.encode() not in written
    assert to_text(browser.public).encode() in written


async def test_a_further_browser_is_accepted_or_refused_by_a_paired_one(tmp_path: Path) -> None:
    place, first = Place(tmp_path), Browser(PORT, "first")
    await place.pair(first)
    second, third = Browser(PORT, "second"), Browser(PORT, "third")
    asked = await place.pair(second)
    assert (asked.state, place.told.said) == ("waiting", ["keys", "asked"])
    with refused(Code.FORBIDDEN, "not paired"):
        place.pairing.challenge(pagewire.Challenge(key=second.key))
    assert asked.pairing is not None
    await place.pairing.answer(asked.pairing, True, first.key)
    place.pairing.challenge(pagewire.Challenge(key=second.key))
    other = await place.pair(third)
    assert other.pairing is not None
    await place.pairing.answer(other.pairing, False, first.key)
    with refused(Code.FORBIDDEN, "not paired"):
        place.pairing.challenge(pagewire.Challenge(key=third.key))
    assert place.kinds() == ["paired", "paired", "pairing_refused"]


async def test_a_page_that_waits_in_vain_asks_again(tmp_path: Path, autojump_clock: MockClock) -> None:
    place, first = Place(tmp_path), Browser(PORT, "first")
    await place.pair(first)
    asked = await place.pair(Browser(PORT, "second"))
    assert asked.pairing is not None
    call = pagewire.AwaitPairing(pairing=asked.pairing)
    began = trio.current_time()
    assert (await place.pairing.fate(call)).state == "waiting"
    assert trio.current_time() - began == FATE_WAIT_S


async def test_a_waiting_page_hears_at_once_what_became_of_it(tmp_path: Path) -> None:
    place, first = Place(tmp_path), Browser(PORT, "first")
    await place.pair(first)
    asked = await place.pair(Browser(PORT, "second"))
    assert asked.pairing is not None
    call = pagewire.AwaitPairing(pairing=asked.pairing)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _() -> None:
            assert (await place.pairing.fate(call)).state == "paired"

        await trio.testing.wait_all_tasks_blocked()
        await place.pairing.answer(asked.pairing, True, first.key)


@pytest.mark.parametrize("first_look", ["a page", "the browser that waits", "another that pairs"])
async def test_a_pairing_that_nobody_answered_is_announced_as_over_whoever_looks_first(
    tmp_path: Path, first_look: str
) -> None:
    place = Place(tmp_path)
    await place.pair(Browser(PORT, "first"))
    asked = await place.pair(Browser(PORT, "second"))
    assert asked.pairing is not None
    place.now_s = 1e6
    if first_look == "the browser that waits":
        assert (await place.pairing.fate(pagewire.AwaitPairing(pairing=asked.pairing))).state == "expired"
    elif first_look == "another that pairs":
        await place.pair(Browser(PORT, "third"))
    place.pairing.announce_expired()
    assert place.told.said.count("over") == 1
    assert place.kinds().count("pairing_refused") == 1


async def test_revoking_tells_the_pages_and_holds_after_a_restart(tmp_path: Path) -> None:
    place, browser = Place(tmp_path), Browser(PORT)
    await place.pair(browser)
    challenge = place.pairing.challenge(pagewire.Challenge(key=browser.key)).challenge
    signature = browser.sign(pagewire.to_sign(browser.origin, challenge))
    ticket = place.pairing.ticket(pagewire.GetTicket(key=browser.key, challenge=challenge, signature=signature)).ticket
    await place.pairing.revoke(browser.key[:6], None)
    assert f"revoked {browser.key}" in place.told.said
    await place.pair(browser)
    assert place.pairing.redeem(ticket) is None  # it was of the pairing before
    await place.pairing.revoke(browser.key, None)
    for pairing in (place.pairing, Place(tmp_path).pairing):
        assert pairing.views() == ()
        with refused(Code.FORBIDDEN, "not paired"):
            pairing.challenge(pagewire.Challenge(key=browser.key))
        with refused(Code.FORBIDDEN):
            pairing.verify(browser.key, b"x", browser.sign("x"))


@pytest.mark.parametrize("key", ["", "zz", "0" * 64])
async def test_what_names_no_single_browser_revokes_none(tmp_path: Path, key: str) -> None:
    place = Place(tmp_path)
    await place.pair(Browser(PORT))
    with refused(Code.NOT_FOUND, "--list"):
        await place.pairing.revoke(key, None)
    assert len(place.pairing.views()) == 1


async def test_a_key_that_cannot_be_listed_is_not_paired_at_the_next_start_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, browser = Place(tmp_path), Browser(PORT)
    monkeypatch.setattr(place.settings, "put", full)
    with refused(Code.STORAGE_FULL, "not paired: settings.json could not be written (No space left"):
        await place.pair(browser)
    assert place.pairing.views() == ()
    assert [line["event"] for line in place.lines()] == ["paired", "revoked"]
    monkeypatch.undo()
    await place.pair(browser)
    place.pairing.challenge(pagewire.Challenge(key=browser.key))
    Place(tmp_path).pairing.challenge(pagewire.Challenge(key=browser.key))


async def test_a_key_that_cannot_be_taken_off_the_list_counts_no_more_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, browser = Place(tmp_path), Browser(PORT, "Firefox")
    await place.pair(browser)
    monkeypatch.setattr(place.settings, "put", full)
    with refused(Code.STORAGE_FULL, "counts no more"):
        await place.pairing.revoke(browser.key, None)
    assert f"revoked {browser.key}" in place.told.said
    for pairing in (place.pairing, Place(tmp_path).pairing):
        with refused(Code.FORBIDDEN, "does not vouch"):
            pairing.challenge(pagewire.Challenge(key=browser.key))
        assert [view.vouched for view in pairing.views()] == [False]
    monkeypatch.undo()
    await place.pairing.revoke(browser.key, None)
    assert place.pairing.views() == ()


@pytest.mark.parametrize(
    "whichever",
    [lambda place: (place.settings, "put", full), lambda place: (place.audit, "write", full_later)],
    ids=["settings", "audit"],
)
async def test_a_browser_whose_acceptance_cannot_be_written_waits_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: MockClock,
    whichever: Callable[[Place], tuple[object, str, object]],
) -> None:
    place, first = Place(tmp_path), Browser(PORT, "first")
    await place.pair(first)
    asked = await place.pair(Browser(PORT, "second"))
    assert asked.pairing is not None
    call = pagewire.AwaitPairing(pairing=asked.pairing)
    monkeypatch.setattr(*whichever(place))
    with refused(Code.STORAGE_FULL, "No space left"):
        await place.pairing.answer(asked.pairing, True, first.key)
    assert (await place.pairing.fate(call)).state == "waiting"
    monkeypatch.undo()
    await place.pairing.answer(asked.pairing, True, first.key)
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
async def test_a_page_without_a_real_key_does_not_use_the_code_up(tmp_path: Path, key: str) -> None:
    place = Place(tmp_path)
    code = place.pairing.table.new_code(bytes(16), 0)
    with refused(Code.INVALID, "P-256"):
        await place.pairing.pair(pagewire.Pair(code=code, key=key, label="x"))
    await place.pairing.pair(pagewire.Pair(code=code, key=to_text(Browser(PORT).public), label="x"))


@pytest.mark.parametrize(
    "text",
    ["", "x", "crosschat.v1 ticket http://127.0.0.1:4712 {}", "crosschat.v1 ticket http://localhost:4711 {}", "{}"],
)
async def test_a_signature_over_anything_but_this_origin_and_challenge_gets_no_ticket(
    tmp_path: Path, text: str
) -> None:
    place, browser = Place(tmp_path), Browser(PORT)
    await place.pair(browser)
    challenge = place.pairing.challenge(pagewire.Challenge(key=browser.key)).challenge
    signature = browser.sign(text.format(challenge))
    with pytest.raises(Refused, match="signature"):
        place.pairing.ticket(pagewire.GetTicket(key=browser.key, challenge=challenge, signature=signature))


async def test_a_signed_challenge_gets_one_ticket(tmp_path: Path) -> None:
    place, browser = Place(tmp_path), Browser(PORT)
    await place.pair(browser)
    challenge = place.pairing.challenge(pagewire.Challenge(key=browser.key)).challenge
    call = pagewire.GetTicket(
        key=browser.key, challenge=challenge, signature=browser.sign(pagewire.to_sign(browser.origin, challenge))
    )
    ticket = place.pairing.ticket(call).ticket
    with refused(Code.FORBIDDEN, "not open"):
        place.pairing.ticket(call)
    assert place.pairing.redeem(ticket) is not None
    assert place.pairing.redeem(ticket) is None


# --- what vouches for a key


def plant(path: Path, browser: Browser, identifier: str | None = None) -> None:
    """As any program of the person's can: a key is written into the settings."""
    file = path / "settings.json"
    settings = json.loads(file.read_bytes()) if file.exists() else {}
    fields = {
        "id": identifier or browser.key,
        "public_key": to_text(browser.public),
        "label": browser.label,
        "port": PORT,
    }
    settings.setdefault(SETTING, []).append({**fields, "paired_at": "2026-01-01T00:00:00.000Z"})
    file.write_text(json.dumps(settings))


async def test_a_key_that_was_written_into_the_settings_counts_for_nothing_and_is_an_alarm(tmp_path: Path) -> None:
    mine, planted = Browser(PORT, "mine"), Browser(PORT, "planted")
    await Place(tmp_path).pair(mine)
    plant(tmp_path, planted)
    place = Place(tmp_path)
    assert [(view.label, view.vouched) for view in place.pairing.views()] == [("mine", True), ("planted", False)]
    (problem,) = place.pairing.problems()
    assert planted.key[:4] in problem
    assert f"crosschat dashboard --revoke {planted.key[:8]}" in problem
    waiting = await place.pair(Browser(PORT, "third"))
    assert waiting.pairing is not None
    with refused(Code.FORBIDDEN, "does not vouch"):
        place.pairing.challenge(pagewire.Challenge(key=planted.key))
    with refused(Code.FORBIDDEN, "does not vouch"):
        place.pairing.verify(planted.key, b"x", planted.sign("x"))
    with refused(Code.FORBIDDEN, "does not vouch"):
        await place.pairing.answer(waiting.pairing, True, planted.key)
    with refused(Code.FORBIDDEN, "does not vouch"):
        await place.pairing.revoke(mine.key, planted.key)
    await place.pairing.answer(waiting.pairing, True, mine.key)  # it was nobody's answer
    await place.pairing.revoke(planted.key, mine.key)
    assert [view.label for view in Place(tmp_path).pairing.views()] == ["mine", "third"]
    assert Place(tmp_path).pairing.problems() == ()


async def test_a_key_that_was_put_under_the_id_of_a_paired_one_is_no_key(tmp_path: Path) -> None:
    mine, planted = Browser(PORT, "mine"), Browser(PORT, "planted")
    await Place(tmp_path).pair(mine)
    (tmp_path / "settings.json").unlink()
    plant(tmp_path, planted, mine.key)
    pairing = Place(tmp_path).pairing
    assert pairing.views() == ()
    with refused(Code.FORBIDDEN, "not paired"):
        pairing.verify(mine.key, b"x", planted.sign("x"))


async def test_a_revoked_key_that_is_written_back_counts_for_nothing(tmp_path: Path) -> None:
    place, browser = Place(tmp_path), Browser(PORT)
    await place.pair(browser)
    before = (tmp_path / "settings.json").read_bytes()
    await place.pairing.revoke(browser.key, None)
    (tmp_path / "settings.json").write_bytes(before)
    again = Place(tmp_path).pairing
    with refused(Code.FORBIDDEN, "does not vouch"):
        again.challenge(pagewire.Challenge(key=browser.key))
    assert again.problems()


async def test_a_browser_that_is_alone_on_the_list_and_does_not_count_accepts_nobody(tmp_path: Path) -> None:
    """So the person's browser is paired as the first, and need not ask it."""
    plant(tmp_path, Browser(PORT, "planted"))
    assert (await Place(tmp_path).pair(Browser(PORT, "mine"))).state == "paired"


async def test_a_pairing_that_many_do_not_count_beside_names_three_and_counts_the_rest(tmp_path: Path) -> None:
    for _ in range(5):
        plant(tmp_path, Browser(PORT))
    assert len(Place(tmp_path).pairing.problems()) == 4
    assert "2 more" in Place(tmp_path).pairing.problems()[-1]


async def test_who_pairs_accepts_and_revokes_is_in_the_audit_before_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, first, second = Place(tmp_path), Browser(PORT, "first"), Browser(PORT, "second")
    put, seen = place.settings.put, []

    def looking(key: str, value: object) -> None:
        seen.append([line["event"] for line in place.lines()])
        put(key, value)

    monkeypatch.setattr(place.settings, "put", looking)
    await place.pair(first)
    asked = await place.pair(second)
    assert asked.pairing is not None
    await place.pairing.answer(asked.pairing, True, first.key)
    await place.pairing.revoke(second.key, first.key)
    assert seen == [["paired"], ["paired"] * 2, ["paired", "paired", "revoked"]]
    told = [(line["event"], line["key"], line["port"], line["label"], line["by"]) for line in place.lines()]
    assert told == [
        ("paired", first.key, PORT, "first", None),
        ("paired", second.key, PORT, "second", "first"),
        ("revoked", second.key, PORT, "second", "first"),
    ]


async def test_a_broken_chain_vouches_for_nobody_and_none_is_paired_there(tmp_path: Path) -> None:
    first, second = Browser(PORT, "first"), Browser(PORT, "second")
    place = Place(tmp_path)
    await place.pair(first)
    asked = await place.pair(second)
    assert asked.pairing is not None
    await place.pairing.answer(asked.pairing, True, first.key)
    path = file_of(tmp_path)
    path.write_bytes(path.read_bytes().replace(b'"second"', b'"sec0nd"', 1))
    again = Place(tmp_path)
    assert [view.vouched for view in again.pairing.views()] == [False, False]
    assert again.pairing.problems() == ()  # the keys are not to blame
    assert "line 2, it was changed: its hash is another, and no browser counts as paired." in str(again.audit.problem)
    with refused(Code.UNAVAILABLE, "move the file away"):
        await again.pair(Browser(PORT, "fourth"))
    with refused(Code.UNAVAILABLE, "move the file away"):
        await again.keyring.add(again.pairing.table, place.pairing.table.keys[first.key], "second")
    with refused(Code.UNAVAILABLE, "line 2"):
        again.pairing.new_code(30, processes(*SHELL, (30, 20, "crosschat", True)))
    await again.pairing.revoke(first.key, None)
    assert [view.label for view in Place(tmp_path).pairing.views()] == ["second"]
    path.rename(tmp_path / "kept.jsonl")
    assert (await Place(tmp_path).pair(Browser(PORT, "anew"))).state == "paired"


async def test_without_an_audit_that_can_be_read_no_browser_counts_and_none_is_paired(tmp_path: Path) -> None:
    browser = Browser(PORT)
    await Place(tmp_path).pair(browser)
    path = file_of(tmp_path)
    path.rename(tmp_path / "kept")
    path.symlink_to(tmp_path / "kept")
    place = Place(tmp_path)
    assert "no browser counts" in str(place.audit.problem)
    assert place.pairing.problems() == ()  # the keys are not to blame
    with refused(Code.FORBIDDEN, "does not vouch"):
        place.pairing.challenge(pagewire.Challenge(key=browser.key))
    with refused(Code.UNAVAILABLE, "cannot be used"):
        await place.pair(Browser(PORT))


async def test_with_an_audit_that_cannot_be_written_those_who_are_paired_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = Browser(PORT)
    await Place(tmp_path).pair(browser)
    monkeypatch.setattr(AuditFile, "__init__", lambda *_: full())
    place = Place(tmp_path)
    assert "cannot be written, so nothing can be allowed:" in str(place.audit.problem)
    place.pairing.challenge(pagewire.Challenge(key=browser.key))
    with refused(Code.UNAVAILABLE, "cannot be written"):
        await place.pair(Browser(PORT))
    await place.pairing.revoke(browser.key, None)
    assert Place(tmp_path).pairing.views() == ()


# --- several at once, and who goes away


class Gate:
    """Holds up what writes the audit, until it is opened."""

    def __init__(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.opened = trio.Event(), trio.Event()
        write = place.audit.write

        async def held(fields: JsonObject) -> None:
            self.reached.set()
            await self.opened.wait()
            await write(fields)

        monkeypatch.setattr(place.audit, "write", held)


async def answers(place: Place, outcomes: list[str], pairing: str, accept: bool, key: str) -> None:
    try:
        await place.pairing.answer(pairing, accept, key)
        outcomes.append("done")
    except Refused as error:
        outcomes.append(error.code)


async def with_one_that_waits(tmp_path: Path) -> tuple[Place, Browser, str]:
    """A browser that is paired, and the pairing of a second one that waits for its answer."""
    place, first = Place(tmp_path), Browser(PORT, "first")
    await place.pair(first)
    asked = await place.pair(Browser(PORT, "second"))
    assert asked.pairing is not None
    return place, first, asked.pairing


async def test_of_two_answers_the_first_counts_and_nothing_expires_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, first, asked = await with_one_that_waits(tmp_path)
    gate = Gate(place, monkeypatch)
    outcomes: list[str] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(answers, place, outcomes, asked, True, first.key)
        await gate.reached.wait()
        nursery.start_soon(answers, place, outcomes, asked, False, first.key)
        await trio.testing.wait_all_tasks_blocked()
        place.now_s = 1e6
        place.pairing.announce_expired()
        assert place.pairing.table.fate(asked, place.now_s).fate == "waiting"  # it is not on the disk yet
        gate.opened.set()
    assert outcomes == ["done", Code.CONFLICT]
    assert len(place.pairing.views()) == 2
    assert place.told.said.count("over") == 1


async def test_an_answer_by_a_key_that_was_revoked_while_it_waited_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, first, asked = await with_one_that_waits(tmp_path)
    gate = Gate(place, monkeypatch)
    outcomes: list[str] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(place.pairing.revoke, first.key, None)
        await gate.reached.wait()
        nursery.start_soon(answers, place, outcomes, asked, True, first.key)
        await trio.testing.wait_all_tasks_blocked()
        gate.opened.set()
    assert outcomes == [Code.FORBIDDEN]
    assert place.pairing.views() == ()


async def test_two_browsers_with_a_code_each_are_not_both_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, states = Place(tmp_path), []
    gate = Gate(place, monkeypatch)

    async def pairs(browser: Browser) -> None:
        states.append((await place.pair(browser)).state)

    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(pairs, Browser(PORT))
            await trio.testing.wait_all_tasks_blocked()
        gate.opened.set()
    assert states == ["paired", "waiting"]


async def test_who_goes_away_while_it_pairs_is_paired_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, browser = Place(tmp_path), Browser(PORT)
    gate = Gate(place, monkeypatch)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(place.pair, browser)
        await gate.reached.wait()
        nursery.cancel_scope.cancel()
        gate.opened.set()
    Place(tmp_path).pairing.challenge(pagewire.Challenge(key=browser.key))


async def test_who_goes_away_while_it_revokes_has_revoked_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, browser = Place(tmp_path), Browser(PORT)
    await place.pair(browser)
    gate = Gate(place, monkeypatch)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(place.pairing.revoke, browser.key, None)
        await gate.reached.wait()
        nursery.cancel_scope.cancel()
        gate.opened.set()
    assert place.told.said[-2:] == [f"revoked {browser.key}", "keys"]
    assert [line["event"] for line in place.lines()] == ["paired", "revoked"]
    assert Place(tmp_path).pairing.views() == ()
