from __future__ import annotations

from typing import TYPE_CHECKING

from crosschat.bridge.project import project_of

if TYPE_CHECKING:
    from pathlib import Path


def test_a_directory_below_a_repository_is_of_its_project(tmp_path: Path) -> None:
    deep = tmp_path / "app" / "src" / "deep"
    deep.mkdir(parents=True)
    (tmp_path / "app" / ".git").mkdir()
    assert project_of(deep) == "app"


def test_a_worktree_is_of_the_main_repositorys_project(tmp_path: Path) -> None:
    gitdir = tmp_path / "app" / ".git" / "worktrees" / "fix"
    gitdir.mkdir(parents=True)
    tree = tmp_path / "elsewhere" / "fix"
    tree.mkdir(parents=True)
    (tree / ".git").write_text(f"gitdir: {gitdir}\n")
    assert project_of(tree) == "app"


def test_a_worktree_of_a_bare_repository_is_of_its_project(tmp_path: Path) -> None:
    tree = tmp_path / "fix"
    tree.mkdir()
    (tree / ".git").write_text(f"gitdir: {tmp_path}/app.git/worktrees/fix\n")
    assert project_of(tree) == "app"


def test_a_submodule_is_its_own_project(tmp_path: Path) -> None:
    module = tmp_path / "app" / "library"
    module.mkdir(parents=True)
    (tmp_path / "app" / ".git").mkdir()
    (module / ".git").write_text("gitdir: ../.git/modules/library\n")
    assert project_of(module) == "library"


def test_a_strange_git_file_does_not_matter(tmp_path: Path) -> None:
    place = tmp_path / "app"
    place.mkdir()
    (place / ".git").write_bytes(b"\xff\x00" * 10)
    assert project_of(place) == "app"


def test_outside_of_a_repository_there_is_no_project(tmp_path: Path) -> None:
    assert project_of(tmp_path) is None
