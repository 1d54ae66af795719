from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import mcp_types as types
import pytest
import trio
from mcp.shared.message import SessionMessage
from trio.testing import memory_stream_one_way_pair

from crosschat.bridge.stdio import LINE_BYTES, private_wire, serve_streams

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

PING = b'{"jsonrpc":"2.0","id":%d,"method":"ping","params":{"text":"\xc3\xa9"}}\n'


async def echo(
    from_client: MemoryObjectReceiveStream[SessionMessage | Exception],
    to_client: MemoryObjectSendStream[SessionMessage],
) -> None:
    """A server that answers every request with its own parameters."""
    async with from_client, to_client:
        async for received in from_client:
            assert isinstance(received, SessionMessage)
            request = received.message
            if isinstance(request, types.JSONRPCRequest):
                result = dict(request.params or {})
                answer = types.JSONRPCResponse(jsonrpc="2.0", id=request.id, result=result)
                await to_client.send(SessionMessage(answer))


class Served:
    """The transport between two memory streams."""

    def __init__(self) -> None:
        self.to_server, self._stdin = memory_stream_one_way_pair()
        self._stdout, self.from_server = memory_stream_one_way_pair()
        self.cancelled: list[str | int] = []
        self._kept = b""

    async def run(self) -> None:
        await serve_streams(self._stdin, self._stdout, echo, on_cancelled=self.cancelled.append)
        await self._stdout.aclose()

    async def answers(self) -> AsyncIterator[dict[str, object]]:
        while part := await self.from_server.receive_some():
            self._kept += part
            while b"\n" in self._kept:
                line, _, self._kept = self._kept.partition(b"\n")
                yield json.loads(line)
        assert not self._kept


@pytest.fixture
def served(nursery: trio.Nursery) -> Served:
    served = Served()
    nursery.start_soon(served.run)
    return served


async def all_answers(served: Served) -> list[dict[str, object]]:
    with trio.fail_after(5):
        return [answer async for answer in served.answers()]


async def test_what_was_answered_before_the_end_of_input_is_written(served: Served) -> None:
    await served.to_server.send_all(b"".join(PING % number for number in range(20)))
    await served.to_server.aclose()
    answers = await all_answers(served)
    assert [answer["id"] for answer in answers] == list(range(20))
    assert answers[0]["result"] == {"text": "é"}


async def test_lines_may_arrive_in_pieces_that_split_characters(served: Served) -> None:
    for byte in PING % 1 + (PING % 2).replace(b"\n", b"\r\n") + b"\n  \n":
        await served.to_server.send_all(bytes([byte]))
    await served.to_server.aclose()
    assert [answer["id"] for answer in await all_answers(served)] == [1, 2]


GARBAGE = [
    (b"not json\n", types.PARSE_ERROR),
    (b"\xff\xfe\n", types.PARSE_ERROR),
    (b'{"jsonrpc":"2.0","id":1,"method":"ping"\n', types.PARSE_ERROR),
    (b"[" * 100_000 + b"\n", types.PARSE_ERROR),
    (b"5\n", types.INVALID_REQUEST),
    (b"[]\n", types.INVALID_REQUEST),
    (b'{"jsonrpc":"1.0","id":1,"method":"ping"}\n', types.INVALID_REQUEST),
    (b"x" * (LINE_BYTES + 1) + b"\n", types.PARSE_ERROR),
    (b"x" * (3 * LINE_BYTES) + b"\n", types.PARSE_ERROR),
]


@pytest.mark.parametrize(("line", "code"), GARBAGE, ids=lambda value: str(value)[:20])
async def test_a_bad_line_is_answered_with_an_error_and_costs_nothing_else(
    served: Served, nursery: trio.Nursery, line: bytes, code: int
) -> None:
    await served.to_server.send_all(PING % 1 + line + PING % 2)
    await served.to_server.aclose()
    answers = await all_answers(served)
    assert sorted(str(answer["id"]) for answer in answers) == ["1", "2", "None"]
    (error,) = (answer["error"] for answer in answers if "error" in answer)
    assert isinstance(error, dict)
    assert error["code"] == code


async def test_an_unfinished_last_line_is_no_message(served: Served) -> None:
    await served.to_server.send_all(PING % 1 + (PING % 2)[:-1])
    await served.to_server.aclose()
    assert [answer["id"] for answer in await all_answers(served)] == [1]


async def test_a_cancelled_request_is_heard_before_the_next_message(served: Served) -> None:
    cancel = b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%b}}\n'
    await served.to_server.send_all(cancel % b"7" + cancel % b'"seven"' + cancel % b"null" + PING % 1)
    await served.to_server.aclose()
    await all_answers(served)
    assert served.cancelled == [7, "seven"]


async def test_a_client_that_stops_reading_and_goes_ends_the_transport(nursery: trio.Nursery) -> None:
    served = Served()
    ended = trio.Event()

    async def run() -> None:
        await served.run()
        ended.set()

    await served.from_server.aclose()
    nursery.start_soon(run)
    await served.to_server.send_all(PING % 1)
    with trio.fail_after(5):
        await ended.wait()


async def test_a_cancel_ends_it_while_the_input_stays_open() -> None:
    served = Served()
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(served.run)
            await served.to_server.send_all(PING % 1)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()


def test_the_wire_is_private_and_given_back_as_it_was() -> None:
    """In a child, as it moves descriptors 0 and 1."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            to_child, of_parent = os.pipe()
            of_child, to_parent = os.pipe()
            os.dup2(to_child, 0)
            os.dup2(to_parent, 1)
            os.write(of_parent, b"in")
            os.set_blocking(1, False)
            with private_wire() as (wire_in, wire_out):
                os.set_blocking(wire_in, False)
                assert os.read(0, 10) == b""
                assert os.fstat(1).st_ino == os.fstat(2).st_ino
                assert os.read(wire_in, 10) == b"in"
                os.write(wire_out, b"out")
            assert os.read(of_child, 10) == b"out"
            assert os.get_blocking(0)
            assert not os.get_blocking(1)
            os.write(1, b"again")
            assert os.read(of_child, 10) == b"again"
            status = 0
        finally:
            os._exit(status)
    _, ended = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(ended) == 0
