"""The stream over time: what the person does on it, restarts, several pages, and the activity log."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
import trio

from crosschat import pagewire, wire
from crosschat.errors import Code
from tests.live.rig import HubProcess, Program, eventually, inspect, join, short_directory
from tests.live.screen import Browser, Screen, paired

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def hub() -> Iterator[HubProcess]:
    with short_directory() as place, HubProcess(place / "home", "--stay").started() as running:
        yield running


@pytest.fixture
async def browser(hub: HubProcess) -> Browser:
    return await paired(hub.home)


def cid() -> str:
    return os.urandom(8).hex()


async def change(screen: Screen, kind: type, **fields: object) -> wire.Done:
    """A change to the log, by the person."""
    return await screen.ask(kind(id=screen.next_id(), cid=cid(), **fields), wire.Done)


async def test_over_a_restart_nothing_is_missed_or_repeated_and_the_pairing_holds(hub: HubProcess) -> None:
    browser = await paired(hub.home)
    async with browser.stream() as screen:
        await screen.post("one")
        await screen.until(lambda: screen.texts() == ["one"])
        epoch, told = screen.opened.epoch, screen.told
        assert await trio.to_thread.run_sync(hub.stop) == 0
        with trio.fail_after(10):
            await screen.ended.wait()
        assert isinstance(screen.frames[-1], wire.Bye)
        assert screen.closed is not None
        assert screen.closed[0] == 1001
    with HubProcess(hub.home.root, "--stay") as again:
        again.started()
        await eventually(again.home.dashboard_lock.exists, 30)
        with Program(again.home.agents_socket) as program:
            async with trio.open_nursery() as nursery:
                ada = await join(nursery, program.connect())
                for text in ("two", "three"):
                    await ada.post(text)
                async with browser.stream(epoch=epoch, after_seq=told) as screen:
                    assert screen.opened.after_seq == told
                    await screen.until(lambda: screen.texts() == ["two", "three"])
                async with browser.stream() as screen:
                    assert screen.opened.after_seq == screen.opened.head
                async with browser.stream(epoch="another", after_seq=1) as screen:
                    assert screen.opened.after_seq == screen.opened.head
                async with browser.stream(epoch=epoch, after_seq=10**9) as screen:
                    assert screen.opened.after_seq == screen.opened.head
                nursery.cancel_scope.cancel()


async def test_a_killed_hub_ends_the_stream(hub: HubProcess, browser: Browser) -> None:
    async with browser.stream() as screen:
        hub.process.kill()
        with trio.fail_after(10):
            await screen.ended.wait()


async def test_the_person_works_on_a_task(hub: HubProcess, browser: Browser) -> None:
    with Program(hub.home.agents_socket) as one, Program(hub.home.agents_socket) as two:
        async with trio.open_nursery() as nursery, browser.stream() as screen:
            ada, bob = await join(nursery, one.connect()), await join(nursery, two.connect())
            task = (await screen.post("do this")).message
            done = await change(screen, wire.FlagTask, message=task)
            assert done.task is not None
            assert done.task.status == "open"
            await change(screen, wire.AddBadge, message=task, badge_type="project", value="app")
            done = await change(screen, pagewire.ReassignTask, message=task, agent=bob.welcome.name)
            assert done.task is not None
            assert (done.task.status, done.task.claimant_id) == ("claimed", bob.welcome.agent)
            await bob.until(lambda: any(item.kind == "claim" for item in bob.items))
            await bob.ask(wire.SetStatus(id="s", cid="s", status="busy", task=task), wire.Done)
            await change(screen, pagewire.ReassignTask, message=task, agent=ada.welcome.agent)
            await bob.until(lambda: any(item.content == "reassigned" for item in bob.items))
            await change(screen, wire.ReleaseTask, message=task)
            await change(screen, pagewire.ReassignTask, message=task, agent=ada.welcome.agent)
            await ada.ask(
                wire.ResolveTask(id="x", cid="x", message=task, status="failed", result="", error="no"), wire.Done
            )
            await change(screen, wire.ReleaseTask, message=task, reopen=True)
            page = await screen.ask(wire.Read(id="r", message=task), wire.Page)
            assert page.items[0].task is not None
            assert page.items[0].task.status == "open"
            assert page.items[0].recipients is not None
            assert {one.name for one in page.items[0].recipients} == {ada.welcome.name, bob.welcome.name}
            nursery.cancel_scope.cancel()


async def test_a_clear_is_shown_in_every_page_and_can_be_taken_back(hub: HubProcess, browser: Browser) -> None:
    async with browser.stream() as one, browser.stream() as two:
        await one.post("old")
        await change(one, wire.ClearChannel)
        cleared = await two.next(wire.Cleared)
        assert cleared.upto > 0
        assert (await two.ask(wire.Read(id="r"), wire.Page)).items == ()
        await change(two, pagewire.Restore)
        await one.next(wire.Cleared, lambda frame: frame.upto == 0)
        assert [item.content for item in (await one.ask(wire.Read(id="r2"), wire.Page)).items] == ["old"]
        refused = await one.ask(pagewire.Restore(id="again", cid=cid()), wire.Error)
        assert refused.code is Code.CONFLICT


async def test_what_happens_is_told_and_kept(hub: HubProcess) -> None:
    browser = await paired(hub.home)
    with Program(hub.home.agents_socket) as program:
        async with trio.open_nursery() as nursery, browser.stream() as screen:
            ada = await join(nursery, program.connect())
            joined = await screen.next(pagewire.Event, lambda frame: frame.event.kind == "joined")
            assert (joined.event.agent, joined.event.name) == (ada.welcome.agent, ada.welcome.name)
            await change(screen, wire.PauseAgent, agent=ada.welcome.name)
            await screen.next(pagewire.Event, lambda frame: frame.event.kind == "paused")
            await screen.next(pagewire.People, lambda people: any(agent.paused for agent in people.agents))
            await ada.close()
            await screen.next(pagewire.Event, lambda frame: frame.event.kind == "left")
            await screen.next(pagewire.People, lambda people: not any(agent.connected for agent in people.agents))
            nursery.cancel_scope.cancel()
    assert await trio.to_thread.run_sync(hub.stop) == 0
    with HubProcess(hub.home.root, "--stay") as again:
        again.started()
        await eventually(again.home.dashboard_lock.exists, 30)
        async with browser.stream() as screen:
            page = await screen.ask(pagewire.Events(id="e", limit=200), pagewire.EventPage)
            kinds = [event.kind for event in page.events]
            assert kinds == ["hub_started", "paired", "joined", "paused", "left", "hub_stopping", "hub_started"]
            assert [event.seq for event in page.events] == list(range(1, 8))
            last = await screen.ask(pagewire.Events(id="e2", before=3, limit=1), pagewire.EventPage)
            assert ([event.kind for event in last.events], last.earlier) == (["paired"], True)


async def test_a_closed_page_is_no_page_and_does_not_keep_an_idle_hub() -> None:
    with short_directory() as place, HubProcess(place / "home", "--idle-stop-s", "1").started() as hub:
        browser = await paired(hub.home)
        async with browser.stream() as screen:
            await screen.next(pagewire.Desk)
            assert (await inspect(hub.home)).pages == 1
            await trio.sleep(2)  # longer than an unused hub would stay
            await screen.post("still here")
        with trio.fail_after(30):
            assert await trio.to_thread.run_sync(hub.wait) == 0


async def test_many_requests_at_once_are_all_answered_in_the_order_of_the_log(browser: Browser) -> None:
    async with browser.stream() as screen:
        for number in range(100):
            await screen.send(wire.Send(id=f"s{number}", cid=f"c{number}", content=str(number)))
        await screen.until(lambda: len(screen.texts()) == 100)
        assert screen.texts() == [str(number) for number in range(100)]
        await screen.until(lambda: len(screen.all(wire.Sent)) == 100)


async def test_a_retried_request_is_carried_out_once(browser: Browser) -> None:
    async with browser.stream() as screen:
        first = await screen.ask(wire.Send(id="a", cid="same", content="x"), wire.Sent)
    async with browser.stream() as screen:
        again = await screen.ask(wire.Send(id="b", cid="same", content="x"), wire.Sent)
        assert (again.message, again.seq) == (first.message, first.seq)


async def test_no_line_of_the_activity_log_can_stop_a_hub_from_starting() -> None:
    with short_directory() as place:
        (place / "home" / "logs").mkdir(parents=True, mode=0o700)
        (place / "home").chmod(0o700)
        lines = [b"", b"nonsense", b"[]", b"{}", b"\xff\xfe", b"[" * 5000, b'{"seq":"x"}',
                 json.dumps({"seq": 5, "ts": "t", "kind": "nothing", "text": "x"}).encode(),
                 json.dumps({"seq": 7, "ts": "t", "kind": "left", "text": "kept"}).encode(),
                 json.dumps({"seq": 7, "ts": "t", "kind": "left", "text": "twice"}).encode()]  # fmt: skip
        (place / "home" / "logs" / "events.jsonl").write_bytes(b"\n".join(lines) + b"\n")
        with HubProcess(place / "home", "--stay").started() as hub:
            browser = await paired(hub.home)
            async with browser.stream() as screen:
                page = await screen.ask(pagewire.Events(id="e"), pagewire.EventPage)
                assert [event.text for event in page.events][:1] == ["kept"]
                assert page.events[1].seq == 8
