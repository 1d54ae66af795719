"""A program of the user's, run for what it prints: bounded in its output, ended by a cancel, never a reason to fail."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

OUTPUT_BYTES: Final = 1024 * 1024
REAP_S: Final = 0.2  # for a killed program


async def output_of(command: Sequence[str], *, cwd: Path | str, environment: Mapping[str, str]) -> str | None:
    """What it prints on its standard output; None if it cannot be run, fails, or prints more than `OUTPUT_BYTES`.

    It gets no input. Cancelled, it is killed: who calls sets the deadline.
    """
    try:
        process = await trio.lowlevel.open_process(
            list(command),
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except (OSError, ValueError):
        return None
    said, out = bytearray(), process.stdout
    assert out is not None
    try:
        async with out:
            while len(said) <= OUTPUT_BYTES and (part := await out.receive_some()):
                said += part
        if len(said) > OUTPUT_BYTES or await process.wait() != 0:
            return None
    except trio.BrokenResourceError:
        return None
    finally:
        if process.returncode is None:
            process.kill()
            with trio.move_on_after(REAP_S, shield=True):  # one that hangs in the kernel is left to itself
                await process.wait()
    return said.decode(errors="replace")
