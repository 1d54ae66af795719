"""Measurements of a private hub: what `python -m bench` runs. Nothing here asserts a time."""
