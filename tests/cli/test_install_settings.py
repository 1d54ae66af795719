"""`crosschat install` for a client that loads no plugin from a folder: entries in its settings, and out again."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosschat.bridge.tools import TOOLS
from crosschat.cli import install as install_module
from crosschat.cli import json_text, registration
from crosschat.cli.record import Placed
from tests.cli.homes import done, installed, plain_way, tree

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.homes import Run

# Answers as the real client of that age does; it writes its state as the real one does.
CLIENT = """#!{python}
import json, os, pathlib, sys
state = pathlib.Path(os.environ.get("CLAUDE_CONFIG_DIR", os.environ["HOME"]), ".claude.json")
match sys.argv[1:]:
    case ["--version"]:
        print("{version} (Claude Code)")
    case ["plugin", "list", "--json"]:
        if "{listed}" == "unknown":
            sys.exit("error: unknown command 'list'")
        print("{listed}")
    case ["mcp", "add", "-s", "user", name, *words]:
        found = json.loads(state.read_text()) if state.exists() else {{}}
        if name in found.setdefault("mcpServers", {{}}):
            sys.exit(f"MCP server {{name}} already exists in user config")
        options, command = words[:words.index("--")], words[words.index("--") + 1:]
        environment = dict(word.split("=", 1) for word in options if word != "-e")
        found["mcpServers"][name] = {{
            "type": "stdio", "command": command[0], "args": command[1:], "env": environment
        }}
        state.write_text(json.dumps(found, indent=2))
    case other:
        sys.exit(f"not expected: {{other}}")
"""


def put_client(place: Path, *, version: str = "2.1.98", listed: str = "[]") -> None:
    program = place / "no-programs" / "claude"
    program.parent.mkdir(exist_ok=True)
    program.write_text(CLIENT.format(python=sys.executable, version=version, listed=listed))
    program.chmod(0o755)


@pytest.fixture
def old_client(user: Path, place: Path) -> Path:
    assert user.is_relative_to(place)
    put_client(place)
    return place


@pytest.fixture
def settings(user: Path) -> Path:
    return user / ".claude" / "settings.json"


@pytest.fixture
def state(user: Path) -> Path:
    return user / ".claude.json"


def entries(settings: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(settings.read_text())
    return found


def without_copies(home: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in home.items() if ".kept-" not in name}


# --- when, and what


@pytest.mark.usefixtures("user")
@pytest.mark.parametrize(
    ("version", "listed", "form"),
    [
        ("2.0.76", "unknown", "settings"),
        ("2.1.98", "[]", "settings"),
        ("2.1.330", "[]", "plugin"),  # switched off, or forbidden: no reason to edit settings
        ("2.1.330", "unknown", "plugin"),
        ("2.1.330", "[{'id': 1}]", "plugin"),
    ],
)
def test_only_a_client_that_is_too_old_gets_entries_in_its_settings(
    run: Run, place: Path, version: str, listed: str, form: str
) -> None:
    put_client(place, version=version, listed=listed)
    assert installed(run)["form"] == form


@pytest.mark.usefixtures("old_client")
def test_a_person_is_asked_first_and_may_say_no(run: Run, user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install_module, "person_is_there", lambda: True)
    refused = run("install", stdin=b"n\n")
    assert refused.exit_code == 1
    assert "too old" in refused.stdout
    assert tree(user) == {}
    said = done(run("install", stdin=b"y\n"))
    assert "mcp__crosschat__" in said
    assert "restart each" in said


@pytest.mark.usefixtures("old_client")
def test_what_is_registered(run: Run, user: Path, settings: Path, state: Path) -> None:
    shown = installed(run)
    found = entries(settings)
    assert found["permissions"]["allow"] == [f"mcp__crosschat__{tool.name}" for tool in TOOLS]
    assert set(found) == {"permissions", "hooks"}
    assert set(found["hooks"]) <= registration.EVENTS
    assert {"SessionStart", "UserPromptSubmit", "Stop", "SessionEnd", "Notification"} <= set(found["hooks"])
    assert "CLAUDE_PLUGIN_ROOT" not in settings.read_text()
    assert "plugin_crosschat_hub" not in settings.read_text()
    matchers = [group.get("matcher", "") for groups in found["hooks"].values() for group in groups]
    assert not [matcher for matcher in matchers if matcher and re.search(matcher, "mcp__crosschat__send_message")]
    assert [matcher for matcher in matchers if matcher and re.search(matcher, "mcp__other__send_message")]
    server = json.loads(state.read_text())["mcpServers"]["crosschat"]
    assert [server["command"], *plain_way(server)] == [sys.executable, "-I", "-m", "crosschat", "serve"]
    skill = user / ".claude" / "skills" / "crosschat"
    assert [path.name for path in skill.iterdir() if not path.name.startswith(".")] == ["SKILL.md"]
    text = (skill / "SKILL.md").read_text()
    assert "`mcp__crosschat__*`" in text
    assert "claude mcp remove -s user crosschat" in text  # if the program is gone, and `crosschat uninstall` with it
    assert len(text.encode()) < 2000
    assert {one["action"] for one in shown["entries"]} == {"add"}
    assert len(shown["entries"]) == len(TOOLS) + sum(map(len, found["hooks"].values())) + 1


@pytest.mark.usefixtures("old_client")
def test_a_hook_runs_by_a_shell_and_is_silent_when_its_script_is_gone(run: Run, user: Path, settings: Path) -> None:
    done(run("install"))
    (group,) = entries(settings)["hooks"]["SessionStart"]
    (hook,) = group["hooks"]
    script = user / ".crosschat" / "hooks" / "session.sh"
    script.write_text('#!/bin/sh\necho ran with "$1"\n')
    ran = subprocess.run(["/bin/sh", "-c", hook["command"]], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout == "ran with start\n"
    script.unlink()
    ran = subprocess.run(["/bin/sh", "-c", hook["command"]], capture_output=True, text=True, check=True, timeout=60)
    assert (ran.stdout, ran.stderr) == ("", "")


@pytest.mark.usefixtures("old_client")
def test_no_hook_waits_where_the_client_may_stand_still_with_it(run: Run, settings: Path) -> None:
    done(run("install"))
    hooks = [hook for groups in entries(settings)["hooks"].values() for group in groups for hook in group["hooks"]]
    assert not any("asyncRewake" in hook for hook in hooks)
    waits = [hook for hook in hooks if re.search(r"session\.sh['\"]* (wait|stop)", hook["command"])]
    assert [(hook["command"].split("; fi")[0].split()[-2:], hook["timeout"]) for hook in waits] == [
        (["stop", "now"], 5)
    ]


@pytest.mark.usefixtures("old_client")
def test_a_dry_run_names_every_entry_and_changes_nothing(run: Run, user: Path, settings: Path) -> None:
    shown = installed(run, "--dry-run")
    words = done(run("install", "--dry-run"))
    assert tree(user) == {}
    for one in shown["entries"]:
        assert one["where"] in words
    assert f"{settings}: hooks.Stop" in words


@pytest.mark.usefixtures("old_client")
def test_installing_again_changes_nothing(run: Run, user: Path) -> None:
    run("install")
    before = tree(user), {path: path.stat().st_mtime_ns for path in user.rglob("*")}
    assert installed(run)["state"] == "already installed"
    assert (tree(user), {path: path.stat().st_mtime_ns for path in user.rglob("*")}) == before


# --- what was there before

SETTINGS = """{
    "model": "opus",
    "permissions": {
        "allow": [
            "Bash(ls:*)",
            "mcp__crosschat__list_peers"
        ],
        "deny": []
    },
    "hooks": {
        "Stop": [ {"hooks": [{"type": "command", "command": "say done"}]} ],
        "SessionStart": []
    },
    "é": 1.0
}

"""


@pytest.mark.usefixtures("old_client")
def test_what_is_the_users_own_stays_in_its_place_and_form(run: Run, user: Path, settings: Path, state: Path) -> None:
    settings.parent.mkdir()
    settings.write_text(SETTINGS)
    settings.chmod(0o640)
    state.write_text(json.dumps({"numStartups": 3, "mcpServers": {"other": {"command": "x"}}}, indent=2))
    before = tree(user)
    shown = installed(run)
    (copy,) = shown["kept"]
    assert re.fullmatch(rf"{re.escape(str(settings))}\.kept-\d{{8}}T\d{{6}}Z", copy)
    merged = settings.read_text()
    assert settings.stat().st_mode & 0o777 == 0o640
    assert '"Stop": [ {"hooks": [{"type": "command", "command": "say done"}]}, {' in merged
    found = json.loads(merged)
    assert found["permissions"]["allow"].count("mcp__crosschat__list_peers") == 1
    assert found["hooks"]["Stop"][0] == {"hooks": [{"type": "command", "command": "say done"}]}
    assert len(found["hooks"]["Stop"]) == 2
    done(run("uninstall"))
    # The rule for list_peers was the user's own, and the empty arrays were there before.
    assert without_copies(tree(user)) == before


@pytest.mark.usefixtures("old_client")
def test_a_file_that_was_made_for_it_goes_with_it(run: Run, user: Path, state: Path) -> None:
    state.write_text('{"mcpServers": {}}')
    before = tree(user)
    done(run("install"))
    done(run("uninstall"))
    assert json.loads(state.read_text()) == {"mcpServers": {}}
    after = without_copies(tree(user))
    assert after.keys() == before.keys()


@pytest.mark.usefixtures("old_client")
@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b'{"hooks": {}, // mine\n}', "line 1"),
        (b'{"hooks": {"Stop": [],},}', "line 1"),
        (b'{"hooks": {}, "hooks": {}}', "twice"),
        (b'\xef\xbb\xbf{"hooks": {}}', "BOM"),
        (b"\xff", "UTF-8"),
        (b"", "strict JSON"),
        (b"[]", "not a JSON object"),
        (b'{"hooks": []}', "hooks is not an object"),
        (b'{"hooks": {"Stop": {}}}', "hooks.Stop is not an array"),
        (b'{"permissions": null}', "permissions is not an object"),
    ],
)
def test_settings_that_cannot_be_edited_are_reported_and_everything_stays_byte_for_byte(
    run: Run, user: Path, settings: Path, content: bytes, why: str
) -> None:
    settings.parent.mkdir()
    settings.write_bytes(content)
    before = tree(user)
    refused = run("install", "--yes")
    assert refused.exit_code == 1
    assert str(settings) in refused.stderr
    assert why in refused.stderr
    assert "left as it is" in refused.stderr
    assert tree(user) == before


@pytest.mark.usefixtures("old_client")
@pytest.mark.parametrize("command", ["another", "npx"])
def test_another_server_of_the_name_is_not_overwritten(run: Run, user: Path, state: Path, command: str) -> None:
    state.write_text(json.dumps({"mcpServers": {"crosschat": {"command": command, "args": ["crosschat"]}}}))
    before = tree(user)
    refused = run("install")
    assert refused.exit_code == 1
    assert "mcpServers.crosschat" in refused.stderr
    assert tree(user) == before
    if command == "npx":
        assert installed(run, "--replace-npm")["replaced"] is True
        assert json.loads(state.read_text())["mcpServers"]["crosschat"]["command"] == sys.executable


@pytest.mark.usefixtures("user")
def test_without_a_client_there_is_nobody_to_add_the_server(run: Run, user: Path) -> None:
    refused = run("install", "--settings")
    assert refused.exit_code == 1
    assert "no `claude` is on the PATH" in refused.stderr
    assert tree(user) == {}


def test_a_client_that_does_not_add_it_is_quoted_and_the_next_attempt_completes(
    run: Run, user: Path, old_client: Path
) -> None:
    program = old_client / "no-programs" / "claude"
    working = program.read_text()
    program.write_text(working.replace('case ["mcp",', 'case ["never",'))
    refused = run("install")
    assert refused.exit_code == 1
    assert "`claude mcp add` failed" in refused.stderr
    assert "'mcp', 'add'" in refused.stderr
    program.write_text(working)
    assert installed(run)["state"] == "updated"
    assert installed(run)["state"] == "already installed"
    done(run("uninstall"))
    assert {name for name in without_copies(tree(user)) if name != ".claude.json"} == set()


# --- changes


@pytest.mark.usefixtures("old_client")
def test_another_python_is_recorded_by_installing_again(
    run: Run, user: Path, settings: Path, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done(run("install"))
    before = settings.read_bytes()
    moved = tmp_path / "moved environment" / "python"
    moved.parent.mkdir()
    moved.symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(moved))
    monkeypatch.setattr(install_module, "_imports", lambda *_: True)
    assert installed(run)["state"] == "updated"
    assert json.loads(state.read_text())["mcpServers"]["crosschat"]["command"] == str(moved)
    assert shlex.quote(str(moved)) in (user / ".crosschat" / "hooks" / "session.sh").read_text()
    assert settings.read_bytes() == before


def test_a_newer_client_moves_to_the_plugin_and_the_entries_go(
    run: Run, user: Path, settings: Path, state: Path, old_client: Path
) -> None:
    settings.parent.mkdir()
    settings.write_text(SETTINGS)
    done(run("install"))
    put_client(old_client, version="2.1.330", listed="[]")
    shown = installed(run)
    assert (shown["form"], shown["state"]) == ("plugin", "updated")
    assert settings.read_text() == SETTINGS
    assert json.loads(state.read_text())["mcpServers"] == {}
    assert (user / ".claude" / "skills" / "crosschat" / ".mcp.json").is_file()
    done(run("uninstall"))
    assert settings.read_text() == SETTINGS


def test_without_a_client_the_form_stays(run: Run, old_client: Path) -> None:
    done(run("install"))
    (old_client / "no-programs" / "claude").unlink()
    shown = installed(run)
    assert (shown["form"], shown["state"]) == ("settings", "already installed")


@pytest.mark.usefixtures("old_client")
def test_uninstall_names_what_was_changed_since_and_can_be_repeated(run: Run, user: Path, settings: Path) -> None:
    done(run("install"))
    state = user / ".claude.json"
    changed = json.loads(state.read_text())
    changed["mcpServers"]["crosschat"]["args"].append("--mine")
    state.write_text(json.dumps(changed))
    found = entries(settings)
    found["hooks"]["Stop"][0]["hooks"][0]["timeout"] = 99
    settings.write_text(json.dumps(found))
    shown = json.loads(done(run("uninstall", "--json")))
    (problem,) = shown["problems"]
    assert "mcpServers.crosschat was changed since" in problem
    left = entries(settings)
    assert list(left["hooks"]) == ["Stop"]
    assert "permissions" not in left
    del changed["mcpServers"]["crosschat"]
    state.write_text(json.dumps(changed))
    shown = json.loads(done(run("uninstall", "--json")))
    assert (shown["problems"], shown["state"]) == ([], "removed")
    assert not (user / ".claude" / "skills").exists()


@pytest.mark.usefixtures("old_client")
def test_uninstall_leaves_settings_that_are_no_strict_json_and_says_so(run: Run, user: Path, settings: Path) -> None:
    done(run("install"))
    broken = settings.read_text().rstrip().removesuffix("}") + ",}"
    settings.write_text(broken)
    shown = json.loads(done(run("uninstall", "--json")))
    (problem,) = shown["problems"]
    assert str(settings) in problem
    assert settings.read_text() == broken
    assert "was not installed" not in done(run("uninstall"))  # it is still on the list


def test_a_list_of_an_earlier_release_is_read() -> None:
    placed = Placed.from_bytes(b'{"format": 1, "version": "0.1", "home": "/h", "made": [], "files": {"a": "0"}}')
    assert (placed.hub_url, placed.record.entries) == (None, ())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    holder=st.lists(JSON) | st.dictionaries(st.text(), JSON),
    beside=JSON,
    new=JSON,
    indent=st.sampled_from([None, 0, 3, "\t"]),
    ascii_only=st.booleans(),
)
def test_a_member_that_is_put_in_is_taken_out_again_without_a_trace(
    holder: list[object] | dict[str, object], beside: object, new: object, indent: int | str | None, ascii_only: bool
) -> None:
    document = {"before": beside, "place": [0, holder], "after": beside}
    text = json.dumps(document, indent=indent, ensure_ascii=ascii_only) + "\n"
    draft = json_text.Draft(text)
    key = None if isinstance(holder, list) else "a key of ours"
    draft.add(("place", 1), key, new)
    assert json_text.parse(draft.text) == draft.value
    assert draft.at(("place", 1, len(holder) if key is None else key)) == new
    draft.remove([("place", 1, len(holder) if key is None else key)])
    assert draft.text == text
    assert draft.value == document
