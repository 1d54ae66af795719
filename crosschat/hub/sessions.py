"""What the hooks of Claude Code sessions tell: who works, who waits for the person, who is idle; and what they get.

Whose session an event belongs to comes from the kernel: the Claude Code process above the hook. An event of a process
without an agent changes nothing but what `resuming` remembers of it. State of activity is
volatile; a changed session id is a record, because a resumed session is recognised by it.

Hooks of one session may overtake each other, for the session waits only for some. What they say of the activity counts
only if their process began after that of the last prompt. A `stop` or `wait` of an attended session whose bridge rings
through hooks is held until there is a ring; one that comes before its bridge has joined waits for that, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from crosschat import processes
from crosschat.core import briefs
from crosschat.core.presence import Spent
from crosschat.hub import resuming
from crosschat.wire import Brief, SessionEvent

if TYPE_CHECKING:
    from crosschat.core.state import Agent
    from crosschat.hub.router import Router
    from crosschat.model import Activity

# What the session does after an event, or after a notification of a kind: the person is asked, or has been silent.
ACTIVITY: Final[dict[str | None, Activity | None]] = {
    "start": "idle",
    "prompt": "working",
    "stop": "idle",
    "end": None,
    "permission_prompt": "waiting",
    "elicitation_dialog": "waiting",
    "idle_prompt": "idle",
}
AWAITED: Final = frozenset({"start", "prompt", "end"})  # events that the session waits for
CONTEXT_MODES: Final = frozenset({"auto", "hooks"})  # in which what is unread stands beside a prompt
JOIN_S: Final = 20.0  # a session's bridge says how it is woken within this


async def take_event(router: Router, pid: int, event: SessionEvent) -> Brief:
    """Note what the session above `pid` does; the brief that its hook prints. Raises Refused."""
    hook, claude = processes.find(pid), processes.find_agent_process(pid)
    if hook is None or claude is None:
        return Brief(id=event.id)
    agent = agent_of(router, claude)
    if agent is None:
        return resuming.before_it_joins(router, claude.key, event)
    agent = await resuming.follow(router, agent, event)
    _note(router, agent, event, hook)
    text = _text(router, agent, event)
    awaited = event.event in AWAITED
    router.presence.spend(
        agent.id,
        Spent(
            contexts=int(text is not None),
            context_bytes=len((text or "").encode()),
            hooks=int(awaited),
            hook_ms=max(0.0, processes.age_ms(hook)) if awaited else 0.0,
        ),
    )
    return Brief(id=event.id, known=True, text=text)


def may_wait(event: SessionEvent) -> bool:
    """Whether the answer to the event may come as late as the next ring."""
    return event.attended and event.event in ("stop", "wait")


async def wait_for_ring(router: Router, pid: int, event: SessionEvent) -> Brief:
    """Hold a hook until its session is to be woken; without a text if it need not be. Cancel-safe."""
    agent = None
    with trio.move_on_after(JOIN_S):
        while (agent := _agent_above(router, pid)) is None or router.presence.of(agent.id).way is None:
            await router.next_waking()
    if agent is None or not router.presence.of(agent.id).hooks:
        return Brief(id=event.id, known=agent is not None)
    text = await router.waiters.wait(agent.id)
    return Brief(id=event.id, known=True, wake=text is not None, text=text)


def _agent_above(router: Router, pid: int) -> Agent | None:
    claude = processes.find_agent_process(pid)
    return agent_of(router, claude) if claude is not None else None


def agent_of(router: Router, claude: processes.Process) -> Agent | None:
    """The connected agent that is this Claude process."""
    found = (agent for agent in router.state.agents.values() if agent.process == claude.key)
    agent = next(found, None)
    return agent if agent is not None and agent.id in router.presence.connected else None


def _note(router: Router, agent: Agent, event: SessionEvent, hook: processes.Process) -> None:
    presence = router.presence
    if event.event == "prompt":
        presence.prompt(agent.id, hook.start)
    overtaken = event.event != "prompt" and hook.start <= presence.of(agent.id).prompted
    kind = event.event if event.event != "notification" else event.source
    if kind not in ACTIVITY or overtaken:
        return
    news = presence.act(agent.id, activity=ACTIVITY[kind], now_ms=router.clock_ms(), mode=event.mode)
    if news or event.event == "stop":
        router.tell_activity(agent.id, turn_ended=event.event == "stop")


def _text(router: Router, agent: Agent, event: SessionEvent) -> str | None:
    live = router.presence.of(agent.id)
    if event.event == "start" and event.source in briefs.FORGETFUL:
        text: str | None = briefs.brief(router.state, agent)
    elif event.event == "prompt" and live.wake in CONTEXT_MODES:
        text = briefs.waiting(router.state, agent, after=max(live.announced, live.rung))
        text = f"CrossChat: {text}" if text is not None else None
    else:
        return None
    if text is not None:
        router.presence.announce(agent.id, router.state.head)
        router.tell_activity(agent.id)
    return text
