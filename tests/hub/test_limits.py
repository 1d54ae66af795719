"""Quotas: how much one may send, and what it is told when that was too much."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crosschat.hub.quota import Bucket


def test_a_bucket_gives_its_burst_at_once_and_then_says_how_long_to_wait() -> None:
    bucket = Bucket(20, 3, 100.0)
    assert [bucket.take(100.0) for _ in range(5)] == [0, 0, 0, 50, 50]
    assert bucket.take(100.05) == 0
    assert bucket.take(100.05) in (50, 51)


def test_a_bucket_never_holds_more_than_its_burst() -> None:
    bucket = Bucket(20, 3, 0.0)
    assert [bucket.take(1e6) for _ in range(4)].count(0) == 3


@given(st.lists(st.floats(0, 2), max_size=60))
def test_whoever_waits_as_long_as_it_was_told_gets_one(pauses: list[float]) -> None:
    bucket, now = Bucket(7, 2, 0.0), 0.0
    for pause in pauses:
        now += pause
        if wait_ms := bucket.take(now):
            now += wait_ms / 1000
            assert bucket.take(now) == 0


@given(st.lists(st.floats(0, 0.5), min_size=1, max_size=200))
def test_no_pattern_of_asking_gets_more_than_rate_and_burst_allow(pauses: list[float]) -> None:
    bucket, now, taken = Bucket(5, 4, 0.0), 0.0, 0
    for pause in pauses:
        now += pause
        taken += bucket.take(now) == 0
    assert taken <= 4 + 5 * now + 1e-6
