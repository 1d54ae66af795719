"""What each route, verb and call of the hub lets its sender do: the classification that the matrix goes through."""

from __future__ import annotations

from typing import Final

# What a verb lets its sender do.
READS, SPEAKS = "reads", "speaks for itself"  # an agent as itself, the terminal as the terminal
ASKS = "asks for a decision, or tells what its own session did"
PERSON = "for a person at a terminal only"
LAUNCHES = "starts a session in a registered directory, which has prompts of its own"
STOPS = "ends the hub, and with it what waits"
PUBLIC = "anybody at the right address"
CODE, KEY, SIGNATURE, TICKET = "a code", "a paired key's id", "a signature by a paired key", "a ticket"
ACTS = "acts as the person"
APPROVES = "approves"

AGENT_VERBS: Final = {
    "hello": SPEAKS, "send": SPEAKS, "read": READS, "search": READS, "peers": READS, "status": SPEAKS,
    "flag": SPEAKS, "claim": SPEAKS, "resolve": SPEAKS, "badge": SPEAKS, "clear": SPEAKS, "mark": SPEAKS,
    "waking": SPEAKS, "ring": ASKS,
}  # fmt: skip
CONTROL_VERBS: Final = {
    "send": SPEAKS, "read": READS, "search": READS, "peers": READS, "clear": SPEAKS, "release": SPEAKS,
    "tail": READS, "pause": SPEAKS, "session": ASKS, "permission": ASKS, "ran": ASKS, "succeed": STOPS,
    "new_code": PERSON, "keys": READS, "revoke": PERSON, "ask": PERSON, "sessions": READS, "inspect": READS,
    "cost": READS, "projects": READS, "project": SPEAKS, "launch": LAUNCHES, "configure": PERSON, "probe": SPEAKS,
    "metrics": READS,
    "stop": STOPS,
}  # fmt: skip
PAGE_VERBS: Final = {
    "open": READS, "send": ACTS, "read": READS, "peers": READS, "flag": ACTS, "badge": ACTS, "release": ACTS,
    "pause": ACTS, "clear": ACTS, "reassign": ACTS, "restore": ACTS, "decide": APPROVES, "ask": ACTS, "pair": ACTS,
    "revoke": ACTS, "search": READS, "events": READS, "project": ACTS, "launch": LAUNCHES,
}  # fmt: skip
CALLS: Final = {"pair": CODE, "pairing": PUBLIC, "challenge": KEY, "ticket": SIGNATURE}
ROUTES: Final = {
    "GET /healthz": PUBLIC, "GET /": PUBLIC, "GET /<path:path>": PUBLIC, "POST /api/<name>": "as its call says",
    "STREAM /stream": TICKET,
}  # fmt: skip
