"""What operators do to a cluster while orderflow uses it, by a client that is not the one that orderflow has.

The client is librdkafka's: what aiokafka asks wrongly, aiokafka would not see.
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
    """Return where the brokers are, as librdkafka wants it."""
    return ",".join(settings.kafka_bootstrap)


def operator_of(settings: Settings) -> "Operator":
    """Operate the cluster that `settings` lead to."""
    return Operator(addresses(settings))


@attrs.frozen
class Operator:
    """Asks and changes the cluster at `bootstrap`, in plain and without a login."""

    bootstrap: str
    _client: AdminClient = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        client = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        object.__setattr__(self, "_client", client)

    async def create_topic(self, topic: str, replicas: Mapping[int, Collection[int]], **configs: str) -> None:
        """Create a topic with the brokers of each partition, the first being the one to lead it.

        `configs` have underscores for dots. Returns when every partition has a leader.
        """
        assignment = [list(replicas[partition]) for partition in sorted(replicas)]
        named = {name.replace("_", "."): value for name, value in configs.items()}
        new = NewTopic(topic, len(assignment), replica_assignment=assignment, config=named)
        await self._done(self._client.create_topics([new]))
        await self.until_led(topic, range(len(assignment)))

    async def create_plain_topic(self, topic: str, partitions: int, **configs: str) -> None:
        """Create a topic with the cluster's own number of replicas, and wait until it can be written."""
        named = {name.replace("_", "."): value for name, value in configs.items()}
        await self._done(self._client.create_topics([NewTopic(topic, partitions, -1, config=named)]))
        await self.until_led(topic, range(partitions))

    async def add_partitions(self, topic: str, total: int) -> None:
        """Give a topic so many partitions in all, and wait until they have leaders."""
        await self._done(self._client.create_partitions([NewPartitions(topic, total)]))
        await self.until_led(topic, range(total))

    async def delete_topics(self, *topics: str) -> None:
        """Delete topics."""
        await self._done(self._client.delete_topics(list(topics)))

    async def delete_records(self, topic: str, before: Mapping[int, int]) -> None:
        """Delete the records of each partition below an offset; -1 is the end of what is replicated."""
        places = [TopicPartition(topic, partition, offset) for partition, offset in before.items()]
        await self._done(self._client.delete_records(places))

    async def delete_group(self, group: str) -> None:
        """Delete a group that has no members, and its offsets with it. One that is not there is no error."""
        known = await asyncio.to_thread(self._client.list_consumer_groups(request_timeout=TIMEOUT_S).result, TIMEOUT_S)
        if group in {each.group_id for each in known.valid}:
            await self._done(self._client.delete_consumer_groups([group]))

    async def leaders(self, topic: str) -> dict[int, int]:
        """Return the broker that leads each partition; -1 when none does."""
        metadata = await asyncio.to_thread(self._client.list_topics, topic, TIMEOUT_S)
        return {number: each.leader for number, each in metadata.topics[topic].partitions.items()}

    async def until_preferred(self, topic: str) -> None:
        """Wait until each partition is led by the first of its brokers, as it is when all are back and none is new."""

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
        """Wait until the cluster says that exactly these brokers are alive."""

        async def alive() -> set[int]:
            metadata = await asyncio.to_thread(self._client.list_topics, None, TIMEOUT_S)
            return set(metadata.brokers)

        await eventually(alive, lambda seen: seen == nodes, timeout_s)

    async def ends(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        """Return the end of each partition: the offset behind the last record or transaction marker."""
        places = {TopicPartition(topic, partition): OffsetSpec.latest() for partition in partitions}
        answers = self._client.list_offsets(places, request_timeout=TIMEOUT_S)
        found = {place.partition: await asyncio.to_thread(each.result, TIMEOUT_S) for place, each in answers.items()}
        return {partition: answer.offset for partition, answer in found.items()}

    async def _done(self, answers: Mapping[Any, Any]) -> None:
        for answer in answers.values():
            await asyncio.to_thread(answer.result, TIMEOUT_S)
