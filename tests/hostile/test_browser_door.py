"""Attacks on the browser door: other origins and hosts, mutated requests, floods, slow and silent clients, old tickets.

After each the page that is open goes on, and at the end the hub answers and has logged no defect.
"""

from __future__ import annotations

import json
import os
import socket
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

import pytest
import trio

from crosschat import pagewire, wire
from crosschat.core.pairing import to_text
from crosschat.errors import Code
from crosschat.hub.screens import SCREENS
from crosschat.hub.visits import REQUEST_BYTES, REQUEST_S, STRANGERS
from crosschat.limits import FRAME_BYTES
from tests.live.rig import HubProcess, Program, inspect, join, short_directory
from tests.live.screen import Browser, Screen, at_a_terminal, paired, raw

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def hub() -> Iterator[HubProcess]:
    """One for all attacks: what one leaves behind is there for the next."""
    with short_directory() as place, HubProcess(place / "home", "--stay") as hub:
        yield hub.started()
        assert hub.process.poll() is None
        assert [entry for entry in hub.log() if entry["level"] in ("error", "critical")] == []


@pytest.fixture(scope="module")
def browser(hub: HubProcess) -> Browser:
    return trio.run(paired, hub.home)


@asynccontextmanager
async def witness(browser: Browser) -> AsyncIterator[Screen]:
    """A page that is open all the while, and works before and after."""
    async with browser.stream() as screen:
        await screen.post("before")
        yield screen
        await screen.post("after")
        await screen.until(lambda: screen.texts() == ["before", "after"])


async def send_and_see(port: int, data: bytes) -> bytes:
    """Send and half-close, and read what comes for a moment."""
    said = b""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        with suppress(trio.BrokenResourceError), trio.move_on_after(2):
            await stream.send_all(data)
            await stream.send_eof()
            async for piece in stream:
                said += piece
    return said


# --- who asks


@pytest.mark.parametrize("host", ["evil.example:{}", "127.0.0.1", "[::1]:{}", "evil.example", "localhost.:{}"])
async def test_a_name_that_was_rebound_to_this_address_gets_nothing(browser: Browser, host: str) -> None:
    named = {"Host": host.format(browser.port)}
    for method, target in (("GET", "/"), ("GET", "/healthz"), ("POST", "/api/challenge")):
        reply = await browser.request(method, target, b'{"key":"x"}' if method == "POST" else b"", named)
        assert reply.status == 421, (method, target)
        assert b"CrossChat" not in reply.body
    assert await browser.refused_upgrade(pagewire.SUBPROTOCOL, await browser.ticket(), headers=named) == 421


@pytest.mark.parametrize(
    "origin", [None, "null", "http://evil.example", "http://127.0.0.1:1", "http://localhost:{}", "https://127.0.0.1:{}"]
)
async def test_another_origin_gets_nothing_even_with_a_ticket(browser: Browser, origin: str | None) -> None:
    """An agent's own server on another port is another origin: it may link here, and no more."""
    headers = {"Origin": origin.format(browser.port) if origin is not None else None}
    ticket = await browser.ticket()
    assert await browser.refused_upgrade(pagewire.SUBPROTOCOL, ticket, headers=headers) == 403
    reply = await browser.request("POST", "/api/challenge", json.dumps({"key": browser.key}).encode(), headers)
    assert reply.status == 403
    assert not any(name.startswith("access-control") for name in reply.headers)
    async with browser.stream(ticket=ticket):
        pass  # it was not used up


async def test_a_preflight_is_not_answered_with_any_permission(browser: Browser) -> None:
    headers = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST",
               "Access-Control-Request-Private-Network": "true"}  # fmt: skip
    reply = await browser.request("OPTIONS", "/api/ticket", b"", headers)
    assert reply.status == 405
    assert not any(name.startswith("access-control") for name in reply.headers)


async def test_a_form_of_another_page_is_refused(browser: Browser) -> None:
    for kind in ("application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain"):
        headers = {"Content-Type": kind, "X-CrossChat": None, "Origin": "http://evil.example"}
        assert (await browser.request("POST", "/api/pair", b'{"code":"x"}', headers)).status == 403
        assert (await browser.request("POST", "/api/pair", b'{"code":"x"}', {"Content-Type": kind})).status == 415


async def test_cookies_and_credentials_in_headers_or_the_address_change_nothing(browser: Browser) -> None:
    ticket = await browser.ticket()
    headers = {"Cookie": f"ticket={ticket}; session={ticket}", "Authorization": f"Bearer {ticket}"}
    assert await browser.refused_upgrade(pagewire.SUBPROTOCOL, headers=headers) == 403
    assert await browser.refused_upgrade(pagewire.SUBPROTOCOL, path=f"/stream?ticket={ticket}") == 403
    reply = await browser.request("GET", f"/?{ticket}", headers={"Cookie": f"ticket={ticket}"})
    assert "set-cookie" not in reply.headers
    async with browser.stream(ticket=ticket):
        pass


# --- tickets


async def test_a_ticket_opens_one_stream(browser: Browser) -> None:
    ticket = await browser.ticket()
    async with browser.stream(ticket=ticket):
        assert await browser.refused_upgrade(pagewire.SUBPROTOCOL, ticket) == 403
    assert await browser.refused_upgrade(pagewire.SUBPROTOCOL, ticket) == 403


async def test_an_upgrade_without_the_two_subprotocols_is_refused(browser: Browser) -> None:
    ticket = await browser.ticket()
    for offered in ((), (ticket,), (ticket, pagewire.SUBPROTOCOL), ("crosschat.v2", ticket),
                    (pagewire.SUBPROTOCOL, ticket, "x"), (pagewire.SUBPROTOCOL, pagewire.SUBPROTOCOL)):  # fmt: skip
        assert await browser.refused_upgrade(*offered) == 403, offered
    assert await browser.refused_upgrade(pagewire.SUBPROTOCOL, ticket, path="/") in (400, 404, 405)
    async with browser.stream(ticket=ticket):
        pass


async def test_a_replayed_call_gets_no_second_ticket(browser: Browser) -> None:
    challenge = (await browser.call(pagewire.Challenge(key=browser.key), pagewire.Challenged)).challenge
    signature = browser.sign(pagewire.to_sign(browser.origin, challenge))
    call = pagewire.GetTicket(key=browser.key, challenge=challenge, signature=signature)
    await browser.call(call, pagewire.Ticketed)
    assert (await browser.call(call, wire.Error)).code is Code.FORBIDDEN


async def test_compression_is_not_negotiated(browser: Browser) -> None:
    ticket = await browser.ticket()
    head = (
        f"GET /stream HTTP/1.1\r\nHost: 127.0.0.1:{browser.port}\r\nOrigin: {browser.origin}\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        f"Sec-WebSocket-Protocol: crosschat.v1, {ticket}\r\n"
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
    )
    async with await trio.open_tcp_stream("127.0.0.1", browser.port) as stream:
        await stream.send_all(head.encode())
        with trio.fail_after(5):
            said = b""
            while b"\r\n\r\n" not in said:
                said += await stream.receive_some()
    assert said.startswith(b"HTTP/1.1 101")
    assert b"sec-websocket-protocol: crosschat.v1\r\n" in said.lower()
    assert b"extensions" not in said.lower()


# --- floods and slow clients


async def test_strangers_are_bounded_and_cost_an_open_page_nothing(hub: HubProcess, browser: Browser) -> None:
    async with witness(browser) as screen, AsyncExitStack() as idle:
        for _ in range(STRANGERS):
            await idle.enter_async_context(await trio.open_tcp_stream("127.0.0.1", browser.port))
        reply = await raw(browser.port, b"")
        assert reply.status == 503
        assert reply.headers["retry-after"] == "1"
        page = await screen.ask(wire.Read(id="during"), wire.Page)
        assert page.items[-1].content == "before"
        await inspect(hub.home)
        with trio.fail_after(REQUEST_S + 10):  # their time is over, and there is room again
            while (await browser.request("GET", "/healthz")).status != 200:  # noqa: ASYNC110
                await trio.sleep(0.1)


UNFINISHED: Final = {
    "nothing": b"",
    "a method": b"GET",
    "headers": b"GET / HTTP/1.1\r\nHost: HOST\r\n",
    "a body": b"POST /api/pair HTTP/1.1\r\nHost: HOST\r\nOrigin: http://HOST\r\nX-CrossChat: 1\r\n"
    b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
}


async def test_who_does_not_finish_a_request_is_hung_up_on(browser: Browser) -> None:
    async def begin(part: bytes) -> None:
        async with await trio.open_tcp_stream("127.0.0.1", browser.port) as stream:
            await stream.send_all(part.replace(b"HOST", b"127.0.0.1:%d" % browser.port))
            with suppress(trio.BrokenResourceError), trio.fail_after(REQUEST_S + 10):
                async for _ in stream:
                    pass

    async with witness(browser), trio.open_nursery() as nursery:
        for part in UNFINISHED.values():
            nursery.start_soon(begin, part)


async def test_a_request_in_drops_gets_no_more_time_than_one_at_once(browser: Browser) -> None:
    async with witness(browser), await trio.open_tcp_stream("127.0.0.1", browser.port) as stream:
        await stream.send_all(b"GET / HTTP/1.1\r\n")
        with pytest.raises(trio.BrokenResourceError):
            await drip(stream)


async def drip(stream: trio.SocketStream) -> None:
    """A byte now and then, for longer than a request may take."""
    with trio.fail_after(REQUEST_S + 10):
        while True:
            await stream.send_all(b"X")
            await trio.sleep(0.05)


@pytest.mark.parametrize("kind", ["headers", "body", "chunks"])
async def test_a_request_has_a_size(browser: Browser, kind: str) -> None:
    host = f"Host: 127.0.0.1:{browser.port}\r\n"
    call = (
        f"POST /api/pair HTTP/1.1\r\n{host}Origin: {browser.origin}\r\nX-CrossChat: 1\r\n"
        "Content-Type: application/json\r\n"
    )
    chunk = "400\r\n" + "x" * 1024 + "\r\n"
    data = {
        "headers": f"GET / HTTP/1.1\r\n{host}" + "X: y\r\n" * REQUEST_BYTES,
        "body": f"{call}Content-Length: {4 * REQUEST_BYTES}\r\n\r\n" + "x" * 4 * REQUEST_BYTES,
        "chunks": f"{call}Transfer-Encoding: chunked\r\n\r\n" + chunk * 99,
    }[kind].encode()
    async with witness(browser):
        said = await send_and_see(browser.port, data)
        assert b"HTTP/1.1 2" not in said[:12]


async def test_a_connection_serves_one_request(browser: Browser) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % browser.port
    said = await send_and_see(browser.port, request * 5)
    assert said.count(b"HTTP/1.1 200") == 1
    assert b"connection: close" in said.lower()


# --- streams


async def test_a_stream_that_does_not_open_is_ended(browser: Browser) -> None:
    async with browser.upgraded() as screen:
        with trio.fail_after(15):
            await screen.ended.wait()
        (said,) = screen.all(wire.Error)
        assert said.code is Code.NOT_JOINED
        assert screen.closed is not None
        assert screen.closed[0] == 1008


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ('{"type":"read","id":"r"}', Code.NOT_JOINED),
        ('{"type":"open","id":"o","protocol":99,"version":"x"}', Code.UNSUPPORTED_PROTOCOL),
        ('{"type":"hello"}', Code.BAD_FRAME),
        ("[]", Code.BAD_FRAME),
        ("", Code.BAD_FRAME),
        (b"\x00\xff", Code.BAD_FRAME),
    ],
)
async def test_a_stream_that_begins_wrongly_is_told_why_and_ended(
    browser: Browser, data: str | bytes, code: Code
) -> None:
    async with browser.upgraded() as screen:
        await screen.socket.send_message(data)
        with trio.fail_after(10):
            await screen.ended.wait()
        (said,) = screen.all(wire.Error)
        assert said.code is code


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ("", Code.BAD_FRAME),
        ("nonsense", Code.BAD_FRAME),
        ('{"type":"open","id":"b","protocol":1,"version":"x"}', Code.BAD_FRAME),
        ('{"type":"stop","id":"b"}', Code.BAD_FRAME),
        ('{"type":"claim","id":"b","cid":"c","message":"m"}', Code.BAD_FRAME),
        ('{"type":"send","id":"b","cid":"c","content":"x","source":"agent"}', Code.BAD_FRAME),
        ('{"type":"send","id":"b","cid":"c","content":"x","content":"y"}', Code.BAD_FRAME),
        ('{"type":"send","id":"b","cid":"c","content":"' + "x" * 33_000 + '"}', Code.TOO_LARGE),
        ('{"type":"send","id":"b","cid":"c","content":"' + "x" * FRAME_BYTES + '"}', Code.TOO_LARGE),
        ('{"type":"read","id":"b","message":"m-none"}', Code.NOT_FOUND),
        ('{"type":"decide","id":"b","request":"r","payload":"{}","signature":""}', Code.FORBIDDEN),
        ("[" * 100_000, Code.BAD_FRAME),
    ],
)
async def test_a_bad_frame_is_answered_and_the_stream_goes_on(browser: Browser, data: str, code: Code) -> None:
    async with witness(browser) as screen:
        await screen.socket.send_message(data)
        assert (await screen.next(wire.Error)).code is code


async def test_a_frame_beyond_all_bounds_ends_its_stream_alone(browser: Browser) -> None:
    async with witness(browser), browser.upgraded() as screen:
        await screen.socket.send_message("x" * (4 * FRAME_BYTES))
        with trio.fail_after(10):
            await screen.ended.wait()


async def test_bytes_right_behind_the_request_for_an_upgrade_end_that_connection_alone(browser: Browser) -> None:
    async with witness(browser):
        for rest in (b"\x81", b"\x81\xfe\xff\xff", b"GET / HTTP/1.1\r\n\r\n", os.urandom(200)):
            ticket = await browser.ticket()
            head = (
                f"GET /stream HTTP/1.1\r\nHost: 127.0.0.1:{browser.port}\r\nOrigin: {browser.origin}\r\n"
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                f"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: crosschat.v1, {ticket}\r\n\r\n"
            ).encode()
            await send_and_see(browser.port, head + rest)


async def test_there_are_not_too_many_pages(browser: Browser) -> None:
    async with witness(browser), AsyncExitStack() as pages:
        for _ in range(SCREENS - 1):
            await pages.enter_async_context(browser.stream())
        async with browser.upgraded() as one_more:
            with trio.fail_after(10):
                await one_more.ended.wait()
            assert [error.code for error in one_more.all(wire.Error)] == [Code.HUB_FULL]


async def test_a_page_that_stops_reading_holds_up_neither_the_others_nor_a_stop(
    place: Path, nursery: trio.Nursery
) -> None:
    with HubProcess(place / "home", "--stay") as hub:
        hub.started()
        await stop_with_a_page_that_does_not_read(hub, nursery)


async def stop_with_a_page_that_does_not_read(hub: HubProcess, nursery: trio.Nursery) -> None:
    browser = await paired(hub.home)
    ticket = await browser.ticket()
    head = (
        f"GET /stream HTTP/1.1\r\nHost: 127.0.0.1:{browser.port}\r\nOrigin: {browser.origin}\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        f"Sec-WebSocket-Protocol: crosschat.v1, {ticket}\r\n\r\n"
    ).encode()
    opening = pagewire.encode(pagewire.Open(id="o", protocol=wire.PROTOCOL, version="t"))
    frame = b"\x81" + bytes([0x80 | len(opening)]) + bytes(4) + opening
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", browser.port))
    with sock, Program(hub.home.agents_socket) as program:
        stuck = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        await stuck.send_all(head)
        said = b""
        while b"\r\n\r\n" not in said:
            said += await stuck.receive_some(512)
        await stuck.send_all(frame)  # and from here on it reads nothing
        ada = await join(nursery, program.connect())
        async with browser.stream() as screen:
            for number in range(100):
                await ada.post(f"{number} " + "x" * 30_000)
            await screen.until(lambda: len(screen.texts()) == 100, 20)
        assert await trio.to_thread.run_sync(hub.stop) == 0


# --- what is known not to be stopped is seen


async def test_a_detached_process_may_pass_for_a_person_and_is_announced(hub: HubProcess, browser: Browser) -> None:
    """It has left the session's tree and has a terminal of its own: nothing tells it from a person. So the open page
    has to accept its browser, is shown that it asks, and the log has it."""
    code = await trio.to_thread.run_sync(at_a_terminal, hub.home, wire.NewCode(id="c"))
    assert isinstance(code, wire.PairingCode)
    assert not code.first
    async with browser.stream() as screen:
        thief = Browser(browser.port, "thief")
        asked = await thief.pair(code.code)
        assert asked.state == "waiting"
        shown = await screen.next(pagewire.Pairing)
        assert (shown.label, shown.fingerprint) == ("thief", asked.fingerprint)
        assert (await thief.call(pagewire.Challenge(key=thief.key), wire.Error)).code is Code.FORBIDDEN
        refuse = pagewire.AnswerPairing(id="a", pairing=shown.pairing, accept=False)
        await screen.ask(refuse, wire.Done)
        event = await screen.next(pagewire.Event, lambda event: event.event.kind == "pairing_refused")
        assert "thief" in event.event.text
    status = await inspect(hub.home)
    assert [key.label for key in status.browsers] == ["a test"]


async def test_a_copied_key_is_the_person_and_its_pages_are_counted(hub: HubProcess, browser: Browser) -> None:
    """A browser profile that was copied signs as the browser does; what shows is one more open page."""
    async with browser.stream(), browser.stream():
        assert (await inspect(hub.home)).pages == 2


async def test_guessing_the_code_voids_it_and_is_announced(hub: HubProcess, browser: Browser) -> None:
    code = await trio.to_thread.run_sync(at_a_terminal, hub.home, wire.NewCode(id="c"))
    assert isinstance(code, wire.PairingCode)
    thief = Browser(browser.port, "thief")
    async with browser.stream() as screen:
        for _ in range(5):
            call = pagewire.Pair(code="ZZZZ-ZZZZ", key=to_text(thief.public), label="thief")
            assert (await thief.call(call, wire.Error)).code is Code.FORBIDDEN
        call = pagewire.Pair(code=code.code, key=to_text(thief.public), label="thief")
        assert "No code is open" in (await thief.call(call, wire.Error)).message
        await screen.next(pagewire.Event, lambda event: event.event.kind == "pairing_refused")
    assert [key.label for key in (await inspect(hub.home)).browsers] == ["a test"]
