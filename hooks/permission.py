"""Asks the hub about a permission prompt of a session, waits for the person, and prints what they decided, or nothing.

    permission.py CONTROL_SOCKET < what Claude Code gives its hook

Everything that was given goes to the hub as bytes. What comes back is printed only if it is bound to these very bytes:
by SHA-256 over the hub's nonce and them, compared here. It is printed character by character, never parsed.

Whatever goes wrong is silence and status 0, so that Claude Code's own dialog decides: no hub, a hub of another user,
one that runs below a session's Claude Code process (a session that took the socket's place), one that hangs, an odd
answer, an input of more than 1 MiB, SIGTERM. While it waits it hears from the hub every 15 s. A connection that is lost
while the request waits is made again for 10 s, for a hub that restarts, and asked anew.

Standard library only, and of that only what is built in or nearly so: a hook's start is time in which nobody is asked.
"""

import _signal  # type: ignore[import-not-found]  # typeshed knows only `signal`
import _socket
import posix
import sys
import time

try:
    from _sha2 import sha256  # type: ignore[import-not-found]
except ImportError:  # Python 3.11
    from _sha256 import sha256  # type: ignore[import-not-found]

INPUT_BYTES = 1 << 20
LINE_BYTES = 1 << 19
ALIVE_S = 3590  # Claude Code ends a hook after 3600 s
ANSWER_S = 5.0
SILENCE_S = 50.0  # three times what the hub promises
RETRY_S = 10.0
RETRY_PAUSE_S = 0.1
ANCESTORS = 64
ASKED = b'{"type":"asked","id":"p","hub_nonce":"'
NO_OPINION = b'{"type":"no_opinion","id":"p","reason":'
NONCE_CHARS = 64


class Lost(Exception):
    """The connection ended while the request was waiting."""


class NotMine(Exception):
    """The hub knows no session above this hook; one that has just started may know it soon."""


def decide(path: str, given: bytes) -> bytes:
    """What the person decided about `given`, to be printed; b"" if nobody did."""
    give_up_at = 0.0
    while True:
        try:
            return exchange(path, given)
        except Lost:
            give_up_at = time.monotonic() + RETRY_S
        except TimeoutError:
            return b""
        except (OSError, NotMine):
            if time.monotonic() >= give_up_at:
                return b""
        time.sleep(RETRY_PAUSE_S)


def exchange(path: str, given: bytes) -> bytes:
    """Ask once. Raises OSError, Lost, NotMine."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        sock.settimeout(ANSWER_S)
        sock.connect(path)
        if not is_hub(sock):
            return b""
        sock.sendall(b'{"op":"permission","id":"p","bytes":%d}\n' % len(given) + given)
        lines = Lines(sock)
        first = lines.next()
        if first.startswith(NO_OPINION):
            if b'"not_mine"' in first:
                raise NotMine
            return b""
        nonce = first[len(ASKED) : len(ASKED) + NONCE_CHARS]
        if first != ASKED + nonce + b'"}' or len(nonce) != NONCE_CHARS:
            return b""
        digest = sha256(bytes.fromhex(nonce.decode()) + given).hexdigest().encode()
        sock.settimeout(SILENCE_S)
        try:
            line = first
            while line == first:  # it is said again while it waits
                line = lines.next()
        except ConnectionError:
            raise Lost from None
        return output(line, digest)
    finally:
        sock.close()


class Lines:
    """What the hub says, line by line."""

    def __init__(self, sock: _socket.socket) -> None:
        self.sock = sock
        self.buffer = b""

    def next(self) -> bytes:
        """The next line without its end. Raises ConnectionError at the end, OSError."""
        while b"\n" not in self.buffer:
            part = self.sock.recv(1 << 16)
            if not part:
                raise ConnectionError
            self.buffer += part
            if len(self.buffer) > LINE_BYTES:
                raise TimeoutError  # as one that never ends
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line


def output(line: bytes, digest: bytes) -> bytes:
    """The output in a verdict about these bytes; b"" for anything else."""
    head = b'{"type":"verdict","id":"p","digest":"' + digest + b'","output":'
    if not line.startswith(head + b"{") or not line.endswith(b"}}"):
        return b""
    return line[len(head) : -1] + b"\n"


# --- who listens there


def is_hub(sock: _socket.socket) -> bool:
    """Whether the kernel says that a process of ours listens, and none that a session started."""
    if sys.platform == "linux":
        peer = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
        pid, uid = (int.from_bytes(peer[at : at + 4], sys.byteorder) for at in (0, 4))
        mine = claude_above(posix.getpid())
        # Sessions above this hook's own session would have started that, too.
        return uid == posix.getuid() and set(claude_above(pid)) <= set(mine[1:])
    peer = sock.getsockopt(0, 1, 76)  # macOS: SOL_LOCAL, LOCAL_PEERCRED, struct xucred
    return int.from_bytes(peer[4:8], sys.byteorder) == posix.getuid()


def claude_above(pid: int) -> list[int]:
    """The Claude Code processes among a process and those above it, nearest first."""
    found = []
    for _ in range(ANCESTORS):
        try:
            stat = read(posix.open(f"/proc/{pid}/stat", posix.O_RDONLY), 4096)
        except OSError:
            break
        head, _, tail = stat.rpartition(b")")  # a process may be called ") R 1 1 1 0"
        try:
            program = posix.readlink(f"/proc/{pid}/exe")
        except OSError:
            program = ""
        name = program.rpartition("/")[2].removesuffix(" (deleted)")
        if name == "claude" or head.partition(b"(")[2] == b"claude":
            found.append(pid)
        pid = int(tail.split()[1])
        if pid <= 0:
            break
    return found


# --- this process


def read(fd: int, most: int) -> bytes:
    """All that is there, at most one byte more than `most`; closes it."""
    parts, size = [], 0
    try:
        while size <= most and (part := posix.read(fd, most + 1 - size)):
            parts.append(part)
            size += len(part)
    finally:
        posix.close(fd)
    return b"".join(parts)


def write(data: bytes) -> None:
    while data:
        data = data[posix.write(1, data) :]


def leave(*_: object) -> None:
    """End at once, in silence."""
    posix._exit(0)


def end_in_time(seconds: int) -> None:
    """End in silence when told to, and in any case after so long."""
    for number in (_signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP, _signal.SIGALRM):
        _signal.signal(number, leave)
    _signal.alarm(seconds)


def main() -> None:
    end_in_time(ALIVE_S)
    given = read(0, INPUT_BYTES)
    if 0 < len(given) <= INPUT_BYTES:
        write(decide(sys.argv[1], given))


if __name__ == "__main__":
    try:
        main()
    finally:
        leave()  # whatever happened
