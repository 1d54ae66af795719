#!/bin/sh
# permission.sh: runs permission.py when a session asks for permission, with the Python and the socket that
# `crosschat install` recorded. Nothing in the environment says which hub is asked. Says nothing and succeeds when one of
# them is gone, so that Claude Code's own dialog decides.
python=@PYTHON@
hook=${0%/*}/permission.py
[ -x "$python" ] && [ -r "$hook" ] || exit 0
exec "$python" -I -S "$hook" @SOCKET@ 2>/dev/null
