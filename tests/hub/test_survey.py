"""What Claude Code says of its sessions, spoken by a stand-in: who has not joined, who works, what is not known."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from crosschat.hub import survey as survey_module
from crosschat.hub.survey import DEADLINE_S, FRESH_S, Survey
from crosschat.processes import Process
from tests.hub.rig import NOW_MS, Middle

if TYPE_CHECKING:
    from pathlib import Path

    from crosschat.model import Activity

JOINED, STRANGER, EDITOR = (
    Process(pid=pid, start=1, parent=1, name=name) for pid, name in ((10, "claude"), (11, "claude"), (12, "vim"))
)
PROCESSES = {process.pid: process for process in (JOINED, STRANGER, EDITOR)}


def line(pid: object, **fields: object) -> dict[str, object]:
    return {"pid": pid, "cwd": f"/srv/{pid}", "name": f"session-{pid}", "sessionId": f"s{pid}", **fields}


class Client:
    """Answers with `sessions` once `gate` is open, and counts how often it was asked."""

    def __init__(self) -> None:
        self.answer: str | None = json.dumps([line(10, status="busy"), line(11, status="idle")])
        self.gate = trio.Event()
        self.gate.set()
        self.asked = 0

    async def ask(self) -> str | None:
        self.asked += 1
        await self.gate.wait()
        return self.answer


class Rig:
    """One agent, pinned to the process JOINED."""

    def __init__(self) -> None:
        self.middle = Middle("a1")
        self.middle.state.agents["a1"].process = JOINED.key
        self.middle.presence.arrive("a1", status="available", detail=None, offered=0, now_ms=NOW_MS)
        self.client = Client()
        self.news = 0
        self.survey = Survey(self.middle.router, ask=self.client.ask, find=PROCESSES.get, on_news=self.note)

    def note(self) -> None:
        self.news += 1

    @property
    def activity(self) -> Activity | None:
        return self.middle.presence.of("a1").activity


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def test_a_session_without_an_agent_is_listed_with_the_remedy(rig: Rig) -> None:
    assert rig.survey.known.unjoined is None
    known = await rig.survey.look()
    assert known.unjoined is not None
    (stranger,) = known.unjoined
    assert (stranger.name, stranger.cwd, stranger.session, stranger.status) == ("session-11", "/srv/11", "s11", "idle")
    assert "/reload-plugins" in stranger.remedy
    assert rig.news == 1


async def test_one_whose_agent_went_is_listed_again(rig: Rig) -> None:
    rig.middle.presence.leave("a1", now_ms=NOW_MS)
    known = await rig.survey.look()
    assert known.unjoined is not None
    assert {one.name for one in known.unjoined} == {"session-10", "session-11"}


@pytest.mark.parametrize(
    ("status", "activity"), [("busy", "working"), ("waiting", "waiting"), ("idle", "idle"), ("new", None), (7, None)]
)
async def test_it_fills_in_what_no_hook_has_told(rig: Rig, status: object, activity: str | None) -> None:
    rig.client.answer = json.dumps([line(10, status=status)])
    await rig.survey.look()
    assert rig.activity == activity


async def test_it_corrects_a_turn_that_was_interrupted_without_a_hook(rig: Rig) -> None:
    rig.middle.presence.act("a1", activity="working", now_ms=NOW_MS, mode="auto")
    rig.client.answer = json.dumps([line(10, status="idle")])
    await rig.survey.look()
    assert rig.activity == "idle"
    assert rig.middle.presence.of("a1").mode == "auto"


async def test_a_hook_that_speaks_meanwhile_is_newer(
    rig: Rig, autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    rig.client.gate = trio.Event()
    nursery.start_soon(rig.survey.look)
    await trio.testing.wait_all_tasks_blocked()
    rig.middle.presence.act("a1", activity="idle", now_ms=NOW_MS)
    rig.client.gate.set()
    await trio.testing.wait_all_tasks_blocked()
    assert rig.survey.known.unjoined is not None
    assert rig.activity == "idle"


async def test_the_client_is_asked_once_for_all_who_look_and_again_after_a_while(
    rig: Rig, autojump_clock: trio.testing.MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(rig.survey.look)
    assert rig.client.asked == 1
    await trio.sleep(FRESH_S + 0.1)
    await rig.survey.look()
    assert (rig.client.asked, rig.news) == (2, 1)


@pytest.mark.parametrize("answer", [None, "", "no JSON", "{}", "7", "[" * 100_000])
async def test_a_client_that_does_not_tell_leaves_them_unknown(rig: Rig, answer: str | None) -> None:
    await rig.survey.look()
    rig.client.answer = answer
    rig.survey._asked_at = None
    known = await rig.survey.look()
    assert known.unjoined is None
    assert known.problem is not None
    assert rig.activity == "working"  # what it said before


async def test_a_client_that_hangs_is_given_up(rig: Rig, autojump_clock: trio.testing.MockClock) -> None:
    rig.client.gate = trio.Event()
    began = trio.current_time()
    assert (await rig.survey.look()).unjoined is None
    assert trio.current_time() - began == pytest.approx(DEADLINE_S)


async def test_lines_that_make_no_sense_are_left_out(rig: Rig) -> None:
    odd: list[object] = [line(12), line(99), line("11"), line(True), line(-1), line(None), {}, [], "x", None]
    rig.client.answer = json.dumps([*odd, {"pid": 11, "cwd": 5, "name": "n" * 10_000, "status": ["idle"]}])
    known = await rig.survey.look()
    assert known.unjoined is not None
    (stranger,) = known.unjoined
    assert (stranger.cwd, stranger.session, stranger.status) == ("", None, None)
    assert len(stranger.name) == 200


async def test_a_cancelled_look_leaves_the_next_one_free(rig: Rig) -> None:
    rig.client.gate = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.survey.look)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    rig.client.gate.set()
    assert (await rig.survey.look()).unjoined is not None


async def test_the_program_on_the_path_is_asked_for_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert await survey_module.ask_client() is None
    program = tmp_path / "claude"
    program.write_text("#!/bin/sh\nprintf '%s' \"$*\"\n")
    program.chmod(0o755)
    assert await survey_module.ask_client() == "agents --json"
    program.write_text("#!/bin/sh\necho '[]'; exit 1\n")
    assert await survey_module.ask_client() is None
