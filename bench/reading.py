"""Readers of a history: a page of it, a search in it, and one who was away while it was written."""

from __future__ import annotations

import random
import re
import time
from typing import TYPE_CHECKING, Final

from crosschat.wire import Read, Search, Send

from .figures import percentiles_ms
from .history import STEP_MS, await_index, build
from .rig import Client, agents, own_agent, private_hub, resident_mib

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from .figures import Figures
    from .run import Case

PAGE: Final = 50
MESSAGE: Final = re.compile(rb'\{"v":\d+,"seq":\d+,"kind":"message","id":"([0-9a-z-]+)"')
PRIVATE: Final = b'"private":true'
SEARCHES: Final = {"a common word": "w1", "two common words": "w1 w3", "a phrase": '"w1 w2"', "a rare word": "w25000"}


def page(case: Case) -> Figures:
    """An agent reads fifty messages before one anywhere in the history."""
    make_history(case.directory / "h", case.asked.history)
    chance = random.Random(case.asked.seed)
    with private_hub(case.directory / "h") as hub, own_agent(hub.home, "reader") as agent:
        times = read_pages(agent, ids_to_all(case.directory / "h"), case.asked.rounds, chance)
        times_newest = [_timed(agent, Read(id="r", limit=PAGE)) for _ in range(case.asked.rounds)]
    return {**percentiles_ms("anywhere", times), **percentiles_ms("the newest", times_newest)}


def search(case: Case) -> Figures:
    """An agent searches, once everything is in the index."""
    make_history(case.directory / "h", case.asked.history)
    figures: dict[str, float] = {}
    with private_hub(case.directory / "h") as hub:
        await_index(hub)
        with own_agent(hub.home, "reader") as agent:
            for name, query in SEARCHES.items():
                times = [_timed(agent, Search(id="s", query=query)) for _ in range(case.asked.rounds)]
                figures |= percentiles_ms(name, times)
    return figures


def make_history(home: Path, count: int) -> None:
    """So many messages up to now, in a log that a hub can start with."""
    build(home, count, int(time.time() * 1000) - count * STEP_MS)


def ids_to_all(home: Path) -> list[str]:
    """The ids of its messages to everybody, in order."""
    ids: list[str] = []
    for path in sorted((home / "log").glob("*.jsonl")):
        with path.open("rb") as lines:
            ids += [found[1].decode() for line in lines if (found := MESSAGE.match(line)) and PRIVATE not in line]
    return ids


def read_pages(agent: Client, ids: Sequence[str], rounds: int, chance: random.Random) -> list[float]:
    """Seconds that each page took, before messages picked by chance."""
    return [_timed(agent, Read(id="r", before=chance.choice(ids[PAGE:]), limit=PAGE)) for _ in range(rounds)]


def _timed(agent: Client, request: Read | Search) -> float:
    begun = time.perf_counter()
    answer = agent.ask(request)
    took = time.perf_counter() - begun
    if answer["type"] != "page":
        raise RuntimeError(f"the hub answered with {answer}")
    return took


def catch_up(case: Case) -> Figures:
    """An agent leaves, the messages are sent, it comes back: until it has the last of them."""
    messages, content = case.asked.messages, "x" * case.asked.size
    with private_hub(case.directory / "h") as hub, agents(hub.home, 1) as (sender,):
        with own_agent(hub.home, "late") as before:
            welcome = before.welcome
        for number in range(messages):
            sender.ask(Send(id="b", cid=str(number), content=content))
        resident = resident_mib(hub.process.pid)
        begun = time.perf_counter()
        with own_agent(hub.home, "late", epoch=str(welcome["epoch"]), after=int(str(welcome["head"]))) as late:
            arrivals = list(_arrivals(late, messages))
        return {
            "first message ms": (arrivals[0] - begun) * 1e3,
            "everything ms": (arrivals[-1] - begun) * 1e3,
            "messages /s": messages / (arrivals[-1] - begun),
            "hub's memory for it MiB": max(0.0, resident_mib(hub.process.pid) - resident),
        }


def _arrivals(late: Client, messages: int) -> Iterator[float]:
    """When each delivery came, up to the one with the last message."""
    left = messages
    while left > 0:
        left -= late.receive().count(b'"seq":')
        yield time.perf_counter()
