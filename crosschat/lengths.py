"""How long a text may be that a client sends: one table by its name, and one refusal for all who look. Pure.

The bridge looks first, so that a model is told of its own call; the hub looks again, because nothing else is a bound.
"""

from __future__ import annotations

from typing import Final

from crosschat.errors import Code, Refused
from crosschat.limits import CONTENT_BYTES, METADATA_BYTES, NAME_CHARS, PATH_CHARS, SHORT_TEXT_CHARS

BYTES: Final = {"content": CONTENT_BYTES, "result": CONTENT_BYTES, "error": CONTENT_BYTES, "metadata": METADATA_BYTES}
CHARS: Final = {
    "name": NAME_CHARS, "cwd": PATH_CHARS, "project": SHORT_TEXT_CHARS, "session": SHORT_TEXT_CHARS,
    "detail": SHORT_TEXT_CHARS, "badgeValue": SHORT_TEXT_CHARS, "label": SHORT_TEXT_CHARS,
    "filter.agentId": SHORT_TEXT_CHARS, "filter.gitProject": SHORT_TEXT_CHARS, "filter.workingDirReq": PATH_CHARS,
    "probe": SHORT_TEXT_CHARS,
}  # fmt: skip


def check_length(name: str, text: str | None) -> None:
    """Raise Refused if the text is longer than one of this name may be. For `metadata`, the text is its JSON."""
    if text is None:
        return
    if name in BYTES:
        limit = BYTES[name]
        if len(text) * 4 > limit and (size := len(text.encode(errors="replace"))) > limit:
            raise Refused(
                Code.TOO_LARGE,
                f"{name} has {size} bytes; at most {limit} fit. Send it in parts, or write it to a file and send the "
                "path.",
                path=name,
            )
    elif len(text) > CHARS[name]:
        raise Refused(Code.INVALID, f"{name} has {len(text)} characters; at most {CHARS[name]} are allowed.", path=name)
