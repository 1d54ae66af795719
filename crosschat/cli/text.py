"""The one way to the terminal for text that is not ours: names, messages, paths and log lines are shown, never obeyed.

Invariant: what leaves `plain` has no character that a terminal acts on or a reader cannot see: control bytes (so no
escape sequence of any kind), direction overrides, zero-width and filler characters, separators other than the
newlines of a message's own text. Each is shown by a visible stand-in, so that nothing is hidden by being dropped.
Tables and colours come from rich and click, with markup and emoji codes switched off: `[red]` stays `[red]`.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

WIDE: Final = 200  # columns of a table that goes into a file or a pipe
# Letters, marks and symbols that show nothing: joiners, fillers, variation selectors beyond the emoji ones.
_BLANKS: Final = frozenset(
    {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0}.union(
        range(0x180B, 0x1810), range(0xFE00, 0xFE0E), range(0xE0000, 0xE1000)
    )
)
_NEW_EMOJI: Final = range(0x1F000, 0x1FB00)  # assigned after this Python's tables were made
_HIDDEN_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


@lru_cache(maxsize=4096)
def _shown(character: str) -> str:
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)  # ␛ for ESC: the picture Unicode has for it
    if code == 0x7F:
        return "\u2421"
    category = unicodedata.category(character)
    if code in _BLANKS or (category in _HIDDEN_CATEGORIES and not (category == "Cn" and code in _NEW_EMOJI)):
        return f"<U+{code:04X}>"
    return " " if category == "Zs" else character


def plain(text: str, *, newlines: bool = False) -> str:
    """`text` with a visible stand-in for everything that is not a visible character.

    `newlines` keeps line ends (as `\\n`) and turns tabs into spaces; only the body of a message may have them.
    """
    if text.isascii() and text.isprintable():
        return text
    if newlines:
        return "\n".join(
            "".join(map(_shown, line.replace("\t", "    "))) for line in text.replace("\r\n", "\n").split("\n")
        )
    return "".join(map(_shown, text))


def echo(*parts: str, err: bool = False) -> None:
    """Print one line of `parts`, which are plain or styled already. Colours leave with the terminal."""
    click.echo("".join(parts), err=err)


def styled(text: str, **style: str | bool) -> str:
    """Plain `text` in a style of click's, such as `fg="green"`."""
    return click.style(plain(text), **style)  # type: ignore[arg-type]  # the options of click.style, by name


def body(text: str, indent: str = "    ") -> str:
    """A message's text on lines of its own, each indented: it cannot pass for a line of ours."""
    return "\n".join(indent + line for line in plain(text, newlines=True).split("\n"))


def to_json(value: object) -> str:
    """Compact JSON in ASCII: what would act on a terminal is escaped, and reads back as it was."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).replace("\x7f", "\\u007f")


def echo_json(value: object) -> None:
    click.echo(to_json(value))


def echo_record(document: object, lines: Iterable[str], *, as_json: bool) -> None:
    """One record of a stream, `document` for scripts or `lines` for people. It is out when this returns."""
    if as_json:
        echo_json(document)
    else:
        for line in lines:
            echo(line)
    sys.stdout.flush()


def console(*, stderr: bool = False) -> Console:
    """Where tables go: without markup, emoji codes and automatic highlighting, and wide where nobody looks."""
    from rich.console import Console

    made = Console(stderr=stderr, markup=False, emoji=False, highlight=False, soft_wrap=False)
    if not made.is_terminal:
        made.width = WIDE
    return made


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table of cells that need not be plain yet."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    console().print(table)
