"""`index/search.sqlite`: which messages have which words. Disposable: made again from the log whenever it is missing.

A contentless FTS5 table has two columns, the text of a message and its marks (opaque words of the caller's), under the
seq of the message. Contentless: the texts stay in the log, and to change a row one has to tell what it was. So the
table `changed` keeps, for rows that are not as they were first made, the marks that can change and the seq of the
record whose text was added; `hours` the first and the last seq of every hour, so that days need no scan; `about` up
to which record all this goes, and which record that was.

Invariant: `about` changes in one transaction with the rows, so a crash or a power cut leaves an older index, never a
wrong one (write-ahead log; synced when SQLite moves it into the file). One connection, which nobody else may share:
older SQLites lose data when two of them reset the log at once. All calls block; one at a time.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from crosschat.journal.files import Files

NAME: Final = "search.sqlite"
LAYOUT: Final = 2
CACHE_KIB: Final = 8 * 1024
HOUR_S: Final = 3600
BEYOND: Final = 1 << 62  # any seq
_CORRUPT: Final = (11, 26)  # SQLITE_CORRUPT, SQLITE_NOTADB
_SCHEMA: Final = """
CREATE VIRTUAL TABLE words USING fts5(text, marks, content='', tokenize="unicode61 remove_diacritics 2");
CREATE TABLE changed(seq INTEGER PRIMARY KEY, marks TEXT NOT NULL, added INTEGER NOT NULL);
CREATE TABLE hours(hour INTEGER PRIMARY KEY, first INTEGER NOT NULL, last INTEGER NOT NULL);
CREATE TABLE about(layout INTEGER NOT NULL, epoch TEXT NOT NULL, seq INTEGER NOT NULL, seal TEXT NOT NULL);
"""
_FIND: Final = "SELECT rowid FROM words WHERE words MATCH ? AND rowid >= ? AND rowid < ? ORDER BY rowid DESC LIMIT ?"

Trouble: TypeAlias = sqlite3.Error
"""What the disk or SQLite may refuse at any time. `is_damage` tells what only a new index can mend."""


@attrs.frozen
class About:
    """The log up to record `seq` of `epoch` is in the index; `seal` is what that record is known by."""

    epoch: str
    seq: int = 0
    seal: str = ""


@attrs.frozen
class Version:
    """What can change about a row: its changing marks, and the seq of the record whose text was added (0: none)."""

    marks: tuple[str, ...] = ()
    added: int = 0


@attrs.frozen
class Row:
    """A message as it is to be found. `lasting` are the marks that never change."""

    seq: int
    text: str
    lasting: tuple[str, ...]
    version: Version
    at_s: int


@attrs.frozen
class Rewrite:
    """A row that was `old`, with that text, and is to be `new`."""

    old: Row
    new: Row


def is_damage(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _CORRUPT


class TextIndex:
    """An open index. Made by `open_index`; `close` it in the end."""

    def __init__(self, connection: sqlite3.Connection, about: About) -> None:
        self._connection = connection
        self.about = about

    def versions(self, seqs: Iterable[int]) -> dict[int, Version]:
        """How rows that were changed are; one that is not among them is as it was first made. Raises Trouble."""
        found: dict[int, Version] = {}
        for seq in seqs:
            for marks, added in self._connection.execute("SELECT marks, added FROM changed WHERE seq = ?", (seq,)):
                found[seq] = Version(tuple(marks.split()), added)
        return found

    def write(self, about: About, rows: Sequence[Row], rewrites: Sequence[Rewrite]) -> None:
        """Add and change rows, all or none; then the index is up to `about`. Raises Trouble."""
        with self._connection as transaction:
            for rewrite in rewrites:
                transaction.execute(
                    "INSERT INTO words(words, rowid, text, marks) VALUES('delete', ?, ?, ?)", _columns(rewrite.old)
                )
            added = [*rows, *(rewrite.new for rewrite in rewrites)]
            transaction.executemany("INSERT INTO words(rowid, text, marks) VALUES(?, ?, ?)", map(_columns, added))
            transaction.executemany(
                "INSERT OR REPLACE INTO changed VALUES(?, ?, ?)",
                [
                    (row.seq, " ".join(row.version.marks), row.version.added)
                    for row in added
                    if row.version != Version()
                ],
            )
            transaction.executemany(
                "DELETE FROM changed WHERE seq = ?",
                [(rewrite.new.seq,) for rewrite in rewrites if rewrite.new.version == Version()],
            )
            transaction.executemany(
                "INSERT INTO hours VALUES(?1, ?2, ?2)"
                " ON CONFLICT(hour) DO UPDATE SET first = min(first, ?2), last = max(last, ?2)",
                [(row.at_s // HOUR_S, row.seq) for row in rows],
            )
            transaction.execute("UPDATE about SET seq = ?, seal = ?", (about.seq, about.seal))
        self.about = about

    def find(
        self, phrases: Iterable[str], marks: Iterable[Iterable[str]], *, first: int, below: int, limit: int
    ) -> list[int]:
        """Seqs from `first` up to but not including `below`, newest first, of rows with all phrases and a mark of every
        group, of which there is at least one. Its time grows with the distance of the two. Raises Trouble."""
        found = self._connection.execute(_FIND, (_expression(phrases, marks), first, below, limit))
        return [seq for (seq,) in found]

    def bounds(self, since_s: int | None, until_s: int | None) -> tuple[int, int]:
        """`first` and `below` between which everything of that time lies, also where the clock was set back meanwhile.
        Times are kept to the hour: what lies there may be beside them by less than one. Raises Trouble."""
        first, end = 0, BEYOND
        if since_s is not None:
            (lowest,) = self._connection.execute(
                "SELECT min(first) FROM hours WHERE hour >= ?", (since_s // HOUR_S,)
            ).fetchone()
            first = end if lowest is None else lowest
        if until_s is not None:
            (highest,) = self._connection.execute(
                "SELECT max(last) FROM hours WHERE hour <= ?", (until_s // HOUR_S,)
            ).fetchone()
            end = 0 if highest is None else highest + 1
        return first, end

    def close(self) -> None:
        with suppress(sqlite3.Error):
            self._connection.close()


def open_index(directory: Path, files: Files, epoch: str) -> TextIndex:
    """The index in `directory` (which exists), or a new and empty one in the place of one that is of another epoch or
    layout, damaged or no index. Raises OSError, and Trouble also where this SQLite has no FTS5."""
    path = directory / NAME
    try:
        return TextIndex(*_open(path, files, epoch))
    except (sqlite3.DatabaseError, _Foreign) as error:
        if isinstance(error, sqlite3.OperationalError) and not is_damage(error):
            raise
    remove_index(directory, files)
    return TextIndex(*_open(path, files, epoch))


def remove_index(directory: Path, files: Files) -> None:
    """Delete the index, which must not be open. Raises OSError."""
    for name in (NAME, f"{NAME}-wal", f"{NAME}-shm", f"{NAME}-journal"):
        with suppress(FileNotFoundError):
            files.unlink(directory / name)


class _Foreign(Exception):
    """What is there is not our index of this epoch."""


def _open(path: Path, files: Files, epoch: str) -> tuple[sqlite3.Connection, About]:
    with suppress(FileExistsError):
        files.close(files.open(path, "create"))  # with our mode; SQLite keeps it
    files.close(files.open(path, "append"))  # refuses a link
    connection = sqlite3.connect(path, timeout=0, isolation_level="IMMEDIATE", check_same_thread=False)
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        connection.execute("PRAGMA trusted_schema = OFF")
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if tables == 0:
            connection.executescript(_SCHEMA)
            with connection:
                connection.execute("INSERT INTO about VALUES(?, ?, 0, '')", (LAYOUT, epoch))
        return connection, _about(connection, epoch)
    except BaseException:
        connection.close()
        raise


def _about(connection: sqlite3.Connection, epoch: str) -> About:
    try:
        rows = connection.execute("SELECT layout, epoch, seq, seal FROM about").fetchall()
    except sqlite3.OperationalError as error:
        raise _Foreign(str(error)) from error
    if len(rows) != 1 or rows[0][:2] != (LAYOUT, epoch) or type(rows[0][2]) is not int:
        raise _Foreign(f"{len(rows)} rows say what it is")
    return About(epoch, rows[0][2], str(rows[0][3]))


def _columns(row: Row) -> tuple[int, str, str]:
    return row.seq, row.text, " ".join((*row.lasting, *row.version.marks))


def _expression(phrases: Iterable[str], marks: Iterable[Iterable[str]]) -> str:
    """In the language of FTS5, where a string in quotes is a phrase whatever is in it."""
    parts = ["{marks} : (" + " OR ".join(map(_quoted, group)) + ")" for group in marks]
    words = " AND ".join(map(_quoted, phrases))
    return " AND ".join([f"{{text}} : ({words})", *parts] if words else parts)


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""').replace("\x00", " ") + '"'
