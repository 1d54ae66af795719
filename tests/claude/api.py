"""A Messages API whose model plays a part: what each turn says or calls is written down by the test.

The last `play NAME` in a user's text has the model follow the part NAME from there; without one it says "Nothing." The
turn is chosen by how often the model has spoken since, so that sessions can share one server and a repeated request
gets the same answer. Whatever the client sent is kept in `requests`, as it came.
"""

from __future__ import annotations

import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Json: TypeAlias = dict[str, Any]


@attrs.frozen
class Call:
    """The model calls one tool."""

    tool: str
    arguments: Json = attrs.field(factory=dict)


class Conversation:
    """One request to the model: what it has before it when it takes its turn."""

    def __init__(self, body: Json) -> None:
        self.at = time.monotonic()
        self.body = body
        self.messages: list[Json] = body.get("messages", [])
        self.tools = [tool.get("name", "") for tool in body.get("tools", [])]
        self.part: str | None = None
        self.spoken = 0  # the model's messages since it was given that part
        for message in self.messages:
            if message["role"] == "assistant":
                self.spoken += 1
            elif found := re.findall(r"\bplay ([\w-]+)", "\n".join(_texts(message["content"], results=False))):
                self.part, self.spoken = found[-1], 0

    def texts(self) -> list[str]:
        """Every text of the messages, tool results among them, in order."""
        return [text for message in self.messages for text in _texts(message["content"])]

    def results(self) -> list[Any]:
        """What the tools answered so far, in order; parsed where it is JSON."""
        return [
            _parsed("".join(_texts(block.get("content"))))
            for message in self.messages
            if isinstance(message["content"], list)
            for block in message["content"]
            if block.get("type") == "tool_result"
        ]


def _texts(content: object, *, results: bool = True) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for block in content:
            if block.get("type") == "text":
                yield block["text"]
            elif block.get("type") == "tool_result" and results:
                yield from _texts(block.get("content"))


def _parsed(text: str) -> Json | str:
    try:
        found: Json = json.loads(text)
    except ValueError:
        return text
    return found


Turn: TypeAlias = "str | Call | Callable[[Conversation], str | Call]"


class ScriptedApi:
    """The server, on a free port of the loopback. In use only inside its `with` block."""

    def __init__(self) -> None:
        self.requests: list[Conversation] = []
        self._parts: dict[str, tuple[Turn, ...]] = {}
        self._news = threading.Condition()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.api = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def play(self, part: str, *turns: Turn) -> str:
        """Write a part down; returns the words for the prompt that make a conversation follow it."""
        self._parts[part] = turns
        return f"play {part}"

    def of(self, part: str) -> list[Conversation]:
        """The requests of the conversations that follow that part."""
        with self._news:
            return [request for request in self.requests if request.part == part]

    def wait_for(self, part: str, condition: Callable[[Conversation], bool], timeout_s: float = 30.0) -> Conversation:
        """The first request of that part for which the condition holds, as soon as it is there."""

        def found() -> Conversation | None:
            return next((one for one in self.requests if one.part == part and condition(one)), None)

        with self._news:
            result = self._news.wait_for(found, timeout_s)
        assert result is not None, f"nothing of that kind among {len(self.requests)} requests"
        return result

    def answer(self, body: Json) -> str | Call:
        conversation = Conversation(body)
        if not conversation.tools:
            return "{}"  # the client asks something for itself, such as a title
        with self._news:
            self.requests.append(conversation)
            self._news.notify_all()
        turns = self._parts.get(conversation.part or "", ())
        turn: Turn = turns[conversation.spoken] if conversation.spoken < len(turns) else "Nothing."
        return turn if isinstance(turn, (str, Call)) else turn(conversation)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    api: ScriptedApi

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that left in the middle of an answer is nobody's failure."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    _numbers = count(1)

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._reply(404, "application/json", b'{"type":"error","error":{"type":"not_found_error","message":"none"}}')

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.end_headers()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))))
        if self.path.split("?")[0] != "/v1/messages":
            self.do_GET()
            return
        events = _message(self.server.api.answer(body), next(self._numbers), str(body.get("model")))
        if body.get("stream"):
            lines = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
            self._reply(200, "text/event-stream", lines.encode())
        else:
            self._reply(200, "application/json", json.dumps(_whole(events)).encode())

    def _reply(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(content)))
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(content)


def _message(turn: str | Call, number: int, model: str) -> list[Json]:
    """The events of a streamed answer with one block."""
    if isinstance(turn, Call):
        block: Json = {"type": "tool_use", "id": f"toolu_{number:024}", "name": turn.tool, "input": {}}
        delta = {"type": "input_json_delta", "partial_json": json.dumps(turn.arguments)}
    else:
        block = {"type": "text", "text": ""}
        delta = {"type": "text_delta", "text": turn}
    reason = "tool_use" if isinstance(turn, Call) else "end_turn"
    start: Json = {
        "id": f"msg_{number:024}", "type": "message", "role": "assistant", "model": model, "content": [],
        "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1},
    }  # fmt: skip
    return [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": reason, "stop_sequence": None},
            "usage": {"output_tokens": 1},
        },
        {"type": "message_stop"},
    ]


def _whole(events: list[Json]) -> Json:
    """The same answer in one piece."""
    block, delta = dict(events[1]["content_block"]), events[2]["delta"]
    if delta["type"] == "text_delta":
        block["text"] = delta["text"]
    else:
        block["input"] = json.loads(delta["partial_json"])
    return {**events[0]["message"], "content": [block], "stop_reason": events[4]["delta"]["stop_reason"]}
