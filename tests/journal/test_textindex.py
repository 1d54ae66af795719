"""The search index: words and marks are found, nothing else is, and it never outlives what it was made from."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing
from typing import TYPE_CHECKING

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosschat.journal.files import RealFiles
from crosschat.journal.textindex import (
    HOUR_S,
    NAME,
    About,
    Rewrite,
    Row,
    TextIndex,
    Version,
    is_damage,
    open_index,
    remove_index,
)

if TYPE_CHECKING:
    from pathlib import Path

FILES = RealFiles()


def row(seq: int, text: str, *marks: str, changing: tuple[str, ...] = (), added: int = 0, at_s: int = 0) -> Row:
    return Row(seq, text, ("any", *marks), Version(changing, added), at_s)


def find(index: TextIndex, *phrases: str, marks: tuple[tuple[str, ...], ...] = (("any",),), **limits: int) -> list[int]:
    values: dict[str, int | None] = {"since_s": None, "until_s": None}
    values.update(limits)
    first, end = index.bounds(values["since_s"], values["until_s"])
    below = min(end, values.get("below") or 1000)
    return index.find(phrases, marks, first=first, below=below, limit=values.get("limit") or 100)


def filled(directory: Path, *rows: Row, epoch: str = "e") -> TextIndex:
    index = open_index(directory, FILES, epoch)
    index.write(About(epoch, rows[-1].seq if rows else 0, "s"), rows, ())
    return index


def test_all_phrases_must_be_there_newest_first(tmp_path: Path) -> None:
    with closing(filled(tmp_path, row(1, "red green"), row(2, "green blue"), row(5, "Grün, GREEN red"))) as index:
        assert find(index, "green") == [5, 2, 1]
        assert find(index, "red", "green") == [5, 1]
        assert find(index, "grun") == [5]
        assert find(index, "gree") == []
        assert find(index, "green red") == [5]
        assert find(index, "green", limit=2) == [5, 2]
        assert find(index, "green", below=5) == [2, 1]
        assert find(index) == [5, 2, 1]


@pytest.mark.parametrize("text", ["send_message", "foo-bar", "a.b/c", 'say "x"', "c++ 17", "x\x00y"])
def test_a_phrase_is_found_as_it_was_written(tmp_path: Path, text: str) -> None:
    with closing(filled(tmp_path, row(1, f"before {text} after"), row(2, "other"))) as index:
        assert find(index, text) == [1]


@settings(max_examples=60, deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(
        lambda t: any(map(str.isalnum, t))
    )
)
def test_no_phrase_is_taken_for_an_expression(tmp_path_factory: pytest.TempPathFactory, phrase: str) -> None:
    with closing(filled(tmp_path_factory.mktemp("i"), row(1, "hidden", "x"), row(2, phrase, "y"))) as index:
        assert set(find(index, phrase, marks=(("y",),))) <= {2}
        assert find(index, phrase, marks=(("nobody",),)) == []


def test_a_mark_is_no_word_of_the_text_and_a_word_no_mark(tmp_path: Path) -> None:
    with closing(filled(tmp_path, row(1, "secret", "public"), row(2, "public", "secret"))) as index:
        assert find(index, "public") == [2]
        assert find(index, marks=(("public",),)) == [1]
        assert find(index, marks=(("secret", "public"),)) == [2, 1]
        assert find(index, marks=(("secret",), ("public",))) == []


def test_a_row_that_is_rewritten_is_found_by_what_it_is_now(tmp_path: Path) -> None:
    old = row(3, "do it", "m", changing=("open",))
    new = attrs.evolve(old, text="do it\ndone well", version=Version(("completed",), 9))
    with closing(filled(tmp_path, row(2, "do"), old)) as index:
        assert index.versions([2, 3]) == {3: Version(("open",))}
        index.write(About("e", 9, "t"), (), [Rewrite(old, new)])
        assert find(index, marks=(("open",),)) == []
        assert find(index, "done", marks=(("completed",),)) == [3]
        assert find(index, "do") == [3, 2]
        assert index.versions([3]) == {3: Version(("completed",), 9)}
        index.write(About("e", 10, "t"), (), [Rewrite(new, attrs.evolve(new, text="do it", version=Version()))])
        assert find(index, "done") == []
        assert index.versions([3]) == {}


def test_times_limit_what_is_found_also_where_the_clock_went_back(tmp_path: Path) -> None:
    hours = [10, 11, 9, 12]
    rows = [row(seq, "x", at_s=hour * HOUR_S + 5) for seq, hour in enumerate(hours, 1)]
    with closing(filled(tmp_path, *rows)) as index:
        assert find(index, "x", since_s=12 * HOUR_S) == [4]
        assert {1, 2}.issubset(find(index, "x", since_s=10 * HOUR_S, until_s=11 * HOUR_S))
        assert 4 not in find(index, "x", until_s=11 * HOUR_S + 10)
        assert find(index, "x", until_s=8 * HOUR_S) == find(index, "x", since_s=13 * HOUR_S) == []


def test_what_was_written_is_there_after_it_was_opened_again_with_the_place_it_goes_on(tmp_path: Path) -> None:
    filled(tmp_path, row(1, "red")).close()
    with closing(open_index(tmp_path, FILES, "e")) as index:
        assert index.about == About("e", 1, "s")
        assert find(index, "red") == [1]
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o600


def test_an_index_of_another_epoch_is_made_anew(tmp_path: Path) -> None:
    filled(tmp_path, row(1, "red"), epoch="old").close()
    with closing(open_index(tmp_path, FILES, "new")) as index:
        assert (index.about, find(index, "red")) == (About("new"), [])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b"no database at all, only some text" * 100),
        lambda path: path.write_bytes(path.read_bytes()[:5000]),
        lambda path: path.write_bytes(b""),
        lambda path: path.unlink(),
        lambda path: _sql(path, "DROP TABLE about"),
        lambda path: _sql(path, "UPDATE about SET layout = 99"),
        lambda path: _sql(path, "DELETE FROM about"),
        lambda path: _sql(path, "UPDATE about SET seq = 'x'"),
        lambda path: _replace(path, "CREATE TABLE other(x)"),
    ],
    ids=["text", "cut", "empty", "missing", "no about", "layout", "no row", "no number", "another database"],
)
def test_what_is_no_index_of_ours_is_replaced_by_an_empty_one(tmp_path: Path, spoil: object) -> None:
    filled(tmp_path, *(row(seq, f"red {seq} " * 50) for seq in range(1, 200))).close()
    spoil(tmp_path / NAME)  # type: ignore[operator]
    with closing(open_index(tmp_path, FILES, "e")) as index:
        assert index.about == About("e")
        assert find(index, "red") == []
        index.write(About("e", 1, "s"), [row(1, "blue")], ())
        assert find(index, "blue") == [1]


def _replace(path: Path, statement: str) -> None:
    path.unlink()
    _sql(path, statement)


def _sql(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


def test_damage_in_the_middle_is_known_as_such_when_it_is_met(tmp_path: Path) -> None:
    rows = [row(seq, " ".join(f"w{seq * 31 % 997}x{n}" for n in range(40))) for seq in range(1, 400)]
    filled(tmp_path, *rows).close()
    path = tmp_path / NAME
    data = bytearray(path.read_bytes())
    begin, end = len(data) // 3 // 4096 * 4096, len(data) * 4 // 5 // 4096 * 4096
    data[begin:end] = b"\xa5" * (end - begin)
    path.write_bytes(data)
    with closing(open_index(tmp_path, FILES, "e")) as index:
        assert index.about.seq == 399
        with pytest.raises(sqlite3.DatabaseError) as met:  # noqa: PT012  # one of them reads a spoilt page
            for number in range(997):
                find(index, f"w{number}x1", f"w{number}x20")
    assert is_damage(met.value)
    remove_index(tmp_path, FILES)
    open_index(tmp_path, FILES, "e").close()


def test_a_write_that_fails_leaves_nothing_of_itself(tmp_path: Path) -> None:
    with closing(filled(tmp_path, row(1, "red"))) as index:
        with pytest.raises(sqlite3.Error):
            index.write(About("e", 2, "s"), [row(2, "blue"), attrs.evolve(row(3, "x"), seq="three")], ())  # type: ignore[arg-type]
        assert index.about == About("e", 1, "s")
        assert find(index, "blue") == []
        index.write(About("e", 2, "s"), [row(2, "blue")], ())
        assert find(index, "blue") == [2]


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"precious")
    (tmp_path / NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        open_index(tmp_path, FILES, "e")
    assert (tmp_path / "elsewhere").read_bytes() == b"precious"


def test_a_full_disk_is_no_damage() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("PRAGMA max_page_count = 2")
        with pytest.raises(sqlite3.OperationalError) as full:  # noqa: PT012
            connection.execute("CREATE TABLE t(x)")
            connection.execute("INSERT INTO t VALUES(zeroblob(100000))")
    assert not is_damage(full.value)


def test_removing_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    remove_index(tmp_path, FILES)
