"""Ends tasks by cancelling them."""

import asyncio
from typing import Any

import structlog

AGAIN_S = 2.0
TASK_CANCELLED_AGAIN = "task_cancelled_again"


async def cancel(*tasks: "asyncio.Future[Any]") -> None:
    """Cancel the tasks and return when all of them have ended. Their errors are ignored.

    A library may lose a cancellation. A task that has not ended after `AGAIN_S` seconds is named in the log and
    cancelled again, so that no stop waits for it for ever.
    """
    left, again = set(tasks), False
    while left:
        for task in left:
            task.cancel()
            if again:
                name = task.get_name() if isinstance(task, asyncio.Task) else repr(task)
                structlog.get_logger().warning(TASK_CANCELLED_AGAIN, task=name)
        done, left = await asyncio.wait(left, timeout=AGAIN_S)
        for task in done:
            if not task.cancelled():
                task.exception()
        again = True
