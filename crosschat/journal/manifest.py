"""Files that grow with the log without checksums, and the note of how far they are.

Invariant: `sizes` has every file that was written, with its length, after all records up to `seq`;
the note on disk says the same for some earlier seq. Before anything is added to a file it is cut
back to its known size, so a write that failed halfway, or a crash, leaves nothing twice.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Final

import attrs

from crosschat.journal.files import Files, exists, read_whole, write_all
from crosschat.model import ID_PATTERN

DIRECTORIES: Final = ("threads", "badges", "tasks")
_OURS: Final = re.compile(rf"general\.jsonl|threads/{ID_PATTERN}\.jsonl|(badges|tasks)/{ID_PATTERN}\.json")
LAYOUT: Final = 2  # what the files contain; a note about another layout has them all made anew
_NOTE_BYTES: Final = 1 << 28


class Foreign(Exception):
    """A file is not as this left it; everything was forgotten and will be written anew."""


@attrs.define(eq=False)
class Manifest:
    """The files below `directory`, for the log of `epoch`; nothing is known until `open`."""

    directory: Path
    note: Path
    files: Files
    epoch: str
    opened: bool = False
    seq: int = 0
    unsaved: int = 0
    sizes: dict[str, int] = attrs.Factory(dict)

    def open(self) -> list[str]:
        """Take the files up where the note says, or delete all of them. Raises OSError.

        Returns the badge and task files that are gone or not as long as they were; give their
        contents to `write` next.
        """
        self.seq, self.sizes = self._read_note()
        growing = {path: size for path, size in self.sizes.items() if path.endswith(".jsonl")}
        if not all(self._reaches(path, size) for path, size in growing.items()):
            self.seq, self.sizes = 0, {}
        there = self._list()
        for path, size in there.items():
            if path not in self.sizes:
                self.files.unlink(self.directory / path)
            elif path in growing and size != self.sizes[path]:
                self._cut(path)
        self.opened = True
        return [path for path, size in self.sizes.items() if path not in growing and there.get(path) != size]

    def write(self, seq: int, lines: dict[str, bytes], documents: dict[str, bytes | None]) -> None:
        """Add the lines and replace the documents; then everything up to `seq` is in the files.

        Raises OSError: call it again with the same. Raises Foreign: begin with `open`.
        """
        sizes = dict(self.sizes)
        for path, data in lines.items():
            sizes[path] = self._add(path, data)
        for path, content in documents.items():
            if content is None:
                sizes.pop(path, None)
                with suppress(FileNotFoundError):
                    self.files.unlink(self.directory / path)
            else:
                self._replace(self.directory / path, content)
                sizes[path] = len(content)
        self.unsaved += seq - self.seq
        self.seq, self.sizes = seq, sizes

    def save(self) -> None:
        """Bring the note up to date. Raises OSError."""
        note = {"layout": LAYOUT, "seq": self.seq, "epoch": self.epoch, "files": self.sizes}
        self._replace(self.note, json.dumps(note, separators=(",", ":")).encode() + b"\n")
        self.unsaved = 0

    def _read_note(self) -> tuple[int, dict[str, int]]:
        try:
            note = json.loads(read_whole(self.files, self.note, _NOTE_BYTES))
            seq, sizes = note["seq"], note["files"]
            numbers = [seq, *sizes.values()]
            ours = (note["layout"], note["epoch"]) == (LAYOUT, self.epoch)
            if ours and all(type(n) is int and n >= 0 for n in numbers):
                return seq, {path: size for path, size in sizes.items() if _is_ours(path)}
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            pass
        return 0, {}

    def _list(self) -> dict[str, int]:
        """Our files that are there, with their sizes; what has another name is somebody else's."""
        for name in DIRECTORIES:
            if not exists(self.files, self.directory / name):
                self.files.mkdir(self.directory / name)
        paths = self.files.listdir(self.directory)
        for name in DIRECTORIES:
            paths += [f"{name}/{file}" for file in self.files.listdir(self.directory / name)]
        return {
            path: self.files.lstat(self.directory / path).st_size
            for path in paths
            if _is_ours(path.replace("/.", "/").removesuffix(".new"))
        }

    def _reaches(self, path: str, size: int) -> bool:
        """Whether the file is at least that long, and a line ends there."""
        try:
            fd = self.files.open(self.directory / path, "read")
        except FileNotFoundError:
            return False
        try:
            return self.files.pread(fd, 1, size - 1) == b"\n"
        finally:
            self.files.close(fd)

    def _cut(self, path: str) -> None:
        fd = self.files.open(self.directory / path, "append")
        try:
            self.files.truncate(fd, self.sizes[path])
        finally:
            self.files.close(fd)

    def _add(self, path: str, data: bytes) -> int:
        known = self.sizes.get(path, 0)
        if known and not self._reaches(path, known):
            self.seq, self.sizes, self.opened = 0, {}, False
            with suppress(FileNotFoundError):
                self.files.unlink(self.note)
            raise Foreign
        there = exists(self.files, self.directory / path)
        fd = self.files.open(self.directory / path, "append" if there else "create")
        try:
            self.files.truncate(fd, known)
            write_all(self.files, fd, data)
        finally:
            self.files.close(fd)
        return known + len(data)

    def _replace(self, path: Path, content: bytes) -> None:
        temporary = path.with_name(f".{path.name}.new")
        if exists(self.files, temporary):
            self.files.unlink(temporary)
        fd = self.files.open(temporary, "create")
        try:
            write_all(self.files, fd, content)
        finally:
            self.files.close(fd)
        self.files.replace(temporary, path)


def _is_ours(path: str) -> bool:
    """A name that is made here; the note is no place to take others from."""
    return _OURS.fullmatch(path) is not None
