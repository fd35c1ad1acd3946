"""Asks the brokers that lead a topic's partitions, through one client that is kept."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

import attrs
from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

_METADATA_MAX_AGE_MS = 10_000
_BROKER_SHARE = 0.8
_ASKED_AT_ONCE = 4
NO_LEADER = -1


@attrs.frozen
class View:
    """How many brokers there are, and which of them leads each partition; `NO_LEADER` for none."""

    brokers: int
    leaders: dict[int, int]


class TopicClient:
    """The client of one topic. After a failure the next question begins with a new one. It never makes the topic."""

    def __init__(self, options: Mapping[str, Any], topic: str, deadline_s: float) -> None:
        self._options = options
        self.topic = topic
        self._deadline_s = deadline_s
        self._client: AIOKafkaClient | None = None

    async def ask(
        self, question: Callable[[list[int]], Any], groups: Iterable[Iterable[int]] | None = None
    ) -> list[Any]:
        """Return the answers to a request for each leader's partitions, or for each of `groups`, of one leader each.

        Partitions without a leader are not asked for, and of a broker that does not answer there is no answer. Raises
        `KafkaError` or `OSError` (a time-out is one), at the latest after the deadline, when there is none at all.
        """
        try:
            async with asyncio.timeout(self._deadline_s):
                client = await self._connected()
                asked = self._by_leader(client) if groups is None else self._led(client, groups)
                return await self._ask_all(client, [(leader, question(those)) for leader, those in asked])
        except BaseException:
            await self.close()
            raise

    async def look(self) -> View:
        """Return what one of the brokers says of the cluster and the topic now. Raises as `ask` does."""
        try:
            async with asyncio.timeout(self._deadline_s):
                metadata = await (await self._connected()).fetch_all_metadata()
        except BaseException:
            await self.close()
            raise
        if self.topic not in metadata.topics():
            raise UnknownTopicOrPartitionError(self.topic)
        return View(len(metadata.brokers()), _leaders(metadata, self.topic))

    async def partitions(self) -> list[int]:
        """Return the topic's partitions, whether they have a leader or not. Raises as `ask` does."""
        try:
            async with asyncio.timeout(self._deadline_s):
                return list(_leaders((await self._connected()).cluster, self.topic))
        except BaseException:
            await self.close()
            raise

    def _by_leader(self, client: AIOKafkaClient) -> list[tuple[int, list[int]]]:
        led: dict[int, list[int]] = {}
        for partition, leader in _leaders(client.cluster, self.topic).items():
            if leader != NO_LEADER:
                led.setdefault(leader, []).append(partition)
        return list(led.items())

    def _led(self, client: AIOKafkaClient, groups: Iterable[Iterable[int]]) -> list[tuple[int, list[int]]]:
        leaders = _leaders(client.cluster, self.topic)
        found = [(leaders.get(those[0], NO_LEADER), those) for those in map(list, groups) if those]
        return [(leader, those) for leader, those in found if leader != NO_LEADER]

    async def _ask_all(self, client: AIOKafkaClient, asked: list[tuple[int, Any]]) -> list[Any]:
        room = asyncio.Semaphore(_ASKED_AT_ONCE)

        async def ask(leader: int, request: Any) -> Any:
            # A broker that is silent must leave the others time to be heard.
            async with asyncio.timeout(self._deadline_s * _BROKER_SHARE), room:
                return await client.send(leader, request)

        answers = await asyncio.gather(*(ask(*one) for one in asked), return_exceptions=True)
        failures = [answer for answer in answers if isinstance(answer, BaseException)]
        for failure in failures:
            if not isinstance(failure, KafkaError | OSError):
                raise failure
        if failures:
            self.look_again()
            if len(failures) == len(answers):
                raise failures[0]
        return [answer for answer in answers if not isinstance(answer, BaseException)]

    def look_again(self) -> None:
        """Have the client look for the leaders anew: one was not where it was said to be."""
        if self._client is not None:
            self._client.force_metadata_update()

    async def _connected(self) -> AIOKafkaClient:
        if self._client is None:
            client = AIOKafkaClient(
                **self._options,
                client_id="orderflow-offsets",
                metadata_max_age_ms=_METADATA_MAX_AGE_MS,
                # The longer one, so that the deadline is what ends a slow answer.
                request_timeout_ms=int(self._deadline_s * 2000),
            )
            self._client = client
            await client.bootstrap()
            # Asking for a topic by its name creates it where the broker allows that: only once it is known to exist.
            if self.topic not in (await client.fetch_all_metadata()).topics():
                raise UnknownTopicOrPartitionError(self.topic)
            await client.set_topics([self.topic])
        return self._client

    async def close(self) -> None:
        """Close the client. Closing twice is fine."""
        client, self._client = self._client, None
        if client is not None:
            with suppress(KafkaError, OSError):
                await client.close()


def _leaders(cluster: ClusterMetadata, topic: str) -> dict[int, int]:
    partitions = sorted(cluster.partitions_for_topic(topic) or ())
    leaders = {partition: cluster.leader_for_partition(TopicPartition(topic, partition)) for partition in partitions}
    return {partition: NO_LEADER if leader is None else leader for partition, leader in leaders.items()}
