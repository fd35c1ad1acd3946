"""An actor is given everything that waits, one batch at a time, and stops when told to, with nothing left unsaid."""

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from engine.actors.actor import BatchActor
from engine.actors.mailbox import MailboxClosed


class Recorder:
    """A handler that notes its batches and can be held up in the middle of one."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.at_work = asyncio.Event()
        self.may_finish = asyncio.Event()
        self.may_finish.set()
        self.cancelled = False

    async def handle(self, batch: list[str]) -> None:
        self.at_work.set()
        try:
            await self.may_finish.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        self.batches.append(batch)


def actor_of(handle: Callable[[list[str]], Awaitable[None]], **limits: int | None) -> BatchActor[str]:
    return BatchActor("tested", handle, **{"max_items": 10, "capacity_items": 10, **limits})  # type: ignore[arg-type]


class _ClockedSelector(selectors.DefaultSelector):
    """Waits for nothing: a wait moves the clock instead."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        assert timeout is not None, "nothing will ever happen"
        self.now_s += timeout
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only when everybody waits for it, and then at once."""

    def __init__(self) -> None:
        self.clock = _ClockedSelector()
        super().__init__(self.clock)

    def time(self) -> float:
        return self.clock.now_s


def in_virtual_time(scenario: Coroutine[Any, Any, None]) -> float:
    """Run the scenario and return how many seconds it took on its own clock."""
    loop = VirtualLoop()
    try:
        loop.run_until_complete(scenario)
        return loop.time()
    finally:
        loop.close()


async def test_at_rest_a_batch_is_one_message() -> None:
    """A message that finds the actor idle does not wait for company."""
    recorder = Recorder()
    actor = actor_of(recorder.handle)
    actor.start()
    for message in "ab":
        recorder.at_work.clear()
        await actor.put(message)
        await recorder.at_work.wait()
    assert await actor.stop(60)
    assert recorder.batches == [["a"], ["b"]]


async def test_under_load_a_batch_is_everything_that_waited() -> None:
    """While one batch is handled the next one grows."""
    recorder = Recorder()
    recorder.may_finish.clear()
    actor = actor_of(recorder.handle)
    actor.start()
    await actor.put("first")
    await recorder.at_work.wait()
    for message in "abc":
        await actor.put(message)
    recorder.may_finish.set()
    assert await actor.stop(60)
    assert recorder.batches == [["first"], ["a", "b", "c"]]


async def test_a_batch_is_bounded_by_items_and_by_weight() -> None:
    """What exceeds either limit comes in the next batch."""
    recorder = Recorder()
    actor = actor_of(recorder.handle, max_items=3, max_weight=10, capacity_weight=100)
    for message, weight, items in (("a", 1, 2), ("b", 1, 2), ("c", 9, 1), ("d", 10, 1), ("huge", 99, 9)):
        assert actor.put_nowait(message, weight, items) or message == "huge"
    actor.start()
    await actor.put("huge", 99, 9)
    assert await actor.stop(60)
    assert recorder.batches == [["a"], ["b", "c"], ["d"], ["huge"]]


async def test_batches_do_not_overlap() -> None:
    """The next batch begins after the one before has been handled."""
    running = 0

    async def handle(batch: list[str]) -> None:
        nonlocal running
        running += 1
        assert running == 1
        await asyncio.sleep(0)
        running -= 1

    actor = actor_of(handle, max_items=1)
    actor.start()
    for message in "abcde":
        await actor.put(message)
    assert await actor.stop(60)


async def test_a_busy_actor_makes_its_senders_wait() -> None:
    """Backpressure reaches whoever feeds the actor."""
    recorder = Recorder()
    recorder.may_finish.clear()
    actor = actor_of(recorder.handle, capacity_items=1)
    actor.start()
    await actor.put("handled")
    await recorder.at_work.wait()
    await actor.put("waiting")
    assert not actor.put_nowait("too many")
    putting = asyncio.create_task(actor.put("patient"))
    await asyncio.sleep(0)
    assert not putting.done()
    recorder.may_finish.set()
    await putting
    assert await actor.stop(60)
    assert recorder.batches == [["handled"], ["waiting"], ["patient"]]


async def test_starting_twice_is_starting_once() -> None:
    """Each message is handled by one task."""
    recorder = Recorder()
    actor = actor_of(recorder.handle)
    actor.start()
    actor.start()
    await actor.put("a")
    assert await actor.stop(60)
    assert recorder.batches == [["a"]]


async def test_the_task_carries_the_actors_name() -> None:
    """A dump of the tasks tells which actor is which."""
    actor = actor_of(Recorder().handle)
    actor.start()
    assert "tested" in {task.get_name() for task in asyncio.all_tasks()}
    assert await actor.stop(60)


async def test_stopping_finishes_what_waits_and_refuses_what_comes() -> None:
    """Stop means drain."""
    recorder = Recorder()
    actor = actor_of(recorder.handle, max_items=1)
    actor.start()
    for message in "abc":
        await actor.put(message)
    assert await actor.stop(60)
    assert recorder.batches == [["a"], ["b"], ["c"]]
    with pytest.raises(MailboxClosed):
        await actor.put("late")
    with pytest.raises(MailboxClosed):
        actor.put_nowait("late")
    await actor.wait()


async def test_stopping_twice_is_fine() -> None:
    """The second time there is nothing left to do."""
    recorder = Recorder()
    actor = actor_of(recorder.handle)
    actor.start()
    await actor.put("a")
    assert await actor.stop(60)
    assert await actor.stop(0)
    assert recorder.batches == [["a"]]


async def test_stopping_one_that_never_started_is_fine() -> None:
    """Nothing waited, so nothing was lost; nor does it hang those who wait for its end."""
    actor = actor_of(Recorder().handle)
    assert await actor.stop(60)
    await actor.wait()
    with pytest.raises(MailboxClosed):
        await actor.put("late")


async def test_stopping_one_that_never_started_owns_up_to_what_it_drops() -> None:
    """Messages that nobody will ever handle are not a clean stop."""
    actor = actor_of(Recorder().handle)
    await actor.put("dropped")
    assert not await actor.stop(60)
    assert len(actor.mailbox) == 0


async def test_what_ends_an_actor_surfaces_to_those_who_wait_for_it() -> None:
    """An exception that leaves the handler is a defect: `wait` raises it and `stop` is not clean."""

    async def handle(batch: list[str]) -> None:
        raise LookupError(batch[0])

    actor = actor_of(handle)
    actor.start()
    waiting = asyncio.create_task(actor.wait())
    await actor.put("boom")
    with pytest.raises(LookupError, match="boom"):
        await waiting
    with pytest.raises(LookupError, match="boom"):
        await actor.wait()
    assert not await actor.stop(60)


async def test_an_actor_that_has_failed_takes_no_more_messages() -> None:
    """Nobody will ever handle them, so their sender must hear of it."""

    async def handle(batch: list[str]) -> None:
        raise LookupError

    actor = actor_of(handle, capacity_items=1)
    actor.start()
    await actor.put("boom")
    with pytest.raises(LookupError):
        await actor.wait()
    with pytest.raises(MailboxClosed):
        actor.put_nowait("lost")


async def test_one_who_stops_waiting_does_not_stop_the_actor() -> None:
    """`wait` only watches."""
    recorder = Recorder()
    actor = actor_of(recorder.handle)
    actor.start()
    waiting = asyncio.create_task(actor.wait())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})
    await actor.put("a")
    assert await actor.stop(60)
    assert recorder.batches == [["a"]]


def test_what_is_not_done_by_the_deadline_is_cancelled() -> None:
    """The stop takes its deadline and no longer, cancels the handler, and says that it was not clean."""

    async def scenario() -> None:
        recorder = Recorder()
        recorder.may_finish.clear()
        actor = actor_of(recorder.handle)
        actor.start()
        await actor.put("stuck")
        await recorder.at_work.wait()
        assert not await actor.stop(5)
        assert recorder.cancelled
        assert recorder.batches == []
        assert not await actor.stop(5)

    assert in_virtual_time(scenario()) == pytest.approx(5)


def test_a_stop_takes_no_longer_than_the_work() -> None:
    """Work that ends before the deadline ends the stop."""

    async def scenario() -> None:
        async def handle(batch: list[str]) -> None:
            await asyncio.sleep(2)

        actor = actor_of(handle, max_items=1)
        actor.start()
        await actor.put("a")
        await actor.put("b")
        assert await actor.stop(5)

    assert in_virtual_time(scenario()) == pytest.approx(4)


@pytest.mark.parametrize("deadline_s", [0.0, -3.0])
def test_a_deadline_that_has_passed_cancels_at_once(deadline_s: float) -> None:
    """What is left of a deadline may be nothing, or less."""

    async def scenario() -> None:
        recorder = Recorder()
        recorder.may_finish.clear()
        actor = actor_of(recorder.handle)
        actor.start()
        await actor.put("stuck")
        await recorder.at_work.wait()
        assert not await actor.stop(deadline_s)
        assert recorder.cancelled

    assert in_virtual_time(scenario()) == pytest.approx(0)
