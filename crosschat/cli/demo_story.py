"""The story of the demo, a step at a time: who does what, and what has to be true after it.

Everything is checked through the tools, as a session sees it; the command line's own door is used only to learn the
hub's pid and figures. What an acknowledgement promises is checked in `demo_crash`.
"""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Final, cast

import trio

from crosschat import processes, wire
from crosschat.bridge.launch import HubUnavailable, ensure_hub
from crosschat.cli.control import Control, page_of
from crosschat.cli.demo_crash import Crash
from crosschat.cli.demo_report import DemoFailed, Report, percentile
from crosschat.cli.demo_session import Member, messages_of, open_member, resident_mb

if TYPE_CHECKING:
    from pathlib import Path

    from crosschat.model import JsonObject
    from crosschat.paths import Home

WAKE_UPS: Final = 30
IDLE_STOP_S: Final = 60.0  # should the demo be killed and leave its hub alone
MEETING_DEADLINE_S: Final = 10.0
MEETING_POLL_S: Final = 0.02
GONE_DEADLINE_S: Final = 10.0
NOTES: Final = "Three sessions walk into a hub.\nOne asks, one answers,\nand one reads the log.\n"


def expect(truth: object, otherwise: str) -> None:
    if not truth:
        raise DemoFailed(otherwise)


class Story:
    """Two sessions on one data directory. `play` raises what a step could not show; the report has it then."""

    def __init__(self, report: Report, home: Home, directory: Path) -> None:
        self._report = report
        self._home = home
        self._directory = directory
        self._acks_s: list[float] = []

    async def play(self) -> None:
        report = self._report
        with report.step("The hub starts"):
            await self._start_hub()
        async with AsyncExitStack() as sessions:
            with report.step("Two sessions start"):
                ada = await sessions.enter_async_context(open_member("ada", self._home, self._directory / "ada"))
                report.said("ada", f"is process {ada.process.pid} and lists its ten tools", ada.ready_s)
                ben = await sessions.enter_async_context(open_member("ben", self._home, self._directory / "ben"))
                report.said("ben", f"is process {ben.process.pid} and lists its ten tools", ben.ready_s)
                report.figure("bridge_start_ms", "session start to answered tools/list", ben.ready_s * 1000)
            with report.step("They discover each other"):
                await self._meet(ada, ben)
            with report.step("A message and its thread"):
                hello = await self._talk(ada, ben)
            with report.step("A message becomes a task, and the task gets done"):
                task, result = await self._delegate(ada, ben)
            with report.step(f"A waiting session is woken, {WAKE_UPS} times"):
                await self._wake_up(ada, ben)
            crash = Crash(report, self._home, ada, ben)
            with report.step("The hub is killed while both sessions are sending"):
                await crash.happen()
            with report.step("Everything that was acknowledged is there, once and in order"):
                await crash.check_history()
            with report.step("Both sessions carried on, and history and task are as before"):
                await crash.check_members()
                await self._check_the_past(ben, hello, task, result)
            await self._measure_memory(ada, ben)
        with report.step("The sessions end"):
            await self._check_ended(ada, ben)

    async def _start_hub(self) -> None:
        began = time.perf_counter()
        try:
            await trio.to_thread.run_sync(partial(ensure_hub, self._home, idle_stop_s=IDLE_STOP_S))
        except HubUnavailable as error:
            raise DemoFailed(str(error)) from None
        took_s = time.perf_counter() - began
        status = await trio.to_thread.run_sync(self._inspect)
        self._report.dashboard = status.dashboard
        self._report.figure("hub_start_ms", "hub start to accepting", took_s * 1000)
        self._report.said("hub", f"is process {status.pid}, version {status.version}", took_s)
        self._report.said("hub", f"page while the demo runs: {page_of(status)}")

    def _inspect(self) -> wire.HubStatus:
        with Control.open(self._home) as control:
            return control.status()

    async def _meet(self, *members: Member) -> None:
        """Each lists the others as connected; the second may still be on its way to the hub."""
        for member in members:
            others = {other.name for other in members} - {member.name}
            give_up_at = trio.current_time() + MEETING_DEADLINE_S
            while True:
                seen = await _connected(member)
                if others <= seen:
                    break
                expect(trio.current_time() < give_up_at, f"{member.name} does not see {', '.join(sorted(others))}")
                await trio.sleep(MEETING_POLL_S)
            self._report.said(member.name, f"sees {', '.join(sorted(seen))}")

    async def _send(self, member: Member, content: str, **arguments: object) -> str:
        """Send, tell it, and return the id of the message."""
        began = time.perf_counter()
        reply = await member.call("send_message", content=content, **arguments)
        took_s = time.perf_counter() - began
        self._acks_s.append(took_s)
        self._report.said(member.name, f"“{content}”" + (" (in the thread)" if "threadId" in arguments else ""), took_s)
        return str(reply["messageId"])

    async def _talk(self, ada: Member, ben: Member) -> str:
        hello = await self._send(ada, "Good morning! I am on the parser, who is here?")
        got = await ben.wait_for(lambda message: message["messageId"] == hello, "the greeting")
        expect(got["fromName"] == "ada", f"the greeting came from {got['fromName']!r}, not from ada")
        answer = await self._send(ben, "Here, with time to spare.", threadId=hello)
        got = await ada.wait_for(lambda message: message["messageId"] == answer, "the answer")
        expect(got.get("threadId") == hello, "the answer is not in the thread of the greeting")
        thread = messages_of(await ada.call("get_messages", threadId=hello))
        ids = [message["messageId"] for message in thread]
        expect(ids == [hello, answer], f"the thread holds {len(ids)} messages, not the greeting and its answer")
        self._report.said("ada", "reads the thread: both messages, in order")
        return hello

    async def _delegate(self, ada: Member, ben: Member) -> tuple[str, str]:
        notes = self._directory / "notes.txt"
        notes.write_text(NOTES)
        task = await self._send(ada, f"@ben please count the words in {notes}")
        await ada.call("flag_as_task", messageId=task)
        self._report.said("ada", "flags it as a task and waits")
        woken_s: list[float] = []
        finished: list[JsonObject] = []

        async def wait_for_result() -> None:
            finished.append(await ada.wait_for(partial(_is_event, task, "task_completed"), "the result"))
            woken_s.append(time.perf_counter())

        # The author waits as long as the other works, and is done when it has read the result.
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_for_result)
            await ben.wait_for(partial(_is_event, task, "task_flagged"), "the task")
            claimed = await ben.call("claim_task", messageId=task)
            status = cast("JsonObject", claimed.get("task", {})).get("status")
            expect(status == "claimed", f"after claim_task the task is {status!r}")
            self._report.said("ben", "claims it")
            await self._send(ben, "Reading the file.", threadId=task)
            result = f"{len(notes.read_text().split())} words"
            began = time.perf_counter()
            await ben.call("resolve_task", messageId=task, status="completed", result=result)
            self._report.said("ben", f"resolves it: “{result}”", time.perf_counter() - began)
        self._report.said("ada", "is woken out of wait_for_messages", woken_s[0] - began)
        expect(finished[0]["content"] == result, f"the result reads {finished[0]['content']!r}, not {result!r}")
        self._report.said("ada", f"reads the result: “{finished[0]['content']}”")
        return task, result

    async def _wake_up(self, ada: Member, ben: Member) -> None:
        """From the call of send_message to the result of the other's wait_for_messages, tool to tool."""
        took_s = [await self._wake_up_once(ada, ben, f"@ada wake up, {number}") for number in range(WAKE_UPS)]
        for key, label, values in (
            ("wake_up", "wake-up, send_message to wait_for_messages", took_s),
            ("send_ack", "send_message acknowledged", self._acks_s),
        ):
            for percent in (50, 99):
                remark = f"of {len(values)}"
                value_ms = percentile(values, percent) * 1000
                self._report.figure(f"{key}_p{percent}_ms", f"{label}, p{percent}", value_ms, remark=remark)
        self._report.remark(
            f"tool to tool: p50 {percentile(took_s, 50) * 1000:.1f} ms, p99 {percentile(took_s, 99) * 1000:.1f} ms"
        )

    async def _wake_up_once(self, ada: Member, ben: Member, content: str) -> float:
        woken_at: list[float] = []
        sits = trio.Event()

        async def wait() -> None:
            await ada.wait_for(lambda message: message.get("content") == content, "the call", sits=sits)
            woken_at.append(time.perf_counter())

        # The one that sends is done before the one that waits.
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await sits.wait()
            began = time.perf_counter()
            await ben.call("send_message", content=content)
            self._acks_s.append(time.perf_counter() - began)
        return woken_at[0] - began

    async def _check_the_past(self, member: Member, hello: str, task: str, result: str) -> None:
        (found,) = messages_of(await member.call("get_messages", messageId=task))
        known = cast("JsonObject", found.get("task", {}))
        seen = (known.get("status"), known.get("result"))
        expect(seen == ("completed", result), f"the task is {seen[0]!r} with the result {seen[1]!r}")
        thread = messages_of(await member.call("get_messages", threadId=hello))
        expect(len(thread) == 2, f"the first thread holds {len(thread)} messages, not 2")
        self._report.said(member.name, f"reads the first thread, and the task: {seen[0]}, “{seen[1]}”")

    async def _measure_memory(self, *members: Member) -> None:
        status = await trio.to_thread.run_sync(self._inspect)
        if status.rss_bytes is not None:
            self._report.figure("hub_rss_mb", "hub, resident memory", status.rss_bytes / 1e6, "MB")
        for member in members:
            self._report.figure(
                f"bridge_rss_{member.name}_mb",
                f"session {member.name}, resident memory",
                resident_mb(member.process),
                "MB",
            )

    async def _check_ended(self, *members: Member) -> None:
        with trio.move_on_after(GONE_DEADLINE_S):
            for member in members:
                await processes.wait_gone(member.process)
            self._report.remark("both processes are gone")
            return
        raise DemoFailed("a session's process is still there after its client left")


async def _connected(member: Member) -> set[str]:
    peers = cast("list[JsonObject]", (await member.call("list_peers")).get("peers", []))
    return {str(peer["name"]) for peer in peers if peer.get("status") != "away"}


def _is_event(task: str, event: str, message: JsonObject) -> bool:
    return message["messageId"] == task and message.get("event") == event
