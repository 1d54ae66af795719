"""SIGTERM, SIGINT and SIGHUP end the hub cleanly; a second one ends it at once."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

STOPPING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


async def watch_signals(
    stop: Callable[[str], None], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Call `stop` with the name of the first signal and return; from then on the kernel's default holds."""
    with trio.open_signal_receiver(*STOPPING) as received:
        task_status.started()
        async for number in received:
            stop(signal.Signals(number).name)
            break
    for number in STOPPING:
        signal.signal(number, signal.SIG_DFL)
