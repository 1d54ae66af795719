"""What Claude Code itself says of its sessions (`claude agents --json`): who has not joined, and who works.

The client is asked when somebody looks, by one child process at a time, no longer than `DEADLINE_S` and no oftener than
every `FRESH_S`; between that counts what it said last. The hub goes on meanwhile. Without a client, with one that does
not answer or answers something else, the sessions are not known, and that is said.

Hooks tell of a change at once, and of some not at all (a turn that the person interrupts): what the client says of a
session counts unless its hooks spoke while the client was asked. Owns one child process at most; a cancel kills it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs
import trio

from crosschat import processes
from crosschat.limits import PATH_CHARS, SHORT_TEXT_CHARS
from crosschat.model import Activity
from crosschat.programs import output_of
from crosschat.wire import UnjoinedView

if TYPE_CHECKING:
    from crosschat.hub.router import Router

FRESH_S: Final = 5.0
DEADLINE_S: Final = 5.0
SESSIONS: Final = 128  # of those that are listed
QUIET: Final = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1"}
ACTIVITY: Final[dict[object, Activity]] = {"busy": "working", "waiting": "waiting", "idle": "idle"}
REMEDY: Final = "type /reload-plugins in it, or restart it; /crosschat then joins it"


@attrs.frozen
class Known:
    """The sessions that have not joined; None if that is not known, with the reason."""

    unjoined: tuple[UnjoinedView, ...] | None = None
    problem: str | None = "nobody has looked yet"


@attrs.frozen
class Session:
    """A line of the client's answer that can be used."""

    process: processes.Process
    cwd: str
    name: str
    session: str | None
    activity: Activity | None


Ask: TypeAlias = Callable[[], Awaitable[str | None]]


async def ask_client() -> str | None:
    """What the client on the PATH says; None without one, or if it fails."""
    program = shutil.which("claude")
    if program is None:
        return None
    return await output_of([program, "agents", "--json"], cwd="/", environment={**os.environ, **QUIET})


class Survey:
    """`on_news` is called when the sessions that have not joined are others than before."""

    def __init__(
        self,
        router: Router,
        *,
        ask: Ask = ask_client,
        find: processes.Lookup = processes.find,
        on_news: Callable[[], None] = lambda: None,
    ) -> None:
        self.known = Known()
        self.on_news = on_news
        self._router = router
        self._ask, self._find = ask, find
        self._turn = trio.Lock()
        self._asked_at: float | None = None

    async def look(self) -> Known:
        """What is known, at most `FRESH_S` old if the client answers. Cancel-safe."""
        async with self._turn:
            if self._asked_at is None or trio.current_time() - self._asked_at >= FRESH_S:
                before = self._activities()
                answer: str | None = None
                with trio.move_on_after(DEADLINE_S):
                    answer = await self._ask()
                self._asked_at = trio.current_time()
                self._take(answer, before)
        return self.known

    def _activities(self) -> dict[str, Activity | None]:
        presence = self._router.presence
        return {agent: presence.of(agent).activity for agent in presence.connected}

    def _take(self, answer: str | None, before: dict[str, Activity | None]) -> None:
        sessions = None if answer is None else self._sessions(answer)
        if sessions is None:
            known = Known(problem="`claude agents --json` does not tell: no client on the hub's PATH, or an older one")
        else:
            joined = self._joined()
            known = Known(
                tuple(_unjoined(session) for session in sessions if session.process.key not in joined)[:SESSIONS], None
            )
            for session in sessions:
                agent = joined.get(session.process.key)
                if agent is not None and session.activity is not None:
                    self._note(agent, session.activity, before)
        if known != self.known:
            self.known = known
            self.on_news()

    def _note(self, agent: str, activity: Activity, before: dict[str, Activity | None]) -> None:
        presence = self._router.presence
        unchanged = agent in before and presence.of(agent).activity == before[agent]
        if unchanged and presence.act(agent, activity=activity, now_ms=self._router.clock_ms()):
            self._router.tell_activity(agent)

    def _joined(self) -> dict[str, str]:
        """The connected agents by the process they are pinned to."""
        agents = self._router.state.agents
        connected = [agents[agent] for agent in self._router.presence.connected if agent in agents]
        return {agent.process: agent.id for agent in connected if agent.process is not None}

    def _sessions(self, answer: str) -> list[Session] | None:
        try:
            found = json.loads(answer)
        except (ValueError, RecursionError):
            return None
        if not isinstance(found, list):
            return None
        return [session for one in found if isinstance(one, dict) and (session := self._session(one)) is not None]

    def _session(self, one: dict[str, object]) -> Session | None:
        pid = one.get("pid")
        process = self._find(pid) if type(pid) is int and pid > 0 else None
        if process is None or not process.is_claude:  # it has gone, or is one of another machine's
            return None
        return Session(
            process,
            _text(one.get("cwd"), PATH_CHARS),
            _text(one.get("name"), SHORT_TEXT_CHARS),
            _text(one.get("sessionId"), SHORT_TEXT_CHARS) or None,
            ACTIVITY.get(one.get("status")) if isinstance(one.get("status"), str) else None,
        )


def _text(found: object, limit: int) -> str:
    return found[:limit] if isinstance(found, str) else ""


def _unjoined(session: Session) -> UnjoinedView:
    return UnjoinedView(
        name=session.name, cwd=session.cwd, remedy=REMEDY, session=session.session, status=session.activity
    )
