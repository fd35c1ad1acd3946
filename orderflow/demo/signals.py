"""Handles SIGINT, SIGTERM and SIGHUP: the first one starts an orderly stop, further ones do not interrupt it."""

import asyncio
import contextlib
import signal
from collections.abc import Coroutine
from typing import Any

import click

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def say(line: str) -> None:
    """Write a line of progress to standard error. Ignores a closed terminal, which must not interrupt the stop."""
    with contextlib.suppress(OSError):
        click.echo(line, err=True)


async def until_signalled(flow: Coroutine[Any, Any, None]) -> bool:
    """Run `flow`; cancel it, once, on SIGINT, SIGTERM or SIGHUP, and return when it has cleaned up.

    Returns whether a signal has cancelled it. Exceptions of `flow` are passed on.
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
