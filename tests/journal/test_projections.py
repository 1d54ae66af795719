"""The documented files: complete, made anew whenever they are not, and never in the way."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from crosschat.core import views
from crosschat.journal.feed import Feed
from crosschat.journal.files import RealFiles
from crosschat.journal.format import encode
from crosschat.journal.projections import DOCUMENTS, project
from crosschat.journal.store import Gap, Log, open_directory
from crosschat.journal.writer import Committed
from crosschat.model import AnyRecord, Badge, Claim, Flag, JsonObject, Message, Release, Reply, Resolve
from tests.hub.rig import Middle
from tests.journal.faulty import Fault, FaultyFiles
from tests.journal.records import message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


def story(first: int) -> list[AnyRecord]:
    """A message, a reply to it, a badge on it, and that it is a task."""
    root = f"m{first}"
    head = {"ts": 0, "by": "a1"}
    return [
        message(first),
        Reply(seq=first + 1, id=f"r{first}", content="é", source="user", root=root, **head),  # type: ignore[arg-type]
        Badge(seq=first + 2, id=f"b{first}", target=root, badge_type="t", value="v", **head),  # type: ignore[arg-type]
        Flag(seq=first + 3, id=f"f{first}", target=root, **head),  # type: ignore[arg-type]
    ]


@attrs.define(eq=False)
class Room:
    home: Path
    log: Log
    feed: Feed
    files: FaultyFiles
    trouble: list[Exception] = attrs.Factory(list)
    version: int = 1

    def add(self, records: list[AnyRecord]) -> None:
        committed = [Committed(record, encode(record)) for record in records]
        self.log.append([item.line for item in committed])
        self.feed.append(committed)

    async def project(self, epoch: str = "e") -> None:
        await project(
            self.feed, home=self.home, files=self.files, epoch=epoch,
            badges_of=lambda target: {"version": self.version, "of": target},
            task_of=lambda target: {"task": target}, questions_in=lambda _: (), name_of={"a1": "ann"}.get,
            on_trouble=self.trouble.append,
        )  # fmt: skip

    async def until_settled(self, epoch: str = "e") -> None:
        """Run the task until it has caught up, then cancel it."""
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.project, epoch)
                await trio.sleep(5)
                nursery.cancel_scope.cancel()

    def contents(self) -> dict[str, str]:
        directory = self.home / "messages"
        return {
            str(path.relative_to(directory)): path.read_text()
            for path in sorted(directory.rglob("*"))
            if path.is_file()
        }

    def lines(self, path: str) -> list[JsonObject]:
        return [json.loads(line) for line in self.contents()[path].splitlines()]


async def at_once(call: Callable[..., object], *arguments: object, limiter: trio.CapacityLimiter) -> object:
    """In place of a worker thread: the clock of these tests would not wait for one."""
    await trio.lowlevel.checkpoint()
    return call(*arguments)


@pytest.fixture
def room(tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
    monkeypatch.setattr(trio.to_thread, "run_sync", at_once)
    open_directory(tmp_path / "data", RealFiles())
    log, _ = Log.recover(tmp_path / "data", RealFiles())
    yield Room(tmp_path / "data", log, Feed(log), FaultyFiles())
    log.close()


async def test_the_files_are_what_is_documented(room: Room, autojump_clock: MockClock) -> None:
    room.add(story(1))
    await room.until_settled()
    assert list(room.contents()) == [
        "badges/m1.json", "general.jsonl", "tasks/m1.json", "threads/m1.jsonl"
    ]  # fmt: skip
    assert room.lines("general.jsonl") == [
        {
            "seq": 1, "messageId": "m1", "timestamp": "2025-10-09T08:53:20.001Z", "from": "a1",
            "fromName": "ann", "source": "agent", "content": "text 1",
        }
    ]  # fmt: skip
    [reply] = room.lines("threads/m1.jsonl")
    assert (reply["threadId"], reply["content"], reply["source"]) == ("m1", "é", "user")
    assert room.lines("badges/m1.json") == [{"version": 1, "of": "m1"}]
    assert room.lines("tasks/m1.json") == [{"task": "m1"}]
    assert not room.trouble
    for path in (room.home / "messages").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0


async def test_they_follow_the_feed_within_a_second(room: Room, autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(room.project)
        for first in (1, 5, 9):
            room.add(story(first))
            await trio.sleep(1)
            assert len(room.lines("general.jsonl")) == (first + 3) // 4
        nursery.cancel_scope.cancel()


async def test_a_cancel_writes_what_is_in_the_feed_and_the_next_start_goes_on(
    room: Room, autojump_clock: MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(room.project)
        await trio.sleep(3)
        room.add(story(1))
        await wait_all_tasks_blocked()
        room.add(story(5))
        nursery.cancel_scope.cancel()
    assert [line["seq"] for line in room.lines("general.jsonl")] == [1, 5]
    before = room.contents()
    room.files.calls.clear()
    await room.until_settled()
    assert room.contents() == before
    assert "write" not in room.files.calls


SPOILED = [
    "delete general", "delete thread", "delete all", "cut general", "cut thread by one byte",
    "longer general", "delete note", "garbage note", "foreign epoch", "stale note", "extra thread",
    "delete badge", "empty task", "note about another layout",
]  # fmt: skip


@pytest.mark.parametrize("how", SPOILED)
async def test_spoiled_files_are_made_anew(room: Room, autojump_clock: MockClock, how: str) -> None:
    note = room.home / "index" / "projected"
    messages = room.home / "messages"
    room.add(story(1))
    await room.until_settled()
    old_note = note.read_bytes()
    room.add(story(5))
    await room.until_settled()
    good = room.contents()
    general, thread = messages / "general.jsonl", messages / "threads" / "m1.jsonl"
    epoch = "e"
    match how:
        case "delete general":
            general.unlink()
        case "delete thread":
            thread.unlink()
        case "delete all":
            for path in messages.rglob("*.json*"):
                path.unlink()
        case "cut general":
            general.write_bytes(general.read_bytes()[:50])
        case "cut thread by one byte":
            thread.write_bytes(thread.read_bytes()[:-1])
        case "longer general":
            general.write_bytes(general.read_bytes() + b'{"torn')
        case "delete note":
            note.unlink()
        case "garbage note":
            note.write_bytes(b'{"layout":2,"seq":3,"epoch":"e","files":[]}')
        case "note about another layout":
            note.write_bytes(note.read_bytes().replace(b'"layout":2', b'"layout":1'))
            (messages / "tasks" / "m1.json").write_bytes(b"x" * len(good["tasks/m1.json"]))
        case "foreign epoch":
            epoch = "other"
        case "stale note":
            note.write_bytes(old_note)
        case "extra thread":
            (messages / "threads" / "m99.jsonl").write_text("{}\n")
        case "delete badge":
            (messages / "badges" / "m1.json").unlink()
        case "empty task":
            (messages / "tasks" / "m5.json").write_text("")
    await room.until_settled(epoch)
    assert room.contents() == good
    assert not room.trouble


async def test_a_file_of_somebody_else_is_left_alone(room: Room, autojump_clock: MockClock) -> None:
    notes = room.home / "messages" / "threads" / "My Notes.txt"
    notes.write_text("mine")
    room.add(story(1))
    await room.until_settled()
    assert notes.read_text() == "mine"


async def test_a_file_that_vanishes_while_it_grows_is_made_anew(room: Room, autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(room.project)
        room.add(story(1))
        await trio.sleep(2)
        (room.home / "messages" / "general.jsonl").unlink()
        room.add(story(5))
        await trio.sleep(5)
        assert [line["seq"] for line in room.lines("general.jsonl")] == [1, 5]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("kind", ["ENOSPC", "short"])
async def test_a_disk_that_fails_anywhere_costs_time_and_nothing_else(
    room: Room, autojump_clock: MockClock, kind: str
) -> None:
    room.add(story(1))
    await room.until_settled()
    room.add(story(5))
    await room.until_settled()
    good = room.contents()
    for at in range(70):
        (room.home / "index" / "projected").unlink(missing_ok=True)
        room.files.fault = Fault(len(room.files.calls) + at, kind)  # type: ignore[arg-type]
        await room.until_settled()
        assert room.contents() == good, at
        assert not room.files.open_fds
    assert (kind == "short") is not bool(room.trouble)


async def test_a_disk_that_stays_full_stops_nobody_and_is_tried_again_and_again(
    room: Room,
    autojump_clock: MockClock,
) -> None:
    room.files.fault = Fault(0, "ENOSPC", forever=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(room.project)
        room.add(story(1))
        await trio.sleep(300)
        assert 8 < len(room.trouble) < 30
        room.files.fault = None
        await trio.sleep(40)
        assert len(room.lines("general.jsonl")) == 1
        nursery.cancel_scope.cancel()


async def test_a_long_history_is_written_in_bounded_rounds(room: Room, autojump_clock: MockClock) -> None:
    records: list[AnyRecord] = [message(seq) for seq in range(1, 3501)]
    room.log.append([encode(record) for record in records])
    room.feed = Feed(room.log)
    await room.until_settled()
    assert [line["seq"] for line in room.lines("general.jsonl")] == list(range(1, 3501))


# The real state beside the feed


@attrs.define(eq=False)
class Hall:
    """A state, its feed, and the files made of both."""

    home: Path
    middle: Middle = attrs.Factory(lambda: Middle("a1", "a2"))
    trouble: list[Exception] = attrs.Factory(list)

    def add(self, kind: type[AnyRecord], by: str = "a1", **fields: object) -> str:
        """Commit a record, published like any other; returns its id."""
        seq = self.middle.next_seq
        record = kind(seq=seq, id=self.middle.state.message_id(seq), ts=0, by=by, **fields)  # type: ignore[arg-type]
        self.middle.commit(record)
        return record.id

    def ask(self, text: str, root: str | None = None) -> str:
        """A question to the person, in the channel or a thread."""
        kind, thread = (Message, {}) if root is None else (Reply, {"root": root})
        return self.add(kind, content=text, source="agent", mentions=("user",), **thread)

    async def project(self) -> None:
        state = self.middle.state
        await project(
            self.middle.feed, home=self.home, files=RealFiles(), epoch="e",
            badges_of=partial(views.badge_document, state), task_of=partial(views.task_document, state),
            questions_in=partial(views.questions_in, state), name_of=state.name_of, on_trouble=self.trouble.append,
        )  # fmt: skip

    async def settled(self) -> None:
        """Run the task, over records that may all be there already, until it has caught up."""
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.project)
                await trio.sleep(5)
                nursery.cancel_scope.cancel()
        assert not self.trouble

    def documents(self, directory: str) -> dict[str, JsonObject]:
        return {path.stem: json.loads(path.read_text()) for path in (self.home / "messages" / directory).iterdir()}

    def question(self, message: str) -> object:
        badges = self.documents("badges").get(message, {}).get("badges", [])
        return [badge["value"] for badge in badges if badge["type"] == "question"]  # type: ignore[attr-defined]

    def forget_memory(self) -> None:
        """From here on the earlier records come from the log."""
        self.middle.feed = self.middle.router.feed = Feed(self.middle.log)

    def delete_all(self) -> None:
        for path in (self.home / "messages").rglob("*.json*"):
            path.unlink()


@pytest.fixture
def hall(tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> Hall:
    monkeypatch.setattr(trio.to_thread, "run_sync", at_once)
    open_directory(tmp_path / "data", RealFiles())
    return Hall(tmp_path / "data")


async def test_a_question_and_that_it_was_answered_are_in_the_badge_files(
    hall: Hall, autojump_clock: MockClock
) -> None:
    first = hall.ask("may I?")
    second = hall.ask("and this?", first)
    other = hall.ask("something else")
    await hall.settled()
    assert [hall.question(one) for one in (first, second, other)] == [["true"], ["true"], ["true"]]
    hall.add(Reply, by="a2", root=first, content="wait", source="agent")
    hall.forget_memory()
    await hall.settled()
    assert [hall.question(one) for one in (first, second, other)] == [["true"], ["true"], ["true"]]
    hall.add(Reply, by="user", root=first, content="yes", source="user")
    third = hall.ask("once more?", first)
    await hall.settled()  # of a later start: the questions themselves were written before
    expected = [["answered"], ["answered"], ["true"], ["true"]]
    assert [hall.question(one) for one in (first, second, other, third)] == expected
    files = hall.documents("badges")
    hall.delete_all()
    await hall.settled()
    assert hall.documents("badges") == files


async def test_the_result_and_the_error_of_a_task_are_whole_in_its_file(hall: Hall, autojump_clock: MockClock) -> None:
    long = "é\u2028" * 5000
    tasks = [hall.add(Message, content="do it", source="agent") for _ in range(3)]
    for task in tasks:
        hall.add(Flag, target=task)
        hall.add(Claim, by="a2", target=task, agent="a2", claim_epoch=1)
    await hall.settled()
    assert all("result" not in document for document in hall.documents("tasks").values())
    hall.add(Resolve, by="a2", target=tasks[0], status="completed", result=long)
    failed = hall.add(Resolve, by="a2", target=tasks[1], status="failed", result="", error=long)
    hall.forget_memory()
    await hall.settled()
    done, broken, open_ = [hall.documents("tasks")[task] for task in tasks]
    assert (done["status"], done["result"], "error" in done) == ("completed", long, False)
    assert (broken["status"], broken["result"], broken["error"]) == ("failed", "", long)
    assert (open_["status"], "result" in open_) == ("claimed", False)
    assert all("outcome" not in document for document in (done, broken, open_))
    files = hall.documents("tasks")
    for path in (hall.home / "messages" / "tasks").iterdir():
        path.unlink()
    await hall.settled()
    assert hall.documents("tasks") == files
    hall.delete_all()
    await hall.settled()
    assert hall.documents("tasks") == files
    hall.middle.log.lost.add(int(failed.removeprefix("m").partition("-")[0], 36))
    hall.add(Release, target=tasks[0], reason="reopened")
    hall.delete_all()
    await hall.settled()
    reopened, unknown, _ = [hall.documents("tasks")[task] for task in tasks]
    assert (reopened["status"], "result" in reopened) == ("open", False)
    assert (unknown["status"], "result" in unknown) == ("failed", False)  # its record is damaged


async def test_many_results_are_read_and_written_some_at_a_time(hall: Hall, autojump_clock: MockClock) -> None:
    tasks = [hall.add(Message, content="do it", source="agent") for _ in range(DOCUMENTS * 2 + 1)]
    for task in tasks:
        hall.add(Flag, target=task)
        hall.add(Resolve, by="a2", target=task, status="completed", result=f"result of {task}")
    hall.forget_memory()
    asked: list[int] = []
    get = hall.middle.log.read

    def read(seqs: Iterable[int]) -> list[AnyRecord | Gap]:
        asked.append(len(list(seqs)))
        return get(seqs)

    hall.middle.log.read = read  # type: ignore[method-assign]
    await hall.settled()
    assert {task: document["result"] for task, document in hall.documents("tasks").items()} == {
        task: f"result of {task}" for task in tasks
    }
    assert max(asked) <= DOCUMENTS
