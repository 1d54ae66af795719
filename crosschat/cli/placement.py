"""Files of ours in a folder of the user's: put there, brought up to date, and taken away again, exactly.

Invariant: what is in the folder and is not ours stays, and whatever the user changed in a file of ours is kept beside
it under a dated name before the file is replaced or removed. Ours is what the list in the folder names, with the hash
it was written with.

A new folder appears whole, by one rename. In one that is there each file is replaced by a rename, the list last: open
sessions never miss a file, and an attempt that was cut short is completed by the next.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import attrs

from crosschat.cli.failure import FAILED, Failure
from crosschat.cli.record import NewerFormat, Placed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from crosschat.cli.plugin import File

LIST: Final = ".crosschat-installed.json"
TEMPORARY: Final = ".crosschat-new-"  # what has this prefix is left from an attempt that was cut short

Action = Literal["add", "replace", "keep a copy and replace", "remove", "keep a copy and remove", "nothing to do"]


@attrs.frozen
class Step:
    path: str
    action: Action
    sha256: str | None  # of the new content


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def placed_in(folder: Path, *, shared: bool = False) -> Placed | None:
    """What was put there, or None if nothing is. Raises Failure if something else is there, or the list is damaged.

    A `shared` folder is one of the data directory: files of an earlier product may be in it, and stay.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise Failure(f"{folder} is not a directory: move it away, then try again", FAILED)
    if not folder.is_dir() or not any(folder.iterdir()):
        return None
    try:
        return Placed.from_bytes((folder / LIST).read_bytes())
    except FileNotFoundError:
        if shared:
            return Placed(version="", home="", files={})
        raise Failure(
            f"{folder} is there and `crosschat install` did not make it: move it away, then try again", FAILED
        ) from None
    except NewerFormat:
        raise Failure(f"{folder} was installed by a newer CrossChat: use that one", FAILED) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Failure(f"{folder / LIST} cannot be read ({error}): move {folder} away, then try again", FAILED) from None


def plan(folder: Path, files: Iterable[File], placed: Placed | None) -> list[Step]:
    """What `place` would do, file by file; it changes nothing."""
    wanted = {file.path: file for file in files}
    steps = [Step(file.path, _action(folder, file, placed), sha256(file.content)) for file in wanted.values()]
    for path, digest in sorted(placed.files.items()) if placed else ():
        if path not in wanted and (there := _content(folder / path)) is not None:
            steps.append(Step(path, "remove" if sha256(there) == digest else "keep a copy and remove", None))
    return steps


def _action(folder: Path, file: File, placed: Placed | None) -> Action:
    there = _content(folder / file.path)
    if there is None:
        return "add"
    if there == file.content:
        return "nothing to do" if _mode(folder / file.path) == file.mode else "replace"
    ours = placed is not None and placed.files.get(file.path) == sha256(there)
    return "replace" if ours else "keep a copy and replace"


def _content(path: Path) -> bytes | None:
    """None if there is no file, or one that must not be followed elsewhere. Raises Failure if it cannot be read."""
    try:
        return None if path.is_symlink() else path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error.strerror or error}", FAILED) from None


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def place(folder: Path, files: tuple[File, ...], wanted: Placed, *, shared: bool = False) -> list[Path]:
    """Make the folder hold `files` and the list, and return the copies that were kept. Raises Failure, OSError."""
    placed = placed_in(folder, shared=shared)
    made = placed.made if placed else tuple(str(path) for path in _missing_above(folder))
    hashes = {file.path: sha256(file.content) for file in files}
    wanted = attrs.evolve(wanted, files=hashes, made=made)
    if placed is None:
        _place_new(folder, files, wanted, private=shared)
        return []
    kept = []
    for step in plan(folder, files, placed):
        if step.action.startswith("keep a copy"):
            kept.append(keep_copy(folder / step.path))
        if step.action.endswith("remove"):
            (folder / step.path).unlink(missing_ok=True)
            _prune(folder, [step.path])
    for file in files:
        if _action(folder, file, None) != "nothing to do":
            _write(folder / file.path, file.content, file.mode)
    if _content(folder / LIST) != wanted.to_bytes():
        _write(folder / LIST, wanted.to_bytes(), 0o644)
    _sweep(folder)
    return kept


def _missing_above(folder: Path) -> list[Path]:
    """The directories above the folder that do not exist yet, outermost first."""
    return [parent for parent in reversed(folder.parents) if not parent.exists()]


def _place_new(folder: Path, files: tuple[File, ...], placed: Placed, *, private: bool) -> None:
    for directory in placed.made:
        Path(directory).mkdir(mode=0o700 if private else 0o755, exist_ok=True)
    _sweep(folder.parent)
    new = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=folder.parent))
    try:
        for file in files:
            _write(new / file.path, file.content, file.mode)
        _write(new / LIST, placed.to_bytes(), 0o644)
        new.chmod(folder.parent.stat().st_mode & 0o755)
        new.rename(folder)  # an empty directory in its place is replaced, anything else is not
    except OSError:
        shutil.rmtree(new, ignore_errors=True)
        for path in reversed(placed.made):
            _remove_empty(Path(path))
        raise


def _write(path: Path, content: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content, mode)


def write_atomically(path: Path, content: bytes, mode: int) -> None:
    """Replace a file, or make it: whoever opens it sees the old or the new content. Raises OSError."""
    descriptor, name = tempfile.mkstemp(prefix=TEMPORARY, dir=path.parent)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _sweep(directory: Path) -> None:
    """Remove what an attempt that was cut short has left. Only one `crosschat install` of a user runs at a time."""
    for path in directory.glob(f"{TEMPORARY}*"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def dated(path: Path) -> Path:
    """A free name beside `path` that tells when it was kept."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    name, number = f"{path.name}.kept-{stamp}", 1
    while os.path.lexists(path.with_name(name)):
        number += 1
        name = f"{path.name}.kept-{stamp}-{number}"
    return path.with_name(name)


def keep_copy(path: Path) -> Path:
    """Copy a file to a dated name beside it and return that. Raises OSError."""
    copy = dated(path)
    write_atomically(copy, path.read_bytes(), _mode(path))
    return copy


def remove_plan(folder: Path, placed: Placed) -> list[Step]:
    """What `remove` would do, file by file."""
    steps: list[Step] = []
    for path, digest in sorted(placed.files.items()):
        there = _content(folder / path)
        if there is not None:
            steps.append(Step(path, "remove" if sha256(there) == digest else "keep a copy and remove", None))
    return steps


def remove(folder: Path, placed: Placed) -> list[Path]:
    """Take away what was put there, and return what is left in the folder. Raises Failure, OSError.

    The list goes last, so an attempt that was cut short can be repeated.
    """
    for step in remove_plan(folder, placed):
        if step.action == "keep a copy and remove":
            (folder / step.path).rename(dated(folder / step.path))
        else:
            (folder / step.path).unlink(missing_ok=True)
    _prune(folder, placed.files)
    _sweep(folder)
    (folder / LIST).unlink(missing_ok=True)
    left = sorted(path for path in folder.rglob("*") if not path.is_dir() or path.is_symlink())
    if not _remove_empty(folder):
        return left or [folder]
    for path in reversed(placed.made):
        _remove_empty(Path(path))
    return []


def _prune(folder: Path, paths: Iterable[str]) -> None:
    """Remove the directories of those files that are empty now, innermost first."""
    for parent in sorted({parent for path in paths for parent in Path(path).parents}, reverse=True):
        if parent != Path():
            _remove_empty(folder / parent)


def _remove_empty(directory: Path) -> bool:
    try:
        directory.rmdir()
    except OSError:
        return False
    return True
