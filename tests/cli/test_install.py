"""`crosschat install` and `uninstall` on homes of their own: what is put where, what is kept, and how it goes."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosschat import lock
from crosschat.bridge.tools import TOOLS
from crosschat.cli import install as install_module
from crosschat.cli import json_text, placement, uninstall
from crosschat.cli.failure import Failure
from crosschat.cli.plugin import TOOL_PREFIX
from crosschat.paths import Home
from tests.cli.homes import done, installed, plain_way, tree

if TYPE_CHECKING:
    from tests.cli.homes import Run
    from tests.live.rig import HubProcess

PLUGIN_FILES = {".claude-plugin/plugin.json", ".mcp.json", "SKILL.md", "hooks/hooks.json", "hooks/session.sh"}
SKILL_BYTES = 2000
NPM_SERVER = {"type": "stdio", "command": "npx", "args": ["-y", "claude-crosschat@2"], "env": {}}
NPM_HOOK = {"type": "command", "command": 'node "/usr/lib/node_modules/crosschat/hooks/permission.js"', "timeout": 600}


# --- what is put in place


def test_a_dry_run_names_every_file_with_its_hash_and_changes_nothing(run: Run, user: Path, plugin: Path) -> None:
    shown = installed(run, "--dry-run")
    words = done(run("install", "--dry-run"))
    assert tree(user) == {}
    assert {file["path"] for file in shown["files"]} >= PLUGIN_FILES
    assert {file["action"] for file in shown["files"]} == {"add"}
    run("install")
    for file in shown["files"]:
        assert placement.sha256((plugin / file["path"]).read_bytes()) == file["sha256"]
        assert file["path"] in words
        assert file["sha256"] in words


def test_install_makes_its_folder_the_place_of_the_hooks_and_nothing_else(run: Run, user: Path, plugin: Path) -> None:
    said = done(run("install"))
    files = {str(path.relative_to(plugin)) for path in plugin.rglob("*") if path.is_file()}
    assert files >= PLUGIN_FILES | {placement.LIST}
    outside = set(tree(user)) - {f".claude/skills/crosschat/{name}" for name in tree(plugin)}
    stable = {f".crosschat/hooks/{name}" for name in ("session.sh", "session.py", placement.LIST)}
    assert outside >= stable
    assert {name for name in outside if not name.startswith(".crosschat/hooks/")} == {
        ".claude", ".claude/skills", ".claude/skills/crosschat", ".crosschat", ".crosschat/hooks"
    }  # fmt: skip
    assert (plugin / "hooks" / "session.sh").stat().st_mode & 0o777 == 0o755
    assert "/reload-plugins" in said
    assert "without a prompt" in said
    assert not any(re.search(rb"@[A-Z]+@", (plugin / name).read_bytes()) for name in PLUGIN_FILES)


def test_installing_again_changes_no_byte_and_no_time(run: Run, user: Path) -> None:
    run("install")
    before = tree(user), {path: path.stat().st_mtime_ns for path in user.rglob("*")}
    assert installed(run)["state"] == "already installed"
    assert "already installed" in done(run("install"))
    assert (tree(user), {path: path.stat().st_mtime_ns for path in user.rglob("*")}) == before


def test_the_server_starts_with_the_recorded_python_from_any_directory(run: Run, plugin: Path, tmp_path: Path) -> None:
    run("install")
    server = json.loads((plugin / ".mcp.json").read_text())["mcpServers"]["hub"]
    assert (server["command"], plain_way(server)) == (sys.executable, ["-I", "-m", "crosschat", "serve"])
    assert server["env"] == {}
    (tmp_path / "crosschat.py").write_text("raise SystemExit('a file of the project was imported')")
    ended = subprocess.run(
        [server["command"], *server["args"], "--help"], cwd=tmp_path, capture_output=True, text=True, check=False,
        timeout=60, env={"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr


def test_only_a_data_directory_that_was_chosen_is_recorded(
    run: Run, user: Path, plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def environment() -> object:
        return json.loads((plugin / ".mcp.json").read_text())["mcpServers"]["hub"]["env"]

    run("install")
    assert environment() == {}
    root = os.path.realpath(user)
    done(run("--home", f"{root}/chosen", "install"))
    assert environment() == {"CROSSCHAT_HOME": f"{root}/chosen"}
    monkeypatch.setenv("CROSSCHAT_HOME", f"{root}/other")
    done(run("install"))
    assert environment() == {"CROSSCHAT_HOME": f"{root}/other"}
    assert shlex.quote(f"{root}/other/run/control.sock") in (plugin / "hooks" / "session.sh").read_text()
    monkeypatch.delenv("CROSSCHAT_HOME")
    assert installed(run)["state"] == "already installed"  # an upgrade does not move the sessions


def test_where_the_sockets_are_is_recorded_only_when_install_is_told(
    run: Run, user: Path, plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def recorded() -> tuple[object, bool]:
        environment = json.loads((plugin / ".mcp.json").read_text())["mcpServers"]["hub"]["env"]
        scripts = [plugin / "hooks" / "session.sh", user / ".crosschat" / "hooks" / "session.sh"]
        return environment, all("/run/crosschat/control.sock" in script.read_text() for script in scripts)

    monkeypatch.setenv("CROSSCHAT_HUB_URL", "unix:/run/crosschat")
    refused = run("install")
    assert refused.exit_code == 2
    assert "--hub-url unix:/run/crosschat" in refused.stderr
    assert tree(user) == {}
    done(run("install", "--hub-url", "unix:/run/crosschat"))
    assert recorded() == ({"CROSSCHAT_HUB_URL": "unix:/run/crosschat"}, True)
    monkeypatch.setenv("CROSSCHAT_HUB_URL", "http://localhost:3000")  # the npm package's
    assert installed(run)["state"] == "already installed"
    monkeypatch.delenv("CROSSCHAT_HUB_URL")
    done(run("--home", f"{user}/other", "install"))  # the sockets of another data directory are elsewhere
    assert recorded() == ({"CROSSCHAT_HOME": f"{os.path.realpath(user)}/other"}, False)
    assert tree(user / ".crosschat") == {}


@pytest.mark.parametrize("url", ["http://localhost:3000", "/run/crosschat", "unix:relative", "unix:/" + "x" * 100])
def test_a_place_for_sockets_that_cannot_be_is_refused(run: Run, user: Path, url: str) -> None:
    refused = run("install", "--hub-url", url)
    assert refused.exit_code == 2
    assert "--hub-url" in refused.stderr
    assert tree(user) == {}


def test_the_hooks_lie_privately_in_the_data_directory_beside_what_another_product_left(run: Run, user: Path) -> None:
    stable = user / ".crosschat" / "hooks"
    stable.mkdir(parents=True)
    (stable / "permission.js").write_text("the npm package's")
    (stable / "session.sh").write_text("somebody's")
    before = tree(user)
    (kept,) = installed(run)["kept"]
    assert Path(kept).read_text() == "somebody's"
    assert (stable / "session.sh").stat().st_mode & 0o777 == 0o700
    assert (stable / "session.py").stat().st_mode & 0o777 == 0o600
    assert installed(run)["state"] == "already installed"
    done(run("uninstall"))
    left = tree(user)
    assert left.pop(str(Path(kept).relative_to(user))) == before.pop(".crosschat/hooks/session.sh")
    assert left == before


def test_claude_config_dir_says_where_the_folder_goes(
    run: Run, user: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(place / "moved"))
    run("install")
    assert (place / "moved" / "skills" / "crosschat" / "SKILL.md").is_file()
    assert not any(name.startswith(".claude") for name in tree(user))


def hooks(plugin: Path) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = json.loads((plugin / "hooks" / "hooks.json").read_text())["hooks"]
    return found


def test_exactly_our_ten_tools_are_allowed(run: Run, plugin: Path) -> None:
    run("install")
    group, *asking = hooks(plugin)["PreToolUse"]
    names = [TOOL_PREFIX + tool.name for tool in TOOLS]
    assert len(names) == 10
    assert all(re.search(group["matcher"], name) for name in names)
    for name in names:
        for other in (f"{name}x", f"x{name}", name[:-1], f"{name}\nBash", name.replace("_hub__", "_hubs__"), "Bash"):
            assert not re.search(group["matcher"].replace("$", r"\Z"), other)
    assert not any(re.search(one["matcher"], name) for one in asking for name in names)
    (hook,) = group["hooks"]
    printed = subprocess.run(["/bin/sh", "-c", hook["command"]], capture_output=True, check=True, timeout=60).stdout
    assert json.loads(printed)["hookSpecificOutput"] == {
        "hookEventName": "PreToolUse",
        "permissionDecision": "allow",
        "permissionDecisionReason": "a tool of CrossChat itself, allowed by its installation",
    }


def test_the_session_hooks_run_one_script_without_a_shell_before_it(run: Run, plugin: Path) -> None:
    run("install")
    about_tools = {"PreToolUse", "PermissionRequest", "PostToolUse", "PostToolUseFailure", "PostToolBatch"}
    registered = {event: groups for event, groups in hooks(plugin).items() if event not in about_tools}
    expected = {
        "SessionStart": ["start", "wait"], "UserPromptSubmit": ["prompt", "wait"], "Stop": ["stop"],
        "SessionEnd": ["end"], "Notification": ["notification"],
    }  # fmt: skip
    for event, words in expected.items():
        (run_by_session,) = (group["hooks"] for group in registered[event])
        assert [hook["args"] for hook in run_by_session] == [[word] for word in words]
        for hook, word in zip(run_by_session, words, strict=True):
            assert hook["command"] == "${CLAUDE_PLUGIN_ROOT}/hooks/session.sh"
            in_background = word in ("stop", "wait")  # for they may wait, and then wake the session
            assert (hook.get("async", False), hook.get("asyncRewake", False)) == (
                word == "notification" or in_background,
                in_background,
            )
            assert hook["timeout"] == (86400 if in_background else 5)


def test_permission_is_asked_for_by_scripts_without_a_shell_before_them(run: Run, plugin: Path) -> None:
    run("install")
    found = {
        (event, group.get("matcher", ""), hook["command"].rpartition("/")[2], *hook["args"]): hook
        for event, groups in hooks(plugin).items()
        for group in groups
        for hook in group["hooks"]
        if not hook["command"].startswith("printf") and "session.sh" not in hook["command"]
    }
    assert found.keys() == {
        ("PermissionRequest", "", "permission.sh", "request"),
        ("PreToolUse", "^Bash$", "ask.sh", "shell"),
        ("PreToolUse", "^(?:WebFetch|WebSearch)$", "ask.sh", "web"),
        ("PreToolUse", "^(?:Edit|MultiEdit|Write|NotebookEdit)$", "ask.sh", "files"),
        ("PreToolUse", "^mcp__(?!plugin_crosschat_hub__)", "ask.sh", "mcp"),
        ("PostToolUse", "", "ran.sh", "PostToolUse"),
        ("PostToolUseFailure", "", "ran.sh", "PostToolUseFailure"),
        ("PostToolBatch", "", "ran.sh", "PostToolBatch"),
    }
    for (event, *_), hook in found.items():
        assert hook.get("async", False) is event.startswith("PostTool")
        assert hook["timeout"] == (10 if event.startswith("PostTool") else 3600)


def session_hook(plugin: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [plugin / "hooks" / "session.sh", "start"], input="{}", capture_output=True, text=True, check=False, timeout=60
    )


def test_the_session_hook_gets_the_socket_and_the_event(run: Run, user: Path, plugin: Path) -> None:
    run("install")
    stand_in = "import sys; print(sys.argv[1:], sys.stdin.read(), sys.flags.isolated, sys.flags.no_site)"
    (plugin / "hooks" / "session.py").write_text(stand_in)
    ended = session_hook(plugin)
    socket = Home(Path(os.path.realpath(user)) / ".crosschat").control_socket
    assert ended.stdout == f"{[str(socket), 'start']} {{}} 1 1\n"


@pytest.mark.parametrize("missing", ["the script", "python"])
def test_the_session_hook_is_silent_when_something_is_gone(run: Run, plugin: Path, missing: str) -> None:
    run("install")
    script = plugin / "hooks" / "session.sh"
    if missing == "python":
        script.write_text(script.read_text().replace(sys.executable, "/there/is/no/python"))
    else:
        (plugin / "hooks" / "session.py").unlink(missing_ok=True)
    ended = session_hook(plugin)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_the_text_of_the_command_is_short_and_names_only_tools_that_exist(run: Run, plugin: Path) -> None:
    run("install")
    text = (plugin / "SKILL.md").read_text()
    assert len(text.encode()) < SKILL_BYTES
    named = set(re.findall(r"`([a-z]+_[a-z_]+)`", text))
    assert len(named) >= 7
    assert named <= {tool.name for tool in TOOLS}
    parameters = {name for tool in TOOLS for name in tool.schema.get("properties", {})}  # type: ignore[attr-defined]
    assert set(re.findall(r"`([a-z]+[A-Z]\w+)", text)) <= parameters


# --- what was there before


def test_an_older_one_is_brought_up_to_date_and_what_the_user_changed_is_kept(
    run: Run, plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install_module, "package_version", lambda: "0.0.1")
    run("install")
    listed = json.loads((plugin / placement.LIST).read_text())
    for name, content in (("old.txt", "ours"), ("hooks/older.txt", "ours"), ("changed.txt", "ours")):
        (plugin / name).write_text(content)
        listed["files"][name] = placement.sha256(content.encode())
    (plugin / placement.LIST).write_text(json.dumps(listed))
    (plugin / "changed.txt").write_text("the user's")
    (plugin / "SKILL.md").write_text("the user's skill")
    (plugin / "notes.md").write_text("the user's notes")
    monkeypatch.undo()
    monkeypatch.setenv("HOME", str(plugin.parents[2]))
    shown = installed(run)
    assert shown["state"] == "updated"
    actions = {file["path"]: file["action"] for file in shown["files"]}
    assert actions["SKILL.md"] == "keep a copy and replace"
    assert actions["changed.txt"] == "keep a copy and remove"
    assert actions["old.txt"] == actions["hooks/older.txt"] == "remove"
    assert actions[".mcp.json"] == "nothing to do"
    assert not any((plugin / name).exists() for name in ("old.txt", "hooks/older.txt", "changed.txt"))
    assert (plugin / "notes.md").read_text() == "the user's notes"
    assert sorted(Path(path).read_text() for path in shown["kept"]) == ["the user's", "the user's skill"]
    assert all(re.search(r"\.kept-\d{8}T\d{6}Z", path) for path in shown["kept"])
    assert installed(run)["state"] == "already installed"


def test_another_python_is_recorded_by_installing_again(
    run: Run, plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("install")
    moved = tmp_path / "moved environment" / "python"
    moved.parent.mkdir()
    moved.symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(moved))
    monkeypatch.setattr(install_module, "_imports", lambda *_: True)
    shown = installed(run)
    assert (shown["state"], shown["kept"]) == ("updated", [])
    assert json.loads((plugin / ".mcp.json").read_text())["mcpServers"]["hub"]["command"] == str(moved)


def test_an_attempt_that_was_cut_short_is_completed(run: Run, plugin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("install")
    whole = tree(plugin.parents[2])
    (plugin / "SKILL.md").unlink()
    (plugin / ".crosschat-new-abc").write_text("half")
    assert installed(run)["kept"] == []
    assert tree(plugin.parents[2]) == whole
    shutil.rmtree(plugin.parents[1])
    shutil.rmtree(plugin.parents[2] / ".crosschat")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        failed = run("install")
    assert failed.exit_code == 1
    assert "No space left" in failed.stderr
    assert "run this again" in failed.stderr
    assert tree(plugin.parents[2]) == {}
    done(run("install"))
    assert tree(plugin.parents[2]) == whole


@pytest.mark.parametrize("command", ["install", "uninstall"])
@pytest.mark.parametrize("there", ["a folder of another", "a link", "a file", "a damaged list", "a list that leaves"])
def test_what_we_did_not_put_there_is_refused_and_left(run: Run, plugin: Path, there: str, command: str) -> None:
    plugin.parent.mkdir(parents=True)
    if there == "a link":
        plugin.symlink_to("/etc")
    elif there == "a file":
        plugin.write_text("x")
    else:
        plugin.mkdir()
        (plugin / "SKILL.md").write_text("another skill")
        listed = {"format": 1, "version": "1", "home": "/x", "made": [], "files": {"../../../x": "0"}}
        if there == "a damaged list":
            (plugin / placement.LIST).write_text("{")
        elif there == "a list that leaves":
            (plugin / placement.LIST).write_text(json.dumps(listed))
    before = tree(plugin.parent)
    refused = run(command)
    assert refused.exit_code == 1
    assert str(plugin) in refused.stderr
    assert tree(plugin.parent) == before


# --- the Python and the client


@pytest.mark.usefixtures("user")
@pytest.mark.parametrize("executable", ["", "/there/is/no/python"])
def test_a_missing_python_is_named(run: Run, monkeypatch: pytest.MonkeyPatch, executable: str) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    shown = run("install")
    assert shown.exit_code == 1
    assert (executable or "no path") in shown.stderr


@pytest.mark.parametrize(("works", "options"), [({("-I",), ("-P",)}, ["-I"]), ({("-P",)}, ["-P"])])
def test_the_package_in_a_users_own_directory_is_started_with_another_option(
    run: Run, plugin: Path, monkeypatch: pytest.MonkeyPatch, works: set[tuple[str, ...]], options: list[str]
) -> None:
    monkeypatch.setattr(install_module, "_imports", lambda _, tried: tried in works)
    done(run("install"))
    server = json.loads((plugin / ".mcp.json").read_text())["mcpServers"]["hub"]
    assert plain_way(server) == [*options, "-m", "crosschat", "serve"]


def test_a_package_that_only_this_directory_sees_is_refused(
    run: Run, user: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install_module, "_imports", lambda *_: False)
    shown = run("install")
    assert shown.exit_code == 1
    assert "pip install" in shown.stderr
    assert tree(user) == {}


def test_a_path_that_claude_code_would_change_is_refused(run: Run, user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSCHAT_HOME", f"{user}/${{HOME}}")
    shown = run("install")
    assert shown.exit_code == 2
    assert tree(user) == {}


@pytest.mark.usefixtures("user")
@pytest.mark.parametrize(
    ("listed", "loads", "words"),
    [
        ('[{"id": "crosschat@skills-dir", "enabled": true}]', True, "Claude Code 3.2.1 loads the plugin"),
        ('[{"id": "crosschat@skills-dir", "enabled": false}]', False, "switched off"),
        ("[]", False, "crosschat install --settings"),
        ("no JSON", None, "does not say"),
    ],
)
def test_the_client_says_itself_whether_it_loads_the_plugin(
    run: Run, place: Path, listed: str, loads: bool | None, words: str
) -> None:
    program = place / "no-programs" / "claude"
    program.parent.mkdir()
    program.write_text(
        f"""#!/bin/sh
case $1 in
--version) echo '3.2.1 (Claude Code)' ;;
plugin) [ -r "$CLAUDE_CONFIG_DIR/skills/crosschat/.mcp.json" ] && echo '{listed}' ;;
esac
"""
    )
    program.chmod(0o755)
    assert installed(run)["client"] == {"version": "3.2.1", "loads": loads}
    assert words in done(run("install"))


# --- an earlier CrossChat


def write_settings(user: Path) -> dict[str, Path]:
    """What the npm package left in a home, among other things."""
    (user / ".claude" / "commands").mkdir(parents=True)
    state = {"numStartups": 3, "mcpServers": {"a": {"command": "x"}, "crosschat": NPM_SERVER, "z": {}}, "é": 1.0}
    settings = {
        "hooks": {
            "PermissionRequest": [{"matcher": "*", "hooks": [NPM_HOOK]}],
            "Stop": [
                {"hooks": [{"type": "command", "command": "say done"}, NPM_HOOK, NPM_HOOK]},
                {"hooks": [{"type": "command", "command": "node other.js"}]},
            ],
        },
        "model": "opus",
    }
    paths = {
        "state": user / ".claude.json",
        "settings": user / ".claude" / "settings.json",
        "command": user / ".claude" / "commands" / "crosschat.md",
    }
    paths["state"].write_text(json.dumps(state, indent=2, ensure_ascii=False))
    paths["state"].chmod(0o600)
    paths["settings"].write_text(json.dumps(settings, indent=4) + "\n\n")
    paths["command"].write_text("Use crosschat")
    return paths


def test_an_earlier_one_is_reported_and_left_without_consent(run: Run, user: Path) -> None:
    paths = write_settings(user)
    before = {path: path.read_bytes() for path in paths.values()}
    shown = installed(run)
    assert shown["replaced"] is False
    assert len(shown["earlier"]) == 5
    words = done(run("install"))
    assert "--replace-npm" in words
    assert all(str(path) in words for path in paths.values())
    assert {path: path.read_bytes() for path in paths.values()} == before


@pytest.mark.parametrize("option", ["--yes", "--replace-npm"])
def test_an_earlier_one_is_replaced_and_nothing_beside_it(run: Run, user: Path, option: str) -> None:
    paths = write_settings(user)
    before = {name: path.read_text() for name, path in paths.items()}
    shown = installed(run, option)
    assert shown["replaced"] is True
    entry = json.dumps({"crosschat": NPM_SERVER}, indent=2)[1:-2].replace("\n", "\n  ")
    assert paths["state"].read_text() == before["state"].replace(f"{entry},", "")
    assert paths["state"].stat().st_mode & 0o777 == 0o600
    assert json.loads(paths["settings"].read_text()) == {
        "hooks": {
            "PermissionRequest": [],
            "Stop": [
                {"hooks": [{"type": "command", "command": "say done"}]},
                {"hooks": [{"type": "command", "command": "node other.js"}]},
            ],
        },
        "model": "opus",
    }
    assert paths["settings"].read_text().endswith("}\n\n")
    assert not paths["command"].exists()
    assert sorted(Path(path).read_text() for path in shown["kept"]) == sorted(before.values())
    again = installed(run, option)
    assert (again["state"], again["earlier"], again["kept"]) == ("already installed", [], [])


@pytest.mark.parametrize(("answer", "replaced"), [("y", True), ("n", False)])
def test_a_person_is_asked(run: Run, user: Path, monkeypatch: pytest.MonkeyPatch, answer: str, replaced: bool) -> None:
    paths = write_settings(user)
    monkeypatch.setattr(install_module, "person_is_there", lambda: True)
    said = done(run("install", stdin=f"{answer}\n".encode()))
    assert "Replace exactly that?" in said
    assert paths["command"].exists() is not replaced


@pytest.mark.parametrize(
    "content",
    [
        b'{"mcpServers": {"crosschat": {"command": "npx", "args": ["crosschat"]}, }}',
        b'{"mcpServers": {"crosschat": {"command": "npx", "args": ["crosschat"]}}} // mine',
        b'{"mcpServers": {}, "mcpServers": {"crosschat": {"command": "npx", "args": ["crosschat"]}}}',
        b'{"mcpServers": {"crosschat": {"command": "npx", "args": ["crosschat"], "n": NaN}}}',
        b"\xff",
        b"",
        b"[" * 100_000,
    ],
)
def test_settings_that_are_not_strict_json_are_reported_and_never_repaired(
    run: Run, user: Path, content: bytes
) -> None:
    path = user / ".claude.json"
    path.write_bytes(content)
    shown = installed(run, "--yes")
    assert path.read_bytes() == content
    assert shown["replaced"] is False
    (problem,) = shown["problems"]
    assert str(path) in problem
    assert "left as it is" in problem


@pytest.mark.parametrize(
    "entry",
    [
        {"type": "http", "url": "http://127.0.0.1:3000/crosschat"},
        {"command": "npx", "args": ["another-server"]},
        {"command": "/usr/bin/mine", "args": ["crosschat"]},
        "crosschat npx",
        {"command": ["npx", "crosschat"]},
        {},
    ],
)
def test_an_entry_that_is_not_ours_is_left_alone(run: Run, user: Path, entry: object) -> None:
    path = user / ".claude.json"
    path.write_text(json.dumps({"mcpServers": {"crosschat": entry}}))
    before = path.read_bytes()
    assert installed(run, "--yes")["earlier"] == []
    assert path.read_bytes() == before


def test_a_server_entry_made_by_hand_is_found_because_sessions_would_join_twice(run: Run, user: Path) -> None:
    (user / ".claude.json").write_text('{"mcpServers":{"crosschat":{"command":"/x/bin/crosschat","args":["serve"]}}}')
    (found,) = installed(run, "--yes")["earlier"]
    assert "crosschat serve" in found["what"]
    assert (user / ".claude.json").read_text() == '{"mcpServers":{}}'


def test_settings_behind_a_link_stay_behind_it(run: Run, user: Path, place: Path) -> None:
    (place / "dotfiles.json").write_text('{"mcpServers":{"crosschat":{"command":"npx","args":["crosschat"]}},"a":1}')
    (user / ".claude.json").symlink_to(place / "dotfiles.json")
    assert installed(run, "--yes")["replaced"] is True
    assert (user / ".claude.json").readlink() == place / "dotfiles.json"
    assert (place / "dotfiles.json").read_text() == '{"mcpServers":{},"a":1}'


DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(
    holder=st.lists(DOCUMENTS, min_size=1) | st.dictionaries(st.text(), DOCUMENTS, min_size=1),
    around=st.text(),
    indent=st.sampled_from([None, 0, 3, "\t"]),
    ascii_only=st.booleans(),
    data=st.data(),
)
def test_a_member_is_cut_out_of_any_json_and_all_else_stays(
    holder: list[object] | dict[str, object],
    around: str,
    indent: int | str | None,
    ascii_only: bool,
    data: st.DataObject,
) -> None:
    text = json.dumps({around: [0, holder]}, indent=indent, ensure_ascii=ascii_only) + "\n"
    keys: list[Any] = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
    key = data.draw(st.sampled_from(keys))
    left = json_text.without(text, (around, 1, key))
    del holder[key]
    assert json_text.parse(left) == {around: [0, holder]}
    same = next((place for place, pair in enumerate(zip(text, left, strict=False)) if pair[0] != pair[1]), len(left))
    assert text.endswith(left[same:])


# --- taking it away


@pytest.mark.parametrize("before", ["nothing", "another skill", "an empty folder for skills"])
def test_uninstall_leaves_the_home_as_it_was(run: Run, user: Path, plugin: Path, before: str) -> None:
    if before != "nothing":
        plugin.parent.mkdir(parents=True)
    if before == "another skill":
        (plugin.parent / "other").mkdir()
        (plugin.parent / "other" / "SKILL.md").write_text("text")
    there = tree(user)
    done(run("install"))
    assert tree(user) != there
    said = done(run("uninstall"))
    assert tree(user) == there
    assert "/reload-plugins" in said
    assert "was not installed" in done(run("uninstall"))


def test_uninstall_keeps_and_names_what_is_not_ours_or_was_changed(run: Run, plugin: Path) -> None:
    run("install")
    (plugin / "notes.md").write_text("the user's notes")
    (plugin / "hooks" / "hooks.json").write_text("changed")
    shown = json.loads(done(run("uninstall", "--json")))
    left = sorted(Path(path).name for path in shown["left"])
    assert left[1] == "notes.md"
    assert left[0].startswith("hooks.json.kept-")
    assert {name for name in tree(plugin) if tree(plugin)[name] != "directory"} == {"notes.md", f"hooks/{left[0]}"}


def test_an_installed_upgrade_is_removed_as_exactly(run: Run, user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(install_module, "package_version", lambda: "0.0.1")
        done(run("install"))
    assert installed(run)["state"] == "updated"
    done(run("uninstall"))
    assert tree(user) == {}


@pytest.mark.usefixtures("user")
def test_data_are_removed_only_after_a_confirmation(run: Run, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.root.mkdir()
    (home.root / "FORMAT").write_text("{}")
    (home.root / "messages").mkdir()
    before = tree(home.root)
    assert run("uninstall", "--data").exit_code == 2
    monkeypatch.setattr(uninstall, "person_is_there", lambda: True)
    assert run("uninstall", "--data", stdin=b"n\n").exit_code == 1
    assert tree(home.root) == before
    assert str(home.root) in done(run("uninstall", "--data", stdin=b"y\n"))
    assert not home.root.exists()


@pytest.mark.usefixtures("user")
def test_a_directory_that_is_not_ours_is_never_removed(run: Run, home: Home) -> None:
    home.root.mkdir()
    (home.root / "thesis.tex").write_text("years of work")
    refused = run("uninstall", "--data", "--yes")
    assert refused.exit_code == 1
    assert "nothing was removed" in refused.stderr
    (home.root / "FORMAT").write_text("{}")
    shown = json.loads(done(run("uninstall", "--data", "--yes", "--json")))
    assert shown["data"]["left"] == [str(home.root / "thesis.tex")]
    assert os.listdir(home.root) == ["thesis.tex"]


@pytest.mark.process
def test_uninstall_stops_the_hub_that_the_plugin_uses_and_removes_all_it_has_made(
    run: Run, user: Path, running_hub: HubProcess
) -> None:
    home = running_hub.home.root
    done(run("--home", str(home), "install"))
    done(run("--home", str(home), "send", "hello"))
    shown = json.loads(done(run("uninstall", "--data", "--yes", "--json")))
    assert shown["hubStopped"] == running_hub.process.pid
    assert running_hub.wait() == 0
    assert shown["data"] == {"home": str(home), "removed": True, "left": []}
    assert not home.exists()
    assert tree(user) == {}


def test_uninstall_refuses_while_another_process_has_the_data(
    run: Run, user: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.root.mkdir()
    (home.root / "FORMAT").write_text("{}")
    monkeypatch.setattr(uninstall, "stop_hub", lambda _: None)
    monkeypatch.setattr(lock, "try_hold", lambda _: None)
    assert run("uninstall", "--data", "--yes").exit_code == 1
    assert (home.root / "FORMAT").exists()
    assert tree(user) == {}


def test_copies_of_the_same_second_have_names_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("1")
    copies = {placement.keep_copy(path) for _ in range(3)}
    assert len(copies) == 3
    assert all(copy.read_text() == "1" for copy in copies)


def test_a_file_that_another_program_changes_meanwhile_is_left(
    run: Run, user: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = user / ".claude.json"
    path.write_text('{"mcpServers":{"crosschat":{"command":"npx","args":["crosschat"]}}}')
    from crosschat.cli import json_file

    def changes(target: Path) -> Path:
        copy = placement.keep_copy(target)
        target.write_text('{"newer": true}')
        return copy

    monkeypatch.setattr(json_file, "keep_copy", changes)
    refused = run("install", "--yes")
    assert refused.exit_code == 1
    assert "changed by another program" in refused.stderr
    assert path.read_text() == '{"newer": true}'


def test_a_failure_is_a_sentence(user: Path) -> None:
    (user / "file").write_text("")
    with pytest.raises(Failure):
        placement.placed_in(user / "file")
