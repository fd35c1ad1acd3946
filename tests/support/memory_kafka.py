"""A stand-in for Kafka, for tests without I/O: a topic's log, a consumer group, and its members."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any

import attrs
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from tests.support.memory_connection import Client
from tests.support.record_batches import spoilt

EARLIEST, LATEST = -2, -1
OUT_OF_RANGE, UNKNOWN_SERVER_ERROR = 1, -1
TOPIC = "orders"


@attrs.frozen(slots=False)
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

    @cached_property
    def batch(self) -> bytes:
        """The record as the broker sends it, in a batch of its own."""
        builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
        builder.append(0, self.timestamp, self.key, self.value, [])
        return self.offset.to_bytes(8, "big") + bytes(builder.build())[8:]


class MemoryKafka:
    """The brokers. `committed` is told of every committed offset: (partition, offset).

    What may befall a partition: records whose batch is `spoilt`, as (partition, offset), records before `begins` that
    are deleted, having no leader, and a leader that is `failing`. Of a batch that is `cut` only the beginning is there,
    and one that is `lost` is not found. Asked for an offset that is `withheld`, the broker gives nothing. `fetches`
    holds every position that was asked for, by partition.
    """

    def __init__(self, partitions: int, committed: Callable[[int, int], None]) -> None:
        self.log: dict[int, list[Consumed]] = {partition: [] for partition in range(partitions)}
        self.ends = dict.fromkeys(self.log, 0)
        self.begins = dict.fromkeys(self.log, 0)
        self.offsets: dict[int, int] = {}
        self.spoilt: set[tuple[int, int]] = set()
        self.leaderless: set[int] = set()
        self.failing: set[int] = set()
        self.cut: set[tuple[int, int]] = set()
        self.lost: set[tuple[int, int]] = set()
        self.withheld: set[tuple[int, int]] = set()
        self.fetches: dict[int, list[int]] = {partition: [] for partition in self.log}
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


class MemoryBrokers:
    """The brokers as `engine.kafka.brokers` reaches them: one of them, which answers fetches and asks for offsets."""

    def __init__(self, options: Mapping[str, Any], topic: str) -> None:
        assert topic == TOPIC
        self._member: Member = options["member"]
        self.topics = {topic}
        self.stale = False
        self.last_error: BaseException | None = None

    @property
    def heard_s(self) -> float:
        """When a broker last answered: this one always does at once."""
        return asyncio.get_running_loop().time()

    def partitions(self, _topic: str | None = None) -> list[int]:
        """Return the topic's partitions."""
        return sorted(self._member.kafka.log)

    def leader(self, partition: int) -> int | None:
        """Return the broker that leads a partition, if one does."""
        return None if partition in self._member.kafka.leaderless else 0

    def by_leader(self, partitions: Iterable[int]) -> dict[int, list[int]]:
        """Return partitions by the broker that leads them."""
        led = [partition for partition in partitions if self.leader(partition) is not None]
        return {0: led} if led else {}

    async def refresh(self) -> None:
        """Ask for the partitions."""
        await self._member.client.passes()

    async def send(self, _node: int, request: Any, _purpose: str, _answer_s: float = 0) -> Any:
        """Return the answer to a request for records or offsets."""
        await self._member.client.passes()
        match request:
            case FetchRequest(topics=[(_, rows)]):
                answer = await self._fetch(rows, request._max_wait_ms / 1000)
            case OffsetRequest(_topics=[(_, rows)]):
                kafka = self._member.kafka
                bounds = {EARLIEST: kafka.begins, LATEST: kafka.ends}
                answer = [(partition, 0, -1, bounds[which][partition]) for partition, which in rows]
            case _:
                raise AssertionError(f"a request that this stand-in does not know: {request}")
        await self._member.client.passes()
        return Answer([(TOPIC, answer)])

    async def _fetch(self, rows: list[tuple[int, int, int]], wait_s: float) -> list[tuple[Any, ...]]:
        kafka = self._member.kafka
        for partition, position, _ in rows:
            kafka.fetches[partition].append(position)
        if not any(self._batches(partition, position) for partition, position, _ in rows):
            await asyncio.sleep(wait_s)
        return [
            (
                partition,
                self._code(partition, position),
                kafka.ends[partition],
                kafka.ends[partition],
                0,
                [],
                -1,
                self._batches(partition, position),
            )
            for partition, position, _ in rows
        ]

    def _code(self, partition: int, position: int) -> int:
        kafka = self._member.kafka
        if partition in kafka.failing:
            return UNKNOWN_SERVER_ERROR
        return 0 if kafka.begins[partition] <= position <= kafka.ends[partition] else OUT_OF_RANGE

    def _batches(self, partition: int, position: int) -> bytes:
        kafka = self._member.kafka
        if partition in kafka.failing or (partition, position) in kafka.withheld:
            return b""
        batches = b""
        for record in kafka.between(partition, position, kafka.ends[partition]):
            place = (partition, record.offset)
            if place in kafka.lost:
                continue
            if place in kafka.cut:
                return batches + record.batch[:-1]
            batches += spoilt(record.batch) if place in kafka.spoilt else record.batch
        return batches

    async def close(self) -> None:
        """Close the connections."""


class MemoryGroupMember:
    """A member of the group, made as `engine.kafka.group_member` makes it. What it is assigned is said by `hear`."""

    def __init__(self, brokers: Any, _group: str, _topic: str, *, assigned: Any, joined_as: Any, failing: Any) -> None:
        self._member: Member = brokers._member
        self._assigned = assigned
        self._failing = failing
        joined_as("member")

    async def run(self) -> None:
        """Be a member until cancelled."""
        self._member.joined = self
        self._failing(None)
        await asyncio.get_running_loop().create_future()

    def hear(self, partitions: set[int]) -> None:
        """Take the group's new assignment."""
        self._assigned(partitions)

    async def commit(self, offsets: Mapping[int, int]) -> bool:
        """Commit offsets."""
        await self._member.client.passes()
        self._member.kafka.commit(offsets)
        return True

    async def leave(self) -> None:
        """Leave the group."""
        await self._member.client.passes()
        self._member.joined = None


@attrs.frozen
class Answer:
    """A broker's answer."""

    topics: list[Any]
    API_VERSION: int = 11


@attrs.define(eq=False)
class Member:
    """A process in the group, and its member once it has joined."""

    kafka: MemoryKafka
    client: Client
    joined: MemoryGroupMember | None = None
