"""The demo's crash: the hub is killed in the middle of an exchange, and what it had acknowledged is looked for.

Each session sends numbered messages, one after the other, the whole time. A number counts as acknowledged when
send_message returned its id; one that was answered with an error may or may not have been stored, which is no loss.
"""

from __future__ import annotations

import re
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING, Final, cast

import attrs
import trio

from crosschat import processes
from crosschat.cli.control import Control
from crosschat.cli.demo_report import DemoFailed, Report
from crosschat.cli.demo_session import Member, ToolRefused, messages_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from crosschat.model import JsonObject
    from crosschat.paths import Home

SENT_BEFORE: Final = 20  # acknowledged by each session before the kill
SENT_AFTER: Final = 15  # and begun after it
BOTH_DEADLINE_S: Final = 45.0
REFUSED_PAUSE_S: Final = 0.1
HISTORY_PAGE: Final = 200
HISTORY_PAGES_MAX: Final = 100


@attrs.define(eq=False)
class Sender:
    """One session's numbered messages: ids by number where acknowledged, other numbers that were tried."""

    member: Member
    acked: dict[int, str] = attrs.Factory(dict)
    unsure: set[int] = attrs.Factory(set)
    after_kill: int = 0
    recovered_s: float | None = None


class Crash:
    def __init__(self, report: Report, home: Home, *members: Member) -> None:
        self._report = report
        self._home = home
        self._senders = [Sender(member) for member in members]
        self._before: dict[str, JsonObject] = {}
        self._killed_at: float | None = None
        self._progress = trio.Event()

    async def happen(self) -> None:
        """Kill the hub while both send, and return when both got on. Raises DemoFailed if they do not."""
        for sender in self._senders:
            self._before[sender.member.name] = await sender.member.call("list_peers")
        with trio.move_on_after(BOTH_DEADLINE_S):
            async with trio.open_nursery() as nursery:
                for sender in self._senders:
                    nursery.start_soon(self._send_numbers, sender)
                await self._until(lambda sender: len(sender.acked) >= SENT_BEFORE)
                await self._kill()
            self._tell()
            return
        states = ", ".join(
            f"{sender.member.name} has {len(sender.acked)} acknowledged, {sender.after_kill} of them after the kill"
            for sender in self._senders
        )
        raise DemoFailed(f"the exchange does not go on within {BOTH_DEADLINE_S:g} s: {states}")

    async def _send_numbers(self, sender: Sender) -> None:
        """Send until enough got through that was begun after the hub was gone."""
        number = 0
        while sender.after_kill < SENT_AFTER:
            number += 1
            is_after = self._killed_at is not None
            try:
                reply = await sender.member.call("send_message", content=f"{sender.member.name} counts {number}")
            except ToolRefused:
                sender.unsure.add(number)
                await trio.sleep(REFUSED_PAUSE_S)
                continue
            sender.acked[number] = str(reply["messageId"])
            if is_after and self._killed_at is not None:
                sender.after_kill += 1
                if sender.recovered_s is None:
                    sender.recovered_s = time.perf_counter() - self._killed_at
            self._progress.set()
            self._progress = trio.Event()

    async def _until(self, reached: Callable[[Sender], bool]) -> None:
        while not all(map(reached, self._senders)):
            await self._progress.wait()

    async def _kill(self) -> None:
        with Control.open(self._home) as control:
            hub = processes.Grip(control.pid)
        with hub:
            killed_at = time.perf_counter()
            if not hub.send(signal.SIGKILL):
                raise DemoFailed("the hub was gone before it was killed")
            await hub.gone()
        self._killed_at = killed_at  # what is begun from here on can be acknowledged only by another hub
        counts = " and ".join(f"{len(sender.acked)} from {sender.member.name}" for sender in self._senders)
        self._report.remark(f"SIGKILL to process {hub.pid}, after {counts}")

    def _tell(self) -> None:
        for sender in self._senders:
            recovered_s = sender.recovered_s or 0.0
            self._report.said(
                sender.member.name, f"goes on: {len(sender.acked)} acknowledged, {sender.after_kill} after", recovered_s
            )
            self._report.figure(
                f"recovery_{sender.member.name}_ms",
                f"SIGKILL to the next acknowledged send of {sender.member.name}",
                recovered_s * 1000,
            )

    async def check_history(self) -> None:
        """Read everything, as each session; compare with what was acknowledged. Raises DemoFailed for a difference."""
        found: list[list[tuple[str, str]]] = []
        for reader in self._senders:
            history = await _history(reader.member)
            found.append([(str(message["messageId"]), str(message["content"])) for message in history])
            for sender in self._senders:
                _compare(sender, reader.member.name, history)
        if any(other != found[0] for other in found[1:]):
            raise DemoFailed("the two sessions do not read the same history")
        acked = sum(len(sender.acked) for sender in self._senders)
        unsure = sum(len(sender.unsure) for sender in self._senders)
        self._report.remark(f"{acked} of {acked} acknowledged messages, each once, in the order of their sender")
        if unsure:
            self._report.remark(f"{unsure} were answered with an error while the hub was away, so nothing was promised")
        self._report.figure("acked_messages", "messages acknowledged around the crash", acked, "")

    async def check_members(self) -> None:
        """The processes, names and ids are those from before, and each is connected for the other."""
        for sender in self._senders:
            member = sender.member
            if not member.runs:
                raise DemoFailed(f"the process of {member.name} did not survive")
            before, now = self._before[member.name], await member.call("list_peers")
            if now.get("you") != before.get("you"):
                raise DemoFailed(
                    f"{member.name} was {self._before[member.name].get('you')}, and is {now.get('you')} now"
                )
            away = [peer["name"] for peer in cast("list[JsonObject]", now["peers"]) if peer.get("status") == "away"]
            if away:
                raise DemoFailed(f"{member.name} does not see {', '.join(map(str, away))} any more")
            self._report.said(member.name, f"is still process {member.process.pid}, under its name")


def _compare(sender: Sender, reader: str, history: list[JsonObject]) -> None:
    name = sender.member.name
    pattern = re.compile(rf"{re.escape(name)} counts (\d+)")
    matches = [
        (int(match[1]), str(message["messageId"]))
        for message in history
        if message["fromName"] == name and (match := pattern.fullmatch(str(message["content"])))
    ]
    numbers = [number for number, _ in matches]
    lost = [number for number, identifier in sender.acked.items() if (number, identifier) not in matches]
    twice = [number for number, count in Counter(numbers).items() if count > 1]
    invented = set(numbers) - sender.acked.keys() - sender.unsure
    for problem, which in (("lost", lost), ("stored twice", twice), ("never sent", sorted(invented))):
        if which:
            raise DemoFailed(f"{reader} reads the history of {name}: {problem}: {', '.join(map(str, which))}")
    acked = [number for number in numbers if number in sender.acked]
    if acked != sorted(acked):
        raise DemoFailed(f"{reader} reads the messages of {name} out of order: {acked}")


async def _history(member: Member) -> list[JsonObject]:
    """The whole channel, oldest first. Raises DemoFailed if it does not end."""
    found: list[JsonObject] = []
    before: dict[str, object] = {}
    for _ in range(HISTORY_PAGES_MAX):
        page = await member.call("get_messages", limit=HISTORY_PAGE, markAsRead=False, **before)
        messages = messages_of(page)
        found = messages + found
        if not messages or not page.get("earlier"):
            return found
        before = {"before": messages[0]["messageId"]}
    raise DemoFailed(f"the history of {member.name} has no beginning")
