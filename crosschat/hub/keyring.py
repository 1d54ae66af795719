"""Paired browsers on disk: `settings.json` lists them, and the audit vouches for them.

Any program of the person's can write into `settings.json`. So what is listed there counts only if the audit has a line
of its pairing: whoever wants to slip a key in has to forge the chain as well. Invariant: the line `paired` is durable
before the key is listed, and a key is taken off the list only after an attempt at its line `revoked`. A crash in
between leaves a key that is vouched for and not listed, or listed and not vouched for; neither counts.

While something is wrong with the audit, nothing is paired, and revoking goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from crosschat.core.pairing import Key, from_text, key_id, label_of, to_text
from crosschat.errors import Code, Refused
from crosschat.hub.signatures import POINT_BYTES
from crosschat.model import from_iso, iso

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from crosschat.core.pairing import Pairings
    from crosschat.hub.audit import Audit
    from crosschat.hub.log import Logger
    from crosschat.hub.settings import Settings
    from crosschat.model import JsonObject

SETTING: Final = "paired_browsers"
SHOWN: Final = 3  # keys that do not count, each in a sentence of its own


class Keyring:
    """See the module. Changes are made one at a time, and each to its end, whoever stops waiting for it."""

    def __init__(self, settings: Settings, audit: Audit, log: Logger) -> None:
        self._settings = settings
        self._audit = audit
        self._log = log

    def listed(self) -> list[Key]:
        """The keys in the settings; what is no key there is left out."""
        kept = self._settings.get(SETTING)
        return [key for one in kept if (key := _read_key(one)) is not None] if isinstance(kept, list) else []

    @property
    def vouched(self) -> Mapping[str, int]:
        """The ids of the keys that were vouched for when the hub started, each with its port."""
        return self._audit.paired or {}

    def refuse_if_mute(self) -> None:
        """Raise Refused while no browser can be paired, because nothing could vouch for it."""
        if (why := self._audit.problem) is not None:
            raise Refused(Code.UNAVAILABLE, f"No browser can be paired. {why}")

    async def add(self, table: Pairings, key: Key, by: str | None) -> None:
        """Pair `key`, accepted by the browser `by`. Raises Refused; it does not count then."""
        self.refuse_if_mute()
        with trio.CancelScope(shield=True):
            try:
                await self._audit.write(_line("paired", key, by))
            except OSError as error:
                raise _unwritten("the audit", error, "The browser is not paired") from None
            try:
                await self._list([*(one for one in table.keys.values() if one.id != key.id), key])
            except OSError as error:
                await self._note(_line("revoked", key, "the hub, which could not list it"))
                raise _unwritten("settings.json", error, "The browser is not paired") from None
        table.keys[key.id] = key
        table.vouched[key.id] = key.port

    async def remove(self, table: Pairings, key: Key, by: str) -> None:
        """End the pairing. Raises Refused: it may count no more then, and still be listed."""
        with trio.CancelScope(shield=True):
            if await self._note(_line("revoked", key, by)):
                table.vouched.pop(key.id, None)
            try:
                await self._list([other for other in table.keys.values() if other != key])
            except OSError as error:
                left = "Nothing changed" if table.is_vouched(key) else "The browser counts no more, and is still listed"
                raise _unwritten("settings.json", error, left) from None
        table.vouched.pop(key.id, None)
        table.keys.pop(key.id, None)

    def problems(self, table: Pairings) -> tuple[str, ...]:
        """What is listed and does not count, for people."""
        if self._audit.paired is None:  # which is a problem of its own, and no key's
            return ()
        found = table.unvouched()
        told = [
            f"{key.label} ({key.fingerprint}) is listed in settings.json as paired, and the audit does not vouch for "
            "it: it counts for nothing. If you do not know it, some program wrote it there. End it with "
            f"`crosschat dashboard --revoke {key.id[:8]}`; if it is yours, pair it again after that."
            for key in found[:SHOWN]
        ]
        if len(found) > SHOWN:
            told.append(f"{len(found) - SHOWN} more are listed that do not count: see `crosschat dashboard --list`.")
        return tuple(told)

    async def _list(self, keys: Iterable[Key]) -> None:
        await trio.to_thread.run_sync(self._settings.put, SETTING, [_document(key) for key in keys])

    async def _note(self, line: JsonObject) -> bool:
        """Whether the line is durable; nothing waits for it to be."""
        try:
            await self._audit.write(line)
        except OSError as error:
            self._log.error("audit not written", about=line["event"], key=line["key"], error=repr(error))
            return False
        return True


def _line(event: str, key: Key, by: str | None) -> JsonObject:
    return {"event": event, "key": key.id, "port": key.port, "label": key.label, "by": by}


def _unwritten(what: str, error: OSError, outcome: str) -> Refused:
    why = error.strerror or error
    return Refused(Code.STORAGE_FULL, f"{outcome}: {what} could not be written ({why}). Mend that, and try again.")


def _document(key: Key) -> dict[str, object]:
    return {
        "id": key.id,
        "public_key": to_text(key.public),
        "label": key.label,
        "paired_at": iso(key.paired_ms),
        "port": key.port,
    }


def _read_key(document: object) -> Key | None:
    match document:
        case {
            "id": str(identifier),
            "public_key": str(text),
            "label": str(label),
            "paired_at": str(at),
            "port": int(port),
        }:
            public = from_text(text)
            try:
                paired_ms = from_iso(at)
            except ValueError:
                return None
            if len(public) != POINT_BYTES or identifier != key_id(public):
                return None
            return Key(id=identifier, public=public, label=label_of(label), paired_ms=paired_ms, port=port)
        case _:
            return None
