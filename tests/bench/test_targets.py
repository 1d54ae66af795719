"""Which targets a run reached: judged from its own figures, and never where there are none."""

from __future__ import annotations

from bench.run import Asked, Result, Table
from bench.targets import AGENTS, HUB_MESSAGES, SCENARIOS, judge, plan


def table(scenario: str, agents: int = 0, **systems: dict[str, float]) -> Table:
    results = tuple(
        Result(scenario=scenario, agents=agents, system=system, figures={name: (value,) for name, value in one.items()})
        for system, one in systems.items()
    )
    return Table(
        scenario=scenario, title=scenario, agents=agents, results=results, fdatasync_p50_ms=0.5, fdatasync_p99_ms=2,
        load=0,
    )  # fmt: skip


def judged(*tables: Table) -> dict[str, bool | None]:
    return {one.target: one.met for one in judge(tables)}


def rates(ours: float) -> Table:
    floor, naive = {"deliveries /s": 1000.0}, {"deliveries /s": 80.0}
    return table("throughput", AGENTS, crosschat={"deliveries /s": ours}, floor=floor, naive=naive)


def test_rates_are_judged_against_the_others_of_the_run() -> None:
    assert [judged(rates(400))[aim] for aim in ("≥ 0.40× floor", "≥ 5× naive", "≥ 2.5× 2.0.x")] == [True, True, None]
    assert [judged(rates(399))[aim] for aim in ("≥ 0.40× floor", "≥ 5× naive")] == [False, False]


def test_times_are_judged_by_what_the_disk_took_meanwhile() -> None:
    for last_ms, met in ((2.0, True), (2.1, False)):
        ours, floor = {"last reader p50 ms": last_ms}, {"last reader p50 ms": 1.0}
        run = table("latency", AGENTS, crosschat=ours, floor=floor)
        assert judged(run)["≤ floor + fdatasync + 0.5"] is met
    for wake_ms, met in ((1.5, True), (1.6, False)):
        assert judged(table("wake", crosschat={"tool to tool p50 ms": wake_ms}))["≤ fdatasync + 1"] is met


def test_memory_is_judged_in_megabytes() -> None:
    for mib, met in ((19.0, True), (19.1, False)):
        assert judged(table("sessions", crosschat={"each of ten sessions, shares MiB": mib}))["≤ 20"] is met


def test_nothing_that_was_not_measured_is_judged() -> None:
    assert set(judged().values()) == {None}
    other_number = table("throughput", 10, crosschat={"deliveries /s": 9.0}, floor={"deliveries /s": 9.0})
    assert judged(other_number)["≥ 0.40× floor"] is None


def test_every_scenario_is_measured_for_fifty_and_the_hub_after_a_hundred_thousand() -> None:
    (most, how), (rest, for_memory) = plan(Asked(messages=5))
    assert (*most, *rest) == SCENARIOS
    assert (how.agents, how.messages, for_memory.messages) == ((AGENTS,), 5, HUB_MESSAGES)
