"""Search on a real index beside a feed in memory: what is found, by whom, and what is said when it is not all."""

from __future__ import annotations

import sqlite3
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import pytest
import trio

from crosschat import wire
from crosschat.core.search import EXCERPT_CHARS
from crosschat.errors import Code, Refused
from crosschat.hub import searching as module
from crosschat.hub.searching import Searching
from crosschat.journal import textindex
from crosschat.journal.files import RealFiles
from crosschat.journal.textindex import NAME
from crosschat.limits import PAGE_CHARS
from crosschat.model import THE_CLI, USER, Actor, AnyRecord, Badge, Claim, Epoch, Flag, Message, Reply, Resolve
from tests.hub.rig import NOW_MS, Middle, silent_log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

A1, A2, A3 = Actor("a1"), Actor("a2"), Actor("a3")


def searching(middle: Middle, directory: Path) -> Searching:
    return Searching(middle.router, directory, RealFiles(), silent_log())


@asynccontextmanager
async def running(middle: Middle, directory: Path) -> AsyncIterator[Searching]:
    """The index, which has everything that is in the feed."""
    made = searching(middle, directory)
    async with trio.open_nursery() as nursery:
        await nursery.start(made.run)
        await caught_up(made)
        yield made
        nursery.cancel_scope.cancel()


async def caught_up(made: Searching) -> None:
    with trio.fail_after(10):
        while made.behind or made._index is None:  # noqa: ASYNC110
            await trio.sleep(0.01)


async def find(made: Searching, who: Actor = THE_CLI, query: str = "", **fields: object) -> list[str]:
    page = await made.find(who, wire.Search(id="s", query=query, **fields))  # type: ignore[arg-type]
    return [item.content for item in page.items]


def about(middle: Middle, kind: Callable[..., AnyRecord], target: int, **fields: object) -> AnyRecord:
    seq = middle.next_seq
    return kind(seq=seq, id=f"r{seq}", ts=NOW_MS, by="a2", target=middle.state.message_id(target), **fields)


async def test_what_was_just_written_is_found_newest_first(tmp_path: Path) -> None:
    middle = Middle("a1", "a2")
    async with running(middle, tmp_path) as made:
        middle.commit(*middle.messages(["deploy one", "something else", "Deploy TWO"]))
        assert await find(made, query="deploy") == ["Deploy TWO", "deploy one"]
        middle.commit(*middle.messages(["deploy three"]))
        assert await find(made, query="deploy", limit=2) == ["deploy three", "Deploy TWO"]


async def test_a_private_message_is_found_by_those_it_is_for_and_leaves_no_trace_with_others(tmp_path: Path) -> None:
    middle = Middle("a1", "a2", "a3")
    async with running(middle, tmp_path) as made:
        middle.commit(*middle.messages(["the code is swordfish"]))
        middle.commit(*middle.messages([f"swordfish {number}" for number in range(30)], to=("a2",)))
        search = wire.Search(id="s", query="swordfish", limit=1)
        others = await made.find(A3, search)
        assert [item.content for item in others.items] == ["the code is swordfish"]
        assert (others.earlier, others.later, others.unread, others.behind) == (False, False, 0, 0)
        for who in (A1, A2, THE_CLI):
            page = await made.find(who, search)
            assert [item.content for item in page.items] == ["swordfish 29"]
            assert page.earlier
        anchor = middle.state.message_id(middle.state.head)
        with pytest.raises(Refused) as refused:
            await made.find(A3, attrs.evolve(search, before=anchor))
        assert refused.value.code is Code.NOT_FOUND


async def test_pages_meet_every_result_once(tmp_path: Path) -> None:
    middle = Middle("a1", "a2")
    texts = [f"number {number} " + "x" * (number % 7 * 100) for number in range(300)]
    async with running(middle, tmp_path) as made:
        middle.commit(*middle.messages(texts))
        met: list[str] = []
        search = wire.Search(id="s", query="number", limit=120)
        while True:
            page = await made.find(A2, search)
            assert len(wire.encode(page)) < PAGE_CHARS + 1000
            met += [item.content.split()[1] for item in page.items]
            if not page.earlier:
                break
            search = attrs.evolve(search, before=page.items[-1].message)
        assert met == [str(number) for number in range(299, -1, -1)]


async def test_a_search_goes_through_windows_and_meets_their_edges_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WINDOW", 7)
    monkeypatch.setattr(module, "CANDIDATES", (3, 5))
    middle = Middle("a1", "a2")
    async with running(middle, tmp_path) as made:
        middle.commit(*middle.messages([f"{'odd' if number % 2 else 'even'} {number}" for number in range(100)]))
        middle.commit(*middle.messages(["odd and rare"]))
        expected = ["odd and rare", *(f"odd {number}" for number in range(99, 0, -2))]
        assert await find(made, query="odd", limit=200) == expected
        assert await find(made, query="rare") == ["odd and rare"]
        assert await find(made, query="even 0") == [f"even {number}" for number in (0,)]


async def test_a_long_message_is_shown_around_the_word(tmp_path: Path) -> None:
    middle = Middle("a1", "a2")
    async with running(middle, tmp_path) as made:
        middle.commit(*middle.messages(["lorem " * 2000 + "needle " + "ipsum " * 2000]))
        (item,) = (await made.find(A2, wire.Search(id="s", query="needle"))).items
        assert "needle" in item.content
        assert len(item.content) <= EXCERPT_CHARS
        assert item.offset > 0
        assert item.more == item.offset + len(item.content)


async def test_a_search_follows_badges_and_tasks_and_their_results(tmp_path: Path) -> None:
    middle = Middle("a1", "a2", "a3")
    async with running(middle, tmp_path) as made:
        middle.commit(*middle.messages(["please measure it"]))
        target = middle.state.head
        middle.commit(about(middle, Flag, target))
        assert await find(made, badge="task:open") == ["please measure it"]
        middle.commit(about(middle, Claim, target, agent="a2", claim_epoch=1))
        assert await find(made, badge="task:open") == []
        assert await find(made, badge="task:claimed", query="measure") == ["please measure it"]
        assert await find(made, query="furlongs") == []
        middle.commit(about(middle, Resolve, target, status="completed", result="it is seven furlongs"))
        (item,) = (await made.find(A3, wire.Search(id="s", query="furlongs", badge="task:completed"))).items
        assert item.task is not None
        assert (item.content, item.task.result) == ("please measure it", "it is seven furlongs")
        middle.commit(about(middle, Badge, target, badge_type="own", value="v"))
        assert await find(made, badge="own:v", query="furlongs measure") == ["please measure it"]


async def test_a_question_is_no_longer_open_once_the_person_replied(tmp_path: Path) -> None:
    middle = Middle("a1", "a2")
    asked = Message(
        seq=middle.next_seq, id=middle.state.message_id(middle.next_seq), ts=NOW_MS, by="a1", content="which one?",
        source="agent", mentions=(USER,), to=(USER,),
    )  # fmt: skip
    async with running(middle, tmp_path) as made:
        middle.commit(asked)
        assert await find(made, badge="question:true") == ["which one?"]
        reply = Reply(
            seq=middle.next_seq, id=middle.state.message_id(middle.next_seq), ts=NOW_MS, by=USER, content="the red one",
            source="user", root=asked.id, to=("a1",),
        )  # fmt: skip
        middle.commit(reply)
        assert await find(made, badge="question:true") == []
        assert await find(made, badge="question:answered", sender="a1") == ["which one?"]
        assert await find(made, sender="user") == ["the red one"]


async def test_the_index_goes_on_at_the_next_start_and_is_made_anew_when_it_is_missing(tmp_path: Path) -> None:
    middle = Middle("a1", "a2")
    middle.commit(*middle.messages(["one word", "two words"]))
    async with running(middle, tmp_path):
        pass
    middle.commit(*middle.messages(["three words"]))
    before = (tmp_path / NAME).stat().st_ino
    async with running(middle, tmp_path) as made:
        assert await find(made, query="words") == ["three words", "two words"]
    assert (tmp_path / NAME).stat().st_ino == before
    (tmp_path / NAME).unlink()
    async with running(middle, tmp_path) as made:
        assert await find(made, query="words") == ["three words", "two words"]


async def test_an_index_of_another_log_is_made_anew(tmp_path: Path) -> None:
    first = Middle("a1", "a2")
    first.commit(*first.messages(["the first log", "more of it"]))
    async with running(first, tmp_path):
        pass
    other = Middle("a1", "a2", "a3")
    other.commit(*other.messages(["the other log"]))
    async with running(other, tmp_path) as made:
        assert await find(made, query="log") == ["the other log"]
    shorter = Middle("a1")
    async with running(shorter, tmp_path) as made:
        assert await find(made) == []
    changed = Middle("a1")
    changed.commit(Epoch(seq=changed.next_seq, id="r9", ts=NOW_MS, by="system", epoch="e2"))
    async with running(changed, tmp_path) as made:
        assert made.trouble is None


async def test_damage_that_is_met_while_it_runs_costs_the_index_and_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    middle = Middle("a1", "a2")
    damaged = sqlite3.DatabaseError("database disk image is malformed")
    damaged.sqlite_errorcode = 11
    real = textindex.TextIndex.write
    failures = [damaged]

    def write(index: textindex.TextIndex, *arguments: object) -> None:
        if failures and index.about.seq >= 2:
            raise failures.pop()
        real(index, *arguments)  # type: ignore[arg-type]

    async with running(middle, tmp_path) as made:
        monkeypatch.setattr(textindex.TextIndex, "write", write)
        middle.commit(*middle.messages(["a word"]))
        await caught_up(made)
        assert failures == []
        assert await find(made, query="word") == ["a word"]


async def test_damage_that_only_a_search_meets_has_the_index_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    middle = Middle("a1", "a2")
    middle.commit(*middle.messages(["a word"]))
    damaged = sqlite3.DatabaseError("database disk image is malformed")
    damaged.sqlite_errorcode = 11 | 2 << 8  # SQLITE_CORRUPT_SEQUENCE
    real, failures = textindex.TextIndex.find, [damaged]

    def find_once(index: textindex.TextIndex, *arguments: object, **limits: object) -> list[int]:
        if failures:
            raise failures.pop()
        return real(index, *arguments, **limits)  # type: ignore[arg-type]

    async with running(middle, tmp_path) as made:
        before = (tmp_path / NAME).stat().st_ino
        (tmp_path / "keeps the number in use").hardlink_to(tmp_path / NAME)
        monkeypatch.setattr(textindex.TextIndex, "find", find_once)
        with pytest.raises(Refused, match="cannot be read"):
            await find(made, query="word")
        with trio.fail_after(10):
            while not (tmp_path / NAME).exists() or (tmp_path / NAME).stat().st_ino == before:  # noqa: ASYNC110
                await trio.sleep(0.01)
        await caught_up(made)
        assert await find(made, query="word") == ["a word"]


async def test_while_the_disk_is_full_a_search_says_what_it_lacks_and_recovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BACKOFF_S", (0.05, 0.1))
    middle = Middle("a1", "a2")
    real = textindex.TextIndex.write
    full = True

    def write(index: textindex.TextIndex, *arguments: object) -> None:
        if full:
            raise sqlite3.OperationalError("database or disk is full")
        real(index, *arguments)  # type: ignore[arg-type]

    async with running(middle, tmp_path) as made:
        middle.commit(*middle.messages(["a word"]))
        await caught_up(made)
        monkeypatch.setattr(textindex.TextIndex, "write", write)
        middle.commit(*middle.messages(["another word"]))
        with trio.fail_after(5):
            while made.trouble is None:  # noqa: ASYNC110
                await trio.sleep(0.01)
        assert made.behind == 1
        full = False
        await caught_up(made)
        assert await find(made, query="word") == ["another word", "a word"]
        assert made.trouble is None


async def test_a_search_before_the_index_is_open_says_so(tmp_path: Path) -> None:
    middle = Middle("a1")
    made = searching(middle, tmp_path)
    with pytest.raises(Refused, match="being opened") as refused:
        await find(made)
    assert refused.value.code is Code.UNAVAILABLE
    assert refused.value.retry_after_ms


async def test_records_that_cannot_be_read_do_not_hold_up_the_rest(tmp_path: Path) -> None:
    middle = Middle("a1", "a2")
    middle.commit(*middle.messages(["lost word", "kept word", "last word"]))
    middle.log.lost |= {middle.state.head, middle.state.head - 2}
    async with running(restarted(middle), tmp_path) as made:
        assert await find(made, query="word") == ["kept word"]


def restarted(middle: Middle) -> Middle:
    """The same log after a restart: nothing of it is in memory."""
    from crosschat.journal.feed import Feed

    middle.feed = Feed(middle.log)
    middle.router.feed = middle.feed
    return middle
