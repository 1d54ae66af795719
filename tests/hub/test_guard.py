"""The guard of the browser door, before any route: who may ask for what."""

from __future__ import annotations

import pytest

from crosschat.hub.guard import Asked, Refusal, headers_of, judge

PORT = 4711
HOST = b"127.0.0.1:4711"
ORIGIN = b"http://127.0.0.1:4711"
Header = tuple[bytes, bytes]

OURS: list[Header] = [(b"origin", ORIGIN), (b"content-type", b"application/json"), (b"x-crosschat", b"1")]


def ask(
    *headers: Header, hosts: tuple[bytes, ...] = (HOST,), method: str = "GET", target: bytes = b"/x",
    upgrade: bool = False,
) -> Refusal | None:  # fmt: skip
    everything = [(b"accept", b"*/*"), *((b"host", host) for host in hosts), *headers]
    return judge(Asked(method=method, target=target, headers=everything, upgrade=upgrade), PORT)


def status(refusal: Refusal | None) -> int | None:
    return refusal.status if refusal is not None else None


def without(name: bytes) -> list[Header]:
    return [(found, value) for found, value in OURS if found != name]


def test_reading_at_the_canonical_host_passes() -> None:
    assert ask() is None
    assert ask(method="HEAD") is None


@pytest.mark.parametrize("kind", [{}, {"method": "POST"}, {"upgrade": True}], ids=["reading", "a call", "an upgrade"])
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
def test_any_other_host_is_refused(hosts: tuple[bytes, ...], kind: dict[str, object]) -> None:
    assert status(ask(*OURS, hosts=hosts, **kind)) == 421  # type: ignore[arg-type]  # as `kind` says


@pytest.mark.parametrize("path", [b"/", b"/%0aSet-Cookie:%20x", b"//evil.example/", b"/%ff"])
def test_localhost_is_led_to_the_canonical_address_with_the_path_as_it_was_sent(path: bytes) -> None:
    refusal = ask(hosts=(b"localhost:4711",), target=path)
    assert status(refusal) == 308
    assert refusal is not None
    assert dict(refusal.headers)[b"location"] == ORIGIN + path


@pytest.mark.parametrize("host", [HOST, b"localhost:4711"])
@pytest.mark.parametrize(
    "target", [b"", b"x", b"*", b"@evil.example/", b"http://evil.example/", b"127.0.0.1:22", b"\\"]
)
def test_a_target_that_is_no_path_is_refused_and_led_nowhere(target: bytes, host: bytes) -> None:
    refusal = ask(hosts=(host,), target=target)
    assert status(refusal) == 400
    assert refusal is not None
    assert refusal.headers == ()


def test_localhost_is_no_address_for_calls_and_streams() -> None:
    assert status(ask(*OURS, hosts=(b"localhost:4711",), method="POST")) == 421
    assert status(ask(*OURS, hosts=(b"localhost:4711",), upgrade=True)) == 421


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get", "post", "X"])
def test_any_other_method_is_refused(method: str) -> None:
    assert status(ask(*OURS, method=method)) == 405


@pytest.mark.parametrize("site", [b"cross-site", b"same-site", b"SAME-ORIGIN", b"none, none", b""])
@pytest.mark.parametrize("kind", [{}, {"method": "POST"}, {"upgrade": True}], ids=["reading", "a call", "an upgrade"])
def test_what_another_site_begins_is_refused(site: bytes, kind: dict[str, object]) -> None:
    refusal = ask(*OURS, (b"sec-fetch-site", site), (b"sec-fetch-mode", b"no-cors"), **kind)  # type: ignore[arg-type]
    assert status(refusal) == 403


def test_a_link_elsewhere_may_lead_to_the_page_and_a_frame_may_not() -> None:
    cross = [(b"sec-fetch-site", b"cross-site"), (b"sec-fetch-mode", b"navigate")]
    assert ask(*cross, (b"sec-fetch-dest", b"document")) is None
    assert status(ask(*cross, (b"sec-fetch-dest", b"iframe"))) == 403
    assert status(ask(*OURS, *cross, (b"sec-fetch-dest", b"document"), method="POST")) == 403


def test_two_answers_about_the_site_are_none() -> None:
    assert status(ask((b"sec-fetch-site", b"same-origin"), (b"sec-fetch-site", b"same-origin"))) == 403


def test_a_call_with_everything_passes() -> None:
    assert ask(*OURS, method="POST") is None
    assert ask(*OURS, (b"sec-fetch-site", b"same-origin"), method="POST") is None
    types = (b"content-type", b"Application/JSON; charset=utf-8")
    assert ask(*without(b"content-type"), types, method="POST") is None


@pytest.mark.parametrize(
    "origin",
    [
        None,
        b"null",
        b"",
        b"http://127.0.0.1",
        b"http://127.0.0.1:4712",
        b"http://127.0.0.1:4711/",
        b"https://127.0.0.1:4711",
        b"http://localhost:4711",
        b"http://evil.example",
        b"http://127.0.0.1:4711.evil.example",
        b"HTTP://127.0.0.1:4711",
        b"file://",
    ],
)
@pytest.mark.parametrize("kind", [{"method": "POST"}, {"upgrade": True}], ids=["a call", "an upgrade"])
def test_any_other_origin_is_refused(origin: bytes | None, kind: dict[str, object]) -> None:
    given = [(b"origin", origin)] if origin is not None else []
    assert status(ask(*without(b"origin"), *given, **kind)) == 403  # type: ignore[arg-type]  # as `kind` says


def test_two_origins_are_none() -> None:
    assert status(ask(*OURS, (b"origin", ORIGIN), method="POST")) == 403
    assert status(ask((b"origin", ORIGIN), (b"origin", b"http://evil.example"), upgrade=True)) == 403


@pytest.mark.parametrize(
    "kind",
    [
        None,
        b"text/plain",
        b"application/x-www-form-urlencoded",
        b"multipart/form-data; boundary=x",
        b"application/jsonp",
    ],
)
def test_what_a_form_could_send_is_refused(kind: bytes | None) -> None:
    given = [(b"content-type", kind)] if kind is not None else []
    assert status(ask(*without(b"content-type"), *given, method="POST")) == 415


@pytest.mark.parametrize("value", [None, b"0", b"", b"1, 1"])
def test_a_call_without_our_header_is_refused(value: bytes | None) -> None:
    given = [(b"x-crosschat", value)] if value is not None else []
    assert status(ask(*without(b"x-crosschat"), *given, method="POST")) == 403


def test_an_upgrade_needs_the_origin_alone() -> None:
    assert ask((b"origin", ORIGIN), upgrade=True) is None
    assert status(ask(upgrade=True)) == 403


def test_no_cookie_changes_anything() -> None:
    cookie = (b"cookie", b"session=1; ticket=x; crosschat=1")
    assert ask(cookie) is None
    assert status(ask(cookie, method="POST")) == 403
    assert status(ask(cookie, upgrade=True)) == 403


def test_every_answer_has_a_policy_that_allows_its_own_files_alone() -> None:
    headers = dict(headers_of(PORT))
    policy = dict(part.strip().split(" ", 1) for part in headers[b"content-security-policy"].decode().split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["connect-src"] == "'self' ws://127.0.0.1:4711"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert policy["trusted-types"] == "'none'"
    assert "unsafe" not in str(policy)
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert headers[b"cache-control"] == b"no-store"
    assert not any(name.startswith(b"access-control") for name in headers)
