"""What the router promises writer and readers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from crosschat import wire
from crosschat.core.handle import BeginEpoch, Effects
from crosschat.errors import Code, Refused
from crosschat.model import THE_SYSTEM
from tests.hub.rig import Middle

if TYPE_CHECKING:
    from crosschat.hub.router import Fresh


class Listener:
    def __init__(self) -> None:
        self.frames: list[bytes | None] = []
        self.last: list[bytes] = []

    def offer(self, fresh: Fresh) -> None:
        self.frames.append(fresh.frame(fresh.first, "a2"))

    def note(self, frame: bytes) -> None:
        self.last.append(frame)


async def test_a_frame_is_built_once_for_readers_who_get_the_same() -> None:
    middle = Middle("a1", "a2", "a3")
    fresh: list[Fresh] = []

    class Keeper(Listener):
        def offer(self, fresh_: Fresh) -> None:
            fresh.append(fresh_)

    middle.router.attach("any", Keeper())
    middle.commit(*middle.messages(["hello"]))
    (one,) = fresh
    assert one.frame(one.first, "a2") is one.frame(one.first, "a3")
    assert one.frame(one.first, "a1") is None  # its author
    assert one.frame(one.first - 1, "a2") != one.frame(one.first, "a2")


async def test_publishing_nothing_wakes_nobody() -> None:
    middle = Middle("a1", "a2")
    listener = Listener()
    middle.router.attach("a2", listener)
    middle.router.publish([])
    assert listener.frames == []


async def test_a_reader_that_leaves_while_others_are_served_breaks_nothing() -> None:
    middle = Middle("a1", "a2")
    second = Listener()

    class Leaver(Listener):
        def offer(self, fresh: Fresh) -> None:
            middle.router.detach("leaver", self)
            middle.router.detach("second", second)

    middle.router.attach("leaver", Leaver())
    middle.router.attach("second", second)
    middle.commit(*middle.messages(["one"]))
    middle.commit(*middle.messages(["two"]))
    assert len(second.frames) <= 1


async def test_who_was_replaced_cannot_detach_who_came_after() -> None:
    middle = Middle("a1", "a2")
    older, newer = Listener(), Listener()
    assert middle.router.attach("a2", older) is None
    assert middle.router.attach("a2", newer) is older
    assert not middle.router.detach("a2", older)
    middle.router.farewell(b"bye")
    assert (older.last, newer.last) == ([], [b"bye"])
    assert middle.router.detach("a2", newer)


@pytest.mark.parametrize("end", ["writer", "hub"])
async def test_an_operation_for_a_writer_that_has_ended_is_refused_as_unavailable(end: str) -> None:
    middle = Middle("a1")
    await (middle.submitted if end == "writer" else middle.operations).aclose()
    settled: list[Effects | Refused] = []
    await middle.router.submit(THE_SYSTEM, BeginEpoch("e2"), settled.append)
    assert [one.code for one in settled if isinstance(one, Refused)] == [Code.UNAVAILABLE]
    with pytest.raises(Refused):
        await middle.router.ask(THE_SYSTEM, BeginEpoch("e2"))


async def test_activity_wakes_who_waits_for_it_and_counts_who_is_there(nursery: trio.Nursery) -> None:
    router = Middle("a1").router
    woken = trio.Event()

    async def wait() -> None:
        await router.next_activity()
        woken.set()

    nursery.start_soon(wait)
    await trio.testing.wait_all_tasks_blocked()
    assert not router.busy
    router.enter()
    assert router.busy
    with trio.fail_after(5):
        await woken.wait()
    router.leave()
    assert not router.busy


def test_a_record_that_is_not_for_readers_has_no_piece() -> None:
    async def look() -> None:
        middle = Middle("a1")
        assert middle.router.piece(middle.unseen("a1")) is None
        (message,) = middle.messages(["hello"])
        middle.commit(message)
        piece = middle.router.piece(message)
        assert piece is not None
        assert wire.decode_hub(wire.encode_batch(1, 9, [piece.json]))

    trio.run(look)
