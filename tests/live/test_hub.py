"""A running hub seen from outside: its status, its page, its files, the leases it ends."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest
import trio

from crosschat import wire
from crosschat.errors import Code
from tests.live.rig import Control, HubProcess, Program, eventually, inspect, join

if TYPE_CHECKING:
    from pathlib import Path


async def test_the_status_tells_agents_tasks_sizes_and_times(running_hub: HubProcess, nursery: trio.Nursery) -> None:
    home = running_hub.home
    await eventually(home.dashboard_lock.exists, 30)
    with Program(home.agents_socket) as one, Program(home.agents_socket) as two:
        ada, bob = await join(nursery, one.connect()), await join(nursery, two.connect())
        sent = await ada.post("do this")
        await ada.ask(wire.FlagTask(id="f", cid="f", message=sent.message), wire.Done)
        await bob.ask(wire.ClaimTask(id="c", cid="c", message=sent.message), wire.Done)
        status = await inspect(home)
        assert status.pid == running_hub.process.pid
        assert status.home == str(home.root)
        assert status.head == bob.told or status.head >= sent.seq
        assert status.open_tasks == 1
        assert {agent.id for agent in status.agents} == {ada.welcome.agent, bob.welcome.agent}
        assert [agent.claims for agent in status.agents if agent.id == bob.welcome.agent] == [(sent.message,)]
        assert status.sync_p50_ms is not None
        assert status.sync_p99_ms is not None
        assert 0 < status.sync_p50_ms <= status.sync_p99_ms
        assert status.rss_bytes
        assert status.rss_bytes > 1 << 20
        assert status.idle_stop_s is None
        assert status.tree == ()
        note = json.loads(home.dashboard_lock.read_text())
        assert note["hub_pid"] == status.pid
        assert status.dashboard == f"http://127.0.0.1:{note['port']}/"
        assert not note.keys() & {"pid", "version"}
        nursery.cancel_scope.cancel()


async def test_the_live_tree_names_the_tasks_and_what_holds_them(
    running_hub: HubProcess, nursery: trio.Nursery
) -> None:
    home = running_hub.home
    await eventually(home.dashboard_lock.exists, 30)
    with Program(home.agents_socket) as one:
        await join(nursery, one.connect())
        tree = (await inspect(home, tree=True)).tree

        def depth(part: str) -> int:
            (line,) = [line for line in tree if part in line]
            return len(line) - len(line.lstrip())

        top = depth("Hub.run")
        for task in ("write_log", "project", "Supervisor.run", "watch_signals", "serve_page"):
            assert depth(task) == top + 2, task
        for door in ("serve agents.sock", "serve control.sock"):
            assert depth(door) == top + 2, door
        assert depth("_watch_place") > depth("Supervisor.run")
        assert depth(f"watch process {one.pid}") > depth("Supervisor.run")
        assert depth("_Pipe.pump") > depth("Supervisor.run")
        assert depth("deliver") == depth("heartbeat") == depth("_Pipe.pump")
        nursery.cancel_scope.cancel()


async def test_a_task_whose_claimant_stays_away_is_open_again_and_its_thread_says_so(
    place: Path, nursery: trio.Nursery
) -> None:
    with HubProcess(place / "home", "--stay", "--lease-grace-s", "0.3") as hub:
        path = hub.started().home.agents_socket
        with Program(path) as one, Program(path) as two:
            ada, bob = await join(nursery, one.connect()), await join(nursery, two.connect())
            sent = await ada.post("do this")
            await ada.ask(wire.FlagTask(id="f", cid="f", message=sent.message), wire.Done)
            await bob.ask(wire.ClaimTask(id="c", cid="c", message=sent.message), wire.Done)
            await bob.close()
            await ada.until(lambda: any(item.kind == "release" for item in ada.items))
            await ada.until(lambda: any("open again" in item.content for item in ada.items))
            (notice,) = [item for item in ada.items if "open again" in item.content]
            assert (notice.source, notice.thread) == ("system", sent.message)
            page = await ada.ask(wire.Read(id="r", message=sent.message), wire.Page)
            assert page.items[0].task is not None
            assert page.items[0].task.status == "open"
            again = await join(nursery, two.connect())
            await again.ask(wire.ClaimTask(id="c2", cid="c2", message=sent.message), wire.Done)
            nursery.cancel_scope.cancel()


async def test_a_sender_is_told_of_what_nobody_reads(place: Path, nursery: trio.Nursery) -> None:
    with HubProcess(place / "home", "--stay", "--unread-s", "0.3") as hub:
        path = hub.started().home.agents_socket
        with Program(path) as one, Program(path) as two:
            ada, bob = await join(nursery, one.connect()), await join(nursery, two.connect())
            name = bob.welcome.name
            await bob.close()
            sent = await ada.post(f"@{name}: look at this")
            await ada.until(lambda: any(item.source == "system" for item in ada.items))
            (notice,) = [item for item in ada.items if item.source == "system"]
            assert (notice.content, notice.private) == (
                f"Not read for more than 0.3 s:\n{sent.message} by {name} (away)", True
            )  # fmt: skip
            nursery.cancel_scope.cancel()


async def test_a_claimant_that_is_there_keeps_its_claim_however_long_it_takes(
    place: Path, nursery: trio.Nursery
) -> None:
    with HubProcess(place / "home", "--stay", "--lease-grace-s", "0.1") as hub:
        path = hub.started().home.agents_socket
        with Program(path) as one, Program(path) as two, Program(path) as three:
            ada, bob, eve = [await join(nursery, program.connect()) for program in (one, two, three)]
            tasks = [(await ada.post(f"do this {number}")).message for number in range(2)]
            for client, task in zip((bob, eve), tasks, strict=True):
                await ada.ask(wire.FlagTask(id=f"f{task}", cid=f"f{task}", message=task), wire.Done)
                await client.ask(wire.ClaimTask(id="c", cid="c", message=task), wire.Done)
            await eve.close()  # several grace periods pass while the other's claim ends
            await ada.until(lambda: any(item.kind == "release" for item in ada.items))
            assert [item.message for item in ada.items if item.kind == "release"] == [tasks[1]]
            done = wire.ResolveTask(id="d", cid="d", message=tasks[0], status="completed", result="done")
            await bob.ask(done, wire.Done)
            nursery.cancel_scope.cancel()


async def test_the_documented_files_appear_beside_the_log(running_hub: HubProcess, nursery: trio.Nursery) -> None:
    messages = running_hub.home.root / "messages"
    with Program(running_hub.home.agents_socket) as one, Program(running_hub.home.agents_socket) as two:
        ada, bob = await join(nursery, one.connect()), await join(nursery, two.connect())
        sent = await ada.post("do this")
        await bob.post("a reply", thread=sent.message)
        await ada.ask(wire.FlagTask(id="f", cid="f", message=sent.message), wire.Done)
        badge = wire.AddBadge(id="b", cid="b", message=sent.message, badge_type="project", value="x")
        await ada.ask(badge, wire.Done)
        task = messages / "tasks" / f"{sent.message}.json"
        badges = messages / "badges" / f"{sent.message}.json"
        written = (task, badges, messages / "general.jsonl", messages / "threads" / f"{sent.message}.jsonl")
        await eventually(lambda: all(path.exists() and path.stat().st_size for path in written))
        await eventually(lambda: b"project" in badges.read_bytes())
        assert json.loads(task.read_text())["status"] == "open"
        channel = [json.loads(line) for line in (messages / "general.jsonl").read_text().splitlines()]
        assert [line["content"] for line in channel] == ["do this"]
        thread = (messages / "threads" / f"{sent.message}.jsonl").read_text().splitlines()
        assert [json.loads(line)["threadId"] for line in thread] == [sent.message]
        for path in (task, badges, messages / "general.jsonl"):
            assert path.stat().st_mode & 0o777 == 0o600
        nursery.cancel_scope.cancel()


# --- the page


def fetch(url: str, *, host: str | None = None, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: object) -> None:
            return None

    request = urllib.request.Request(url, method=method, headers={"Host": host} if host else {})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), Stay)
    try:
        with opener.open(request, timeout=5) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, dict(refused.headers), refused.read()


async def test_the_page_tells_health_to_the_right_host_and_nothing_to_another(running_hub: HubProcess) -> None:
    await eventually(running_hub.home.dashboard_lock.exists, 30)
    url = (await inspect(running_hub.home)).dashboard
    assert url is not None
    port = url.rstrip("/").rpartition(":")[2]

    async def get(path: str, **how: str) -> tuple[int, dict[str, str], bytes]:
        return await trio.to_thread.run_sync(lambda: fetch(url + path, **how))

    status, headers, body = await get("healthz")
    assert status == 200
    assert set(json.loads(body)) == {"status", "version", "protocol"}
    assert "Access-Control-Allow-Origin" not in headers
    status, headers, body = await get("")
    assert (status, b"CrossChat" in body) == (200, True)
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert str(running_hub.home.root).encode() not in body
    assert (await get("nothing"))[0] == 404
    assert (await get("healthz", host="evil.example"))[0] == 421
    status, headers, _ = await get("healthz", host=f"localhost:{port}")
    assert (status, headers["location"]) == (308, f"http://127.0.0.1:{port}/healthz")
    assert (await get("healthz", method="POST"))[0] == 403
    assert (await get("healthz", method="PUT"))[0] == 405
    with socket.socket() as probe:  # bound to the loopback address alone
        assert probe.connect_ex(("127.0.0.2", int(port))) != 0


async def test_the_page_keeps_its_port_over_a_restart_and_takes_another_while_that_is_busy(place: Path) -> None:
    ports: list[int] = []
    for busy in (False, False, True, False):
        with socket.socket() as squatter:
            if busy:
                squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                squatter.bind(("127.0.0.1", ports[0]))
                squatter.listen()
            with HubProcess(place / "home", "--stay") as hub:
                hub.started()
                await eventually(hub.home.dashboard_lock.exists, 30)
                ports.append(json.loads(hub.home.dashboard_lock.read_text())["port"])
                problem = (await inspect(hub.home)).dashboard_problem
                assert (problem is not None and f"port {ports[0]} is another program's" in problem) == busy
                assert hub.stop() == 0
    assert ports[0] == ports[1] == ports[3]
    assert ports[2] not in (None, ports[0])


async def test_a_port_that_was_set_and_is_busy_leaves_agents_working_and_the_status_says_why(
    place: Path, nursery: trio.Nursery
) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        port = squatter.getsockname()[1]
        with HubProcess(place / "home", "--stay", "--port", str(port)) as hub:
            home = hub.started().home
            await eventually(home.dashboard_lock.exists, 30)
            with Program(home.agents_socket) as one:
                client = await join(nursery, one.connect())
                assert client.welcome.dashboard is None
                await client.post("works")
            status = await inspect(home)
            assert status.dashboard is None
            assert status.dashboard_problem is not None
            assert str(port) in status.dashboard_problem
            assert "CROSSCHAT_DASHBOARD_PORT" in status.dashboard_problem
            assert json.loads(home.dashboard_lock.read_text())["port"] is None
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("settings", ["{", '{"dashboard_port": "x"}'])
async def test_settings_that_cannot_be_read_are_left_alone_and_cost_nothing_else(place: Path, settings: str) -> None:
    (place / "home").mkdir(mode=0o700)
    path = place / "home" / "settings.json"
    path.write_text(settings)
    with HubProcess(place / "home", "--stay") as hub:
        home = hub.started().home
        await eventually(home.dashboard_lock.exists, 30)
        status = await inspect(home)
        assert status.dashboard is not None
        assert (status.dashboard_problem is not None) == (settings == "{")
        if settings == "{":
            assert path.read_text() == settings


async def test_the_terminal_can_free_a_task_and_open_a_finished_one_again(
    running_hub: HubProcess, nursery: trio.Nursery
) -> None:
    home = running_hub.home
    with Program(home.agents_socket) as one, Program(home.agents_socket) as two:
        ada, bob = await join(nursery, one.connect()), await join(nursery, two.connect())
        task = (await ada.post("do this")).message
        await ada.ask(wire.FlagTask(id="f", cid="f", message=task), wire.Done)
        await bob.ask(wire.ClaimTask(id="c", cid="c", message=task), wire.Done)
        async with Control(home.control_socket) as control:
            done = await control.ask(wire.ReleaseTask(id="r", cid="r1", message=task), wire.Done)
            assert done.task is not None
            assert done.task.status == "open"
            refused = await control.ask(wire.ReleaseTask(id="r", cid="r2", message=task), wire.Error)
            assert refused.code is Code.CONFLICT
            await bob.ask(wire.ClaimTask(id="c2", cid="c2", message=task), wire.Done)
            resolved = wire.ResolveTask(id="d", cid="d", message=task, status="failed", result="", error="no")
            await bob.ask(resolved, wire.Done)
            done = await control.ask(wire.ReleaseTask(id="r", cid="r3", message=task, reopen=True), wire.Done)
            assert done.task is not None
            assert done.task.status == "open"
        nursery.cancel_scope.cancel()
