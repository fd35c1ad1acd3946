"""Asks the brokers that lead a topic's partitions, again and again, within a deadline."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from engine.kafka.brokers import TROUBLE, Brokers

_LOOK_AGAIN_S = 10.0
_BROKER_SHARE = 0.8
_ASKED_AT_ONCE = 4


@attrs.frozen
class View:
    """How many brokers there are, and which of them leads each partition; None for none."""

    brokers: int
    leaders: dict[int, int | None]


class TopicClient:
    """Asks of one topic, through connections that are kept. It never makes the topic."""

    def __init__(self, options: Mapping[str, Any], topic: str, deadline_s: float) -> None:
        self._brokers = Brokers({**options, "client_id": "orderflow-offsets"}, topic)
        self._deadline_s = deadline_s
        self._looked_s: float | None = None

    async def ask(
        self, question: Callable[[list[int]], Any], groups: Iterable[Iterable[int]] | None = None
    ) -> list[Any]:
        """Return the answers to a request for each leader's partitions, or for each of `groups`, of one leader each.

        Partitions without a leader are not asked for, and of a broker that does not answer there is no answer. Raises
        `KafkaError` or `OSError` (a time-out is one), at the latest after the deadline, when there is none at all.
        """
        async with asyncio.timeout(self._deadline_s):
            await self._know_leaders()
            led = self._brokers.by_leader(self._brokers.partitions()).items() if groups is None else self._led(groups)
            return await self._ask_all([(leader, question(those)) for leader, those in led])

    async def look(self) -> View:
        """Return what one of the brokers says of the cluster and the topic now. Raises as `ask` does."""
        async with asyncio.timeout(self._deadline_s):
            await self._look()
        return View(len(self._brokers.nodes()), self._leaders())

    async def partitions(self) -> list[int]:
        """Return the topic's partitions, whether they have a leader or not. Raises as `ask` does."""
        async with asyncio.timeout(self._deadline_s):
            await self._know_leaders()
        return self._brokers.partitions()

    async def _know_leaders(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if self._brokers.stale or self._looked_s is None or now_s - self._looked_s > _LOOK_AGAIN_S:
            await self._look()

    async def _look(self) -> None:
        await self._brokers.refresh()
        self._looked_s = asyncio.get_running_loop().time()

    def _leaders(self) -> dict[int, int | None]:
        return {partition: self._brokers.leader(partition) for partition in self._brokers.partitions()}

    def _led(self, groups: Iterable[Iterable[int]]) -> list[tuple[int, list[int]]]:
        found = [(self._brokers.leader(those[0]), those) for those in map(list, groups) if those]
        return [(leader, those) for leader, those in found if leader is not None]

    async def _ask_all(self, asked: list[tuple[int, Any]]) -> list[Any]:
        rooms: defaultdict[int, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(_ASKED_AT_ONCE))

        async def ask(leader: int, request: Any) -> Any:
            # A broker that is silent must leave the others room, and time to be heard.
            async with asyncio.timeout(self._deadline_s * _BROKER_SHARE), rooms[leader]:
                return await self._brokers.send(leader, request, "offsets")

        answers = await asyncio.gather(*(ask(*one) for one in asked), return_exceptions=True)
        failures = [answer for answer in answers if isinstance(answer, BaseException)]
        for failure in failures:
            if not isinstance(failure, TROUBLE):
                raise failure
        if failures:
            self.look_again()
            if len(failures) == len(answers):
                raise failures[0]
        return [answer for answer in answers if not isinstance(answer, BaseException)]

    def look_again(self) -> None:
        """Look for the leaders anew before the next question: one was not where it was said to be."""
        self._brokers.stale = True

    async def close(self) -> None:
        """Close the connections. Closing twice is fine."""
        await self._brokers.close()
