"""What an npm CrossChat 2.0.x left: all of it is there afterwards, is kept, and comes out the same every time."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from crosschat.core import views
from crosschat.core.state import State
from crosschat.errors import DataDirectoryError
from crosschat.journal.check import check_log
from crosschat.journal.directory import open_directory
from crosschat.journal.files import RealFiles
from crosschat.journal.store import Log
from crosschat.model import AnyRecord, Message, Reply
from tests.journal.faulty import Fault, FaultyFiles

if TYPE_CHECKING:
    from pathlib import Path

FILES = RealFiles()
ROOT = "0f8fad5b-d9cb-469f-a165-70867728950e"
TASK = "7C9E6679-7425-40DE-944B-E07FC1F90AE7"
REPLY = "1b4e28ba-2fa1-11d2-883f-0016d3cca427"
GONE = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
ACTIVITY = "c56a4180-65aa-42ec-a945-5fd21dec0538"


def line(identifier: str, second: int, text: str, **more: object) -> str:
    value = {
        "messageId": identifier, "fromName": "api", "from": "peer-1", "content": text,
        "timestamp": f"2026-03-01T10:00:{second:02d}.000Z",
    }  # fmt: skip
    return json.dumps(value | more) + "\n"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A directory as a 2.0.x hub leaves it, killed while it wrote."""
    home = tmp_path / "data"
    for name in ("threads", "badges", "tasks"):
        (home / "messages" / name).mkdir(parents=True)
    home.chmod(0o700)
    messages = home / "messages"
    (messages / "general.jsonl").write_text(
        line(ROOT, 1, "who knows trio?", metadata={"k": 1})
        + line(TASK, 3, "please fix it", importance="important")
        + line(TASK, 3, "please fix it", importance="important")
        + "this is no line\n"
        + '{"messageId":"torn","conte'
    )
    (messages / "crosschat.jsonl").write_text(
        line(ACTIVITY, 2, "web joined", type="activity", **{"from": "peer-2", "fromName": "web"})
    )
    (messages / "threads" / f"{ROOT}.jsonl").write_text(line(REPLY, 4, "I do \ud800", fromName="Über uns"))
    (messages / "threads" / f"{GONE}.jsonl").write_text(line("not an id!", 5, "an orphan"))
    (messages / "badges" / f"{ROOT}.json").write_text('[{"type":"project","value":"x"},{"type":"task","value":"open"}]')
    (messages / "badges" / f"{GONE}.json").write_text('{"badges":[{"badgeType":"mood","badgeValue":"?"}]}')
    (messages / "tasks" / f"{TASK}.json").write_text(
        json.dumps({"status": "completed", "claimedBy": "web", "result": "fixed", "filter": {"gitProject": "p"}})
    )
    (messages / "tasks" / f"{GONE}.json").write_text('{"status":"open"}')
    (home / "instances.json").write_text('{"instances":[{"id":"peer-2","name":"web","cwd":"/srv/web"}]}')
    (home / "dashboard.lock").write_text('{"pid":999999999,"port":1,"version":"2.0.3"}')
    return home


def load(home: Path) -> tuple[list[AnyRecord], State]:
    log, recovery = Log.recover(home, FILES)
    records = list(log.replay())
    log.close()
    assert recovery.damages == ()
    state = State()
    for record in records:
        state.apply(record)
    return records, state


def files_of(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_everything_is_readable_afterwards_and_the_originals_are_kept(home: Path) -> None:
    before = files_of(home / "messages")
    notes = open_directory(home, FILES)
    records, state = load(home)
    texts = {record.id: record for record in records if isinstance(record, Message)}
    assert [texts[one].content for one in (ROOT, ACTIVITY, TASK.lower())] == [
        "who knows trio?", "web joined", "please fix it"
    ]  # fmt: skip
    assert state.message_id(state.channel[0]) == ROOT
    assert texts[ROOT].metadata == {"k": 1}
    assert (texts[ACTIVITY].metadata or {})["imported"] == {"type": "activity", "channel": "crosschat"}
    reply = texts[REPLY]
    assert isinstance(reply, Reply)
    assert (reply.root, reply.content) == (ROOT, "I do �")
    assert any(record.content == "an orphan" for record in texts.values())  # its root is gone; it is in the channel
    assert len(texts) == 5
    root, task = state.message(ROOT), state.message(TASK.lower())
    assert root is not None
    assert task is not None
    assert [(badge.type, badge.value) for badge in views.badges_of(state, root.seq)] == [("project", "x")]
    found = state.tasks[task.seq]
    assert (found.status, state.name_of(found.claimant or "")) == ("completed", "web")
    document = views.task_document(state, TASK.lower())
    assert document is not None
    assert document["filter"] == {"project": "p"}
    assert state.agents["peer-2"].cwd == "/srv/web"
    assert all(agent.cursor > max(state.channel) for agent in state.agents.values())  # nothing old is unread
    assert {agent.name for agent in state.agents.values()} >= {"web", "api"}
    assert files_of(home / "imported" / "messages") == before
    assert (home / "imported" / "instances.json").exists()
    assert any(
        "5 messages" in note and "2 lines" in note and "2 badges and tasks" in note and "imported/" in note
        for note in notes
    )
    assert check_log(home, FILES).damages == ()
    assert open_directory(home, FILES) == ()  # once


def test_importing_twice_gives_the_same(home: Path) -> None:
    open_directory(home, FILES)
    before = files_of(home / "log")
    (home / "FORMAT").unlink()
    open_directory(home, FILES)
    assert files_of(home / "log") == before


def test_an_import_that_is_cut_off_anywhere_is_begun_anew_and_comes_out_the_same(home: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(home, copy, copy_function=shutil.copy2)
    open_directory(copy, FILES)
    wanted, kept = files_of(copy / "log"), files_of(copy / "imported")
    counting = FaultyFiles()
    again = tmp_path / "again"
    shutil.copytree(home, again)
    open_directory(again, counting)
    for at in range(len(counting.calls)):
        place = tmp_path / f"cut{at}"
        shutil.copytree(home, place)
        try:
            open_directory(place, FaultyFiles(Fault(at, "EIO", forever=True)))
        except DataDirectoryError:
            open_directory(place, FILES)
        assert files_of(place / "log") == wanted, counting.calls[at]
        assert files_of(place / "imported") == kept
        shutil.rmtree(place)


def test_a_message_that_is_too_large_is_cut_and_kept_whole(home: Path) -> None:
    text = "x" * 500_000
    with open(home / "messages" / "general.jsonl", "w") as file:
        file.write(line(ROOT, 1, text))
    open_directory(home, FILES)
    records, _ = load(home)
    content = next(record.content for record in records if isinstance(record, Message) and record.id == ROOT)
    assert content.endswith("[cut: the whole is in imported/]")
    assert text.encode() in (home / "imported" / "messages" / "general.jsonl").read_bytes()


@pytest.mark.parametrize("name", ["notes.txt", "src"])
def test_a_directory_that_only_looks_a_little_like_it_is_left_alone(tmp_path: Path, name: str) -> None:
    home = tmp_path / "project"
    (home / "messages").mkdir(parents=True)
    home.chmod(0o700)
    (home / "messages" / "general.jsonl").write_text(line(ROOT, 1, "text"))
    (home / name).write_text("mine")
    before = files_of(home)
    with pytest.raises(DataDirectoryError, match="Move the directory away"):
        open_directory(home, FILES)
    assert files_of(home) == before


def test_the_names_of_fields_that_version_2_has(home: Path) -> None:
    """Who wrote is `fromPeerId`, a line may have its badges in it, and a task's status is only in the badge."""
    messages = home / "messages"
    whole = {
        "messageId": GONE, "channelId": "general", "fromPeerId": "peer-7", "fromName": "worker", "content": "fix it",
        "timestamp": "2026-03-01T11:00:00.000Z", "source": "agent", "mentionType": "broadcast",
        "badges": [{"type": "importance", "value": "high", "addedBy": "system", "addedAt": "2026-03-01T11:00:00.000Z"}],
    }  # fmt: skip
    said = {**whole, "messageId": ACTIVITY, "fromPeerId": "system", "fromName": "system", "source": "system"}
    inline = {**whole, "messageId": TASK, "badges": whole["badges"]}
    (messages / "general.jsonl").write_text("".join(json.dumps(one) + "\n" for one in (whole, said, inline)))
    (messages / "crosschat.jsonl").unlink()
    (messages / "badges" / f"{GONE}.json").write_text(
        json.dumps([{"type": "task", "value": "completed"}, {"type": "importance", "value": "low"}])
    )
    (messages / "tasks" / f"{GONE}.json").write_text(
        json.dumps({"messageId": GONE, "claimantId": "peer-9", "claimantName": "helper", "result": "done"})
    )
    open_directory(home, FILES)
    records, state = load(home)
    authors = {record.id: (record.by, record.source) for record in records if isinstance(record, Message)}
    assert authors[GONE] == ("peer-7", "agent")
    assert authors[ACTIVITY] == ("system", "system")
    assert (state.name_of("peer-7"), state.name_of("peer-9")) == ("worker", "helper")
    assert "system" not in state.agents
    done, other = state.message(GONE), state.message(TASK.lower())
    assert done is not None
    assert other is not None
    task = state.tasks[done.seq]
    assert (task.status, task.claimant) == ("completed", "peer-9")
    badges = {seq: {(one.type, one.value) for one in state.badges.get(seq, ())} for seq in (done.seq, other.seq)}
    assert badges == {done.seq: {("importance", "low")}, other.seq: {("importance", "high")}}
