"""Shows the hub which tools a session has used and with what input, never what they answered.

    ran.py CONTROL_SOCKET < the input of a PostToolUse, PostToolUseFailure or PostToolBatch hook

Runs beside the session, which does not wait for it, and only while the hub has asked for it. Silence and status 0
whatever happens.
"""

import _socket
import json
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rpartition("/")[0])

from permission import (  # type: ignore[import-not-found]  # noqa: E402
    INPUT_BYTES,
    Lines,
    end_in_time,
    is_hub,
    leave,
    read,
)

GIVEN_BYTES = 64 << 20  # an answer of a tool may be large
ALIVE_S = 8
KEPT = ("hook_event_name", "prompt_id", "agent_id", "tool_name", "tool_input", "tool_use_id")


def shown(given: bytes) -> bytes:
    """What the hub is told of `given`."""
    fields = json.loads(given)
    told = {name: fields[name] for name in KEPT if name in fields}
    if "tool_calls" in fields:
        told["tool_calls"] = [{name: call[name] for name in KEPT if name in call} for call in fields["tool_calls"]]
    return json.dumps(told, separators=(",", ":")).encode()


def main() -> None:
    end_in_time(ALIVE_S)
    raw = shown(read(0, GIVEN_BYTES))
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    sock.settimeout(ALIVE_S)
    sock.connect(sys.argv[1])
    if is_hub(sock) and len(raw) <= INPUT_BYTES:
        sock.sendall(b'{"op":"ran","id":"r","bytes":%d}\n' % len(raw) + raw)
        Lines(sock).next()  # the hub looks at this process until then


if __name__ == "__main__":
    try:
        main()
    finally:
        leave()
