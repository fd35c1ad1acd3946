"""Sends requests to the leaders of a topic's partitions, within a deadline."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from engine.kafka.brokers import TROUBLE, Brokers

_REFRESH_S = 10.0
_BROKER_SHARE = 0.8
_REQUESTS_PER_BROKER = 4


@attrs.frozen
class View:
    """The number of brokers, and the broker id of each partition's leader (None: no leader)."""

    brokers: int
    leaders: dict[int, int | None]


class TopicClient:
    """Sends requests about one topic. It keeps its connections between calls, and never creates the topic."""

    def __init__(self, options: Mapping[str, Any], topic: str, deadline_s: float) -> None:
        self._brokers = Brokers({**options, "client_id": "orderflow-offsets"}, topic)
        self._deadline_s = deadline_s
        self._refreshed_s: float | None = None

    async def ask(
        self, question: Callable[[list[int]], Any], groups: Iterable[Iterable[int]] | None = None
    ) -> list[Any]:
        """Send one request per leader, for all its partitions, and return the answers.

        With `groups`, one request per group of partitions is sent; the partitions of a group have the same leader.
        `question` makes the request for a list of partitions. Partitions without a leader, and brokers that do not
        answer, are left out. If there is no answer at all, raises `KafkaError` or `OSError` (a timeout is one), within
        the deadline.
        """
        async with asyncio.timeout(self._deadline_s):
            await self._refresh_if_due()
            led = self._brokers.by_leader(self._brokers.partitions()).items() if groups is None else self._led(groups)
            return await self._ask_all([(leader, question(partitions)) for leader, partitions in led])

    async def look(self) -> View:
        """Fetch the current metadata of the cluster and the topic. Raises as `ask` does."""
        async with asyncio.timeout(self._deadline_s):
            await self._refresh()
        return View(len(self._brokers.nodes()), self._leaders())

    async def partitions(self) -> list[int]:
        """Return the topic's partitions, with and without a leader. Raises as `ask` does."""
        async with asyncio.timeout(self._deadline_s):
            await self._refresh_if_due()
        return self._brokers.partitions()

    async def _refresh_if_due(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if self._brokers.stale or self._refreshed_s is None or now_s - self._refreshed_s > _REFRESH_S:
            await self._refresh()

    async def _refresh(self) -> None:
        await self._brokers.refresh()
        self._refreshed_s = asyncio.get_running_loop().time()

    def _leaders(self) -> dict[int, int | None]:
        return {partition: self._brokers.leader(partition) for partition in self._brokers.partitions()}

    def _led(self, groups: Iterable[Iterable[int]]) -> list[tuple[int, list[int]]]:
        with_leader = [(self._brokers.leader(group[0]), group) for group in map(list, groups) if group]
        return [(leader, group) for leader, group in with_leader if leader is not None]

    async def _ask_all(self, requests: list[tuple[int, Any]]) -> list[Any]:
        slots: defaultdict[int, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(_REQUESTS_PER_BROKER))

        async def ask(leader: int, request: Any) -> Any:
            # A broker that does not answer must not use up the whole deadline of the others.
            async with asyncio.timeout(self._deadline_s * _BROKER_SHARE), slots[leader]:
                return await self._brokers.send(leader, request, "offsets")

        answers = await asyncio.gather(*(ask(leader, request) for leader, request in requests), return_exceptions=True)
        failures = [answer for answer in answers if isinstance(answer, BaseException)]
        for failure in failures:
            if not isinstance(failure, TROUBLE):
                raise failure
        if failures:
            self.mark_stale()
            if len(failures) == len(answers):
                raise failures[0]
        return [answer for answer in answers if not isinstance(answer, BaseException)]

    def mark_stale(self) -> None:
        """Refresh the metadata before the next request, because a leader has moved."""
        self._brokers.stale = True

    async def close(self) -> None:
        """Close the connections. May be called twice."""
        await self._brokers.close()
