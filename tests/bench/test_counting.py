"""What is counted and how: marks in pieces of a stream, holes a reader sees, ranks, and the sync before the copy."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, cast

from bench.figures import percentile, percentiles_ms
from bench.rig import Counted
from bench.soak import Reader
from bench.versus import floor

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from bench.rig import Client, Origin


def test_a_mark_that_comes_in_two_pieces_is_counted_once() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        counted = Counted(ours, b"mark")
        found = []
        for piece in (b"mark ma", b"rk m", b"ark", b" ark"):
            theirs.sendall(piece)
            found.append(counted.take())
    assert found == [1, 1, 1, 0]


def test_a_percentile_is_the_value_of_its_rank() -> None:
    assert [percentile(range(100, 0, -1), part) for part in (0, 0.5, 0.99, 1)] == [1, 51, 100, 100]
    assert percentiles_ms("x", [0.001, 0.002, 0.009]) == {"x p50 ms": 2.0, "x p99 ms": 9.0}


class Batches:
    """A client to which these came."""

    def __init__(self, *ranges: tuple[int, int]) -> None:
        self._ranges = ranges

    def fill(self) -> None:
        """They are there."""

    def take(self) -> list[bytes]:
        return [b'{"type":"batch","from_seq":%d,"to_seq":%d}' % one for one in self._ranges]


def holes(*ranges: tuple[int, int]) -> int:
    reader = Reader(cast("Origin", None), "light")
    reader.client = cast("Client", Batches(*ranges))
    reader.take(0.0)
    return reader.holes


def test_a_reader_of_the_soak_sees_what_is_missing_and_what_comes_twice() -> None:
    assert [holes((1, 2), (3, 3)), holes((1, 2), (4, 4)), holes((1, 2), (2, 3))] == [0, 1, 1]


def test_the_synced_floor_syncs_before_a_reader_gets_anything(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    came: list[tuple[bytes, bytes]] = []
    with socket.socket() as listener:
        loop = floor._Loop(listener, log)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            theirs.setblocking(False)

            def note(descriptor: int) -> None:
                assert descriptor == log
                came.append((path.read_bytes(), _received(theirs)))

            monkeypatch.setattr(floor, "sync", note)
            loop._unsent[ours] = bytearray()
            loop._pass_on(b"bytes")
            assert came == [(b"bytes", b"")]
            assert _received(theirs) == b"bytes"
    os.close(log)


def _received(sock: socket.socket) -> bytes:
    try:
        return sock.recv(100)
    except BlockingIOError:
        return b""
