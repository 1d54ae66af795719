"""A permission desk without doors: hooks that keep what they are told, an audit in memory, a page that signs nothing.

Which Claude Code process stands above a pid is a table of the test's.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Final

import attrs
import trio

from crosschat import processes
from crosschat.hub.audit import Audit
from crosschat.hub.permissions import PermissionDesk
from crosschat.hub.settings import Settings
from crosschat.hub.watchfiles import WatchFiles
from crosschat.journal.files import RealFiles
from crosschat.processes import Process
from tests.hub.rig import NOW_MS, Middle, silent_log

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from crosschat.model import JsonObject
    from crosschat.pagewire import PermissionOver, PermissionView

CLAUDE: Final = 100  # the pid of the first session's process; its hooks are 101, 102, …

SUGGESTION: Final[JsonObject] = {
    "type": "addRules",
    "rules": [{"toolName": "Bash", "ruleContent": "make:*"}],
    "behavior": "allow",
    "destination": "localSettings",
}
ALLOW: Final[JsonObject] = {"behavior": "allow"}


def request(tool: str = "Bash", event: str = "PermissionRequest", **more: object) -> bytes:
    """What a hook is given."""
    given = more.pop("tool_input", {"command": "make"})
    fields = {
        "session_id": "s", "cwd": "/repo", "prompt_id": "p1", "permission_mode": "default", "hook_event_name": event,
        "tool_name": tool, "tool_input": given, **more,
    }  # fmt: skip
    return json.dumps(fields).encode()


def output(decision: JsonObject = ALLOW) -> JsonObject:
    return {"hookSpecificOutput": {"hookEventName": "PermissionRequest", "decision": decision}}


def payload(view: PermissionView, said: JsonObject | None = None) -> str:
    """What a page signs."""
    fields = {
        "id": view.id,
        "digest": view.digest,
        "hub_nonce": view.hub_nonce,
        "output": output() if said is None else said,
    }
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False)


class MemoryAudit(Audit):
    """Keeps lines instead of writing them. `fails`: the disk is full. With a `gate` a line waits for it."""

    def __init__(self) -> None:
        self.lines: list[JsonObject] = []
        self.fails = False
        self.gate: trio.Event | None = None
        self.stuck = trio.Event()

    @property
    def problem(self) -> str | None:
        return None

    async def write(self, fields: JsonObject) -> None:
        if self.gate is not None:
            self.stuck.set()
            await self.gate.wait()
        await trio.lowlevel.checkpoint()
        if self.fails:
            raise OSError(28, "No space left on device")
        self.lines.append(fields)

    @property
    def events(self) -> list[object]:
        return [line["event"] for line in self.lines]


class Seen:
    """A watcher."""

    def __init__(self) -> None:
        self.views: list[PermissionView] = []
        self.overs: list[PermissionOver] = []
        self.alarms: list[str] = []

    def asked(self, view: PermissionView) -> None:
        self.views.append(view)

    def over(self, over: PermissionOver) -> None:
        self.overs.append(over)

    def alarm(self, text: str, *, agent: str, name: str) -> None:
        self.alarms.append(text)


class MemoryHook:
    """The hub's side of a hook's connection. What it was told is in `said`; `deaf`: it cannot be told any more."""

    def __init__(self) -> None:
        self.said: list[JsonObject] = []
        self.raw: list[bytes] = []
        self.closed = trio.Event()
        self.done = trio.Event()
        self.deaf = False

    async def say(self, line: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if self.deaf:
            raise trio.BrokenResourceError
        self.raw.append(line)
        self.said.append(json.loads(line))

    async def until_closed(self) -> None:
        await self.closed.wait()

    @property
    def reason(self) -> object:
        """Why it got no opinion."""
        assert self.said[-1]["type"] == "no_opinion", self.said
        return self.said[-1]["reason"]

    @property
    def printed(self) -> JsonObject | None:
        """What a right hook would print: the output of a verdict over its own bytes."""
        verdicts = [one for one in self.said if one["type"] == "verdict"]
        found: JsonObject | None = verdicts[0]["output"] if verdicts else None  # type: ignore[assignment]
        return found


class World:
    """The desk and what surrounds it."""

    def __init__(
        self,
        place: Path,
        nursery: trio.Nursery,
        monkeypatch: pytest.MonkeyPatch,
        audit: MemoryAudit | None = None,
    ) -> None:
        self.place, self.nursery = place, nursery
        self.middle, self.audit, self.seen = Middle("a1", "a2"), audit or MemoryAudit(), Seen()
        self.table: dict[int, Process] = {}
        self.unattended: set[int] = set()
        self.gone: dict[int, trio.Event] = {}
        files, log = RealFiles(), silent_log()
        self.settings = Settings(files, self.place / "settings.json")
        self.watch = WatchFiles(self.place / "watch", files, log)
        self.watch.clear()
        self.desk = PermissionDesk(router=self.middle.router, audit=self.audit, watch=self.watch, log=log)
        self.desk.watch(self.seen)
        monkeypatch.setattr(processes, "find", self.table.get)
        monkeypatch.setattr(processes, "find_agent_process", self._above)
        monkeypatch.setattr(processes, "is_unattended", lambda process: process.pid in self.unattended)
        monkeypatch.setattr(processes, "wait_gone", self._gone)
        for number, agent in enumerate(("a1", "a2")):
            self.add_session(agent, CLAUDE * (number + 1))

    def _above(self, pid: int) -> Process | None:
        return processes.ancestors(pid, self.table.get)[1:2][0] if pid in self.table else None

    async def _gone(self, process: Process) -> None:
        await self.gone.setdefault(process.pid, trio.Event()).wait()

    def add_session(self, agent: str, pid: int) -> None:
        claude = Process(pid=pid, start=pid, parent=1, name="claude", exe="claude")
        self.table[pid] = claude
        state = self.middle.state
        state.agents[agent] = attrs.evolve(state.agents[agent], process=claude.key)
        self.middle.presence.arrive(agent, status="available", detail=None, offered=0, now_ms=NOW_MS)

    def hook_pid(self, claude: int = CLAUDE) -> int:
        """A new hook's process, younger than all before."""
        pid = max(pid for pid in self.table if claude <= pid < claude + 100) + 1
        self.table[pid] = Process(pid=pid, start=pid, parent=claude, name="python3", exe="python3")
        return pid

    async def ask(self, raw: bytes | None = None, claude: int = CLAUDE) -> MemoryHook:
        """A hook asks; returns when it waits or has its answer."""
        hook = MemoryHook()
        self.nursery.start_soon(self._serve, hook, self.hook_pid(claude), request() if raw is None else raw)
        await trio.testing.wait_all_tasks_blocked()
        return hook

    async def _serve(self, hook: MemoryHook, pid: int, raw: bytes) -> None:
        try:
            await self.desk.serve(hook, pid, "p", raw)
        except trio.BrokenResourceError:
            pass
        finally:
            hook.done.set()

    async def decide(self, view: PermissionView, text: str | None = None, *, key: str = "k1") -> None:
        await self.desk.decide(
            key=key, label="my browser", request=view.id, payload=text or payload(view), signature="sig"
        )

    @property
    def watched(self) -> list[str]:
        return sorted(path.name for path in (self.place / "watch").iterdir())


def digest_of(hook: MemoryHook, raw: bytes) -> str:
    """What a right hook computes."""
    nonce = bytes.fromhex(str(hook.said[0]["hub_nonce"]))
    return hashlib.sha256(nonce + raw).hexdigest()
