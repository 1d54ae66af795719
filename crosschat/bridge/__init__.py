"""One MCP server process per session: ten tools on one side, the link to the hub on the other."""
