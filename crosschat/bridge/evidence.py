"""The commits made in a directory while a task was held: the evidence that comes with a result.

What was made here is what the reflog of HEAD says, so commits that were only fetched or merged do not count, and of
those, what is still part of the history. Without a reflog the commits' own dates decide.

git runs as a program of its own, with a bounded time and output, without a shell, and without the variables that would
point it elsewhere. Whatever goes wrong, also that there is no git and no repository, means no evidence.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

import attrs

from crosschat.programs import output_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

COMMITS_SHOWN: Final = 10
HASH_DIGITS: Final = 10
SUBJECT_CHARS: Final = 100
LOG_LINES: Final = 500
# No repository of a directory somebody cloned gets a program of its own started by this.
GIT: Final = ("git", "--no-pager", "--no-optional-locks", "-c", "log.showSignature=false", "-c", "core.fsmonitor=false")
FOREIGN_VARIABLES: Final = ("GIT_", "CLAUDE", "CROSSCHAT")
_MADE: Final = re.compile(r"commit|cherry-pick|revert|am\b|rebase( -i)? \((?!start|finish|abort)")


@attrs.frozen
class Commit:
    digits: str
    subject: str


async def commits_since(directory: Path | str, since_s: int) -> tuple[Commit, ...]:
    """The newest commits made in `directory` at `since_s` (Unix time) or later, oldest first. Never raises but by a
    cancel, which ends git."""
    moves = await _git(
        directory, "log", "--walk-reflogs", f"--max-count={LOG_LINES}", "--date=unix",
        "--format=%H%x09%gd%x09%<(40,trunc)%gs", "HEAD",
    )  # fmt: skip
    made = _made_here(moves, since_s) if moves else None
    if made is not None and not made:
        return ()
    history = await _git(
        directory, "log", f"--max-count={LOG_LINES}", "--format=%H%x09%ct%x09%<(100,trunc)%s", "HEAD"
    )  # fmt: skip
    return _newest(history, made, since_s)


def _made_here(moves: str, since_s: int) -> set[str]:
    """The commits that lines of `hash, HEAD@{time}, what happened` say were made then."""
    made: set[str] = set()
    for line in moves.splitlines():
        digits, _, rest = line.partition("\t")
        place, _, event = rest.partition("\t")
        when = re.search(r"@\{([0-9]{1,12})\}", place)
        if when is not None and int(when[1]) >= since_s and _MADE.match(event):
            made.add(digits)
    return made


def _newest(history: str, made: set[str] | None, since_s: int) -> tuple[Commit, ...]:
    found: list[Commit] = []
    for line in history.splitlines():
        digits, _, rest = line.partition("\t")
        when, _, subject = rest.partition("\t")
        wanted = digits in made if made is not None else when.isdigit() and int(when) >= since_s
        if wanted and re.fullmatch("[0-9a-f]{40,64}", digits) and len(found) < COMMITS_SHOWN:
            text = "".join(sign if sign.isprintable() else " " for sign in subject)
            found.append(Commit(digits[:HASH_DIGITS], " ".join(text.split())[:SUBJECT_CHARS]))
    return tuple(reversed(found))


async def _git(directory: Path | str, *arguments: str) -> str:
    """What git says, or "" if it fails in any way."""
    said = await output_of([*GIT, *arguments, "--"], cwd=directory, environment=git_environment(os.environ))
    return said or ""


def git_environment(environment: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in environment.items() if not name.startswith(FOREIGN_VARIABLES)}
    return {**kept, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1"}
