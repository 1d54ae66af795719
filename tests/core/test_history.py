"""Pages of history: which records they have, in both directions, and that a wrong anchor is an error."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosschat.errors import Code
from crosschat.limits import PAGE_ITEMS_MAX
from crosschat.model import THE_CLI, THE_USER, Actor
from crosschat.pagewire import Restore
from tests.core.world import World, refused


def channel(count: int) -> tuple[World, Actor, list[str]]:
    world = World()
    a = world.join("a")
    return world, a, [world.send(a, f"message {number}") for number in range(count)]


def test_the_newest_messages_come_oldest_first() -> None:
    world, a, messages = channel(5)
    selection = world.select(a, limit=3)
    assert world.page(a, limit=3) == messages[2:]
    assert (selection.earlier, selection.later, selection.from_start) == (True, False, False)
    assert world.page(a) == messages
    assert not world.select(a).earlier


def test_an_empty_channel_is_an_empty_page() -> None:
    world = World()
    a = world.join("a")
    selection = world.select(a)
    assert (selection.seqs, selection.earlier, selection.later) == ((), False, False)


def test_before_and_after_do_not_include_the_anchor() -> None:
    world, a, messages = channel(5)
    assert world.page(a, before=messages[2]) == messages[:2]
    assert world.page(a, after=messages[2]) == messages[3:]
    assert world.page(a, before=messages[4], limit=2) == messages[2:4]
    assert world.page(a, after=messages[0], limit=2) == messages[1:3]
    assert world.page(a, before=messages[0]) == []
    assert world.page(a, after=messages[4]) == []


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 20])
def test_paging_back_and_forth_meets_every_message_once(limit: int) -> None:
    world, a, messages = channel(13)
    back = world.page(a, limit=limit)
    while world.select(a, before=back[0], limit=limit).seqs:
        selection = world.select(a, before=back[0], limit=limit)
        assert selection.later
        back = world.page(a, before=back[0], limit=limit) + back
    assert back == messages
    assert not world.select(a, before=messages[limit] if limit < 13 else messages[12], limit=limit).earlier
    forth = messages[:1]
    while world.select(a, after=forth[-1], limit=limit).later:
        forth += world.page(a, after=forth[-1], limit=limit)
    forth += world.page(a, after=forth[-1], limit=limit)
    assert forth == messages


def test_an_anchor_that_is_unknown_or_not_readable_is_an_error_and_never_everything() -> None:
    world, a, _ = channel(3)
    b, c = world.join("b"), world.join("c")
    secret = world.send(a, "@b secret")
    for anchor in ("", "m99-0000", "../../etc", secret):
        with refused(Code.NOT_FOUND):
            world.select(c, before=anchor)
        with refused(Code.NOT_FOUND):
            world.select(c, after=anchor)
        with refused(Code.NOT_FOUND):
            world.select(c, thread=anchor)
        with refused(Code.NOT_FOUND):
            world.select(c, message=anchor)
        with refused(Code.NOT_FOUND):
            world.select(c, unread=True, after=anchor)
    assert world.select(b, before=secret).seqs


def test_values_out_of_range_are_errors() -> None:
    world, a, messages = channel(3)
    for limit in (0, -1, PAGE_ITEMS_MAX + 1, 10**30):
        with refused(Code.INVALID, "limit"):
            world.select(a, limit=limit)
    assert len(world.select(a, limit=PAGE_ITEMS_MAX).seqs) == 3
    with refused(Code.INVALID, "not both"):
        world.select(a, before=messages[2], after=messages[0])
    with refused(Code.INVALID, "offset"):
        world.select(a, message=messages[0], offset=-1)
    for badge in ("", ":", ":open"):
        with refused(Code.INVALID, "badge"):
            world.select(a, badge=badge)


def test_a_page_has_only_what_its_reader_may_read_and_is_full_nevertheless() -> None:
    world = World()
    a, b, c = world.join("a"), world.join("b"), world.join("c")
    public, secret = [], []
    for number in range(6):
        public.append(world.send(a, f"message {number}"))
        secret.append(world.send(a, f"@b secret {number}"))
    assert world.page(c, limit=4) == public[2:]
    assert world.page(b, limit=4) == [public[4], secret[4], public[5], secret[5]]
    assert len(world.page(THE_USER)) == len(world.page(THE_CLI)) == 12
    assert world.page(c, before=public[2]) == public[:2]


def test_replies_are_not_in_the_channel_and_their_thread_has_them_all() -> None:
    world = World()
    a, b = world.join("a"), world.join("b")
    root = world.send(a, "a plan")
    replies = [world.send(b, f"reply {number}", root) for number in range(4)]
    assert world.page(a) == [root]
    assert world.page(a, thread=root) == [root, *replies]
    assert world.page(a, thread=replies[2], limit=2) == replies[2:]
    assert world.page(a, thread=root, after=replies[0], limit=2) == replies[1:3]
    assert world.page(a, thread=root, before=replies[0]) == [root]
    assert world.page(a, thread=world.send(a, "alone"))[1:] == []


def test_a_single_message_is_found_wherever_it_is() -> None:
    world = World()
    a = world.join("a")
    root = world.send(a, "a plan")
    reply = world.send(a, "more", root)
    world.clear(THE_CLI)
    for message in (root, reply):
        assert world.select(a, message=message).seqs == (world.seq(message),)


def test_messages_with_a_badge_are_found_by_type_and_value() -> None:
    world = World()
    a, b = world.join("a"), world.join("b")
    plain, first, second = (world.send(a, f"message {number}") for number in range(3))
    secret = world.send(a, "@b secret", importance="important")
    world.badge(a, first, "git-commit", "0123abc")
    world.badge(a, first, "git-commit", "fedcba9")
    world.badge(a, second, "link", "https://host:1/x")
    for message in (plain, second):
        world.flag(a, message)
    world.claim(b, second)
    c = world.join("c")
    assert world.page(c, badge="task") == [plain, second]
    assert world.page(c, badge="task:open") == [plain]
    assert world.page(c, badge="task:claimed") == [second]
    assert world.page(c, badge="task:completed") == []
    assert world.page(c, badge="git-commit:0123abc") == [first]
    assert world.page(c, badge="git-commit:fedcba9") == [first]
    assert world.page(c, badge="link:https://host:1/x") == [second]
    assert world.page(c, badge="nothing") == []
    assert world.page(c, badge="importance:high") == []
    assert world.page(b, badge="importance:high") == [secret]
    assert world.page(c, badge="task", limit=1) == [second]
    assert world.page(c, badge="task", before=second) == [plain]
    assert world.page(c, badge="task", after=plain) == [second]
    world.clear(THE_CLI)
    assert world.page(c, badge="task:open") == [plain]  # tasks survive a clear


def test_unread_is_read_from_the_oldest_on() -> None:
    world = World()
    a, b = world.join("a"), world.join("b")
    messages = [world.send(a, f"message {number}") for number in range(5)]
    selection = world.select(b, unread=True, limit=2)
    assert [world.state.message_id(seq) for seq in selection.seqs] == messages[:2]
    assert (selection.earlier, selection.later, selection.from_start) == (False, True, True)
    assert world.select(a, unread=True).seqs == ()
    after = world.select(b, unread=True, after=messages[1])
    assert [world.state.message_id(seq) for seq in after.seqs] == messages[2:]
    before = world.select(b, unread=True, before=messages[3], limit=2)
    assert [world.state.message_id(seq) for seq in before.seqs] == messages[1:3]
    for person in (THE_USER, THE_CLI):
        assert world.select(person, unread=True).seqs == ()


def test_after_a_clear_the_channel_begins_behind_it_and_an_anchor_leads_back() -> None:
    world, a, messages = channel(4)
    direct = world.send(THE_CLI, "@a look")
    reply = world.send(a, "more", messages[1])
    world.clear(THE_CLI)
    assert world.page(a) == []
    assert not world.select(a).earlier
    late = [world.send(a, f"later {number}") for number in range(2)]
    assert world.page(a) == late
    assert not world.select(a).earlier
    assert world.page(a, before=late[1]) == late[:1]
    assert world.page(a, before=messages[3]) == messages[:3]
    assert world.page(a, after=messages[3]) == [direct, *late]
    assert world.page(a, thread=messages[1]) == [messages[1], reply]


def restore(world: World) -> None:
    world.do(THE_USER, Restore(id="1", cid=world.cid()))


def test_a_clear_can_be_taken_back_once_also_after_a_restart() -> None:
    world, a, messages = channel(3)
    world.clear(THE_CLI)
    late = world.send(a, "later")
    world.clear(THE_CLI)
    restore(world)
    assert world.page(a) == [late]
    world.state = world.replayed()
    restore(world)
    assert world.page(a) == [*messages, late]
    with refused(Code.CONFLICT, "No clear"):
        restore(world)


def test_a_clear_holds_after_a_restart() -> None:
    world, a, messages = channel(3)
    world.clear(THE_CLI)
    world.state = world.replayed()
    assert world.page(a) == []
    assert world.page(a, before=messages[2]) == messages[:2]


@settings(deadline=None)
@given(
    st.lists(st.booleans(), max_size=12),  # private?
    st.integers(1, 5),
    st.sampled_from(["none", "before", "after"]),
    st.integers(0, 11),
)
def test_a_page_is_the_part_of_the_readable_series_next_to_its_anchor(
    private: list[bool], limit: int, direction: str, where: int
) -> None:
    world = World()
    a, c = world.join("a"), world.join("c")
    world.join("b")
    messages = [world.send(a, "@b x" if hidden else "x") for hidden in private]
    readable = [message for message, hidden in zip(messages, private, strict=True) if not hidden]
    if direction == "none" or not readable:
        assert world.page(c, limit=limit) == readable[-limit:]
        assert world.select(c, limit=limit).earlier == (len(readable) > limit)
        return
    place = where % len(readable)
    if direction == "before":
        assert world.page(c, before=readable[place], limit=limit) == readable[:place][-limit:]
        assert world.select(c, before=readable[place], limit=limit).earlier == (place > limit)
    else:
        assert world.page(c, after=readable[place], limit=limit) == readable[place + 1 :][:limit]
        assert world.select(c, after=readable[place], limit=limit).later == (len(readable) - place - 1 > limit)


def test_conditions_add_up() -> None:
    world = World()
    a, b = world.join("a"), world.join("b")
    root = world.send(a, "root")
    other = world.send(a, "other")
    in_root = world.send(a, "@b in the thread", root)
    marked = world.send(a, "@b and marked", root)
    world.send(a, "@b elsewhere", other)
    world.badge(a, marked, "project", "app")
    world.badge(a, other, "project", "app")
    page = [world.seq(message) for message in (root, in_root, marked)]
    assert [seq for seq in world.select(b, thread=root, unread=True).seqs if seq in page] == page
    assert not {world.seq(other)} & set(world.select(b, thread=root, unread=True).seqs)
    assert world.select(b, thread=root, badge="project").seqs == (world.seq(marked),)
    assert world.select(b, badge="project:app").seqs == (world.seq(other), world.seq(marked))
