"""Door requests: what a web page, or a name that was led here, may make a browser send, and what it gets for it.

A real hub, and requests that would be granted: an upgrade with a ticket that is good, a call with a challenge that is
rightly signed, a page. In each something is changed: Host, Origin, the method, the target, what a browser says about
who asked, what no simple request of another page can send, or any byte. Whether a changed one may still be granted is
told from its own text, as plainly as that can be. No answer lets another origin read it, sets a cookie, leads elsewhere
or is a defect. Now and then one is sent unchanged, which must be granted; in the end the ticket is still good, and
nobody else is paired.
"""

from __future__ import annotations

import json
import re
import select
import socket
import time
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING, Final, Literal

import attrs
import trio

from crosschat import pagewire
from crosschat.paths import Home
from tests.live.rig import inspect
from tests.live.screen import Browser, paired
from tests.prove.lives import Care, Lives
from tests.prove.outcome import Outcome

if TYPE_CHECKING:
    from tests.prove.outcome import Room

PER_ROUND: Final = 3000
PER_SHORT_ROUND: Final = 1000
FRESH_S: Final = 4.0  # after which there is another ticket; it is good for ten
UNCHANGED: Final = 40  # one in so many
ANSWER_S: Final = 30.0
UNFINISHED_S: Final = 0.1  # without an answer after which a request is said to have ended
REPORTED: Final = 10

What = Literal["upgrade", "ticket", "challenge", "page", "health"]
Change = Literal["host", "origin", "method", "target", "site", "header", "version", "bytes"]
CHANGES: Final[tuple[Change, ...]] = Change.__args__  # type: ignore[attr-defined]  # of a Literal
TARGETS: Final[dict[What, str]] = {
    "upgrade": "/stream", "ticket": "/api/ticket", "challenge": "/api/challenge", "page": "/", "health": "/healthz",
}  # fmt: skip
GRANTED: Final[dict[What, tuple[bytes, bytes]]] = {  # how an answer begins, and what is in it
    "upgrade": (b"HTTP/1.1 101", b""), "ticket": (b"HTTP/1.1 200", b'"ticket":"'),
    "challenge": (b"HTTP/1.1 200", b'"challenge":"'), "page": (b"HTTP/1.1 200", b"CrossChat"),
    "health": (b"HTTP/1.1 200", b'"status":"ok"'),
}  # fmt: skip

HOSTS: Final = (
    "evil.example:{}", "evil.example", "127.0.0.1", "127.0.0.1:1", "127.0.0.1:0{}", "127.0.0.1.:{}", "127.1:{}",
    "0.0.0.0:{}", "2130706433:{}", "0x7f000001:{}", "[::1]:{}", "[::ffff:127.0.0.1]:{}", "localhost:{}", "LOCALHOST:{}",
    "localhost.:{}", "127.0.0.1:{}.evil.example", "127.0.0.1:{}@evil.example", "evil.example@127.0.0.1:{}",
    "127.0.0.1:{}, evil.example", "127.0.0.1.nip.io:{}", "127.0.0.1:{}/", "", "\uff1127.0.0.1:{}", "127.0.0.2:{}",
)  # fmt: skip
ORIGINS: Final = (
    "null", "", "http://evil.example", "http://evil.example:{}", "http://127.0.0.1", "http://127.0.0.1:1",
    "http://127.0.0.1:{}/", "https://127.0.0.1:{}", "http://localhost:{}", "http://[::1]:{}", "HTTP://127.0.0.1:{}",
    "http://127.0.0.1:{}.evil.example", "http://127.0.0.1:{}@evil.example", "http://127.0.0.1:{} http://evil.example",
    "ws://127.0.0.1:{}", "file://", "chrome-extension://abcdefgh", "http://127.0.0.1:{}0", "http://127.0.0.01:{}", "*",
)  # fmt: skip
METHODS: Final = (
    "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "HEAD", "GET", "POST", "get", "post", "Post", "X",
    "PROPFIND", "GETT", "POST\u200b", "",
)  # fmt: skip
SITES: Final = ("cross-site", "same-site", "none", "same-origin", "SAME-ORIGIN", "same-origin, cross-site", "", "x")
TYPES: Final = (
    "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonp", "",
    "text/plain; application/json", "application/json, text/plain",
)  # fmt: skip
HARMLESS: Final = (
    ("Cookie", "ticket=x; session=1"), ("Authorization", "Bearer x"), ("X-Forwarded-Host", "evil.example"),
    ("Forwarded", "host=evil.example"), ("X-HTTP-Method-Override", "DELETE"), ("Referer", "http://evil.example/"),
    ("Access-Control-Request-Method", "POST"), ("Access-Control-Request-Private-Network", "true"), ("X-Real-IP", "::1"),
)  # fmt: skip
EXTRA: Final = (" ", ".", ":", "@", "/", "0", "%00", "\t", ",", "#", "evil", "x", "\u200b", "\\", "?", ";")


@attrs.define
class Asked:
    """A request that would be granted, until it is changed."""

    what: What
    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    version: str = "HTTP/1.1"

    def encode(self) -> bytes:
        lines = [f"{self.method} {self.target} {self.version}", *(f"{name}: {value}" for name, value in self.headers)]
        return "\r\n".join([*lines, "", ""]).encode() + self.body

    def values(self, name: str) -> list[str]:
        return [value.strip(" \t") for found, value in self.headers if found.lower() == name]

    def replace(self, name: str, *values: str) -> None:
        """These are the values of the header."""
        rest = [(found, value) for found, value in self.headers if found.lower() != name.lower()]
        self.headers = [*((name, value) for value in values), *rest]


@attrs.frozen
class Keys:
    """What is good now: a ticket, and a challenge with its signature."""

    ticket: str
    call: bytes
    until: float


class Door:
    """The browser door of a hub, with a paired browser's secrets."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self.port = browser.port
        self.host = f"127.0.0.1:{self.port}"
        self.origin = browser.origin
        self.keys = Keys("", b"", 0)

    async def refresh(self) -> None:
        """A new ticket and a new challenge."""
        challenge = (await self.browser.call(pagewire.Challenge(key=self.browser.key), pagewire.Challenged)).challenge
        signature = self.browser.sign(pagewire.to_sign(self.origin, challenge))
        call = pagewire.encode_call(pagewire.GetTicket(key=self.browser.key, challenge=challenge, signature=signature))
        self.keys = Keys(await self.browser.ticket(), call, time.monotonic() + FRESH_S)

    def good(self, what: What) -> Asked:
        """A request that is granted."""
        headers = [("Host", self.host)]
        if what == "upgrade":
            headers += [
                ("Origin", self.origin), ("Connection", "Upgrade"), ("Upgrade", "websocket"),
                ("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="),
                ("Sec-WebSocket-Protocol", f"crosschat.v1, {self.keys.ticket}"),
            ]  # fmt: skip
        if what not in ("ticket", "challenge"):
            return Asked(what, "GET", TARGETS[what], headers)
        body = self.keys.call if what == "ticket" else json.dumps({"key": self.browser.key}).encode()
        headers += [
            ("Origin", self.origin), ("Content-Type", "application/json"), ("X-CrossChat", "1"),
            ("Content-Length", str(len(body))),
        ]  # fmt: skip
        return Asked(what, "POST", TARGETS[what], headers, body)

    def may_be_granted(self, asked: Asked) -> bool:
        """Whether this is still a request that the page itself might make."""
        calls = asked.what in ("ticket", "challenge")
        reads = asked.what in ("page", "health")
        site = asked.values("sec-fetch-site")
        from_link = (asked.values("sec-fetch-mode"), asked.values("sec-fetch-dest")) == (["navigate"], ["document"])
        return (
            asked.values("host") == [self.host]
            and (reads or asked.values("origin") == [self.origin])
            and asked.method.upper() in (("POST",) if calls else ("GET", "HEAD") if reads else ("GET",))
            and (site in ([], ["same-origin"]) or (reads and (site == ["none"] or from_link)))
            and (not calls or [one.split(";")[0].lower() for one in asked.values("content-type")]
                 == ["application/json"])
            and (not calls or asked.values("x-crosschat") == ["1"])
        )  # fmt: skip

    def may_bytes_be_granted(self, what: What, data: bytes) -> bool:
        """The same of bytes, by what they say about host and origin alone."""
        head = re.sub(r"\r?\n[ \t]+", " ", re.split(rb"\r?\n\r?\n", data)[0].decode("latin1"))
        hosts = re.findall(r"(?im)^host[ \t]*:[ \t]*(.*?)[ \t\r]*$", head)
        origins = re.findall(r"(?im)^origin[ \t]*:[ \t]*(.*?)[ \t\r]*$", head)
        return hosts == [self.host] and (what in ("page", "health") or origins == [self.origin])


def mutate(random: Random, text: str) -> str:
    """One small change somewhere: what a sloppy comparison would let pass."""
    place, extra = random.randrange(len(text) + 1), random.choice(EXTRA)
    match random.randrange(4):
        case 0:
            return text[:place] + extra + text[place:]
        case 1:
            return text[: max(0, place - 1)] + text[place:]
        case 2:
            return text.swapcase() if place % 2 else text + text
        case _:
            return text[:place] + extra + text[place + 1 :]


def mutate_bytes(random: Random, data: bytes) -> bytes:
    place = random.randrange(len(data))
    match random.randrange(4):
        case 0:
            return data[:place] + random.randbytes(random.randrange(1, 4)) + data[place:]
        case 1:
            return data[:place] + data[place + random.randrange(1, 9) :]
        case 2:
            other = random.randrange(len(data))
            return data[:place] + data[other : other + 20] + data[place:]
        case _:
            return data[:place] + bytes([data[place] ^ (1 << random.randrange(8))]) + data[place + 1 :]


def change(random: Random, asked: Asked, how: Change, door: Door) -> None:
    """Make it another request."""
    match how:
        case "host":
            bad = random.choice(HOSTS).format(door.port) if random.random() < 0.5 else mutate(random, door.host)
            asked.replace("Host", *random.choice([[bad], [bad], [bad], [door.host, bad], [bad, door.host], []]))
        case "origin":
            bad = random.choice(ORIGINS).format(door.port) if random.random() < 0.5 else mutate(random, door.origin)
            asked.replace("Origin", *random.choice([[bad], [bad], [bad], [door.origin, bad], [bad, door.origin], []]))
        case "method":
            asked.method = random.choice(METHODS)
        case "target":
            asked.target = _target(random, asked.target, door)
        case "site":
            asked.replace("Sec-Fetch-Site", *random.choices(SITES, k=random.choice([1, 1, 1, 2])))
            asked.replace("Sec-Fetch-Mode", random.choice(["cors", "no-cors", "navigate", "websocket"]))
            asked.replace("Sec-Fetch-Dest", random.choice(["document", "iframe", "script", "empty"]))
        case "header":
            _change_header(random, asked)
        case "version":
            asked.version = random.choice(["HTTP/1.0", "HTTP/2.0", "HTTP/0.9", "HTTP/9", "http/1.1", "HTTP/1.1 x", ""])
        case "bytes":
            pass


def _target(random: Random, target: str, door: Door) -> str:
    other = random.choice(list(TARGETS.values()))
    return random.choice([
        f"http://evil.example{target}", f"http://{door.host}{target}", f"//evil.example{target}", f"/{target}",
        f"{target}/", f"{target}/..{target}", f"{target}%2e%2e", f"/..{target}", "/%2e%2e/%2e%2e/etc/passwd",
        f"{target}?ticket={door.keys.ticket}", f"{target}#x", f"{target};x", f"/api/..{target}", "*", "", "x", "?",
        "@evil.example/", f".evil.example{target}", target.upper(), target.replace("/", "\\"), f"{target}%00",
        f"{target}%0d%0aSet-Cookie:%20x=1", other, f"/{'a' * 9000}", f"{target}\u202e", f"{target}?callback=x",
        "/.git/config", "/settings.json", mutate(random, target), mutate(random, target),
    ])  # fmt: skip


def _change_header(random: Random, asked: Asked) -> None:
    dice = random.random()
    if dice < 0.4:
        asked.headers.insert(random.randrange(len(asked.headers) + 1), random.choice(HARMLESS))
    elif dice < 0.7:
        asked.replace("Content-Type", *random.choice([[random.choice(TYPES)], [], ["application/json", "text/plain"]]))
    else:
        asked.replace("X-CrossChat", *random.choice([[], ["0"], [""], ["1, 1"], ["1", "1"], ["true"]]))


def exchange(port: int, data: bytes) -> bytes | None:
    """What is said to these bytes: one answer, of an upgrade its head; None if that does not end."""
    said = b""
    with suppress(BrokenPipeError, ConnectionResetError), socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(data)
        if not select.select([sock], [], [], UNFINISHED_S)[0]:
            sock.shutdown(socket.SHUT_WR)  # it may wait for more
        while True:
            if not select.select([sock], [], [], ANSWER_S)[0]:
                return None
            piece = sock.recv(1 << 16)
            said += piece
            if not piece or _is_whole(said):
                break
    return said


def _is_whole(said: bytes) -> bool:
    head, end, body = said.partition(b"\r\n\r\n")
    size = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
    return bool(end) and (head.startswith(GRANTED["upgrade"][0]) or (size is not None and len(body) >= int(size[1])))


def run(room: Room) -> Outcome:
    """One hub and many requests to its browser door."""
    return trio.run(_run, room)


async def _run(room: Room) -> Outcome:
    outcome, random = Outcome(), Random(room.seed)
    lives = Lives(room.zygote, room.place, Care(seed=room.seed, bug=room.bug), outcome, outcome.problems.append)
    try:
        await lives.begin()
        home = Home(lives.home)
        door = Door(await paired(home))
        for number in range(PER_SHORT_ROUND if room.short else PER_ROUND):
            if time.monotonic() >= door.keys.until:
                await door.refresh()
            if number % UNCHANGED == 0:
                outcome.problems += await _send_unchanged(door, random)
            outcome.problems += _send_changed(door, random, outcome)
            if len(outcome.problems) >= REPORTED:
                break  # it is clear enough
        outcome.problems += await _look_in_the_end(door, home)
        await lives.finish()
    except* (trio.TooSlowError, AssertionError) as group:
        outcome.problems.append(f"the rig gave up: {group.exceptions[0]!r}")
    finally:
        await lives.close()
    return outcome


async def _send_unchanged(door: Door, random: Random) -> list[str]:
    """It is granted; what is good once is made anew."""
    asked = door.good(random.choice(list(TARGETS)))
    said = await trio.to_thread.run_sync(exchange, door.port, asked.encode())
    if asked.what in ("upgrade", "ticket"):
        await door.refresh()
    return [] if _granted(asked.what, said) else [f"not granted, unchanged: {asked.what}: {(said or b'')[-300:]!r}"]


def _send_changed(door: Door, random: Random, outcome: Outcome) -> list[str]:
    asked = door.good(random.choice(list(TARGETS)))
    how, also = random.choice(CHANGES), random.choice(CHANGES)
    change(random, asked, how, door)
    if random.random() < 0.3:
        change(random, asked, also, door)
    else:
        also = how
    data = asked.encode()
    may = door.may_be_granted(asked)
    if "bytes" in (how, also):
        for _ in range(random.randrange(1, 4)):
            data = mutate_bytes(random, data)
        may = door.may_bytes_be_granted(asked.what, data)
    said = exchange(door.port, data)
    outcome.counts["door requests"] += 1
    outcome.counts[f"door request: {how}"] += 1
    problems = _look(asked, said, door)
    granted = _granted(asked.what, said)
    outcome.counts["granted all the same"] += granted
    if granted and asked.what in ("upgrade", "ticket"):
        door.keys = Keys("", b"", 0)
    if granted and not may:
        problems.append("granted")
    if not granted and may and {how, also} <= {"host", "origin", "site", "header"}:
        problems.append(f"refused: {(said or b'')[-200:]!r}")
    return [f"{problem}: {how}, {also}: {data!r:.400}" for problem in problems]


def _granted(what: What, said: bytes | None) -> bool:
    begin, has = GRANTED[what]
    return said is not None and said.startswith(begin) and has in said


def _look(asked: Asked, said: bytes | None, door: Door) -> list[str]:
    """What no answer may have."""
    if said is None:
        return ["no end of the answer"]
    head = said.partition(b"\r\n\r\n")[0].decode("latin1").lower()
    headers = [line.partition(":")[::2] for line in head.split("\r\n")[1:]]
    problems = [
        f"the answer has {name}" for name, _ in headers if name.startswith("access-control") or name == "set-cookie"
    ]
    for name, value in headers:
        if name == "location" and not value.strip().startswith(f"{door.origin}/"):
            problems.append(f"it leads to {value}")
    if head.startswith("http/1.1 500"):
        problems.append("a defect")
    return problems


async def _look_in_the_end(door: Door, home: Home) -> list[str]:
    """The ticket that nobody but its owner could use is good, nobody else is paired, and nothing is in the log."""
    said = exchange(door.port, door.good("upgrade").encode()) if time.monotonic() < door.keys.until else None
    problems = ["the ticket was used up"] if said is not None and not _granted("upgrade", said) else []
    status = await inspect(home)
    if [key.label for key in status.browsers] != [door.browser.label]:
        problems.append(f"paired now: {status.browsers}")
    lines = (home.logs / "hub.jsonl").read_text().splitlines()
    defects = [line for line in lines if json.loads(line)["level"] in ("error", "critical")]
    return problems + [f"logged: {line:.300}" for line in defects]
