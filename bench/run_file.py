"""A run as a JSON document: what `--json` prints and `--save` writes, and `compare` reads again.

What was concluded from it is beside it in what `--json` prints, and is left out when it is read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import attrs
from cattrs.preconf.json import make_converter

from .run import Run

if TYPE_CHECKING:
    from pathlib import Path

FORMAT: Final = 1
CONCLUSIONS: Final = ("targets", "compared")
_CONVERTER: Final = make_converter(forbid_extra_keys=True)


class NotARun(Exception):
    """The text says what is wrong with the file."""


def to_document(run: Run) -> dict[str, object]:
    return {"format": FORMAT, **attrs.asdict(run)}


def load(path: Path) -> Run:
    """Raises NotARun."""
    try:
        document = json.loads(path.read_bytes())
        if not isinstance(document, dict) or document.pop("format", None) != FORMAT:
            raise NotARun(f"{path} holds no run of this version: make one with `crosschat bench --save {path}`")
        for name in CONCLUSIONS:
            document.pop(name, None)
        return _CONVERTER.structure(document, Run)
    except OSError as error:
        raise NotARun(f"{path} cannot be read: {error.strerror or error}") from None
    except NotARun:
        raise
    except Exception as error:  # whatever a converter says of a document that is not one
        raise NotARun(f"{path} holds no run of `crosschat bench --save`: {error}") from None
