"""A fake Kafka for tests without I/O: the log of a topic, a consumer group, and its members."""

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
    """A record in the log."""

    partition: int
    offset: int
    value: bytes
    topic: str = TOPIC
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()

    @property
    def timestamp(self) -> int:
        """The time when it was produced, in milliseconds since the epoch."""
        return 1_700_000_000_000 + self.offset

    @cached_property
    def batch(self) -> bytes:
        """The record as the broker sends it: in a batch with one record."""
        builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
        builder.append(0, self.timestamp, self.key, self.value, [])
        return self.offset.to_bytes(8, "big") + bytes(builder.build())[8:]


class MemoryKafka:
    """The brokers. Calls `committed` with every committed (partition, offset).

    A test can simulate these faults, at (partition, offset) or for a partition:

    - `spoilt`: the batch is corrupt
    - `cut`: only the beginning of the batch exists
    - `lost`: the batch is missing
    - `withheld`: the broker returns nothing for a fetch from this offset
    - `begins`: earlier records are deleted
    - the partition has no leader, or its leader is `failing`
    - `away`: no metadata

    `fetches` has all fetched positions by partition.
    """

    def __init__(self, partitions: int, committed: Callable[[int, int], None]) -> None:
        self.log: dict[int, list[Consumed]] = {partition: [] for partition in range(partitions)}
        self.ends = dict.fromkeys(self.log, 0)
        self.begins = dict.fromkeys(self.log, 0)
        self.offsets: dict[int, int] = {}
        self.spoilt: set[tuple[int, int]] = set()
        self.leaderless: set[int] = set()
        self.failing: set[int] = set()
        self.away = False
        self.cut: set[tuple[int, int]] = set()
        self.lost: set[tuple[int, int]] = set()
        self.withheld: set[tuple[int, int]] = set()
        self.fetches: dict[int, list[int]] = {partition: [] for partition in self.log}
        self._committed = committed

    def append(self, partition: int, value: bytes, gap: int = 0) -> None:
        """Append a record, after a gap of `gap` offsets such as a transaction marker leaves."""
        offset = self.ends[partition] + gap
        self.log[partition].append(Consumed(partition, offset, value))
        self.ends[partition] = offset + 1

    def between(self, partition: int, begin: int, end: int) -> list[Consumed]:
        """Return the records from `begin` to just before `end`."""
        return [record for record in self.log[partition] if begin <= record.offset < end]

    def commit(self, offsets: Mapping[int, int]) -> None:
        """Store the committed offsets of the group."""
        for partition, offset in offsets.items():
            self._committed(partition, offset)
        self.offsets |= offsets


class MemoryBrokers:
    """A fake for `engine.kafka.brokers`: one broker, which answers requests for records and offsets."""

    def __init__(self, options: Mapping[str, Any], topic: str) -> None:
        assert topic == TOPIC
        self._member: Member = options["member"]
        self.topics = {topic}
        self.stale = False
        self.last_error: BaseException | None = None

    @property
    def last_answer_s(self) -> float:
        """When a broker last answered: always now."""
        return asyncio.get_running_loop().time()

    def partitions(self, _topic: str | None = None) -> list[int]:
        """Return the topic's partitions."""
        return sorted(self._member.kafka.log)

    def leader(self, partition: int) -> int | None:
        """Return the id of the partition's leader, or None."""
        return None if partition in self._member.kafka.leaderless else 0

    def by_leader(self, partitions: Iterable[int]) -> dict[int, list[int]]:
        """Group partitions by their leader."""
        led = [partition for partition in partitions if self.leader(partition) is not None]
        return {0: led} if led else {}

    async def refresh(self) -> None:
        """Refresh the metadata."""
        await self._member.client.passes()
        if self._member.kafka.away:
            raise ConnectionRefusedError

    async def send(self, _node: int, request: Any, _purpose: str, _answer_s: float = 0) -> Any:
        """Return the response to a request for records or offsets."""
        await self._member.client.passes()
        match request:
            case FetchRequest(topics=[(_, rows)]):
                answer = await self._fetch(rows, request._max_wait_ms / 1000)
            case OffsetRequest(_topics=[(_, rows)]):
                kafka = self._member.kafka
                bounds = {EARLIEST: kafka.begins, LATEST: kafka.ends}
                answer = [(partition, 0, -1, bounds[which][partition]) for partition, which in rows]
            case _:
                raise AssertionError(f"a request that this fake does not support: {request}")
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
    """A fake for `engine.kafka.group_member.GroupMember`. A test calls `assign` to give it partitions."""

    def __init__(self, brokers: Any, _group: str, _topic: str, *, assigned: Any, joined_as: Any, failing: Any) -> None:
        self._member: Member = brokers._member
        self._assigned = assigned
        self._failing = failing
        joined_as("member")

    async def run(self) -> None:
        """Stay a member of the group until cancelled."""
        self._member.joined = self
        self._failing(None)
        await asyncio.get_running_loop().create_future()

    def assign(self, partitions: set[int]) -> None:
        """Receive a new assignment from the group."""
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
    """A response of the broker."""

    topics: list[Any]
    API_VERSION: int = 11


@attrs.define(eq=False)
class Member:
    """A process in the group, and its group member after it has joined."""

    kafka: MemoryKafka
    client: Client
    joined: MemoryGroupMember | None = None
