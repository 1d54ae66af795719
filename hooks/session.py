"""Tells the hub what a Claude Code session does, and prints what the hub has for its model.

    session.py CONTROL_SOCKET EVENT < the hook's input

EVENT is start, prompt, stop, notification or end. Standard library only, and of that only what is built in: a hook
runs once a turn and its time is the user's time. So JSON is not parsed here: the few fields that matter are taken out
of the input's head, where Claude Code writes them, and the answer's text is passed on as the JSON string it is. No
prompt, tool input or environment variable leaves this process.

Whatever goes wrong (no hub, a hub of another user, one that hangs, an odd answer) ends in silence and status 0.
"""

import _socket
import posix
import sys

INPUT_BYTES = 1 << 20
ANSWER_BYTES = 64 * 1024
DEADLINE_S = 2.0
EVENTS = {
    "start": b"SessionStart",
    "prompt": b"UserPromptSubmit",
    "stop": b"Stop",
    "notification": b"Notification",
    "end": b"SessionEnd",
}
FIELDS = (  # theirs and ours
    (b"session_id", b"session"),
    (b"source", b"source"),
    (b"notification_type", b"source"),
    (b"reason", b"source"),
    (b"permission_mode", b"mode"),
)
SPEAKS = ("start", "prompt")  # events whose output reaches the model


def field(given: bytes, name: bytes) -> bytes:
    """The raw JSON string of a field of the input, if it is a short plain one; else b"".

    Inside a JSON string every quote has a backslash before it, so text of the user never looks like a field.
    """
    start = given.find(b'"' + name + b'":')
    if start < 0:
        return b""
    value = given[start + len(name) + 3 :].lstrip(b" ")
    end = value.find(b'"', 1)
    plain = value[: end + 1]
    return plain if value[:1] == b'"' and 0 < end <= 100 and b"\\" not in plain else b""


def request(event: str, given: bytes) -> bytes:
    """The line for the hub."""
    found = {b"op": b'"session"', b"id": b'"h"', b"event": b'"' + event.encode() + b'"'}
    for name, ours in FIELDS:
        value = field(given, name)
        if value and ours not in found:
            found[ours] = value
    return b"{" + b",".join(b'"' + name + b'":' + value for name, value in found.items()) + b"}\n"


def ask(path: str, line: bytes) -> bytes:
    """The hub's answer, or b"". Raises OSError."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        sock.settimeout(DEADLINE_S)
        sock.connect(path)
        if not is_ours(sock):
            return b""
        sock.send(line)
        answer = b""
        while not answer.endswith(b"\n") and len(answer) < ANSWER_BYTES:
            part = sock.recv(ANSWER_BYTES)
            if not part:
                return b""
            answer += part
        return answer
    finally:
        sock.close()


def is_ours(sock: _socket.socket) -> bool:
    """Whether the kernel says that the listener runs under our uid."""
    if sys.platform == "linux":
        uid = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)[4:8]
    else:  # macOS: SOL_LOCAL, LOCAL_PEERCRED, struct xucred
        uid = sock.getsockopt(0, 1, 76)[4:8]
    return int.from_bytes(uid, sys.byteorder) == posix.getuid()


def output(event: str, answer: bytes) -> bytes:
    """What Claude Code reads from the hook, b"" for nothing."""
    head, found, text = answer.rstrip(b"\n}").partition(b',"text":')
    if event not in SPEAKS or not found or not head.startswith(b'{"type":"brief"') or text[:1] != b'"':
        return b""
    return b'{"hookSpecificOutput":{"hookEventName":"' + EVENTS[event] + b'","additionalContext":' + text + b"}}\n"


def main() -> None:
    try:
        path, event = sys.argv[1:3]
        if event in EVENTS:
            given = sys.stdin.buffer.read(INPUT_BYTES)
            said = output(event, ask(path, request(event, given)))
            if said:
                posix.write(1, said)
    except (OSError, ValueError):
        pass  # silence: Claude Code goes on as if there were no hook


if __name__ == "__main__":
    main()
