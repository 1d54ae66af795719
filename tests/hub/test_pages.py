"""Pages that fit a reply, and texts that are continued to their very end."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from crosschat import wire
from crosschat.errors import Code, Refused
from crosschat.hub.pages import read_page
from crosschat.limits import PAGE_CHARS
from crosschat.model import THE_CLI, Actor, Claim, Cursor, Flag, Resolve
from tests.hub.rig import NOW_MS, Middle

A2 = Actor("a2")
TEXTS = st.text(st.sampled_from('aß€😀"\\\n\x01 '), max_size=12).map(lambda text: text * 2000)


async def test_the_newest_page_is_cut_at_its_beginning_and_says_that_there_is_more() -> None:
    middle = Middle("a1", "a2")
    middle.commit(*middle.messages([f"{number} " + "x" * 9_000 for number in range(10)]))
    page = await read_page(middle.router, A2, wire.Read(id="r", limit=10))
    assert [item.content.split()[0] for item in page.items] == ["6", "7", "8", "9"]
    assert (page.earlier, page.later) == (True, False)
    assert len(wire.encode(page)) < PAGE_CHARS + 1000


async def test_a_page_after_an_anchor_is_cut_at_its_end() -> None:
    middle = Middle("a1", "a2")
    middle.commit(*middle.messages([f"{number} " + "x" * 9_000 for number in range(10)]))
    first = middle.state.message_id(middle.state.channel[0])
    page = await read_page(middle.router, A2, wire.Read(id="r", limit=10, after=first))
    assert [item.content.split()[0] for item in page.items] == ["1", "2", "3", "4"]
    assert (page.earlier, page.later) == (True, True)


async def test_paging_backwards_and_forwards_meets_every_message_once() -> None:
    middle = Middle("a1", "a2")
    middle.commit(*middle.messages([f"{number} " + "x" * (number * 700) for number in range(40)]))
    backwards: list[str] = []
    read = wire.Read(id="r", limit=7)
    while True:
        page = await read_page(middle.router, A2, read)
        backwards = [item.content.split()[0] for item in page.items] + backwards
        if not page.earlier:
            break
        read = wire.Read(id="r", limit=7, before=page.items[0].message)
    assert backwards == [str(number) for number in range(40)]
    forwards = ["0"]
    anchor = middle.state.message_id(middle.state.channel[0])
    while True:
        page = await read_page(middle.router, A2, wire.Read(id="r", limit=7, after=anchor))
        forwards += [item.content.split()[0] for item in page.items]
        if not page.later:
            break
        anchor = page.items[-1].message
    assert forwards == backwards


@settings(max_examples=60, deadline=None)
@given(text=TEXTS)
def test_a_text_that_does_not_fit_is_continued_by_offset_to_the_very_end(text: str) -> None:
    async def read() -> None:
        middle = Middle("a1", "a2")
        middle.commit(*middle.messages([text or "x"]))
        message = middle.state.message_id(middle.state.channel[0])
        whole, offset, rounds = "", 0, 0
        while True:
            page = await read_page(middle.router, A2, wire.Read(id="r", message=message, offset=offset))
            (item,) = page.items
            assert item.offset == offset
            assert len(wire.encode(page).decode()) < PAGE_CHARS + 1000
            whole += item.content
            if item.more is None:
                break
            assert item.more == len(whole) > offset
            offset, rounds = item.more, rounds + 1
        assert whole == (text or "x")
        assert rounds <= len(text) // 1000

    trio.run(read)


async def test_an_offset_behind_the_end_is_an_empty_end_and_a_negative_one_is_refused() -> None:
    middle = Middle("a1", "a2")
    middle.commit(*middle.messages(["hello"]))
    message = middle.state.message_id(middle.state.channel[0])
    page = await read_page(middle.router, A2, wire.Read(id="r", message=message, offset=99))
    assert [(item.content, item.more) for item in page.items] == [("", None)]
    with pytest.raises(Refused) as refused:
        await read_page(middle.router, A2, wire.Read(id="r", message=message, offset=-1))
    assert refused.value.code is Code.INVALID


async def test_a_record_that_was_lost_to_damage_leaves_the_rest_of_the_page() -> None:
    middle = Middle("a1", "a2")
    middle.commit(*middle.messages(["one", "two", "three"]))
    middle.log.lost = {5}
    middle.router.feed = type(middle.feed)(middle.log)
    page = await read_page(middle.router, A2, wire.Read(id="r"))
    assert [item.content for item in page.items] == ["one", "three"]


async def test_only_the_author_and_the_person_see_who_received_it() -> None:
    middle = Middle("a1", "a2", "a3")
    middle.commit(*middle.messages(["for a2"], to=("a2",)))
    read = wire.Read(id="r", message=middle.state.message_id(middle.state.channel[0]))
    (own,) = (await read_page(middle.router, Actor("a1"), read)).items
    assert [(view.name, view.state, view.away) for view in own.recipients or ()] == [("a2", "stored", True)]
    (theirs,) = (await read_page(middle.router, A2, read)).items
    assert theirs.recipients is None
    (person,) = (await read_page(middle.router, THE_CLI, read)).items
    assert person.recipients == own.recipients
    with pytest.raises(Refused) as refused:
        await read_page(middle.router, Actor("a3"), read)
    assert refused.value.code is Code.NOT_FOUND


async def test_the_largest_task_is_read_to_its_end_text_result_and_error() -> None:
    middle = Middle("a1", "a2")
    middle.commit(*middle.messages(["t" * 30_000]))
    message = middle.state.message_id(middle.state.channel[0])
    seq = middle.next_seq
    common = {"ts": NOW_MS, "by": "a1", "target": message, "to": ("a2",)}
    middle.commit(
        Flag(seq=seq, id="r1", **common),  # type: ignore[arg-type]
        Claim(seq=seq + 1, id="r2", agent="a2", claim_epoch=1, **common),  # type: ignore[arg-type]
        Resolve(seq=seq + 2, id="r3", status="failed", result="r" * 32_000, error="e" * 20_000, **common),  # type: ignore[arg-type]
    )
    texts = ["", "", ""]
    offset: int | None = 0
    while offset is not None:
        page = await read_page(middle.router, A2, wire.Read(id="r", message=message, offset=offset))
        (item,) = page.items
        assert len(wire.encode(page).decode()) < PAGE_CHARS + 1000
        assert item.task is not None
        for number, text in enumerate((item.content, item.task.result, item.task.error)):
            texts[number] += text or ""
        assert item.more is None or item.more > offset
        offset = item.more
    assert [(text[:1], len(text)) for text in texts] == [("t", 30_000), ("r", 32_000), ("e", 20_000)]


async def test_a_long_result_in_a_list_says_to_read_its_message_from_the_beginning() -> None:
    middle = Middle("a1", "a2")
    middle.commit(*middle.messages(["task"]))
    message = middle.state.message_id(middle.state.channel[0])
    seq = middle.next_seq
    common = {"ts": NOW_MS, "by": "a1", "target": message, "to": ("a2",)}
    middle.commit(
        Flag(seq=seq, id="r1", **common),  # type: ignore[arg-type]
        Resolve(seq=seq + 1, id="r2", status="failed", result="r" * 32_000, error="e" * 20_000, **common),  # type: ignore[arg-type]
    )
    cursor = Cursor(seq=seq + 2, id="r4", ts=NOW_MS, by="system", agent="a2", upto=seq)
    middle.commit(cursor)
    page = await read_page(middle.router, A2, wire.Read(id="r", unread=True))
    (item,) = page.items
    assert item.kind == "resolve"
    assert item.more == 0
    assert 0 < len(item.content) < PAGE_CHARS
