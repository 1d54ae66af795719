"""A program of the user's, run to its end: bounded in time and in what is read of it, ended by a cancel.

Not for a program that is to go on. What is killed is its process group: what leads a group of its own is let go.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import attrs
import trio

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

OUTPUT_BYTES: Final = 1024 * 1024
REAP_S: Final = 0.2  # for a killed program; one that hangs in the kernel is left to itself


@attrs.frozen
class Finished:
    """How a program ended: its status (negative: the signal), and the first `OUTPUT_BYTES` of what it printed."""

    status: int
    out: bytes
    err: bytes


async def finish(
    command: Sequence[str], *, environment: Mapping[str, str], timeout_s: float, standard_input: bytes = b""
) -> Finished:
    """Run a program in `/` with this on its standard input. Raises OSError or ValueError if it cannot be run, and
    TooSlowError if it does not end in time; then, and when cancelled, it is killed with its process group."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(standard_input)  # a file, not a pipe: a program that does not read it does not fail for it
        given.seek(0)
        process: trio.Process = await trio.lowlevel.open_process(
            list(command), cwd="/", env=dict(environment), stdin=given, stdout=out, stderr=err, start_new_session=True
        )
        try:
            with trio.fail_after(timeout_s):
                status = await process.wait()
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await _reap(process)
        out.seek(0)
        err.seek(0)
        return Finished(status, out.read(OUTPUT_BYTES), err.read(OUTPUT_BYTES))


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
            await _reap(process)
    return said.decode(errors="replace")


async def _reap(process: trio.Process) -> None:
    with trio.move_on_after(REAP_S, shield=True):
        await process.wait()
