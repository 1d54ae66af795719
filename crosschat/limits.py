"""Named sizes and times of the product, in one place so that every refusal and every document agrees.

Quotas that private hubs (bench, proof) raise are fields of `Quotas`, an argument of the hub; they are never
read from the environment. Everything else is a constant.
"""

from __future__ import annotations

from typing import Final

import attrs

CONTENT_BYTES: Final = 32 * 1024  # UTF-8 bytes of a message, a task result or an error text
METADATA_BYTES: Final = 8 * 1024  # encoded JSON of a message's metadata
METADATA_DEPTH: Final = 16  # lists and objects in each other; a view of it lies deeper in its frame
RECORD_BYTES: Final = 256 * 1024  # one line of the log
FRAME_BYTES: Final = 256 * 1024  # one frame on either socket
HUB_FRAME_BYTES: Final = 1024 * 1024  # one frame from the hub; it aims at `FRAME_BYTES`
SCREEN_FRAME_BYTES: Final = 4 * 1024 * 1024  # one frame from the hub to the page
JSON_DEPTH: Final = 32  # in a frame from a client
HOOK_BYTES: Final = 1024 * 1024  # what a hook of a session was given; a longer one is not put before the person
HUB_JSON_DEPTH: Final = 48  # in a frame from the hub: what a client could send, inside a view
SHORT_TEXT_CHARS: Final = 200  # status detail, badge value, label
NAME_CHARS: Final = 64
PATH_CHARS: Final = 4096
BADGES: Final = 32  # on one message; every view of it carries them
PEERS: Final = 128  # in one list
PEERS_AWAY: Final = 16  # among them, of those that were not there since the hub started and hold no task
PEERS_BYTES: Final = 128 * 1024

BATCH_OPERATIONS: Final = 256  # operations committed by one sync
BATCH_BYTES: Final = 1024 * 1024
SEGMENT_BYTES: Final = 64 * 1024 * 1024
OPERATIONS_QUEUED: Final = 1024  # waiting for the writer; then senders wait

INFLIGHT_BYTES: Final = 256 * 1024  # unsent bytes per connection
WRITE_DEADLINE_S: Final = 10.0  # a connection that takes no bytes for so long is closed; it resumes later
HELLO_DEADLINE_S: Final = 5.0
HEARTBEAT_INTERVAL_S: Final = 20.0
HEARTBEAT_DEADLINE_S: Final = 20.0

PAGE_ITEMS: Final = 20  # default page of history
PAGE_ITEMS_MAX: Final = 200
PAGE_CHARS: Final = 40_000  # encoded characters of one reply
PROJECTS: Final = 200  # registered directories
PROJECTS_AUTOMATIC: Final = 100  # of them, those where a session was seen; the oldest go
QUERY_CHARS: Final = 1000  # of a search
QUERY_WORDS: Final = 32
WAIT_DEFAULT_MS: Final = 30_000
WAIT_MAX_MS: Final = 600_000
COOLDOWN_MAX_MS: Final = 60_000

LOOP_GUARD_MESSAGES: Final = 40  # in a thread without the person or a task's change; then it wakes nobody any more
LEASE_GRACE_S: Final = 600.0  # a claimant may be gone for so long before its task reopens
SILENCE_S: Final = 600.0  # a message that nobody has read for so long is shown to the person
STUCK_S: Final = 1800.0  # a claimed task whose claimant gives no sign for so long is, too
ACTIVITY_KNOWN_S: Final = 1800.0  # after the last sign of life a session that worked does something unknown
IDLE_STOP_S: Final = 300.0
TOOL_DEADLINE_S: Final = 5.0  # a tool answers within this while the hub is away


@attrs.frozen
class Quotas:
    """What one agent, and all of them, may use. Requests that change something take from a token bucket."""

    agents: int = 64
    messages_per_s: float = 20.0
    messages_burst: int = 100
