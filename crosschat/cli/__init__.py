"""The `crosschat` command: a client of the hub's control door, and the demo."""
