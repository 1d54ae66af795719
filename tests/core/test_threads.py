"""The columns of the threads answer as plain lists would, whoever replies where."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crosschat.core.threads import Threads
from crosschat.limits import LOOP_GUARD_MESSAGES

REPLIES = st.lists(
    st.tuples(st.integers(1, 5), st.sampled_from(["a", "b", "user", ""]), st.sets(st.sampled_from("abc"), max_size=2)),
    max_size=120,
)


@given(REPLIES)
def test_they_answer_as_lists_would(replies: list[tuple[int, str, set[str]]]) -> None:
    """An empty author stands for a change of a task in the thread."""
    threads = Threads()
    plain: dict[int, list[int]] = {root: [] for root in range(1, 6)}
    circles: dict[int, set[str]] = {root: set() for root in plain}
    runs = dict.fromkeys(plain, 0)
    others = [*plain]
    for seq, (root, author, mentions) in enumerate(replies, 6):
        if not author:
            threads.end_run(root)
            runs[root] = 0
            others.append(seq)
            continue
        threads.add(root, seq, author, tuple(mentions), by_person=author == "user")
        plain[root].append(seq)
        circles[root] |= {author, *mentions}
        runs[root] = 0 if author == "user" else runs[root] + 1
        assert threads.place(seq) == len(plain[root])
    assert not any(map(threads.place, others))
    for root, seqs in plain.items():
        assert threads.seqs(root) == seqs
        assert [*threads.newest_first(root)] == seqs[::-1]
        assert threads.count(root) == len(seqs)
        assert threads.circle(root) == circles[root]
        assert threads.run(root) == (runs[root] if seqs else 0)
    assert threads.guarded == {root for root, run in runs.items() if run > LOOP_GUARD_MESSAGES and plain[root]}
    assert len(threads) == sum(map(len, plain.values()))


def test_what_has_no_replies_has_nothing() -> None:
    threads = Threads()
    threads.end_run(7)
    assert (threads.seqs(7), threads.count(7), threads.run(7), threads.circle(7)) == ([], 0, 0, frozenset())
    assert threads.place(7) == 0


def test_a_thread_is_guarded_as_long_as_agents_only_answer_each_other() -> None:
    threads = Threads()
    for seq in range(2, 2 + LOOP_GUARD_MESSAGES):
        threads.add(1, seq, "a", (), by_person=False)
    assert not threads.guarded
    threads.add(1, 500, "b", (), by_person=False)
    assert threads.guarded == {1}
    threads.end_run(1)
    assert not threads.guarded
