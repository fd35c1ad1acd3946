"""What is fetched is handed over once, whoever leads a partition meanwhile."""

import asyncio
from typing import Any

import attrs

from engine.kafka.fetch_state import FetchState
from engine.kafka.fetcher import Fetcher
from tests.support.memory_kafka import Answer
from tests.support.record_batches import batch

TOPIC = "orders"


@attrs.define
class MovingLeader:
    """Brokers of which the partition's leader changes; each answers when the test says so."""

    led_by: int = 0
    stale: bool = False
    last_answer_s: float = 0.0
    asked: dict[int, "asyncio.Future[Any]"] = attrs.field(factory=dict)

    def leader(self, _partition: int) -> int:
        """Return the present leader."""
        return self.led_by

    async def send(self, node: int, *_: Any) -> Any:
        """Return what the test says that the broker answers."""
        self.asked[node] = asyncio.get_running_loop().create_future()
        return await self.asked[node]


async def test_two_leaders_that_answer_the_same_fetch_hand_it_over_once() -> None:
    """The old one was asked already when another took over: its answer comes late, and is another's by then."""
    brokers: Any = MovingLeader()
    fetcher = Fetcher(brokers, TOPIC)
    fetcher.follow(0, FetchState(opening=1, epoch=0, position=0, floor=0))
    work = asyncio.create_task(fetcher.run())
    answer = Answer([(TOPIC, [(0, 0, 1, -1, 0, [], -1, batch(0, b"a"))])])
    try:
        async with asyncio.timeout(5):
            while 0 not in brokers.asked:
                await asyncio.sleep(0)
            brokers.led_by = 1
            fetcher._wake.set()
            while 1 not in brokers.asked:
                await asyncio.sleep(0)
            brokers.asked[1].set_result(answer)
            await fetcher.fetched.get()
            brokers.asked[0].set_result(answer)
            await asyncio.sleep(0.05)  # the late answer is taken, or left
        assert fetcher.fetched.empty()
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
