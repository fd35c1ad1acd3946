"""Opens partitions at PostgreSQL's offsets, recognises the topic by its last record, and refuses what is not as stored.

What happens to one partition: wanted → its stored offset is read and locked → the consumer is sent there → its records
count. A refused one is looked at again every few seconds, and opened once its offset was reset.
"""

import asyncio
from typing import Any

import asyncpg
import structlog
from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError, OffsetOutOfRangeError

from engine import events
from engine.blockers import BlockerWatch
from engine.offsets import StoredOffset, checksum, open_offset
from engine.partitions import PartitionTable
from engine.postgres import Link, describe, is_outage
from engine.records import Record

REOPEN_S = 5.0
TOPIC_CHANGED = "the topic is not the one that was consumed before: it was deleted and created anew"


class PartitionOpener:
    """Opens the partitions of one topic for one group. `consumer` is aiokafka's, which has joined the group."""

    def __init__(self, topic: str, group: str, link: Link, watch: BlockerWatch, table: PartitionTable) -> None:
        self._topic = topic
        self._group = group
        self._link = link
        self._watch = watch
        self._table = table
        self._recognise: dict[int, StoredOffset] = {}
        self._stored: dict[int, StoredOffset] = {}
        self._refused_offsets: dict[int, StoredOffset] = {}
        self._reopen_at: dict[int, float] = {}
        self._log = structlog.get_logger()

    def forget_refusals(self) -> None:
        """Look at every wanted partition anew, and at once."""
        self._refused_offsets.clear()
        self._reopen_at.clear()

    async def open_wanted(self, consumer: Any) -> None:
        """Open what is wanted and due. An outage of PostgreSQL is waited out; raises the errors of aiokafka."""
        now = asyncio.get_running_loop().time()
        due = [partition for partition in self._table.wanted if self._reopen_at.get(partition, 0.0) <= now]
        if not due:
            return
        self._reopen_at.update(dict.fromkeys(due, now + REOPEN_S))
        places = [TopicPartition(self._topic, partition) for partition in due]
        # Asked for all at once: a fetch that waits at the broker holds up every later request to it.
        begin = await consumer.beginning_offsets(places)
        end = await consumer.end_offsets(places)
        for place in places:
            try:
                await self._open(consumer, place, begin[place], end[place])
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                if not is_outage(error):
                    raise
                self._reopen_at[place.partition] = now + 1.0
                self._log.warning(
                    events.OUTAGE_CONTINUES, of="postgres", error=describe(error), partition=place.partition
                )
            except IllegalStateError:
                continue  # revoked while it was being opened

    async def _open(self, consumer: Any, place: TopicPartition, begin: int, end: int) -> None:
        partition = place.partition
        async with self._link.use() as connection, self._watch.over(connection):
            stored = await self._link.within_deadline(
                open_offset(connection, self._group, self._topic, partition, begin)
            )
        if self._refused_offsets.get(partition) == stored:
            self._reopen_at[partition] = asyncio.get_running_loop().time() + REOPEN_S
            return  # refused before, and nobody has reset the offset since
        self._stored[partition] = stored
        if stored.next_offset > end:
            # Another owner may have gone on since the end was asked for; its last transaction was waited for.
            end = (await consumer.end_offsets([place]))[place]
        if not begin <= stored.next_offset <= end:
            self._refuse(
                consumer, partition, f"stored offset {stored.next_offset} is outside the broker's {begin} to {end}"
            )
            return
        start, recognisable = stored.next_offset, False
        if stored.last_offset is not None and stored.last_offset >= begin:
            start, recognisable = stored.last_offset, True
        consumer.seek(place, start)
        consumer.resume(place)
        if self._table.open(partition, stored.next_offset, stored.epoch) is None:
            return
        self._recognise.pop(partition, None)
        if recognisable:
            self._recognise[partition] = stored
        self._reopen_at.pop(partition, None)
        self._log.info(events.PARTITION_OPENED, topic=self._topic, partition=partition, offset=stored.next_offset)

    def refuse_out_of_range(self, consumer: Any, error: OffsetOutOfRangeError) -> None:
        """Refuse the partitions whose offsets the broker no longer has."""
        places = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
        for place, offset in places.items():
            if self._table.next_offset(place.partition) is not None:
                self._refuse(consumer, place.partition, f"the broker no longer has offset {offset}")

    def _refuse(self, consumer: Any, partition: int, reason: str) -> None:
        self._reopen_at[partition] = asyncio.get_running_loop().time() + REOPEN_S
        consumer.pause(TopicPartition(self._topic, partition))
        self._refused_offsets[partition] = self._stored[partition]
        if self._table.refuse(partition, reason):
            self._log.error(
                events.PARTITION_REFUSED,
                topic=self._topic,
                partition=partition,
                reason=reason,
                fix="orderflow offsets reset",
            )

    def accept(self, consumer: Any, partition: int, records: list[Record]) -> list[Record]:
        """Return those records that the present opening has still to consume, after recognising the topic."""
        next_offset = self._table.next_offset(partition)
        if next_offset is None:
            return []
        known = self._recognise.pop(partition, None)
        first = records[0]
        if (
            known is not None
            and first.offset == known.last_offset
            and (first.timestamp, checksum(first)) != (known.last_timestamp, known.last_checksum)
        ):
            self._refuse(consumer, partition, TOPIC_CHANGED)
            return []
        if first.offset >= next_offset:
            return records
        return [record for record in records if record.offset >= next_offset]
