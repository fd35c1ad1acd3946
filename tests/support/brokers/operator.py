"""Actions of an operator on a cluster that orderflow uses, with another client library.

The library is librdkafka: a test with aiokafka would not detect a mistake of aiokafka.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import attrs
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic, OffsetSpec

from orderflow.start.settings import Settings
from tests.support.eventually import eventually

TIMEOUT_S = 20


def addresses(settings: Settings) -> str:
    """Return the addresses of the brokers in librdkafka's format."""
    return ",".join(settings.kafka_bootstrap)


def operator_of(settings: Settings) -> "Operator":
    """Return an operator client for the cluster in `settings`."""
    return Operator(addresses(settings))


@attrs.frozen
class Operator:
    """Reads and changes the state of the cluster at `bootstrap`, without TLS and without a login."""

    bootstrap: str
    _client: AdminClient = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        client = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        object.__setattr__(self, "_client", client)

    async def create_topic(self, topic: str, replicas: Mapping[int, Collection[int]], **configs: str) -> None:
        """Create a topic with the given brokers for each partition. The first of them is the preferred leader.

        In the names of `configs`, `_` stands for `.`. Returns when each partition has a leader.
        """
        assignment = [list(replicas[partition]) for partition in sorted(replicas)]
        named = {name.replace("_", "."): value for name, value in configs.items()}
        new = NewTopic(topic, len(assignment), replica_assignment=assignment, config=named)
        await self._done(self._client.create_topics([new]))
        await self.until_led(topic, range(len(assignment)))

    async def create_plain_topic(self, topic: str, partitions: int, **configs: str) -> None:
        """Create a topic with the cluster's default number of replicas, and wait until it can be written."""
        named = {name.replace("_", "."): value for name, value in configs.items()}
        await self._done(self._client.create_topics([NewTopic(topic, partitions, -1, config=named)]))
        await self.until_led(topic, range(partitions))

    async def add_partitions(self, topic: str, total: int) -> None:
        """Increase the number of partitions of a topic to `total`, and wait until all have leaders."""
        await self._done(self._client.create_partitions([NewPartitions(topic, total)]))
        await self.until_led(topic, range(total))

    async def delete_topics(self, *topics: str) -> None:
        """Delete topics."""
        await self._done(self._client.delete_topics(list(topics)))

    async def delete_records(self, topic: str, before: Mapping[int, int]) -> None:
        """Delete the records of each partition below the given offset. -1 means the high watermark."""
        places = [TopicPartition(topic, partition, offset) for partition, offset in before.items()]
        await self._done(self._client.delete_records(places))

    async def delete_group(self, group: str) -> None:
        """Delete a group without members, and its offsets. A group that does not exist is not an error."""
        known = await asyncio.to_thread(self._client.list_consumer_groups(request_timeout=TIMEOUT_S).result, TIMEOUT_S)
        if group in {each.group_id for each in known.valid}:
            await self._done(self._client.delete_consumer_groups([group]))

    async def leaders(self, topic: str) -> dict[int, int]:
        """Return the leader of each partition. -1 means no leader."""
        metadata = await asyncio.to_thread(self._client.list_topics, topic, TIMEOUT_S)
        return {number: each.leader for number, each in metadata.topics[topic].partitions.items()}

    async def coordinator(self, group: str) -> int:
        """Return the broker that coordinates a group."""
        [answer] = self._client.describe_consumer_groups([group], request_timeout=TIMEOUT_S).values()
        return int((await asyncio.to_thread(answer.result, TIMEOUT_S)).coordinator.id)

    async def until_preferred(self, topic: str) -> None:
        """Wait until the leader of each partition is its preferred leader, that is the first of its brokers."""

        async def elsewhere() -> list[int]:
            metadata = await asyncio.to_thread(self._client.list_topics, topic, TIMEOUT_S)
            places = metadata.topics[topic].partitions
            return [number for number, each in places.items() if each.leader != each.replicas[0]]

        await eventually(elsewhere, lambda found: not found, 60)

    async def until_led(self, topic: str, partitions: Iterable[int]) -> None:
        """Wait until each of these partitions has a leader."""
        wanted = set(partitions)
        await eventually(
            lambda: self.leaders(topic), lambda led: wanted <= {each for each, leader in led.items() if leader >= 0}
        )

    async def until_leaderless(self, topic: str, partitions: Iterable[int]) -> None:
        """Wait until these partitions, and no others, have no leader."""
        wanted = set(partitions)
        await eventually(
            lambda: self.leaders(topic), lambda led: {each for each, leader in led.items() if leader < 0} == wanted, 40
        )

    async def until_brokers(self, nodes: set[int], timeout_s: float = 60) -> None:
        """Wait until exactly these brokers are alive according to the cluster."""

        async def alive() -> set[int]:
            metadata = await asyncio.to_thread(self._client.list_topics, None, TIMEOUT_S)
            return set(metadata.brokers)

        await eventually(alive, lambda seen: seen == nodes, timeout_s)

    async def ends(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        """Return the end of each partition: the offset after the last record or transaction marker."""
        places = {TopicPartition(topic, partition): OffsetSpec.latest() for partition in partitions}
        answers = self._client.list_offsets(places, request_timeout=TIMEOUT_S)
        found = {place.partition: await asyncio.to_thread(each.result, TIMEOUT_S) for place, each in answers.items()}
        return {partition: answer.offset for partition, answer in found.items()}

    async def _done(self, answers: Mapping[Any, Any]) -> None:
        for answer in answers.values():
            await asyncio.to_thread(answer.result, TIMEOUT_S)
