"""Ctrl-C and its kin: the first one stops in order, further ones do not cut the stopping short."""

import asyncio
import contextlib
import signal
from collections.abc import Coroutine
from typing import Any

import click

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def say(line: str) -> None:
    """Write a line of progress to standard error. A terminal that is gone must not keep anything from being stopped."""
    with contextlib.suppress(OSError):
        click.echo(line, err=True)


async def until_signalled(flow: Coroutine[Any, Any, None]) -> bool:
    """Run `flow`; cancel it, once, on SIGINT, SIGTERM or SIGHUP, and return when it has cleaned up.

    Returns whether it was cut short by such a signal. What `flow` raises is passed on.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(flow, name="flow")
    signalled = False

    def stop() -> None:
        nonlocal signalled
        if signalled:
            say("Stopping already; it takes a few seconds")
            return
        signalled = True
        task.cancel()

    for number in _STOPPING:
        loop.add_signal_handler(number, stop)
    try:
        await task
    except asyncio.CancelledError:
        if not signalled:
            raise
    return signalled
