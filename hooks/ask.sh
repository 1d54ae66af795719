#!/bin/sh
# ask.sh GROUP: runs ask.py before a tool of that group is used, if the ask-list has rules for the group. A list without
# any costs a session one test for a file, and a running session follows a list that changes.
rules=@ASK@/$1
[ -e "$rules" ] || exit 0
python=@PYTHON@
hook=${0%/*}/ask.py
[ -x "$python" ] && [ -r "$hook" ] || exit 0
exec "$python" -I -S "$hook" @SOCKET@ "$rules" 2>/dev/null
