"""What our hooks on tools cost in the real client: `python -m tests.claude.measure_hooks [STEPS]`.

The model calls Bash with `true` so many times; a step lasts from one request of the client to the next. The rows differ
in what is installed and what is outstanding. Milliseconds, medians over the steps of alternating runs.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from tests.claude.api import Call, Conversation, ScriptedApi
from tests.claude.client import Place, client
from tests.live.rig import short_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

RUNS: Final = 2
OURS: Final = ("ask.sh", "ran.sh")


@contextmanager
def without(place: Place, *scripts: str) -> Iterator[None]:
    """The plugin as if it did not have these hooks."""
    path = place.plugin / "hooks" / "hooks.json"
    before = path.read_text()
    registered: dict[str, Any] = json.loads(before)
    for event, groups in registered["hooks"].items():
        registered["hooks"][event] = [
            group for group in groups if not group["hooks"][0]["command"].endswith(scripts)
        ]  # fmt: skip
    path.write_text(json.dumps(registered))
    yield
    path.write_text(before)


@contextmanager
def rule(place: Place) -> Iterator[None]:
    """A rule that does not fit."""
    path = place.home / ".crosschat" / "ask" / "shell"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("Bash(git push:*)\n")
    yield
    path.unlink()


def steps(place: Place, api: ScriptedApi, count: int) -> list[float]:
    """How long the steps of a run took."""
    times: list[float] = []

    def step(_: Conversation) -> Call | str:
        times.append(perf_counter())
        return Call("Bash", {"command": "true", "description": "nothing"}) if len(times) <= count else "Done."

    place.run(api.play("steps", *[step] * (count + 1)), "--allowedTools", "Bash(true)")
    return [(after - before) * 1000 for before, after in itertools.pairwise(times)][2:]


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    client()
    found: dict[str, list[float]] = {}
    with short_directory() as root, ScriptedApi() as api, Place(root, api) as place:
        place.crosschat("install")
        place.crosschat("start", "--stay")
        for _ in range(RUNS):
            with without(place, *OURS):
                found.setdefault("without our hooks on tools", []).extend(steps(place, api, count))
            with without(place, "ask.sh"):
                found.setdefault("with ran.sh alone", []).extend(steps(place, api, count))
            found.setdefault("with ask.sh and ran.sh", []).extend(steps(place, api, count))
            with rule(place):
                found.setdefault("the same, with a rule that does not fit", []).extend(steps(place, api, count))
    for name, times in found.items():
        print(f"{name:42}{statistics.median(times):8.1f}   of {len(times)}")


if __name__ == "__main__":
    main()
