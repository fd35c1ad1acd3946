"""The Kafka end of a worker: joins the group, opens partitions at PostgreSQL's offsets, and hands on chunks of records.

`auto_offset_reset` is `none` and Kafka's committed offset is for tools only. While aiokafka reports an assignment it
may already deliver from that committed offset, so records count only after the partition was opened here.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import asyncpg
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import (
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)

from engine import events
from engine.backoff import Backoff
from engine.blockers import BlockerWatch
from engine.kafka_records import take_any_header_name
from engine.mailbox import MailboxClosed
from engine.offsets import StoredOffset, checksum, open_offset
from engine.partitions import PartitionTable
from engine.postgres import Link, describe, is_outage
from engine.records import Chunk, Record, slice_records
from engine.silence import Silence
from engine.status import Status

CHUNK_RECORDS = 25
"""How many records are handled in one go. An answer from PostgreSQL that the writer waits for waits so long, too."""
FETCH_BYTES = 2 * 1024 * 1024
POLL_S = 0.2
REOPEN_S = 5.0
COMMIT_EVERY_S = 1.0
TOPIC_CHANGED = "the topic is not the one that was consumed before: it was deleted and created anew"

Emit = Callable[[Chunk], Awaitable[None]]


class KafkaSource(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is not typed
    """Consumes one topic in a group. `emit` takes the chunks and waits when there is no room."""

    def __init__(
        self,
        topic: str,
        group: str,
        consumer_options: dict[str, Any],
        link: Link,
        watch: BlockerWatch,
        table: PartitionTable,
        status: Status,
        backoff: Backoff,
        emit: Emit,
        max_chunk_records: int,
        max_chunk_bytes: int,
    ) -> None:
        self._topic = topic
        self._group = group
        self._options = consumer_options
        self._link = link
        self._watch = watch
        self._table = table
        self._status = status
        self._backoff = backoff
        self._emit = emit
        self._max_chunk_records = min(CHUNK_RECORDS, max_chunk_records)
        self._max_chunk_bytes = max_chunk_bytes
        self._consumer: Any = None
        self._stopping = asyncio.Event()
        self._silence = Silence()
        self._recognise: dict[int, StoredOffset] = {}
        self._stored: dict[int, StoredOffset] = {}
        self._refused_offsets: dict[int, StoredOffset] = {}
        self._reopen_at: dict[int, float] = {}
        self._committed: dict[int, int] = {}
        self._log = structlog.get_logger()

    async def start(self) -> None:
        """Join the group. Raises aiokafka's errors when the brokers cannot be reached."""
        take_any_header_name()
        self._consumer = AIOKafkaConsumer(
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            max_partition_fetch_bytes=FETCH_BYTES,
            fetch_max_bytes=4 * FETCH_BYTES,
            # Backpressure may last as long as an outage of PostgreSQL; the fence, not this timer, guards ownership.
            # The shortest that an unmodified broker allows: a killed worker is missed after this long.
            session_timeout_ms=6000,
            heartbeat_interval_ms=1000,
            max_poll_interval_ms=24 * 3600 * 1000,
            # How long a connection may be silent before it counts as lost; longer than any rebalance takes.
            request_timeout_ms=20_000,
            **self._options,
        )
        self._consumer.subscribe([self._topic], listener=self)
        try:
            await self._consumer.start()
        except BaseException:
            # A client that failed half-way still has tasks that could join the group later.
            try:
                await self._consumer.stop()
            finally:
                self._consumer = None
            raise

    def stop_fetching(self) -> None:
        """Stop handing on records. `run` returns soon after."""
        self._stopping.set()

    async def close(self) -> None:
        """Commit the last offsets for the tools, and leave the group."""
        if self._consumer is None:
            return
        await self._commit()
        await self._consumer.stop()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Note new partitions; they are opened by `run`, between two polls."""
        partitions = {partition.partition for partition in assigned}
        self._silence.heard(asyncio.get_running_loop().time())
        self._table.assign(partitions)
        self._refused_offsets.clear()
        self._consumer.pause(*assigned)
        self._reopen_at.clear()
        self._log.info(events.PARTITIONS_ASSIGNED, topic=self._topic, partitions=sorted(partitions))

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Forget partitions at once. A batch in flight ends by itself: committed before the next owner, or fenced."""
        partitions = {partition.partition for partition in revoked}
        self._table.revoke(partitions)
        self._committed.clear()
        if partitions:
            self._log.info(events.PARTITIONS_REVOKED, topic=self._topic, partitions=sorted(partitions))

    async def run(self) -> None:
        """Fetch and hand on records until `stop_fetching`. Outages of Kafka are waited out."""
        loop = asyncio.get_running_loop()
        attempt, next_try_at, commit_at = 0, 0.0, loop.time() + COMMIT_EVERY_S
        while not self._stopping.is_set():
            try:
                await self._open_wanted()
                fetched = await self._consumer.getmany(timeout_ms=int(POLL_S * 1000))
            except NoOffsetForPartitionError:
                continue
            except OffsetOutOfRangeError as error:
                self._refuse_out_of_range(error)
                continue
            except KafkaError as error:
                attempt += 1
                await self._wait_out(error, attempt)
                continue
            if not self._silence_lasts(fetched):
                attempt = 0
                if self._status.recovered("kafka"):
                    self._log.info(events.OUTAGE_ENDED, of="kafka")
            elif loop.time() >= next_try_at:
                attempt += 1
                next_try_at = loop.time() + self._declare_outage("no answer", attempt)
            self._status.started = True
            try:
                await self._hand_on(fetched)
            except MailboxClosed:
                return
            if loop.time() >= commit_at:
                await self._commit()
                commit_at = loop.time() + COMMIT_EVERY_S

    def _silence_lasts(self, fetched: dict[TopicPartition, list[Record]]) -> bool:
        now_s = asyncio.get_running_loop().time()
        if fetched:
            self._silence.heard(now_s)
        fetching = [place for place in self._consumer.assignment() if self._table.present(place.partition)]
        answers = [self._consumer.last_poll_timestamp(place) or 0 for place in fetching]
        return self._silence.lasts(max(answers, default=None), now_s)

    def _declare_outage(self, error: str, attempt: int) -> float:
        """Say that a try has failed. Returns after how many seconds the next one is due."""
        delay_s = self._backoff.delay_s(attempt, random.random())
        self._status.outage("kafka", attempt)
        event = events.OUTAGE_STARTED if attempt == 1 else events.OUTAGE_CONTINUES
        self._log.warning(event, of="kafka", error=error, tries=attempt, next_try_s=round(delay_s, 2))
        return delay_s

    async def _wait_out(self, error: BaseException, attempt: int) -> None:
        delay_s = self._declare_outage(type(error).__name__, attempt)
        try:
            await asyncio.wait_for(self._stopping.wait(), delay_s)
        except TimeoutError:
            return

    async def _open_wanted(self) -> None:
        now = asyncio.get_running_loop().time()
        due = [partition for partition in self._table.wanted if self._reopen_at.get(partition, 0.0) <= now]
        if not due:
            return
        self._reopen_at.update(dict.fromkeys(due, now + REOPEN_S))
        places = [TopicPartition(self._topic, partition) for partition in due]
        # Asked for all at once: a fetch that waits at the broker holds up every later request to it.
        begin = await self._consumer.beginning_offsets(places)
        end = await self._consumer.end_offsets(places)
        for place in places:
            try:
                await self._open(place, begin[place], end[place])
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                if not is_outage(error):
                    raise
                self._reopen_at[place.partition] = now + 1.0
                self._log.warning(
                    events.OUTAGE_CONTINUES, of="postgres", error=describe(error), partition=place.partition
                )
            except IllegalStateError:
                continue  # revoked while it was being opened

    async def _open(self, place: TopicPartition, begin: int, end: int) -> None:
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
            end = (await self._consumer.end_offsets([place]))[place]
        if not begin <= stored.next_offset <= end:
            self._refuse(partition, f"stored offset {stored.next_offset} is outside the broker's {begin} to {end}")
            return
        start, recognisable = stored.next_offset, False
        if stored.last_offset is not None and stored.last_offset >= begin:
            start, recognisable = stored.last_offset, True
        self._consumer.seek(place, start)
        self._consumer.resume(place)
        if self._table.open(partition, stored.next_offset, stored.epoch) is None:
            return
        self._recognise.pop(partition, None)
        if recognisable:
            self._recognise[partition] = stored
        self._reopen_at.pop(partition, None)
        self._log.info(events.PARTITION_OPENED, topic=self._topic, partition=partition, offset=stored.next_offset)

    def _refuse_out_of_range(self, error: OffsetOutOfRangeError) -> None:
        places = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
        for place, offset in places.items():
            if self._table.next_offset(place.partition) is not None:
                self._refuse(place.partition, f"the broker no longer has offset {offset}")

    def _refuse(self, partition: int, reason: str) -> None:
        self._reopen_at[partition] = asyncio.get_running_loop().time() + REOPEN_S
        self._consumer.pause(TopicPartition(self._topic, partition))
        self._refused_offsets[partition] = self._stored[partition]
        if self._table.refuse(partition, reason):
            self._log.error(
                events.PARTITION_REFUSED,
                topic=self._topic,
                partition=partition,
                reason=reason,
                fix="orderflow offsets reset",
            )

    async def _hand_on(self, fetched: dict[TopicPartition, list[Record]]) -> None:
        consumed_at = datetime.now(UTC)
        for place, records in fetched.items():
            accepted = self._accept(place.partition, records)
            opened = self._table.present(place.partition)
            if not accepted or opened is None:
                continue
            for piece, size_bytes in slice_records(accepted, self._max_chunk_records, self._max_chunk_bytes):
                await self._emit(Chunk(place.partition, opened.opening, opened.epoch, piece, size_bytes, consumed_at))

    def _accept(self, partition: int, records: list[Record]) -> list[Record]:
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
            self._refuse(partition, TOPIC_CHANGED)
            return []
        if first.offset >= next_offset:
            return records
        return [record for record in records if record.offset >= next_offset]

    async def _commit(self) -> None:
        positions = {
            partition: offset
            for partition, offset in self._table.positions().items()
            if self._committed.get(partition) != offset
        }
        if not positions:
            return
        try:
            await asyncio.wait_for(
                self._consumer.commit({TopicPartition(self._topic, p): offset for p, offset in positions.items()}), 5
            )
        except (KafkaError, IllegalStateError, TimeoutError) as error:
            self._log.debug(events.KAFKA_COMMIT_FAILED, error=type(error).__name__)
            return
        self._committed.update(positions)
