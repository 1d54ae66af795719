"""`crosschat ask` and `crosschat audit`: what the hub is asked, what is shown, and how a broken record is reported."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from crosschat import wire
from crosschat.errors import Code
from crosschat.journal.audit import AuditFile, Chain, file_of
from crosschat.journal.files import RealFiles
from tests.cli.fake_hub import FakeHub

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from click.testing import Result

    from crosschat.paths import Home

    Run = Callable[..., Result]

PRESETS = (wire.PresetView(name="push", rules=("Bash(git push:*)", "Bash(npm publish:*)")),)
NOW_MS = 1_800_000_000_000


def listing(frame: wire.ControlFrame) -> Iterable[wire.HubFrame]:
    """A hub that keeps nothing and says what it was asked to add last."""
    assert isinstance(frame, wire.ChangeRules)
    rules = (frame.rule,) if frame.change == "add" and frame.rule else ()
    yield wire.Rules(id=frame.id, rules=rules, presets=PRESETS)


def asked(hub: FakeHub) -> list[tuple[str, str | None]]:
    return [(one.change, one.rule) for one in hub.asked if isinstance(one, wire.ChangeRules)]


def test_rules_and_presets_are_added_one_by_one(run: Run, home: Home) -> None:
    with FakeHub(home, listing) as hub:
        shown = run("ask", "add", "WebFetch", "--preset", "push", "--json")
    assert shown.exit_code == 0, shown.output
    assert asked(hub) == [
        ("list", None), ("add", "WebFetch"), ("add", "Bash(git push:*)"), ("add", "Bash(npm publish:*)")
    ]  # fmt: skip
    assert json.loads(shown.stdout) == {"rules": ["Bash(npm publish:*)"]}


def test_a_rule_is_removed_and_the_list_shown(run: Run, home: Home) -> None:
    with FakeHub(home, listing) as hub:
        assert "the list is empty" in run("ask", "remove", "WebFetch").stdout
        assert "the list is empty" in run("ask").stdout
        assert json.loads(run("ask", "list", "--json").stdout) == {"rules": []}
        shown = [line.strip().split(maxsplit=1) for line in run("ask", "presets").stdout.splitlines()]
        assert shown[0] == ["preset", "rule"]
        assert shown[1:] == [[one.name, rule] for one in PRESETS for rule in one.rules], "one rule a line"
    assert asked(hub)[0] == ("remove", "WebFetch")


@pytest.mark.parametrize("words", [("add",), ("add", "--preset", "nothing"), ("remove",)])
def test_what_cannot_be_meant_is_refused(run: Run, home: Home, words: tuple[str, ...]) -> None:
    with FakeHub(home, listing) as hub:
        shown = run("ask", *words)
    assert shown.exit_code in (1, 2)
    assert [change for change, _ in asked(hub) if change != "list"] == []


def test_a_refusal_is_shown(run: Run, home: Home) -> None:
    def refuse(frame: wire.ControlFrame) -> Iterable[wire.HubFrame]:
        yield wire.Error(id=frame.id, code=Code.FORBIDDEN, message="Run it in a terminal of your own.")

    with FakeHub(home, refuse):
        shown = run("ask", "add", "Bash")
    assert (shown.exit_code, "terminal of your own" in shown.stderr) == (1, True)


# --- the audit


@pytest.fixture
def written(home: Home) -> Home:
    """Three lines."""
    home.root.mkdir(mode=0o700)
    audit = AuditFile(home.root, RealFiles(), Chain())
    about = {"request": "r", "name": "ada\x1b[2J", "tool": "Bash", "digest": "ab" * 32}
    audit.append(NOW_MS, {"event": "decided", **about, "behavior": "allow", "label": "my browser", "key": "12345678",
                          "waited_ms": 1500})  # fmt: skip
    audit.append(NOW_MS, {"event": "ran", **about})
    audit.append(NOW_MS, {"event": "answered_elsewhere", **about, "waited_ms": 10})
    audit.close()
    return home


def test_decisions_are_shown_without_what_would_act_on_a_terminal(run: Run, written: Home) -> None:
    shown = run("audit")
    assert shown.exit_code == 0, shown.output
    assert "allow" in shown.stdout
    assert "my browser (12345678)" in shown.stdout
    assert "answered in the terminal" in shown.stdout
    assert "\x1b" not in shown.stdout
    assert [line["event"] for line in json.loads(run("audit", "show", "--last", "2", "--json").stdout)["lines"]] == [
        "ran", "answered_elsewhere"
    ]  # fmt: skip


def test_an_unbroken_chain_and_a_changed_line(run: Run, written: Home) -> None:
    good = run("audit", "verify", "--json")
    assert good.exit_code == 0
    assert json.loads(good.stdout)["lines"] == 3
    assert "unbroken" in run("audit", "verify").stdout
    path = file_of(written.root)
    path.write_bytes(path.read_bytes().replace(b'"allow"', b'"deny!"'))
    bad = run("audit", "verify")
    assert bad.exit_code == 1
    assert "line 1: it was changed" in bad.stdout
    assert "broken" in run("audit", "show").stdout


def test_without_an_audit_nothing_was_decided(run: Run, home: Home) -> None:
    assert "nothing was decided yet" in run("audit").stdout
    assert run("audit", "verify").exit_code == 0


def test_an_audit_that_cannot_be_read_is_named(run: Run, written: Home) -> None:
    path = file_of(written.root)
    path.unlink()
    path.mkdir()
    shown = run("audit")
    assert shown.exit_code == 1
    assert str(path) in shown.stderr
