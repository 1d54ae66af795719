"""Real MCP sessions, `crosschat serve` each, behind a client of a few lines: what is timed is ours, not a library's.

The client writes JSON lines and reads them, one thread for all sessions. Every wait is bounded; a session that says
nothing, or something else than was asked for, ends the run with what it said.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, cast

import attrs

from .rig import end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from crosschat.model import JsonObject
    from crosschat.paths import Home

MCP_PROTOCOL: Final = "2025-11-25"
ANSWER_S: Final = 30.0
WAIT_MS: Final = 20_000
PLAIN: Final = (sys.executable, "-m", "crosschat", "serve")


class Session:
    """One MCP server and its client. `ready_s`: from starting the process to its answer to `tools/list`."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        begun = time.perf_counter()
        self.process = subprocess.Popen(
            command, env={**os.environ, **environment}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._asked = 0
        self._unread = b""
        self._lines: list[JsonObject] = []
        try:
            client = {"name": "bench", "version": "1"}
            self.result(self.ask("initialize", protocolVersion=MCP_PROTOCOL, capabilities={}, clientInfo=client))
            self._write({"jsonrpc": "2.0", "method": "notifications/initialized"})
            self.tools = self.result(self.ask("tools/list"))
            self.ready_s = time.perf_counter() - begun
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
        end(self.process)

    def call(self, tool: str, **arguments: object) -> int:
        """Call a tool that may report progress; the number of the request."""
        return self.ask("tools/call", name=tool, arguments=arguments, _meta={"progressToken": 1})

    def ask(self, method: str, **params: object) -> int:
        self._asked += 1
        self._write({"jsonrpc": "2.0", "id": self._asked, "method": method, "params": params})
        return self._asked

    def await_progress(self) -> None:
        """Return when a pending call has reported progress."""
        self._await(lambda line: line.get("method") == "notifications/progress")

    def result(self, number: int) -> JsonObject:
        """The result of that request, once it is there. Raises RuntimeError if it is an error, or does not come."""
        line = self._await(lambda line: line.get("id") == number)
        result = line.get("result")
        if not isinstance(result, dict) or result.get("isError"):
            raise RuntimeError(f"a session of the bench was answered with {line}")
        return result

    def fileno(self) -> int:
        assert self.process.stdout is not None
        return self.process.stdout.fileno()

    def fill(self) -> None:
        """Receive once; waits for something."""
        part = os.read(self.fileno(), 1 << 16)
        if not part:
            raise RuntimeError(f"a session of the bench ended, with status {self.process.wait()}")
        *lines, self._unread = (self._unread + part).split(b"\n")
        self._lines += [cast("JsonObject", json.loads(line)) for line in lines if line]

    def answers(self) -> dict[int, JsonObject]:
        """All answers that have come, by the number of the request; taken out, and progress with them."""
        lines, self._lines = self._lines, []
        return {int(str(line["id"])): line for line in lines if "id" in line}

    def has(self, number: int) -> bool:
        """Whether the answer to that request has come."""
        return any(line.get("id") == number for line in self._lines)

    def _await(self, wanted: Callable[[JsonObject], bool]) -> JsonObject:
        """Take the first such line out of those that came, waiting for it. Others stay."""
        give_up_at = time.monotonic() + ANSWER_S
        while True:
            found = next((line for line in self._lines if wanted(line)), None)
            if found is not None:
                self._lines.remove(found)
                return found
            if not select.select([self], [], [], max(0.0, give_up_at - time.monotonic()))[0]:
                raise RuntimeError(f"a session of the bench said nothing for {ANSWER_S:g} s")
            self.fill()

    def _write(self, message: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()


def text_of(result: JsonObject) -> JsonObject:
    """The JSON that a tool answered."""
    (content,) = cast("list[dict[str, str]]", result["content"])
    return cast("JsonObject", json.loads(content["text"]))


@contextmanager
def opened(command: Sequence[str], environment: Mapping[str, str]) -> Iterator[Session]:
    """A session that ends with the block."""
    session = Session(command, environment)
    try:
        yield session
    finally:
        session.close()


def environment_of(home: Home, name: str) -> dict[str, str]:
    url = "" if home.run_override is None else f"unix:{home.run_override}"
    return {"CROSSCHAT_HOME": os.fspath(home.root), "CROSSCHAT_NAME": name, "CROSSCHAT_HUB_URL": url}


@contextmanager
def pair_of_sessions(home: Home, names: tuple[str, str] = ("one", "two")) -> Iterator[SessionPair]:
    """Two sessions of the hub that runs there."""
    with (
        opened(PLAIN, environment_of(home, names[0])) as one,
        opened(PLAIN, environment_of(home, names[1])) as two,
    ):
        yield SessionPair(one, two)


@attrs.frozen
class Wake:
    """Seconds from the call of the tool that sends: to its own result, and to the result of the tool that waits."""

    sent_s: float
    woken_s: float


@attrs.define(eq=False)
class SessionPair:
    """`one` sends, `two` waits. `last_sent`: the id of the last message."""

    one: Session
    two: Session
    last_sent: str = ""

    def wake(self, content: str, **arguments: str) -> Wake:
        waiting = self.two.call("wait_for_messages", timeoutMs=WAIT_MS)
        self.two.await_progress()  # now the hub knows that it waits
        begun = time.perf_counter()
        sending = self.one.call("send_message", content=content, **arguments)
        ended = {self.one: 0.0, self.two: 0.0}
        numbers = {self.one: sending, self.two: waiting}
        while not all(ended.values()):
            open_ones = [session for session in ended if not ended[session]]
            readable, _, _ = select.select(open_ones, [], [], ANSWER_S)
            if not readable:
                raise RuntimeError(f"the sessions of the bench said nothing for {ANSWER_S:g} s")
            for session in readable:
                session.fill()
                if session.has(numbers[session]):
                    ended[session] = time.perf_counter() - begun
        self.last_sent = str(text_of(self.one.result(sending))["messageId"])
        woken = json.dumps(self.two.result(waiting))
        if content not in woken:
            raise RuntimeError(f"the wait ended otherwise: {woken}")
        return Wake(ended[self.one], ended[self.two])
