"""Which git project a directory belongs to, read from the files git leaves there; git itself is not run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

GITFILE_BYTES: Final = 4096


def project_of(directory: Path) -> str | None:
    """The name of the repository's top directory, of the main one for a worktree; None outside of any."""
    for place in (directory, *directory.parents):
        marker = place / ".git"
        try:
            if marker.is_dir():
                return place.name or None
            if marker.is_file():
                return _main_repository(marker, place).name or None
        except OSError:
            return None
    return None


def _main_repository(marker: Path, place: Path) -> Path:
    """Where `gitdir: MAIN/.git/worktrees/NAME` leads; a submodule's file leads elsewhere and is its own project."""
    with marker.open(errors="replace") as file:
        key, _, target = file.read(GITFILE_BYTES).partition(":")
    gitdir = place / target.strip()
    if key != "gitdir" or gitdir.parent.name != "worktrees":
        return place
    common = gitdir.parent.parent
    return common.parent if common.name == ".git" else common.with_name(common.name.removesuffix(".git"))
