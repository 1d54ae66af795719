"""Approval faults: a person decides while something fails, is withdrawn, or ends, at each step there is.

The desk and its audit are the real ones, on a disk in memory that knows what a power cut would leave. A scene is a few
requests and what is signed for them, some of it twice at once, or signed for an earlier one. It is played again and
again: each call on the disk fails in every way, once and from then on; at each step of any task the hub is stopped, or
its power is cut, or the hook or the session that asks goes. Whatever happens,

- at the moment at which a hook is told that something is allowed, the line that says so is durable: whose key, over
  which payload and digest; and it is in every disk that a power cut may leave then;
- a hook is told once, and nothing but what was signed for its own request;
- a decision that was accepted has reached its hook;
- a deny arrives whatever the disk does; no failed sync is tried again; in the end nothing waits.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import attrs
import pytest
import trio
import trio.testing

from crosschat.errors import Refused
from crosschat.hub.audit import Audit
from crosschat.journal.audit import file_of, read_audit, read_chain
from crosschat.model import JsonObject
from tests.hub.desk import ALLOW, CLAUDE, MemoryAudit, MemoryHook, World, output, payload, request
from tests.hub.rig import NOW_MS
from tests.journal.faulty import KINDS, Fault, FaultyFiles
from tests.prove.crash import Cut
from tests.prove.memory import Directory, File, Frozen, MemoryDisk
from tests.prove.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from crosschat.pagewire import PermissionView
    from tests.journal.faulty import Kind
    from tests.prove.outcome import Room

HOME: Final = Path("/data")
DENY: Final[JsonObject] = {"behavior": "deny", "message": "no"}
STEPS: Final = 400  # of a scene, at most
BEFORE_A_HOOK: Final = 8  # steps in which there is none that could go
PLAYED_S: Final = 20.0
CRASHES: Final = 4  # disks of one power cut
REPORTED: Final = 10

Way: TypeAlias = Literal["once", "twice at once", "both ways at once", "as the one before"]
Stroke = Literal["stop", "power", "hook gone", "hook deaf", "session gone", "turn ended"]
STROKES: Final[tuple[Stroke, ...]] = Stroke.__args__  # type: ignore[attr-defined]  # of a Literal


@attrs.frozen
class Step:
    """One request, and how it is decided."""

    decision: JsonObject
    way: Way = "once"


@attrs.frozen
class Trouble:
    """What goes wrong: a call on the disk, or a stroke at the `at`th step of any task."""

    disk: Fault | None = None
    stroke: Stroke | None = None
    at: int = 0

    def __str__(self) -> str:
        if self.disk is not None:
            return f"{self.disk.kind} at call {self.disk.at}, {'from then on' if self.disk.forever else 'once'}"
        return f"{self.stroke or 'nothing'} at step {self.at}"


class Disk(FaultyFiles):
    """A memory disk that fails on demand. A sync that succeeds is one."""

    def __init__(self, fault: Fault | None) -> None:
        self.memory = MemoryDisk()
        self.memory.mkdir(HOME)
        self.memory.sync_all()
        super().__init__(fault, self.memory)

    def _sync(self, name: str, fd: int) -> None:
        super()._sync(name, fd)
        self.memory.fsync(fd)

    def durable(self) -> bytes:
        """What every power cut leaves of the audit."""
        node: File | Directory | None = self.memory.root
        for part in file_of(HOME).parts[1:]:
            node = node.synced.get(part) if isinstance(node, Directory) else None
        return node.synced if isinstance(node, File) else b""


class DiskAudit(MemoryAudit):
    """The audit of the hub, on such a disk."""

    def __init__(self, disk: Disk) -> None:
        super().__init__()
        self.disk = disk
        self._real = Audit(HOME, disk, lambda: NOW_MS)

    async def write(self, fields: JsonObject) -> None:
        await self._real.write(fields)


class WatchedHook(MemoryHook):
    """Looks at the disk at the moment at which it is told something."""

    def __init__(self, told: Callable[[WatchedHook], None]) -> None:
        super().__init__()
        self._told = told

    async def say(self, line: bytes) -> None:
        await super().say(line)
        self._told(self)


@attrs.define
class Signed:
    """A payload that the page signed."""

    payload: str
    signature: str
    accepted: bool = False


class Play:
    """A scene that is played once, with some trouble."""

    def __init__(self, place: Path, random: Random, scene: tuple[Step, ...], trouble: Trouble) -> None:
        self._place, self._random, self._scene, self._trouble = place, random, scene, trouble
        self.problems: list[str] = []
        self.allowed = 0
        self.struck = False
        self.disk = Disk(trouble.disk)
        self._hooks: list[WatchedHook] = []
        self._signed: dict[str, list[Signed]] = {}  # by request
        self._views: dict[int, PermissionView] = {}  # by hook
        self._frozen: Frozen | None = None
        self._durable_then = b""
        self._world: World | None = None
        self._over = False
        self._scope = trio.CancelScope()

    async def run(self) -> None:
        instrument = _At(self._trouble.at, self._strike) if self._trouble.stroke is not None else None
        if instrument is not None:
            trio.lowlevel.add_instrument(instrument)
        try:
            with pytest.MonkeyPatch.context() as patch, self._scope, trio.fail_after(PLAYED_S):
                async with trio.open_nursery() as nursery:
                    self._world = world = World(self._place, nursery, patch, DiskAudit(self.disk))
                    await self._act(world)
                    self._over = True
                    nursery.cancel_scope.cancel()
        except* trio.TooSlowError:
            self.problems.append("it hangs")
        finally:
            if instrument is not None:
                trio.lowlevel.remove_instrument(instrument)
        self._settle()

    # --- the scene

    async def _act(self, world: World) -> None:
        for number, step in enumerate(self._scene):
            hook = WatchedHook(self._told)
            self._hooks.append(hook)
            raw = request(tool_input={"command": f"make {number % 2}"})
            world.nursery.start_soon(world._serve, hook, world.hook_pid(), raw)
            await trio.testing.wait_all_tasks_blocked()
            if len(world.seen.views) <= number:
                return  # it was refused, or is over
            view = self._views[id(hook)] = world.seen.views[number]
            await self._decide(world, view, step, number)
            if not hook.done.is_set() and not any(one.accepted for one in self._signed[view.id]):
                hook.closed.set()  # the person answers in the terminal
            await hook.done.wait()

    async def _decide(self, world: World, view: PermissionView, step: Step, number: int) -> None:
        about, decisions = view, [step.decision]
        if step.way == "twice at once":
            decisions *= 2
        elif step.way == "both ways at once":
            decisions = [ALLOW, DENY]
        elif step.way == "as the one before" and number:
            about = world.seen.views[number - 1]
        self._signed[view.id] = mine = []
        if step.way == "as the one before" and number:
            await self._send(world, view, Signed(payload(about, output(ALLOW)), "sig-before"))
        async with trio.open_nursery() as nursery:
            for count, decision in enumerate(decisions):
                signed = Signed(payload(view, output(decision)), f"sig-{number}-{count}")
                mine.append(signed)
                nursery.start_soon(self._send, world, view, signed)

    async def _send(self, world: World, view: PermissionView, signed: Signed) -> None:
        try:
            await world.desk.decide(
                key="k1", label="my browser", request=view.id, payload=signed.payload, signature=signed.signature
            )
            signed.accepted = True
        except Refused:
            pass

    # --- the trouble

    def _strike(self) -> None:
        if self._over:
            return
        self.struck = True
        world = self._world
        hook = self._hooks[-1] if self._hooks else None
        match self._trouble.stroke:
            case "stop":
                self._scope.cancel()
            case "power":
                self._frozen, self._durable_then = self.disk.memory.freeze(), self.disk.durable()
                self._scope.cancel()
            case "hook gone" if hook is not None:
                hook.closed.set()
            case "hook deaf" if hook is not None:
                hook.deaf = True
                hook.closed.set()
            case "session gone" if world is not None:
                world.gone.setdefault(CLAUDE, trio.Event()).set()
            case "turn ended" if world is not None:
                world.nursery.start_soon(self._end_turn, world)
            case _:
                self.struck = False

    async def _end_turn(self, world: World) -> None:
        await world.desk.turn_ended(world.hook_pid(), session_too=True)

    # --- what is checked

    def _told(self, hook: WatchedHook) -> None:
        """A hook was told something, now."""
        if hook.said[-1]["type"] != "verdict":
            return
        view = self._views[id(hook)]
        if [one["type"] for one in hook.said].count("verdict") > 1:
            self.problems.append("a hook was told twice")
        said = hook.said[-1]["output"]
        mine = [one for one in self._signed[view.id] if payload(view, said) == one.payload]  # type: ignore[arg-type]
        if not mine:
            self.problems.append("a hook was told what nobody signed for its request")
        elif said == output(ALLOW):
            self.allowed += 1
            self._look(read_chain(self.disk.durable()).lines, view, mine, "not durable")

    def _look(self, lines: tuple[JsonObject, ...], view: PermissionView, mine: list[Signed], what: str) -> None:
        keys = ("event", "behavior", "request", "digest", "key", "payload_sha256", "signature")
        wanted = [
            ("decided", "allow", view.id, view.digest, "k1", hashlib.sha256(one.payload.encode()).hexdigest(),
             one.signature)
            for one in mine
        ]  # fmt: skip
        if not any(tuple(line.get(key) for key in keys) in wanted for line in lines):
            self.problems.append(f"the line of an allow is {what}")

    def _settle(self) -> None:
        """It is over."""
        world, ended = self._world, self._scope.cancelled_caught
        if world is not None and world.desk.requests():
            self.problems.append("a request still waits")
        if self.disk.sync_after_failure:
            self.problems.append("a failed sync was tried again")
        for hook, step in zip(self._hooks, self._scene, strict=False):
            view = self._views.get(id(hook))
            signed = self._signed.get(view.id, []) if view is not None else []
            accepted = sum(one.accepted for one in signed)
            if accepted > 1:
                self.problems.append("two decisions were accepted for one request")
            if accepted and hook.printed is None:
                self.problems.append("a decision was accepted that never reached its hook")
            if step.decision is DENY and not ended and self._trouble.stroke is None and hook.printed is None:
                self.problems.append("a deny did not arrive")
        if self._frozen is not None:
            self._crash(self._frozen)

    def _crash(self, frozen: Frozen) -> None:
        """Start again on what the power cut left: the chain is whole, and what was durable is in it."""
        before = read_chain(self._durable_then).lines
        for number in range(CRASHES):
            disk = MemoryDisk(Cut(self._random, ordered=number % 2 == 0).names(frozen, {}))
            audit = Audit(HOME, disk, lambda: NOW_MS)
            after = read_audit(HOME, disk).lines
            if after[: len(before)] != before:
                self.problems.append("a power cut took a line that was durable")
            if number % 2 == 0 and audit.problem is not None:
                self.problems.append(f"after a power cut: {audit.problem}")
            audit.close()


class _At(trio.abc.Instrument):
    """Calls once, before the `step`th step that any task takes."""

    def __init__(self, step: int, then: Callable[[], None]) -> None:
        self._left = step
        self._then = then

    def before_task_step(self, _: trio.lowlevel.Task) -> None:
        self._left -= 1
        if self._left == 0:
            self._then()


def scene_of(random: Random) -> tuple[Step, ...]:
    """A deny, allows, two decisions at one moment, and one that was signed for the request before."""
    both: Way = random.choice(["twice at once", "both ways at once"])
    steps = [Step(DENY), Step(ALLOW, both), Step(random.choice([ALLOW, DENY]))]
    random.shuffle(steps)
    return (*steps, Step(ALLOW, "as the one before"))


def troubles() -> Iterator[Iterator[Trouble]]:
    """Rows of trouble, each to be gone through until it does not strike any more."""
    yield iter([Trouble()])
    for kind in KINDS:
        for forever in (False, True):
            yield _calls(kind, forever)
    for stroke in STROKES:
        yield (Trouble(stroke=stroke, at=step) for step in range(1, STEPS))


def _calls(kind: Kind, forever: bool) -> Iterator[Trouble]:
    return (Trouble(disk=Fault(at, kind, forever)) for at in range(STEPS))


def run(room: Room) -> Outcome:
    """One scene with all its troubles."""
    return trio.run(_run, room)


async def _run(room: Room) -> Outcome:
    random, outcome = Random(room.seed), Outcome()
    scene = scene_of(random)
    for row in troubles():
        missed = 0
        for trouble in row:
            play = Play(room.place, random, scene, trouble)
            await play.run()
            hit = play.struck or (trouble.disk is not None and len(play.disk.calls) > trouble.disk.at)
            outcome.counts["approval faults"] += hit
            outcome.counts[f"approval fault: {trouble.stroke or 'disk'}"] += hit
            outcome.counts["allows under fault"] += play.allowed
            if trouble == Trouble() and play.allowed == 0:
                play.problems.append("nothing was allowed")
            outcome.problems += [f"{problem}; {trouble}, {_told(scene)}" for problem in play.problems]
            if len(outcome.problems) >= REPORTED or (play.problems and trouble == Trouble()):
                return outcome  # it is clear enough
            missed = 0 if hit else missed + 1
            if missed > (BEFORE_A_HOOK if trouble.stroke is not None else 0):
                break
    return outcome


def _told(scene: tuple[Step, ...]) -> str:
    return ", ".join(f"{step.decision['behavior']} {step.way}" for step in scene)
