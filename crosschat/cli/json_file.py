"""A JSON file of somebody else on the disk: read strictly, and replaced as a whole after a dated copy was kept.

A file with comments, trailing commas or anything else that JSON does not have is refused, with the place of the first
of them, and stays byte for byte as it is; so does one that another program changed since it was read. A link to a file
stays a link. Whoever opens the file sees the old or the new content.
"""

from __future__ import annotations

import os
from pathlib import Path

import attrs

from crosschat.cli import json_text
from crosschat.cli.failure import FAILED, Failure
from crosschat.cli.json_text import Draft, Json
from crosschat.cli.placement import keep_copy, write_atomically

NEW_FILE_MODE = 0o600  # it may come to hold what is private
EMPTY = "{}\n"


class NotUsable(Failure):
    """The file cannot be read as strict JSON; the text says why, and that it is left as it is."""


@attrs.frozen
class JsonFile:
    """As it was read. `content` None: it is not there, which counts as an empty object."""

    path: Path
    content: bytes | None
    value: Json

    def draft(self) -> Draft:
        return Draft(EMPTY if self.content is None else self.content.decode())


def read(path: Path) -> JsonFile:
    """Raises NotUsable."""
    try:
        content = path.read_bytes()
        return JsonFile(path, content, json_text.parse(content.decode()))
    except FileNotFoundError:
        return JsonFile(path, None, {})
    except UnicodeDecodeError as error:
        raise NotUsable(f"{path} is not UTF-8 text at byte {error.start}: it is left as it is", FAILED) from None
    except json_text.NotStrict as error:
        raise NotUsable(
            f"{path} is not strict JSON ({error}): it is left as it is, correct it by hand", FAILED
        ) from None
    except OSError as error:
        raise NotUsable(f"{path} cannot be read ({error.strerror or error}): it is left as it is", FAILED) from None


def replace(file: JsonFile, draft: Draft) -> Path | None:
    """Write what was edited; the copy of what was there, if something was. Raises Failure, OSError, and then nothing
    was changed."""
    if json_text.parse(draft.text) != draft.value:
        raise Failure(f"{file.path} could not be edited without a loss, and is as it was: edit it by hand", FAILED)
    target = Path(os.path.realpath(file.path))
    if file.content is None:
        target.parent.mkdir(parents=True, exist_ok=True)
        _refuse_if_changed(file, target)
        write_atomically(target, draft.text.encode(), NEW_FILE_MODE)
        return None
    copy = keep_copy(target)
    try:
        _refuse_if_changed(file, target)
    except Failure:
        copy.unlink()
        raise
    write_atomically(target, draft.text.encode(), target.stat().st_mode & 0o777)
    return copy


def _refuse_if_changed(file: JsonFile, target: Path) -> None:
    try:
        now: bytes | None = target.read_bytes()
    except FileNotFoundError:
        now = None
    if now != file.content:
        raise Failure(f"{file.path} was changed by another program meanwhile: try again", FAILED)
