"""Which conversation a process of Claude Code goes on with, as its hooks say, and which agent it therefore is.

What a bridge is started with names the session only where it is new or was named by its id. With --continue the client
chooses it later, and /clear changes it under a bridge that runs. So what the hooks say counts, whether it comes before
the bridge has joined or after. A process whose first hook names the session of an agent that is away is that agent:
one that was made for it meanwhile, and holds nothing, is given up, and its bridge is sent to join again.

Volatile; after a restart of the hub the session that was recorded counts until a hook says another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from crosschat.core import briefs
from crosschat.core.handle import SessionChanged, TakeUp
from crosschat.model import THE_SYSTEM
from crosschat.websocket import text_frame
from crosschat.wire import Brief, Bye, SessionEvent, encode

if TYPE_CHECKING:
    from crosschat.core.state import Agent
    from crosschat.hub.router import Router

PROCESSES_KEPT: Final = 256
AT_ONCE_MS: Final = 0


class Told:
    """By process, the session that its hooks named last; the oldest go first. And which agents a process has moved to
    and not joined as: what was delivered to its bridge was another agent's."""

    def __init__(self) -> None:
        self._sessions: dict[str, str] = {}
        self._moved: set[str] = set()

    def move(self, agent: str) -> None:
        self._moved.add(agent)

    def has_moved(self, agent: str) -> bool:
        """Once."""
        moved = agent in self._moved
        self._moved.discard(agent)
        return moved

    def of(self, process: str) -> str | None:
        return self._sessions.get(process)

    def note(self, process: str, event: SessionEvent) -> bool:
        """True if it is the first that is heard of the process."""
        first = process not in self._sessions
        if event.session is not None and event.event != "end":
            self._sessions[process] = event.session
            while len(self._sessions) > PROCESSES_KEPT:
                del self._sessions[next(iter(self._sessions))]
        return first


async def follow(router: Router, agent: Agent, event: SessionEvent) -> Agent:
    """The agent that the session of a connected `agent` is, now that its hook said this. Raises Refused."""
    first = router.told.note(agent.process or "", event)
    if event.session is None or event.session == agent.session or event.event == "end":
        return agent
    earlier = _away_with(router, event.session)
    if earlier is None or not first or router.state.held.get(agent.id):
        process = agent.process
        await router.ask(THE_SYSTEM, SessionChanged(agent.id, event.session))
        # Its hooks run beside each other: one that came just before may have made it the earlier agent meanwhile.
        mine = (one for one in router.state.agents.values() if one.process == process)
        return next(mine, router.state.agents[agent.id])
    if not (await router.ask(THE_SYSTEM, TakeUp(agent.id, earlier.id))).records:
        return router.state.agents[agent.id]  # it is not away any more
    router.told.move(earlier.id)
    router.tell(agent.id, text_frame(encode(Bye(reason="it goes on as an earlier session", retry_after_ms=AT_ONCE_MS))))
    return router.state.agents[earlier.id]


def before_it_joins(router: Router, process: str, event: SessionEvent) -> Brief:
    """The answer to a hook of a process whose bridge is not connected yet."""
    router.told.note(process, event)
    earlier = _away_with(router, event.session) if event.session is not None else None
    forgetful = event.event == "start" and event.source in briefs.FORGETFUL
    return Brief(id=event.id, text=briefs.brief(router.state, earlier) if earlier is not None and forgetful else None)


def _away_with(router: Router, session: str) -> Agent | None:
    connected = router.presence.connected
    found = (agent for agent in router.state.agents.values() if agent.session == session and agent.id not in connected)
    return next(found, None)
