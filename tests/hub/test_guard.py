"""The page's guard, before any route: who may ask for what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from crosschat.hub.webserver import guard

if TYPE_CHECKING:
    from crosschat.hub.webserver import Event, Receive, Scope, Send

PORT = 4711


async def ask(*hosts: bytes, method: str = "GET", kind: str = "http", path: bytes = b"/x") -> tuple[bool, list[Event]]:
    """Whether the request reached the application, and what was answered."""
    reached: list[Scope] = []
    said: list[Event] = []

    async def application(scope: Scope, _: Receive, send: Send) -> None:
        reached.append(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> Event:
        raise AssertionError

    async def send(event: Event) -> None:
        said.append(event)

    headers = [(b"accept", b"*/*"), *((b"host", host) for host in hosts)]
    scope: Scope = {"type": kind, "method": method, "headers": headers, "path": "/x", "raw_path": path}
    await guard(application, PORT)(scope, receive, send)
    return bool(reached), said


async def test_the_canonical_host_passes_and_gets_the_protecting_headers() -> None:
    reached, said = await ask(b"127.0.0.1:4711")
    assert reached
    headers = dict(said[0]["headers"])  # type: ignore[call-overload]  # a list of pairs
    assert headers[b"content-security-policy"].startswith(b"default-src 'none'")
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert headers[b"cache-control"] == b"no-store"


@pytest.mark.parametrize(
    "hosts",
    [
        (),
        (b"",),
        (b"127.0.0.1",),
        (b"127.0.0.1:4712",),
        (b"127.0.0.1:04711",),
        (b"127.0.0.1.:4711",),
        (b"127.1:4711",),
        (b"0.0.0.0:4711",),
        (b"[::1]:4711",),
        (b"evil.example:4711",),
        (b"127.0.0.1:4711.evil.example",),
        (b"127.0.0.1:4711@evil.example",),
        (b"evil.example@127.0.0.1:4711",),
        (b" 127.0.0.1:4711",),
        (b"127.0.0.1:4711", b"127.0.0.1:4711"),
        (b"evil.example", b"127.0.0.1:4711"),
        (b"LOCALHOST:4711",),
        (b"localhost.:4711",),
    ],
)
async def test_any_other_host_is_refused_before_the_application(hosts: tuple[bytes, ...]) -> None:
    reached, said = await ask(*hosts)
    assert not reached
    assert said[0]["status"] == 421


@pytest.mark.parametrize("path", [b"/", b"/a?b", b"/%0aSet-Cookie:%20x", b"//evil.example/", b"/%ff"])
async def test_localhost_is_led_to_the_canonical_address_with_the_path_as_it_was_sent(path: bytes) -> None:
    reached, said = await ask(b"localhost:4711", path=path)
    assert not reached
    assert said[0]["status"] == 308
    assert dict(said[0]["headers"])[b"location"] == b"http://127.0.0.1:4711" + path  # type: ignore[call-overload]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get", "X"])
async def test_any_method_but_reading_is_refused(method: str) -> None:
    reached, said = await ask(b"127.0.0.1:4711", method=method)
    assert not reached
    assert said[0]["status"] == 405


async def test_a_web_socket_is_refused_before_it_is_accepted() -> None:
    reached, said = await ask(b"127.0.0.1:4711", kind="websocket")
    assert not reached
    assert [event["type"] for event in said] == ["websocket.close"]


async def test_other_kinds_of_scope_are_left_unanswered() -> None:
    assert await ask(b"127.0.0.1:4711", kind="lifespan") == (False, [])
