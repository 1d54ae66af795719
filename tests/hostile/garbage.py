"""What a peer that is broken or hostile may write, by name, for each door."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import trio

UPGRADE: Final = (
    b"GET /agents HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
HELLO: Final = b'{"type":"hello","protocol":1,"version":"t","cwd":"/tmp"}'
DEEP: Final = b'{"a":' * 50_000 + b"1" + b"}" * 50_000


def frame(data: bytes, *, opcode: int = 1, final: bool = True, masked: bool = True, reserved: int = 0) -> bytes:
    """One WebSocket frame as a client sends it."""
    size = len(data)
    head = bytes([(128 if final else 0) | reserved << 4 | opcode])
    bit = 128 if masked else 0
    if size < 126:
        head += bytes([bit | size])
    elif size < 1 << 16:
        head += bytes([bit | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([bit | 127]) + size.to_bytes(8, "big")
    return head + bytes(4) + data if masked else head + data  # the mask 0 changes nothing


def said(*frames: bytes) -> bytes:
    """An upgrade, and what comes after it, which `write` holds back until the upgrade is answered."""
    return UPGRADE + b"".join(frames)


async def write(stream: trio.SocketStream, data: bytes, *, early: bool = False) -> None:
    """Write a row of these tables. Without waiting for the answer to its upgrade it is `early`. Raises
    BrokenResourceError when the other side has enough."""
    if data.startswith(UPGRADE) and not early:
        await stream.send_all(UPGRADE)
        answer = b""
        while b"\r\n\r\n" not in answer and (received := await stream.receive_some()):
            answer += received
        data = data.removeprefix(UPGRADE)
    await stream.send_all(data)


AGENTS: Final[dict[str, bytes]] = {
    "nothing": b"",
    "one byte": b"G",
    "zeros": bytes(5000),
    "ones": b"\xff" * 5000,
    "a TLS hello": bytes.fromhex("16030100c8010000c40303") + bytes(190),
    "JSON lines": b'{"op":"inspect","id":"1"}\n' * 10,
    "half an upgrade": UPGRADE[:60],
    "plain HTTP": b"GET /agents HTTP/1.1\r\nHost: x\r\n\r\n",
    "HTTP/1.0": UPGRADE.replace(b"1.1", b"1.0"),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a POST": UPGRADE.replace(b"GET", b"POST"),
    "another path": UPGRADE.replace(b"/agents", b"/"),
    "a path that is none": UPGRADE.replace(b"/agents", b"/\xff\xfe%zz"),
    "another version": UPGRADE.replace(b"Version: 13", b"Version: 8"),
    "no key": UPGRADE.replace(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b""),
    "two hosts": UPGRADE.replace(b"Host: x\r\n", b"Host: x\r\nHost: y\r\n"),
    "endless headers": UPGRADE[:-2] + b"X: " + b"y" * 300_000,
    "a body": UPGRADE[:-2] + b"Content-Length: 100\r\n\r\n" + b"x" * 100,
    "an upgrade twice": UPGRADE + UPGRADE,
    "garbage after the upgrade": UPGRADE + b"\xff" * 200,
    "compression offered": UPGRADE[:-2]
    + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    + frame(b"x", reserved=4),
    "not JSON": said(frame(b"hello")),
    "an empty frame": said(frame(b"")),
    "another first frame": said(frame(b'{"type":"peers","id":"1"}')),
    "a frame of the hub": said(frame(b'{"type":"bye","reason":"x","retry_after_ms":1}')),
    "another protocol": said(frame(HELLO.replace(b'"protocol":1', b'"protocol":99'))),
    "a wrong type": said(frame(HELLO.replace(b'"/tmp"', b"5"))),
    "a duplicate key": said(frame(HELLO.replace(b"{", b'{"cwd":"/x",', 1))),
    "an unknown key": said(frame(HELLO.replace(b"{", b'{"admin":true,', 1))),
    "NaN": said(frame(b'{"type":"hello","protocol":NaN}')),
    "an endless number": said(frame(b'{"type":"hello","protocol":' + b"9" * 100_000 + b"}")),
    "too deep": said(frame(DEEP[:200_000])),
    "a lone surrogate": said(frame(HELLO.replace(b"/tmp", b"/\\ud800"))),
    "a relative cwd": said(frame(HELLO.replace(b"/tmp", b"../x"))),
    "a NUL in the cwd": said(frame(HELLO.replace(b"/tmp", b"/a\\u0000b"))),
    "a name with a path": said(frame(HELLO.replace(b"{", b'{"name":"../x",', 1))),
    "a reserved name": said(frame(HELLO.replace(b"{", b'{"name":"User",', 1))),
    "not UTF-8": said(frame(b"\xff\xfe{}")),
    "binary": said(frame(b"\x00\x01\x02", opcode=2)),
    "an unmasked frame": said(frame(HELLO, masked=False)),
    "a reserved opcode": said(frame(b"x", opcode=11)),
    "a reserved bit": said(frame(HELLO, reserved=2)),
    "a continuation of nothing": said(frame(b"x", opcode=0)),
    "a fragment that never ends": said(frame(HELLO, final=False)),
    "a fragment within a fragment": said(frame(HELLO[:9], final=False), frame(HELLO, final=False)),
    "a fragmented ping": said(frame(b"x", opcode=9, final=False)),
    "a ping that is too long": said(frame(b"x" * 200, opcode=9)),
    "pongs nobody asked for": said(*[frame(b"x", opcode=10)] * 500),
    "a flood of pings": said(*[frame(b"x" * 100, opcode=9)] * 3000),
    "a close of one byte": said(frame(b"x", opcode=8)),
    "a close with a code that is none": said(frame(b"\x00\x01", opcode=8)),
    "something after the close": said(frame(b"", opcode=8), frame(HELLO)),
    "a length of 2^63": said(b"\x81\xff\xff" + b"\xff" * 7 + bytes(4)),
    "a frame larger than allowed": said(frame(b'"' + b"x" * 600_000 + b'"')),
    "a little larger than allowed": said(frame(b'{"type":"' + b"x" * 270_000 + b'"}')),
    "thousands of tiny fragments": said(
        frame(b"{", final=False), *[frame(b" ", opcode=0, final=False)] * 5000, frame(b"}", opcode=0)
    ),
}

CONTROL: Final[dict[str, bytes]] = {
    "nothing": b"",
    "half a line": b'{"op":"inspect"',
    "empty lines": b"\n" * 1000,
    "zeros": bytes(5000) + b"\n",
    "ones": b"\xff" * 5000 + b"\n",
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a WebSocket upgrade": UPGRADE,
    "a list": b"[1]\n",
    "a string": b'"inspect"\n',
    "null": b"null\n",
    "no op": b'{"id":"1"}\n',
    "an unknown op": b'{"op":"approve","id":"1"}\n',
    "a list for an op": b'{"op":["stop"],"id":"1"}\n',
    "a frame of an agent": HELLO + b"\n",
    "a duplicate key": b'{"op":"inspect","id":"1","id":"2"}\n',
    "an unknown key": b'{"op":"inspect","id":"1","x":1}\n',
    "a wrong type": b'{"op":"read","id":"1","limit":"20"}\n',
    "a number too large": b'{"op":"read","id":"1","limit":' + b"9" * 400 + b"}\n",
    "too deep": DEEP[:200_000] + b"\n",
    "too long a line": b'{"op":"' + b"x" * 400_000 + b"\n",
    "an endless line": b"x" * 1_000_000,
    "NaN": b'{"op":"tail","id":"1","after_seq":NaN}\n',
    "a negative tail": b'{"op":"tail","id":"1","after_seq":-5}\n',
    "a tail from beyond the end": b'{"op":"tail","id":"1","after_seq":999999999999}\n',
    "a hundred requests at once": b'{"op":"peers","id":"1"}\n' * 100,
    "many large answers that nobody reads": b'{"op":"inspect","id":"1","tree":true}\n' * 2000,
}

PAGE: Final[dict[str, bytes]] = {
    "nothing": b"",
    "one byte": b"G",
    "zeros": bytes(5000),
    "a TLS hello": bytes.fromhex("16030100c8010000c40303") + bytes(190),
    "half a request": b"GET /healthz HTT",
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "HTTP/0.9": b"GET /healthz\r\n",
    "HTTP/9": b"GET /healthz HTTP/9.9\r\nHost: HOST\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
    "garbage in HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 500,
    "an upgrade to h2c": b"GET / HTTP/1.1\r\nHost: HOST\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n",
    "a WebSocket upgrade": UPGRADE.replace(b"Host: x", b"Host: HOST"),
    "bytes before the answer to an upgrade": UPGRADE.replace(b"Host: x", b"Host: HOST") + b"\x81",
    "bytes after half an upgrade": UPGRADE[:-2].replace(b"Host: x", b"Host: HOST") + b"\xff" * 99,
    "a bad escape": b"GET /%zz%0a%00 HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "a line end for localhost": b"GET /%0d%0aX:%20y%0a HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n",
    "an absolute target": b"GET http://evil.example/healthz HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "a target of one star": b"OPTIONS * HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "a CONNECT": b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "headers without end": b"GET / HTTP/1.1\r\nHost: HOST\r\n" + b"X: y\r\n" * 5000,
    "one endless header": b"GET / HTTP/1.1\r\nHost: HOST\r\nX: " + b"y" * 200_000,
    "a length that is none": b"POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: -1\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    "length and chunks": b"POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 4\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a bad chunk": b"POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a body announced and not sent": b"POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 99999999\r\n\r\n",
    "a body for a GET": b"GET /healthz HTTP/1.1\r\nHost: HOST\r\nContent-Length: 20000\r\n\r\n" + b"x" * 20_000,
    "expect": b"POST / HTTP/1.1\r\nHost: HOST\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    "a hundred requests at once": b"GET /healthz HTTP/1.1\r\nHost: HOST\r\n\r\n" * 100,
}  # fmt: skip

# What an agent that has joined may send: a bad frame, the code of the error, and where that points.
REFUSED: Final[list[tuple[bytes, str, str | None]]] = [
    (b"", "bad_frame", None),
    (b"[]", "bad_frame", None),
    (b"nonsense", "bad_frame", None),
    (b'{"type":"hello","protocol":1,"version":"t","cwd":"/tmp"}', "bad_frame", "type"),
    (b'{"type":"stop","id":"b"}', "bad_frame", "type"),
    (b'{"type":"release","id":"b","cid":"c","message":"m"}', "bad_frame", "type"),
    (b'{"type":"send","id":"b","cid":"c"}', "bad_frame", "content"),
    (b'{"type":"send","id":"b","cid":"c","content":5}', "bad_frame", "content"),
    (b'{"type":"send","id":"b","cid":"c","content":null}', "bad_frame", "content"),
    (b'{"type":"send","id":"b","cid":"c","content":"x","content":"y"}', "bad_frame", None),
    (b'{"type":"send","id":"b","cid":"c","content":"x","from":"somebody"}', "bad_frame", None),
    (b'{"type":"send","id":"b","cid":"c","content":"x","importance":"urgent"}', "bad_frame", "importance"),
    (b'{"type":"send","id":"b","cid":"c","content":"x","metadata":[1]}', "bad_frame", "metadata"),
    (b'{"type":"send","id":"b","cid":"c","content":"x","metadata":' + b'{"a":' * 40 + b"1" + b"}" * 41,
     "bad_frame", None),
    (b'{"type":"send","id":"b","cid":"c","content":"' + b"x" * 33_000 + b'"}', "too_large", "content"),
    (b'{"type":"send","id":"b","cid":"c","content":"' + b"x" * 270_000 + b'"}', "too_large", None),
    (b'{"type":"send","id":"b","cid":"c","content":"x","metadata":{"k":"' + b"x" * 9_000 + b'"}}',
     "too_large", "metadata"),
    (b'{"type":"send","id":"b","cid":"","content":"x"}', "invalid", "cid"),
    (b'{"type":"send","id":"b","cid":"' + b"c" * 65 + b'","content":"x"}', "invalid", "cid"),
    (b'{"type":"send","id":"b","cid":"c","content":"  "}', "invalid", "content"),
    (b'{"type":"read","id":"b","limit":0}', "invalid", "limit"),
    (b'{"type":"read","id":"b","limit":1e3}', "bad_frame", "limit"),
    (b'{"type":"read","id":"b","limit":true}', "bad_frame", "limit"),
    (b'{"type":"mark","upto":"5"}', "bad_frame", "upto"),
    (b'{"type":"mark","seqs":5}', "bad_frame", "seqs"),
    (b'{"type":"status","id":"b","cid":"c","status":"asleep"}', "bad_frame", "status"),
]  # fmt: skip

# Ids and names that are not ours.
FOREIGN_IDS: Final = [
    "", ".", "..", "../x", "../../etc/passwd", "/etc/passwd", "a/b", "m1\x00", "\x00", "m" * 5000, "m1-0000", "m1-zzzz",
    "M1-7F3C", "m1-7f3c.json", "m1-7f3c/../x", "~", "$HOME", "%2e%2e%2f", "\u202emoc", "m\uff11-7f3c", "😀", "m-1",
    "r1-0000", "\n", "m1-7f3c\n", "con", "NUL", "*", "m00000000000001-7f3c", "mzzzzzzzzzzzz-ffff",
]  # fmt: skip


def encoded(**fields: object) -> str:
    return json.dumps(fields)
