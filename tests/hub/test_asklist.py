"""The ask-list of a hub: what the hooks read follows from what is kept, and a change that fails is none, also later."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import trio

from crosschat.errors import Code, Refused
from crosschat.hub.asklist import KEY, AskList
from crosschat.hub.settings import Settings
from crosschat.journal.files import RealFiles
from tests.core.world import refused
from tests.hub.rig import silent_log
from tests.journal.faulty import Fault, FaultyFiles

if TYPE_CHECKING:
    from pathlib import Path

    from crosschat.journal.files import Files


class Place:
    """A list on the files below `path`; made again, it is what the next hub finds."""

    def __init__(self, path: Path, files: Files | None = None) -> None:
        self.path, files = path, files or RealFiles()
        self.settings = Settings(files, path / "settings.json")
        self.asking = AskList(path / "ask", files, self.settings, silent_log())
        self.told: list[tuple[str, ...]] = []
        self.asking.changed.append(lambda: self.told.append(self.asking.rules))

    def hooks(self) -> dict[str, str]:
        """What the hooks of sessions read."""
        directory = self.path / "ask"
        return {path.name: path.read_text() for path in directory.iterdir()} if directory.exists() else {}


async def test_rules_are_kept_told_and_written_for_the_hooks(tmp_path: Path) -> None:
    place = Place(tmp_path)
    for rule in ("Bash(git push:*)", "Bash(git push:*)", "WebFetch"):
        await place.asking.add(rule)
    assert place.told == [("Bash(git push:*)",), ("Bash(git push:*)", "WebFetch")]
    assert place.asking.rules == Place(tmp_path).asking.rules == place.told[-1]
    assert json.loads((tmp_path / "settings.json").read_text())[KEY] == list(place.told[-1])
    assert place.hooks() == {"shell": "Bash(git push:*)\n", "web": "WebFetch\n"}
    await place.asking.remove("WebFetch")
    assert place.hooks() == {"shell": "Bash(git push:*)\n"}
    with refused(Code.INVALID, ""):
        await place.asking.add("nonsense")
    assert place.asking.rules == ("Bash(git push:*)",)


@pytest.mark.parametrize("kind", ["EIO", "ENOSPC"])
async def test_a_change_that_fails_anywhere_is_none_for_the_hub_the_hooks_and_the_next_hub(
    tmp_path: Path, kind: str
) -> None:
    """Every call of a change that touches two groups of files, failing once."""
    failed, done, at = 0, False, 0
    while not done:
        home = tmp_path / f"{at}"
        home.mkdir()
        await Place(home).asking.add("Bash(git push:*)")
        files = FaultyFiles()
        place = Place(home, files)
        before = len(files.calls)
        files.fault = Fault(before + at, kind)  # type: ignore[arg-type]  # one of its kinds
        try:
            await place.asking.add("WebFetch")
        except Refused:
            failed += 1
            assert place.asking.rules == ("Bash(git push:*)",), at
            assert place.told == []
        done = len(files.calls) <= before + at
        rules, read = place.asking.rules, place.hooks()
        again = Place(home)
        assert again.asking.rules == rules, at
        assert again.hooks() == read == {
            "shell": "Bash(git push:*)\n", **({"web": "WebFetch\n"} if "WebFetch" in rules else {})
        }, at  # fmt: skip
        at += 1
    assert failed > 5


async def test_a_change_that_fails_is_taken_back_also_if_who_asked_has_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path)
    await place.asking.add("Bash(git push:*)")

    def goes_and_fails(*_: object) -> None:
        trio.from_thread.run_sync(scope.cancel)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(place.settings, "put", goes_and_fails)
    with trio.CancelScope() as scope, refused(Code.STORAGE_FULL, "as it was"):
        await place.asking.add("WebFetch")
    assert place.hooks() == {"shell": "Bash(git push:*)\n"}


async def test_what_cannot_be_taken_back_is_said_and_mended_by_the_next_hub(tmp_path: Path) -> None:
    await Place(tmp_path).asking.add("Bash(git push:*)")
    files = FaultyFiles()
    place = Place(tmp_path, files)
    written = 0

    def fail_from_the_settings_on(call: str) -> None:
        nonlocal written
        written += call == "replace"
        if written == 2:
            files.fault = Fault(len(files.calls) - 1, "EIO", True)

    files.before = fail_from_the_settings_on
    with refused(Code.STORAGE_FULL, "hooks may follow a part of the new one"):
        await place.asking.add("WebFetch")
    assert Place(tmp_path).hooks() == {"shell": "Bash(git push:*)\n"}


async def test_settings_that_cannot_be_read_leave_what_the_hooks_have(tmp_path: Path) -> None:
    await Place(tmp_path).asking.add("WebFetch")
    (tmp_path / "settings.json").write_text("{")
    place = Place(tmp_path)
    with refused(Code.STORAGE_FULL, "Correct or remove it"):
        await place.asking.add("Bash(git push:*)")
    assert place.hooks() == {"web": "WebFetch\n"}
