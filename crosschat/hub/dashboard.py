"""The streams of the open pages: one `serve_screen` per connection, acting as the person.

Each has a nursery of its own: the read loop, the delivery of the log, and one task that sends answers and news.
Whatever ends one ends all three and the connection, and nothing else. Who the page is was settled before the stream
was accepted; revoking its key ends it. What the page shows of the hub (people, the hub, the desk) is sent whole when
it differs from what was sent last, at most every `NEWS_S`: a slow page misses steps in between and never the last one.
Nothing is kept for a page that goes: it opens another stream and says how far it got.
"""

from __future__ import annotations

import math
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

import attrs
import trio

from crosschat.codec import BadFrame
from crosschat.core.requests import Request
from crosschat.errors import Code, Refused
from crosschat.hub.asklist import PRESETS
from crosschat.hub.delivery import follow
from crosschat.hub.pages import read_page
from crosschat.hub.peers import REDIAL_MS
from crosschat.hub.router import error_frame
from crosschat.hub.screens import NEWS, POLICY, News, Screens, pairing_frame
from crosschat.limits import HELLO_DEADLINE_S
from crosschat.model import THE_USER
from crosschat.pagewire import (
    AnswerPairing,
    AskRule,
    Decide,
    Desk,
    Events,
    Hub,
    Open,
    Opened,
    PageFrame,
    People,
    Permission,
    ScreenFrame,
    decode_page,
    encode,
)
from crosschat.websocket import Closed
from crosschat.wire import (
    PROTOCOL,
    Bye,
    ChangeProject,
    Cleared,
    Done,
    Launch,
    PeerList,
    Peers,
    Read,
    RevokeKey,
    Search,
    request_id,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from crosschat.core.handle import Effects
    from crosschat.core.pairing import Key

NEWS_S: Final = 0.25
SURVEY_S: Final = 15.0  # a client of Claude Code is asked that often while a page is open
LOOK_AGAIN_S: Final = 10.0  # a message gets old, or a disk full, without a record that would tell
REQUESTS_AT_ONCE: Final = 16  # then the page is read no further until one is answered
FRAMES_WAITING: Final = 1000  # beside what is sent whole; a page that has so many to read is closed and comes back
FAREWELL_S: Final = 1.0
NORMAL: Final = 1000
GOING_AWAY: Final = 1001
TRY_AGAIN: Final = 1013


class Link(Protocol):
    """A page's connection, as `webserver` gives it."""

    async def receive(self) -> str | bytes:
        """The next message. Raises Closed."""

    async def send(self, text: str) -> None:
        """Send a message, whole or not at all. Raises Closed."""

    async def close(self, code: int, reason: str) -> None:
        """Say why, and close. Never raises."""

    def hurry(self) -> None:
        """Have a `send` that hangs end soon: the hub is about to stop."""


async def serve_screen(screens: Screens, key: Key, link: Link) -> None:
    """Serve one page until either side ends it. Cancelled while the hub stops, it says `bye` first."""
    screens.router.enter()
    screen = _Screen(screens, key, link)
    try:
        await screen.serve()
    except* Closed:
        pass
    finally:
        screens.leave(screen)
        screens.router.leave()
        with trio.move_on_after(FAREWELL_S, shield=True):
            await screen.say_goodbye()


class _Screen:
    """One stream, from `open` to its end."""

    def __init__(self, screens: Screens, key: Key, link: Link) -> None:
        self.key = key.id
        self.hurry = link.hurry
        self._label = key.label
        self._link = link
        self._screens = screens
        self._router = screens.router
        self._nursery: trio.Nursery | None = None
        self._waiting: deque[ScreenFrame] = deque()
        self._stirred: set[News] = set(NEWS)
        self._sent: dict[News, ScreenFrame] = {"cleared": Cleared(upto=screens.router.state.cleared_upto)}
        self._wake = trio.Event()
        self._requests = trio.CapacityLimiter(REQUESTS_AT_ONCE)
        self._end: tuple[int, str] | None = None
        self._news_at = -math.inf
        self._is_open = False

    # --- told by the others, without waiting

    def stir(self, *news: News) -> None:
        self._stirred.update(news)
        self._wake.set()

    def post(self, frame: ScreenFrame) -> None:
        """Send it soon, in the order of these calls."""
        if not self._is_open:
            return  # it is told everything once it is
        if len(self._waiting) >= FRAMES_WAITING:
            self.end(TRY_AGAIN, "too much was waiting for this page")
            return
        self._waiting.append(frame)
        self._wake.set()

    def end(self, code: int, reason: str) -> None:
        """End the stream, whatever it is doing."""
        self._end = (code, reason)
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    # --- life

    async def serve(self) -> None:
        try:
            self._screens.enter(self)
            self._screens.pairing.table.key(self.key)  # it may have been revoked since its ticket was redeemed
            opening = await self._opening()
        except Refused as refused:
            self._end = (POLICY, refused.message[:100])
            await self._link.send(encode(error_frame(None, refused)).decode())
            return
        if self._end is not None:  # revoked meanwhile
            return
        self._is_open = True
        after = self._resume(opening)
        state = self._router.state
        self.post(
            Opened(
                id=opening.id,
                protocol=PROTOCOL,
                version=self._screens.version,
                epoch=state.epoch,
                after_seq=after,
                head=state.head,
                key=self.key,
                label=self._label,
                cleared=state.cleared_upto,
            )
        )
        for waiting in self._screens.pairing.table.waiting():
            self.post(pairing_frame(waiting))
        for view in self._screens.desk.requests():
            self.post(Permission(request=view))
        self._screens.desk.page_opened()
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._speak)
                nursery.start_soon(self._look)
                nursery.start_soon(follow, self._router, after, self._deliver)
                await self._read_loop(nursery)
        finally:
            self._screens.desk.page_closed()

    async def _look(self) -> None:
        """Keep what Claude Code says of its sessions fresh while the page is open."""
        while True:
            await self._screens.survey.look()
            await trio.sleep(SURVEY_S)

    async def _opening(self) -> Open:
        try:
            with trio.fail_after(HELLO_DEADLINE_S):
                frame = decode_page(await self._link.receive())
        except trio.TooSlowError:
            raise Refused(Code.NOT_JOINED, f"No `open` within {HELLO_DEADLINE_S:g} s.") from None
        if not isinstance(frame, Open):
            raise Refused(Code.NOT_JOINED, "The first frame is `open`.", path="type")
        if frame.protocol != PROTOCOL:
            raise Refused(
                Code.UNSUPPORTED_PROTOCOL,
                f"The page speaks protocol {frame.protocol}, the hub {PROTOCOL}: reload the page.",
                path="protocol",
            )
        return frame

    def _resume(self, opening: Open) -> int:
        """Behind which seq deliveries begin."""
        state = self._router.state
        if opening.epoch == state.epoch and opening.after_seq is not None and 0 <= opening.after_seq <= state.head:
            return opening.after_seq
        return state.head

    async def say_goodbye(self) -> None:
        """The last frame and the close. Raises nothing; the caller bounds it."""
        code, reason = self._end or (NORMAL, "")
        if self._screens.stopping is not None:
            code, reason = GOING_AWAY, self._screens.stopping
            with suppress(Closed):
                await self._link.send(encode(Bye(reason=reason, retry_after_ms=REDIAL_MS)).decode())
        await self._link.close(code, reason)

    # --- to the page

    async def _deliver(self, batch: bytes, _: int) -> None:
        await self._link.send(batch.decode())

    async def _speak(self) -> None:
        """Send answers and news, until cancelled or closed."""
        while True:
            self._wake = trio.Event()
            while self._waiting:
                await self._link.send(encode(self._waiting.popleft()).decode())
            now = trio.current_time()
            if now >= self._news_at + (0 if self._stirred else LOOK_AGAIN_S):
                self._news_at = now + NEWS_S
                self._screens.pairing.announce_expired()
                stirred: set[News] = {*self._stirred, "needs", "hub"}
                self._stirred = {"needs"} if self._screens.needs_are_kept else set()  # look again soon
                for news in NEWS:
                    if news in stirred:
                        await self._send_news(news)
                continue
            with trio.move_on_at(self._news_at + (0 if self._stirred else LOOK_AGAIN_S)):
                await self._wake.wait()

    async def _send_news(self, news: News) -> None:
        frame = self._newest(news)
        if _lasting(frame) != self._sent.get(news):
            self._sent[news] = _lasting(frame)
            await self._link.send(encode(frame).decode())

    def _newest(self, news: News) -> ScreenFrame:
        match news:
            case "hub":
                return self._screens.hub()
            case "people":
                return self._screens.people()
            case "needs":
                return self._screens.needs()
            case "desk":
                return Desk(
                    rules=self._screens.asking.rules,
                    presets=PRESETS,
                    keys=self._screens.pairing.views(self.key),
                )
            case "cleared":
                return Cleared(upto=self._router.state.cleared_upto)

    # --- from the page

    async def _read_loop(self, nursery: trio.Nursery) -> None:
        while True:
            data = await self._link.receive()
            await self._requests.acquire_on_behalf_of(request := object())

            def done(request: object = request) -> None:
                self._requests.release_on_behalf_of(request)

            try:
                frame = decode_page(data)
            except BadFrame as error:
                self.post(error_frame(request_id(data), error))
                done()
                continue
            await self._take(nursery, frame, done)

    async def _take(self, nursery: trio.Nursery, frame: PageFrame, done: Callable[[], None]) -> None:
        """Begin a request. What changes the log is queued in the order it came; the rest answers when it can."""
        answer = self._answers(frame)
        if answer is not None:
            nursery.start_soon(self._answer, frame.id, answer, done)
            return
        if not isinstance(frame, Request):
            self.post(error_frame(frame.id, Refused(Code.INVALID, f"This hub does not serve {frame.type!r}.")))
            done()
            return
        change: Request = frame

        def settle(outcome: Effects | Refused) -> None:
            self.post(self._router.answer(change, outcome))
            done()

        await self._router.submit(THE_USER, change, settle)

    async def _answer(self, request: str, answer: Awaitable[ScreenFrame], done: Callable[[], None]) -> None:
        try:
            self.post(await answer)
        except Refused as refused:
            self.post(error_frame(request, refused))
        finally:
            done()

    def _answers(self, frame: PageFrame) -> Awaitable[ScreenFrame] | None:
        """How a request is answered that is none of the log's: the table of verbs. None for the others."""
        match frame:
            case Open():
                return _refusing(BadFrame("`open` was said already", path="type"))
            case Read():
                return read_page(self._router, THE_USER, frame)
            case Search():
                return self._router.find(THE_USER, frame)
            case ChangeProject():
                return self._screens.instances.change(frame)
            case Launch():
                return self._screens.instances.launch(frame)
            case Peers():
                return self._peers(frame)
            case Events():
                return self._events(frame)
            case Decide():
                return self._decide(frame)
            case AskRule():
                return self._change_rule(frame)
            case AnswerPairing():
                return self._answer_pairing(frame)
            case RevokeKey():
                return self._revoke(frame)
            case _:
                return None

    async def _peers(self, frame: Peers) -> PeerList:
        return PeerList(id=frame.id, peers=self._screens.people().agents)

    async def _events(self, frame: Events) -> ScreenFrame:
        return self._screens.events.page(frame)

    async def _decide(self, frame: Decide) -> Done:
        key = self._screens.pairing.verify(self.key, frame.payload.encode(), frame.signature)
        await self._screens.desk.decide(
            key=key.id, label=key.label, request=frame.request, payload=frame.payload, signature=frame.signature
        )
        return Done(id=frame.id)

    async def _change_rule(self, frame: AskRule) -> Done:
        asking = self._screens.asking
        await (asking.add if frame.change == "add" else asking.remove)(frame.rule)
        return Done(id=frame.id)

    async def _answer_pairing(self, frame: AnswerPairing) -> Done:
        await self._screens.pairing.answer(frame.pairing, frame.accept, self.key)
        return Done(id=frame.id)

    async def _revoke(self, frame: RevokeKey) -> Done:
        await self._screens.pairing.revoke(frame.key, self.key)
        return Done(id=frame.id)


async def _refusing(refused: Refused) -> ScreenFrame:
    raise refused


def _lasting(frame: ScreenFrame) -> ScreenFrame:
    """The frame without what changes all the time, to see whether it is worth sending."""
    match frame:
        case Hub():
            return attrs.evolve(frame, head=0)
        case People():
            return attrs.evolve(frame, agents=tuple(attrs.evolve(agent, silent_s=None) for agent in frame.agents))
        case _:
            return frame
