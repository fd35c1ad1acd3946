"""A stand-in for Kafka, for tests without I/O: a topic's log, a consumer group, and consumers as aiokafka has them."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs
from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError, NoOffsetForPartitionError

from tests.support.memory_connection import Client

TOPIC = "orders"


@attrs.frozen
class Consumed:
    """A record of the log."""

    partition: int
    offset: int
    value: bytes
    topic: str = TOPIC
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()

    @property
    def timestamp(self) -> int:
        """When it was produced, in milliseconds."""
        return 1_700_000_000_000 + self.offset


class MemoryKafka:
    """The brokers. `committed` is told of every committed offset: (partition, offset)."""

    def __init__(self, partitions: int, committed: Callable[[int, int], None]) -> None:
        self.log: dict[int, list[Consumed]] = {partition: [] for partition in range(partitions)}
        self.ends = dict.fromkeys(self.log, 0)
        self.offsets: dict[int, int] = {}
        self._committed = committed

    def append(self, partition: int, value: bytes, gap: int = 0) -> None:
        """Append a record, after a gap such as a transaction's marker leaves."""
        offset = self.ends[partition] + gap
        self.log[partition].append(Consumed(partition, offset, value))
        self.ends[partition] = offset + 1

    def between(self, partition: int, begin: int, end: int) -> list[Consumed]:
        """Return the records from `begin` to just before `end`."""
        return [record for record in self.log[partition] if begin <= record.offset < end]

    def commit(self, offsets: Mapping[int, int]) -> None:
        """Store a group's offsets."""
        for partition, offset in offsets.items():
            self._committed(partition, offset)
        self.offsets |= offsets


class MemoryConsumer:
    """A member of the group, made with the arguments of `AIOKafkaConsumer`; `member` is how the test gets hold of it.

    What it is assigned is said by `hear`. Until it is sent elsewhere it reads on from Kafka's committed offset, and
    delivers once from there even if it was told to pause: aiokafka may do so while it reports an assignment.
    """

    def __init__(self, member: "Member", **_: Any) -> None:
        self._member = member
        self._kafka = member.kafka
        self._positions: dict[int, int | None] = {}
        self._paused: set[int] = set()
        self._prefetched: set[int] = set()
        self._listener: Any = None

    def subscribe(self, topics: list[str], listener: Any) -> None:
        """Note who is to be told of assignments."""
        assert topics == [TOPIC]
        self._listener = listener

    async def start(self) -> None:
        """Join the group."""
        self._member.consumer = self

    async def stop(self) -> None:
        """Leave the group."""
        await self._member.client.passes()
        self._positions.clear()
        self._member.consumer = None

    async def hear(self, partitions: set[int]) -> None:
        """Take the group's new assignment."""
        before = [TopicPartition(TOPIC, partition) for partition in self._positions]
        await self._listener.on_partitions_revoked(before)
        self._positions = {partition: self._kafka.offsets.get(partition) for partition in partitions}
        self._paused.clear()
        self._prefetched = set(self._positions)
        await self._listener.on_partitions_assigned([TopicPartition(TOPIC, partition) for partition in partitions])

    def assignment(self) -> set[TopicPartition]:
        """Return the partitions that this member believes to have."""
        return {TopicPartition(TOPIC, partition) for partition in self._positions}

    def last_poll_timestamp(self, _place: TopicPartition) -> int:
        """Return when the broker last answered, in milliseconds: this one always does at once."""
        return round(asyncio.get_running_loop().time() * 1000)

    def pause(self, *places: TopicPartition) -> None:
        """Deliver nothing of these."""
        self._paused |= {place.partition for place in places}

    def resume(self, *places: TopicPartition) -> None:
        """Deliver again."""
        self._paused -= {place.partition for place in places}

    def seek(self, place: TopicPartition, offset: int) -> None:
        """Go on from `offset`; what was fetched before is dropped. Raises `IllegalStateError` for another's."""
        if place.partition not in self._positions:
            raise IllegalStateError
        self._positions[place.partition] = offset
        self._prefetched.discard(place.partition)

    async def beginning_offsets(self, places: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the log's beginnings."""
        await self._member.client.passes()
        return dict.fromkeys(places, 0)

    async def end_offsets(self, places: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the log's ends."""
        await self._member.client.passes()
        return {place: self._kafka.ends[place.partition] for place in places}

    async def getmany(self, timeout_ms: int) -> dict[TopicPartition, list[Consumed]]:
        """Return what is there, else what is there after the timeout."""
        found = self._fetch()
        if not found:
            await asyncio.sleep(timeout_ms / 1000)
            found = self._fetch()
        await self._member.client.passes()
        return found

    def _fetch(self) -> dict[TopicPartition, list[Consumed]]:
        ready = [one for one in self._positions if one not in self._paused or one in self._prefetched]
        known = {one: position for one in ready if (position := self._positions[one]) is not None}
        found = {}
        for partition, position in known.items():
            records = self._kafka.between(partition, position, self._kafka.ends[partition])
            if records:
                found[TopicPartition(TOPIC, partition)] = records
                self._positions[partition] = records[-1].offset + 1
        if found or len(known) == len(ready):
            self._prefetched.difference_update(known)
            return found
        self._prefetched.clear()
        raise NoOffsetForPartitionError

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        """Commit offsets."""
        await self._member.client.passes()
        self._kafka.commit({place.partition: offset for place, offset in offsets.items()})


@attrs.define(eq=False)
class Member:
    """A process in the group, and its consumer once it has joined."""

    kafka: MemoryKafka
    client: Client
    consumer: MemoryConsumer | None = None
