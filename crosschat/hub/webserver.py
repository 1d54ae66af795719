"""The browser door: HTTP and the page's stream on 127.0.0.1, served by hypercorn and quart-trio. The only module that
knows them.

Every request passes the guard first, and a stream is accepted only for a ticket, so nothing that is not a paired page
is ever upgraded. A connection serves one request, is contained, and is bounded from outside of the framework: its
bytes, its time, each write. Compression is off: what a page sends is never inflated. The framework's import takes
longer than the hub's start, so it happens after it. A stop cancels the streams, which say `bye` themselves.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import attrs
import trio

from crosschat.errors import Code, Refused
from crosschat.hub.assets import Asset, read_assets
from crosschat.hub.contain import contain
from crosschat.hub.guard import Asked, Refusal, headers_of, judge
from crosschat.hub.log import Logger
from crosschat.hub.pairing import Pairing
from crosschat.hub.router import error_frame
from crosschat.hub.visits import REQUEST_BYTES, REQUEST_S, STRANGERS, Visit
from crosschat.limits import FRAME_BYTES
from crosschat.pagewire import (
    SUBPROTOCOL,
    AwaitPairing,
    CallAnswer,
    CallFrame,
    Challenge,
    GetTicket,
    Pair,
    decode_call,
    encode_call,
)
from crosschat.paths import resource

if TYPE_CHECKING:
    import socket

    from hypercorn.config import Config
    from quart import Response
    from quart.wrappers import Websocket
    from quart_trio import QuartTrio

    from crosschat.core.pairing import Key
    from crosschat.hub.dashboard import Link

APP_QUEUE: Final = 4  # a refusal takes nothing out of it: body, end of body and end of connection must fit
MESSAGE_BYTES: Final = 2 * FRAME_BYTES  # a frame that is a little too large gets its typed error, beyond it 1009
FULL_S: Final = 0.1
FULL: Final = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_STATUS: Final = {
    Code.TOO_LARGE: 413,
    Code.NOT_FOUND: 404,
    Code.FORBIDDEN: 403,
    Code.CONFLICT: 409,
    Code.RATE_LIMITED: 429,
    Code.HUB_FULL: 503,
    Code.STORAGE_FULL: 503,
    Code.UNAVAILABLE: 503,
    Code.INTERNAL: 500,
}

_STARTS: Final = ("http.response.start", "websocket.http.response.start")
_BODIES: Final = ("http.response.body", "websocket.http.response.body")

Scope: TypeAlias = MutableMapping[str, object]
Event: TypeAlias = MutableMapping[str, object]
Receive: TypeAlias = Callable[[], Awaitable[Event]]
Send: TypeAlias = Callable[[Event], Awaitable[None]]
Asgi: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


@attrs.frozen
class Facts:
    """What the door tells anybody: nothing that is private."""

    version: str
    protocol: int


class ServesScreens(Protocol):
    """`dashboard.serve_screen`, with what it needs."""

    async def __call__(self, key: Key, link: Link) -> None: ...


@attrs.frozen
class Site:
    """What is behind the door."""

    facts: Facts
    pairing: Pairing
    serve_screen: ServesScreens
    log: Logger


async def serve_page(
    sock: socket.socket, site: Site, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve until cancelled; `started()` once the first request would be answered. Closes `sock` however it ends."""
    with sock:
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
        handle = await trio.to_thread.run_sync(_build, site)
        strangers = trio.CapacityLimiter(STRANGERS)

        async def serve_connection(stream: trio.SocketStream) -> None:
            visit = Visit(stream, strangers)
            try:
                strangers.acquire_on_behalf_of_nowait(visit)
            except trio.WouldBlock:
                with trio.move_on_after(FULL_S):  # what is not read would have the answer thrown away
                    await stream.receive_some(REQUEST_BYTES)
                with trio.move_on_after(FULL_S):
                    await stream.send_all(FULL)
                return
            try:
                with visit.time:
                    await handle(visit)
            finally:
                visit.leave_the_strangers()

        handler = contain(serve_connection, site.log, "page")
        async with trio.open_nursery() as nursery:
            await nursery.start(trio.serve_listeners, handler, [listener])
            task_status.started()


def _build(site: Site) -> Callable[[Visit], Awaitable[None]]:
    """Import the framework and put the pieces together; blocks for about half a second."""
    import cryptography.hazmat.primitives.asymmetric.ec  # noqa: F401  # so that no request pays for it
    import h11
    import wsproto.utilities
    from hypercorn.app_wrappers import ASGIWrapper
    from hypercorn.config import Config
    from hypercorn.protocol import ws_stream
    from hypercorn.trio.tcp_server import TCPServer
    from hypercorn.trio.worker_context import WorkerContext

    # It offers compression to everybody, with no switch, and inflates without a bound.
    vars(ws_stream)["server_extensions_handshake"] = _no_extensions
    config = Config()
    _configure(config)
    app = ASGIWrapper(guard(application(site).asgi_app, site.pairing.port))  # type: ignore[arg-type]  # our types are plain

    async def handle(visit: Visit) -> None:
        context = WorkerContext(None)
        try:
            await TCPServer(app, config, context, {"visit": visit}, visit).run()  # type: ignore[arg-type]  # as a stream
        except* (h11.ProtocolError, wsproto.utilities.ProtocolError, UnicodeDecodeError) as errors:
            _note_bad_bytes(site, errors)

    return handle


def _note_bad_bytes(site: Site, error: BaseException) -> None:
    """What no client should send, such as more bytes before the answer to an upgrade, is no defect of ours."""
    site.log.info("bad request", why=repr(error))


def _no_extensions(*_: object) -> None:
    """Accepts none, whatever is asked for."""


def _configure(config: Config) -> None:
    """Without the framework's own time-outs, which count for streams as well: `Visit` has ours."""
    config.accesslog = None
    config.errorlog = None
    config.h11_max_incomplete_size = REQUEST_BYTES
    config.read_timeout = None
    config.keep_alive_timeout = REQUEST_S
    config.keep_alive_max_requests = 0  # a connection is closed once its request is answered
    config.max_app_queue_size = APP_QUEUE
    config.websocket_max_message_size = MESSAGE_BYTES
    config.include_server_header = False


def application(site: Site) -> QuartTrio:
    """The routes."""
    import h11
    from quart import Response, request, websocket
    from quart_trio import QuartTrio

    assets = read_assets(resource("dashboard"))
    pairing = site.pairing
    app = QuartTrio("crosschat", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = REQUEST_BYTES

    @app.get("/healthz")
    async def healthz() -> dict[str, object]:
        return {"status": "ok", "version": site.facts.version, "protocol": site.facts.protocol}

    @app.get("/", defaults={"path": ""})
    @app.get("/<path:path>")
    async def file(path: str) -> Response:
        asset = assets.get(f"/{path}")
        if asset is not None:
            return _file(asset, packed="gzip" in request.headers.get("Accept-Encoding", ""))
        if not assets and not path:
            return Response(_status_page(site.facts), content_type="text/html; charset=utf-8")
        return Response("There is nothing here.\n", 404, content_type="text/plain; charset=utf-8")

    @app.post("/api/<name>")
    async def api(name: str) -> Response:
        try:
            call = decode_call(name, bytes(await request.data))
            answer: CallAnswer = await _answer_call(pairing, call)
            status = HTTPStatus.OK
        except KeyError:
            answer = error_frame(None, Refused(Code.NOT_FOUND, "There is no such call."))
            status = HTTPStatus.NOT_FOUND
        except Refused as refused:
            answer, status = error_frame(None, refused), HTTPStatus(_STATUS.get(refused.code, 400))
        return Response(encode_call(answer), status, content_type="application/json")

    @app.websocket("/stream")
    async def stream() -> Response | None:
        offered = websocket.requested_subprotocols
        ticket = offered[1] if len(offered) == 2 and offered[0] == SUBPROTOCOL else ""
        key = pairing.redeem(ticket)
        if key is None:
            return Response("A stream needs a ticket.\n", 403, content_type="text/plain; charset=utf-8")
        visit: Visit = websocket.scope["state"]["visit"]  # put there by `_build`
        visit.trust()
        await websocket.accept(subprotocol=SUBPROTOCOL)
        await contain(partial(site.serve_screen, key), site.log, "screen")(_Link(visit, websocket))
        return None

    @app.errorhandler(Exception)
    async def defect(error: Exception) -> Response:
        from werkzeug.exceptions import HTTPException

        if isinstance(error, HTTPException):
            return Response(f"{error.name}.\n", error.code or 500, content_type="text/plain; charset=utf-8")
        if isinstance(error, h11.ProtocolError):
            _note_bad_bytes(site, error)
            return Response("Bad request.\n", 400, content_type="text/plain; charset=utf-8")
        site.log.error("contained", what="page", error=repr(error), exc_info=error)
        return Response("A defect; the hub's log has the details.\n", 500, content_type="text/plain; charset=utf-8")

    return app


class _Link:
    """A page's connection. When the page goes, the framework cancels who uses it."""

    def __init__(self, visit: Visit, socket: Websocket) -> None:
        self.hurry = visit.hurry
        self._socket = socket

    async def receive(self) -> str | bytes:
        return await self._socket.receive()

    async def send(self, text: str) -> None:
        await self._socket.send(text)

    async def close(self, code: int, reason: str) -> None:
        await self._socket.close(code, reason)


async def _answer_call(pairing: Pairing, call: CallFrame) -> CallAnswer:
    match call:
        case Pair():
            return await pairing.pair(call)
        case AwaitPairing():
            return await pairing.fate(call)
        case Challenge():
            return pairing.challenge(call)
        case GetTicket():
            return pairing.ticket(call)


def _file(asset: Asset, *, packed: bool) -> Response:
    from quart import Response

    if packed and asset.packed is not None:
        headers = {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
        return Response(asset.packed, content_type=asset.type, headers=headers)
    return Response(asset.content, content_type=asset.type, headers={"Vary": "Accept-Encoding"})


def _status_page(facts: Facts) -> str:
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
        '<meta name="viewport" content="width=device-width"><title>CrossChat</title>'
        f"<h1>CrossChat</h1><p>The hub is running, version {facts.version}. This installation was built without the "
        "dashboard: unset <code>CROSSCHAT_SKIP_DASHBOARD</code> and install it again to have it here.</p>"
        "<p>Agents, tasks and messages: <code>crosschat status</code>, <code>crosschat tasks</code>, "
        "<code>crosschat tail</code> in a terminal.</p></html>"
    )


def guard(app: Asgi, port: int) -> Asgi:
    """The application behind the guard: what `judge` refuses does not reach it, and every answer has our headers."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return
        upgrade = scope["type"] == "websocket"
        asked = Asked(
            method="GET" if upgrade else str(scope["method"]),
            target=scope["raw_path"],  # type: ignore[arg-type]  # bytes, as ASGI says
            headers=list(scope["headers"]),  # type: ignore[call-overload]  # pairs of bytes, as ASGI says
            upgrade=upgrade,
        )
        old = scope["http_version"] in ("1.0", "1.1")
        refusal = judge(asked, port) if old else Refusal(505, "HTTP/1.1 is served here.")
        sending = _with_headers(scope, send, headers_of(port))
        if refusal is None:
            await app(scope, receive, sending)
        else:
            await _refuse(sending, "websocket.http.response" if upgrade else "http.response", refusal)

    return guarded


def _with_headers(scope: Scope, send: Send, ours: tuple[tuple[bytes, bytes], ...]) -> Send:
    state = scope.get("state")
    visit = state.get("visit") if isinstance(state, dict) else None

    async def sending(event: Event) -> None:
        if event["type"] in _STARTS:
            event["headers"] = [*event.get("headers", ()), *ours]  # type: ignore[misc]  # a list, as ASGI says
            if isinstance(visit, Visit):
                visit.answering()
        try:
            await send(event)
        finally:  # the framework cancels itself once its last byte has left, before it would close
            if event["type"] in _BODIES and not event.get("more_body") and isinstance(visit, Visit):
                visit.answered()

    return sending


async def _refuse(send: Send, kind: str, refusal: Refusal) -> None:
    text = refusal.text.encode() + b"\n"
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(text)),
        *refusal.headers,
    ]
    await send({"type": f"{kind}.start", "status": refusal.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": text, "more_body": False})
