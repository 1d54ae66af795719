"""CrossChat: a local hub through which Claude Code sessions talk and finish tasks together."""
