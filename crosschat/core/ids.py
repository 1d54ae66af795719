"""Ids of messages and agents: made here, from the seq of the record they begin with.

An id is a letter, the seq in base 36, and four characters derived from epoch and seq: `m1a-7f3c`. So finding a
message by its id needs no table, an id of a log that was since replaced by an older copy is recognised as unknown,
and no client's text is ever part of one.
"""

from __future__ import annotations

import re
import zlib
from functools import lru_cache
from typing import Final

_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_PAIRS: Final = tuple(high + low for high in _DIGITS for low in _DIGITS)
_FORM: Final = re.compile(r"([a-z])([0-9a-z]{1,12})-([0-9a-f]{4})")


def make_id(letter: str, epoch: str, seq: int) -> str:
    """The id of what record `seq` of `epoch` begins; `letter` is `m` for messages, `a` for agents, `r` for the rest."""
    high, low = divmod(seq, len(_PAIRS))
    digits = _base36(high) + _PAIRS[low] if high else _PAIRS[low].lstrip("0")
    return f"{letter}{digits}-{zlib.crc32(b'%d' % seq, _crc_of(epoch)) & 0xFFFF:04x}"


@lru_cache(maxsize=64)  # neighbours share their first digits
def _base36(number: int) -> str:
    high, low = divmod(number, len(_PAIRS))
    return _base36(high) + _PAIRS[low] if high else _PAIRS[low].lstrip("0")


@lru_cache(maxsize=16)
def _crc_of(epoch: str) -> int:
    return zlib.crc32(f"{epoch}:".encode())


def seq_of(identifier: str, letter: str) -> int | None:
    """The seq an id was made from, or None if it does not have that form. Whether it exists is not checked."""
    match = _FORM.fullmatch(identifier)
    return int(match[2], 36) if match and match[1] == letter else None
