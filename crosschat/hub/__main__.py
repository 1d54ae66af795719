"""`python -m crosschat.hub`: how a bridge or the command line starts the hub."""

import sys

from crosschat.hub.main import main

sys.exit(main())
