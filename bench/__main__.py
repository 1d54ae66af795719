"""`python -m bench`: the same as `crosschat bench`."""

from __future__ import annotations

import sys

from crosschat.cli.main import main

if __name__ == "__main__":
    sys.argv[1:1] = ["bench"]
    main()
