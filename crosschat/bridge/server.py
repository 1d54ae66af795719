"""The tools as an MCP server. With `stdio`, the only modules that import `mcp`, which takes most of a start's time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError

from crosschat.bridge.bells import told_at_start
from crosschat.bridge.stdio import serve_stdio
from crosschat.bridge.tools import INSTRUCTIONS, TOOLS, answer
from crosschat.bridge.waiting import Call

if TYPE_CHECKING:
    from crosschat.bridge.calls import Session

NAME: Final = "crosschat"

Context = ServerRequestContext[dict[str, object], object]


def mcp_server(session: Session, version: str) -> Server[dict[str, object]]:
    tools = [types.Tool(name=tool.name, description=tool.description, input_schema=dict(tool.schema)) for tool in TOOLS]

    async def list_tools(context: Context, _: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        _introduce(session, context)
        return types.ListToolsResult(tools=tools)

    async def call_tool(context: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        if context.request_id is None:
            raise MCPError(types.INVALID_REQUEST, "tools/call is a request, not a notification")
        _introduce(session, context)
        call = Call(context.request_id, context.session.report_progress)
        reply = await answer(session, params.name, params.arguments or {}, call)
        content = types.TextContent(type="text", text=reply.text)
        return types.CallToolResult(content=[content], is_error=reply.failed)

    server = Server(
        NAME,
        version=version,
        instructions=f"{INSTRUCTIONS}\n{told_at_start(session.bells)}",
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )
    server.middleware.clear()  # no tracing: it would cost every message and export to nobody
    return server


def _introduce(session: Session, context: Context) -> None:
    client = context.session.client_params
    if client is None:
        session.meet()
    else:
        session.meet(client.client_info.name, client.client_info.version)


async def serve_session(session: Session, version: str) -> None:
    """Serve the session's tools on stdin and stdout until the client is gone."""
    server = mcp_server(session, version)
    await serve_stdio(
        lambda from_client, to_client: server.run(from_client, to_client, server.create_initialization_options()),
        on_cancelled=session.withdraw,
    )
