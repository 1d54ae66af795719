"""The hook that has a session ask: which uses a rule is about, and what is printed in its place."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosschat.core.asklist import PRESETS
from hooks import ask

HOOK = Path(ask.__file__)


@pytest.mark.parametrize(
    ("rule", "command"),
    [
        ("git push:*", "git push"),
        ("git push:*", "git push origin main --force"),
        ("git push:*", "  git   push "),
        ("git push:*", "/usr/bin/git push"),
        ("git push:*", "g\\it 'push'"),
        ("git push:*", 'git "push"'),
        ("git push:*", "git -C /repo push"),
        ("git push:*", "git -c a=b --no-pager push"),
        ("git push:*", "cd /x && git push"),
        ("git push:*", "cd /x;git push"),
        ("git push:*", "true||git push"),
        ("git push:*", "make |git push"),
        ("git push:*", "git status\ngit push"),
        ("git push:*", "git \\\npush"),
        ("git push:*", "(git push)"),
        ("git push:*", "{ git push; }"),
        ("git push:*", "echo $(git push)"),
        ("git push:*", 'echo "$(git push)"'),
        ("git push:*", "echo `git push`"),
        ("git push:*", "A=1 B='2 3' git push"),
        ("git push:*", "sudo -u me git push"),
        ("git push:*", "env X=1 git push"),
        ("git push:*", "timeout 5 git push"),
        ("git push:*", "nohup git push &"),
        ("git push:*", "if true; then git push; fi"),
        ("git push:*", "for x in a; do git push; done"),
        ("git push:*", "bash -c 'git push'"),
        ("git push:*", "sh -c \"cd /x && sh -c 'git push'\""),
        ("git push:*", "eval 'git push'"),
        ("git push:*", "xargs git push < list"),
        ("git push:*", "git push>out"),
        ("git push:*", "git push 'unbalanced"),
        ("git push:*", 'echo "at $(date) and $(git push) or so"'),
        ("git push:*", 'echo "$(echo "$(git push)")"'),
        ("git push:*", "bash <<'END'\ncd x\ngit push\nEND\n"),
        ("git push:*", "cat <<-END\n  $(git push)\n  END\n"),
        ("git push:*", "cat <<END\nit's\nEND\ngit push"),
        ("rm:*", "find . -exec rm {} +"),
        ("find * -delete:*", "find . -name x -delete"),
        ("git reset --hard:*", "git reset HEAD~1 --hard"),
        ("make deploy", "make deploy"),
        ("make *", "make anything at/all"),
    ],
)
def test_a_command_is_found_wherever_it_stands(rule: str, command: str) -> None:
    assert ask.fits("Bash", rule, "Bash", {"command": command})


@pytest.mark.parametrize(
    ("rule", "command"),
    [
        ("git push:*", "git status"),
        ("git push:*", "git log push"),
        ("git push:*", "echo git push"),
        ("git push:*", "echo 'git push'"),
        ("git push:*", "git commit -m 'then git push'"),
        ("git push:*", "gitpush"),
        ("git push:*", "git pushx"),
        ("git push:*", "mygit push"),
        ("git push:*", ""),
        ("git push:*", "git commit -m \"$(cat <<'END'\nIt's done:\ngit push is next\nEND\n)\""),
        ("git push:*", 'git commit -m "$(date) then git push"'),
        ("git push:*", "cat <<END > note\ngit push\nEND"),
        ("git push:*", "cat <<< 'git push'"),
        ("rm:*", "rmdir x"),
        ("rm:*", "farm x"),
        ("make deploy", "make deploy now"),
        ("make deploy", "make"),
        ("make *", "cmake x"),
    ],
)
def test_another_command_is_not(rule: str, command: str) -> None:
    assert not ask.fits("Bash", rule, "Bash", {"command": command})


@pytest.mark.parametrize(
    ("name", "what", "tool", "use", "expected"),
    [
        ("Bash", "", "Bash", {}, True),
        ("Bash", "", "BashOutput", {}, False),
        ("WebFetch", "", "WebFetch", {"url": "x"}, True),
        ("WebFetch", "domain:example.com", "WebFetch", {"url": "https://example.com/x"}, True),
        ("WebFetch", "domain:example.com", "WebFetch", {"url": "http://a.Example.com:8080?x"}, True),
        ("WebFetch", "domain:example.com", "WebFetch", {"url": "https://me@example.com"}, True),
        ("WebFetch", "domain:example.com", "WebFetch", {"url": "https:\\\\example.com\\x"}, True),
        ("WebFetch", "domain:example.com", "WebFetch", {"url": "https://badexample.com/example.com"}, False),
        ("WebFetch", "domain:example.com", "WebFetch", {"url": "https://example.com.evil.net"}, False),
        ("Edit", "/etc/**", "Edit", {"file_path": "/etc/a/b"}, True),
        ("Edit", "/etc/**", "Write", {"file_path": "/etc/hosts"}, True),
        ("Edit", "/etc/**", "NotebookEdit", {"notebook_path": "/etc/n.ipynb"}, True),
        ("Edit", "/etc/**", "Edit", {"file_path": "/srv/../etc/./hosts"}, True),
        ("Edit", "/etc/**", "Edit", {"file_path": "/srv/etc/hosts"}, False),
        ("Write", "/etc/**", "Edit", {"file_path": "/etc/hosts"}, False),
        ("Edit", "/etc/*", "Edit", {"file_path": "/etc/a/b"}, False),
        ("Edit", "*.env", "Edit", {"file_path": "/srv/a/prod.env"}, True),
        ("Edit", ".github/**", "Edit", {"file_path": "/srv/.github/workflows/ci.yml"}, True),
        ("Edit", "~/.ssh/**", "Edit", {"file_path": str(Path.home() / ".ssh" / "config")}, True),
        ("mcp__github", "", "mcp__github__merge", {}, True),
        ("mcp__github__merge", "", "mcp__github__merge", {}, True),
        ("mcp__github", "", "mcp__githubx__merge", {}, False),
    ],
)
def test_other_tools(name: str, what: str, tool: str, use: dict[str, object], expected: bool) -> None:
    assert ask.fits(name, what, tool, use) is expected


@given(st.text(max_size=200), st.sampled_from(sorted(rule for rules in PRESETS.values() for rule in rules)))
def test_any_command_can_be_looked_at(command: str, rule: str) -> None:
    name, _, what = rule.partition("(")
    assert ask.fits(name, what[:-1], "Bash", {"command": command}) in (True, False)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))  # fmt: skip
def test_json_is_read_as_the_json_module_reads_it(value: object) -> None:
    for text in (json.dumps({"v": value}), json.dumps({"v": value}, ensure_ascii=False, indent=1)):
        if not any("\ud800" <= char <= "\udfff" for char in text):
            assert ask.parse(f" {text}\n".encode()) == json.loads(text)


# --- the whole hook


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "shell"
    path.write_text("Bash(git push:*)\nBash(rm:*)\n")
    return path


def run(rules: Path, given: bytes | dict[str, object]) -> object:
    """The permission decision and reason the hook prints; None for nothing. Nobody listens at its socket."""
    data = given if isinstance(given, bytes) else json.dumps(given).encode()
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(HOOK), str(rules.parent / "no.sock"), str(rules)],
        input=data, capture_output=True, timeout=30, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    if not done.stdout:
        return None
    said = json.loads(done.stdout)["hookSpecificOutput"]
    assert said["hookEventName"] == "PreToolUse"
    return said["permissionDecision"], said["permissionDecisionReason"]


def bash(command: str) -> dict[str, object]:
    return {"hook_event_name": "PreToolUse", "tool_name": "Bash", "tool_input": {"command": command}}


@pytest.mark.process
def test_what_is_on_the_list_asks_and_what_is_not_is_silent(rules: Path) -> None:
    assert run(rules, bash("cd x && git push")) == ("ask", "on CrossChat's ask-list: Bash(git push:*)")
    assert run(rules, bash("git status")) is None
    rules.unlink()
    assert run(rules, bash("git push")) is None


@pytest.mark.process
@pytest.mark.parametrize(
    "given",
    [
        b"",
        b"nonsense",
        b"[]",
        b"\xff",
        b'{"tool_name":"Bash"}',
        b'{"tool_name":"Bash","tool_input":"git status"}',
        json.dumps(bash("x" * (1 << 20))).encode(),
        json.dumps(bash("git status; '")).encode().replace(b"status", b"push"),
    ],
)
def test_what_cannot_be_read_asks(rules: Path, given: bytes) -> None:
    found = run(rules, given)
    assert isinstance(found, tuple)
    assert found[0] == "ask"


@pytest.mark.process
def test_rules_that_cannot_be_read_ask(rules: Path) -> None:
    rules.unlink()
    rules.mkdir()
    assert run(rules, bash("git status")) == ("ask", "CrossChat's ask-list could not be applied")
