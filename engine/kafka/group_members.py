"""The members of a consumer group and their partitions of a topic, as the group's coordinator reports them."""

import asyncio
from collections.abc import Mapping
from typing import Any

import attrs
from aiokafka.errors import IncompatibleBrokerVersion, KafkaError, for_code
from aiokafka.protocol.admin import DescribeGroupsRequest

from engine.kafka.brokers import TROUBLE, Brokers
from engine.kafka.group_assignment import decode_assignment
from engine.kafka.group_description import ConsumerGroupDescribeRequest

_DEAD = "Dead"
_GROUP_ID_NOT_FOUND = 69


@attrs.frozen
class Member:
    """A member of a group, with its partitions of the topic. `client_id` and `host` are as Kafka reports them."""

    member_id: str
    client_id: str
    host: str
    partitions: frozenset[int]


class GroupMembers:
    """Fetches the members of a group. It keeps its connection between calls."""

    def __init__(self, options: Mapping[str, Any], group: str, topic: str, deadline_s: float) -> None:
        self._brokers = Brokers({**options, "client_id": "orderflow-group"})
        self._group = group
        self._topic = topic
        self._deadline_s = deadline_s
        self._coordinator: int | None = None

    async def fetch(self) -> list[Member]:
        """Return the members. During a rebalance they own no partitions.

        Raises `KafkaError` (for example if a permission is missing) or `OSError`, within the deadline.
        """
        try:
            async with asyncio.timeout(self._deadline_s):
                if self._coordinator is None:
                    await self._brokers.refresh()
                    self._coordinator = await self._brokers.coordinator(self._group)
                return await self._ask(self._coordinator)
        except TROUBLE:
            self._coordinator = None
            raise

    async def _ask(self, coordinator: int) -> list[Member]:
        answer = await self._brokers.send(coordinator, DescribeGroupsRequest([self._group]), "group")
        code, _, state, _, _, members, *_ = answer.groups[0]
        if code == _GROUP_ID_NOT_FOUND or (code == 0 and state == _DEAD):
            # A group that uses the new protocol of Kafka 3.7 also looks like this. It needs another request.
            return await self._ask_new_protocol(coordinator)
        if code:
            error: KafkaError = for_code(code)()
            raise error
        return [
            Member(member_id, client_id, host, _assigned(assignment, self._topic))
            for member_id, client_id, host, _, assignment, *_ in members
        ]

    async def _ask_new_protocol(self, coordinator: int) -> list[Member]:
        try:
            answer = await self._brokers.send(coordinator, ConsumerGroupDescribeRequest(self._group), "group")
        except IncompatibleBrokerVersion:
            return []  # a broker that does not know the new protocol has no members that use it
        code, _, _, _, _, _, _, members, *_ = answer.groups[0]
        if code == _GROUP_ID_NOT_FOUND:
            return []
        if code:
            error: KafkaError = for_code(code)()
            raise error
        return [
            Member(member_id, client_id, host, _named(assignment, self._topic))
            for member_id, _, _, _, client_id, host, _, _, assignment, *_ in members
        ]

    async def close(self) -> None:
        """Close the connections. May be called twice."""
        await self._brokers.close()


def _assigned(assignment: bytes | None, topic: str) -> frozenset[int]:
    """Return the partitions of `topic` in an assignment. None if another kind of client encoded it differently."""
    try:
        return frozenset(decode_assignment(assignment or b"", topic))
    except KafkaError:
        return frozenset()


def _named(assignment: Any, topic: str) -> frozenset[int]:
    topics, *_ = assignment
    return frozenset(partition for _, _, name, partitions, *_ in topics if name == topic for partition in partitions)
