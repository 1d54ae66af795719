"""`instances.json`: the directories that the person starts sessions in, and those where sessions were seen.

A session's directory is registered by itself, unless the person removed it before: then it is kept in mind as removed.
Of directories that came by themselves the oldest go when there are too many; those that the person added stay. The
file is replaced atomically, in a worker thread; what cannot be written is refused and changed nowhere. A file that
cannot be read is left alone and reported: then nothing can be added until it is corrected.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

import attrs
import trio

from crosschat.errors import Code, Refused
from crosschat.journal.files import Files, exists, read_whole, write_atomically
from crosschat.limits import PATH_CHARS, PROJECTS, PROJECTS_AUTOMATIC
from crosschat.wire import ProjectView

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from crosschat.core.state import Agent
    from crosschat.model import JsonObject

MOST_BYTES: Final = 4 * 1024 * 1024
REMOVED_KEPT: Final = 1000
ID_DIGITS: Final = 12


@attrs.frozen
class Project:
    """A registered directory. `path` is absolute, without links in it; the id follows from it."""

    path: str
    automatic: bool = False

    @property
    def id(self) -> str:
        return "p" + hashlib.sha256(self.path.encode()).hexdigest()[:ID_DIGITS]

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name or self.path


class Projects:
    """See the module. `changed` is called after every change."""

    def __init__(self, files: Files, path: Path) -> None:
        self._files = files
        self._path = path
        self._projects: dict[str, Project] = {}  # by path, in the order of registration
        self._removed: dict[str, None] = {}
        self._missing: frozenset[str] = frozenset()
        self._turn = trio.Lock()
        self.changed: Callable[[], None] = _nobody
        self.problem: str | None = None
        try:
            if exists(files, path):
                self._read(json.loads(read_whole(files, path, MOST_BYTES)))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            self.problem = f"{path.name} cannot be read and is ignored: {error!r}. Correct or remove it."

    def _read(self, document: JsonObject) -> None:
        listed, removed = document["projects"], document.get("removed", [])
        if not isinstance(listed, list) or not isinstance(removed, list):
            raise TypeError("projects and removed are lists")
        found = [Project(_text(entry["path"]), entry.get("automatic") is True) for entry in listed]
        self._projects = {project.path: project for project in found}
        self._removed = dict.fromkeys(map(_text, removed))

    @property
    def all(self) -> tuple[Project, ...]:
        return tuple(self._projects.values())

    def find(self, identifier: str) -> Project:
        """The project with this id. Raises Refused."""
        found = next((project for project in self._projects.values() if project.id == identifier), None)
        if found is None:
            raise Refused(
                Code.NOT_FOUND,
                f"No project has the id {identifier[:64]!r}: `crosschat projects list` shows them.",
                path="project",
            )
        return found

    async def add(self, path: str) -> Project:
        """Register a directory for the person. Raises Refused if there is none at this absolute path, or no room."""
        real = await trio.to_thread.run_sync(_real_directory, path)
        async with self._turn:
            known = self._projects.get(real)
            if known is not None and not known.automatic:
                return known
            if known is None and len(self._projects) >= PROJECTS:
                raise Refused(
                    Code.CONFLICT, f"{PROJECTS} directories are registered, which is the most: remove one first."
                )
            added = Project(real)
            await self._write({**self._projects, real: added}, {one: None for one in self._removed if one != real})
        await self._tell()
        return added

    async def remove(self, identifier: str) -> None:
        """Raises Refused. Sessions that work there go on; it does not come back by itself."""
        async with self._turn:
            project = self.find(identifier)
            kept = {path: one for path, one in self._projects.items() if path != project.path}
            removed = [*(one for one in self._removed if one != project.path), project.path]
            await self._write(kept, dict.fromkeys(removed[-REMOVED_KEPT:]))
        await self._tell()

    async def note(self, directories: Iterable[str]) -> None:
        """Register where sessions work, as far as it is a directory that was not removed. Raises Refused."""
        there: list[str] = []
        for directory in directories:
            with suppress(Refused):
                there.append(await trio.to_thread.run_sync(_real_directory, directory))
        async with self._turn:
            found = dict(self._projects)
            for real in there:
                if real not in found and real not in self._removed:
                    found[real] = Project(real, automatic=True)
            surplus = max(
                sum(one.automatic for one in found.values()) - PROJECTS_AUTOMATIC,
                len(found) - PROJECTS,
            )
            for path in [path for path, one in found.items() if one.automatic][: max(0, surplus)]:
                del found[path]
            if found.keys() == self._projects.keys():
                return
            await self._write(found, self._removed)
        await self._tell()

    async def _write(self, projects: dict[str, Project], removed: dict[str, None]) -> None:
        """With the turn, from before what is changed was looked at: two at once would lose one of them."""
        if self.problem is not None:
            raise Refused(Code.CONFLICT, self.problem)
        document = {
            "projects": [
                {"id": one.id, "path": one.path, "name": one.name, "automatic": one.automatic}
                for one in projects.values()
            ],
            "removed": list(removed),
        }
        data = json.dumps(document, ensure_ascii=False, indent=1).encode() + b"\n"
        try:
            await trio.to_thread.run_sync(write_atomically, self._files, self._path, data)
        except OSError as error:
            raise Refused(
                Code.STORAGE_FULL, f"{self._path.name} cannot be written: {error.strerror or error}."
            ) from None
        self._projects, self._removed = projects, removed

    async def _tell(self) -> None:
        await self.look()
        self.changed()

    async def look(self) -> None:
        """See which directories are still there. In a thread: one may be on a disk that does not answer."""
        paths = tuple(self._projects)
        self._missing = await trio.to_thread.run_sync(_missing, paths, abandon_on_cancel=True)

    def views(self, agents: Iterable[Agent]) -> tuple[ProjectView, ...]:
        """All projects, by name, with the ids of those `agents` that work in them or below; whether they are there as
        of the last look."""
        places = [(agent.id, PurePosixPath(agent.cwd)) for agent in agents]
        views = [
            ProjectView(
                id=project.id,
                path=project.path,
                name=project.name,
                exists=project.path not in self._missing,
                automatic=project.automatic,
                agents=tuple(
                    agent for agent, place in places if PurePosixPath(project.path) in (place, *place.parents)
                ),
            )
            for project in self._projects.values()
        ]
        return tuple(sorted(views, key=lambda view: (view.name.casefold(), view.path)))


def _real_directory(path: str) -> str:
    """The directory without links in its path. Raises Refused."""
    path = os.path.expanduser(path)  # of the page: a shell has done that already
    if not path.startswith("/") or len(path) > PATH_CHARS or "\x00" in path:
        raise Refused(Code.INVALID, "The path of a project is absolute.", path="path")
    real = os.path.realpath(path)
    if not os.path.isdir(real):
        raise Refused(Code.NOT_FOUND, f"{path} is no directory.", path="path")
    try:
        real.encode()
    except UnicodeEncodeError:
        raise Refused(Code.INVALID, "The path of a project is UTF-8.", path="path") from None
    return real


def _missing(paths: Iterable[str]) -> frozenset[str]:
    return frozenset(path for path in paths if not os.path.isdir(path))


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.startswith("/"):
        raise TypeError("a path is an absolute path")
    return value


def _nobody() -> None:
    """Nobody has to be told."""
