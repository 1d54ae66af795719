#!/bin/sh
# ran.sh: runs ran.py after tools were used, if the hub waits to see what this session's tools do. The hub makes the file
# named after the session's process while a request waits or an approval is outstanding; otherwise this is one test.
watch=@WATCH@
[ -e "$watch/$PPID" ] || [ -e "$watch/${CLAUDE_PID:-none}" ] || exit 0
python=@PYTHON@
hook=${0%/*}/ran.py
[ -x "$python" ] && [ -r "$hook" ] || exit 0
exec "$python" -I -S "$hook" @SOCKET@ 2>/dev/null
