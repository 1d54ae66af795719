"""A request to the hub between its call and its answer, and what is honest to say when there is none.

A request that changes something carries a `cid`. If its call ends without an answer, the `cid` is kept for a while,
and the next call of the same tool with the same arguments uses it again: what was stored after all is then not stored
twice. A restart of the bridge forgets them.
"""

from __future__ import annotations

import uuid
from collections import OrderedDict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs
import trio

from crosschat import wire
from crosschat.bridge.views import to_text
from crosschat.errors import Code, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crosschat.model import JsonObject

UNCONFIRMED_S: Final = 600.0  # for so long a repeated call is recognised
UNCONFIRMED_KEPT: Final = 64
UNSURE: Final = frozenset({Code.UNAVAILABLE, Code.INTERNAL, Code.UNSUPPORTED_PROTOCOL})

Request: TypeAlias = (
    wire.Send
    | wire.Read
    | wire.Search
    | wire.Peers
    | wire.SetStatus
    | wire.FlagTask
    | wire.ClaimTask
    | wire.ResolveTask
    | wire.AddBadge
    | wire.ClearChannel
    | wire.Ring
)
Result: TypeAlias = wire.Sent | wire.Page | wire.PeerList | wire.Done


@attrs.define(eq=False)
class Pending:
    """A request whose caller waits for `done`. `written`: it went out on some connection, so it may count."""

    frame: Request
    data: bytes
    done: trio.Event = attrs.field(factory=trio.Event)
    outcome: wire.HubFrame | Refused | None = None
    written: bool = False

    def settle(self, outcome: wire.HubFrame | Refused) -> None:
        """The first outcome counts."""
        if not self.done.is_set():
            self.outcome = outcome
            self.done.set()

    def ask_again_after_s(self) -> float | None:
        """Forget an outcome that only says that the hub cannot answer now; when to ask again, or None."""
        outcome = self.outcome
        if not isinstance(outcome, wire.Error) or outcome.code != Code.UNAVAILABLE:
            return None
        self.done, self.outcome = trio.Event(), None
        return (outcome.retry_after_ms or 100) / 1000

    def lost(self, problem: str, *, lasting: bool = False) -> str:
        """What to tell the model when nobody answers, for which `problem` is the reason."""
        if self.written and hasattr(self.frame, "cid"):
            return (
                f"{problem}. The call was not confirmed: it may or may not have been stored. Repeat it with "
                f"identical arguments within {UNCONFIRMED_S / 60:g} minutes, and it is stored once, never twice."
            )
        return f"{problem}. The call was not sent." if lasting else f"{problem}. Call again in a few seconds."


def encode(frame: Request) -> bytes:
    """Checked as the hub will check it: a frame it cannot read would cost the connection, not just the call.

    Raises Refused.
    """
    try:
        data = wire.encode(frame)
        wire.decode_agent(data)
    except UnicodeEncodeError:
        raise Refused(Code.INVALID, "The text holds half of a surrogate pair: send whole characters") from None
    except RecursionError:
        raise Refused(Code.TOO_LARGE, "The metadata is nested too deeply") from None
    return data


def refusal(error: wire.Error) -> Refused:
    try:
        code = Code(error.code)
    except ValueError:  # a newer hub knows more of them
        code = Code.INTERNAL
    return Refused(code, error.message, path=error.path, retry_after_ms=error.retry_after_ms)


class Unconfirmed:
    """The `cid`s of calls that ended without an answer, by tool and arguments; the oldest go first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[str, float]] = OrderedDict()

    @contextmanager
    def cid(self, tool: str, arguments: JsonObject) -> Iterator[str]:
        """The `cid` for this call. It is kept if the block ends unsure of what happened, or cancelled."""
        key = to_text([tool, sorted(arguments.items())])
        cid, kept_at = self._kept.pop(key, ("", -UNCONFIRMED_S))
        if not cid or trio.current_time() - kept_at > UNCONFIRMED_S:
            cid = uuid.uuid4().hex
        sure = False
        try:
            yield cid
            sure = True
        except Refused as refused:
            sure = refused.code not in UNSURE
            raise
        finally:
            if not sure:
                self._kept[key] = cid, trio.current_time()
                while len(self._kept) > UNCONFIRMED_KEPT:
                    self._kept.popitem(last=False)
