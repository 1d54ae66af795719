"""What one peer does costs that peer only; what ends the hub passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import memory_stream_pair

from crosschat.hub.contain import contain
from tests.hub.rig import RecordingLog

if TYPE_CHECKING:
    from crosschat.hub.log import Logger


def logger(log: RecordingLog) -> Logger:
    return log  # type: ignore[return-value]  # as much of it as is used


async def test_an_exception_ends_the_connection_and_goes_to_the_log() -> None:
    log = RecordingLog()
    ours, theirs = memory_stream_pair()

    async def fail(_: object) -> None:
        raise KeyError("never foreseen")

    await contain(fail, logger(log), "agent")(ours)
    assert [event for event, _ in log.events] == ["contained"]
    assert await theirs.receive_some() == b""


async def test_a_group_of_exceptions_is_contained_and_each_is_logged() -> None:
    log = RecordingLog()

    async def fail(_: object) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_raise, ValueError("one"))
            nursery.start_soon(_raise, TypeError("two"))

    await contain(fail, logger(log), "agent")(None)
    assert {fields["error"] for _, fields in log.events} == {"ValueError('one')", "TypeError('two')"}


async def test_a_cancellation_passes_and_what_failed_beside_it_does_not() -> None:
    log = RecordingLog()

    async def fail_when_cancelled(_: object) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("while it was being cancelled")

    with trio.CancelScope() as scope:
        scope.cancel()
        await contain(fail_when_cancelled, logger(log), "agent")(None)
    assert scope.cancelled_caught
    assert [event for event, _ in log.events] == ["contained"]


async def test_a_keyboard_interrupt_is_nobody_s_to_contain() -> None:
    async def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, BaseExceptionGroup)):
        await contain(interrupt, logger(RecordingLog()), "agent")(None)


async def _raise(error: Exception) -> None:
    raise error
