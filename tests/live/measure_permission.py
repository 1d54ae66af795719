"""How fast the permission hook is: `python -m tests.live.measure_permission [ROUNDS]` prints figures in milliseconds.

asked     from the session's order to start the hook until the request is in the hub: shell, interpreter, socket
left      from a page's decision (audited on the real disk) until the hook's process is gone
not mine  from the order until a hook of an unknown session is gone
ask.sh    a PreToolUse hook while its group has no rules, and with a rule that does not fit
ran.sh    a PostToolUse hook while nothing is outstanding
"""

from __future__ import annotations

import sys
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import trio

from tests.hub.desk import request
from tests.live.desk import LiveDesk
from tests.live.prompting import Session
from tests.live.rig import short_directory

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def measure(rounds: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}

    async def timed(name: str, work: Callable[[], Awaitable[object]]) -> None:
        began = perf_counter()
        await work()
        found.setdefault(name, []).append((perf_counter() - began) * 1000)

    with short_directory() as place:
        async with trio.open_nursery() as nursery:
            desk = LiveDesk(Path(place), nursery)
            with Session(place, desk.home) as session, Session(place, desk.home) as stranger:
                desk.know(session)
                raw = request(event="PreToolUse", tool_input={"command": "git status"})

                async def ask_hook() -> None:
                    await session.start([str(session.hooks / "ask.sh"), "shell"], raw).end()

                async def ran_hook() -> None:
                    await session.start([str(session.hooks / "ran.sh"), "PostToolUse"], raw).end()

                async def nothing() -> None:
                    await session.start(["/bin/true"], raw).end()

                for number in range(1, rounds + 1):
                    began = perf_counter()
                    hook = session.ask(request())
                    view = await desk.asked(number)
                    found.setdefault("asked", []).append((perf_counter() - began) * 1000)
                    began = perf_counter()
                    nursery.start_soon(desk.decide, view)
                    await hook.end()
                    found.setdefault("left", []).append((perf_counter() - began) * 1000)
                    await desk.permissions.turn_ended(hook.pid, session_too=True)
                    await timed("not mine", lambda: stranger.ask(request()).end())
                    await timed("/bin/true", nothing)
                    await timed("ask.sh, no rules", ask_hook)
                await desk.asking.add("Bash(git push:*)")
                approvals = desk.permissions._approvals
                for approved in tuple(approvals._outstanding):
                    approvals.unfollow(approved)
                for _ in range(rounds):
                    await timed("ask.sh, a rule that does not fit", ask_hook)
                    await timed("ran.sh, nothing outstanding", ran_hook)
            desk.close()
    return found


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    print(f"{'':36}{'p50':>8}{'p95':>8}{'max':>8}   of {rounds}")
    for name, times in trio.run(measure, rounds).items():
        times.sort()
        p50, p95, worst = times[len(times) // 2], times[int(len(times) * 0.95)], times[-1]
        print(f"{name:36}{p50:8.1f}{p95:8.1f}{worst:8.1f}")


if __name__ == "__main__":
    main()
