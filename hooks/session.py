"""Tells the hub what a Claude Code session does, and passes on what the hub has for its model.

    session.py CONTROL_SOCKET EVENT [now] < the hook's input

EVENT is start, prompt, stop, wait, notification or end; with `now` it never waits. Standard library only, and of that
only what is built in: the session waits for some of these, and their time is the user's time. So JSON is not parsed
here: the few fields that matter are taken out of the input's head, where Claude Code writes them, and the answer's text
is passed on as the JSON string it is. No prompt, tool input or environment variable leaves this process.

A `stop` or `wait` runs in the background of the session. If the hub has nothing to say, it goes at once; if it may
have later, it waits as long as the session lives, and then ends with status 2, which wakes the session with what
stands on stderr. It looks for its hub for a while, because a session's first hooks come before it is started, and for
longer if it dies meanwhile. Only a session with a person before it is waited for: a `claude -p` would not end before
its hooks.

Whatever else goes wrong (no hub, a hub of another user, one that hangs, an odd answer) ends in silence and status 0.
"""

import _socket
import posix
import sys
import time

INPUT_BYTES = 1 << 20
ANSWER_BYTES = 64 * 1024
DEADLINE_S = 2.0
LOOK_S = 5.0  # how often one that waits looks whether its session is still there
RETRY_S = 0.5
TRIES = 30
TRIES_AGAIN = 120  # for a hub that was there
EVENTS = ("start", "prompt", "stop", "wait", "notification", "end")
FIELDS = (  # theirs and ours
    (b"session_id", b"session"),
    (b"source", b"source"),
    (b"notification_type", b"source"),
    (b"reason", b"source"),
    (b"permission_mode", b"mode"),
)
SPEAKS = {"start": b"SessionStart", "prompt": b"UserPromptSubmit"}  # events whose output reaches the model
WAITS = ("stop", "wait")
WAKES = 2  # the status that wakes


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


def request(event: str, given: bytes, *, may_wait: bool = True) -> bytes:
    """The line for the hub."""
    found = {b"op": b'"session"', b"id": b'"h"', b"event": b'"' + event.encode() + b'"'}
    for name, ours in FIELDS:
        value = field(given, name)
        if value and ours not in found:
            found[ours] = value
    if may_wait and event in WAITS and posix.environ.get(b"CLAUDE_CODE_ENTRYPOINT") == b"cli":
        found[b"attended"] = b"true"
    return b"{" + b",".join(b'"' + name + b'":' + value for name, value in found.items()) + b"}\n"


def ask(path: str, line: bytes, *, patient: bool = False) -> bytes:
    """The hub's answer, or b"" if it is no whole one. `patient`: it may come whenever it likes while the session
    lives. Raises OSError, and ConnectionResetError if one that was waited for got lost."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    session = posix.getppid()
    try:
        sock.settimeout(DEADLINE_S)
        sock.connect(path)
        if not is_ours(sock):
            return b""
        sock.send(line)
        sock.settimeout(LOOK_S if patient else DEADLINE_S)
        answer = b""
        while not answer.endswith(b"\n") and len(answer) < ANSWER_BYTES:
            try:
                part = sock.recv(ANSWER_BYTES)
            except TimeoutError:
                if not patient:
                    raise
                if posix.getppid() == session:
                    continue
                return b""
            if not part and patient:
                raise ConnectionResetError
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


def text_of(answer: bytes) -> tuple[bytes, bytes]:
    """The answer's text as the JSON string it is, and what stands before it; both b"" if it has none."""
    head, found, text = answer.rstrip(b"\n}").partition(b',"text":')
    if not found or not head.startswith(b'{"type":"brief"') or text[:1] != b'"':
        return b"", b""
    return text, head


def output(event: str, answer: bytes) -> bytes:
    """What Claude Code reads from the hook, b"" for nothing."""
    text, _ = text_of(answer)
    if event not in SPEAKS or not text:
        return b""
    return b'{"hookSpecificOutput":{"hookEventName":"' + SPEAKS[event] + b'","additionalContext":' + text + b"}}\n"


def ring(answer: bytes) -> str:
    """What the session is to be woken with, "" for nothing."""
    text, head = text_of(answer)
    if b',"wake":true' not in head:
        return ""
    from _json import scanstring

    return str(scanstring(text.decode(), 1)[0])


def wait(path: str, line: bytes) -> int:
    """Ask until there is an answer; the status that this process ends with."""
    patient = b'"attended":true' in line
    tries, session = TRIES, posix.getppid()
    while posix.getppid() == session:
        try:
            said = ring(ask(path, line, patient=patient))
        except OSError as error:
            if isinstance(error, ConnectionResetError):  # the hub went while this waited, and knows what was told
                tries, line = TRIES_AGAIN, line.replace(b'"event":"stop"', b'"event":"wait"')
            else:
                tries -= 1
            if not (patient and tries):
                return 0
        else:
            if said:
                posix.write(2, said.encode(errors="replace") + b"\n")
            return WAKES if said else 0
        time.sleep(RETRY_S)
    return 0


def main() -> int:
    try:
        path, event, *now = sys.argv[1:]
        if event in EVENTS:
            line = request(event, sys.stdin.buffer.read(INPUT_BYTES), may_wait=not now)
            if event in WAITS:
                return wait(path, line)
            said = output(event, ask(path, line))
            if said:
                posix.write(1, said)
    except (OSError, ValueError):
        pass  # silence: Claude Code goes on as if there were no hook
    return 0


if __name__ == "__main__":
    sys.exit(main())
