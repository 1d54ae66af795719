"""The browser door: HTTP on 127.0.0.1, served by hypercorn and quart-trio. The only module that knows them.

Until there is a dashboard it shows a plain status page and `/healthz`, to anybody who can reach the loopback address
and says the right Host: so neither tells anything about agents, messages or paths. Nothing is upgraded. Each
connection is contained and bounded; the framework's import takes longer than the hub's start, so it happens after it.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs
import trio

from crosschat.hub.contain import contain

if TYPE_CHECKING:
    from hypercorn.config import Config
    from quart_trio import QuartTrio

    from crosschat.hub.log import Logger

CONNECTIONS: Final = 32
CONNECTION_S: Final = 15.0  # a connection lasts no longer: nothing served here is longer
REQUEST_BYTES: Final = 16 * 1024
READ_S: Final = 5
CANONICAL_HOST: Final = "127.0.0.1"
HEADERS: Final = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)

Scope: TypeAlias = MutableMapping[str, object]
Event: TypeAlias = MutableMapping[str, object]
Receive: TypeAlias = Callable[[], Awaitable[Event]]
Send: TypeAlias = Callable[[Event], Awaitable[None]]
Asgi: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


@attrs.frozen
class Facts:
    """What the page may say: nothing that is private."""

    version: str
    protocol: int


def listen(port: int | None, remembered: int | None) -> tuple[socket.socket | None, str | None]:
    """A listening socket on 127.0.0.1, or None and why not.

    A `port` that was asked for is used or nothing is; without one the `remembered` port is tried, so that a page
    keeps its address, and then any free one.
    """
    wanted = [port] if port is not None else [remembered, 0] if remembered is not None else [0]
    for candidate in wanted:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if sys.platform == "linux":  # a browser that stops reading must not hold up a stop
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 10_000)
            sock.bind((CANONICAL_HOST, candidate or 0))
            sock.listen(CONNECTIONS)
        except OSError as error:
            sock.close()
            problem = f"port {candidate} on {CANONICAL_HOST} cannot be used: {error.strerror or error}"
        else:
            return sock, None
    return None, f"{problem}. Free it, or set CROSSCHAT_DASHBOARD_PORT to another port or unset it, then restart."


async def serve_page(
    sock: socket.socket,
    facts: Facts,
    log: Logger,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; `started()` once the first request would be answered. Closes `sock` however it ends."""
    with sock:
        await _serve_page(sock, facts, log, task_status)


async def _serve_page(sock: socket.socket, facts: Facts, log: Logger, task_status: trio.TaskStatus[None]) -> None:
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
    port = int(sock.getsockname()[1])
    handle = await trio.to_thread.run_sync(_build, facts, port)
    connections = trio.CapacityLimiter(CONNECTIONS)

    async def serve_connection(stream: trio.SocketStream) -> None:
        try:
            connections.acquire_on_behalf_of_nowait(stream)
        except trio.WouldBlock:
            return
        try:
            with trio.move_on_after(CONNECTION_S):
                await handle(stream)
        finally:
            connections.release_on_behalf_of(stream)

    await trio.serve_listeners(contain(serve_connection, log, "page"), [listener], task_status=_ignore(task_status))


class _Started:
    def __init__(self, outer: trio.TaskStatus[None]) -> None:
        self._outer = outer

    def started(self, _: object = None) -> None:
        self._outer.started()


def _ignore(task_status: trio.TaskStatus[None]) -> trio.TaskStatus[list[trio.SocketListener]]:
    return _Started(task_status)


def _build(facts: Facts, port: int) -> Callable[[trio.SocketStream], Awaitable[None]]:
    """Import the framework and put the pieces together; blocks for about half a second."""
    from hypercorn.app_wrappers import ASGIWrapper
    from hypercorn.config import Config
    from hypercorn.trio.tcp_server import TCPServer
    from hypercorn.trio.worker_context import WorkerContext

    config = Config()
    _configure(config)
    app = ASGIWrapper(guard(_application(facts).asgi_app, port))  # type: ignore[arg-type]  # our ASGI types are plain

    async def handle(stream: trio.SocketStream) -> None:
        context = WorkerContext(None)
        await TCPServer(app, config, context, {}, stream).run()  # type: ignore[arg-type]  # it takes any trio stream

    return handle


def _configure(config: Config) -> None:
    config.accesslog = None
    config.errorlog = None
    config.h11_max_incomplete_size = REQUEST_BYTES
    config.read_timeout = READ_S
    config.keep_alive_timeout = READ_S
    config.max_app_queue_size = 1
    config.include_server_header = False


def _application(facts: Facts) -> QuartTrio:
    from quart import Response
    from quart_trio import QuartTrio

    app = QuartTrio("crosschat", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = REQUEST_BYTES

    @app.get("/healthz")
    async def healthz() -> dict[str, object]:
        return {"status": "ok", "version": facts.version, "protocol": facts.protocol}

    @app.get("/")
    async def status_page() -> Response:
        return Response(
            '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
            '<meta name="viewport" content="width=device-width"><title>CrossChat</title>'
            f"<h1>CrossChat</h1><p>The hub is running, version {facts.version}.</p>"
            "<p>Agents, tasks and messages: <code>crosschat status</code>, <code>crosschat tasks</code>, "
            "<code>crosschat tail</code> in a terminal.</p></html>",
            content_type="text/html; charset=utf-8",
        )

    return app


def guard(app: Asgi, port: int) -> Asgi:
    """Every request passes here before any route: exact Host, no other method than reading, no upgrade."""
    canonical = f"{CANONICAL_HOST}:{port}".encode()

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            return
        headers: list[tuple[bytes, bytes]] = list(scope["headers"])  # type: ignore[call-overload]  # as ASGI says
        hosts = [value for name, value in headers if name == b"host"]
        if hosts == [f"localhost:{port}".encode()]:
            # As it was sent, still percent-encoded: the decoded path may hold a line end.
            location = b"http://%b%b" % (canonical, scope["raw_path"])  # type: ignore[str-format]
            await _refuse(send, 308, b"Use the address 127.0.0.1.", ((b"location", location),))
        elif hosts != [canonical]:
            await _refuse(send, 421, b"This address is not served here.")
        elif scope["method"] not in ("GET", "HEAD"):
            await _refuse(send, 405, b"Only GET is served here.", ((b"allow", b"GET, HEAD"),))
        else:
            await app(scope, receive, _with_headers(send))

    return guarded


def _with_headers(send: Send) -> Send:
    async def sending(event: Event) -> None:
        if event["type"] == "http.response.start":
            event["headers"] = [*event.get("headers", ()), *HEADERS]  # type: ignore[misc]  # a list, as ASGI says
        await send(event)

    return sending


async def _refuse(send: Send, status: int, text: bytes, extra: tuple[tuple[bytes, bytes], ...] = ()) -> None:
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(text)),
        *extra,
        *HEADERS,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text, "more_body": False})
