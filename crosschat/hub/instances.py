"""Projects and launches as verbs: for the terminal and for the page, never for an agent.

Who asks may only name a registered directory; the command that is run is the person's or a fixed one, and changed only
by a person at a terminal, as far as the kernel can tell. Where sessions work is registered as they join.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from crosschat.errors import Code, Refused
from crosschat.hub.pairing import refuse_all_but_a_person
from crosschat.limits import BATCH_BYTES, BATCH_OPERATIONS
from crosschat.model import AgentJoined
from crosschat.wire import ChangeProject, Configured, Done, Launched, ProjectList

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from crosschat.hub.launcher import Launcher
    from crosschat.hub.log import Logger
    from crosschat.hub.projects import Projects
    from crosschat.hub.router import Router
    from crosschat.hub.settings import Settings
    from crosschat.wire import Configure, Launch, ProjectView
    from crosschat.wire import Projects as ProjectsFrame

SETTING: Final = "launch"
PATIENCE_S: Final = 60.0  # before directories that could not be written are tried again


class Instances:
    """The registered directories, the sessions in them, and how new ones are started."""

    def __init__(self, router: Router, projects: Projects, launcher: Launcher, settings: Settings, log: Logger) -> None:
        self._router = router
        self._launcher = launcher
        self._settings = settings
        self._log = log
        self.projects = projects
        self.launched: Callable[[str, str], None] = _nobody  # told the project's name and where the session is
        launcher.command = arguments_in(settings.get(SETTING))

    @property
    def way(self) -> str | None:
        """How sessions are started here, for people."""
        return self._launcher.way

    def views(self) -> tuple[ProjectView, ...]:
        connected = self._router.presence.connected
        return self.projects.views(agent for agent in self._router.state.agents.values() if agent.id in connected)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Register where sessions work, from those that join now on, until cancelled."""
        feed, upto = self._router.feed, self._router.feed.head
        task_status.started()
        await self.projects.look()
        while True:
            await feed.wait_beyond(upto)
            head = feed.head
            try:
                records = await feed.after(upto, BATCH_OPERATIONS, BATCH_BYTES)
                directories = [record.cwd for record in records if isinstance(record, AgentJoined)]
                if directories and self.projects.problem is None:
                    await self.projects.note(directories)
            except Refused as refused:  # the disk is full or cannot be read: nothing is lost that matters
                self._log.warning("directory not registered", why=refused.message)
                await trio.sleep(PATIENCE_S)
                continue
            upto = records[-1].seq if records else head

    # --- verbs

    async def list(self, frame: ProjectsFrame) -> ProjectList:
        await self.projects.look()
        return ProjectList(id=frame.id, projects=self.views(), launches=self.way)

    async def change(self, frame: ChangeProject) -> Done:
        """Add or remove one. Raises Refused."""
        if (frame.path is None) == (frame.project is None):
            raise Refused(Code.INVALID, "Give a path to add, or a project to remove.", path="path")
        if frame.path is not None:
            await self.projects.add(frame.path)
        elif frame.project is not None:
            await self.projects.remove(frame.project)
        return Done(id=frame.id)

    async def launch(self, frame: Launch) -> Launched:
        """Start a session. Raises Refused."""
        project = self.projects.find(frame.project)
        if frame.name is not None and self._is_connected(frame.name):
            raise Refused(Code.CONFLICT, f"{frame.name} is connected already: choose another name.", path="name")
        try:
            where = await self._launcher.launch(project, frame.name)
        except Refused as refused:
            self._log.warning("launch failed", project=project.path, why=refused.message)
            raise
        self._log.info("launched", project=project.path, name=frame.name, where=where)
        self.launched(project.name, where)
        return Launched(id=frame.id, where=where)

    def _is_connected(self, name: str) -> bool:
        return any(
            agent.name.lower() == name.lower() and agent.id in self._router.presence.connected
            for agent in self._router.state.agents.values()
        )

    async def configure(self, frame: Configure, pid: int) -> Configured:
        """Show or change the command that starts sessions. Raises Refused."""
        if frame.change == "test":
            raise Refused(
                Code.INVALID, "To try a launch, launch something: `crosschat launch DIRECTORY`.", path="change"
            )
        if frame.change != "show":
            refuse_all_but_a_person(pid)
            command: tuple[str, ...] = ()
            if frame.change == "set":
                self._launcher.check(frame.command)
                command = frame.command
            await keep(self._settings, SETTING, list(command) or None)
            self._launcher.command = command
            self.projects.changed()
        return Configured(id=frame.id, command=self._launcher.command)


async def keep(settings: Settings, key: str, value: object) -> None:
    """Write a setting without holding up the hub. Raises Refused if it cannot be written."""
    try:
        await trio.to_thread.run_sync(settings.put, key, value)
    except OSError as error:
        raise Refused(Code.STORAGE_FULL, f"settings.json cannot be written: {error.strerror or error}.") from None


def arguments_in(value: object) -> tuple[str, ...]:
    """An argument list from the settings; empty if it is none."""
    items: Sequence[object] = value if isinstance(value, list) else ()
    return tuple(item for item in items if isinstance(item, str)) if all(isinstance(one, str) for one in items) else ()


def _nobody(_: str, __: str) -> None:
    """Nobody has to be told."""
