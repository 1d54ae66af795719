"""The ways to wake a session: its inbox, a hook of it that waits, or nothing but a wait_for_messages of its own.

`CROSSCHAT_WAKE` says which of them may be used, and what happens decides which one is: the inbox, if the session has
one that takes rings; else a hook that waits in the background, which the hub holds for us; else the model has to wait
by itself, and is told so. An inbox that took no ring is tried again with the next one, after the hook.

A hook may wait only in a client that is known to run it in the background: another one would stand still with it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from crosschat import wire
from crosschat.bridge.doorbell import Ring, Unheard
from crosschat.errors import Refused

if TYPE_CHECKING:
    from crosschat.bridge.client import Link
    from crosschat.bridge.wake import SendRing
    from crosschat.model import WakeMode, Way

CLIENT: Final = "claude-code"
BACKGROUND_SINCE: Final = (2, 1, 330)  # the client's version that was seen to run such hooks in the background

# For the model, with its own name.
TOLD: Final[dict[Way, str]] = {
    "inbox": "When something is unread, you are told so by itself; do not poll, and wait only for what you need now.",
    "hooks": "When something is unread, you are told so by itself; do not poll, and wait only for what you need now.",
    "wait": "Nothing tells you of messages by itself. While you expect some, call wait_for_messages with timeoutMs "
    "600000; it goes on in the background, and what comes wakes you.",
    "none": "Messages are not announced here; read them with get_messages when your user wants you to.",
}


def told_at_start(bells: Bells) -> str:
    """How the model learns of messages, as far as that is settled when its session starts: a hook comes later."""
    settled = bells.way in ("inbox", "hooks") or bells.mode in ("inbox", "wait", "off")
    return TOLD[bells.way] if settled else "list_peers says in `told` how you learn of messages."


class Bells:
    """Of one session. `inbox` and `hook` are None where there is none, or where `mode` forbids it."""

    def __init__(self, mode: WakeMode, *, inbox: SendRing | None, hook: SendRing | None) -> None:
        self.mode = mode
        self.met = False  # the client has said what it is
        self._in_background = False  # it runs hooks in the background
        self._inbox = inbox if mode in ("auto", "inbox") else None
        self._hook = hook if mode in ("auto", "hooks") else None
        self._deaf = False  # the inbox did not take the last ring
        self._hook_waits = self._hook_waited = False

    @property
    def any(self) -> bool:
        return self._inbox is not None or self._hook is not None

    @property
    def ready(self) -> bool:
        """Whether there is something to ring now."""
        return self._inbox is not None or self._hook_waits

    @property
    def hooks(self) -> bool:
        """Whether a hook may wait: it is for sessions whose inbox does not do."""
        return self._hook is not None and self._in_background and (self._inbox is None or self._deaf)

    @property
    def way(self) -> Way:
        """What wakes the session now."""
        if self._inbox is not None and not self._deaf:
            return "inbox"
        if self._hook_waited:
            return "hooks"
        return "wait" if self.mode in ("auto", "wait") else "none"

    def meet(self, client: str, version: str) -> None:
        """The client has said what it is, or that it does not say."""
        numbers = tuple(map(int, re.findall(r"\d{1,9}", version)[:3]))
        self._in_background = client == CLIENT and numbers >= BACKGROUND_SINCE
        self.met = True

    def hear(self, *, hook_waits: bool) -> bool:
        """The hub says whether a hook waits. True if one begins to."""
        before, self._hook_waits = self._hook_waits, hook_waits and self._hook is not None
        self._hook_waited = self._hook_waited or self._hook_waits
        return self._hook_waits and not before

    async def ring(self, ring: Ring) -> None:
        """Ring the first that takes it. Raises Unheard with the first one's reason."""
        ways = [self._inbox, self._hook if self._hook_waits else None]
        if self._deaf:
            ways.reverse()
        failure: Unheard | None = None
        for send in ways:
            if send is None:
                continue
            try:
                await send(ring)
            except Unheard as unheard:
                failure = failure or unheard
                self._deaf = self._deaf or send is self._inbox
            else:
                self._deaf = self._deaf and send is not self._inbox
                return
        raise failure or Unheard("nothing takes rings now")


def hook_bell(link: Link) -> SendRing:
    """Rings the hook of the session that waits at the hub."""

    async def send(ring: Ring) -> None:
        try:
            await link.request(wire.Ring(id=link.new_id(), text=ring.text))
        except Refused as refused:
            raise Unheard(f"no hook took the ring ({refused.code})") from None

    return send
