"""Which messages a search means, and who may find them. Pure; the words themselves are looked up in an index.

An index row is the text of one message and its *marks*: who wrote it, who may read it, its badges, as hashed words
that no text contains. A search becomes phrases that the text must have and groups of marks of which each must be met,
so that what a session may not read is no candidate at all: neither a result, nor a count, nor a page that is longer
than it looks. The index is never believed about any of this: `fits` asks the state again for every candidate.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import attrs

from crosschat.core.history import parse_badge
from crosschat.core.requests import agent_called, readable
from crosschat.core.views import badges_of
from crosschat.errors import Code, Refused
from crosschat.limits import PAGE_ITEMS_MAX, QUERY_CHARS, QUERY_WORDS
from crosschat.model import CLI, SYSTEM, USER, from_iso

if TYPE_CHECKING:
    from crosschat.core.ledger import Entry
    from crosschat.core.state import State
    from crosschat.model import Actor
    from crosschat.wire import Search

EXCERPT_CHARS: Final = 600  # of a longer text, so much is shown around the first word that was found
BEFORE_CHARS: Final = 120
_TERM: Final = re.compile(r'"([^"]*)"?|(\S+)')


@attrs.frozen
class Sought:
    """What a result has: every phrase in its text, a mark of every group, a time, a seq before `below`."""

    phrases: tuple[str, ...]
    marks: tuple[tuple[str, ...], ...]
    limit: int
    below: int
    since_s: int | None = None
    until_s: int | None = None
    author: str | None = None
    party: str | None = None
    badge: tuple[str, str | None] | None = None


def sought(state: State, who: Actor, search: Search) -> Sought:
    """What `who` looks for. Raises Refused for a value that is out of range or names nobody."""
    if not 1 <= search.limit <= PAGE_ITEMS_MAX:
        raise Refused(Code.INVALID, f"limit is {search.limit}; it goes from 1 to {PAGE_ITEMS_MAX}.", path="limit")
    author = _known(state, search.sender, "sender") if search.sender is not None else None
    party = _known(state, search.party, "party") if search.party is not None else None
    badge = parse_badge(search.badge) if search.badge is not None else None
    groups: list[tuple[str, ...]] = [(_mark("any"),)]
    if who.source == "agent":
        groups.append((_mark("public"), _mark("reader", who.id)))
    if author is not None:
        groups.append((_mark("by", author),))
    if party is not None:
        groups.append((_mark("by", party), _mark("reader", party), _mark("to", party)))
    if badge is not None:
        groups.append((_badge_mark(*badge),))
    return Sought(
        phrases=_phrases(search.query),
        marks=tuple(groups) if len(groups) == 1 else tuple(groups[1:]),
        limit=search.limit,
        below=state.head + 1 if search.before is None else readable(state, who, search.before, path="before").seq,
        since_s=_time_s(search.since, "since"),
        until_s=_time_s(search.until, "until"),
        author=author,
        party=party,
        badge=badge,
    )


def fits(state: State, who: Actor, wanted: Sought, seq: int) -> bool:
    """Whether this message is a result as far as anything but its words goes: asked of the state as it is now."""
    entry = state.ledger.get(seq)
    if entry is None or entry.kind not in ("message", "reply"):
        return False
    if who.source == "agent" and not entry.readable_by(who.id):
        return False
    if wanted.author is not None and entry.author != wanted.author:
        return False
    if wanted.party is not None and wanted.party != entry.author and wanted.party not in (entry.audience.to or ()):
        return False
    if wanted.since_s is not None and entry.at_s < wanted.since_s:
        return False
    if wanted.until_s is not None and entry.at_s > wanted.until_s:
        return False
    if wanted.badge is None:
        return True
    kind, value = wanted.badge
    return any(one.type == kind and value in (None, one.value) for one in badges_of(state, seq))


def lasting_marks(entry: Entry) -> tuple[str, ...]:
    """The marks of a message that never change."""
    addressed = entry.audience.to or frozenset()
    if entry.audience.private:
        reach = [_mark("reader", reader) for reader in sorted({entry.author, *addressed})]
    else:
        reach = [_mark("public"), *(_mark("to", reader) for reader in sorted(addressed))]
    return (_mark("any"), _mark("by", entry.author), *reach)


def badge_marks(state: State, seq: int) -> tuple[str, ...]:
    """The marks of a message that change with its badges."""
    badges = badges_of(state, seq)
    kinds = sorted({badge.type for badge in badges})
    return (
        *(_badge_mark(kind, None) for kind in kinds),
        *sorted({_badge_mark(badge.type, badge.value) for badge in badges}),
    )


def excerpt(text: str, phrases: tuple[str, ...]) -> tuple[int, int]:
    """From where to where to show of `text`: all of it, or around the first phrase that is in it as written."""
    if len(text) <= EXCERPT_CHARS:
        return 0, len(text)
    found = (re.search(_loosely(phrase), text, re.IGNORECASE) for phrase in phrases)
    first = next((match.start() for match in found if match is not None), 0)
    start = max(0, min(first - BEFORE_CHARS, len(text) - EXCERPT_CHARS))
    if start > 0 and (space := re.search(r"\s", text[start:first])) is not None:
        start += space.end()  # not in the middle of a word
    return start, min(len(text), start + EXCERPT_CHARS)


def _loosely(phrase: str) -> str:
    return r"[\W_]+".join(re.escape(word) for word in re.findall(r"[^\W_]+", phrase))


def _phrases(query: str) -> tuple[str, ...]:
    if len(query) > QUERY_CHARS:
        raise Refused(Code.INVALID, f"query has {len(query)} characters; at most {QUERY_CHARS} fit.", path="query")
    terms = [match[1] if match[2] is None else match[2] for match in _TERM.finditer(query)]
    phrases = tuple(term for term in terms if any(map(str.isalnum, term)))  # nothing else is a word of a text
    if query.strip() and not phrases:
        raise Refused(Code.INVALID, "query has no word: only letters and digits are searched.", path="query")
    if len(phrases) > QUERY_WORDS:
        raise Refused(Code.INVALID, f"query has {len(phrases)} words; at most {QUERY_WORDS} fit.", path="query")
    return phrases


def _known(state: State, name: str, path: str) -> str:
    """The id of who is called so. Raises Refused."""
    return name if name in (USER, CLI, SYSTEM) else agent_called(state, name, path=path).id


def _time_s(text: str | None, path: str) -> int | None:
    if text is None:
        return None
    try:
        return from_iso(text) // 1000
    except (ValueError, OverflowError):
        raise Refused(Code.INVALID, f"{path} is no time such as 2026-05-04T03:02:01Z.", path=path) from None


def _badge_mark(kind: str, value: str | None) -> str:
    return _mark("badge", kind) if value is None else _mark("badge", kind, value)


@lru_cache(maxsize=4096)
def _mark(*parts: str) -> str:
    """One word for the index. Equal for equal parts only: lengths are hashed, too."""
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return "x" + hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).hexdigest()
