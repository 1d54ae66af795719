"""Has a session ask the person before it uses a tool that is on the ask-list, whatever its mode allows.

    ask.py CONTROL_SOCKET RULES < the input of a PreToolUse hook

RULES is a file with a rule a line, see `crosschat.core.asklist`. Without a rule that fits, nothing is printed and the
session goes on as if there were no hook. With one, its dialog is asked for, where the permission hook brings it before
the person; in a session that shows no dialog (`claude -p`) the hub is asked from here, and its answer printed.

This fails to the safe side: where the input, the rules or the hub cannot be read, the dialog is asked for. A session
without a dialog takes that for a no. Only SIGTERM ends it without a word, because then the use itself has ended.
"""

import posix
import sys
from _json import encode_basestring_ascii, make_scanner

LIMIT = 1 << 20
RULES_BYTES = 1 << 18
DEPTH = 4  # of commands inside words of commands
FILE_TOOLS = ("Edit", "MultiEdit", "Write", "NotebookEdit")
SEPARATORS = ";&|\n(){}`"
# What begins a command that is another one's business: any word behind it may begin that one.
WRAPPERS = {
    "sudo", "doas", "env", "command", "exec", "builtin", "nohup", "time", "nice", "ionice", "timeout", "xargs",
    "stdbuf", "setsid", "chroot", "flock", "watch", "parallel", "find", "if", "then", "else", "elif", "do", "while",
    "until", "!",
}  # fmt: skip
# What takes a command as a text.
SHELLS = {"sh", "bash", "dash", "zsh", "ksh", "fish", "eval", "su", "ssh", "script", "tmux", "screen"}


class Plain:
    """How JSON is read here: as it is."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float
    memo: dict[str, str]


def parse(given: bytes) -> dict[str, object]:
    """`json.loads`, without the 9 ms that importing `json` costs."""
    value, _ = make_scanner(Plain)(given.decode().strip(), 0)  # type: ignore[arg-type]  # any object with these
    if not isinstance(value, dict):
        raise ValueError("no object")
    return value


# --- rules


def fitting(rules: list[str], tool: str, use: dict[str, object]) -> str:
    """The first rule that fits, or ""."""
    for rule in rules:
        name, _, what = rule.partition("(")
        if fits(name, what[:-1], tool, use):
            return rule
    return ""


def fits(name: str, what: str, tool: str, use: dict[str, object]) -> bool:
    if name.startswith("mcp__"):
        return tool == name or tool.startswith(name + "__")
    if name == "Edit" and tool in FILE_TOOLS:
        return not what or fits_path(what, use)
    if name != tool:
        return False
    if not what:
        return True
    if tool == "Bash":
        return fits_command(what, str(use.get("command", "")))
    if tool == "WebFetch":
        return fits_host(what, str(use.get("url", "")))
    return fits_path(what, use)


def fits_host(what: str, url: str) -> bool:
    domain = what.partition(":")[2].lower().strip(".")
    rest = url.replace("\\", "/").partition("://")[2] or url
    for end in "/?#":
        rest = rest.partition(end)[0]
    host = rest.rpartition("@")[2].partition(":")[0].lower().strip(".")
    return host == domain or host.endswith("." + domain)


def fits_path(what: str, use: dict[str, object]) -> bool:
    path = normal(str(use.get("file_path") or use.get("notebook_path") or ""))
    if what.startswith("~"):
        return any(glob(home + what[1:], path) for home in homes())
    return glob(what.removeprefix("/") if what.startswith("//") else what, path) or (
        not what.startswith("/") and glob("**/" + what.removeprefix("./"), path)
    )


def homes() -> list[str]:
    import pwd

    found = [pwd.getpwuid(posix.getuid()).pw_dir, posix.environ.get(b"HOME", b"").decode(errors="replace")]
    return [home.rstrip("/") for home in found if home]


def normal(path: str) -> str:
    """The path without `.`, `..` and doubled slashes."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == ".." and parts:
            parts.pop()
        elif part not in ("", ".", ".."):
            parts.append(part)
    return "/" + "/".join(parts)


def glob(pattern: str, text: str, crosses: bool = False) -> bool:
    """`*` stands for anything but a slash, `**`, and with `crosses` each star, for anything at all."""
    if "*" not in pattern:
        return pattern == text
    import re

    pieces = [re.escape(piece) for piece in re.split(r"(\*+)", pattern)]
    star = ".*" if crosses else "[^/]*"
    parts = [(".*" if piece.count("*") > 1 else star) if row % 2 else piece for row, piece in enumerate(pieces)]
    return re.fullmatch("".join(parts), text, re.DOTALL) is not None


# --- commands


def fits_command(what: str, command: str) -> bool:
    try:
        return any(fits_words(what, words) for words in commands(command, DEPTH))
    except ValueError:  # it cannot be taken apart
        return what.split()[0].partition(":")[0] in command


def fits_words(what: str, words: list[str]) -> bool:
    words = [words[0].rpartition("/")[2], *words[1:]]
    if what.endswith(":*"):
        return begins(what[:-2].split(), words)
    return glob(what, " ".join(words), crosses=True)


def begins(wanted: list[str], words: list[str]) -> bool:
    """Whether the words begin with those that are wanted. Options in between, with an argument each, do not count, and
    an option that is wanted may stand anywhere; a star stands for any words."""
    if not wanted:
        return True
    if wanted[0] == "*":
        return any(begins(wanted[1:], words[at:]) for at in range(len(words)))
    if wanted[0].startswith("-"):
        return wanted[0] in words and begins(wanted[1:], words)
    if not words:
        return False
    if words[0] == wanted[0]:
        return begins(wanted[1:], words[1:])
    if words[0].startswith("-"):
        return begins(wanted, words[1:]) or begins(wanted, words[2:])
    return False


def commands(text: str, depth: int) -> list[list[str]]:
    """The simple commands in a text, each as its words: also those behind wrappers and inside substitutions and texts
    that a shell is given. Raises ValueError."""
    found = []
    for simple in split(text):
        words = simple
        while words and ("=" in words[0] and words[0].partition("=")[0].isidentifier()):
            words = words[1:]
        if not words:
            continue
        found.append(words)
        name = words[0].rpartition("/")[2]
        if name in WRAPPERS:
            found.extend(words[at:] for at in range(1, len(words)))
        if depth and (name in SHELLS or name in WRAPPERS):
            for word in words[1:]:
                if any(mark in word for mark in " ;\n"):
                    found.extend(commands(word, depth - 1))
    return found


def split(text: str) -> list[list[str]]:
    """Words, command by command. What follows `<<` is one more word. Raises ValueError for a quote without an end."""
    found: list[list[str]] = [[]]
    word: str | None = None
    quote, at = "", 0
    outer: list[str] = []  # the quotes around the substitutions that are open
    waiting: list[tuple[list[str], str, bool]] = []  # here-documents that begin with the next line
    text = text.replace("\\\n", "")
    while at < len(text):
        here = text[at]
        at += 1
        if quote == "'":
            quote, word = ("", word) if here == "'" else ("'", (word or "") + here)
        elif here == "\\" and at < len(text):
            word = (word or "") + text[at]
            at += 1
        elif here == "$" and text[at : at + 1] == "(":
            outer.append(quote)
            quote, word = "", keep(found, word, new=True)
            at += 1
        elif here == "`" or (here == ")" and not quote):
            quote, word = outer.pop() if outer and here == ")" else quote, keep(found, word, new=True)
        elif quote:
            quote, word = ("", word) if here == quote else (quote, (word or "") + here)
        elif here in "'\"":
            quote, word = here, word or ""
        elif text[at - 1 : at + 2] == "<<<":  # a word follows
            word = keep(found, word)
            at += 2
        elif text[at - 1 : at + 1] == "<<":
            word = keep(found, word)
            at, ending = delimiter(text, at + 1)
            waiting.append((found[-1], *ending))
        elif here == "\n" and waiting:
            word = keep(found, word, new=True)
            for command, end, plain in waiting:
                at, body = document(text, at, end)
                command.append(body)
                if not plain:
                    for piece in body.split("$(")[1:]:
                        found[-1:-1] = split(piece.rpartition(")")[0])
            waiting = []
        elif here in SEPARATORS:
            word = keep(found, word, new=True)
        elif here.isspace() or here in "<>":
            word = keep(found, word)
        else:
            word = (word or "") + here
    if quote:
        raise ValueError("a quote has no end")
    keep(found, word)
    return [words for words in found if words]


def keep(found: list[list[str]], word: str | None, new: bool = False) -> str | None:
    """Put the word to its command; with `new`, another one begins. No word is begun then."""
    if word is not None:
        found[-1].append(word)
    if new:
        found.append([])
    return None


def delimiter(text: str, at: int) -> tuple[int, tuple[str, bool]]:
    """The word that ends a here-document, and whether nothing is replaced in that; and where the text goes on."""
    while text[at : at + 1] in ("-", " "):
        at += 1
    end = at
    while end < len(text) and not text[end].isspace() and text[end] not in ";&|)":
        end += 1
    said = text[at:end]
    word = said.replace("'", "").replace('"', "").replace("\\", "")
    return end, (word, word != said)


def document(text: str, at: int, end: str) -> tuple[int, str]:
    """The lines up to the one that is `end`, and where the text goes on."""
    lines = []
    while at < len(text):
        line, newline, _ = text[at:].partition("\n")
        at += len(line) + len(newline)
        if line.strip() == end:
            break
        lines.append(line)
    return at, "\n".join(lines)


# --- this process


def say_ask(reason: str) -> bytes:
    """The output that has Claude Code show its dialog."""
    head = b'{"hookSpecificOutput":{"hookEventName":"PreToolUse","permissionDecision":"ask","permissionDecisionReason":'
    return head + encode_basestring_ascii(reason).encode() + b"}}\n"


def take(fd: int, most: int) -> bytes:
    """All that is there; closes it. Raises ValueError if it is too much."""
    parts, size = [], 0
    try:
        while part := posix.read(fd, 1 << 16):
            parts.append(part)
            size += len(part)
            if size > most:
                raise ValueError("too much")
    finally:
        posix.close(fd)
    return b"".join(parts)


def answer(socket: str, path: str) -> bytes:
    given = take(0, LIMIT)
    fields = parse(given)
    try:
        rules = take(posix.open(path, posix.O_RDONLY), RULES_BYTES).decode().splitlines()
    except FileNotFoundError:
        return b""  # the last rule has just been removed
    use = fields["tool_input"]
    rule = fitting(rules, str(fields["tool_name"]), use) if isinstance(use, dict) else "?"
    if not rule:
        return b""
    sys.dont_write_bytecode = True
    sys.path.insert(0, __file__.rpartition("/")[0])
    import permission  # type: ignore[import-not-found]

    permission.end_in_time(permission.ALIVE_S)
    said: bytes = permission.decide(socket, given)
    return said or say_ask(f"on CrossChat's ask-list: {rule}")


if __name__ == "__main__":
    said = say_ask("CrossChat's ask-list could not be applied")
    try:
        said = answer(*sys.argv[1:3])
    finally:
        try:
            while said:
                said = said[posix.write(1, said) :]
        finally:
            posix._exit(0)
