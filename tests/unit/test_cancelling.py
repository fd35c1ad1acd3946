"""Tasks are ended by cancelling them, also if a library loses a cancellation."""

import asyncio

import pytest
import structlog

from engine.actors import cancelling
from engine.actors.cancelling import TASK_CANCELLED_AGAIN, cancel


async def _loses_one_cancellation(lost: asyncio.Event) -> None:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        lost.set()
    await asyncio.Event().wait()


async def test_a_task_that_loses_a_cancellation_is_named_and_cancelled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a drain does not wait for it for ever."""
    monkeypatch.setattr(cancelling, "AGAIN_S", 0.01)
    lost = asyncio.Event()
    deaf = asyncio.create_task(_loses_one_cancellation(lost), name="deaf")
    quick = asyncio.create_task(asyncio.Event().wait(), name="quick")
    await asyncio.sleep(0)
    with structlog.testing.capture_logs() as lines:
        async with asyncio.timeout(10):
            await cancel(deaf, quick)
    assert lost.is_set()
    assert deaf.cancelled()
    assert quick.cancelled()
    assert [(line["event"], line["task"]) for line in lines] == [(TASK_CANCELLED_AGAIN, "deaf")]


async def test_ended_and_failed_tasks_are_no_trouble() -> None:
    """Their errors are not raised, and nobody is told of them."""

    async def fail() -> None:
        raise ValueError

    failed, ended = asyncio.create_task(fail()), asyncio.create_task(asyncio.sleep(0))
    await asyncio.wait({failed, ended})
    await cancel(failed, ended)
    await cancel()
    assert isinstance(failed.exception(), ValueError)
