"""The memory of requests agrees with a dict that forgets its oldest, whatever is asked in whatever order."""

from __future__ import annotations

from collections import OrderedDict

from hypothesis import given
from hypothesis import strategies as st

from crosschat.core.remembered import Remembered, content_of

ASKED = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 60), st.integers(0, 3)), max_size=300)


@given(asked=ASKED, most=st.integers(1, 40))
def test_it_is_a_dict_that_forgets_its_oldest(asked: list[tuple[str, int, int]], most: int) -> None:
    memory = Remembered(most)
    plain: OrderedDict[tuple[str, str], tuple[int, int]] = OrderedDict()
    for seq, (by, cid, content) in enumerate(asked, 1):
        memory.add(by, str(cid), f"send:{content}", seq)
        plain[by, str(cid)] = (content_of(f"send:{content}"), seq)
        if len(plain) > most:
            plain.popitem(last=False)
        assert len(memory) == len(plain)
    for by in "abc":
        for cid in range(61):
            assert memory.find(by, str(cid)) == plain.get((by, str(cid)))


def test_many_are_found_and_a_copy_is_equal() -> None:
    memory = Remembered()
    for seq in range(1, 50_000):
        memory.add("a1", f"c{seq}", "send:1", seq)
    copy = Remembered()
    for to, column in zip(copy.columns, memory.columns, strict=True):
        to[:] = column
    assert list(copy.rows()) == list(memory.rows())
    assert all(copy.find("a1", f"c{seq}") == (content_of("send:1"), seq) for seq in range(1, 50_000, 7))
    assert copy.find("a2", "c1") is None


def test_asker_and_cid_are_both_told_apart() -> None:
    memory = Remembered()
    memory.add("a1", "x", "send:1", 7)
    assert memory.find("a1", "y") is None
    assert memory.find("a1x", "") is None
    assert memory.find("a1", "x") == (content_of("send:1"), 7)
    assert content_of("send:1") != content_of("flag:1")
