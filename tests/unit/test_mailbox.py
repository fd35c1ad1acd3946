"""A mailbox holds messages in order, within two limits, and makes its senders wait for room."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.actors.mailbox import Mailbox, MailboxClosed


async def started(work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
    """Return the work as a task that has run as far as it can."""
    task = asyncio.create_task(work)
    for _ in range(5):
        await asyncio.sleep(0)
    return task


async def test_messages_leave_in_the_order_in_which_they_came() -> None:
    """First in, first out."""
    mailbox: Mailbox[str] = Mailbox(10)
    for message in "abc":
        await mailbox.put(message)
    assert await mailbox.take(10) == ["a", "b", "c"]


async def test_a_message_counts_as_one_item_without_weight() -> None:
    """The length is in items, and both measures go back to nothing when the mailbox is emptied."""
    mailbox: Mailbox[str] = Mailbox(10, 10)
    await mailbox.put("one")
    await mailbox.put("chunk", weight=7, items=3)
    assert (len(mailbox), mailbox.weight) == (4, 7)
    await mailbox.take(10)
    assert (len(mailbox), mailbox.weight) == (0, 0)


async def test_a_full_mailbox_refuses_by_items() -> None:
    """A message that would exceed the number of items is not taken, and leaves no trace."""
    mailbox: Mailbox[str] = Mailbox(3)
    assert mailbox.put_nowait("chunk", items=2)
    assert not mailbox.put_nowait("chunk", items=2)
    assert len(mailbox) == 2
    assert mailbox.put_nowait("one")
    assert not mailbox.put_nowait("one more")


async def test_a_full_mailbox_refuses_by_weight() -> None:
    """A message that would exceed the weight is not taken, however few items there are."""
    mailbox: Mailbox[str] = Mailbox(100, 10)
    assert mailbox.put_nowait("a", weight=6)
    assert not mailbox.put_nowait("b", weight=5)
    assert mailbox.weight == 6
    assert mailbox.put_nowait("c", weight=4)


async def test_an_empty_mailbox_takes_a_message_larger_than_itself_alone() -> None:
    """Otherwise it would wait for ever; nothing else fits beside it."""
    mailbox: Mailbox[str] = Mailbox(3, 10)
    assert mailbox.put_nowait("huge", weight=1000, items=50)
    assert not mailbox.put_nowait("one", weight=1, items=1)
    assert await mailbox.take(3, 10) == ["huge"]


async def test_a_message_larger_than_the_mailbox_waits_until_it_is_empty() -> None:
    """It is not squeezed in beside others."""
    mailbox: Mailbox[str] = Mailbox(3, 10)
    await mailbox.put("small", weight=1)
    putting = await started(mailbox.put("huge", weight=11))
    assert not putting.done()
    assert await mailbox.take(10) == ["small"]
    await putting
    assert await mailbox.take(1, 1) == ["huge"]


async def test_a_sender_waits_for_room_and_no_longer() -> None:
    """Backpressure: `put` returns only when what came before has been taken."""
    mailbox: Mailbox[str] = Mailbox(1)
    await mailbox.put("first")
    putting = await started(mailbox.put("second"))
    assert not putting.done()
    assert await mailbox.take(1) == ["first"]
    await putting
    assert await mailbox.take(1) == ["second"]


async def test_several_waiting_senders_all_get_through_within_the_limit() -> None:
    """Room for one wakes them all, and all but one wait again."""
    mailbox: Mailbox[int] = Mailbox(1)
    senders = [asyncio.create_task(mailbox.put(number)) for number in range(5)]
    taken: list[int] = []
    while len(taken) < 5:
        taken += await mailbox.take(5)
        assert len(mailbox) <= 1
    assert sorted(taken) == list(range(5))
    await asyncio.gather(*senders)


async def test_a_sender_that_gives_up_leaves_nothing_behind() -> None:
    """A cancelled `put` has not put."""
    mailbox: Mailbox[str] = Mailbox(1)
    await mailbox.put("first")
    putting = await started(mailbox.put("second"))
    putting.cancel()
    await asyncio.wait({putting})
    assert await mailbox.take(10) == ["first"]
    assert len(mailbox) == 0


async def test_taking_waits_for_a_message() -> None:
    """An empty mailbox makes its reader wait until something arrives."""
    mailbox: Mailbox[str] = Mailbox(10)
    taking = await started(mailbox.take(10))
    assert not taking.done()
    await mailbox.put("hello")
    assert await taking == ["hello"]


async def test_a_reader_that_gives_up_takes_nothing_with_it() -> None:
    """A cancelled `take` loses no message."""
    mailbox: Mailbox[str] = Mailbox(10)
    taking = await started(mailbox.take(10))
    taking.cancel()
    await asyncio.wait({taking})
    await mailbox.put("kept")
    assert await mailbox.take(10) == ["kept"]


async def test_taking_stops_before_the_limit_of_items() -> None:
    """What would exceed the limit stays for the next time."""
    mailbox: Mailbox[str] = Mailbox(10)
    for message, items in (("a", 2), ("b", 2), ("c", 1)):
        await mailbox.put(message, items=items)
    assert await mailbox.take(3) == ["a"]
    assert len(mailbox) == 3
    assert await mailbox.take(3) == ["b", "c"]


async def test_taking_stops_before_the_limit_of_weight() -> None:
    """A later message that would fit does not overtake one that does not."""
    mailbox: Mailbox[str] = Mailbox(10, 100)
    for message, weight in (("a", 5), ("b", 6), ("c", 1)):
        await mailbox.put(message, weight=weight)
    assert await mailbox.take(10, 10) == ["a"]
    assert mailbox.weight == 7
    assert await mailbox.take(10, 10) == ["b", "c"]


async def test_taking_always_returns_at_least_one_message() -> None:
    """A message above the limits is taken alone."""
    mailbox: Mailbox[str] = Mailbox(10, 100)
    for message in "ab":
        await mailbox.put(message, weight=50, items=5)
    assert await mailbox.take(1, 1) == ["a"]
    assert await mailbox.take(1, 1) == ["b"]


async def test_a_closed_mailbox_refuses_and_can_still_be_emptied() -> None:
    """What waits is taken; then there is nothing, for ever."""
    mailbox: Mailbox[str] = Mailbox(10)
    await mailbox.put("last")
    mailbox.close()
    mailbox.close()
    assert mailbox.closed
    with pytest.raises(MailboxClosed):
        mailbox.put_nowait("late")
    with pytest.raises(MailboxClosed):
        await mailbox.put("late")
    assert await mailbox.take(10) == ["last"]
    assert await mailbox.take(10) == []
    assert await mailbox.take(10) == []


async def test_closing_wakes_a_waiting_reader() -> None:
    """It learns that there will be no more."""
    mailbox: Mailbox[str] = Mailbox(10)
    taking = await started(mailbox.take(10))
    mailbox.close()
    assert await taking == []


async def test_closing_wakes_a_waiting_sender() -> None:
    """It learns that its message was not taken."""
    mailbox: Mailbox[str] = Mailbox(1)
    await mailbox.put("first")
    putting = await started(mailbox.put("second"))
    mailbox.close()
    with pytest.raises(MailboxClosed):
        await putting
    assert await mailbox.take(10) == ["first"]


async def test_clearing_returns_what_waited_and_makes_room() -> None:
    """Dropped messages are accounted for, and senders go on."""
    mailbox: Mailbox[str] = Mailbox(1, 5)
    await mailbox.put("first", weight=5)
    putting = await started(mailbox.put("second", weight=5))
    assert mailbox.clear() == ["first"]
    await putting
    assert (len(mailbox), mailbox.weight) == (1, 5)


message = st.tuples(st.integers(0, 12), st.integers(1, 6))


@given(arrivals=st.lists(message, max_size=40), limits=st.tuples(st.integers(1, 8), st.integers(1, 15)))
def test_whatever_arrives_is_within_the_limits_or_alone(
    arrivals: list[tuple[int, int]], limits: tuple[int, int]
) -> None:
    """Nothing is lost, nothing overtakes, and only a message that is alone exceeds a limit."""
    max_items, max_weight = limits

    async def scenario() -> None:
        mailbox: Mailbox[tuple[int, int, int]] = Mailbox(10, 20)
        accepted, taken = [], []
        for number, (weight, items) in enumerate(arrivals):
            held = len(mailbox)
            if mailbox.put_nowait((number, weight, items), weight, items):
                accepted.append((number, weight, items))
                assert held == 0 or (len(mailbox) <= 10 and mailbox.weight <= 20)
            else:
                assert held + items > 10 or mailbox.weight + weight > 20
                taken.append(await mailbox.take(max_items, max_weight))
        mailbox.close()
        while batch := await mailbox.take(max_items, max_weight):
            taken.append(batch)
        assert [one for batch in taken for one in batch] == accepted
        for batch in taken:
            alone = len(batch) == 1
            assert alone or sum(items for _, _, items in batch) <= max_items
            assert alone or sum(weight for _, weight, _ in batch) <= max_weight
        assert (len(mailbox), mailbox.weight) == (0, 0)

    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(scenario())
    finally:
        loop.close()
