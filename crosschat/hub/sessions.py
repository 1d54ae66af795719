"""What the hooks of Claude Code sessions tell: who works, who waits for the person, who is idle; and what they get.

Whose session an event belongs to comes from the kernel: the Claude Code process above the hook, which must have a
connected agent. An event of any other process changes nothing and is answered with nothing. State of activity is
volatile; a changed session id is a record, because a resumed session is recognised by it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from crosschat import processes
from crosschat.core import briefs
from crosschat.core.handle import SessionChanged
from crosschat.model import THE_SYSTEM, Activity
from crosschat.wire import Brief, SessionEvent

if TYPE_CHECKING:
    from crosschat.core.state import Agent
    from crosschat.hub.router import Router

ACTIVITY: Final[dict[str, Activity | None]] = {"start": "idle", "prompt": "working", "stop": "idle", "end": None}
# Kinds of notifications that say that the person is asked for something.
ASKING: Final = frozenset({"permission_prompt", "elicitation_dialog"})


async def take_event(router: Router, pid: int, event: SessionEvent) -> Brief:
    """Note what the session above `pid` does; the brief that its hook prints. Raises Refused."""
    agent = _agent_above(router, pid)
    if agent is None:
        return Brief(id=event.id)
    if event.session is not None and event.session != agent.session and event.event != "end":
        await router.ask(THE_SYSTEM, SessionChanged(agent.id, event.session))
    _note(router, agent, event)
    return Brief(id=event.id, known=True, text=_text(router, router.state.agents[agent.id], event))


def _agent_above(router: Router, pid: int) -> Agent | None:
    claude = processes.find_agent_process(pid)
    return agent_of(router, claude) if claude is not None else None


def agent_of(router: Router, claude: processes.Process) -> Agent | None:
    """The connected agent that is this Claude process."""
    found = (agent for agent in router.state.agents.values() if agent.process == claude.key)
    agent = next(found, None)
    return agent if agent is not None and agent.id in router.presence.connected else None


def _note(router: Router, agent: Agent, event: SessionEvent) -> None:
    if event.event == "notification":
        if event.source not in ASKING:
            return
        activity: Activity | None = "waiting"
    else:
        activity = ACTIVITY[event.event]
    if router.presence.act(agent.id, activity=activity, mode=event.mode):
        router.tell_activity(agent.id)


def _text(router: Router, agent: Agent, event: SessionEvent) -> str | None:
    if event.event == "start" and event.source in briefs.FORGETFUL:
        text: str | None = briefs.brief(router.state, agent)
    elif event.event == "prompt":
        text = briefs.waiting(router.state, agent, after=router.presence.of(agent.id).announced)
        text = f"CrossChat: {text}" if text is not None else None
    else:
        return None
    if text is not None:
        router.presence.announce(agent.id, router.state.head)
    return text
