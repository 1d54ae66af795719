"""What a request to the browser door must look like before anything else looks at it. Decides, and does nothing.

    every request   a path, the exact Host; not begun by another site, except that a link elsewhere may lead to the page
    not GET, HEAD   besides, the exact Origin with its port, a JSON body, and a header that no form and no simple
                    request of another page can send
    an upgrade      besides the first, the exact Origin

No header ever lets another origin in, and no cookie is read: every port of this host would share it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

HOST: Final = "127.0.0.1"
OUR_HEADER: Final = b"x-crosschat"
HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    # Another program may have had this port before: nothing of it is to be used in our place.
    (b"cache-control", b"no-store"),
)


def origin_of(port: int) -> str:
    """The canonical origin of the page."""
    return f"http://{HOST}:{port}"


def headers_of(port: int) -> tuple[tuple[bytes, bytes], ...]:
    """What every answer carries."""
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
        f"connect-src 'self' ws://{HOST}:{port}; manifest-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
        "form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    return ((b"content-security-policy", policy.encode()), *HEADERS)


@attrs.frozen
class Refusal:
    status: int
    text: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


@attrs.frozen
class Asked:
    """The head of a request. `target` is the path as it was sent, still percent-encoded, without the query."""

    method: str
    target: bytes
    headers: Sequence[tuple[bytes, bytes]]
    upgrade: bool = False

    def all(self, name: bytes) -> list[bytes]:
        return [value for found, value in self.headers if found.lower() == name]

    @property
    def reads(self) -> bool:
        return self.method in ("GET", "HEAD") and not self.upgrade


def judge(asked: Asked, port: int) -> Refusal | None:
    """Why the request goes no further; None if it may."""
    hosts = asked.all(b"host")
    if not asked.target.startswith(b"/"):  # "@evil.example/" behind our address would be an address elsewhere
        return Refusal(400, "A path is asked for here.")
    if hosts == [f"localhost:{port}".encode()] and asked.reads:
        to = origin_of(port).encode() + asked.target
        return Refusal(308, "Use the address 127.0.0.1.", ((b"location", to),))
    if hosts != [f"{HOST}:{port}".encode()]:
        return Refusal(421, "This address is not served here.")
    if asked.method not in ("GET", "HEAD", "POST"):
        return Refusal(405, "Only GET and POST are served here.", ((b"allow", b"GET, HEAD, POST"),))
    return _judge_site(asked) or (None if asked.reads else _judge_origin(asked, port))


def _judge_site(asked: Asked) -> Refusal | None:
    """By what the browser says about who began this request. Other programs say nothing, and need not."""
    site = asked.all(b"sec-fetch-site")
    if site in ([], [b"same-origin"]) or (site == [b"none"] and asked.reads):
        return None
    if asked.reads and asked.all(b"sec-fetch-mode") == [b"navigate"] and asked.all(b"sec-fetch-dest") == [b"document"]:
        return None
    return Refusal(403, "Another site asked for this.")


def _judge_origin(asked: Asked, port: int) -> Refusal | None:
    if asked.all(b"origin") != [origin_of(port).encode()]:
        return Refusal(403, f"Only the page at {origin_of(port)} may ask for this.")
    if asked.upgrade:
        return None
    types = [value.split(b";")[0].strip().lower() for value in asked.all(b"content-type")]
    if types != [b"application/json"]:
        return Refusal(415, "The body is JSON, and Content-Type says so.")
    if asked.all(OUR_HEADER) != [b"1"]:
        return Refusal(403, "The header X-CrossChat: 1 is missing.")
    return None
