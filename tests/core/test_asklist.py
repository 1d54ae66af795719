"""The rules of the ask-list and the files that the hooks read."""

from __future__ import annotations

import pytest

from crosschat.core import asklist
from crosschat.errors import Refused


@pytest.mark.parametrize(
    ("rule", "group"),
    [
        ("Bash", "shell"),
        ("Bash(git push:*)", "shell"),
        ("Bash(echo (a) b)", "shell"),
        ("Edit(/etc/**)", "files"),
        ("NotebookEdit", "files"),
        ("WebFetch(domain:example.com)", "web"),
        ("WebSearch", "web"),
        ("mcp__github", "mcp"),
        ("mcp__github__merge", "mcp"),
    ],
)
def test_a_rule_belongs_to_the_group_of_its_tool(rule: str, group: str) -> None:
    assert asklist.group_of(rule) == group


@pytest.mark.parametrize(
    "rule",
    [
        "", "git push", "Bash(", "Bash()", "Bash(x", "Unknown(x)", "mcp__github(x)", "WebFetch(x)", "WebSearch(x)",
        "Bash(a\nBash(b))", "Bash(" + "x" * 300 + ")", "../etc", "Bash(\u202e)",
    ],
)  # fmt: skip
def test_what_is_no_rule_is_refused_with_the_remedy(rule: str) -> None:
    with pytest.raises(Refused, match="is no rule: "):
        asklist.with_rule((), rule)


def test_the_list_has_each_rule_once_and_in_order() -> None:
    rules = asklist.with_rule(asklist.with_rule((), "Bash"), "WebFetch")
    assert asklist.with_rule(rules, "Bash") == rules == ("Bash", "WebFetch")
    assert asklist.without_rule(rules, "Bash") == ("WebFetch",)
    with pytest.raises(Refused, match="not in the list"):
        asklist.without_rule(rules, "Edit")


def test_every_preset_is_made_of_rules() -> None:
    assert set(asklist.PRESETS) == {"push", "delete", "network"}
    for rules in asklist.PRESETS.values():
        assert asklist.kept(list(rules)) == rules


def test_each_group_has_a_file_and_a_group_without_rules_has_none() -> None:
    assert asklist.files_for(("Bash(rm:*)", "mcp__x", "Bash(dd:*)")) == {
        "shell": b"Bash(rm:*)\nBash(dd:*)\n",
        "mcp": b"mcp__x\n",
    }


@pytest.mark.parametrize("stored", [None, 7, "Bash", {"a": 1}, ["nonsense", None]])
def test_what_was_stored_and_is_no_rule_is_left_out(stored: object) -> None:
    assert asklist.kept(stored) == ()
