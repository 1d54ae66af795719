"""The log on disk and what is derived from it: the only code that writes what must last."""
