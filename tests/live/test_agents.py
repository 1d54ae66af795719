"""Agents on a real hub: joining, resuming, taking over, reading slowly, and what they are told."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import attrs
import pytest
import trio

from crosschat import wire
from crosschat.errors import Code
from tests.live.rig import HELLO, Control, HubProcess, Program, eventually, eventually_is, inspect, join, open_client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.live.rig import Client


@pytest.fixture
def programs(running_hub: HubProcess) -> Iterator[tuple[Program, Program, Program]]:
    path = running_hub.home.agents_socket
    with Program(path) as one, Program(path) as two, Program(path) as three:
        yield one, two, three


Programs = tuple[Program, Program, Program]


async def test_two_agents_exchange_messages_and_neither_hears_itself(programs: Programs, nursery: trio.Nursery) -> None:
    ada, bob = [await join(nursery, program.connect()) for program in programs[:2]]
    assert ada.welcome.agent != bob.welcome.agent
    sent = await ada.post("hello")
    await bob.until(lambda: bob.texts() == ["hello"])
    await bob.post("hello yourself", thread=sent.message)
    await ada.until(lambda: ada.texts() == ["hello yourself"])
    assert bob.texts() == ["hello"]
    nursery.cancel_scope.cancel()


async def test_an_agent_that_comes_back_resumes_behind_what_it_has(programs: Programs, nursery: trio.Nursery) -> None:
    ada, bob = [await join(nursery, program.connect()) for program in programs[:2]]
    for text in ("one", "two"):
        await ada.post(text)
    await bob.until(lambda: bob.texts() == ["one", "two"])
    await bob.close()
    await ada.post("three")
    hello = attrs.evolve(HELLO, epoch=bob.welcome.epoch, after_seq=bob.told)
    again = await join(nursery, programs[1].connect(), hello)
    assert (again.welcome.agent, again.welcome.name) == (bob.welcome.agent, bob.welcome.name)
    assert again.welcome.notices == ()
    await ada.post("four")
    await again.until(lambda: again.texts() == ["three", "four"])
    nursery.cancel_scope.cancel()


async def test_without_a_cursor_of_its_own_an_agent_gets_what_it_was_not_shown(
    programs: Programs, nursery: trio.Nursery
) -> None:
    ada, bob = [await join(nursery, program.connect()) for program in programs[:2]]
    seqs = [(await ada.post(text)).seq for text in ("one", "two", "three")]
    await bob.until(lambda: len(bob.items) == 3)
    await bob.send(wire.Mark(upto=seqs[0], seqs=(seqs[2],)))
    await bob.ask(wire.Peers(id="p"), wire.PeerList)
    await bob.close()
    again = await join(nursery, programs[1].connect())
    await again.until(lambda: again.texts() == ["two"])
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("epoch", "after"), [("0123456789ab", 3), (None, 10**9), (None, -1)])
async def test_a_cursor_of_another_epoch_or_of_no_record_is_answered_with_a_notice_and_what_is_unread(
    programs: Programs, nursery: trio.Nursery, epoch: str | None, after: int
) -> None:
    ada, bob = [await join(nursery, program.connect()) for program in programs[:2]]
    await ada.post("one")
    await bob.until(lambda: bob.texts() == ["one"])
    await bob.close()
    hello = attrs.evolve(HELLO, epoch=epoch or bob.welcome.epoch, after_seq=after)
    again = await join(nursery, programs[1].connect(), hello)
    assert any("restored" in notice for notice in again.welcome.notices)
    await again.until(lambda: again.texts() == ["one"])
    nursery.cancel_scope.cancel()


async def test_a_mark_counts_in_a_read_that_follows_it_at_once(programs: Programs, nursery: trio.Nursery) -> None:
    ada, bob = [await join(nursery, program.connect()) for program in programs[:2]]
    for number in range(20):
        sent = await ada.post(f"number {number}")
        await bob.send(wire.Mark(upto=sent.seq))
        page = await bob.ask(wire.Read(id=f"r{number}", unread=True), wire.Page)
        assert page.items == ()
    nursery.cancel_scope.cancel()


async def test_a_log_that_was_replaced_and_grew_again_is_known_by_what_the_agent_has_seen(
    programs: Programs, nursery: trio.Nursery
) -> None:
    ada, bob = [await join(nursery, program.connect()) for program in programs[:2]]
    await ada.post("one")
    await bob.until(lambda: bob.texts() == ["one"])
    await bob.close()
    seen = bob.items[0]
    hello = attrs.evolve(HELLO, epoch=bob.welcome.epoch, after_seq=bob.told, seen_seq=seen.seq, seen_ts=seen.ts)
    again = await join(nursery, programs[1].connect(), hello)
    assert again.welcome.epoch == bob.welcome.epoch
    await again.close()
    other = await join(nursery, programs[1].connect(), attrs.evolve(hello, seen_ts="2001-02-03T04:05:06.789Z"))
    assert other.welcome.epoch != bob.welcome.epoch
    assert any("restored" in notice for notice in other.welcome.notices)
    await other.until(lambda: other.texts() == ["one"])
    nursery.cancel_scope.cancel()


async def test_a_hello_with_a_detail_that_is_too_long_is_refused(programs: Programs, nursery: trio.Nursery) -> None:
    client = await open_client(nursery, programs[0].connect())
    nursery.start_soon(client.read)
    await client.send(attrs.evolve(HELLO, detail="x" * 201))
    await eventually(lambda: bool(client.said))
    (error,) = client.said
    assert isinstance(error, wire.Error)
    assert (error.code, error.path) == (Code.INVALID, "detail")
    nursery.cancel_scope.cancel()


async def test_a_newer_connection_of_the_same_process_takes_over_and_the_older_one_is_told(
    programs: Programs, nursery: trio.Nursery
) -> None:
    ada = await join(nursery, programs[0].connect())
    older = await join(nursery, programs[1].connect())
    newer = await join(nursery, programs[1].connect())
    assert newer.welcome.agent == older.welcome.agent
    with trio.fail_after(5):
        await older.ended.wait()
    assert [frame.code for frame in older.said if isinstance(frame, wire.Error)] == [Code.SUPERSEDED]
    await ada.post("for the newer one")
    await newer.until(lambda: newer.texts() == ["for the newer one"])
    peers = await ada.ask(wire.Peers(id="p"), wire.PeerList)
    assert [(peer.id, peer.connected) for peer in peers.peers] == [(newer.welcome.agent, True)]
    nursery.cancel_scope.cancel()


async def test_whatever_order_takeovers_come_in_exactly_one_connection_stays(
    programs: Programs, running_hub: HubProcess, nursery: trio.Nursery
) -> None:
    clients = [await open_client(nursery, programs[0].connect()) for _ in range(12)]
    for client in clients:
        nursery.start_soon(client.read)
        nursery.start_soon(client.send, HELLO)
    await eventually(lambda: sum(client.ended.is_set() for client in clients) == 11)
    (left,) = [client for client in clients if not client.ended.is_set()]
    await left.until(lambda: left.welcome.agent != "")
    status = await inspect(running_hub.home)
    assert [agent.connected for agent in status.agents] == [True]
    nursery.cancel_scope.cancel()


async def test_an_agent_whose_process_ends_is_put_out_although_its_socket_is_still_open(
    running_hub: HubProcess, nursery: trio.Nursery
) -> None:
    with Program(running_hub.home.agents_socket) as program:
        client = await join(nursery, program.connect())  # the test holds the socket
        program.kill()
        with trio.fail_after(5):
            await client.ended.wait()
    status = await inspect(running_hub.home)
    assert [agent.connected for agent in status.agents] == [False]
    nursery.cancel_scope.cancel()


@pytest.mark.slow
async def test_fifty_subscribers_get_everything_in_one_order(running_hub: HubProcess) -> None:
    path = running_hub.home.agents_socket
    with ExitStack() as stack:
        programs = [stack.enter_context(Program(path)) for _ in range(54)]
        async with trio.open_nursery() as nursery:
            clients = [await join(nursery, program.connect()) for program in programs]
            writers, readers = clients[:4], clients[4:]
            async with trio.open_nursery() as writing:
                for writer in writers:
                    writing.start_soon(_post_many, writer, 25)
            for reader in readers:
                await reader.until(lambda reader=reader: len(reader.items) == 100, 30)  # type: ignore[misc]
            nursery.cancel_scope.cancel()
    orders = {tuple(reader.texts()) for reader in readers}
    assert len(orders) == 1
    (order,) = orders
    for number, writer in enumerate(writers):
        own = [text for text in order if text.startswith(f"{writer.welcome.agent}:")]
        assert own == [f"{writer.welcome.agent}:{row}" for row in range(25)], number


async def _post_many(writer: Client, count: int) -> None:
    for row in range(count):
        await writer.post(f"{writer.welcome.agent}:{row}")


async def test_a_reader_that_does_not_read_delays_nobody_and_catches_up_completely(
    place: Path, nursery: trio.Nursery
) -> None:
    quotas = '{"messages_per_s": 1e6, "messages_burst": 1000000}'
    with HubProcess(place / "home", "--stay", "--quotas", quotas) as hub:
        path = hub.started().home.agents_socket
        with Program(path) as one, Program(path) as two, Program(path) as three:
            ada, bob = await join(nursery, one.connect()), await join(nursery, two.connect())
            slow = await open_client(nursery, three.connect())
            await slow.send(HELLO)
            slow.take(wire.decode_hub(await slow.socket.get_message()))
            count = 150
            for number in range(count):  # more than socket, library and hub together keep for one that does not read
                await ada.post(f"{number}:" + "x" * 30_000)
            await bob.until(lambda: len(bob.items) == count, 30)
            assert slow.items == []
            nursery.start_soon(slow.read)
            await slow.until(lambda: len(slow.items) == count, 30)
            assert slow.texts() == bob.texts()
            nursery.cancel_scope.cancel()


async def test_the_author_sees_how_far_a_message_got_with_each_recipient(
    programs: Programs, nursery: trio.Nursery
) -> None:
    ada, bob, eve = [
        await join(nursery, program.connect(), attrs.evolve(HELLO, name=name))
        for program, name in zip(programs, ("ada", "bob", "eve"), strict=True)
    ]
    await eve.close()
    sent = await ada.post("@bob @eve look")
    assert sent.away == ("eve",)
    await bob.until(lambda: len(bob.items) == 1)

    async def states() -> dict[str, str]:
        page = await ada.ask(wire.Read(id=ada.next_id(), message=sent.message), wire.Page)
        return {view.name: view.state for view in page.items[0].recipients or ()}

    assert await states() == {"bob": "offered", "eve": "stored"}
    await bob.send(wire.Mark(upto=sent.seq))
    await bob.ask(wire.Peers(id="p"), wire.PeerList)
    await eventually_is(states, {"bob": "shown", "eve": "stored"})
    await bob.post("seen", thread=sent.message)
    assert await states() == {"bob": "answered", "eve": "stored"}
    page = await bob.ask(wire.Read(id="r", message=sent.message), wire.Page)
    assert page.items[0].recipients is None
    nursery.cancel_scope.cancel()


async def test_a_status_is_seen_by_the_others_and_gone_with_the_agent(
    programs: Programs, nursery: trio.Nursery
) -> None:
    ada, bob = [await join(nursery, program.connect()) for program in programs[:2]]
    await bob.ask(wire.SetStatus(id="s", cid="s", status="busy", detail="thinking"), wire.Done)

    async def seen() -> tuple[str, str | None]:
        (peer,) = (await ada.ask(wire.Peers(id=ada.next_id()), wire.PeerList)).peers
        return peer.status, peer.detail

    assert await seen() == ("busy", "thinking")
    await bob.close()
    await eventually_is(seen, ("away", "thinking"))
    nursery.cancel_scope.cancel()


async def test_too_many_messages_are_refused_with_the_time_to_wait_also_after_reconnecting(
    place: Path, nursery: trio.Nursery
) -> None:
    with HubProcess(place / "home", "--stay", "--quotas", '{"messages_per_s": 0.2, "messages_burst": 3}') as hub:
        hub.started()
        with Program(hub.home.agents_socket) as program:
            client = await join(nursery, program.connect())
            for number in range(3):
                await client.post(f"{number}")
            for _ in range(2):
                frame = wire.Send(id="over", cid="over", content="one too many")
                refused = await client.ask(frame, wire.Error)
                assert refused.code is Code.RATE_LIMITED
                assert refused.retry_after_ms is not None
                assert 0 < refused.retry_after_ms <= 5000
                client = await join(nursery, program.connect())
            nursery.cancel_scope.cancel()


async def test_no_more_agents_join_than_are_allowed_however_many_try_at_once(
    place: Path, nursery: trio.Nursery
) -> None:
    with HubProcess(place / "home", "--stay", "--quotas", '{"agents": 3}') as hub, ExitStack() as stack:
        path = hub.started().home.agents_socket
        programs = [stack.enter_context(Program(path)) for _ in range(8)]
        clients = [await open_client(nursery, program.connect()) for program in programs]
        for client in clients:
            nursery.start_soon(client.read)
        for client in clients:
            await client.send(HELLO)
        for client in clients:
            await eventually(lambda client=client: bool(client.said or client.welcome.agent))  # type: ignore[misc]
        refused = [client for client in clients if not client.welcome.agent]
        assert len(refused) == 5
        for client in refused:
            (error,) = client.said
            assert isinstance(error, wire.Error)
            assert error.code is Code.HUB_FULL
            assert error.retry_after_ms
        joined = [row for row, client in enumerate(clients) if client.welcome.agent]
        await join(nursery, programs[joined[0]].connect())  # taking over needs no place
        nursery.cancel_scope.cancel()


async def test_more_reads_than_may_wait_are_refused_and_all_are_answered(
    programs: Programs, nursery: trio.Nursery
) -> None:
    ada = await join(nursery, programs[0].connect())
    for number in range(20):
        await ada.post("x" * 1000 + str(number))
    for number in range(500):
        await ada.send(wire.Read(id=f"r{number}"))
    answers = [await ada.answer(f"r{number}", 20) for number in range(500)]
    refused = [frame for frame in answers if isinstance(frame, wire.Error)]
    assert all(frame.code is Code.RATE_LIMITED and frame.retry_after_ms for frame in refused)
    assert len(refused) < 500
    nursery.cancel_scope.cancel()


async def test_a_message_of_the_terminal_reaches_agents_and_a_tail_shows_everything(
    programs: Programs, running_hub: HubProcess, nursery: trio.Nursery
) -> None:
    ada = await join(nursery, programs[0].connect())
    async with Control(running_hub.home.control_socket) as tail, Control(running_hub.home.control_socket) as control:
        await tail.write(wire.encode_control(wire.Tail(id="t", after_seq=0)) + b"\n")
        await control.ask(wire.Send(id="s", cid="c", content="from the terminal"), wire.Sent)
        await ada.until(lambda: ada.texts() == ["from the terminal"])
        assert ada.items[0].source == "cli"
        seen: list[str] = []
        upto = 0
        while not seen:
            batch = await tail.frame()
            assert isinstance(batch, wire.Batch)
            assert batch.from_seq == upto + 1
            upto = batch.to_seq
            seen += [item.content for item in batch.items]
        assert seen == ["from the terminal"]
    nursery.cancel_scope.cancel()


async def test_a_tail_whose_client_is_gone_is_nothing_worth_an_error(running_hub: HubProcess) -> None:
    home = running_hub.home
    for _ in range(5):
        async with Control(home.control_socket) as tail, Control(home.control_socket) as control:
            await tail.write(wire.encode_control(wire.Tail(id="t", after_seq=0)) + b"\n")
            for number in range(3):
                await control.ask(wire.Send(id="s", cid=f"c{number}", content="x" * 20_000), wire.Sent)
            # closed with bytes that were not read: the hub's end is reset
    await inspect(home)
    assert [entry for entry in running_hub.log() if entry["level"] == "error"] == []


async def test_a_large_burst_reaches_subscribers_whole_without_ending_their_connections(
    place: Path, nursery: trio.Nursery
) -> None:
    quotas = '{"messages_per_s": 1e6, "messages_burst": 1000000}'
    with HubProcess(place / "home", "--stay", "--quotas", quotas) as hub:
        path = hub.started().home.agents_socket
        with Program(path) as one, Program(path) as two:
            ada, bob = await join(nursery, one.connect()), await join(nursery, two.connect())
            for number in range(64):  # not waiting for answers: they are committed some thirty at a time
                await ada.send(wire.Send(id=f"s{number}", cid=f"s{number}", content=f"{number}:" + "y" * 32_000))
            await bob.until(lambda: len(bob.items) == 64, 20)
            assert [text.split(":")[0] for text in bob.texts()] == [str(number) for number in range(64)]
            nursery.cancel_scope.cancel()


async def test_words_are_found_by_agents_and_by_the_terminal_each_what_it_may_read(
    running_hub: HubProcess, programs: Programs, nursery: trio.Nursery
) -> None:
    ada, bob, cy = [await join(nursery, program.connect()) for program in programs]
    await ada.post(f"@{bob.welcome.name} the needle is yours")
    await ada.post("a needle for all")
    for client, expected in ((ada, 2), (bob, 2), (cy, 1)):
        page = await client.ask(wire.Search(id=client.next_id(), query="needle"), wire.Page)
        assert len(page.items) == expected
        assert (page.earlier, page.behind, page.confirm) == (False, 0, None)
    refused = await cy.ask(wire.Search(id="r", query="!!"), wire.Error)
    assert refused.code is Code.INVALID
    async with Control(running_hub.home.control_socket) as control:
        page = await control.ask(wire.Search(id="s", query="needle", sender=ada.welcome.name), wire.Page)
        assert [item.content[:8] for item in page.items] == ["a needle", f"@{bob.welcome.name}"[:8]]
    nursery.cancel_scope.cancel()
