"""Starts the MCP server of a session from the template that waits beside the hub, and stands for it.

    launcher.py TEMPLATE_SOCKET PYTHON ARGUMENT...

The MCP client starts this program, and the template's fork does the work with the descriptors, the directory and the
environment of this process (`handover` is its side of the connection). It stays because of what belongs to a process:
it is the child that the client watches and signals, the kernel names it to whomever it connects to, and its death is
the server's. Where no template answers in time, or one of other code, it becomes the server itself: the command PYTHON
ARGUMENT..., which takes most of a second longer.

Run with `-I -S`, it imports only what is built into the interpreter, because every session waits for it. The server
says YES, DIAL with a number, a length and a path, and EXIT with a status; the launcher says GO, END, and ANSWER with
that number and an error's, which is 0 if the connection comes with it.
"""

import _signal  # type: ignore[import-not-found]  # what `signal` wraps, without its enumerations
import _socket
import posix
import sys

ANSWER_S = 2.0  # for the template; the plain way takes less than that again
YES, GO, END, DIAL, ANSWER, EXIT = b"y", b"g", b"t", b"d", b"a", b"x"
HEAD_BYTES = 4  # how long the introduction is
ANSWER_BYTES = 3
PATH_BYTES = 1024
LOST = 1  # the status, if the server ended without telling one


def is_ours(sock: _socket.socket) -> bool:
    """Whether the kernel says that the listener runs under our uid."""
    uid = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)[4:8]
    return int.from_bytes(uid, sys.byteorder) == posix.getuid()


def introduction() -> bytes:
    """All the server has to know of this process: program, directory and environment, each ended by a zero byte."""
    entries = (name + b"=" + value for name, value in posix.environ.items())
    parts = b"\0".join([__file__.encode(errors="surrogateescape"), posix.getcwdb(), *entries, b""])
    return len(parts).to_bytes(HEAD_BYTES, "big") + parts


def hand_over(path: str) -> "_socket.socket | None":
    """The connection to a server that has our descriptors, or None. Raises OSError."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    sock.settimeout(ANSWER_S)
    sock.connect(path)
    if not is_ours(sock):
        return None
    descriptors = b"".join(number.to_bytes(4, sys.byteorder) for number in (0, 1, 2))
    said = introduction()
    sent = sock.sendmsg([said], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, descriptors)])
    while sent < len(said):
        sent += sock.send(said[sent:])
    if sock.recv(1) != YES:
        return None
    sock.send(GO)  # from here on it reads our standard input
    sock.settimeout(None)
    return sock


def stand_for(server: _socket.socket) -> int:
    """Do for the server what only this process can, until it ends. Returns its status. Raises OSError if it is lost."""
    said = b""
    while part := server.recv(PATH_BYTES):
        said += part
        if said[:1] == EXIT and len(said) >= 2:
            return said[1]
        while said[:1] == DIAL and len(said) >= 3 and len(said) >= 3 + said[2]:
            turn, path, said = said[1:2], said[3 : 3 + said[2]], said[3 + said[2] :]
            dial(server, turn, path)
    return LOST


def dial(server: _socket.socket, turn: bytes, path: bytes) -> None:
    """Connect to that socket and pass the connection on, or say why not."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        sock.settimeout(ANSWER_S)
        sock.connect(path)
        sock.settimeout(None)
    except OSError as error:
        server.send(ANSWER + turn + bytes([min(error.errno or 255, 255)]))
    else:
        passed = sock.fileno().to_bytes(4, sys.byteorder)
        server.sendmsg([ANSWER + turn + b"\0"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, passed)])
    finally:
        sock.close()


def main() -> None:
    template, *command = sys.argv[1:]
    try:
        server = hand_over(template)
    except (OSError, ValueError):
        server = None  # nobody, or nobody in time
    if server is None:
        posix.execv(command[0], command)
    for number in (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP):
        _signal.signal(number, lambda *_: server.send(END))
    try:
        posix._exit(stand_for(server))
    except OSError:
        posix._exit(LOST)


if __name__ == "__main__":
    main()
