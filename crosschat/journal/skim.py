"""The usual lines of the log at a glance: messages without their texts, and cursors. A start applies millions. Pure.

Invariant: what is found here is what `decode` would find, and in a line that `decode` refuses there is nothing. So only
a line exactly as `encode` writes the usual message or cursor is taken: its fields in that order and none beside them,
no metadata, no escape but those of one character. Every other line is left to `decode`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final, cast, get_args

from crosschat.journal.fields import hour_start
from crosschat.model import FORMAT, Glance, Headline, Importance, Seen, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# Possessive quantifiers throughout: no line, whoever wrote it, makes the search go back.
_ID: Final = r"[0-9a-z-]{1,36}+"
_IDS: Final = rf'"{_ID}"(?:,"{_ID}")*+'
_WORD: Final = r'[^"\\\x00-\x1f]++'
_TEXT: Final = r'(?:[^"\\\x00-\x1f]++|\\["\\/bfnrt])*+'
_NUMBER: Final = "[1-9][0-9]{0,14}+"
_HOUR: Final = "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:"
_MINUTE: Final = "[0-5][0-9]:[0-5][0-9]"
_MESSAGE: Final = (
    rf'\{{"v":{FORMAT},"seq":({_NUMBER}),"kind":"(?:message|(reply))","id":"({_ID})",'
    rf'"ts":"({_HOUR})({_MINUTE})\.[0-9]{{3}}Z"'
    rf'(?:,"cid":"({_WORD})")?+(?:,"digest":"({_WORD})")?+,"from":"({_ID})","content":"{_TEXT}"'
    rf',"source":"(?:{"|".join(get_args(Source))})"(?:,"to":(\[(?:{_IDS})?+\]))?+(?:,"mentions":(\[{_IDS}\]))?+'
    rf'(,"private":true)?+(,"here":true)?+(?:,"importance":"({"|".join(get_args(Importance))})")?+'
    rf'(?(2),"root":"({_ID})"|)(?:,"more":1)?+,"crc":"[0-9a-f]{{8}}"\}}'
)
_CURSOR: Final = (
    rf'\{{"v":{FORMAT},"seq":({_NUMBER}),"kind":"cursor","id":"{_ID}","ts":"({_HOUR}){_MINUTE}\.[0-9]{{3}}Z"'
    rf',"from":"{_ID}","agent":"({_ID})","upto":({_NUMBER}),"crc":"[0-9a-f]{{8}}"\}}'
)
_groups: Final = cast(
    "Callable[[str], list[tuple[str, ...]]]", re.compile(rf"(?:{_MESSAGE}|{_CURSOR}|[^\n]*+)\n").findall
)
_SECONDS: Final = {f"{second // 60:02d}:{second % 60:02d}": second for second in range(3600)}  # of an hour


def skim(lines: Sequence[bytes]) -> list[Glance | None]:
    """What each sealed line (without newline) says; None where `decode` must tell."""
    try:
        text = b"\n".join((*lines, b"")).decode()
    except UnicodeDecodeError:
        return [None] * len(lines)
    return [_glance(*groups) for groups in _groups(text)]


def _glance(
    seq: str, _reply: str, name: str, hour: str, minute: str, cid: str, digest: str, by: str, to: str, mentions: str,
    private: str, here: str, importance: str, root: str,
    cursor: str, cursor_hour: str, agent: str, upto: str,
) -> Glance | None:  # fmt: skip
    start_s = _hour_start_s(hour or cursor_hour)
    if start_s is None:  # also where there is none
        return None
    if cursor:
        return Seen(int(cursor), agent, int(upto))
    return Headline(
        int(seq),
        name,
        start_s + _SECONDS[minute],
        by,
        cid or None,
        digest or None,
        _ids(to) if to else None,
        _ids(mentions) if mentions else (),
        bool(private),
        bool(here),
        cast("Importance", importance) if importance else None,
        root,
    )


@lru_cache(maxsize=64)
def _hour_start_s(prefix: str) -> int | None:
    try:
        return hour_start(prefix) // 1000
    except ValueError:  # there is no such day
        return None


@lru_cache(maxsize=1024)
def _ids(texts: str) -> tuple[str, ...]:
    return tuple(texts[2:-2].split('","')) if len(texts) > 2 else ()
