#!/bin/sh
# session.sh EVENT [now]: runs session.py for an event of a Claude Code session, with the Python and the socket that
# `crosschat install` recorded. Says nothing and succeeds when one of them is gone: a session never suffers from a
# plugin that was left over. hooks.json names this file as a program of its own, without a shell before it: a shell that
# does not find the file ends with status 2, and that would block the session.
python=@PYTHON@
session=${0%/*}/session.py
[ -x "$python" ] && [ -r "$session" ] || exit 0
exec "$python" -I -S "$session" @SOCKET@ "$@"
