"""What is measured, one function a question, and the table of all of them. The log's sync is on in all of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from . import fanout, load, memory, reading, starting
from .figures import percentiles_ms
from .rig import private_hub
from .run import Case, Scenario
from .sessions import pair_of_sessions

if TYPE_CHECKING:
    from .figures import Figures


def fan_out_latency(case: Case) -> Figures:
    with case.system.start(case.directory) as running:
        return fanout.latency(
            running,
            readers=case.agents,
            messages=case.asked.rounds,
            size=case.asked.size,
        )


def fan_out_throughput(case: Case) -> Figures:
    with case.system.start(case.directory) as running:
        return fanout.throughput(
            running,
            readers=case.agents,
            messages=case.asked.messages,
            size=case.asked.size,
        )


def wake_up(case: Case) -> Figures:
    with private_hub(case.directory / "h") as hub, pair_of_sessions(hub.home) as pair:
        wakes = [pair.wake(f"round {number}") for number in range(case.asked.rounds)]
    return {
        **percentiles_ms("tool to tool", [wake.woken_s for wake in wakes]),
        **percentiles_ms("send_message", [wake.sent_s for wake in wakes]),
    }


SCENARIOS: Final = {
    one.name: one
    for one in (
        Scenario(
            name="latency",
            title="fan-out, one message at a time, {agents} reader{s}",
            measure=fan_out_latency,
            by_agents=True,
            compared=True,
        ),
        Scenario(
            name="throughput",
            title="fan-out, as fast as it goes, {agents} reader{s}",
            measure=fan_out_throughput,
            by_agents=True,
            compared=True,
        ),
        Scenario(name="wake", title="wake-up: from one session's tool to another's", measure=wake_up),
        Scenario(name="steady", title="acknowledgements at 200 messages/s, ten readers", measure=load.steady),
        Scenario(name="senders", title="acknowledgements, as many as go", measure=load.senders),
        Scenario(name="claims", title="ten agents claim one task at once", measure=load.claims),
        Scenario(name="page", title="a page of 50 out of {history} messages", measure=reading.page),
        Scenario(name="search", title="a search in {history} messages", measure=reading.search),
        Scenario(name="catch-up", title="an agent that was away gets what it missed", measure=reading.catch_up),
        Scenario(name="hub", title="start of the hub, on an empty directory", measure=starting.hub),
        Scenario(name="bridge", title="start of a session's server, to tools/list", measure=starting.bridge),
        Scenario(name="commands", title="commands, from start to end", measure=starting.commands),
        Scenario(name="hooks", title="hooks of a session, from start to end", measure=starting.hooks),
        Scenario(name="sessions", title="memory of ten sessions", measure=memory.sessions),
        Scenario(name="memory", title="memory of the hub, 50 agents", measure=memory.hub),
    )
}
