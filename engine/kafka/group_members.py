"""Who is in a consumer group, and which partitions of a topic the group has given to whom, asked of its coordinator."""

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
    """A member of a group, with the partitions of the topic that it owns; `client_id` and `host` are Kafka's words."""

    member_id: str
    client_id: str
    host: str
    partitions: frozenset[int]


class GroupMembers:
    """Asks again and again, through a connection that is kept."""

    def __init__(self, options: Mapping[str, Any], group: str, topic: str, deadline_s: float) -> None:
        self._brokers = Brokers({**options, "client_id": "orderflow-group"})
        self._group = group
        self._topic = topic
        self._deadline_s = deadline_s
        self._coordinator: int | None = None

    async def fetch(self) -> list[Member]:
        """Return the members. While the group rebalances they own nothing.

        Raises `KafkaError` (a right that is missing is one) or `OSError`, at the latest after the deadline.
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
            # So a group is described, too, that has a member of the protocol that Kafka 3.7 began: it has another word.
            return await self._ask_otherwise(coordinator)
        if code:
            error: KafkaError = for_code(code)()
            raise error
        return [
            Member(member_id, client_id, host, _assigned(assignment, self._topic))
            for member_id, client_id, host, _, assignment, *_ in members
        ]

    async def _ask_otherwise(self, coordinator: int) -> list[Member]:
        try:
            answer = await self._brokers.send(coordinator, ConsumerGroupDescribeRequest(self._group), "group")
        except IncompatibleBrokerVersion:
            return []  # a broker that does not know the other protocol has no such members
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
        """Close the connections. Closing twice is fine."""
        await self._brokers.close()


def _assigned(assignment: bytes | None, topic: str) -> frozenset[int]:
    """Return the partitions of `topic` in an assignment, whose bytes are a matter between members: they may be any."""
    try:
        return frozenset(decode_assignment(assignment or b"", topic))
    except KafkaError:
        return frozenset()


def _named(assignment: Any, topic: str) -> frozenset[int]:
    topics, *_ = assignment
    return frozenset(partition for _, _, name, partitions, *_ in topics if name == topic for partition in partitions)
