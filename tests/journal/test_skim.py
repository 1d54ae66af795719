"""The usual lines at a glance: never anything else than `decode` says, and the same state to the last number."""

from __future__ import annotations

import tempfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosschat.core.state import State
from crosschat.errors import Refused
from crosschat.journal.directory import open_directory
from crosschat.journal.files import RealFiles
from crosschat.journal.format import BadLine, decode, encode
from crosschat.journal.skim import skim
from crosschat.journal.store import Log
from crosschat.model import USER, AnyRecord, Cursor, Glance, Message, Reply, Seen, headline_of
from tests.core.test_snapshot import everything
from tests.core.world import World
from tests.journal.records import ANY_RECORD

if TYPE_CHECKING:
    from random import Random

FILES = RealFiles()
PLAIN = Message(
    seq=7, id="m7-0abc", ts=1_777_777_777_123, by="a1", cid="c", digest="send:1", content='é "quoted"\n\\ ☃',
    source="agent", to=("a2", "a3"), mentions=("a2", "user"), private=True, here=True, importance="important",
)  # fmt: skip
REPLY = Reply(seq=8, id="m8-0abc", ts=1_777_777_777_000, by="a1", content="", source="user", root="m7-0abc", to=())
CURSOR = Cursor(seq=9, id="r9-0abc", ts=1_777_777_777_000, by="system", agent="a1", upto=7)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "h"
    open_directory(home, FILES)
    return home


def glance_of(record: AnyRecord) -> Glance | None:
    """What a glance at its line may say."""
    if isinstance(record, Message):
        return headline_of(record)
    return Seen(record.seq, record.agent, record.upto) if isinstance(record, Cursor) else None


def decoded(line: bytes) -> AnyRecord | None:
    try:
        return decode(line)
    except BadLine:
        return None


@pytest.mark.parametrize("more", [False, True])
def test_usual_messages_and_cursors_are_known_at_a_glance(more: bool) -> None:
    lines = [encode(record, more=more)[:-1] for record in (PLAIN, REPLY)]
    assert skim([*lines, encode(CURSOR)[:-1]]) == [headline_of(PLAIN), headline_of(REPLY), Seen(9, "a1", 7)]


@settings(max_examples=100, deadline=None)
@given(st.lists(ANY_RECORD, max_size=4))
def test_a_glance_says_what_decoding_says_of_any_record(records: list[AnyRecord]) -> None:
    for record, found in zip(records, skim([encode(record)[:-1] for record in records]), strict=True):
        assert found in (None, glance_of(record))


PIECES = (
    b"", b'"', b"\\", b"\\u0041", b"\\ud800", b"\x00", b"\xff", b"\xc3", b",", b"[]", b"{}", b"null", b"true", b"false",
    b"0", b"-1", b"1e3", b"\t", b" ", "é".encode(), b"T24:", b"-02-31T", b'"root":"m1"', b'"metadata":{}',
    b'"seq":7', b',"here":1',
)  # fmt: skip


@settings(max_examples=800, deadline=None)
@given(st.sampled_from([PLAIN, REPLY, CURSOR]), st.integers(0, 400), st.integers(0, 12), st.sampled_from(PIECES))
def test_a_line_that_somebody_else_wrote_is_not_taken_for_what_decoding_refuses(
    record: AnyRecord, start: int, size: int, piece: bytes
) -> None:
    body = encode(record)[:-19]
    start %= len(body)
    body = (body[:start] + piece + body[start + size :]).replace(b"\n", b"")
    line = b'%b,"crc":"%08x"}' % (body, zlib.crc32(body))
    other = decoded(line)
    assert skim([line, line]) in ([None, None], [glance_of(other)] * 2 if other is not None else None)


TS = b'"ts":"2026-05-03T03:09:37'


@pytest.mark.parametrize(
    ("record", "was", "forged"),
    [
        (PLAIN, b'"seq":7,', b'"seq":07,'),
        (PLAIN, b'"seq":7,', b'"seq":0,'),
        (PLAIN, TS, b'"ts":"2026-05-03T03:60:37'),
        (PLAIN, TS, b'"ts":"2026-05-03T03:09:60'),
        (PLAIN, TS, b'"ts":"2026-05-03T24:09:37'),
        (PLAIN, TS, b'"ts":"2026-02-31T03:09:37'),
        (PLAIN, b"quoted", b"quo\x01ted"),
        (PLAIN, b"quoted", b"quo\tted"),
        (PLAIN, b"quoted", b"quo\\xted"),
        (PLAIN, b"quoted", b"quo\\ud800ted"),
        (PLAIN, b"quoted", b"quo\xffted"),
        (PLAIN, b'"cid":"c"', b'"cid":"c\\q"'),
        (PLAIN, b'"from":"a1"', b'"from":"A1"'),
        (PLAIN, b'"id":"m7-0abc"', b'"id":"%b"' % (b"m" * 37)),
        (PLAIN, b'"to":["a2",', b'"to":["a2 ",'),
        (PLAIN, b'"source":"agent"', b'"source":"agents"'),
        (PLAIN, b'"importance":"important"', b'"importance":"important","root":"m1-0abc"'),
        (REPLY, b',"root":"m7-0abc"', b""),
        (REPLY, b'"root":"m7-0abc"', b'"root":""'),
        (CURSOR, b'"upto":7', b'"upto":-7'),
        (CURSOR, b'"upto":7', b'"upto":7.0'),
        (CURSOR, b'"agent":"a1"', b'"agent":"A1"'),
    ],
)
def test_a_forged_line_says_what_decoding_says_or_nothing(record: AnyRecord, was: bytes, forged: bytes) -> None:
    """A crc that fits proves nothing: whoever may write the file can make one."""
    body = encode(record)[:-19]
    assert body.count(was) == 1
    body = body.replace(was, forged)
    line = b'%b,"crc":"%08x"}' % (body, zlib.crc32(body))
    other = decoded(line)
    assert skim([line]) in ([None], [glance_of(other)] if other is not None else [None])


def test_what_stands_in_the_place_of_another_record_is_not_read_at_a_glance(home: Path) -> None:
    """The file was changed under the offsets that the start found."""
    lines = [encode(attrs.evolve(REPLY, seq=seq)) for seq in (1, 2, 3)]
    path = home / "log" / "000001.jsonl"
    path.write_bytes(b"".join(lines))
    log, _ = Log.recover(home, FILES)
    path = home / "log" / f"{max(int(found.stem) for found in path.parent.iterdir()):06d}.jsonl"
    path.write_bytes(b"".join((lines[0], lines[2], lines[1])))
    assert [record.seq for record in log.glances()] == [record.seq for record in log.replay()] == [1]
    log.close()


def lives(random: Random) -> list[AnyRecord]:
    """The records of a short life of a hub."""
    world = World()
    agents = [world.join(name) for name in ("ada", "ben", "cy")]
    said = [world.send(agents[0], "hello")]
    for number in range(random.randrange(5, 60)):
        who, thread = random.choice(agents), random.choice([None, None, random.choice(said)])
        text = random.choice(["all of you", "@ben look", "@user which one?", "@ada and @cy: é\n"]) + f" {number}"
        with suppress(Refused):  # not everybody may read and do everything
            said.append(world.send(who, text, thread, importance=random.choice([None, None, "important"])))
            if random.random() < 0.3:
                world.mark(who, world.state.head)
            if random.random() < 0.1:
                world.flag(who, said[-1])
                world.claim(random.choice(agents), said[-1])
            if random.random() < 0.05:
                world.clear(who)
    return world.records


def damaged(lines: list[bytes], random: Random) -> bytes:
    """The log, in which some things happened to lines: most of them stay as they are."""
    lines = list(lines)
    for _ in range(random.randrange(4)):
        at, to = random.randrange(len(lines)), random.randrange(len(lines))
        line = bytearray(lines[at] or b"x")
        line[random.randrange(len(line))] ^= 1 << random.randrange(8)
        what = random.choice(["flip", "cut", "drop", "again", "swap", "crlf"])
        if what == "swap":
            lines[at], lines[to] = lines[to], lines[at]
        elif what == "again":
            lines.insert(to, lines[at])
        else:
            lines[at] = {"flip": bytes(line), "cut": lines[at][:-5], "drop": b"", "crlf": lines[at][:-1] + b"\r\n"}[
                what
            ]
    return b"".join(lines)


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False))
def test_a_state_made_at_a_glance_equals_the_one_made_of_whole_records(random: Random) -> None:
    records = lives(random)
    with tempfile.TemporaryDirectory(prefix="cc-", dir="/tmp") as directory:
        home = Path(directory) / "h"
        open_directory(home, FILES)
        half = random.randrange(len(records))
        for number, some in ((1, records[:half]), (2, records[half:])):
            lines = [encode(record) for record in some]
            (home / "log" / f"{number:06d}.jsonl").write_bytes(damaged(lines, random) if lines else b"")
        log, _ = Log.recover(home, FILES)
        plain, quick = State(), State()
        for record in log.replay():
            plain.apply(record)
        quick.apply_all(log.glances())
        log.close()
    assert everything(quick) == everything(plain)
    assert [column.tobytes() for column in quick.ledger.columns] == [
        column.tobytes() for column in plain.ledger.columns
    ]  # fmt: skip


def test_the_person_is_known_as_such_at_a_glance() -> None:
    state = State()
    question = Message(seq=1, id="m1-0000", ts=0, by="a1", content="?", source="agent", mentions=(USER,))
    state.apply_all(one for one in skim([encode(question)[:-1]]) if one is not None)
    assert state.questions == {1}
