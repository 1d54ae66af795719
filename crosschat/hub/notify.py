"""Tells the person, by a command of theirs, that something needs them: one run for each thing, once.

The command is an argument list, run without a shell; on its standard input is one line of JSON: what kind of thing it
is, which session, since when, and the page's address. What was written is in it only if the person asked for that. It
notifies and never decides: its output and its exit status change nothing. It never holds up the hub: at most `AT_ONCE`
run at a time and none longer than `RUN_S`; of what waits beyond `WAITING` only the number is told. What fails is logged
and shown by `crosschat status`. What already needed the person when the hub started, or when the command was set, is
not told again: it is on the page.
"""

from __future__ import annotations

import json
import os
from collections import deque
from typing import TYPE_CHECKING, Final, Literal

import attrs
import trio

from crosschat.core import attention
from crosschat.errors import Code, Refused
from crosschat.hub.instances import arguments_in, keep
from crosschat.hub.launcher import ANOTHER_SESSIONS
from crosschat.hub.pairing import refuse_all_but_a_person
from crosschat.journal.store import Gap
from crosschat.model import Message, iso
from crosschat.programs import finish
from crosschat.wire import Configured, NeedKind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from crosschat.core.attention import Patience
    from crosschat.hub.log import Logger
    from crosschat.hub.router import Router
    from crosschat.hub.settings import Settings
    from crosschat.pagewire import PermissionOver, PermissionView
    from crosschat.wire import Configure, Need

SETTING: Final = "notify"
PATIENCE: Final = "patience"
LEAST_S: Final = 1.0
MOST_S: Final = 30 * 24 * 3600.0
AT_ONCE: Final = 2
WAITING: Final = 20
RUN_S: Final = 10.0
LOOK_S: Final = 10.0  # a message also gets old while nothing happens
SETTLE_S: Final = 1.0  # what comes within this is looked at together
TEXT_CHARS: Final = 300
SAID_CHARS: Final = 300

Kind = Literal["permission", "alarm", "several", "test"] | NeedKind


@attrs.frozen(kw_only=True)
class Notice:
    """One thing to tell. `about` is the id of the message or permission request; `text` what is in it."""

    kind: Kind
    session: str = ""
    about: str | None = None
    since: str | None = None
    text: str | None = None
    count: int = 1


class Notifier:
    """See the module. `page`: where the person can see and answer it, if there is a page."""

    def __init__(
        self,
        router: Router,
        settings: Settings,
        patience: Patience,
        page: Callable[[], str | None],
        log: Logger,
    ) -> None:
        self._router = router
        self._settings = settings
        self._usual = patience
        self._page = page
        self._log = log
        self._known: set[tuple[str, str]] = set()
        self._waiting: deque[Notice] = deque()
        self._left_out = 0
        self._news = trio.Event()
        self._changed = trio.Event()
        self.problem: str | None = None
        kept = settings.get(SETTING)
        values = kept if isinstance(kept, dict) else {}
        self.command = arguments_in(values.get("command"))
        self.contents = values.get("contents") is True
        self.patience = _patience_in(settings.get(PATIENCE), patience)

    def tell(self, notice: Notice) -> None:
        """Have the person notified soon. Never waits, never raises; without a command it does nothing."""
        if not self.command:
            return
        if len(self._waiting) < WAITING:
            self._waiting.append(notice)
        else:
            self._left_out += 1
        self._news.set()

    # --- what the permission desk tells

    def asked(self, view: PermissionView) -> None:
        self.tell(Notice(kind="permission", session=view.name, about=view.id, since=view.received_at))

    def over(self, over: PermissionOver) -> None:
        """Nobody is told any more what was settled meanwhile."""
        for notice in tuple(self._waiting):
            if notice.kind == "permission" and notice.about == over.request:
                self._waiting.remove(notice)

    def alarm(self, text: str, *, agent: str, name: str) -> None:  # as the desk says it
        self.tell(Notice(kind="alarm", session=name, text=text))

    # --- the tasks

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look for what needs the person, and run the command for it, until cancelled; then what runs is killed."""
        upto, self._known = self._router.feed.head, {_key(need) for need in self._needs()}
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._look, upto, name="look for what needs the person")
            for number in range(AT_ONCE):
                nursery.start_soon(self._work, name=f"notify {number + 1}")
            task_status.started()

    # --- looking

    async def _look(self, upto: int) -> None:
        feed = self._router.feed
        while True:
            if not self.command:
                await self._changed.wait()
                continue
            with trio.move_on_after(LOOK_S):
                await feed.wait_beyond(upto)
                await trio.sleep(SETTLE_S)
            upto = feed.head  # what comes while this is told is looked at the next time
            await self._tell_new_needs()

    async def _tell_new_needs(self) -> None:
        needs = self._needs()
        fresh = [need for need in needs if _key(need) not in self._known]
        self._known = {_key(need) for need in needs}
        texts = await self._texts(fresh) if self.contents and fresh else {}
        for need in fresh:
            self.tell(
                Notice(
                    kind=need.kind, session=need.name, about=need.message, since=need.since, text=texts.get(need.seq)
                )
            )

    def _needs(self) -> tuple[Need, ...]:
        router = self._router
        return attention.needs(router.state, router.presence, router.clock_ms(), self.patience)

    async def _texts(self, needs: Sequence[Need]) -> dict[int, str]:
        try:
            records = await self._router.feed.get([need.seq for need in needs])
        except Refused:  # the log cannot be read for the moment; that something is there can be told all the same
            return {}
        return {
            record.seq: record.content[:TEXT_CHARS]
            for record in records
            if not isinstance(record, Gap) and isinstance(record, Message)
        }

    # --- telling

    async def _work(self) -> None:
        while True:
            notice = self._next()
            if notice is None:
                self._news = trio.Event() if self._news.is_set() else self._news
                await self._news.wait()
                continue
            problem = await self._tell_now(notice)
            if problem is not None:
                self._log.warning("notification failed", kind=notice.kind, why=problem)
            self.problem = problem

    def _next(self) -> Notice | None:
        if self._waiting:
            return self._waiting.popleft()
        if self._left_out:
            count, self._left_out = self._left_out, 0
            return Notice(kind="several", count=count)
        return None

    async def _tell_now(self, notice: Notice) -> str | None:
        """Run the command once; what went wrong, if something did."""
        if not self.command:
            return None
        document = {
            "kind": notice.kind,
            "session": notice.session,
            "message": notice.about,
            "since": notice.since or iso(self._router.clock_ms()),
            "count": notice.count,
            "page": self._page(),
            **({"text": notice.text} if self.contents and notice.text is not None else {}),
        }
        return await run_quietly(self.command, json.dumps(document, ensure_ascii=False).encode() + b"\n")

    # --- configuring

    async def configure(self, frame: Configure, pid: int) -> Configured:
        """Show, change or try the command, or change how long is too long. Raises Refused."""
        if frame.about == "patience":
            return await self._configure_patience(frame, pid)
        problem = self.problem
        if frame.change != "show":
            refuse_all_but_a_person(pid)
        if frame.change in ("set", "unset"):
            command = frame.command if frame.change == "set" else ()
            if frame.change == "set" and not (command and command[0]):
                raise Refused(Code.INVALID, "A command is a program and its arguments.", path="command")
            contents = frame.contents and bool(command)
            await keep(self._settings, SETTING, {"command": list(command), "contents": contents} if command else None)
            self.command, self.contents, self.problem, problem = command, contents, None, None
            self._known = {_key(need) for need in self._needs()}
            self._waiting.clear()
            self._left_out = 0
            self._changed.set()
            self._changed = trio.Event()
        elif frame.change == "test":
            if not self.command:
                raise Refused(Code.CONFLICT, "No command is set: `crosschat notify set -- COMMAND` sets one.")
            self.problem = problem = await self._tell_now(Notice(kind="test", session="a test"))
        return Configured(id=frame.id, command=self.command, contents=self.contents, problem=problem)

    async def _configure_patience(self, frame: Configure, pid: int) -> Configured:
        if frame.change != "show":
            refuse_all_but_a_person(pid)
            given = {"unread_s": frame.unread_s, "stuck_s": frame.stuck_s} if frame.change == "set" else {}
            changed = {name: value for name, value in given.items() if value is not None}
            for name, value in changed.items():
                if not LEAST_S <= value <= MOST_S:
                    raise Refused(Code.INVALID, f"{name} goes from {LEAST_S:g} to {MOST_S:g} seconds.", path=name)
            patience = attrs.evolve(self.patience if changed else self._usual, **changed)
            await keep(self._settings, PATIENCE, attrs.asdict(patience) if changed else None)
            self.patience = patience
        return Configured(id=frame.id, unread_s=self.patience.unread_s, stuck_s=self.patience.stuck_s)


def _patience_in(value: object, usual: Patience) -> Patience:
    """From the settings, as far as it is one."""
    kept = value if isinstance(value, dict) else {}
    return attrs.evolve(
        usual,
        unread_s=_seconds(kept.get("unread_s"), usual.unread_s),
        stuck_s=_seconds(kept.get("stuck_s"), usual.stuck_s),
    )


def _seconds(value: object, usual: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return usual
    return float(value) if LEAST_S <= value <= MOST_S else usual


def _key(need: Need) -> tuple[str, str]:
    return need.kind, need.message


async def run_quietly(command: Sequence[str], standard_input: bytes) -> str | None:
    """Run a command with this on its standard input, for at most `RUN_S`; then it and what it started is killed.
    Returns what went wrong, if something did. Cancelled, it kills, too."""
    environment = {name: value for name, value in os.environ.items() if name not in ANOTHER_SESSIONS}
    try:
        done = await finish(command, environment=environment, timeout_s=RUN_S, standard_input=standard_input)
    except (OSError, ValueError) as error:
        return f"{command[0]} cannot be run: {getattr(error, 'strerror', None) or error}"
    except trio.TooSlowError:
        return f"{command[0]} took longer than {RUN_S:g} s and was ended"
    if done.status == 0:
        return None
    words = " ".join(done.err.decode(errors="replace").split())[-SAID_CHARS:]
    return f"{command[0]} ended with status {done.status}{f': {words}' if words else ''}"
