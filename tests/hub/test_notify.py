"""Notifications: one run for each thing, bounded, told once, and never in the hub's way."""

from __future__ import annotations

import json
import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from crosschat import wire
from crosschat.core.attention import Patience
from crosschat.errors import Code, Refused
from crosschat.hub import notify as module
from crosschat.hub.notify import AT_ONCE, WAITING, Notice, Notifier, run_quietly
from crosschat.hub.settings import Settings
from crosschat.journal.files import RealFiles
from crosschat.model import USER, Message
from crosschat.pagewire import PermissionOver, PermissionView
from tests.hub.rig import NOW_MS, Middle, silent_log
from tests.hub.test_instances import A_SESSION, refuse_a_session
from tests.live.rig import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PID = 4242
RECORD = "import sys, os; open(sys.argv[1] + '/' + str(os.getpid()), 'w').write(sys.stdin.read())"


def notifier(middle: Middle, place: Path) -> Notifier:
    settings = Settings(RealFiles(), place / "settings.json")
    return Notifier(middle.router, settings, Patience(), lambda: "http://127.0.0.1:1/", silent_log())


def recorder(place: Path) -> tuple[str, ...]:
    """A command that keeps what it is told as a file of its own."""
    (place / "told").mkdir(exist_ok=True)
    return (sys.executable, "-c", RECORD, str(place / "told"))


async def told(place: Path, count: int) -> list[dict[str, object]]:
    """What the recorder was told, once there is so much."""

    def whole() -> list[str]:
        return [text for path in (place / "told").iterdir() if (text := path.read_text()).endswith("\n")]

    await eventually(lambda: len(whole()) >= count, 20)
    return [json.loads(text) for text in whole()]


async def set_command(made: Notifier, *command: str, contents: bool = False) -> None:
    await made.configure(wire.Configure(id="1", about="notify", change="set", command=command, contents=contents), PID)


@asynccontextmanager
async def running(made: Notifier) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        await nursery.start(made.run)
        yield
        nursery.cancel_scope.cancel()


def question(middle: Middle, text: str) -> Message:
    seq = middle.next_seq
    return Message(
        seq=seq, id=middle.state.message_id(seq), ts=NOW_MS, by="ada", content=text, source="agent",
        mentions=(USER,), to=(USER,), private=True,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SETTLE_S", 0.0)
    monkeypatch.setattr(module, "refuse_all_but_a_person", refuse_a_session)


@pytest.mark.parametrize("contents", [False, True])
async def test_a_question_is_told_once_without_what_is_in_it_unless_that_was_asked_for(
    tmp_path: Path, contents: bool
) -> None:
    middle = Middle("ada")
    made = notifier(middle, tmp_path)
    await set_command(made, *recorder(tmp_path), contents=contents)
    async with running(made):
        asked = question(middle, "the password is swordfish, go on?")
        middle.commit(asked)
        (document,) = await told(tmp_path, 1)
        middle.commit(*middle.messages(["something else"]))
        middle.commit(question(middle, "another"))
        assert len(await told(tmp_path, 2)) == 2
    expected = {"kind": "question", "session": "ada", "message": asked.id, "count": 1, "page": "http://127.0.0.1:1/"}
    assert {name: document[name] for name in expected} == expected
    assert document.keys() - expected.keys() == ({"since", "text"} if contents else {"since"})
    assert ("swordfish" in json.dumps(document)) is contents


async def test_what_was_there_before_is_not_told(tmp_path: Path) -> None:
    middle = Middle("ada")
    middle.commit(question(middle, "from before"))
    made = notifier(middle, tmp_path)
    async with running(made):
        middle.commit(question(middle, "while nobody listened"))
        await set_command(made, *recorder(tmp_path))
        after = question(middle, "after")
        middle.commit(after)
        (document,) = await told(tmp_path, 1)
        assert document["message"] == after.id


async def test_a_permission_request_is_told_unless_it_was_settled_meanwhile(tmp_path: Path) -> None:
    made = notifier(Middle("ada"), tmp_path)
    await set_command(made, *recorder(tmp_path))
    for number in (1, 2):
        made.asked(
            PermissionView(
                id=f"p{number}", agent="a1", name="ada", cwd="/", raw='{"tool_input":"secret"}', digest="",
                hub_nonce="", received_at="2026-01-02T03:04:05.678Z",
            )
        )  # fmt: skip
    made.over(PermissionOver(request="p1", how="decided"))
    made.alarm("what ran is not what was allowed", agent="a1", name="ben")
    async with running(made):
        documents = sorted(await told(tmp_path, 2), key=lambda one: str(one["kind"]))
    assert [(one["kind"], one["session"], one["message"]) for one in documents] == [
        ("alarm", "ben", None), ("permission", "ada", "p2"),
    ]  # fmt: skip
    assert documents[1]["since"] == "2026-01-02T03:04:05.678Z"
    assert "secret" not in json.dumps(documents)


async def test_without_a_command_nothing_waits(tmp_path: Path) -> None:
    made = notifier(Middle("ada"), tmp_path)
    made.tell(Notice(kind="permission", session="ada"))
    await set_command(made, *recorder(tmp_path))
    async with running(made):
        made.tell(Notice(kind="permission", session="ben", about="p1"))
        (document,) = await told(tmp_path, 1)
    assert (document["kind"], document["session"]) == ("permission", "ben")


async def test_of_a_flood_the_surplus_is_told_as_a_number_and_few_run_at_once(tmp_path: Path) -> None:
    script = (
        "import sys, os, time; place = sys.argv[1]; mark = f'{place}/on-{os.getpid()}'; open(mark, 'w').close();"
        "n = len([x for x in os.listdir(place) if x.startswith('on-')]); text = sys.stdin.read();"
        "time.sleep(0.05); os.remove(mark); open(f'{place}/most-{n}', 'w').close(); "
        "open(f'{place}/told-{os.getpid()}', 'w').write(text)"
    )
    made = notifier(Middle("ada"), tmp_path)
    place = tmp_path / "p"
    place.mkdir()
    await set_command(made, sys.executable, "-I", "-S", "-c", script, str(place))
    for number in range(WAITING + 30):
        made.tell(Notice(kind="permission", session=f"s{number}"))
    async with running(made):
        await eventually(lambda: len(list(place.glob("told-*"))) == WAITING + 1, 60)
    documents = [json.loads(path.read_text()) for path in place.glob("told-*")]
    (several,) = [one for one in documents if one["kind"] == "several"]
    assert several["count"] == 30
    assert max(int(path.name[5:]) for path in place.glob("most-*")) <= AT_ONCE


async def test_what_fails_is_a_problem_until_it_works_again(tmp_path: Path) -> None:
    made = notifier(Middle("ada"), tmp_path)
    await set_command(made, "/bin/sh", "-c", f"test -e {tmp_path}/good || {{ echo no bus >&2; exit 7; }}")
    answer = await made.configure(wire.Configure(id="1", about="notify", change="test"), PID)
    assert answer.problem == "/bin/sh ended with status 7: no bus"
    assert made.problem == answer.problem
    (tmp_path / "good").touch()
    assert (await made.configure(wire.Configure(id="2", about="notify", change="test"), PID)).problem is None
    assert made.problem is None


async def test_a_test_tells_the_kind_test(tmp_path: Path) -> None:
    made = notifier(Middle("ada"), tmp_path)
    with pytest.raises(Refused, match="No command is set"):
        await made.configure(wire.Configure(id="1", about="notify", change="test"), PID)
    await set_command(made, *recorder(tmp_path))
    await made.configure(wire.Configure(id="1", about="notify", change="test"), PID)
    (document,) = await told(tmp_path, 1)
    assert document["kind"] == "test"


async def test_the_command_is_kept_and_forgotten(tmp_path: Path) -> None:
    middle = Middle("ada")
    await set_command(notifier(middle, tmp_path), "a", "b c", contents=True)
    again = notifier(middle, tmp_path)
    assert (again.command, again.contents) == (("a", "b c"), True)
    await again.configure(wire.Configure(id="1", about="notify", change="unset"), PID)
    assert notifier(middle, tmp_path).command == ()
    with pytest.raises(Refused, match="program and its arguments"):
        await set_command(again)


async def test_a_session_can_neither_set_nor_try_it(tmp_path: Path) -> None:
    made = notifier(Middle("ada"), tmp_path)
    for change in ("set", "unset", "test"):
        frame = wire.Configure(id="1", about="notify", change=change, command=("sh",))
        with pytest.raises(Refused) as refused:
            await made.configure(frame, A_SESSION)
        assert refused.value.code is Code.FORBIDDEN
    assert (await made.configure(wire.Configure(id="2", about="notify"), A_SESSION)).command == ()


async def test_how_long_is_too_long_can_be_said_and_is_kept(tmp_path: Path) -> None:
    middle = Middle("ada")
    made = notifier(middle, tmp_path)

    async def configure(change: str, pid: int = PID, **seconds: float) -> wire.Configured:
        frame = wire.Configure(id="1", about="patience", change=change, **seconds)  # type: ignore[arg-type]
        return await made.configure(frame, pid)

    shown = await configure("show", A_SESSION)
    assert (shown.unread_s, shown.stuck_s) == (Patience().unread_s, Patience().stuck_s)
    assert (await configure("set", unread_s=90)).stuck_s == Patience().stuck_s
    assert notifier(middle, tmp_path).patience == Patience(unread_s=90)
    for wrong in ({"unread_s": 0.0}, {"stuck_s": 1e9}, {"stuck_s": -1.0}):
        with pytest.raises(Refused) as refused:
            await configure("set", PID, **wrong)
        assert refused.value.code is Code.INVALID
    with pytest.raises(Refused):
        await configure("set", A_SESSION, unread_s=5)
    await configure("unset")
    assert notifier(middle, tmp_path).patience == made.patience == Patience()


@pytest.mark.parametrize("kept", [5, "x", {"unread_s": "soon"}, {"unread_s": True}, {"unread_s": -1, "stuck_s": 1e99}])
async def test_a_setting_that_makes_no_sense_is_ignored(tmp_path: Path, kept: object) -> None:
    (tmp_path / "settings.json").write_text(json.dumps({"patience": kept, "notify": kept}))
    made = notifier(Middle("ada"), tmp_path)
    assert (made.patience, made.command) == (Patience(), ())


async def test_a_message_that_nobody_reads_is_told_when_it_is_old_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.02)
    middle = Middle("ada", "ben")
    now_ms = NOW_MS
    middle.router.clock_ms = lambda: now_ms
    made = notifier(middle, tmp_path)
    await set_command(made, *recorder(tmp_path))
    async with running(made):
        middle.commit(*middle.messages(["look"], to=("ben",), by="ada"))
        await trio.sleep(0.1)
        assert not list((tmp_path / "told").iterdir())
        now_ms += int(Patience().unread_s * 1000) + 2000
        (document,) = await told(tmp_path, 1)
        assert (document["kind"], document["session"]) == ("unread", "ada")


# --- running


async def test_a_command_that_hangs_is_killed_with_what_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RUN_S", 0.5)
    script = f"sleep 100 & echo $! > {tmp_path}/pid.new; mv {tmp_path}/pid.new {tmp_path}/pid; wait"
    problem = await run_quietly(("/bin/sh", "-c", script), b"")
    assert problem == "/bin/sh took longer than 0.5 s and was ended"
    pid = int((tmp_path / "pid").read_text())
    await eventually(lambda: not _runs(pid))


async def test_cancelled_it_leaves_nothing_behind(tmp_path: Path) -> None:
    script = f"echo $$ > {tmp_path}/pid.new; mv {tmp_path}/pid.new {tmp_path}/pid; exec sleep 100"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_quietly, ("/bin/sh", "-c", script), b"")
        await eventually((tmp_path / "pid").exists)
        nursery.cancel_scope.cancel()
    assert not _runs(int((tmp_path / "pid").read_text()))


def _runs(pid: int) -> bool:
    try:
        return b"sleep" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return False


async def test_a_command_that_reads_nothing_and_says_much_is_no_trouble() -> None:
    assert await run_quietly(("/bin/true",), b"x" * 1_000_000) is None
    loud = await run_quietly((sys.executable, "-c", "import sys; sys.stderr.write('x' * 10**6); sys.exit(1)"), b"")
    assert loud is not None
    assert len(loud) < 1000


async def test_it_has_no_variable_of_a_session_and_no_descriptor_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAUDE_CODE_SESSION_ID", "s1")
    script = f"import os; open({str(tmp_path / 'seen')!r}, 'w').write(repr((dict(os.environ), os.listdir('/dev/fd'))))"
    held = os.open(tmp_path, os.O_RDONLY)
    try:
        assert await run_quietly((sys.executable, "-c", script), b"") is None
    finally:
        os.close(held)
    seen = (tmp_path / "seen").read_text()
    assert "CLAUDE_CODE_SESSION_ID" not in seen
    assert len(eval(seen)[1]) <= 5  # the standard ones, the file itself, and the one that lists them


@pytest.mark.parametrize("command", [("/no/such/program",), ("a\0b",), ("/etc/passwd",)])
async def test_what_cannot_be_run_is_said(command: tuple[str, ...]) -> None:
    problem = await run_quietly(command, b"")
    assert problem is not None
    assert "cannot be run" in problem
