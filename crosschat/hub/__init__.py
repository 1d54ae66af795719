"""The one process per data directory: sockets, tasks and signals around the journal and the rules."""
