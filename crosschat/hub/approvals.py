"""What becomes of what was allowed: approvals on their way, until the session's hooks show what ran.

Owns the approvals that are outstanding and the alarms. The comparison is `core.outcomes`'; here is what follows from
it. Nothing waits here: whatever happens is answered with the lines that the audit is to have of it.

What a step called, what ran and the end of the turn may come in any order, because the hooks overtake each other:
whichever is first is kept until the others come, and what was not seen by the end of the turn is waited for until the
next one ends, or the session. A session that was killed is noticed with the next approval of any.

Invariant: the watch file of a session is needed once for each of its approvals, from before the answer leaves until
its tool was seen, cannot run any more, or is one of too many. A crash forgets them all; what such a tool was given is
then compared with nothing.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs

from crosschat import processes
from crosschat.core.outcomes import strangers
from crosschat.core.permissions import Asked
from crosschat.pagewire import PermissionView
from crosschat.processes import Process

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from crosschat.core.outcomes import Ran, Use
    from crosschat.hub.log import Logger
    from crosschat.hub.watchfiles import WatchFiles
    from crosschat.model import JsonObject

OUTSTANDING: Final = 64  # approvals of one session that are followed until their tools ran
ALARMS: Final = 20
SHOWN_INSTEAD: Final = 8  # uses that the line of an alarm has the hashes of


_Call: TypeAlias = tuple[tuple[int, int], str | None]  # a session's process, and the id of a call there


@attrs.frozen(eq=False)
class Request:
    """A request as it was put before the person."""

    view: PermissionView
    asked: Asked
    claude: Process
    began: int  # when the hook's process did; hooks of one session may overtake each other

    def line(self, event: str, **more: object) -> JsonObject:
        """A line of the audit about it."""
        return {
            "event": event,
            "request": self.view.id,
            "agent": self.view.agent,
            "name": self.view.name,
            "tool": self.asked.tool,
            "digest": self.view.digest,
            "hub_nonce": self.view.hub_nonce,
            "asked_at": self.view.received_at,
            **more,
        }


@attrs.frozen
class Witness:
    """A hook that shows what its session does."""

    claude: Process
    began: int

    def saw(self, request: Request) -> bool:
        """Whether the request is of its session, and older than the hook."""
        return request.claude.pin == self.claude.pin and request.began < self.began


def witness(pid: int) -> Witness | None:
    """The hook `pid`, if it is one of a session."""
    claude, hook = processes.find_agent_process(pid), processes.find(pid)
    return Witness(claude, hook.start) if claude is not None and hook is not None else None


class Approvals:
    """See the module. `tell` is called with each alarm and the request it is about, without waiting."""

    def __init__(self, watch: WatchFiles, log: Logger, tell: Callable[[str, Request], None]) -> None:
        self.alarms: list[str] = []
        self._watch = watch
        self._log = log
        self._tell = tell
        self._outstanding: dict[Request, bool] = {}  # oldest first; True once its turn has ended
        self._called: dict[_Call, Request] = {}  # approvals whose step was shown before what ran
        self._ran: dict[_Call, Use] = {}  # what ran that nobody was asked about, before its step was shown

    def follow(self, approved: Request) -> list[JsonObject]:
        """Call it before the answer leaves: the tool may run at once."""
        over = self._of_the_dead()
        of_one = [one for one in self._outstanding if one.claude.pin == approved.claude.pin]
        if len(of_one) >= OUTSTANDING:
            over.append(of_one[0])
        self._outstanding[approved] = False
        self._watch.need(approved.claude.pid)
        return [self._not_run(one) for one in over if one in self._outstanding]

    def _of_the_dead(self) -> list[Request]:
        """Those of sessions that were killed, which no hook tells of."""
        pins = {one.claude.pin for one in self._outstanding}
        alive = {pin for pin in pins if (found := processes.find(pin[0])) is not None and found.pin == pin}
        return [one for one in self._outstanding if one.claude.pin not in alive]

    def unfollow(self, approved: Request) -> None:
        """Its answer did not arrive, or what it allowed was seen. Nothing for one that is not followed any more."""
        if approved in self._outstanding:
            del self._outstanding[approved]
            self._watch.release(approved.claude.pid)
            self._called = {call: one for call, one in self._called.items() if one is not approved}
            if all(one.claude.pin != approved.claude.pin for one in self._outstanding):
                self._ran = {call: use for call, use in self._ran.items() if call[0] != approved.claude.pin}

    def seen(self, by: Witness, ran: Ran, waiting: Sequence[Request]) -> tuple[list[Request], list[JsonObject]]:
        """Take in what ran: which of those that wait were answered in the session's terminal, and the audit's lines."""

        def concerns(one: Request) -> bool:
            return by.saw(one) and one.asked.subagent == ran.subagent

        asking = list(filter(concerns, waiting))
        concerned = list(filter(concerns, self._outstanding))
        unknown = strangers(ran.uses, [(one.asked.tool, one.asked.given) for one in asking + concerned])
        approved = [one for one in concerned if one not in self._called.values()]
        approved.sort(key=lambda one: one.asked.prompt != ran.prompt)  # an equal one of an earlier turn comes last
        answered: list[Request] = []
        lines: list[JsonObject] = []
        for use in ran.uses:
            call = (by.claude.pin, use.id)
            other = self._ran.pop(call, None) if ran.whole else None
            meant = self._called.get(call)
            if meant is not None and meant in concerned:
                if not ran.whole:
                    is_it = use.is_of(meant.asked.tool, meant.asked.given)
                    lines.append(self._has_run(meant) if is_it else self._ran_otherwise(meant, [use]))
            elif (allowed := _first(approved, use)) is not None:
                approved.remove(allowed)
                if ran.whole and use.id is not None and other is None:
                    self._called[call] = allowed
                else:
                    lines.append(self._has_run(allowed) if other is None else self._ran_otherwise(allowed, [other]))
            elif (found := _first(asking, use)) is not None:
                asking.remove(found)
                answered.append(found)
            elif not ran.whole and use.id is not None and approved:
                self._keep(call, use)
        if ran.whole:  # nothing of this step can still wait or run
            answered += asking
            for one in approved:
                if one.asked.prompt == ran.prompt:
                    instead = [use for use in unknown if use.tool == one.asked.tool]
                    lines.append(self._ran_otherwise(one, instead) if instead else self._not_run(one))
        return answered, lines

    def turn_ended(self, by: Witness, *, session_too: bool) -> list[JsonObject]:
        """The session has ended its turn, with `session_too` itself: nothing of that can run any more. What ran at the
        turn's end may still be told by a hook that this one has overtaken."""
        of_it = [one for one in self._outstanding if of_turn(by, one, session_too=session_too)]
        settled = of_it if session_too else [one for one in of_it if self._outstanding[one]]
        self._outstanding.update(dict.fromkeys(of_it, True))
        return [self._not_run(one) for one in settled]

    def _keep(self, call: _Call, use: Use) -> None:
        """Until its step is shown; of too many the oldest goes, whose step has most likely been shown already."""
        while len(self._ran) >= OUTSTANDING:
            del self._ran[next(iter(self._ran))]
        self._ran[call] = use

    def _has_run(self, approved: Request) -> JsonObject:
        self.unfollow(approved)
        return approved.line("ran")

    def _not_run(self, approved: Request) -> JsonObject:
        self.unfollow(approved)
        return approved.line("not_run")

    def _ran_otherwise(self, approved: Request, instead: Sequence[Use]) -> JsonObject:
        """What was allowed did not run; `instead` did, which nobody was asked about here."""
        self.unfollow(approved)
        text = (
            f"{approved.view.name} was allowed to use {approved.asked.tool}, and used it with another input than the "
            "one that was shown. Something else on this machine may change what its tools are given: look at its hooks."
        )
        self.alarms.append(text)
        del self.alarms[:-ALARMS]
        self._log.error("alarm", request=approved.view.id, agent=approved.view.agent, tool=approved.asked.tool)
        self._tell(text, approved)
        return approved.line("alarm", ran_sha256=[_sha256(use.given) for use in instead[:SHOWN_INSTEAD]])


def of_turn(by: Witness, request: Request, *, session_too: bool) -> bool:
    """Whether it belongs to what has ended: the session's turn, with `session_too` all of it."""
    return by.saw(request) and (session_too or request.asked.subagent is None)


def _first(among: Sequence[Request], use: Use) -> Request | None:
    return next((one for one in among if use.is_of(one.asked.tool, one.asked.given)), None)


def _sha256(given: JsonObject) -> str:
    return hashlib.sha256(json.dumps(given, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
