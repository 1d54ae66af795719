"""Which agent a connecting process is, and what it is called.

Rules, the first that fits: the agent pinned to the same process (it reconnects, or a newer bridge of the same
Claude Code takes over); the absent agent with the same Claude Code session id; the absent agent that asked for the
same name in the same directory; else a new one. So nobody can take over an agent that is connected from another
process. Names are unique among all known agents whatever their case: one that is taken gets a visible suffix, one
that is derived from the directory always has it. The suffixes of a name that was asked for follow from that name
alone, so that its agent is known again by them, and `api-docs` is never taken for an `api` with a suffix.
"""

from __future__ import annotations

import re
import zlib
from itertools import count, islice
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

import attrs

from crosschat.core.ids import make_id
from crosschat.errors import Code, Refused
from crosschat.lengths import check_length
from crosschat.limits import NAME_CHARS
from crosschat.model import NAME_PATTERN, NO_PROCESS, RESERVED_NAMES, AgentJoined, Slot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crosschat.core.presence import Presence
    from crosschat.core.state import Agent, State

SUFFIX_CHARS: Final = 4
SUFFIXES_KNOWN: Final = 64  # of one name; who has a later one is a new agent when it returns
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


@attrs.frozen(kw_only=True)
class Join:
    """What the hub knows of a process that said hello. `process` comes from the kernel, the rest from the hello."""

    process: str
    cwd: str
    name: str | None = None
    project: str | None = None
    session: str | None = None


@attrs.frozen
class Joined:
    """The answer to a Join: the agent it is, and what its person should know."""

    agent: str
    name: str
    notices: tuple[str, ...] = ()


def join(state: State, presence: Presence, asked: Join, slot: Slot) -> tuple[tuple[AgentJoined, ...], Joined]:
    """Decide who it is. The record is left out where nothing changed. Raises Refused for values out of range."""
    _check(asked)
    known = _known(state, presence, asked)
    agent = known.id if known is not None else make_id("a", state.epoch, slot.seq)
    name, notices = _name(state, known, asked, slot)
    record = AgentJoined(
        seq=slot.seq,
        id=make_id("r", state.epoch, slot.seq),
        ts=slot.now_ms,
        by=agent,
        agent=agent,
        name=name,
        cwd=asked.cwd,
        project=asked.project,
        session=asked.session or (known.session if known is not None else None),
        process=asked.process,
        explicit=asked.name is not None,
    )
    changed = known is None or any(
        getattr(known, field) != getattr(record, field)
        for field in ("name", "cwd", "project", "session", "process", "explicit")
    )
    return (record,) if changed else (), Joined(agent, name, notices)


def change_session(state: State, agent: str, session: str, slot: Slot) -> tuple[AgentJoined, ...]:
    """The same agent with another Claude Code session. Raises Refused for an id that is too long."""
    known = state.agents.get(agent)
    if known is None or known.given_up or session in ("", known.session):
        return ()
    check_length("session", session)
    return (
        AgentJoined(
            seq=slot.seq,
            id=make_id("r", state.epoch, slot.seq),
            ts=slot.now_ms,
            by=agent,
            agent=agent,
            name=known.name,
            cwd=known.cwd,
            project=known.project,
            session=session,
            process=known.process,
            explicit=known.explicit,
        ),
    )


def take_up(state: State, presence: Presence, agent: str, earlier: str, slot: Slot) -> tuple[AgentJoined, ...]:
    """The process of `agent` goes on as `earlier`, which is away, and `agent` is given up. A name that was asked for
    stays with the process. Nothing if that is not so any more."""
    now, then = state.agents.get(agent), state.agents.get(earlier)
    if now is None or then is None or now.given_up or then.id in presence.connected:
        return ()
    names = (now.name, then.name) if now.explicit else (then.name, now.name)
    taken = (then.id, names[0], now.explicit or then.explicit, then.session, now.process)
    given_up = (now.id, names[1], False, None, NO_PROCESS)
    return tuple(
        AgentJoined(
            seq=slot.seq + offset,
            id=make_id("r", state.epoch, slot.seq + offset),
            ts=slot.now_ms,
            by=identifier,
            agent=identifier,
            name=name,
            cwd=now.cwd,
            project=now.project,
            session=session,
            process=process,
            explicit=explicit,
        )
        for offset, (identifier, name, explicit, session, process) in enumerate((taken, given_up))
    )


def _check(asked: Join) -> None:
    for name, value in (("cwd", asked.cwd), ("project", asked.project), ("session", asked.session)):
        check_length(name, value)
    if not asked.cwd.startswith("/"):
        raise Refused(Code.INVALID, "cwd is an absolute path", path="cwd")
    if asked.name is not None and (not re.fullmatch(NAME_PATTERN, asked.name) or asked.name.lower() in RESERVED_NAMES):
        raise Refused(Code.INVALID, f"{asked.name[:NAME_CHARS]!r} cannot be a name", path="name")


def _known(state: State, presence: Presence, asked: Join) -> Agent | None:
    absent: list[Agent] = []
    for agent in state.agents.values():
        if agent.process == asked.process:
            return agent
        if agent.id not in presence.connected:
            absent.append(agent)
    for agent in absent:
        if asked.session is not None and agent.session == asked.session:
            return agent
    for agent in absent:
        if asked.name is not None and agent.explicit and agent.cwd == asked.cwd and _asked_for(agent, asked.name):
            return agent
    return None


def _asked_for(agent: Agent, name: str) -> bool:
    """Whether the agent asked for `name`: it has it, perhaps with the suffix it got because the name was taken."""
    return agent.name.lower() in (name.lower(), *islice(_suffixes(name.lower(), _seed(name)), SUFFIXES_KNOWN))


def _seed(name: str) -> str:
    return f"name:{name.lower()}"


def _name(state: State, known: Agent | None, asked: Join, slot: Slot) -> tuple[str, tuple[str, ...]]:
    own = known.id if known is not None else None
    others = [agent for agent in state.agents.values() if agent.id != own and not agent.given_up]
    taken = {agent.name.lower() for agent in others} | RESERVED_NAMES
    if asked.name is None:
        if known is not None and not known.explicit:
            return known.name, ()
        return _suffixed(_from_directory(asked.cwd), taken, f"{asked.process}:{slot.seq}"), ()
    if asked.name.lower() not in taken:
        return asked.name, ()
    if known is not None and known.explicit and _asked_for(known, asked.name):
        name = known.name
    else:
        name = _suffixed(asked.name, taken, _seed(asked.name))
    return name, (f"The name {asked.name!r} belongs to another agent; this one is called {name!r}.",)


def _from_directory(cwd: str) -> str:
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", PurePath(cwd).name).strip("-._")
    return name if name and name[0].isalnum() else "agent"


def _suffixed(base: str, taken: set[str], seed: str) -> str:
    return next(name for name in _suffixes(base, seed) if name.lower() not in taken)


def _suffixes(base: str, seed: str) -> Iterator[str]:
    """Names made of `base` and four characters, without end; always the same ones for the same seed."""
    base = base[: NAME_CHARS - SUFFIX_CHARS - 1].rstrip("-._") or "agent"
    for attempt in count():
        number = zlib.crc32(f"{seed}:{attempt}".encode())
        suffix = ""
        for _ in range(SUFFIX_CHARS):
            number, digit = divmod(number, 36)
            suffix += _DIGITS[digit]
        yield f"{base}-{suffix}"
