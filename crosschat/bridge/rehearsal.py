"""One session of the MCP server in memory, before there is a client: so that what is built on first use is built.

The template plays it before it forks anything. It touches no file and no hub. The two ends are a socket pair:
`trio.testing` has streams in memory, but where pytest is installed it imports that, which every server would carry.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import trio

from crosschat.bridge.main import open_session
from crosschat.bridge.server import mcp_server
from crosschat.bridge.stdio import serve_streams
from crosschat.paths import Configuration, Home

REHEARSAL_S: Final = 10.0
CLIENT: Final = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "none", "version": "0"}}
MESSAGES: Final = (
    {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": CLIENT},
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
    {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
    {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": "send_message", "arguments": {}}},
)
ANSWERS: Final = 3


async def rehearse() -> None:
    """Returns when the last answer is there. Raises TooSlowError after `REHEARSAL_S`."""
    session = open_session(Configuration(home=Home(Path("/nowhere"))), Path("/"))
    server = mcp_server(session, "0")
    client, ours = map(trio.SocketStream, trio.socket.socketpair())
    with trio.fail_after(REHEARSAL_S):
        async with client, ours, trio.open_nursery() as nursery:
            nursery.start_soon(_play, client)
            await serve_streams(
                ours,
                ours,
                lambda from_client, to_client: server.run(
                    from_client, to_client, server.create_initialization_options()
                ),
                on_cancelled=session.withdraw,
            )


async def _play(client: trio.SocketStream) -> None:
    for message in MESSAGES:
        await client.send_all(json.dumps(message).encode() + b"\n")
    heard = b""
    while heard.count(b"\n") < ANSWERS:
        heard += await client.receive_some()
    await client.send_eof()
