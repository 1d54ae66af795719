"""Who is meant by a text: mentions, and the audience that follows from them. Pure.

A mention is the longest known name after an `@` that stands at the start of a word: the exact name, else the name
in other case, else the one known agent whose name without its four-character suffix it is. What stands in code
(between backticks) or in an address (`x@here.com`) is not a mention, nor a package (`@types/node`) that has no agent's
name.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Final

import attrs

from crosschat.core.ledger import Audience
from crosschat.errors import Code, Refused
from crosschat.model import USER

if TYPE_CHECKING:
    from collections.abc import Mapping

HERE: Final = "here"
CANDIDATES_SHOWN: Final = 5
# A line of backticks with another after them is a span, not the beginning of a fence (CommonMark 0.31, 4.5).
_FENCE: Final = r"^[ ]{0,3}(?P<ticks>```+(?=[^`\n]*$)|~~~+).*?(?:^[ ]{0,3}(?P=ticks)[`~]*[ \t]*$|\Z)"
_SPAN: Final = r"(?<!`)(?P<run>`+)(?!`).+?(?<!`)(?P=run)(?!`)"
_CODE: Final = re.compile(f"{_FENCE}|{_SPAN}", re.DOTALL | re.MULTILINE)
# Not after a character that makes it part of a word, an address or a path. Letters of other scripts end a name and
# begin one, for they are often written without a space: what was meant for one agent must not go to all.
_MENTION: Final = re.compile(r"(?<![A-Za-z0-9@/])@(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*+)(?P<path>/\w)?", re.ASCII)
_LISTED: Final = re.compile(r"(@[A-Za-z0-9][A-Za-z0-9._-]*)/(?=@)")  # @one/@two are two mentions
_SUFFIX: Final = re.compile(r"-[0-9a-z]{4}$")


@attrs.frozen
class Mentions:
    """What a text mentions: agents by id in the order of writing, and names that are nobody's.

    The author's own name is none of them: it addresses nobody.
    """

    agents: tuple[str, ...] = ()
    here: bool = False
    user: bool = False
    unresolved: tuple[str, ...] = ()

    @property
    def any_resolved(self) -> bool:
        return bool(self.agents) or self.here or self.user


class Directory:
    """Known names, resolvable in each of the three ways. Built anew when an agent joins or is renamed."""

    def __init__(self, names: Mapping[str, str]) -> None:
        """`names`: agent ids by name."""
        self._exact = dict(names)
        self._folded: dict[str, set[str]] = {}
        self._base: dict[str, set[str]] = {}
        for name, agent in names.items():
            self._folded.setdefault(name.lower(), set()).add(agent)
            self._base.setdefault(_SUFFIX.sub("", name).lower(), set()).add(agent)

    def find(self, name: str) -> str | None:
        """The one agent that `name` means, or None."""
        if name in self._exact:
            return self._exact[name]
        for table in (self._folded, self._base):
            found = table.get(name.lower(), set())
            if len(found) == 1:
                return next(iter(found))
        return None

    def candidates(self, name: str) -> list[str]:
        """Known names somebody may have meant by `name`, best first."""
        folded = {known.lower(): known for known in self._exact}
        close = difflib.get_close_matches(name.lower(), folded, n=CANDIDATES_SHOWN, cutoff=0.5)
        same_base = [known for known in self._exact if _SUFFIX.sub("", known).lower() == name.lower()]
        return list(dict.fromkeys([*same_base, *(folded[match] for match in close)]))[:CANDIDATES_SHOWN]


def find_mentions(text: str, directory: Directory, author: str) -> Mentions:
    """The mentions in a message's text. Naming oneself ("@me here, ready") addresses nobody. Never raises."""
    if "@" not in text:
        return Mentions()
    agents: list[str] = []
    unresolved: list[str] = []
    here = user = False
    for match in _MENTION.finditer(_LISTED.sub(r"\1 ", _CODE.sub(" ", text))):
        name = match["name"].rstrip("._-")
        found = (directory.find(part) for part in _readings(match["name"]))
        agent = next((agent for agent in found if agent is not None), None)
        if name.lower() == HERE:
            here = True
        elif name.lower() == USER:
            user = True
        elif agent is None and match["path"] is None:  # with a path it is a package's name
            unresolved.append(name)
        elif agent is not None and agent != author:
            agents.append(agent)
    return Mentions(tuple(dict.fromkeys(agents)), here, user, tuple(dict.fromkeys(unresolved)))


def _readings(written: str) -> list[str]:
    """What the name may be, longest first: as it stands, without the end of a sentence, up to a dot inside it.

    Not up to a `-` or `_`: `@api-wroker` is a slip of the pen and not meant for `api`.
    """
    parts = written.rstrip("._-").split(".")
    return [written, *(".".join(parts[:count]).rstrip("._-") for count in range(len(parts), 0, -1))]


def refuse_unknown(mentions: Mentions, directory: Directory) -> None:
    """Raise Refused if mentions were written and all of them are nobody's; the text names candidates and remedy."""
    if not mentions.unresolved or mentions.any_resolved:
        return
    names = ", ".join(f"@{name}" for name in mentions.unresolved[:CANDIDATES_SHOWN])
    known = list(
        dict.fromkeys(c for name in mentions.unresolved[:CANDIDATES_SHOWN] for c in directory.candidates(name))
    )
    hint = f" Did you mean {', '.join(f'@{name}' for name in known[:CANDIDATES_SHOWN])}?" if known else ""
    raise Refused(
        Code.UNKNOWN_MENTION,
        f"Not sent: nobody is called {names}.{hint} list_peers, or `crosschat peers`, shows all names; write `@…` in "
        "backticks if no agent is meant.",
        path="content",
    )


def audience_of(mentions: Mentions, connected: frozenset[str], author: str) -> Audience:
    """Whom a new channel message reaches: those named, everybody connected, the person, or all."""
    named = frozenset(mentions.agents) | ({USER} if mentions.user else frozenset())
    if mentions.here:
        return Audience(to=(named | connected) - {author}, here=True)
    if named:
        return Audience(to=named, private=True)
    return Audience()
