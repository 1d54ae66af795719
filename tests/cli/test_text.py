"""Whatever an agent wrote, the terminal gets only visible characters."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosschat.cli import text

HOSTILE = [
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\x1b]52;c;cm0gLXJmIC8=\x07",
    "\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\",
    "\x9b2J\x9d52;c;eA==\x9c",
    "\x1bP+q544e\x1b\\",
    "\x1b[?1049h\x1bc",
    "over\rwritten",
    "back\x08\x08\x08space",
    "bell\x07 null\x00 delete\x7f",
    "\u202eevil\u202c",
    "\u2066isolated\u2069",
    "\u200b\u200c\u200d\u2060\ufeff",
    "a\u00adb",
    "line\u2028paragraph\u2029next\u0085line",
    "tag\U000e0041\U000e007f",
    "\U000e0100selector",
    "\u3164filler\u115f\u2800",
    "\ud800lone",
    "\ue000private",
    "\uffffnothing",
]
BLANK_LETTERS = "\u034f\u115f\u1160\u2800\u3164\uffa0\U000e0100\ufe00"


def is_visible(character: str) -> bool:
    if character == " " or character in BLANK_LETTERS:
        return character == " "
    category = unicodedata.category(character)
    return category[0] not in "CZ" or (category == "Cn" and 0x1F000 <= ord(character) < 0x1FB00)


@pytest.mark.parametrize("hostile", HOSTILE, ids=ascii)
def test_nothing_hidden_or_active_leaves_plain(hostile: str) -> None:
    for newlines in (False, True):
        shown = text.plain(hostile, newlines=newlines)
        assert all(is_visible(character) for character in shown), ascii(shown)


@pytest.mark.parametrize("hostile", HOSTILE, ids=ascii)
def test_what_is_replaced_leaves_a_visible_trace(hostile: str) -> None:
    hidden = [character for character in hostile if not is_visible(character)]
    shown = text.plain(hostile)
    assert hidden
    assert len(shown) >= len(hostile)
    for character in hidden:
        assert f"U+{ord(character):04X}" in shown or chr(0x2400 + min(ord(character), 0x21)) in shown


@given(st.text(alphabet=st.characters()))
def test_any_text_is_made_visible_and_stays_as_it_is_then(anything: str) -> None:
    shown = text.plain(anything)
    assert all(map(is_visible, shown))
    assert text.plain(shown) == shown


@pytest.mark.parametrize("harmless", ["", "plain", "Grüße, 世界!", "e\u0301", "🎉 ❤️", "tasks & <b>"])
def test_ordinary_text_of_any_language_is_kept(harmless: str) -> None:
    assert text.plain(harmless) == harmless


def test_a_name_is_one_line() -> None:
    assert text.plain("ada\nhub stopped") == "ada␊hub stopped"


def test_a_body_keeps_its_lines_each_indented_so_that_none_passes_for_ours() -> None:
    assert text.body("one\r\n\ttwo\n09:00:00 ada") == "    one\n        two\n    09:00:00 ada"


def test_markup_and_emoji_codes_are_printed_as_written(capsys: pytest.CaptureFixture[str]) -> None:
    text.print_table(("name",), [("[red]ada[/red] :smile: [link=http://evil]x[/link]",), ("\x1b[31mben",)])
    shown = capsys.readouterr().out
    assert "[red]ada[/red] :smile: [link=http://evil]x[/link]" in shown
    assert "␛[31mben" in shown


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_json_is_ascii_without_control_bytes_and_reads_back(anything: str) -> None:
    written = text.to_json({anything: [anything]})
    assert written.isascii()
    assert written.isprintable()
    assert json.loads(written) == {anything: [anything]}
