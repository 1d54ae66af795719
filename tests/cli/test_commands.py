"""Each command against a hub that answers what the test says: what is asked, what is printed, how it ends."""

from __future__ import annotations

import fcntl
import json
import os
import signal
from typing import TYPE_CHECKING

import pytest

from crosschat import lock, wire
from crosschat.bridge import launch
from crosschat.cli import control as control_module
from crosschat.cli import lifecycle
from crosschat.cli import main as main_module
from crosschat.cli.failure import Failure
from crosschat.errors import Code
from crosschat.limits import CONTENT_BYTES
from crosschat.model import iso
from crosschat.processes import Grip
from tests.cli.fake_hub import FakeHub, Script, hub_status
from tests.cli.test_text import HOSTILE, is_visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from click.testing import Result

    from crosschat.paths import Home

    Run = Callable[..., Result]

NASTY = "".join(entry for entry in HOSTILE if "\ud800" not in entry) + "[bold]x[/bold]\nsecond line"


def item(seq: int, content: str = "hello", **fields: object) -> wire.Item:
    values = {"kind": "message", "from_id": "a1", "from_name": "ada", "source": "agent", **fields}
    made = {"seq": seq, "message": f"m{seq}", "ts": "2026-01-02T03:04:05.678Z", "content": content, **values}
    return wire.Item(**made)  # type: ignore[arg-type]  # the fields are the test's


def nasty_answer(home: Home, frame: wire.ControlFrame) -> Iterable[wire.HubFrame | bytes]:
    """What each request is answered with by the worst of agents."""
    peer = wire.PeerView(
        id="a1", name=NASTY, connected=True, status="busy", cwd=NASTY, detail=NASTY, project=NASTY, claims=(NASTY,)
    )
    task = wire.TaskView(status="claimed", owner=NASTY, claimant=NASTY)
    items = (
        item(1, NASTY, from_name=NASTY, message=NASTY),
        item(2, NASTY, kind="reply", thread=NASTY, from_name=NASTY, private=True, to=()),
        item(3, NASTY, kind="resolve", from_name=NASTY, message=NASTY, task=task),
    )
    match frame:
        case wire.Inspect():
            damage = (wire.DamageView(file=NASTY, line=1, reason=NASTY),)
            yield hub_status(
                frame, home, head=3, agents=(peer,), dashboard_problem=NASTY, dashboard=None, damage=damage,
                notices=(NASTY,), tree=(NASTY,), version=NASTY,
            )  # fmt: skip
        case wire.Keys():
            yield wire.KeyList(id=frame.id, keys=(wire.KeyView(id=NASTY, label=NASTY, paired_at=NASTY),))
        case wire.Peers():
            yield wire.PeerList(id=frame.id, peers=(peer,))
        case wire.Read() | wire.Search():
            yield wire.Page(id=frame.id, items=(item(1, NASTY, from_name=NASTY, message=NASTY, task=task),))
        case wire.Send():
            yield wire.Sent(id=frame.id, message=NASTY, seq=1, states={NASTY: 1}, away=(NASTY,), unresolved=(NASTY,))
        case wire.ReleaseTask():
            yield wire.Error(id=frame.id, code=Code.NOT_FOUND, message=NASTY)
        case wire.Tail():
            yield wire.Batch(from_seq=1, to_seq=3, items=items)
        case _:
            yield wire.Done(id=frame.id)


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(
    "arguments",
    [
        ["status", "--tasks"],
        ["peers"],
        ["tasks"],
        ["send", "hi"],
        ["tasks", "release", "m1"],
        ["tail"],
        ["start"],
        ["search", "x"],
        ["dashboard", "--list"],
    ],
    ids=" ".join,
)
def test_nothing_an_agent_wrote_reaches_the_terminal_raw(
    run: Run, home: Home, arguments: list[str], as_json: bool
) -> None:
    with FakeHub(home, lambda frame: nasty_answer(home, frame)):
        shown = run(*arguments, *(["--json"] if as_json else []))
    assert shown.exception is None or isinstance(shown.exception, SystemExit)
    assert len(shown.output) > 20
    assert all(character == "\n" or is_visible(character) for character in shown.output), ascii(shown.output)
    if as_json and shown.exit_code == 0:
        assert [json.loads(line) for line in shown.stdout.splitlines()]


def test_status_without_a_hub_says_so_starts_none_and_ends_with_status_3(run: Run, home: Home) -> None:
    shown = run("status")
    assert shown.exit_code == 3
    assert "not running" in shown.stdout
    assert "crosschat start" in shown.stdout
    assert json.loads(run("status", "--json").stdout)["running"] is False
    assert not home.root.exists()


def test_status_tells_a_held_lock_without_a_listener(run: Run, home: Home) -> None:
    home.root.mkdir()
    descriptor = lock.try_hold(home.hub_lock)
    assert descriptor is not None
    try:
        shown = run("status")
    finally:
        os.close(descriptor)
    assert shown.exit_code == 3
    assert str(home.hub_lock) in shown.stdout


def test_status_shows_the_hub_the_agents_and_what_is_wrong(run: Run, home: Home) -> None:
    def answer(frame: wire.ControlFrame) -> Iterable[wire.HubFrame]:
        agent = wire.PeerView(
            id="a1", name="ada", connected=True, status="busy", cwd="/src", detail="the parser", unread=7
        )
        yield hub_status(
            frame, home, agents=(agent,), open_tasks=3, sync_p50_ms=0.5, sync_p99_ms=1.25, rss_bytes=50_000_000,
            dashboard=None, dashboard_problem="port 8123 is taken", notices=("a log was restored",),
            damage=(wire.DamageView(file="log/000001.jsonl", line=4, reason="bad crc"),), tree=("hub", "  writer"),
        )  # fmt: skip

    with FakeHub(home, answer) as hub:
        shown = run("status", "--tasks")
        document = json.loads(run("status", "--json").stdout)
    assert shown.exit_code == 0
    for expected in (
        "pid 4242", "version 1.2.3", str(home.root), "off: port 8123 is taken", "p50 0.50 ms", "p99 1.25 ms", "50 MB",
        "ada", "busy: the parser", "/src", "a log was restored", "log/000001.jsonl line 4: bad crc", "  writer",
    ):  # fmt: skip
        assert expected in shown.stdout
    assert document["running"] is True
    assert document["agents"][0]["unread"] == 7
    assert [frame.tree for frame in hub.asked if isinstance(frame, wire.Inspect)] == [True, False]


PEERS = (
    wire.PeerView(id="a1", name="ada", connected=True, status="busy", cwd="/src", activity="waiting"),
    wire.PeerView(id="a2", name="ben", connected=True, status="available", cwd="/src"),
    wire.PeerView(id="a3", name="cyd", connected=False, status="away", cwd="/src"),
)
STRANGER = wire.UnjoinedView(name="web-3", cwd="/web", remedy="restart it", session="s", status="idle")


def test_peers_shows_what_each_does_and_says_where_that_is_not_known(run: Run, home: Home) -> None:
    with FakeHub(home, lambda frame: [wire.PeerList(id=frame.id, peers=PEERS)]):
        rows = {line.split()[0]: line for line in run("peers").stdout.splitlines() if line.strip()}
    assert "waiting on you" in rows["ada"]
    assert "unknown" in rows["ben"]
    assert "unknown" not in rows["cyd"]
    assert "not joined" not in "\n".join(rows.values())


@pytest.mark.parametrize("command", ["peers", "status"])
def test_sessions_that_have_not_joined_are_listed_with_the_remedy(run: Run, home: Home, command: str) -> None:
    def answer(frame: wire.ControlFrame) -> Iterable[wire.HubFrame]:
        yield wire.PeerList(id=frame.id) if isinstance(frame, wire.Peers) else hub_status(frame, home)

    with FakeHub(home, answer, unjoined=(STRANGER,)) as hub:
        shown, document = run(command).stdout, json.loads(run(command, "--json").stdout)
        hub.unjoined = None
        not_known, unknown = run(command).stdout, json.loads(run(command, "--json").stdout)
    (row,) = [line for line in shown.splitlines() if "web-3" in line]
    assert row.split() == ["web-3", "idle", "/web"]
    assert "not joined" in shown
    assert "To have a session join: restart it" in shown
    assert document["unjoined"] == [wire.complete(STRANGER)]
    assert "not known: no client" in not_known
    assert (unknown["unjoined"], unknown["unjoinedProblem"]) == (None, "no client")


def test_status_waits_until_a_new_hubs_page_is_up(run: Run, home: Home) -> None:
    urls = iter([None, None, "http://127.0.0.1:1/"])
    with FakeHub(home, lambda frame: [hub_status(frame, home, dashboard=next(urls))]):
        assert json.loads(run("status", "--json").stdout)["dashboard"] == "http://127.0.0.1:1/"


def test_send_passes_on_text_thread_and_importance(run: Run, home: Home) -> None:
    with FakeHub(home, lambda frame: [wire.Sent(id=frame.id, message="m9", seq=9, states={"offered": 2})]) as hub:
        shown = run("send", "@ada hi", "--thread", "m1", "--importance", "important")
        piped = run("send", "-", "--json", stdin="two\nlines ü\n".encode())
    assert shown.stdout == "sent m9 (2 offered)\n"
    assert json.loads(piped.stdout)["message"] == "m9"
    first, second = hub.asked
    assert isinstance(first, wire.Send)
    assert isinstance(second, wire.Send)
    assert (first.content, first.thread, first.importance) == ("@ada hi", "m1", "important")
    assert second.content == "two\nlines ü\n"
    assert first.cid != second.cid


@pytest.mark.parametrize(
    ("text", "stdin", "reason"),
    [
        ("", None, "empty"),
        ("-", b" \n", "empty"),
        ("x" * (CONTENT_BYTES + 1), None, f"{CONTENT_BYTES} bytes"),
        ("-", b"x" * (CONTENT_BYTES + 1), f"{CONTENT_BYTES} bytes"),
        ("-", "ü".encode() * CONTENT_BYTES, f"{CONTENT_BYTES} bytes"),
        ("-", b"x" + "ü".encode() * CONTENT_BYTES, f"{CONTENT_BYTES} bytes"),
        ("-", b"abc\xffdef", "byte 3"),
        ("\udcff", None, "not UTF-8"),
    ],
    ids=["empty", "blank", "long", "long pipe", "long cut", "long cut within", "latin-1", "surrogate"],
)
def test_text_that_cannot_be_sent_is_a_usage_error(
    run: Run, home: Home, text: str, stdin: bytes | None, reason: str
) -> None:
    with FakeHub(home, lambda _: []) as hub:
        shown = run("send", text, stdin=stdin)
    assert shown.exit_code == 2
    assert reason in shown.stderr
    assert hub.asked == []


def test_a_refusal_is_a_sentence_and_status_1(run: Run, home: Home) -> None:
    refusal = "Not sent: nobody is called @bob."
    with FakeHub(home, lambda frame: [wire.Error(id=frame.id, code=Code.UNKNOWN_MENTION, message=refusal)]):
        shown = run("send", "@bob hi")
    assert shown.exit_code == 1
    assert shown.stdout == ""
    assert shown.stderr == f"crosschat: {refusal}\n"


def task_item(seq: int, state: str) -> wire.Item:
    return item(seq, f"task {seq}", task=wire.TaskView(status=state, owner="ada"))  # type: ignore[arg-type]


def task_pages(frame: wire.ControlFrame) -> Iterable[wire.HubFrame]:
    """Three open tasks on two pages, one completed."""
    assert isinstance(frame, wire.Read)
    match frame.badge, frame.before:
        case "task:open", None:
            yield wire.Page(id=frame.id, items=(task_item(4, "open"), task_item(6, "open")), earlier=True)
        case "task:open", "m4":
            yield wire.Page(id=frame.id, items=(task_item(2, "open"),))
        case "task:completed", None:
            yield wire.Page(id=frame.id, items=(task_item(5, "completed"),))
        case _:
            yield wire.Page(id=frame.id)


@pytest.mark.parametrize(
    ("options", "expected"),
    [([], ["m2", "m4", "m6"]), (["--open"], ["m2", "m4", "m6"]), (["--all"], ["m2", "m4", "m5", "m6"])],
)
def test_tasks_are_listed_from_all_pages_oldest_first(
    run: Run, home: Home, options: list[str], expected: list[str]
) -> None:
    with FakeHub(home, task_pages) as hub:
        shown = run("tasks", *options, "--json")
    assert [task["message"] for task in json.loads(shown.stdout)["tasks"]] == expected
    states = {frame.badge for frame in hub.asked if isinstance(frame, wire.Read)}
    assert len(states) == {"": 3, "--open": 1, "--all": 5}["".join(options)]


@pytest.mark.parametrize(("name", "reopens"), [("release", False), ("reopen", True)])
def test_a_task_is_freed_and_opened_again(run: Run, home: Home, name: str, reopens: bool) -> None:
    freed = wire.TaskView(status="open", owner="ada")
    with FakeHub(home, lambda frame: [wire.Done(id=frame.id, task=freed)]) as hub:
        shown = run("tasks", name, "m4")
    assert shown.stdout == "m4 is open now\n"
    (asked,) = hub.asked
    assert isinstance(asked, wire.ReleaseTask)
    assert (asked.message, asked.reopen) == ("m4", reopens)


def tail_script(home: Home, records: int) -> Script:
    """Every second record is for readers."""

    def answer(frame: wire.ControlFrame) -> Iterable[wire.HubFrame]:
        if isinstance(frame, wire.Tail):
            first = (frame.after_seq or 0) + 1
            items = tuple(item(seq) for seq in range(first, records + 1) if seq % 2 == 0)
            yield wire.Batch(from_seq=first, to_seq=records, items=items)
        else:
            yield hub_status(frame, home, head=records)

    return answer


@pytest.mark.parametrize("count", [0, 1, 3, 50, 500])
def test_tail_shows_the_last_items_and_no_more(run: Run, home: Home, count: int) -> None:
    with FakeHub(home, tail_script(home, 200)):
        shown = run("tail", "-n", str(count), "--json")
    expected = [seq for seq in range(1, 201) if seq % 2 == 0][-count:] if count else []
    assert [json.loads(line)["seq"] for line in shown.stdout.splitlines()] == expected


def test_tail_shows_who_wrote_what_and_events_as_lines(run: Run, home: Home) -> None:
    events = (
        item(1, "first\nsecond"),
        item(2, "deploy", source="cli", from_name="cli"),
        item(3, "", kind="claim", from_name="ben", message="m1", task=wire.TaskView(status="failed", owner="ada")),
        item(4, "no", kind="resolve", from_name="ben", message="m1", task=wire.TaskView(status="failed", owner="ada")),
    )

    def answer(frame: wire.ControlFrame) -> Iterable[wire.HubFrame]:
        if isinstance(frame, wire.Tail):
            yield wire.Batch(from_seq=1, to_seq=4, items=events)
        else:
            yield hub_status(frame, home, head=4)

    with FakeHub(home, answer):
        shown = run("tail")
    assert shown.stdout == (
        "03:04:05 ada  m1\n    first\n    second\n03:04:05 cli  m2\n    deploy\n"
        "03:04:05 ben claimed m1\n03:04:05 ben finished m1, failed\n    no\n"
    )


def test_tail_follows_from_where_the_list_ended_until_the_hub_goes_for_good(
    run: Run, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_module, "FOLLOW_PATIENCE_S", 0.2)

    def answer(frame: wire.ControlFrame) -> Iterable[wire.HubFrame]:
        if not isinstance(frame, wire.Tail):
            yield hub_status(frame, home, head=2)
        elif frame.after_seq == 0:
            yield wire.Batch(from_seq=1, to_seq=2, items=(item(2, "old"),))
        else:
            assert frame.after_seq == 2
            yield wire.Batch(from_seq=3, to_seq=3, items=(item(3, "new"),))
            home.control_socket.unlink()
            yield wire.Bye(reason="stopping", retry_after_ms=500)

    with FakeHub(home, answer):
        shown = run("tail", "-f")
    assert shown.exit_code == 3
    assert [line.strip() for line in shown.stdout.splitlines()][1::2] == ["old", "new"]
    assert "the hub is leaving" in shown.stderr


def test_start_reports_a_hub_that_runs_already(run: Run, home: Home) -> None:
    with FakeHub(home, lambda frame: [hub_status(frame, home)]):
        shown = run("start")
        document = json.loads(run("start", "--json").stdout)
    assert shown.exit_code == 0
    assert shown.stdout.splitlines() == [
        "hub runs already, pid 4242", "page  http://127.0.0.1:8123/", f"data  {home.root}"
    ]  # fmt: skip
    assert (document["pid"], document["started"]) == (4242, False)


def test_stop_without_a_hub_is_done(run: Run, home: Home) -> None:
    shown = run("stop")
    assert (shown.exit_code, shown.stdout) == (0, "no hub was running\n")
    assert json.loads(run("stop", "--json").stdout) == {"stopped": False, "pid": None}
    assert not home.root.exists()


def test_stop_returns_when_the_lock_is_free(run: Run, home: Home) -> None:
    home.root.mkdir()
    descriptor = lock.try_hold(home.hub_lock)
    assert descriptor is not None

    def answer(frame: wire.ControlFrame) -> Iterable[wire.HubFrame]:
        yield wire.Done(id=frame.id)
        fcntl.flock(descriptor, fcntl.LOCK_UN)

    with FakeHub(home, answer, closes=True) as hub:
        shown = run("stop")
    os.close(descriptor)
    assert shown.exit_code == 0
    assert shown.stdout == f"hub stopped, pid {os.getpid()}\n"
    assert [type(frame) for frame in hub.asked] == [wire.Stop]


def test_a_hub_that_does_not_stop_is_signalled_and_killed_only_by_force(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[int, int]] = []
    home.root.mkdir()
    descriptor = lock.try_hold(home.hub_lock)
    assert descriptor is not None

    def record(hub: Grip, number: signal.Signals) -> bool:
        sent.append((hub.pid, number))
        if number == signal.SIGKILL:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        return True

    monkeypatch.setattr(Grip, "send", record)
    with FakeHub(home, lambda _: []):
        with pytest.raises(Failure, match="crosschat stop --force"):
            lifecycle.stop_hub(home, deadline_s=0.2)
        assert sent == [(os.getpid(), signal.SIGTERM)]
        assert lifecycle.stop_hub(home, force=True, deadline_s=0.2) == os.getpid()
    os.close(descriptor)
    assert sent[-1] == (os.getpid(), signal.SIGKILL)


def test_a_process_that_only_holds_the_lock_is_never_signalled(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Grip, "send", lambda *_: pytest.fail("signalled"))
    home.root.mkdir()
    home.dashboard_lock.write_text('{"hub_pid": 1}')
    descriptor = lock.try_hold(home.hub_lock)
    assert descriptor is not None
    try:
        with pytest.raises(Failure, match="last hub was process 1"):
            lifecycle.stop_hub(home, force=True, deadline_s=0.1)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(("idle_stop_s", "stays"), [(None, True), (77.0, False)])
def test_restart_keeps_how_long_the_hub_stays(
    run: Run, home: Home, monkeypatch: pytest.MonkeyPatch, idle_stop_s: float | None, stays: bool
) -> None:
    started: list[dict[str, object]] = []
    monkeypatch.setattr(lifecycle, "stop_hub", lambda *_, **__: None)
    monkeypatch.setattr(launch, "ensure_hub", lambda _, **options: started.append(options))
    with FakeHub(home, lambda frame: [hub_status(frame, home, version="0.0.1", idle_stop_s=idle_stop_s)]):
        assert run("restart").exit_code == 0
    assert started == [{"port": None, "stay": stays, "idle_stop_s": idle_stop_s}]


def test_an_older_command_does_not_restart_a_newer_hub(run: Run, home: Home) -> None:
    with FakeHub(home, lambda frame: [hub_status(frame, home, version="999.0")]) as hub:
        shown = run("restart")
    assert shown.exit_code == 1
    assert "the hub is of version 999.0" in shown.stderr
    assert not any(isinstance(frame, wire.Stop) for frame in hub.asked)


def test_a_mistake_in_the_environment_ends_main_with_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CROSSCHAT_HOME", "relative")
    monkeypatch.setattr("sys.argv", ["crosschat", "peers"])
    with pytest.raises(SystemExit) as ended:
        main_module.main()
    assert ended.value.code == 2
    assert "CROSSCHAT_HOME" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "paused"), [("pause", True), ("resume", False)])
def test_an_agent_is_paused_and_resumed(run: Run, home: Home, name: str, paused: bool) -> None:
    with FakeHub(home, lambda frame: [wire.Done(id=frame.id)]) as hub:
        done = run(name, "ada", "--json")
    assert json.loads(done.stdout) == {"agent": "ada", "paused": paused}
    (asked,) = hub.asked
    assert isinstance(asked, wire.PauseAgent)
    assert (asked.agent, asked.paused) == ("ada", paused)


def test_cost_shows_each_session_and_adds_up_what_its_model_read(run: Run, home: Home) -> None:
    spent = wire.CostView(
        id="a1", name="ada", connected=True, since=iso(0), rings=3, ring_bytes=900, contexts=1, context_bytes=100,
        replies=4, reply_bytes=7000, hooks=5, hook_ms=123.44,
    )  # fmt: skip
    away = wire.CostView(id="a2", name="b\x1b[2Job", connected=False, since=iso(0))
    answers = lambda frame: [wire.CostList(id=frame.id, sessions=(spent, away))]  # noqa: E731
    with FakeHub(home, answers):
        shown = run("cost").stdout
        found = json.loads(run("cost", "--json").stdout)["sessions"]
    assert "8,000" in shown
    assert "2,000" in shown
    assert "(away)" in shown
    assert "\x1b[2J" not in shown
    assert (found[0]["wakeUps"], found[0]["bytes"], found[0]["tokens"], found[0]["hookMs"]) == (3, 8000, 2000, 123.4)


def test_cost_starts_no_hub(run: Run) -> None:
    assert run("cost").exit_code == 3


def test_status_shows_whom_nothing_wakes_and_what_wakes_nobody(run: Run, home: Home) -> None:
    agents = (
        wire.PeerView(id="a1", name="ada", connected=True, status="busy", cwd="/", paused=True),
        wire.PeerView(id="a2", name="bob", connected=True, status="busy", cwd="/", budget_s=61),
    )
    guarded = tuple(wire.GuardView(message=f"m{number}", author="eve", replies=40 + number) for number in range(1, 8))
    with FakeHub(home, lambda frame: [hub_status(frame, home, agents=agents, guarded=guarded)]):
        shown = " ".join(run("status").stdout.split())
        found = json.loads(run("status", "--json").stdout)
    assert "paused ada:" in shown
    assert "wake budget bob has used it up, for 2 min more" in shown
    assert "loop guard m1 by eve: 41 replies without the person" in shown
    assert "m5 by eve" in shown
    assert "m6 by eve" not in shown
    assert "2 threads more" in shown
    assert len(found["guarded"]) == 7
