"""A real bridge, `crosschat serve`, driven as an MCP client drives it: calls of the tools, one JSON object a line.

It writes one message after the other, repeats a call whose outcome is unknown, and waits for messages all the time.
What it reads is compared in the end with what the log has for it: all of it, once, in order.
"""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from tests.prove.history import TEXTS, Asked, History, meant_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.prove.zygote import Zygote


class Bridge:
    """`run` it in a nursery; `end` kills it."""

    def __init__(self, name: str, home: Path, zygote: Zygote, history: History) -> None:
        self.name = name
        self.writing = True
        self.texts: list[str] = []
        self._history = history
        self._zygote = zygote
        self._sent = 0
        self._busy = False
        self._answers: dict[int, dict[str, object]] = {}
        self._news = trio.Event()
        self._calls = 0
        self._turn = trio.Lock()
        stdin, self._to = os.pipe()
        self._from, stdout = os.pipe()
        environment = {"CROSSCHAT_NAME": name, "CROSSCHAT_HOME": str(home), "CROSSCHAT_WAKE": "off", "HOME": "/tmp"}
        with open(home.parent / "stderr", "ab") as errors:
            what: dict[str, object] = {"role": "bridge", "environment": environment}
            self.pid = zygote.start(what, [stdin, stdout, errors.fileno()])
        os.close(stdin)
        os.close(stdout)

    @property
    def idle(self) -> bool:
        return not self._busy

    def saw(self, text: str) -> bool:
        return text in self.texts

    def tell(self) -> None:
        """Have it write where its tasks stand."""
        os.kill(self.pid, signal.SIGUSR1)

    def end(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self._zygote.wait(self.pid)

    async def run(self) -> None:
        async with (
            trio.lowlevel.FdStream(self._to) as self._out,
            trio.lowlevel.FdStream(self._from) as into,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(self._receive, into)
            hello: dict[str, object] = {
                "protocolVersion": "2025-06-18",
                "capabilities": {},
                "clientInfo": {"name": "prove", "version": "1"},
            }
            await self._request("initialize", hello)
            await self._send({"method": "notifications/initialized"})
            nursery.start_soon(self._write)
            await self._wait()

    async def _receive(self, stream: trio.lowlevel.FdStream) -> None:
        buffer = b""
        while part := await stream.receive_some(1 << 16):
            *lines, buffer = (buffer + part).split(b"\n")
            for line in lines:
                said = json.loads(line)
                if "id" in said and "method" not in said:
                    self._answers[said["id"]] = said
                    self._news.set()
                    self._news = trio.Event()

    async def _send(self, message: dict[str, object]) -> None:
        async with self._turn:
            await self._out.send_all(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    async def _request(self, method: str, params: dict[str, object]) -> dict[str, object]:
        self._calls += 1
        number = self._calls
        await self._send({"id": number, "method": method, "params": params})
        while number not in self._answers:
            await self._news.wait()
        return self._answers.pop(number)

    async def _call(self, tool: str, arguments: dict[str, object]) -> tuple[bool, dict[str, object]]:
        """Whether it was done, and what it said."""
        answer = await self._request("tools/call", {"name": tool, "arguments": arguments})
        result = answer["result"]
        assert isinstance(result, dict)
        text = result["content"][0]["text"]
        try:
            said = json.loads(text)
        except ValueError:
            said = {"text": text}
        return not result.get("isError"), said if isinstance(said, dict) else {"text": text}

    async def _write(self) -> None:
        while True:
            if not self.writing:
                await trio.sleep(0.05)
                continue
            self._busy = True
            self._sent += 1
            text = f"{self.name}-{self._sent} from a bridge"
            cid = f"{self.name}:{self._sent}"
            self._history.ask(cid, Asked(self.name, "message", text))
            while not (done := await self._call("send_message", {"content": text}))[0]:
                self._history.counts["calls that a bridge repeated"] += 1
            one = self._history.asked[cid]
            one.message = str(done[1].get("messageId"))
            self._history.counts["acks"] += 1
            self._history.counts["acked message"] += 1
            self._busy = False
            await trio.sleep(0.02)

    async def _wait(self) -> None:
        while True:
            done, said = await self._call("wait_for_messages", {"timeoutMs": 3000})
            messages = said.get("messages", [])
            if not done or not isinstance(messages, list):
                self._history.counts["waits that failed"] += 1
                continue
            for message in messages:
                self._history.counts["deliveries"] += 1
                if "event" not in message:
                    self.texts.append(message.get("content", ""))

    def verify(self, log: list[dict[str, object]]) -> None:
        """Everything that the log has for it, once and in order; what it was told was stored is there."""
        joined = next((record for record in log if record["kind"] == "agent" and record["name"] == self.name), None)
        if joined is None:
            self._history.report(f"lost: the log does not know {self.name}")
            return
        agent, first = str(joined["agent"]), int(str(joined["seq"]))
        wanted = [
            str(record["content"])
            for record in log
            if record["kind"] in TEXTS and int(str(record["seq"])) > first and meant_for(record, agent)
        ]
        got = self.texts
        missing = [text for text in wanted[: _upto(wanted, "the end")] if text not in set(got)]
        if missing:
            self._history.report(f"lost: {self.name} never got {missing[0][:60]!r} and {len(missing) - 1} others")
        repeated = [text for text, count in Counter(got).items() if count > 1]
        if repeated:
            self._history.report(
                f"duplicated: {self.name} got {repeated[0][:60]!r} again, and {len(repeated) - 1} others"
            )
        known = set(wanted)
        order = [text for text in got if text in known]
        if not repeated and order != [text for text in wanted if text in set(order)]:
            self._history.report(f"reordered: {self.name}")
        ids = {str(record["id"]) for record in log}
        for cid, one in self._history.asked.items():
            if cid.startswith(f"{self.name}:") and one.message and one.message not in ids:
                self._history.report(f"lost: {self.name} was told that {one.message} is stored")


def _upto(texts: list[str], end: str) -> int:
    return texts.index(end) + 1 if end in texts else len(texts)
