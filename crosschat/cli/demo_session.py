"""One session of the demo: a real `crosschat serve` process, driven over its stdin and stdout by an MCP client.

The only part of the command line that imports `mcp`. The process ends with the block that opened it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO, cast

import trio
from mcp import ClientSession
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp_types import CallToolResult, TextContent

from crosschat import processes
from crosschat.cli.demo_report import DemoFailed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from mcp.shared.dispatcher import ProgressFnT

    from crosschat.model import JsonObject
    from crosschat.paths import Home

START_DEADLINE_S: Final = 30.0
CALL_DEADLINE_S: Final = 20.0
WAIT_MS: Final = 15_000
TOOLS: Final = 10
ERRORS_SHOWN_CHARS: Final = 2000


class ToolRefused(DemoFailed):
    """The tool answered with an error; the text is its own."""


class Member:
    """A session by name. `process` is its `crosschat serve`, pinned by pid and start time."""

    def __init__(self, name: str, session: ClientSession, process: processes.Process, ready_s: float) -> None:
        self.name = name
        self.process = process
        self.ready_s = ready_s
        self._session = session

    async def call(self, tool: str, **arguments: object) -> JsonObject:
        """The JSON of the tool's reply. Raises ToolRefused, or DemoFailed if there is none in time."""
        return await self._call(tool, arguments, None)

    async def _call(self, tool: str, arguments: dict[str, object], progress: ProgressFnT | None) -> JsonObject:
        with trio.move_on_after(CALL_DEADLINE_S):
            result = await self._session.call_tool(tool, arguments, progress_callback=progress)
            assert isinstance(result, CallToolResult)
            (content,) = result.content
            assert isinstance(content, TextContent)
            if result.is_error:
                raise ToolRefused(f"{tool} of {self.name} answered: {content.text}")
            return cast("JsonObject", json.loads(content.text))
        raise DemoFailed(f"{tool} of {self.name} did not answer within {CALL_DEADLINE_S:g} s")

    async def wait_for(
        self, wanted: Callable[[JsonObject], bool], what: str, *, sits: trio.Event | None = None
    ) -> JsonObject:
        """Sit in wait_for_messages until one that is `wanted` comes. Raises DemoFailed if none does.

        `sits` is set when the server reports that the call is waiting.
        """

        async def progress(progress: float, total: float | None, message: str | None) -> None:
            if sits is not None:
                sits.set()

        with trio.move_on_after(CALL_DEADLINE_S):
            while True:
                reply = await self._call("wait_for_messages", {"timeoutMs": WAIT_MS}, progress)
                for message in messages_of(reply):
                    if wanted(message):
                        return message
        raise DemoFailed(f"{self.name} waited {CALL_DEADLINE_S:g} s and did not get {what}")

    @property
    def runs(self) -> bool:
        return processes.find(self.process.pid) == self.process


def messages_of(reply: JsonObject) -> list[JsonObject]:
    return cast("list[JsonObject]", reply.get("messages", []))


@asynccontextmanager
async def open_member(name: str, home: Home, directory: Path) -> AsyncIterator[Member]:
    """Start the session `name` in a working directory of its own, until the block ends. Raises DemoFailed."""
    os.mkdir(directory)
    before = children()
    began = time.perf_counter()
    parameters = StdioServerParameters(
        command=sys.executable,
        args=["-m", "crosschat", "serve"],
        env={**os.environ, "CROSSCHAT_HOME": os.fspath(home.root), "CROSSCHAT_NAME": name},
        cwd=directory,
    )
    errors = directory.with_suffix(".stderr")
    with _opened(errors) as log:
        async with stdio_client(parameters, errlog=log) as (read, write), ClientSession(read, write) as session:
            await _handshake(session, name, errors)
            ready_s = time.perf_counter() - began
            (process,) = children() - before
            yield Member(name, session, process, ready_s)


async def _handshake(session: ClientSession, name: str, errors: Path) -> None:
    try:
        with trio.fail_after(START_DEADLINE_S):
            await session.initialize()
            listed = await session.list_tools()
    except Exception as error:
        said = _end_of(errors)
        raise DemoFailed(f"the session {name} does not start: {said or error or 'it said nothing'}") from None
    if len(listed.tools) != TOOLS:
        raise DemoFailed(f"the session {name} lists {len(listed.tools)} tools, not {TOOLS}")


def _opened(path: Path) -> TextIO:
    return path.open("w")


def _end_of(path: Path) -> str:
    return path.read_text(errors="replace")[-ERRORS_SHOWN_CHARS:].strip()


def children() -> frozenset[processes.Process]:
    """The processes that this one started and that live."""
    own = os.getpid()
    if sys.platform == "linux":
        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    else:
        import psutil

        pids = [child.pid for child in psutil.Process(own).children()]
    found = (processes.find(pid) for pid in pids)
    return frozenset(process for process in found if process is not None and process.parent == own)


def resident_mb(process: processes.Process) -> float:
    """Resident memory of a process of ours, in MB. Raises OSError, or psutil's error, if it is gone."""
    if sys.platform == "linux":
        pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    import psutil

    return float(psutil.Process(process.pid).memory_info().rss) / 1e6
