"""What is measured, one function a question, and the table of all of them. The log's sync is on in all of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from . import fanout
from .figures import percentiles_ms
from .run import Case, Scenario

if TYPE_CHECKING:
    from .figures import Figures


def fan_out_latency(case: Case) -> Figures:
    with case.system.start(case.directory) as running:
        return fanout.latency(
            running,
            readers=case.agents,
            messages=case.asked.rounds,
            size=case.asked.size,
            confirms=case.system.confirms,
        )


def fan_out_throughput(case: Case) -> Figures:
    with case.system.start(case.directory) as running:
        return fanout.throughput(
            running,
            readers=case.agents,
            messages=case.asked.messages,
            size=case.asked.size,
            confirms=case.system.confirms,
        )


def wake_up(case: Case) -> Figures | None:
    start = case.system.start_pair(case.directory)
    if start is None:
        return None
    with start as pair:
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
            title="fan-out, one message at a time, {agents} reader{agents_s}",
            measure=fan_out_latency,
            by_agents=True,
            compared=True,
        ),
        Scenario(
            name="throughput",
            title="fan-out, as fast as it goes, {agents} reader{agents_s}",
            measure=fan_out_throughput,
            by_agents=True,
            compared=True,
        ),
        Scenario(name="wake", title="wake-up: from one session's tool to another's", measure=wake_up, compared=True),
    )
}
