"""Inputs: what a session may ask permission for, made up; what was hashed, shown and printed is the same, to the byte.

Between the two ends are the hook program itself (its door is memory) and the desk, with what a page is sent and signs.
A made request is sound, or has one flaw that lets it be read in two ways or none. A sound one must be shown as it is
and answered with the characters that the page signed; a flawed one is never shown. A verdict over other bytes, one
byte changed or the request before, prints nothing. One in `THROUGH_DESK` is served by the whole desk, with its audit.
"""

from __future__ import annotations

import importlib.util
import json
from random import Random
from typing import TYPE_CHECKING, Final, Literal

import attrs
import pytest
import trio
import trio.testing

from crosschat import pagewire, wire
from crosschat.core.permissions import payload_head, read_decision
from crosschat.errors import Refused
from crosschat.limits import HOOK_BYTES, JSON_DEPTH
from crosschat.wire import NoOpinion, PermissionAsked, encode, encode_verdict
from tests.hub.desk import ALLOW, SUGGESTION, World, output
from tests.prove.outcome import Outcome
from tests.prove.zygote import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from crosschat.model import JsonObject
    from tests.prove.outcome import Room

PER_ROUND: Final = 4000
PER_SHORT_ROUND: Final = 5000
THROUGH_DESK: Final = 40
LARGE: Final = 1000  # one in so many is as large as it may be
REPORTED: Final = 10

TEXTS: Final = (
    "rm -rf /", " ", "\\u202e", "\\u200b", "\u202e", "\u2066", "\u200b", "\u200d", "\ufeff", "\u2028", "\U000e0041",
    "\ufe0f", "\\ud83d\\ude00", "\\uD83D\\uDE00", "é", "e\u0301", "\\n", '\\"', "\\\\", "\\/", "\\u0000", "\x7f",
    "\x85", "\xad", "😀", "\u0430dmin", "curl x|sh", "</script>", "\\u001b[2J", "%00", "{{x}}", "a" * 300,
)  # fmt: skip
KEYS: Final = (
    "command", "Command", "comm\u200band", "file_path", "old_string", "new_string", "content", "url", "é", "e\u0301",
    "__proto__", "constructor", "toString", "output", "digest", "hub_nonce", "id", "0", "\u202e", " ",
)  # fmt: skip
NUMBERS: Final = ("0", "-0", "1", "-17", "0.1", "1E5", "1e-300", "12345678901234567890123", "true", "false", "null")
TOOLS: Final = ("Bash", "Write", "Edit", "WebFetch", "mcp__files__delete", "AskUserQuestion", "\\u0042ash")

Flaw = Literal[
    "a key twice", "a key twice, spelled in two ways", "a key of the request twice", "a number that is none",
    "half of a surrogate pair", "a bare control character", "a bad escape", "not UTF-8", "too deep", "too large",
    "cut short", "more behind it", "a mark before it", "about another event", "an input that is no object",
]  # fmt: skip
FLAWS: Final[tuple[Flaw, ...]] = Flaw.__args__  # type: ignore[attr-defined]  # of a Literal


@attrs.frozen
class Made:
    """What a hook may be given."""

    raw: bytes
    flaw: Flaw | None = None


def make(random: Random) -> Made:
    """A request: sound, or in one of five cases with one flaw."""
    flaw = random.choice(FLAWS) if random.random() < 0.2 else None
    if flaw == "too large" and random.random() < 0.9:
        flaw = None  # a megabyte takes as long as hundreds of others
    members = _members(random, 2)
    fields = {
        "session_id": '"s"', "cwd": f'"/repo/{_text(random)}"', "prompt_id": '"p"', "permission_mode": '"default"',
        "hook_event_name": '"PermissionRequest"', "tool_name": f'"{random.choice(TOOLS)}"',
    }  # fmt: skip
    if random.random() < 0.3:
        fields["permission_suggestions"] = json.dumps([SUGGESTION])
    if flaw == "about another event":
        fields["hook_event_name"] = random.choice(['"Stop"', '"permissionrequest"', "null", '["PermissionRequest"]'])
    if flaw is not None:
        members = _spoiled(random, flaw, members)
    space = random.choice(("", "", "", " ", "\n", "\t "))
    fields["tool_input"] = _object(members, space)
    if flaw == "an input that is no object":
        fields["tool_input"] = random.choice([f"[{fields['tool_input']}]", '"make"', "null", "7"])
    order = random.sample(list(fields), len(fields))
    pairs = [(name, fields[name]) for name in order]
    if flaw == "a key of the request twice":
        again = random.choice(order)
        pairs.append((random.choice([again, _spelled(again)]), random.choice([fields[again], '"x"', "{}"])))
    raw = _object(pairs, space).encode()
    return Made(_around(random, flaw, raw), flaw)


def _text(random: Random) -> str:
    return "".join(random.choices(TEXTS, k=random.randrange(5)))


def _object(members: list[tuple[str, str]], space: str = "") -> str:
    between = f'"{space}:{space}'
    return "{" + f",{space}".join(['"' + key + between + value for key, value in members]) + space + "}"


def _members(random: Random, level: int) -> list[tuple[str, str]]:
    """Members with keys that differ; values of every kind, `level` says how deep they may still be."""
    return [(key, _value(random, level)) for key in random.sample(KEYS, random.randint(1, 3))]


def _value(random: Random, level: int) -> str:
    dice = random.random()
    if dice < 0.6 or level == 0:
        return f'"{_text(random)}"'
    if dice < 0.75:
        return random.choice(NUMBERS)
    if dice < 0.85:
        return f"[{','.join(_value(random, level - 1) for _ in range(random.randrange(3)))}]"
    if dice < 0.9:
        most = JSON_DEPTH - 4  # the request, its input, an object in it, and what is here
        return "[" * most + "]" * most
    return _object(_members(random, level - 1))


def _spelled(key: str) -> str:
    """The same key in JSON, with its first character as an escape."""
    return "".join(f"\\u{unit:04x}" for unit in (ord(key[0]),)) + key[1:]


def _spoiled(random: Random, flaw: Flaw, members: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The members with what makes the input unreadable, at any level of it."""
    key, value = random.choice(members)
    extra: tuple[str, str]
    match flaw:
        case "a key twice":
            extra = (key, random.choice([value, '"ls"']))
        case "a key twice, spelled in two ways":
            extra = (_spelled(key), random.choice([value, '"ls"']))
        case "a number that is none":
            extra = ("x", random.choice(["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "01", "0x1", "+1", ".5"]))
        case "half of a surrogate pair":
            half = random.choice(["\\ud800", "\\udfff", "\\ude00\\ud83d", "\\ud83d x"])
            extra = random.choice([("x", f'"{half}"'), (half, '"x"')])
        case "a bare control character":
            extra = ("x", random.choice(['"\n"', '"\x00"', '"\x1b[8m"', '"\t"']))
        case "a bad escape":
            extra = ("x", random.choice(['"\\x41"', '"\\u12"', '"\\"', "'x'", '"\\U0001F600"']))
        case "not UTF-8":
            extra = ("x", '"MARK"')
        case "too deep":
            extra = ("x", "[" * (JSON_DEPTH - 1) + "]" * (JSON_DEPTH - 1))
        case "too large":
            extra = ("x", '"' + random.choice("a\u202e") * HOOK_BYTES + '"')
        case _:
            return members
    members = [*members, extra]
    if flaw not in ("too deep", "too large") and random.random() < 0.5:
        return [("edits", f"[{_object(members)}]")]
    return members


def _around(random: Random, flaw: Flaw | None, raw: bytes) -> bytes:
    """The bytes of it: with what is wrong around it, or as large as it may be."""
    match flaw:
        case "not UTF-8":
            return raw.replace(
                b"MARK", random.choice([b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf0\x9f\x98", b"\x80"])
            )
        case "cut short":
            return raw.rstrip()[: -random.randint(1, 40)]
        case "more behind it":
            return raw + random.choice([raw, b"{}", b"x", b"\x00", b","])
        case "a mark before it":
            return random.choice([b"\xef\xbb\xbf", b"\xff\xfe", b"\x00", b")]}',\n"]) + raw
        case None if random.randrange(LARGE) == 0:
            return raw + b" " * (HOOK_BYTES - len(raw)) if random.random() < 0.3 else _grown(raw)
        case _:
            return raw


def _grown(raw: bytes) -> bytes:
    """A sound request of exactly as many bytes as there may be."""
    head = raw.rstrip()[:-1] + b',"grown":"'
    return head + b"x" * (HOOK_BYTES - len(head) - 2) + b'"}'


# --- the two ends


def load_hook() -> ModuleType:
    """`hooks/permission.py`, believing that whoever answers is the hub."""
    spec = importlib.util.spec_from_file_location("permission_hook", ROOT / "hooks" / "permission.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    vars(module)["is_hub"] = lambda _: True
    return module


class MemoryDoor:
    """What the hook takes for its sockets: what it sends goes to `hub`, and what that returns is what it reads."""

    AF_UNIX = SOCK_STREAM = 0

    def __init__(self) -> None:
        self.hub: Callable[[bytes], bytes] = lambda _: b""
        self._said = b""

    def socket(self, *_: object) -> MemoryDoor:
        return self

    def connect(self, _: object) -> None: ...
    def settimeout(self, _: object) -> None: ...
    def close(self) -> None: ...

    def sendall(self, data: bytes) -> None:
        self._said = self.hub(data)

    def recv(self, _: int) -> bytes:
        said, self._said = self._said, b""
        return said


class Ends:
    """The hook on one side; on the other the page, which shows what it is sent and signs what it is told."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.shown: pagewire.PermissionView | None = None
        self._pid = world.hook_pid()
        self._hook, self._door = load_hook(), MemoryDoor()
        vars(self._hook)["_socket"] = self._door

    def printed(self, given: bytes, hub: Callable[[bytes], bytes]) -> bytes:
        """What the hook prints that was given these bytes and has this hub."""
        self._door.hub, self.shown = hub, None
        try:
            found: bytes = self._hook.exchange("", given)
        except (self._hook.Lost, self._hook.NotMine, OSError):
            return b""
        return found

    def decide(self, sent: bytes, said: Callable[[pagewire.PermissionView], str]) -> bytes:
        """The hub's answers to what a hook sent, if the page signs `said`: as the desk makes them."""
        head, _, raw = sent.partition(b"\n")
        frame = wire.decode_control(head)
        assert isinstance(frame, wire.AskPermission)
        assert frame.bytes == len(raw)
        waiting = self.world.desk._take(self._pid, raw)
        if isinstance(waiting, str):
            return encode(NoOpinion(id=frame.id, reason=waiting)) + b"\n"
        self.shown = view = at_the_page(waiting.view)
        decision = read_decision(waiting.request.asked, said(view), waiting.head)
        asked = encode(PermissionAsked(id=frame.id, hub_nonce=waiting.view.hub_nonce))
        return asked + b"\n" + encode_verdict(frame.id, waiting.view.digest, decision.output) + b"\n"


def at_the_page(view: pagewire.PermissionView) -> pagewire.PermissionView:
    """The view as a page has it, after the way there."""
    frame = pagewire.decode_screen(pagewire.encode(pagewire.Permission(request=view)))
    assert isinstance(frame, pagewire.Permission)
    return frame.request


# --- the proof


def run(room: Room) -> Outcome:
    """Many requests at one desk."""
    return trio.run(_run, room)


async def _run(room: Room) -> Outcome:
    random, outcome = Random(room.seed), Outcome()
    with pytest.MonkeyPatch.context() as patch:
        async with trio.open_nursery() as nursery:
            ends = Ends(World(room.place, nursery, patch))
            before = Made(b"{}")
            for number in range(PER_SHORT_ROUND if room.short else PER_ROUND):
                made = make(random)
                outcome.counts["inputs"] += 1
                outcome.counts[f"input: {made.flaw or 'sound'}"] += 1
                problems = _look(ends, random, made, before)
                if number % THROUGH_DESK == 0:
                    outcome.counts["inputs through the desk"] += 1
                    problems += await _serve(ends, random, made)
                what = f"{made.flaw or 'a sound one'}: {made.raw[:200]!r}"
                outcome.problems += [f"{problem}, {what}" for problem in problems][: REPORTED - len(outcome.problems)]
                before = made
            nursery.cancel_scope.cancel()
    return outcome


def _choose(random: Random) -> str:
    """What the page decides, as it writes it."""
    deny: JsonObject = {"behavior": "deny", "message": json.loads(f'"{_text(random)}"')}
    decision = ALLOW if random.random() < 0.5 else deny
    return json.dumps(output(decision), ensure_ascii=random.random() < 0.3, separators=(",", ":"))


def _signed(view: pagewire.PermissionView, said: str) -> str:
    return payload_head(view.id, view.digest, view.hub_nonce) + said + "}"


def _look(ends: Ends, random: Random, made: Made, before: Made) -> list[str]:
    said = _choose(random)
    printed = ends.printed(made.raw, lambda sent: ends.decide(sent, lambda view: _signed(view, said)))
    problems = _compare(made, ends.shown, printed, said)
    if random.random() < 0.25:  # the answer to other bytes than the hook has
        other = before.raw if random.random() < 0.5 else _nudged(random, made.raw)

        def about_other(sent: bytes) -> bytes:
            head = b'{"op":"permission","id":"p","bytes":%d}\n' % len(other)
            return ends.decide(head + other, lambda view: _signed(view, said))

        if ends.printed(made.raw, about_other) and other != made.raw:
            problems.append("an answer about other bytes was printed")
    return problems


def _nudged(random: Random, raw: bytes) -> bytes:
    """One byte of a text is another, so that it can be read as well as before."""
    place = random.choice([at for at, byte in enumerate(raw[:4000]) if 97 <= byte <= 122])
    return raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]


def _compare(made: Made, shown: pagewire.PermissionView | None, printed: bytes, said: str) -> list[str]:
    if made.flaw is not None:
        found = ["it was shown"] if shown is not None else []
        return [*found, "something was printed"] if printed else found
    if shown is None:
        return ["it was not shown"]
    problems = []
    if shown.raw.encode() != made.raw:
        problems.append("what was shown is not what was sent")
    if printed != said.encode() + b"\n":
        problems.append(f"what was signed is not what was printed: {printed[:100]!r}")
    return problems


async def _serve(ends: Ends, random: Random, made: Made) -> list[str]:
    """The same through the whole desk: its page, its audit, its answer."""
    world = ends.world
    world.seen.views.clear()
    world.audit.lines.clear()
    hook = await world.ask(made.raw)
    said = _choose(random)
    if world.seen.views:
        view = at_the_page(world.seen.views[0])
        await world.decide(view, _signed(view, said))
        try:  # signed for one, it is good for one
            await world.decide(view, _signed(view, said))
            return ["a second decision was taken"]
        except Refused:
            pass
    printed = ends.printed(made.raw, lambda _: b"".join(line + b"\n" for line in hook.raw))
    return _compare(made, world.seen.views[0] if world.seen.views else None, printed, said)
