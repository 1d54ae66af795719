"""Ids of messages and agents: made here, from the seq of the record they begin with.

An id is a letter, the seq in base 36, and four characters derived from epoch and seq: `m1a-7f3c`. So finding a
message by its id needs no table, an id of a log that was since replaced by an older copy is recognised as unknown,
and no client's text is ever part of one.
"""

from __future__ import annotations

import re
import zlib
from typing import Final

_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_FORM: Final = re.compile(r"([a-z])([0-9a-z]{1,12})-([0-9a-f]{4})")


def make_id(letter: str, epoch: str, seq: int) -> str:
    """The id of what record `seq` of `epoch` begins; `letter` is `m` for messages, `a` for agents, `r` for the rest."""
    digits, rest = "", seq
    while rest:
        rest, digit = divmod(rest, 36)
        digits = _DIGITS[digit] + digits
    return f"{letter}{digits}-{zlib.crc32(f'{epoch}:{seq}'.encode()) & 0xFFFF:04x}"


def seq_of(identifier: str, letter: str) -> int | None:
    """The seq an id was made from, or None if it does not have that form. Whether it exists is not checked."""
    match = _FORM.fullmatch(identifier)
    return int(match[2], 36) if match and match[1] == letter else None
