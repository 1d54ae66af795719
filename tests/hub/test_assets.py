"""The built page as the door serves it: exactly its files, under a strict policy; without one, a line that says so."""

from __future__ import annotations

import gzip
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from crosschat.hub.assets import FILE_BYTES, read_assets
from crosschat.hub.events import EventLog
from crosschat.hub.pairing import Pairing
from crosschat.hub.visits import listen
from crosschat.hub.webserver import Facts, Site, serve_page
from tests.hub.rig import NOW_MS, keyring, silent_log
from tests.live.screen import Browser

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from crosschat.core.pairing import Key
    from crosschat.hub.dashboard import Link

INDEX = b"<!doctype html><title>the page</title>" + b"x" * 2000
SCRIPT = b"export const answer = 42;\n" * 100


@pytest.fixture
def built(tmp_path: Path) -> Path:
    page = tmp_path / "page"
    (page / "assets").mkdir(parents=True)
    (page / "index.html").write_bytes(INDEX)
    (page / "assets" / "index-a1b2.js").write_bytes(SCRIPT)
    (page / "assets" / "index-a1b2.js.map").write_bytes(b"{}")
    (page / "icon.svg").write_bytes(b"<svg/>")
    (tmp_path / "secret.txt").write_bytes(b"secret")
    (page / "link.txt").symlink_to(tmp_path / "secret.txt")
    return page


def test_only_files_of_a_page_are_read(built: Path) -> None:
    assets = read_assets(built)
    assert assets.keys() == {"/", "/pair", "/assets/index-a1b2.js", "/icon.svg"}
    assert assets["/"] is assets["/pair"]
    assert assets["/"].content == INDEX
    assert assets["/icon.svg"].packed is None  # it would be longer
    packed = assets["/assets/index-a1b2.js"].packed
    assert packed is not None
    assert gzip.decompress(packed) == SCRIPT


def test_without_a_built_page_there_is_nothing(tmp_path: Path) -> None:
    assert read_assets(None) == {}
    assert read_assets(tmp_path) == {}
    assert read_assets(tmp_path / "missing") == {}


def test_a_file_that_no_page_has_is_an_error(built: Path) -> None:
    (built / "huge.js").write_bytes(bytes(FILE_BYTES + 1))
    with pytest.raises(OSError, match=r"huge\.js"):
        read_assets(built)


@asynccontextmanager
async def serving(tmp_path: Path, page: Path | None, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Browser]:
    """The door alone, with this page."""
    monkeypatch.setattr("crosschat.hub.webserver.resource", lambda _: page)
    sock, problem = listen(None, None)
    assert sock is not None, problem
    port = int(sock.getsockname()[1])
    events = EventLog(tmp_path / "events.jsonl", lambda: NOW_MS, silent_log())
    pairing = Pairing(keyring(tmp_path), port, events, lambda: NOW_MS)

    async def serve_screen(key: Key, link: Link) -> None:
        raise AssertionError

    async with trio.open_nursery() as nursery:
        await nursery.start(serve_page, sock, Site(Facts("1.2.3", 1), pairing, serve_screen, silent_log()))
        yield Browser(port)
        nursery.cancel_scope.cancel()


async def test_the_page_and_its_files_are_served_whole(
    tmp_path: Path, built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, built, monkeypatch) as browser:
        for target in ("/", "/pair", "/?x=1", "/pair?"):
            reply = await browser.request("GET", target)
            assert (reply.status, reply.body) == (200, INDEX), target
            assert reply.headers["content-type"] == "text/html; charset=utf-8"
            assert reply.headers["cache-control"] == "no-store"
            assert "default-src 'none'" in reply.headers["content-security-policy"]
        script = await browser.request("GET", "/assets/index-a1b2.js", headers={"Accept-Encoding": "gzip, br"})
        assert script.headers["content-type"] == "text/javascript; charset=utf-8"
        assert script.headers["content-encoding"] == "gzip"
        assert gzip.decompress(script.body) == SCRIPT
        assert (await browser.request("HEAD", "/")).body == b""


@pytest.mark.parametrize(
    "target",
    [
        "/nothing", "/assets/", "/assets/index-a1b2.js.map", "/link.txt", "/../secret.txt", "/assets/../../secret.txt",
        "/%2e%2e/secret.txt", "/assets/%2e%2e/%2e%2e/secret.txt", "//secret.txt", "/..%2fsecret.txt", "/index.html/",
        "/assets%00", "/%ff", "/C:/secret.txt",
    ],
)  # fmt: skip
async def test_nothing_else_is_served(
    tmp_path: Path, built: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    async with serving(tmp_path, built, monkeypatch) as browser:
        reply = await browser.request("GET", target)
        assert reply.status in (308, 404), reply
        assert b"secret" not in reply.body


async def test_without_a_built_page_a_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, None, monkeypatch) as browser:
        reply = await browser.request("GET", "/")
        assert reply.status == 200
        assert b"without the dashboard" in reply.body
        assert b"1.2.3" in reply.body
        assert (await browser.request("GET", "/pair")).status == 404
